//! The arithmetic of half-precision files: weights and activations are IEEE halves, everything between is f32.
//!
//! Pure functions on slices, as everything in [`crate::kernels`]; the portable bodies define the results. Every
//! multiplication and every addition rounds to nearest by itself, in the order that is written here, so that the bytes
//! are the same on every target. Results are clamped before they are rounded to half: they are never infinite and
//! never NaN (a NaN on the way becomes the smallest value allowed). Conversions and the inner loop are in
//! [`crate::kernels::arch::half`], formulas and error bounds in `docs/reference/numerics.md`.

pub mod additive;
pub mod attention;
pub mod cell;
pub mod conv;
pub mod elementwise;
pub mod function;
pub mod gates;
pub mod gru;
pub mod image;
pub mod layer_norm;
pub mod linear;
pub mod lstm;
pub mod matmul;
pub mod reduce;
pub mod rotary;
pub mod softmax;
pub mod top_k;

pub use crate::kernels::arch::half::{Clamp, LANES, narrow, widen};

use crate::f16;

/// The largest half-precision value.
pub const MAX: f32 = 65504.0;

impl Clamp {
    /// All finite values.
    pub const NONE: Self = Self {
        min: -MAX,
        max: MAX,
    };
}

/// Values that are widened at once where a row has no scratch of its own. A multiple of [`LANES`].
const CHUNK: usize = 32;

/// Groups of four packed weights for `out` outputs of `k` inputs each; the largest number if there is none.
///
/// *Packed* weights are in blocks of four outputs; a block holds, for every input, the weights of the four outputs.
/// Outputs are padded with zeros to a multiple of four.
pub const fn packed_len(out: usize, k: usize) -> usize {
    out.div_ceil(LANES).saturating_mul(k)
}

/// Index of the weight of output `o` for input `i` among packed weights of `k` inputs, counted in halves.
pub const fn packed_index(o: usize, i: usize, k: usize) -> usize {
    ((o / LANES) * k + i) * LANES + o % LANES
}

/// Sums in f32 that are defined to the last bit, and short: element `i` is added to partial sum `i % 4`, and at the end
/// `(0 + 1) + (2 + 3)`.
#[derive(Default)]
struct Sum([f32; LANES]);

impl Sum {
    /// Adds elements; those added before must be a multiple of four.
    #[inline(always)]
    fn add(&mut self, values: &[f32]) {
        let (whole, rest) = values.as_chunks::<LANES>();
        for values in whole {
            self.0.iter_mut().zip(values).for_each(|(sum, x)| *sum += x);
        }
        self.0.iter_mut().zip(rest).for_each(|(sum, x)| *sum += x);
    }

    fn total(self) -> f32 {
        let [a, b, c, d] = self.0;
        (a + b) + (c + d)
    }
}

/// Hands over a row in f32, chunk by chunk, with the place of each chunk's first element.
#[inline(always)]
fn chunks(row: &[f16], mut each: impl FnMut(usize, &mut [f32])) {
    let mut wide = [0.0; CHUNK];
    for (i, row) in row.chunks(CHUNK).enumerate() {
        if let Some(wide) = wide.get_mut(..row.len()) {
            widen(row, wide);
            each(i * CHUNK, wide);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn results_are_finite_and_a_nan_is_the_minimum() {
        let all = |x: f32| Clamp::NONE.apply(x).to_f32();
        assert_eq!(all(f32::INFINITY), MAX);
        assert_eq!(all(65519.0), MAX);
        assert_eq!(all(f32::NEG_INFINITY), -MAX);
        assert_eq!(all(f32::NAN), -MAX);
        let relu = Clamp { min: 0.0, max: 6.0 };
        assert_eq!(
            [-1.0, -0.0, 3.0, 7.0].map(|x| relu.apply(x).to_bits()),
            [0, 0, 0x4200, 0x4600]
        );
    }

    /// IEEE 754 by its definition, in f64.
    fn value(bits: u16) -> f64 {
        let (exponent, fraction) = (i32::from(bits >> 10 & 31), f64::from(bits & 1023) / 1024.0);
        let magnitude = match exponent {
            0 => fraction * 2f64.powi(-14),
            31 if fraction == 0.0 => f64::INFINITY,
            31 => f64::NAN,
            _ => (1.0 + fraction) * 2f64.powi(exponent - 15),
        };
        if bits >> 15 == 1 {
            -magnitude
        } else {
            magnitude
        }
    }

    #[test]
    fn every_half_converts_exactly_and_back() {
        for bits in 0..=u16::MAX {
            let mut wide = [0.0];
            widen(&[f16::from_bits(bits)], &mut wide);
            let ([x], exact) = (wide, value(bits));
            if exact.is_nan() {
                assert!(x.is_nan());
                continue;
            }
            assert_eq!(f64::from(x), exact, "{bits:#06x}");
            if exact.is_finite() {
                assert_eq!(Clamp::NONE.apply(x).to_bits(), bits);
            }
        }
    }

    proptest! {
        #[test]
        fn the_nearest_half_is_taken(x in -70000.0f32..70000.0, shift in 0i32..40) {
            let x = x * 2f32.powi(-shift);
            let nearest = Clamp::NONE.apply(x).to_bits();
            let error = |bits: u16| (value(bits) - f64::from(x)).abs();
            prop_assume!(x.abs() <= MAX);
            for other in [nearest.wrapping_sub(1), nearest.wrapping_add(1)] {
                if error(other) == error(nearest) {
                    prop_assert_eq!(nearest & 1, 0);
                }
                prop_assert!(value(other).is_nan() || error(other) >= error(nearest));
            }
        }
    }
}
