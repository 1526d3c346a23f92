//! A function of one variable as a table of parabolas.

use crate::function::Function;
use attn_runtime::kernels::half::MAX;
use attn_runtime::kernels::half::function::Parabola;

/// Largest error within the range of calibration, as a share of the largest value there.
const TOLERANCE: f64 = 1.0 / 16384.0;
/// The table reaches this many times as far as the values seen in calibration.
const HEADROOM: f64 = 2.0;
/// Where calibration says nothing about an input.
const DEFAULT_RANGE: (f64, f64) = (-8.0, 8.0);
/// Most parabolas on one side of 0.
const MAX_PARABOLAS: usize = 512;
/// Places between two knots where the error is measured.
const PROBES: usize = 8;

/// Bits that number the knots of an octave, where the function is steep near 0.
const OCTAVE_BITS: core::ops::RangeInclusive<u32> = 1..=5;
/// Largest error of a table with knots in every octave, as a share of the value there (and of a part of the largest in the upper half) …
const OCTAVE_TOLERANCE: f64 = 1.0 / 32768.0;
/// … and by which factor that must be less than without them.
const BETTER: f64 = 4.0;
/// The least octave: that of the smallest half.
const LEAST: i32 = -24;

/// The operands of [`attn_runtime::kernels::half::function::Table`].
pub(super) struct Fitted {
    pub inverse_step: f32,
    /// 0 for equally spaced knots.
    pub octave_bits: u32,
    pub negative: Vec<Parabola>,
    pub positive: Vec<Parabola>,
}

/// Parabolas through the function at knots and half-way between, with knots as far apart as [`TOLERANCE`] allows: a
/// power of two, so that corners at whole numbers are knots. Where that takes too many, the knots of every octave are equally spaced.
pub(super) fn fit(function: &Function, (low, high): (f32, f32)) -> Fitted {
    let (low, high) = match (low, high) {
        (0.0, 0.0) => DEFAULT_RANGE,
        (low, high) => (f64::from(low), f64::from(high)),
    };
    let f = |x: f64| finite(function.eval(x));
    let ends = [-low, high];
    let widest = reach(low).max(reach(high));
    let mut step = (widest / 8.0).log2().floor().exp2();
    let equal = loop {
        let (fitted, error) = table(&f, ends, Knots::Equal(step));
        if error.absolute <= TOLERANCE {
            return fitted;
        }
        if widest / step >= MAX_PARABOLAS as f64 / 2.0 {
            break (fitted, error);
        }
        step /= 2.0;
    };
    let mut better: Option<(Fitted, Error)> = None;
    for bits in OCTAVE_BITS {
        let octaves = octaves(&f, ends, bits);
        let least = better
            .as_ref()
            .map_or(f64::INFINITY, |(_, error)| error.local);
        let error = octaves.1.local;
        if error < least {
            better = Some(octaves);
        }
        if error <= OCTAVE_TOLERANCE {
            break;
        }
    }
    let better = better.filter(|(_, error)| error.local < equal.1.local / BETTER);
    better.unwrap_or(equal).0
}

/// The table with this many bits for the knots of an octave: what lies below the first octave is one parabola.
fn octaves(f: &dyn Fn(f64) -> f64, ends: [f64; 2], bits: u32) -> (Fitted, Error) {
    let widest = reach(ends[0]).max(reach(ends[1]));
    let mut first = widest.log2().floor() as i32;
    let mut best = table(f, ends, Knots::Octaves { first, bits });
    while best.1.local > OCTAVE_TOLERANCE && first > LEAST {
        first -= 1;
        let finer = table(f, ends, Knots::Octaves { first, bits });
        if finer.1.local < best.1.local {
            best = finer;
        }
    }
    best
}

/// How far a table is off at most, up to the ends.
#[derive(Clone, Copy)]
struct Error {
    /// As a share of the largest value on the same side.
    absolute: f64,
    /// As a share of the value there and a part of the largest towards the ends: what the rounding of the result
    /// to a half is measured by.
    local: f64,
}

/// Where the knots of a table are.
#[derive(Clone, Copy)]
enum Knots {
    /// At multiples of this.
    Equal(f64),
    /// At 0, at `2^first`, and from there on `2^(bits - 1)` in every octave.
    Octaves { first: i32, bits: u32 },
}

impl Knots {
    fn at(self, i: usize) -> f64 {
        match self {
            Self::Equal(step) => i as f64 * step,
            Self::Octaves { .. } if i == 0 => 0.0,
            Self::Octaves { first, bits } => {
                let (behind, each) = (i - 1, 1 << (bits - 1));
                let part = (behind % each) as f64 / each as f64;
                f64::from(first + (behind / each) as i32).exp2() * (1.0 + part)
            }
        }
    }
}

