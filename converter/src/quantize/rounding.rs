//! Error-compensating rounding of a row of weights.
//!
//! Rounding adds `e . x` to an output, with the weights' errors `e` and the layer's input `x`. If inputs are correlated, other weights can
//! compensate the error of one: the cost is `e^T H e` with the covariance `H` of the inputs, not `|e|^2`. Weights are rounded one after the
//! other, and each aims at the value that best cancels the errors of the ones before it (Frantar et al., "GPTQ", 2022, with the triangular
//! factor of `H` itself, not of its inverse: successive rounding towards the nearest plane). The bias, which has steps to spare, takes the
//! mean of the remaining error. [`super::weights`] has scales and limits, [`super::inputs`] collects inputs, [`super::moments`] chooses the
//! damping.

use super::cholesky::Factor;
use super::steps::to_nearest;

/// The triangular factor `H = L D L^T` of the inputs' damped covariance.
#[derive(Clone, Debug)]
pub struct Compensation {
    /// Inputs in the order of `shares`; rounded from the last to the first.
    order: Vec<usize>,
    mean: Vec<f64>,
    /// `L` `[k, k]` below its diagonal of ones: how an error of weight `j` shifts the target of weight `i` before it.
    shares: Vec<f32>,
    /// The diagonal `D`: the variance of each input that the inputs before it do not explain.
    spread: Vec<f64>,
}

/// A rounded row.
#[derive(Clone, Debug)]
pub struct Rounded {
    /// Weights in steps.
    pub weights: Vec<i8>,
    /// Power `e^T H e` that rounding adds to the output, without the mean.
    pub error: f64,
    /// Mean of the exact output minus that of the rounded one, a correction for the bias.
    pub mean: f64,
}

impl Compensation {
    /// For inputs with this mean and `covariance`, plus `damping` on the diagonal; `None` if the sum is not positive definite.
    pub fn new(
        mean: &[f64],
        covariance: impl Fn(usize, usize) -> f64,
        damping: f64,
    ) -> Option<Self> {
        let k = mean.len();
        // The last in this order is rounded first, so all others can compensate it.
        let mut order: Vec<usize> = (0..k).collect();
        order.sort_by(|&a, &b| covariance(a, a).total_cmp(&covariance(b, b)));
        let factor = Factor::new(k, |i, j| {
            let damping = if i == j { damping } else { 0.0 };
            covariance(order[i], order[j]) + damping
        })?;
        let spread: Vec<f64> = (0..k).map(|i| factor.at(i, i).powi(2)).collect();
        if !spread.iter().all(|&spread| spread > 0.0) {
            return None;
        }
        let mut shares = vec![0.0; k * k];
        for (j, row) in shares.chunks_exact_mut(k.max(1)).enumerate() {
            for (i, share) in row.iter_mut().enumerate().take(j) {
                *share = (factor.at(j, i) / factor.at(i, i)) as f32;
            }
        }
        Some(Self {
            order,
            mean: mean.to_vec(),
            shares,
            spread,
        })
    }

    /// For uncorrelated inputs of equal variance with this mean: every weight is rounded to the nearest step.
    pub fn of_the_mean(mean: &[f64]) -> Self {
        Self {
            order: (0..mean.len()).collect(),
            mean: mean.to_vec(),
            shares: Vec::new(),
            spread: vec![1.0; mean.len()],
        }
    }

    /// Visits the weights from the last to the first. `error` gives the error of each, from its index and the correction that the later
    /// weights ask for.
    fn one_by_one(&self, mut error: impl FnMut(usize, f64) -> f64) {
        let k = self.order.len();
        let mut asked = vec![0.0f32; k];
        for j in (0..k).rev() {
            let off = error(j, f64::from(asked[j])) as f32;
            if let Some(shares) = self.shares.get(j * k..j * k + j) {
                for (asked, share) in asked.iter_mut().zip(shares) {
                    *asked += share * off;
                }
            }
        }
    }

    /// Rounds `row` to steps of `scale`.
    pub fn round(&self, row: &[f32], scale: f64) -> Rounded {
        let aim = |weight: f64, asked: f64| weight + asked;
        self.round_towards(row, scale, aim)
    }

    /// Rounds every weight to its nearest step.
    pub fn round_to_nearest(&self, row: &[f32], scale: f64) -> Rounded {
        self.round_towards(row, scale, |weight, _| weight)
    }

    fn round_towards(&self, row: &[f32], scale: f64, aim: impl Fn(f64, f64) -> f64) -> Rounded {
        let mut weights = vec![0; row.len()];
        let (mut error, mut mean) = (0.0, 0.0);
        self.one_by_one(|j, asked| {
            let at = self.order[j];
            let weight = f64::from(row[at]);
            let steps = to_nearest(aim(weight, asked), scale);
            weights[at] = steps as i8;
            let off = weight - steps * scale;
            mean += off * self.mean[at];
            error += (off + asked).powi(2) * self.spread[j];
            off
        });
        Rounded {
            weights,
            error,
            mean,
        }
    }

