//! Weight matrices: int8 per output channel, zero points folded into the bias, multipliers, and the proof that no
//! accumulator overflows.

mod joined;

use super::Quant;
use super::steps::{Rounding, Steps, WEIGHT_MAX};
use crate::error::{ConvertError, Result};
use attn_runtime::kernels::int::dot::{packed_index, packed_len, pairs_len};

/// Limit on bias steps, which leaves room for the products in 32 bits.
const BIAS_MAX: f64 = (1u32 << 30) as f64;

/// One weight matrix `[out, k]` in integers.
#[derive(Clone, Debug)]
pub struct Weights {
    rows: Vec<Vec<i8>>,
    k: usize,
    /// Real value of one weight step, per output.
    scales: Vec<f64>,
    /// With the input's zero point folded in.
    bias: Vec<i32>,
    /// Largest magnitude that the accumulator can take, per output.
    bounds: Vec<i64>,
}

/// Requantization of one operator; see [`attn_runtime::kernels::int::requantize`].
#[derive(Clone, Debug)]
pub struct Multipliers {
    /// One per output.
    pub values: Vec<i32>,
    /// Common left shift.
    pub left_shift: u32,
}

/// One output's weights in integers.
struct Row {
    weights: Vec<i8>,
    scale: f64,
    bias: i64,
    bound: i64,
}

impl Row {
    fn new(steps: Steps, bias: f32, x: Quant) -> Self {
        let Steps {
            weights,
            scale,
            mean,
        } = steps;
        let sum: i64 = weights.iter().map(|&w| i64::from(w)).sum();
        let magnitude: i64 = weights.iter().map(|&w| i64::from(w).abs()).sum();
        let bias = ((f64::from(bias) + mean) / (f64::from(x.scale) * scale)).round() as i64
            - i64::from(x.zero_point) * sum;
        Self {
            bound: bias.abs() + magnitude * x.magnitude(),
            weights,
            scale,
            bias,
        }
    }
}