/// How far a table reaches on the side of `x`.
fn reach(x: f64) -> f64 {
    (x.abs() * HEADROOM).clamp(1e-3, f64::from(MAX))
}

/// The table with these knots, and its error up to the `ends` on either side.
fn table(f: &dyn Fn(f64) -> f64, ends: [f64; 2], knots: Knots) -> (Fitted, Error) {
    let sides = [-1.0, 1.0].map(|sign| move |x: f64| f(sign * x));
    let [negative, positive] = [0, 1].map(|at| side(&sides[at], reach(ends[at]), knots));
    let upper = |at: usize| {
        let place = move |probe| ends[at] * (0.5 + probe as f64 / PROBES as f64 / 2.0);
        let side = sides[at];
        let probes = if ends[at] > 0.0 { PROBES } else { 0 };
        (0..probes).map(move |probe| side(place(probe)).abs())
    };
    let usual = upper(0).chain(upper(1)).fold(0.0, f64::max) / 32.0;
    let error = |at: usize, table: &[Parabola]| error(&sides[at], table, ends[at], knots, usual);
    let (a, b) = (error(0, &negative), error(1, &positive));
    let worst = Error {
        absolute: a.absolute.max(b.absolute),
        local: a.local.max(b.local),
    };
    let fitted = Fitted {
        inverse_step: (1.0 / knots.at(1)) as f32,
        octave_bits: match knots {
            Knots::Equal(_) => 0,
            Knots::Octaves { bits, .. } => bits,
        },
        negative,
        positive,
    };
    (fitted, worst)
}

/// What no half can hold becomes the largest; what is undefined 0.
fn finite(y: f64) -> f64 {
    if y.is_nan() {
        0.0
    } else {
        y.clamp(-f64::from(MAX), f64::from(MAX))
    }
}

/// Parabolas of `f` from 0 to at least `reach`, and a line behind.
fn side(f: &dyn Fn(f64) -> f64, reach: f64, knots: Knots) -> Vec<Parabola> {
    let count = (1..).find(|&i| knots.at(i) >= reach).unwrap_or(1);
    let mut parabolas: Vec<Parabola> = (0..count)
        .map(|i| parabola(f, [knots.at(i), knots.at(i + 1)]))
        .collect();
    let last = knots.at(count);
    let unit = match knots {
        Knots::Equal(step) => step,
        Knots::Octaves { .. } => 1.0,
    };
    let slope = (f(knots.at(count + 1)) - f(last)) / (knots.at(count + 1) - last) * unit;
    parabolas.push([f(last) as f32, slope as f32, 0.0]);
    parabolas
}

fn parabola(f: &dyn Fn(f64) -> f64, [from, to]: [f64; 2]) -> Parabola {
    let at = |u: f64| f(from + u * (to - from));
    // From inside: a function may jump at a knot.
    let (start, middle, end) = (at(1e-9), at(0.5), at(1.0 - 1e-9));
    let slope = 4.0 * middle - 3.0 * start - end;
    let curve = 2.0 * (start + end) - 4.0 * middle;
    [start as f32, slope as f32, curve as f32]
}

