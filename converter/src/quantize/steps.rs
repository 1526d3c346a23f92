//! From a row of weights to int8: the scale, and the step for each weight.
//!
//! There are three ways, from fast to good. [`super::rounding`] compensates errors; [`super::weights`] has biases and limits of
//! accumulators.

use super::rounding::{Compensation, Rounded};
use std::cell::RefCell;
use std::collections::HashMap;

/// Largest weight; -128 is not used, so that a weight and its negative both exist.
pub const WEIGHT_MAX: f64 = 127.0;

/// `x` to the nearest whole number, halves away from 0, as `f64::round` has it, for `x` within the range of `i32`: without a call for each
/// element.
pub fn round(x: f64) -> f64 {
    let whole = f64::from(x as i32);
    let rest = x - whole;
    whole + f64::from(i8::from(rest >= 0.5) - i8::from(rest <= -0.5))
}

/// `weight` in steps of `scale`, to nearest, at most [`WEIGHT_MAX`] in magnitude.
pub fn to_nearest(weight: f64, scale: f64) -> f64 {
    const BEYOND: f64 = WEIGHT_MAX + 1.0;
    round((weight / scale).clamp(-BEYOND, BEYOND)).clamp(-WEIGHT_MAX, WEIGHT_MAX)
}

/// Limits on the scales tried for a row: in total, and times its length. A short row gains most from many candidates.
const MOST_SCALES: usize = 400;
const SCALED_WEIGHTS: usize = 1 << 18;

/// The scale with the least error of rounding and clipping, near `scale`, with which the largest weight is 127. The error varies with the
/// step of the grid, and more so for short rows.
fn least_error(row: &[f32], scale: f64) -> f64 {
    let count = (SCALED_WEIGHTS / row.len().max(1)).clamp(32, MOST_SCALES);
    let error = |scale: f64| {
        let (step, per_step) = (scale as f32, (1.0 / scale) as f32);
        let one = |&w: &f32| {
            let rounded = (w * per_step)
                .round_ties_even()
                .clamp(-WEIGHT_MAX as f32, WEIGHT_MAX as f32);
            let error = rounded * step - w;
            error * error
        };
        row.iter().map(one).sum::<f32>()
    };
    let mut best = (error(scale), scale);
    for i in 0..count {
        let scale = scale * (0.85 + 0.2 * i as f64 / count as f64);
        let error = error(scale);
        if error < best.0 {
            best = (error, scale);
        }
    }
    best.1
}

/// How rows are rounded.
#[derive(Clone, Copy, Debug)]
pub enum Rounding<'c> {
    /// To nearest, with 127 for the largest weight: fast.
    Nearest,
    /// To nearest, with the scale of least error.
    BestScale,
    /// With compensation of errors, and the scale of least error.
    Compensated(&'c Compensation),
    /// The best of these, with fewer scales to choose from, and remembered.
    Quick(Option<&'c Compensation>, &'c Memory),
}

impl Rounding<'_> {
    /// A row's weights in steps of a scale near `scale`, with which the largest is 127.
    pub fn round(self, row: &[f32], scale: f64) -> Steps {
        match self {
            Self::Nearest => Steps::nearest(row, scale),
            Self::BestScale => Steps::nearest(row, least_error(row, scale)),
            Self::Compensated(compensation) => {
                compensated(compensation, row, scale, COMPENSATED_PRODUCTS)
            }
            Self::Quick(compensation, memory) => {
                memory.steps(compensation, row, scale, || match compensation {
                    Some(compensation) => compensated(compensation, row, scale, QUICK_PRODUCTS),
                    None => Steps::nearest(row, least_error(row, scale)),
                })
            }
        }
    }

    /// The same with exactly this scale.
    pub fn round_to(self, row: &[f32], scale: f64) -> Steps {
        match self {
            Self::Compensated(compensation) | Self::Quick(Some(compensation), _) => {
                Steps::of(compensation.round(row, scale), scale)
            }
            _ => Steps::nearest(row, scale),
        }
    }
}

/// Weights in steps of a scale, and the correction of the bias.
#[derive(Clone, Debug)]
pub struct Steps {
    /// int8, at most [`WEIGHT_MAX`] in magnitude.
    pub weights: Vec<i8>,
    /// Real value of a step.
    pub scale: f64,
    /// To be added to the bias.
    pub mean: f64,
}

impl Steps {
    fn nearest(row: &[f32], scale: f64) -> Self {
        let round = |&w: &f32| to_nearest(w.into(), scale) as i8;
        Self {
            weights: row.iter().map(round).collect(),
            scale,
            mean: 0.0,
        }
    }

    fn of(rounded: Rounded, scale: f64) -> Self {
        Self {
            weights: rounded.weights,
            scale,
            mean: rounded.mean,
        }
    }
}

/// What decides about the steps of a row: its weights, the scale near which it is rounded, and the place of the compensation in memory.
type Key = (Box<[u32]>, u64, usize);

/// Rows that were rounded before: the programs of a search have the same weights. It must not outlive the compensations.
#[derive(Debug, Default)]
pub struct Memory(RefCell<HashMap<Key, Steps>>);

