//! Second moments of the inputs of a layer's weights, and the damping that they need.
//!
//! Rounding that compensates errors on the calibration rows may do worse on others, and more so with more inputs per row. So the covariance
//! is damped. Cross-validation chooses the damping: runs are split into halves, each half's compensation is measured on the other half. If
//! nothing beats rounding to nearest, the layer is rounded to nearest.

use super::rounding::Compensation;
use ndarray::{Array1, Array2, ArrayView2, Axis, linalg::general_mat_mul};
use std::sync::OnceLock;

/// Wider rows are rounded to nearest: the matrix of second moments has as many elements as this squared.
pub const MOST_INPUTS: usize = 2048;
/// Candidates for the damping, as parts of the inputs' mean variance: inputs vary in directions that calibration did not show.
const DAMPINGS: [f64; 5] = [0.01, 0.03, 0.1, 0.3, 1.0];
/// Above this number of inputs, every other damping is tried: a factorization takes time.
const MANY_INPUTS: usize = 768;
/// Damping is chosen on half of the rows; with all of them, half as much is enough.
const HALVES_OVER_ALL: f64 = 0.5;
/// Rows of random errors that are tried.
const TRIALS: usize = 32;

/// Sums over some rows.
#[derive(Clone, Debug)]
struct Sums {
    rows: usize,
    /// `[k]`
    sum: Array1<f64>,
    /// `[k, k]`
    products: Array2<f64>,
}

impl Sums {
    fn new(k: usize) -> Self {
        Self {
            rows: 0,
            sum: Array1::zeros(k),
            products: Array2::zeros((k, k)),
        }
    }

    fn mean(&self) -> Array1<f64> {
        &self.sum / self.rows as f64
    }

    /// With damping by a part of the mean variance.
    fn compensation(&self, damping: f64) -> Option<Compensation> {
        let (mean, rows) = (self.mean().to_vec(), self.rows as f64);
        let covariance = |i: usize, j: usize| self.products[(i, j)] / rows - mean[i] * mean[j];
        let variance: f64 = (0..mean.len()).map(|i| covariance(i, i)).sum();
        let damping = damping * variance / mean.len() as f64;
        Compensation::new(&mean, covariance, damping)
    }

    /// Power that errors of weights add to the output, if the bias corrects their effect on inputs of `mean`.
    fn power(&self, errors: &Array1<f64>, mean: &Array1<f64>) -> f64 {
        let rows = self.rows as f64;
        let (here, expected) = (errors.dot(&self.sum) / rows, errors.dot(mean));
        errors.dot(&self.products.dot(errors)) / rows - 2.0 * here * expected + expected.powi(2)
    }
}

/// First and second moments of a layer's inputs over calibration.
#[derive(Debug)]
pub struct Moments {
    halves: [Sums; 2],
    compensation: OnceLock<Option<Compensation>>,
}

impl Moments {
    /// Moments without rows, for rows of `k` inputs.
    pub fn new(k: usize) -> Self {
        Self {
            halves: [Sums::new(k), Sums::new(k)],
            compensation: OnceLock::new(),
        }
    }

    /// Adds rows `[rows, k]` of finite elements from sample number `sample`.
    pub fn add(&mut self, rows: ArrayView2<f64>, sample: usize) {
        let sums = &mut self.halves[sample % 2];
        sums.rows += rows.nrows();
        sums.sum += &rows.sum_axis(Axis(0));
        general_mat_mul(1.0, &rows.t(), &rows, 1.0, &mut sums.products);
        self.compensation.take();
    }

    /// Turns into the moments of the other rows, where these are some of `all`.
    pub fn become_others(&mut self, all: &Self) {
        for (own, all) in self.halves.iter_mut().zip(&all.halves) {
            own.rows = all.rows - own.rows;
            own.sum = &all.sum - &own.sum;
            own.products
                .zip_mut_with(&all.products, |own, all| *own = all - *own);
        }
        self.compensation.take();
    }

    /// How rows of weights for these inputs are rounded; `None` if rounding to nearest is best, or if there are not two samples to
    /// compare.
    pub fn compensation(&self) -> Option<&Compensation> {
        self.compensation.get_or_init(|| self.find()).as_ref()
    }

    fn find(&self) -> Option<Compensation> {
        if self.halves.iter().any(|half| half.rows == 0) {
            return None;
        }
        let step = 1 + usize::from(self.halves[0].sum.len() > MANY_INPUTS);
        let dampings = DAMPINGS.iter().step_by(step).copied().map(Some);
        let mut best = (self.power(|_| None)?, None);
        for damping in dampings.chain([None]) {
            let rounded = |half: &Sums| match damping {
                Some(damping) => half.compensation(damping),
                None => Some(Compensation::of_the_mean(&half.mean().to_vec())),
            };
            let power = self.power(|half| Some(rounded(half)));
            if let Some(power) = power.filter(|&power| power < best.0) {
                best = (power, Some(damping));
            }
        }
        let [first, second] = &self.halves;
        let all = Sums {
            rows: first.rows + second.rows,
            sum: &first.sum + &second.sum,
            products: &first.products + &second.products,
        };
        match best.1? {
            Some(damping) => all.compensation(damping * HALVES_OVER_ALL),
            None => Some(Compensation::of_the_mean(&all.mean().to_vec())),
        }
    }