/// The largest error of a table from 0 to `end`.
fn error(f: &dyn Fn(f64) -> f64, table: &[Parabola], end: f64, knots: Knots, usual: f64) -> Error {
    let (mut largest, mut worst, mut local) = (0f64, 0f64, 0f64);
    for (i, [c0, c1, c2]) in table.iter().enumerate() {
        let (from, to) = (knots.at(i), knots.at(i + 1));
        if from >= end || i + 1 == table.len() {
            break;
        }
        // Below the smallest half there is only 0.
        if to <= f64::from(LEAST).exp2() {
            continue;
        }
        let octaves = match knots {
            Knots::Octaves { .. } if i == 0 => 1..-LEAST,
            _ => 0..0,
        };
        let inside = (0..PROBES).map(|probe| (probe as f64 + 0.5) / PROBES as f64);
        for u in inside.chain(octaves.map(|octave| f64::from(-octave).exp2())) {
            let exact = f(from + u * (to - from));
            let fitted = f64::from(*c0) + u * (f64::from(*c1) + u * f64::from(*c2));
            let error = (fitted - exact).abs();
            largest = largest.max(exact.abs());
            worst = worst.max(error);
            local = local.max(error / (exact.abs() + usual).max(f64::MIN_POSITIVE));
        }
    }
    let absolute = worst / largest.max(f64::MIN_POSITIVE);
    Error { absolute, local }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::function::Unary;
    use crate::sqnr::Sqnr;
    use attn_runtime::f16;
    use attn_runtime::kernels::half::function::{self, Table, apply};

    /// Normally distributed numbers (the sum of twelve uniform ones), as halves.
    fn normal(count: usize, deviation: f32) -> Vec<f16> {
        let mut state = 7u64;
        let mut uniform = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1u64 << 24) as f32
        };
        (0..count)
            .map(|_| f16::from_f32(deviation * ((0..12).map(|_| uniform()).sum::<f32>() - 6.0)))
            .collect()
    }

    /// SQNR in dB of the table that was made for `seen`, on `x`, and its length.
    fn db(function: &Function, seen: &[f16], x: &[f16]) -> (f64, usize) {
        let ends = seen.iter().fold((0f32, 0f32), |(low, high), x| {
            (low.min(x.to_f32()), high.max(x.to_f32()))
        });
        let fitted = fit(function, ends);
        let inverse_step = fitted.inverse_step;
        let knots = match fitted.octave_bits {
            0 => function::Knots::Equal { inverse_step },
            bits => function::Knots::Octaves {
                shift: 24 - bits,
                first: (1.0 / inverse_step).to_bits() >> (24 - bits),
                inverse_step,
            },
        };
        let table = Table {
            knots,
            negative: &fitted.negative,
            positive: &fitted.positive,
        };
        let mut y = x.to_vec();
        apply(&table, &mut y);
        let exact: Vec<f32> = x
            .iter()
            .map(|&x| function.eval(x.to_f64()) as f32)
            .collect();
        let got: Vec<f32> = y.iter().map(|y| y.to_f32()).collect();
        let mut sqnr = Sqnr::default();
        sqnr.add(&exact, &got);
        (sqnr.db(), fitted.negative.len() + fitted.positive.len())
    }

    #[test]
    fn every_known_function_keeps_60_db_on_what_was_seen_and_beyond() {
        let functions = [
            Function::Input.then(Unary::Relu),
            Function::Input.then(Unary::Sigmoid),
            Function::Input.then(Unary::Tanh),
            Function::Input.then(Unary::Erf),
            Function::Input.then(Unary::Softplus),
            Function::Input.then(Unary::Abs),
            Function::gelu(),
            Function::gelu_tanh(),
            Function::silu(),
            Function::hard_swish(),
            Function::hard_sigmoid(0.2, 0.5),
            Function::leaky_relu(0.01),
            Function::elu(1.0),
        ];
        for function in functions {
            for deviation in [0.1, 1.0, 4.0, 30.0] {
                let seen = normal(5000, deviation);
                let (db_seen, len) = db(&function, &seen, &seen);
                let (db_beyond, _) = db(&function, &seen, &normal(5000, 1.7 * deviation));
                println!(
                    "{function:?}, deviation {deviation}: {db_seen:.1} and {db_beyond:.1} dB, {len} parabolas"
                );
                assert!(
                    db_seen >= 60.0,
                    "{function:?}, deviation {deviation}: {db_seen:.1} dB"
                );
                assert!(
                    db_beyond >= 60.0,
                    "{function:?}, deviation {deviation}: {db_beyond:.1} dB beyond"
                );
                assert!(len <= 2 * MAX_PARABOLAS);
            }
        }
    }

    #[test]
    fn functions_that_are_steep_near_0_keep_60_db() {
        let log = |least: f64| {
            let sum = Function::Input.with(crate::function::Binary::Add, Function::Constant(least));
            sum.then(Unary::Log)
        };
        let magnitude = Function::Input.then(Unary::Abs);
        let functions = [
            (log(1e-6), 1.0),
            (log(1e-3), 4.0),
            (log(1e-3).of(&magnitude), 4.0),
            (Function::Input.then(Unary::Sqrt), 2.0),
        ];
        for (function, deviation) in functions {
            // Energies: most of them are small.
            let energy = |x: &f16| f16::from_f32(x.to_f32().powi(4));
            let seen: Vec<f16> = normal(5000, deviation).iter().map(energy).collect();
            let (db, len) = db(&function, &seen, &seen);
            assert!(db >= 60.0, "{function:?}: {db:.1} dB, {len} parabolas");
        }
    }

    #[test]
    fn what_is_infinite_at_0_is_right_elsewhere() {
        for power in [-0.44, -0.3, -1.0, -2.0] {
            let power =
                Function::Input.with(crate::function::Binary::Pow, Function::Constant(power));
            let all: Vec<f16> = (0..60).map(|x| f16::from_f32(x as f32)).collect();
            let (db, len) = db(&power, &all, &all[1..]);
            assert!(db >= 60.0, "{power:?}: {db:.1} dB, {len} parabolas");
            assert!(len <= 2 * MAX_PARABOLAS);
        }
    }

    #[test]
    fn what_is_not_finite_stays_within_halves() {
        let inverse = Function::Constant(1.0).with(crate::function::Binary::Div, Function::Input);
        let fitted = fit(&inverse, (-1.0, 1.0));
        let all = fitted.negative.iter().chain(&fitted.positive).flatten();
        assert!(all.into_iter().all(|c| c.is_finite()));
    }
}