impl Weights {
    /// Quantizes the rows of a matrix, each with `k` weights, for an input held as `x`.
    ///
    /// # Errors
    /// [`ConvertError::Limit`] when an accumulator could leave 32 bits.
    pub fn new<'w>(
        node: &str,
        rows: impl Iterator<Item = &'w [f32]>,
        bias: &[f32],
        x: Quant,
        rounding: Rounding,
    ) -> Result<Self> {
        let mut weights = Self {
            rows: Vec::new(),
            k: 0,
            scales: Vec::new(),
            bias: Vec::new(),
            bounds: Vec::new(),
        };
        for (row, &b) in rows.zip(bias) {
            weights.push(node, row, b, x, rounding)?;
        }
        Ok(weights)
    }

    fn push(
        &mut self,
        node: &str,
        row: &[f32],
        bias: f32,
        x: Quant,
        rounding: Rounding,
    ) -> Result<()> {
        let largest = row
            .iter()
            .fold(0.0f64, |max, w| max.max(f64::from(w.abs())));
        let scale =
            (largest / WEIGHT_MAX).max(f64::from(bias.abs()) / (f64::from(x.scale) * BIAS_MAX));
        // A row of zeros must not determine the common shift.
        let scale = if scale > 0.0 { scale } else { 1e-9 };
        let limit = i64::from(i32::MAX);
        let mut quantized = Row::new(rounding.round(row, scale), bias, x);
        // Long rows with int16 inputs need smaller weights. A sum of many terms loses little.
        for _ in 0..4 {
            let excess = quantized.bound as f64 / limit as f64;
            if excess > 1.0 {
                let scale = quantized.scale * excess * 1.02;
                quantized = Row::new(rounding.round_to(row, scale), bias, x);
            }
        }
        if quantized.bound > limit {
            let output = self.rows.len();
            let reason = format!(
                "output {output} sums {} products of up to {} and could leave 32 bits: make the layer narrower",
                row.len(),
                127 * x.magnitude()
            );
            return Err(ConvertError::Limit {
                node: node.into(),
                reason,
            });
        }
        self.k = row.len();
        self.rows.push(quantized.weights);
        self.scales.push(quantized.scale);
        self.bias.push(quantized.bias as i32);
        self.bounds.push(quantized.bound);
        Ok(())
    }

    /// The outputs of another matrix behind these.
    pub fn append(&mut self, other: Self) {
        self.rows.extend(other.rows);
        self.scales.extend(other.scales);
        self.bias.extend(other.bias);
        self.bounds.extend(other.bounds);
    }

    /// Number of outputs.
    pub fn outputs(&self) -> usize {
        self.rows.len()
    }

    /// What rounding has left of the rows and biases that these weights were made of, for an input held as `x`.
    pub fn rest(&self, rows: &[Vec<f32>], bias: &[f32], x: Quant) -> (Vec<Vec<f32>>, Vec<f32>) {
        let own = self.rows.iter().zip(&self.scales);
        let left = own.clone().zip(rows).map(|((own, &scale), row)| {
            let left = |(&w, &q): (&f32, &i8)| (f64::from(w) - f64::from(q) * scale) as f32;
            row.iter().zip(own).map(left).collect()
        });
        let biases = own.zip(&self.bias).zip(bias);
        let bias = biases.map(|(((own, &scale), &folded), &bias)| {
            let sum: i64 = own.iter().map(|&q| i64::from(q)).sum();
            let steps = i64::from(folded) + i64::from(x.zero_point) * sum;
            (f64::from(bias) - steps as f64 * f64::from(x.scale) * scale) as f32
        });
        (left.collect(), bias.collect())
    }

    /// Weights in the order of reading; see [`attn_runtime::kernels::int::dot`].
    pub fn packed(&self) -> Vec<i8> {
        let mut packed = vec![0; packed_len(self.rows.len(), self.k)];
        for (o, row) in self.rows.iter().enumerate() {
            for (i, &w) in row.iter().enumerate() {
                packed[packed_index(o, i, self.k)] = w;
            }
        }
        packed
    }

    /// Weights as `[k, out]`, for a depthwise convolution.
    pub fn transposed(&self) -> Vec<i8> {
        (0..self.k)
            .flat_map(|i| self.rows.iter().map(move |row| row[i]))
            .collect()
    }

    /// The biases.
    pub fn bias(&self) -> &[i32] {
        &self.bias
    }

    /// Multipliers to an output with `out_scale` from an input with `x_scale`.
    ///
    /// # Errors
    /// [`ConvertError::Limit`] when the results cannot be represented.
    pub fn multipliers(&self, node: &str, x_scale: f32, out_scale: f64) -> Result<Multipliers> {
        let factors: Vec<f64> = self
            .scales
            .iter()
            .map(|s| s * f64::from(x_scale) / out_scale)
            .collect();
        multipliers(node, &factors, &self.bounds)
    }

    /// Largest magnitude of the real result, over all outputs, in steps of `out_scale`.
    pub fn largest(&self, x_scale: f32, out_scale: f64) -> f64 {
        let result =
            |(bound, scale): (&i64, &f64)| *bound as f64 * scale * f64::from(x_scale) / out_scale;
        self.bounds
            .iter()
            .zip(&self.scales)
            .map(result)
            .fold(0.0, f64::max)
    }

    /// Rows `gate * hidden ..` of a recurrent layer as a matrix of their own.
    pub fn gate(&self, gate: usize, hidden: usize) -> Self {
        let part = gate * hidden..(gate + 1) * hidden;
        Self {
            rows: self.rows[part.clone()].to_vec(),
            k: self.k,
            scales: self.scales[part.clone()].to_vec(),
            bias: self.bias[part.clone()].to_vec(),
            bounds: self.bounds[part].to_vec(),
        }
    }
}

/// Multipliers for real `factors`, with the smallest shift that makes all of them fit (which loses the least), and
/// accumulators of at most `bounds`.
fn multipliers(node: &str, factors: &[f64], bounds: &[i64]) -> Result<Multipliers> {
    let limit = f64::from(i32::MAX);
    let scaled = |factor: f64, shift: u32| (factor * f64::from(32 - shift).exp2()).round();
    let fits = |shift: &u32| {
        factors
            .iter()
            .all(|&factor| scaled(factor, *shift) <= limit)
    };
    let too_large = |reason: &str| ConvertError::Limit {
        node: node.into(),
        reason: reason.into(),
    };
    let left_shift = (0..32).find(fits).ok_or_else(|| {
        too_large("a scale factor is beyond 2^31: calibrate with data on which the layer's output is not constant")
    })?;
    if bounds
        .iter()
        .any(|&bound| bound << left_shift > i64::from(i32::MAX))
    {
        return Err(too_large(
            "the results' range is much smaller than what the weights could give: calibrate with more varied data",
        ));
    }
    let values = factors
        .iter()
        .map(|&factor| (scaled(factor, left_shift) as i32).max(1))
        .collect();
    Ok(Multipliers { values, left_shift })
}

/// One multiplier for a change of scale of a value held as `x`; see [`attn_runtime::ops::RequantizeParams`].
///
/// # Errors
/// [`ConvertError::Limit`] when the scales are too far apart.
pub fn rescale(node: &str, x: Quant, out_scale: f32) -> Result<(i32, u32)> {
    let factor = f64::from(x.scale) / f64::from(out_scale);
    let found = multipliers(node, &[factor], &[2 * x.magnitude()])?;
    Ok((found.values[0], found.left_shift))
}

