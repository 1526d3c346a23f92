//! Activations of recurrent layers as curves: a table between the places where the function is straight.

use crate::function::Function;

/// Steps of Q16, in which places and results are exact.
const ONE: f64 = 65536.0;
/// Where curves end at most: so far a difference of two places has 32 bits.
const FARTHEST: f64 = 16384.0;
/// Places on which a straight part is looked for.
const PLACES: i64 = 4096;
/// How far a straight part may be off, in steps of Q16.
const STRAIGHT: f64 = 0.75;
/// The steepest straight part; steeper functions are in the table.
const STEEPEST: f64 = 100.0;
/// Most results of a table.
const MOST: i64 = 1 << 12;
/// Places between two results where the error is measured.
const PROBES: i64 = 8;

/// A function as [`attn_runtime::kernels::int::curve::Curve`] has it.
#[derive(Debug)]
pub(super) struct Fitted {
    /// Where the table begins and ends, Q16.
    pub ends: [i32; 2],
    /// Bits of the distance of two results, in steps of Q16.
    pub step_bits: u32,
    /// The results.
    pub table: Vec<f64>,
    /// Below and above.
    pub slopes: [f64; 2],
}

/// A function of places in Q16, with results in its steps.
struct Places<'f>(&'f Function);

impl Places<'_> {
    fn at(&self, place: i64) -> f64 {
        let y = self.0.eval(place as f64 / ONE) * ONE;
        if y.is_nan() { 0.0 } else { y.clamp(-2e9, 2e9) }
    }

    /// How far from `from` on, up to `to`, the function is a straight line, and how steep that is.
    fn straight(&self, from: i64, to: i64) -> (i64, f64) {
        let grid = (to - from) / PLACES;
        if grid == 0 {
            return (from, 0.0);
        }
        let start = self.at(from);
        let slope = (self.at(from + grid) - start) / grid as f64;
        let on_line = |place: i64| {
            let line = start + slope * (place - from) as f64;
            (self.at(place) - line).abs() <= STRAIGHT
        };
        if slope.abs() > STEEPEST {
            return (from, 0.0);
        }
        let last = (1..=PLACES).take_while(|i| on_line(from + i * grid)).last();
        let Some(last) = last.filter(|&last| last > 1) else {
            return (from, 0.0);
        };
        let (mut good, mut bad) = (from + last * grid, from + (last + 1) * grid);
        if last == PLACES {
            return (good, slope);
        }
        while (bad - good).abs() > 1 {
            let middle = (good + bad) / 2;
            match on_line(middle) {
                true => good = middle,
                false => bad = middle,
            }
        }
        (good, slope)
    }

    /// The table from `low` to `high`: the last result continues the line to that at `high`.
    fn table(&self, [low, high]: [i64; 2], bits: u32) -> Vec<f64> {
        let step = 1i64 << bits;
        let whole = (high - low) >> bits;
        let mut table: Vec<f64> = (0..=whole).map(|i| self.at(low + i * step)).collect();
        let (last, rest) = (table[whole as usize], high - low - whole * step);
        table.push(match rest {
            0 => last,
            _ => last + (self.at(high) - last) * step as f64 / rest as f64,
        });
        table
    }

    /// Whether the table is nowhere further off than `tolerance`, in steps of Q16.
    fn is_close(&self, [low, high]: [i64; 2], bits: u32, table: &[f64], tolerance: f64) -> bool {
        let step = 1i64 << bits;
        let mut places = table.windows(2).enumerate().flat_map(|(i, ends)| {
            let start = low + i as i64 * step;
            (1..PROBES).map(move |probe| {
                let inside = step * probe / PROBES;
                let part = inside as f64 / step as f64;
                (start + inside, ends[0] + part * (ends[1] - ends[0]))
            })
        });
        places.all(|(place, y)| place > high || (self.at(place) - y).abs() <= tolerance)
    }
}