    /// Power that random rounding errors add to the output on each half, with the compensation from the other half; `None` if there is
    /// none.
    fn power(&self, suggest: impl Fn(&Sums) -> Option<Option<Compensation>>) -> Option<f64> {
        let k = self.halves[0].sum.len();
        let mut power = 0.0;
        for (half, other) in [(0, 1), (1, 0)] {
            let (half, other) = (&self.halves[half], &self.halves[other]);
            let suggested = match suggest(half) {
                Some(Some(compensation)) => Some((compensation, half.mean())),
                Some(None) => return None,
                None => None,
            };
            for roundings in signs(k) {
                power += match &suggested {
                    Some((compensation, mean)) => {
                        other.power(&compensation.errors(&roundings).into(), mean)
                    }
                    None => other.power(&roundings.into(), &Array1::zeros(k)),
                };
            }
        }
        Some(power)
    }
}

/// Rows of random signs: the mean of their quadratic form is a matrix's trace (Hutchinson's estimator).
fn signs(k: usize) -> impl Iterator<Item = Vec<f64>> {
    let mut state = 1u64;
    let mut sign = move || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        if state >> 63 == 0 { 1.0 } else { -1.0 }
    };
    (0..TRIALS).map(move |_| (0..k).map(|_| sign()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const K: usize = 24;

    /// Rows about 1 that are mixtures of `sources` independent inputs with a little noise; different ones for each `seed`.
    fn rows(seed: u64, count: usize, sources: usize) -> Array2<f64> {
        let mut state = seed;
        let mut number = move || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 11) as f64 / (1u64 << 52) as f64 - 1.0
        };
        let mix = |i: usize, source: usize| ((i * 7 + source * 13) as f64).sin();
        let mut rows = Array2::zeros((count, K));
        for mut row in rows.rows_mut() {
            let inputs: Vec<f64> = (0..sources).map(|_| number()).collect();
            for (i, x) in row.iter_mut().enumerate() {
                let mixed = (0..sources).map(|source| mix(i, source) * inputs[source]);
                *x = 1.0 + mixed.sum::<f64>() + 0.05 * number();
            }
        }
        rows
    }

    fn seen(samples: u64, count: usize, sources: usize) -> Moments {
        let mut moments = Moments::new(K);
        for sample in 0..samples {
            let rows = rows(sample + 1, count, sources);
            moments.add(rows.view(), sample as usize);
        }
        moments
    }

    /// Power of the errors of 50 rows of weights on unseen rows, relative to rounding to nearest.
    fn share_of_error(moments: &Moments, sources: usize) -> f64 {
        let fresh = rows(1 << 40, 400, sources);
        let (mut made_up_for, mut nearest) = (0.0, 0.0);
        for at in 0..50 {
            let weights: Vec<f32> = (0..K).map(|i| ((at * K + i) as f32 * 0.7).sin()).collect();
            let compensation = moments.compensation().unwrap();
            let scale = 1.0 / 127.0;
            let rounded = compensation.round(&weights, scale);
            for row in fresh.rows() {
                let off = |steps: &dyn Fn(usize) -> f64| {
                    let one = |i: usize| (f64::from(weights[i]) - scale * steps(i)) * row[i];
                    (0..K).map(one).sum::<f64>()
                };
                made_up_for += (off(&|i| rounded.weights[i].into()) - rounded.mean).powi(2);
                nearest += off(&|i| (f64::from(weights[i]) / scale).round()).powi(2);
            }
        }
        made_up_for / nearest
    }

    #[test]
    fn inputs_that_go_together_lose_far_less_on_rows_that_calibration_has_not_seen() {
        let share = share_of_error(&seen(8, 50, 3), 3);
        assert!(share < 0.05, "{share} of the error");
    }

    #[test]
    fn few_rows_are_not_trusted_further_than_they_reach() {
        // One source per input, and fewer rows than inputs: only the mean is useful.
        let share = share_of_error(&seen(4, 4, 2 * K), 2 * K);
        assert!(share < 1.0, "{share} of the error");
    }

    #[test]
    fn one_sample_cannot_tell() {
        assert!(seen(1, 100, 3).compensation().is_none());
        assert!(seen(2, 100, 3).compensation().is_some());
    }

    #[test]
    fn sums_over_halves_are_sums_over_all() {
        let (all, mut apart) = (rows(3, 10, 2), Moments::new(K));
        apart.add(all.slice(ndarray::s![..6, ..]), 0);
        apart.add(all.slice(ndarray::s![6.., ..]), 1);
        let mut together = Sums::new(K);
        together.products = all.t().dot(&all);
        let [first, second] = &apart.halves;
        let products = &first.products + &second.products;
        assert!(
            (products - &together.products)
                .iter()
                .all(|x| x.abs() < 1e-12)
        );
        // Errors along one input alone: its mean square.
        together.rows = 10;
        together.sum = all.sum_axis(Axis(0));
        let mut one = Array1::zeros(K);
        one[4] = 2.0;
        let exact = all.column(4).iter().map(|x| 4.0 * x * x).sum::<f64>() / 10.0;
        let power = together.power(&one, &Array1::zeros(K));
        assert!((power - exact).abs() < 1e-12, "{power}, {exact}");
        let mean = all.column(4).mean().unwrap();
        let power = together.power(&one, &together.mean());
        assert!((power - (exact - 4.0 * mean * mean)).abs() < 1e-12);
    }
}
