//! Functions of one variable: exponential, sigmoid and tanh in plain f32, and any other as a table of parabolas.

use super::{CHUNK, Clamp, narrow, widen};
use crate::f16;

const LN_2: f64 = core::f64::consts::LN_2;
/// Coefficients of the Taylor series of `2^x` at 0.
const SERIES: [f32; 7] = {
    let mut series = [1.0f32; 7];
    let (mut i, mut term) = (1, 1.0f64);
    while i < series.len() {
        term *= LN_2 / i as f64;
        series[i] = term as f32;
        i += 1;
    }
    series
};
/// Exponents beyond are limited: `2^x` stays a normal number.
const MAX_EXPONENT: f32 = 126.0;

/// `2^x`, for x from -126 to 126; beyond, the value there. Within a factor of 1 ± 4e-7.
///
/// The integer nearest to `x` goes into the exponent, for the rest (at most 1/2) the series is summed up to the sixth
/// power, from the highest on.
#[inline]
pub fn exp2(x: f32) -> f32 {
    let x = if x > -MAX_EXPONENT { x } else { -MAX_EXPONENT };
    let x = if x < MAX_EXPONENT { x } else { MAX_EXPONENT };
    let integer = (x + if x < 0.0 { -0.5 } else { 0.5 }) as i32;
    let fraction = x - integer as f32;
    let [c0, c1, c2, c3, c4, c5, c6] = SERIES;
    let series = c6 * fraction + c5;
    let series = series * fraction + c4;
    let series = series * fraction + c3;
    let series = series * fraction + c2;
    let series = series * fraction + c1;
    let series = series * fraction + c0;
    let bits = (integer.wrapping_add(127) as u32) << 23;
    series * f32::from_bits(bits)
}

/// `1 / (1 + e^-x)`, off by at most 3e-7.
#[inline]
pub fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp2(x * -core::f32::consts::LOG2_E))
}

/// Hyperbolic tangent, off by at most 6e-7.
#[inline]
pub fn tanh(x: f32) -> f32 {
    1.0 - 2.0 / (1.0 + exp2(x * (2.0 * core::f32::consts::LOG2_E)))
}

/// Constant, linear and quadratic coefficient.
pub type Parabola = [f32; 3];

/// Where the knots of a table are; the first is 0.
#[derive(Clone, Copy, Debug)]
pub enum Knots {
    /// Equally spaced.
    Equal {
        /// 1 / their distance, a power of two.
        inverse_step: f32,
    },
    /// Equally spaced in every octave: for functions that are steep near 0.
    Octaves {
        /// Bits of an f32 behind those that number the knots: 23 for a knot an octave, one less for each doubling. At most 23.
        shift: u32,
        /// The bits of the second knot, `shift` places to the right.
        first: u32,
        /// 1 / the second knot.
        inverse_step: f32,
    },
}

/// A function as parabolas between knots, separately on both sides of 0.
///
/// Between knot `i` and the next the function is `c0 + u * (c1 + u * c2)`, with `u` from 0 to 1 the place between them.
/// The last parabola of a side goes on for ever: the converter makes it a line. Between octaves its `u` is the distance from its knot.
#[derive(Clone, Copy, Debug)]
pub struct Table<'w> {
    /// Where the knots are.
    pub knots: Knots,
    /// From 0 downwards; not empty.
    pub negative: &'w [Parabola],
    /// From 0 upwards; not empty.
    pub positive: &'w [Parabola],
}

impl Table<'_> {
    /// The function's value.
    #[inline]
    pub fn eval(&self, x: f32) -> f32 {
        let (side, distance) = if x < 0.0 {
            (self.negative, -x)
        } else {
            (self.positive, x)
        };
        let last = side.len().saturating_sub(1);
        let (interval, u) = match self.knots {
            Knots::Equal { inverse_step } => {
                let distance = distance * inverse_step;
                let interval = (distance as usize).min(last);
                (interval, distance - interval as f32)
            }
            Knots::Octaves {
                shift,
                first,
                inverse_step,
            } => octave(distance, shift & 31, first, inverse_step, last),
        };
        let [c0, c1, c2] = side.get(interval).copied().unwrap_or([0.0; 3]);
        c0 + u * (c1 + u * c2)
    }
}