/// One multiplier for the product of two values and a constant; see [`attn_runtime::ops::MulParams`].
///
/// # Errors
/// [`ConvertError::Limit`] when the constant is not positive or the scales are too far apart.
pub fn product(
    node: &str,
    inputs: [Quant; 2],
    constant: f32,
    out_scale: f32,
) -> Result<(i32, u32)> {
    if constant <= 0.0 {
        let reason =
            format!("a product with the constant {constant}: put it into the layer before it");
        return Err(ConvertError::Limit {
            node: node.into(),
            reason,
        });
    }
    let [a, b] = inputs;
    let factor =
        f64::from(a.scale) * f64::from(b.scale) * f64::from(constant) / f64::from(out_scale);
    let largest = |x: Quant| x.magnitude() + i64::from(x.zero_point.abs());
    let found = multipliers(node, &[factor], &[largest(a) * largest(b)])?;
    Ok((found.values[0], found.left_shift))
}

/// One multiplier for the mean over `rows` rows of a value held as `x`; see [`attn_runtime::ops::MeanRowsParams`].
///
/// # Errors
/// [`ConvertError::Limit`] when the scales are too far apart or the sum could leave 32 bits.
pub fn mean(node: &str, x: Quant, rows: usize, out_scale: f32) -> Result<(i32, u32)> {
    let factor = f64::from(x.scale) / (f64::from(out_scale) * rows as f64);
    let found = multipliers(node, &[factor], &[2 * x.magnitude() * rows as i64])?;
    Ok((found.values[0], found.left_shift))
}

/// The rows of an embedding table in integers, and the multiplier from each to an output with `out_scale`.
///
/// # Errors
/// [`ConvertError::Limit`] when the scales are too far apart.
pub fn table<'w>(
    node: &str,
    rows: impl Iterator<Item = &'w [f32]>,
    out_scale: f32,
    rounding: Rounding,
) -> Result<(Vec<i8>, Multipliers)> {
    let (mut stored, mut factors) = (Vec::new(), Vec::new());
    for row in rows {
        let largest = row
            .iter()
            .fold(0.0f64, |max, &w| max.max(f64::from(w.abs())));
        let steps = rounding.round(row, largest.max(1e-9) / WEIGHT_MAX);
        stored.extend(steps.weights);
        factors.push(steps.scale / f64::from(out_scale));
    }
    let bounds = vec![WEIGHT_MAX as i64; factors.len()];
    Ok((stored, multipliers(node, &factors, &bounds)?))
}

/// One multiplier for a sum of products of weights and values; `held` are the quantizations of both and of the sum,
/// `largest` bounds the sum of the weights' magnitudes. See [`attn_runtime::ops::WeightedRowsParams`].
///
/// # Errors
/// [`ConvertError::Limit`] when the scales are too far apart or the sum could leave 32 bits.
pub fn weighted(node: &str, held: [Quant; 3], largest: i64) -> Result<(i32, u32)> {
    let [w, x, y] = held;
    let factor = f64::from(w.scale) * f64::from(x.scale) / f64::from(y.scale);
    let value = x.magnitude() + i64::from(x.zero_point.abs());
    let found = multipliers(node, &[factor], &[largest * value])?;
    Ok((found.values[0], found.left_shift))
}

/// One multiplier, and the right shift of the sums before it, for products of matrices whose sums have `k` terms; `held` are the
/// quantizations of both and of the result. See [`attn_runtime::ops::MatMulParams`].
///
/// # Errors
/// [`ConvertError::Limit`] when the scales are too far apart.
pub fn multiplied(node: &str, held: [Quant; 3], k: usize) -> Result<((i32, u32), u32)> {
    let [a, b, y] = held;
    let largest = |x: Quant| (x.magnitude() + i64::from(x.zero_point.abs())) as f64;
    let bound = largest(a) * largest(b) * k.max(1) as f64;
    let shift = (bound / f64::from(1 << 30)).log2().ceil().max(0.0) as u32;
    let factor = f64::from(a.scale) * f64::from(b.scale) / f64::from(y.scale);
    let factor = factor * f64::from(shift).exp2();
    let bound = (bound * (-f64::from(shift)).exp2()).ceil() as i64;
    let found = multipliers(node, &[factor], &[bound])?;
    Ok(((found.values[0], found.left_shift), shift))
}

