//! Calibration: the range of every value, from running the float model on real inputs.
//!
//! [`crate::quantize`] turns ranges into scales.

use crate::graph::{Graph, Value, float};
use crate::quantize::steps::round;
use crate::reference::{Values, to_f32};
use ndarray::ArrayD;
use std::sync::OnceLock;

/// How the range of an int8 value is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RangeMethod {
    /// The whole range seen.
    MinMax,
    /// Without one in 10 000 at either end.
    Percentile,
    /// The range with the smallest mean squared error of rounding and clipping.
    Mse,
    /// The same, or the whole range if the search for widths finds that with that for all values the outputs lose far less.
    #[default]
    Measured,
}

/// Limit on the elements kept of a value over all samples.
const KEPT: usize = 1 << 16;

/// Elements between two looks at whether a range can still be the best.
const SUMMED: usize = 256;

/// Range and a sample of the distribution of one value.
#[derive(Clone, Debug, Default)]
pub struct Distribution {
    /// Smallest element seen, at most 0.
    pub min: f32,
    /// Largest element seen, at least 0.
    pub max: f32,
    elements: Vec<f32>,
    /// An element was no whole number.
    fractions: bool,
    /// The range of least error, computed on first use: the search takes long.
    least_error: OnceLock<(f32, f32)>,
}

impl Distribution {
    /// The distribution of these elements.
    pub fn of(elements: &[f32]) -> Self {
        let mut distribution = Self::default();
        distribution.add(elements, KEPT);
        distribution
    }

    /// The largest magnitude.
    pub fn largest(&self) -> f32 {
        self.max.max(-self.min)
    }

    /// Adds elements of one of about `samples` samples.
    pub fn extend(&mut self, elements: &[f32], samples: usize) {
        self.add(elements, KEPT / samples.max(1));
    }

    fn add(&mut self, elements: &[f32], keep: usize) {
        for &x in elements.iter().filter(|x| x.is_finite()) {
            self.min = self.min.min(x);
            self.max = self.max.max(x);
            self.fractions |= x.fract() != 0.0;
        }
        let stride = elements.len().div_ceil(keep.max(1)).max(1);
        // The float model gives NaN for a softmax over no keys.
        let some = elements.iter().step_by(stride).filter(|x| x.is_finite());
        self.elements.extend(some);
        self.least_error.take();
    }

    /// Adds what another distribution has seen.
    pub fn merge(&mut self, other: &Self) {
        (self.min, self.max) = (self.min.min(other.min), self.max.max(other.max));
        self.elements.extend(&other.elements);
        self.fractions |= other.fractions;
        self.least_error.take();
    }

    /// True if every element was a whole number, and not all were 0: results of comparisons and roundings, pixels.
    pub fn is_whole(&self) -> bool {
        !self.fractions && self.largest() > 0.0
    }

    /// The range that `method` chooses for 256 steps; contains 0.
    pub fn range(&self, method: RangeMethod) -> (f32, f32) {
        match method {
            RangeMethod::MinMax => (self.min, self.max),
            RangeMethod::Percentile => self.percentile(),
            RangeMethod::Mse | RangeMethod::Measured => {
                *self.least_error.get_or_init(|| self.least_error())
            }
        }
    }

    fn percentile(&self) -> (f32, f32) {
        let mut sorted = self.elements.clone();
        sorted.sort_by(f32::total_cmp);
        let cut = sorted.len() / 10_000;
        match (
            sorted.get(cut),
            sorted.get(sorted.len().wrapping_sub(cut + 1)),
        ) {
            (Some(&low), Some(&high)) => (low.min(0.0), high.max(0.0)),
            _ => (self.min, self.max),
        }
    }

    fn least_error(&self) -> (f32, f32) {
        let error = |(low, high): (f32, f32), limit: f64| {
            let step = f64::from(high - low) / 255.0;
            let one = |x: &f32| {
                let kept = f64::from(x.clamp(low, high));
                let rounded = if step > 0.0 {
                    round(kept / step) * step
                } else {
                    kept
                };
                (rounded - f64::from(*x)).powi(2)
            };
            let mut sum = 0.0;
            for some in self.elements.chunks(SUMMED) {
                sum = some.iter().map(one).fold(sum, |sum, square| sum + square);
                // Squares only add to it.
                if sum > limit {
                    break;
                }
            }
            sum
        };
        let best = |range: &dyn Fn(f32) -> (f32, f32)| {
            let (mut least, mut best) = (f64::INFINITY, 1.0);
            for share in (0..=20).map(|i| 1.0 - 0.03 * i as f32) {
                let error = error(range(share), least);
                if error < least {
                    (least, best) = (error, share);
                }
            }
            best
        };
        let high = self.max * best(&|share| (self.min, self.max * share));
        let low = self.min * best(&|share| (self.min * share, high));
        (low, high)
    }
}

/// The elements of a value in a float run.
#[derive(Clone, Debug, Default)]
pub struct Elements {
    /// Row by row; empty for a value without an ONNX tensor.
    pub values: Vec<f32>,
    /// Rows and channels are in the graph's order.
    pub in_order: bool,
}