    /// Errors of the weights of a row, if each rounding misses its target by `roundings`, in order of rounding.
    pub fn errors(&self, roundings: &[f64]) -> Vec<f64> {
        let mut errors = vec![0.0; self.order.len()];
        self.one_by_one(|j, asked| {
            let off = roundings[j] - asked;
            errors[self.order[j]] = off;
            off
        });
        errors
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers from -1 to 1.
    fn numbers() -> impl FnMut() -> f64 {
        let mut state = 9u64;
        move || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 11) as f64 / (1u64 << 52) as f64 - 1.0
        }
    }

    /// The covariance of `k` mixtures of `sources` independent inputs, and a little of each one's own.
    fn covariance(number: &mut impl FnMut() -> f64, k: usize, sources: usize) -> Vec<Vec<f64>> {
        let mix: Vec<Vec<f64>> = (0..k)
            .map(|_| (0..sources).map(|_| number()).collect())
            .collect();
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let one = |i: usize, j: usize| dot(&mix[i], &mix[j]) + if i == j { 0.01 } else { 0.0 };
        (0..k)
            .map(|i| (0..k).map(|j| one(i, j)).collect())
            .collect()
    }

    fn power(covariance: &[Vec<f64>], row: &[f32], weights: &[i8], scale: f64) -> f64 {
        let error = |i: usize| f64::from(row[i]) - scale * f64::from(weights[i]);
        let pairs = (0..row.len()).flat_map(|i| (0..row.len()).map(move |j| (i, j)));
        pairs
            .map(|(i, j)| error(i) * covariance[i][j] * error(j))
            .sum()
    }

    #[test]
    fn the_error_is_the_quadratic_form_and_within_its_bound() {
        let mut number = numbers();
        for k in [1, 2, 7, 40] {
            let covariance = covariance(&mut number, k, 3);
            let mean: Vec<f64> = (0..k).map(|_| number()).collect();
            let compensation = Compensation::new(&mean, |i, j| covariance[i][j], 0.0).unwrap();
            let row: Vec<f32> = (0..k).map(|_| number() as f32).collect();
            let scale = 1.0 / 100.0;
            let bound = compensation.spread.iter().sum::<f64>() * scale * scale / 4.0;
            let made_up_for = compensation.round(&row, scale);
            assert!(made_up_for.error <= bound * 1.0001, "{k}");
            for rounded in [made_up_for, compensation.round_to_nearest(&row, scale)] {
                let exact = power(&covariance, &row, &rounded.weights, scale);
                assert!((rounded.error - exact).abs() < 1e-3 * exact, "{k}");
                let off = |i: usize| f64::from(row[i]) - scale * f64::from(rounded.weights[i]);
                let expected: f64 = (0..k).map(|i| off(i) * mean[i]).sum();
                assert!((rounded.mean - expected).abs() < 1e-9, "{k}");
            }
        }
    }

    /// Compares with the best of all combinations of the two nearest steps of each weight and one more on either side.
    #[test]
    fn it_comes_close_to_the_best_of_all_roundings() {
        let (mut number, k, scale) = (numbers(), 4, 1.0 / 16.0);
        let (mut best, mut made_up_for, mut nearest) = (0.0, 0.0, 0.0);
        for _ in 0..50 {
            let covariance = covariance(&mut number, k, 2);
            let compensation =
                Compensation::new(&vec![0.0; k], |i, j| covariance[i][j], 0.0).unwrap();
            let row: Vec<f32> = (0..k).map(|_| number() as f32).collect();
            let floor = |i: u32| (f64::from(row[i as usize]) / scale).floor() as i8;
            let all = (0..4u32.pow(k as u32)).map(|choice| {
                let step = |i: u32| floor(i) - 1 + (choice / 4u32.pow(i) % 4) as i8;
                let weights: Vec<i8> = (0..k as u32).map(step).collect();
                power(&covariance, &row, &weights, scale)
            });
            best += all.fold(f64::INFINITY, f64::min);
            made_up_for += compensation.round(&row, scale).error;
            nearest += compensation.round_to_nearest(&row, scale).error;
        }
        assert!(
            best <= made_up_for && made_up_for < 2.0 * best,
            "{made_up_for}, {best}"
        );
        assert!(nearest > 4.0 * best, "{nearest}, {best}");
    }

    #[test]
    fn inputs_that_do_not_go_together_leave_nothing_to_make_up_for() {
        let compensation = Compensation::of_the_mean(&[0.5, -1.0, 2.0]);
        let row = [0.24, -0.77, 0.5];
        let [with, without] = [
            compensation.round(&row, 0.1),
            compensation.round_to_nearest(&row, 0.1),
        ];
        assert_eq!(with.weights, without.weights);
        assert_eq!(with.weights, [2, -8, 5]);
        assert!((with.mean - (0.04 * 0.5 - 0.03)).abs() < 1e-6);
    }

    #[test]
    fn inputs_that_never_change_need_damping() {
        assert!(Compensation::new(&[1.0; 3], |_, _| 0.0, 0.0).is_none());
        assert!(Compensation::new(&[1.0; 3], |_, _| f64::NAN, 0.1).is_none());
        assert!(Compensation::new(&[1.0; 3], |_, _| 0.0, 0.1).is_some());
    }
}