/// The number of the interval between octaves that a distance from 0 is in, at most `last`, and the place there.
#[inline]
fn octave(distance: f32, shift: u32, first: u32, inverse_step: f32, last: usize) -> (usize, f32) {
    let bits = distance.to_bits();
    let interval = match (bits >> shift).checked_sub(first) {
        None => return (0, distance * inverse_step),
        Some(behind) => behind as usize + 1,
    };
    if interval < last {
        let inside = bits & ((1 << shift) - 1);
        return (interval, inside as f32 / (1 << shift) as f32);
    }
    let knot = (first + last.saturating_sub(1) as u32) << shift;
    (last, distance - f32::from_bits(knot))
}

/// Applies a table in place.
pub fn apply(table: &Table, y: &mut [f16]) {
    let mut wide = [0.0; CHUNK];
    for y in y.chunks_mut(CHUNK) {
        let wide = wide.get_mut(..y.len()).unwrap_or_default();
        widen(y, wide);
        wide.iter_mut().for_each(|x| *x = table.eval(*x));
        narrow(wide, Clamp::NONE, y);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exponential_is_close_everywhere() {
        for i in -1_300_000..=1_300_000 {
            let x = i as f32 * 1e-4;
            let exact = f64::from(x.clamp(-MAX_EXPONENT, MAX_EXPONENT)).exp2();
            let error = (f64::from(exp2(x)) / exact - 1.0).abs();
            assert!(error < 4e-7, "2^{x} is off by a factor of {error}");
        }
        assert_eq!(exp2(f32::NAN), exp2(-200.0));
    }

    #[test]
    fn sigmoid_and_tanh_are_close_everywhere() {
        for i in -400_000..=400_000 {
            let x = i as f32 * 1e-4;
            let exact = f64::from(x);
            let errors = [
                f64::from(sigmoid(x)) - 1.0 / (1.0 + (-exact).exp()),
                f64::from(tanh(x)) - exact.tanh(),
            ];
            assert!(errors[0].abs() < 3e-7, "sigmoid({x}): {}", errors[0]);
            assert!(errors[1].abs() < 6e-7, "tanh({x}): {}", errors[1]);
        }
    }

    #[test]
    fn a_table_is_its_parabolas_and_goes_on_as_its_last() {
        // x^2 above 0 between knots 1/2 apart, then the line 2 x - 1; -x below.
        let table = Table {
            knots: Knots::Equal { inverse_step: 2.0 },
            negative: &[[0.0, 0.5, 0.0]],
            positive: &[[0.0, 0.0, 0.25], [0.25, 0.5, 0.25], [1.0, 1.0, 0.0]],
        };
        for (x, y) in [
            (0.0, 0.0),
            (0.25, 0.0625),
            (0.75, 0.5625),
            (1.0, 1.0),
            (2.0, 3.0),
            (100.0, 199.0),
            (-0.25, 0.25),
            (-300.0, 300.0),
        ] {
            assert_eq!(table.eval(x), y, "at {x}");
        }
        let mut values = [f16::MAX, f16::MIN, f16::INFINITY, f16::NAN];
        apply(&table, &mut values);
        // No infinity, no NaN: where those came from outside, the smallest value.
        assert_eq!(
            values.map(f16::to_f32),
            [65504.0, 65504.0, -65504.0, -65504.0]
        );
    }
    #[test]
    fn knots_of_octaves_are_denser_near_0() {
        // Knots at 0, 1/4, 3/8, 1/2, 3/4 and 1; then a line of slope 10. The parabolas tell their interval and the place there.
        let numbered: [Parabola; 6] = core::array::from_fn(|i| [100.0 * i as f32, 10.0, 0.0]);
        let table = Table {
            knots: Knots::Octaves {
                shift: 22,
                first: 0.25f32.to_bits() >> 22,
                inverse_step: 4.0,
            },
            negative: &numbered,
            positive: &numbered,
        };
        for (x, y) in [
            (0.0, 0.0),
            (0.125, 5.0),
            (0.25, 100.0),
            (0.3125, 105.0),
            (0.375, 200.0),
            (0.5, 300.0),
            (0.875, 405.0),
            (1.0, 500.0),
            (3.0, 520.0),
            (-0.625, 305.0),
        ] {
            assert_eq!(table.eval(x), y, "at {x}");
        }
    }
}