/// One multiplier for a rotation of a value held as `x`; see [`attn_runtime::ops::RotaryParams`].
///
/// # Errors
/// [`ConvertError::Limit`] when the scales are too far apart.
pub fn turned(node: &str, x: Quant, out_scale: f32) -> Result<(i32, u32)> {
    let one = f64::from(1 << attn_runtime::kernels::int::rotary::TURN_BITS);
    let factor = f64::from(x.scale) / (f64::from(out_scale) * one);
    // |cos a - sin b| is at most the root of 2 times the larger one.
    let value = x.magnitude() + i64::from(x.zero_point.abs());
    let largest = (value as f64 * one * std::f64::consts::SQRT_2).ceil() as i64 + 2 * value;
    let found = multipliers(node, &[factor], &[largest])?;
    Ok((found.values[0], found.left_shift))
}

/// Values padded to whole blocks of outputs.
pub fn padded(values: &[i32]) -> Vec<i32> {
    let mut padded = values.to_vec();
    padded.resize(pairs_len(values.len()), 0);
    padded
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quantize::rounding::Compensation;
    use attn_runtime::format::DType;
    use attn_runtime::kernels::int::requantize::requantize;

    const X: Quant = Quant {
        dtype: DType::I8,
        scale: 0.1,
        zero_point: 7,
    };

    #[test]
    fn a_layer_in_integers_is_close_to_the_layer_in_float() {
        let row = [0.5f32, -1.25, 0.031, 2.0];
        let weights =
            Weights::new("fc", [&row[..]].into_iter(), &[0.7], X, Rounding::Nearest).unwrap();
        let found = weights.multipliers("fc", X.scale, 0.01).unwrap();
        let q = [-100, 3, 127, 20];
        let exact: f32 = row
            .iter()
            .zip(q)
            .map(|(w, q)| w * X.dequantize(q))
            .sum::<f32>()
            + 0.7;
        let acc = weights.rows[0]
            .iter()
            .zip(q)
            .fold(weights.bias[0], |sum, (&w, q)| sum + i32::from(w) * q);
        let got = requantize(acc, found.values[0], found.left_shift) as f32 * 0.01;
        assert!((got - exact).abs() < 0.2, "{got} for {exact}");
    }

    #[test]
    fn zero_rows_and_large_biases_are_representable() {
        let weights = Weights::new(
            "fc",
            [&[0.0f32, 0.0][..], &[1e-6, 0.0]].into_iter(),
            &[0.0, 1e5],
            X,
            Rounding::BestScale,
        )
        .unwrap();
        let bias = f64::from(weights.bias[1]) * weights.scales[1] * f64::from(X.scale);
        assert!((bias - 1e5).abs() < 1.0);
        assert_eq!(weights.rows[0], [0, 0]);
    }

    #[test]
    fn long_rows_of_int16_get_smaller_weights_and_stay_within_32_bits() {
        let wide = Quant {
            dtype: DType::I16,
            scale: 1.0,
            zero_point: 0,
        };
        let row = vec![1.0f32; 3000];
        let weights = Weights::new(
            "fc",
            [&row[..]].into_iter(),
            &[0.5],
            wide,
            Rounding::Nearest,
        )
        .unwrap();
        assert_eq!(weights.rows[0][0], 21);
        assert!(weights.bounds[0] <= i64::from(i32::MAX));
        let row = vec![1.0f32; 70_000];
        let error = Weights::new(
            "fc",
            [&row[..]].into_iter(),
            &[0.0],
            wide,
            Rounding::Nearest,
        )
        .unwrap_err();
        assert!(
            error
                .to_string()
                .contains("node `fc`: output 0 sums 70000 products"),
            "{error}"
        );
    }

    #[test]
    fn the_bias_makes_up_for_the_mean_of_what_rounding_leaves() {
        let mean = [3.0, -2.0];
        let compensation = Compensation::of_the_mean(&mean);
        let row = [0.5f32, 0.123];
        let exact = 0.5 * 3.0 - 0.123 * 2.0 + 0.7;
        let rounding = Rounding::Compensated(&compensation);
        let weights = Weights::new("fc", [&row[..]].into_iter(), &[0.7], X, rounding).unwrap();
        let scale = weights.scales[0];
        let real = |i: usize| scale * f64::from(weights.rows[0][i]);
        let sum: i32 = weights.rows[0].iter().map(|&w| i32::from(w)).sum();
        let bias = f64::from(weights.bias[0] + X.zero_point * sum) * scale * f64::from(X.scale);
        let result = real(0) * mean[0] + real(1) * mean[1] + bias;
        assert!(
            (result - exact).abs() < scale * f64::from(X.scale),
            "{result}, {exact}"
        );
    }
}