/// The curve of a function on pre-activations up to `bound`, at most `clip`, that is off by at most `tolerance` where a table of moderate
/// length can be so exact.
pub(super) fn fit(function: &Function, bound: f64, clip: Option<f32>, tolerance: f64) -> Fitted {
    let places = Places(function);
    let bound = bound.clamp(1.0, FARTHEST).log2().ceil().exp2();
    if let Some(clip) = clip.map(f64::from).filter(|&clip| clip < bound) {
        let end = (clip * ONE).round() as i64;
        return of(&places, [-end, end], [0.0; 2], tolerance);
    }
    let end = (bound * ONE) as i64;
    let (low, below) = places.straight(-end, end);
    let (high, above) = places.straight(end, -end);
    // Straight all over: any place separates the two parts.
    of(&places, [low, high.max(low)], [below, above], tolerance)
}

fn of(places: &Places, ends: [i64; 2], slopes: [f64; 2], tolerance: f64) -> Fitted {
    let span = ends[1] - ends[0];
    // At least one whole interval.
    let mut bits = span.max(1).ilog2().min(16);
    let mut table = places.table(ends, bits);
    while bits > 0 && !places.is_close(ends, bits, &table, tolerance * ONE) {
        if span >> (bits - 1) >= MOST {
            break;
        }
        bits -= 1;
        table = places.table(ends, bits);
    }
    Fitted {
        ends: ends.map(|end| end as i32),
        step_bits: bits,
        table: table.into_iter().map(|y| y / ONE).collect(),
        slopes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::function::{Binary, Unary};
    use attn_runtime::kernels::int::curve::Curve;

    /// The largest error of a fitted curve within `bound`, and its length.
    fn error(function: &Function, bound: f64, clip: Option<f32>) -> (f64, usize) {
        let fitted = fit(function, bound, clip, 1e-4);
        let table: Vec<i32> = fitted
            .table
            .iter()
            .map(|y| (y * ONE).round() as i32)
            .collect();
        let curve = Curve {
            table: &table,
            low: fitted.ends[0],
            high: fitted.ends[1],
            step_bits: fitted.step_bits,
            slopes: fitted
                .slopes
                .map(|slope| (slope * f64::from(1 << 24)).round() as i32),
        };
        let clip = clip.map_or(f64::INFINITY, f64::from);
        let places = (-20_000..=20_000).map(|i| f64::from(i) / 20_000.0 * bound);
        let errors = places.map(|x| {
            let place = (x * ONE).round();
            let exact = function.eval((place / ONE).clamp(-clip, clip));
            (f64::from(curve.at(place as i32)) / ONE - exact).abs()
        });
        (errors.fold(0.0, f64::max), table.len())
    }

    fn threshold(alpha: f64) -> Function {
        let above = Function::Input.with(Binary::Greater, Function::Constant(alpha));
        Function::choice(above, Function::Input, Function::Constant(0.0))
    }

    #[test]
    fn every_activation_is_close_and_short() {
        let of = |unary| Function::Input.then(unary);
        let functions = [
            (of(Unary::Sigmoid), 1200),
            (of(Unary::Tanh), 1200),
            (of(Unary::Relu), 2),
            (of(Unary::Softplus), 1200),
            (Function::hard_sigmoid(0.2, 0.5), 8),
            (Function::leaky_relu(0.013), 2),
            (Function::elu(1.0), 800),
            (
                Function::scaled(0.7).with(Binary::Add, Function::Constant(0.1)),
                2,
            ),
            (threshold(0.6), 4),
        ];
        for (function, most) in functions {
            for bound in [1.0, 7.0, 100.0] {
                let (worst, len) = error(&function, bound, None);
                assert!(worst < 2e-4, "{function:?} up to {bound}: {worst}");
                assert!(len <= most, "{function:?} up to {bound}: {len} results");
            }
        }
        // Straight nowhere: the longest table.
        let (worst, len) = error(&Function::softsign(), 100.0, None);
        assert!(worst < 1e-3 && len <= 4100, "{worst}, {len} results");
    }

    #[test]
    fn a_clip_ends_the_curve() {
        for function in [Function::Input.then(Unary::Tanh), Function::leaky_relu(0.1)] {
            let (worst, len) = error(&function, 10.0, Some(0.73));
            assert!(worst < 2e-4 && len <= 4100, "{function:?}: {worst}, {len}");
        }
    }
}
