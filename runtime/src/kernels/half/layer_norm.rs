//! Normalisation of rows.

use super::{Clamp, Sum, chunks, narrow};
use crate::f16;

/// Parameters of the normalisation of rows.
#[derive(Clone, Copy, Debug)]
pub struct LayerNorm<'w> {
    /// `[n]`: factor on the normalised value.
    pub gamma: &'w [f32],
    /// `[n]`: added after it.
    pub beta: &'w [f32],
    /// Added to the variance.
    pub epsilon: f32,
    /// Subtract the mean. If false, the mean square replaces the variance (RmsNorm).
    pub centre: bool,
}

/// `x: [rows, n]`, `y` of the same shape: `(x - mean) * (1 / sqrt(variance + epsilon)) * gamma + beta`.
///
/// The mean is taken off before squaring, so that a large mean costs nothing.
pub fn layer_norm(x: &[f16], norm: &LayerNorm, y: &mut [f16]) {
    let n = norm.gamma.len().max(1);
    let share = 1.0 / n as f32;
    for (x, y) in x.chunks_exact(n).zip(y.chunks_exact_mut(n)) {
        let mut mean = 0.0;
        if norm.centre {
            let mut sum = Sum::default();
            chunks(x, |_, x| sum.add(x));
            mean = sum.total() * share;
        }
        let mut sum = Sum::default();
        chunks(x, |_, x| {
            x.iter_mut().for_each(|x| *x = (*x - mean) * (*x - mean));
            sum.add(x);
        });
        let factor = 1.0 / libm::sqrtf(sum.total() * share + norm.epsilon);
        chunks(x, |at, x| {
            let [gamma, beta] = [norm.gamma, norm.beta].map(|all| all.get(at..).unwrap_or(&[]));
            for ((x, gamma), beta) in x.iter_mut().zip(gamma).zip(beta) {
                *x = (*x - mean) * factor * gamma + beta;
            }
            narrow(x, Clamp::NONE, y.get_mut(at..).unwrap_or_default());
        });
    }
}

#[cfg(test)]
mod tests {
    use super::super::linear::tests::halves;
    use super::*;
    use crate::kernels::testing;
    use proptest::prelude::*;
    use std::vec;
    use std::vec::Vec;

    proptest! {
        #[test]
        fn rows_are_within_a_rounding_of_double_precision(
            x in (1usize..70).prop_flat_map(halves),
            size in -8i32..10,
            mean in -20.0f32..20.0,
            centre in any::<bool>(),
            seed in -1.0f32..1.0,
        ) {
            let x: Vec<f16> = x.iter().map(|&x| f16::from_f32((x.to_f32() + mean) * 2f32.powi(size))).collect();
            let constants = |k: f32| (0..x.len()).map(|i| (i as f32 * k + seed).sin()).collect::<Vec<f32>>();
            let (gamma, beta) = (constants(0.7), constants(1.3));
            let norm = LayerNorm { gamma: &gamma, beta: &beta, epsilon: 1e-5, centre };
            let mut y = vec![f16::ZERO; x.len()];
            layer_norm(&x, &norm, &mut y);
            let real: Vec<f64> = x.iter().map(|&x| x.into()).collect();
            let largest = real.iter().fold(0.0f64, |max, x| max.max(x.abs()));
            let constants = gamma.iter().zip(&beta).map(|(&gamma, &beta)| (gamma.into(), beta.into()));
            let all = testing::layer_norm(&real, constants, norm.epsilon.into(), centre);
            let spread = real.iter().map(|x| (x - real.iter().sum::<f64>() / real.len() as f64).powi(2)).sum::<f64>();
            let deviation = (spread / real.len() as f64 + 1e-5).sqrt();
            for (y, exact) in y.iter().zip(all) {
                // Half a step of the result, and f32 roundings; the rounding of the mean grows with its distance from 0.
                let bound = exact.abs() * 2f64.powi(-11) + 3e-8 + 4e-6 + largest / deviation * 5e-7;
                prop_assert!((f64::from(*y) - exact).abs() <= bound, "{} for {}", y, exact);
            }
        }
    }

    #[test]
    fn a_constant_row_is_beta() {
        let norm = LayerNorm {
            gamma: &[1.0, 2.0],
            beta: &[0.25, -3.0],
            epsilon: 0.0,
            centre: true,
        };
        let mut y = [f16::ZERO; 2];
        layer_norm(&[f16::from_f32(4.0); 2], &norm, &mut y);
        // 0 / 0 with an epsilon of 0: defined, if meaningless.
        assert_eq!(y.map(f16::to_f32), [-65504.0; 2]);
        let norm = LayerNorm {
            epsilon: 1e-5,
            ..norm
        };
        layer_norm(&[f16::from_f32(4.0); 2], &norm, &mut y);
        assert_eq!(y.map(f16::to_f32), [0.25, -3.0]);
    }
}