impl Memory {
    fn steps(
        &self,
        compensation: Option<&Compensation>,
        row: &[f32],
        scale: f64,
        make: impl FnOnce() -> Steps,
    ) -> Steps {
        let place = compensation.map_or(0, |found| std::ptr::from_ref(found).addr());
        let weights = row.iter().map(|weight| weight.to_bits()).collect();
        let key = (weights, scale.to_bits(), place);
        let mut known = self.0.borrow_mut();
        known.entry(key).or_insert_with(make).clone()
    }
}

/// Limit on the products of weights and errors in the search for a row's scale, and the minimum number of scales.
const COMPENSATED_PRODUCTS: usize = 1 << 20;
const QUICK_PRODUCTS: usize = 1 << 17;
const FEWEST_SCALES: usize = 16;

/// The best of rounding with compensation in many scales, and of rounding to nearest.
fn compensated(compensation: &Compensation, row: &[f32], scale: f64, most: usize) -> Steps {
    let products = row.len() * row.len() / 2;
    let count = (most / products.max(1)).clamp(FEWEST_SCALES, MOST_SCALES);
    let plain = least_error(row, scale);
    let mut best = (compensation.round_to_nearest(row, plain), plain);
    let scales = (0..count).map(|i| scale * (0.85 + 0.2 * i as f64 / count as f64));
    for scale in [plain, scale].into_iter().chain(scales) {
        let rounded = compensation.round(row, scale);
        if rounded.error < best.0.error {
            best = (rounded, scale);
        }
    }
    Steps::of(best.0, best.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn largest(row: &[f32]) -> f64 {
        row.iter().fold(0.0, |max, w| f64::from(w.abs()).max(max))
    }

    #[test]
    fn scales_of_their_own_lose_less_of_short_rows() {
        let mut state = 1u32;
        let mut number = |_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        };
        let rows: Vec<Vec<f32>> = (0..50)
            .map(|_| (0..32).map(&mut number).collect())
            .collect();
        let error = |rounding: Rounding| {
            let one = |row: &Vec<f32>| {
                let steps = rounding.round(row, largest(row) / WEIGHT_MAX);
                let off = |(q, &w): (&i8, &f32)| f64::from(*q) * steps.scale - f64::from(w);
                let squares = steps.weights.iter().zip(row).map(|pair| off(pair).powi(2));
                squares.sum::<f64>()
            };
            rows.iter().map(one).sum::<f64>()
        };
        let share = error(Rounding::BestScale) / error(Rounding::Nearest);
        assert!(share < 0.85, "{share} of the error");
    }

    #[test]
    fn the_nearest_step_is_that_of_round() {
        let halves = (-600..600).map(|i| f64::from(i) / 2.0);
        let around = halves.flat_map(|x| [x.next_down(), x, x.next_up()]);
        for x in around.chain([f64::INFINITY, f64::NEG_INFINITY, 1e300]) {
            let plain = x.round().clamp(-WEIGHT_MAX, WEIGHT_MAX);
            assert_eq!(to_nearest(x, 1.0), plain, "{x}");
            assert!(x.abs() > 1e9 || round(x) == x.round(), "{x}");
        }
        assert_eq!(to_nearest(f64::NAN, 1.0) as i8, 0);
    }

    /// On correlated inputs, no row has more error than with rounding to nearest in its best scale.
    #[test]
    fn a_compensated_row_never_loses_more_than_the_nearest() {
        let (k, mut state) = (12, 3u64);
        let mut number = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 11) as f64 / (1u64 << 52) as f64 - 1.0
        };
        let (mut compensated, mut nearest) = (0.0, 0.0);
        for _ in 0..20 {
            let mix: Vec<f64> = (0..k * 4).map(|_| number()).collect();
            let covariance = |i: usize, j: usize| {
                let common = (0..4).map(|s| mix[i * 4 + s] * mix[j * 4 + s]).sum::<f64>();
                common + if i == j { 0.02 } else { 0.0 }
            };
            let mean: Vec<f64> = (0..k).map(|_| number()).collect();
            let compensation = Compensation::new(&mean, covariance, 0.0).unwrap();
            for _ in 0..10 {
                let row: Vec<f32> = (0..k).map(|_| number() as f32).collect();
                let power = |rounding: Rounding| {
                    let steps = rounding.round(&row, largest(&row) / WEIGHT_MAX);
                    let real = |i: usize| steps.scale * f64::from(steps.weights[i]);
                    let off = |i: usize| f64::from(row[i]) - real(i);
                    (0..k)
                        .flat_map(|i| (0..k).map(move |j| off(i) * covariance(i, j) * off(j)))
                        .sum::<f64>()
                };
                let both = [Rounding::Compensated(&compensation), Rounding::BestScale].map(power);
                assert!(both[0] <= both[1] * 1.001, "{both:?}");
                compensated += both[0];
                nearest += both[1];
            }
        }
        assert!(compensated < 0.2 * nearest, "{compensated}, {nearest}");
    }
}