/// The elements of every value in a float run. In a run that is shorter than the graph, values that vary have fewer elements. Results of
/// linear layers without an ONNX tensor are computed here.
pub fn elements(graph: &Graph, values: &Values) -> Vec<Elements> {
    let mut all: Vec<Elements> = graph
        .values
        .iter()
        .map(|value| as_they_are(value, values).unwrap_or_default())
        .collect();
    for (id, factors) in &graph.divided {
        let elements = all[id.0].values.iter_mut();
        elements
            .zip(factors.iter().cycle())
            .for_each(|(x, f)| *x /= f);
    }
    for node in &graph.nodes {
        if graph.values[node.output.0].source.is_some() {
            continue;
        }
        let inputs: Vec<&[f32]> = node.inputs.iter().map(|id| &all[id.0].values[..]).collect();
        if let Some(values) = float::evaluate(graph, node, &inputs) {
            all[node.output.0] = Elements {
                values,
                in_order: node.inputs.iter().all(|id| all[id.0].in_order),
            };
        }
    }
    all
}

/// The elements of a value in its ONNX tensor; in a shorter run, all elements of the tensor.
fn as_they_are(value: &Value, values: &Values) -> Option<Elements> {
    let source = value.source.as_ref()?;
    let onnx = to_f32(values.get(&source.onnx)?)?;
    let ordered = if onnx.len() == source.position.len() {
        physical(value, values)
    } else {
        shorter(value, &source.position, &onnx)
    };
    let in_order = ordered.is_some();
    let values = ordered.unwrap_or_else(|| onnx.iter().copied().collect());
    Some(Elements { values, in_order })
}

/// The elements of a run with fewer rows, in physical order: positions do not depend on the number of rows after them. `None` if no axis
/// of the tensor is the axis of the rows.
fn shorter(value: &Value, position: &[u32], onnx: &ArrayD<f32>) -> Option<Vec<f32>> {
    let rows = onnx.len() / value.channels().max(1);
    (0..onnx.ndim())
        .filter(|&axis| onnx.shape()[axis] == rows)
        .find_map(|axis| {
            let mut full = onnx.shape().to_vec();
            full[axis] = value.rows();
            let mut elements = vec![0.0; onnx.len()];
            for (at, &x) in onnx.indexed_iter() {
                let flat = (0..full.len()).fold(0, |flat, axis| flat * full[axis] + at[axis]);
                *elements.get_mut(*position.get(flat)? as usize)? = x;
            }
            Some(elements)
        })
}

/// The elements of a value in a float run, in physical order; `None` for a value without an ONNX tensor.
pub fn physical(value: &Value, values: &Values) -> Option<Vec<f32>> {
    let source = value.source.as_ref()?;
    let onnx = to_f32(values.get(&source.onnx)?)?;
    let mut elements = vec![0.0; value.len()];
    for (&x, &position) in onnx.iter().zip(&source.position) {
        if let Some(slot) = elements.get_mut(position as usize) {
            *slot = x;
        }
    }
    Some(elements)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_outlier() -> Distribution {
        let mut elements: Vec<f32> = (0..60_000).map(|i| i as f32 / 30_000.0 - 1.0).collect();
        elements.push(60.0);
        Distribution::of(&elements)
    }

    #[test]
    fn an_outlier_is_clipped_by_percentile_and_by_error() {
        let distribution = with_outlier();
        assert_eq!(distribution.range(RangeMethod::MinMax).1, 60.0);
        assert!(distribution.range(RangeMethod::Percentile).1 < 1.01);
        assert!(distribution.range(RangeMethod::Mse).1 < 60.0);
    }

    #[test]
    fn every_range_contains_zero() {
        let distribution = Distribution::of(&[3.0, 4.0, 5.0]);
        for method in [
            RangeMethod::MinMax,
            RangeMethod::Percentile,
            RangeMethod::Mse,
        ] {
            let (low, high) = distribution.range(method);
            assert!(low <= 0.0 && high >= 3.0, "{method:?}: {low} to {high}");
        }
    }

    /// A tensor `[1, heads, rows, d]` of a value `[rows, heads * d]`, and one with columns for rows.
    #[test]
    fn a_shorter_run_has_the_same_elements_in_its_rows() {
        let (heads, rows, d) = (3, 5, 3);
        let value = Value {
            name: "context".into(),
            dims: vec![rows, heads * d],
            source: None,
        };
        let element = |row: usize, channel: usize| (10 * row + channel) as f32;
        for fewer in [1, 2, 3, 4] {
            let expected: Vec<f32> = (0..fewer)
                .flat_map(|row| (0..heads * d).map(move |channel| element(row, channel)))
                .collect();
            let mut position = Vec::new();
            for (head, row) in (0..heads).flat_map(|head| (0..rows).map(move |row| (head, row))) {
                position.extend((0..d).map(|i| (row * heads * d + head * d + i) as u32));
            }
            let split = ArrayD::from_shape_fn(vec![1, heads, fewer, d], |at| {
                element(at[2], at[1] * d + at[3])
            });
            assert_eq!(
                shorter(&value, &position, &split).unwrap(),
                expected,
                "{fewer}"
            );
            let merged = ArrayD::from_elem(vec![fewer * heads, 1, d], 0.0);
            assert!(fewer == 1 || shorter(&value, &position, &merged).is_none());
            let position: Vec<u32> = (0..heads * d)
                .flat_map(|channel| (0..rows).map(move |row| (row * heads * d + channel) as u32))
                .collect();
            let columns =
                ArrayD::from_shape_fn(vec![1, heads * d, fewer], |at| element(at[2], at[1]));
            assert_eq!(
                shorter(&value, &position, &columns).unwrap(),
                expected,
                "{fewer}"
            );
        }
    }
}
