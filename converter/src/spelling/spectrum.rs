//! `DFT` and `STFT`: products with cosines and sines.

use super::moves::place_of;
use super::writer::{Writer, given, int, int_of, ints};
use crate::error::Result;
use std::f64::consts::TAU;
use tract_onnx::pb;

/// Elements of a matrix, at most.
const MOST: usize = 1 << 22;

/// What a transform does to each row: its numbers, and those of the result.
struct Transform {
    samples: usize,
    /// 1 for real numbers, 2 for complex ones.
    parts: usize,
    /// Length of the period.
    length: usize,
    inverse: bool,
    onesided: bool,
}

impl Transform {
    /// Numbers of the result: how many, and the parts of each.
    fn result(&self) -> (usize, usize) {
        match (self.onesided, self.inverse) {
            (true, true) => (self.length, 1),
            (true, false) => (self.length / 2 + 1, 2),
            (false, _) => (self.length, 2),
        }
    }

    /// A row for each part of each number, with the parts of the results.
    fn matrix(&self) -> Vec<f32> {
        let (count, out) = self.result();
        let sign = if self.inverse { 1.0 } else { -1.0 };
        let scale = if self.inverse {
            1.0 / self.length as f64
        } else {
            1.0
        };
        let mut matrix = Vec::with_capacity(self.samples * self.parts * count * out);
        for at in 0..self.samples {
            // Of one side of a spectrum, all but the ends stand for the other side, too.
            let twice = self.onesided && self.inverse && at > 0 && 2 * at != self.length;
            let scale = if twice { 2.0 * scale } else { scale };
            for part in 0..self.parts {
                for to in 0..count {
                    let (sin, cos) = turn(at * to, self.length, sign);
                    let row = if part == 0 { [cos, sin] } else { [-sin, cos] };
                    matrix.extend(row.iter().take(out).map(|x| (x * scale) as f32));
                }
            }
        }
        matrix
    }
}

/// Writes a `DFT` as the product of each row and a matrix.
///
/// # Errors
/// [`crate::error::ConvertError::UnsupportedForm`] for lengths that the model computes.
pub fn dft(node: &pb::NodeProto, writer: &mut Writer) -> Result<()> {
    writer.replace(node);
    let Some(shape) = writer.shape(&node.input[0]) else {
        return Err(writer.form(node, "a signal of unknown shape"));
    };
    let rank = shape.len();
    let axis = match given(&node.input, 2) {
        Some(axis) => writer
            .known_integers(axis)
            .and_then(|axis| axis.first().copied()),
        None => Some(int_of(node, "axis", if writer.opset < 20 { 1 } else { -2 })),
    };
    let axis = axis
        .and_then(|axis| place_of(axis, rank))
        .filter(|&axis| axis + 1 < rank);
    let Some((axis, &[parts @ (1 | 2)])) = axis.zip(shape.get(rank.wrapping_sub(1)..)) else {
        return Err(writer.form(
            node,
            "a signal [.., length, 1 or 2] and a constant axis before the last",
        ));
    };
    let [inverse, onesided] = ["inverse", "onesided"].map(|name| int_of(node, name, 0) == 1);
    let length = match given(&node.input, 1) {
        Some(length) => known(length, writer),
        None if onesided && inverse => Some(2 * (shape[axis] - 1)),
        None => Some(shape[axis]),
    };
    let Some(length) =
        length.filter(|&length| length > 0 && 2 * length * shape[axis] * parts <= MOST)
    else {
        return Err(writer.form(
            node,
            format!("a constant length, and a matrix of at most {MOST} numbers"),
        ));
    };
    if onesided && inverse != (parts == 2) {
        return Err(writer.form(node, "one side of the spectrum of a complex signal"));
    }
    let kept = if onesided && inverse {
        length / 2 + 1
    } else {
        length
    };
    let samples = shape[axis].min(kept);
    let mut order: Vec<i64> = (0..rank as i64).filter(|&at| at != axis as i64).collect();
    order.insert(rank - 2, axis as i64);
    let place = |axis: i64| order.iter().position(|&at| at == axis).unwrap_or(0) as i64;
    let back: Vec<i64> = (0..rank as i64).map(place).collect();
    let mut x = writer.transpose(&node.input[0], &order);
    if samples < shape[axis] {
        x = writer.places(&x, rank as i64 - 2, 0..samples);
    }
    let outer: Vec<i64> = order[..rank - 2]
        .iter()
        .map(|&at| shape[at as usize] as i64)
        .collect();
    x = writer.reshape(&x, &[&outer[..], &[(samples * parts) as i64]].concat());
    let transform = Transform {
        samples,
        parts,
        length,
        inverse,
        onesided,
    };
    let (count, out) = transform.result();
    let matrix = writer.constant(&[samples * parts, count * out], &transform.matrix());
    let y = writer.with("MatMul", &x, &matrix);
    let y = writer.reshape(&y, &[&outer[..], &[count as i64, out as i64]].concat());
    let y = writer.transpose(&y, &back);
    writer.give(&y, node.output.first());
    Ok(())
}

/// Writes an `STFT` as a convolution with windowed cosines and sines.
///
/// # Errors
/// [`crate::error::ConvertError::UnsupportedForm`] for a complex signal, or lengths that the model computes.
pub fn stft(node: &pb::NodeProto, writer: &mut Writer) -> Result<()> {
    writer.replace(node);
    let shape = writer.shape(&node.input[0]).unwrap_or_default();
    let (batch, samples) = match shape[..] {
        [batch, samples] | [batch, samples, 1] => (batch as i64, samples as i64),
        _ => return Err(writer.form(node, "a real signal [batch, length, 1] of known shape")),
    };
    let window = match given(&node.input, 2) {
        Some(window) => match writer.known(window) {
            Some(window) => Some(window.iter().map(|&x| f64::from(x)).collect::<Vec<_>>()),
            None => return Err(writer.form(node, "a window that the model computes")),
        },
        None => None,
    };
    let length = match given(&node.input, 3) {
        Some(length) => known(length, writer),
        None => window.as_ref().map(Vec::len),
    };
    let step = given(&node.input, 1).and_then(|step| known(step, writer));
    let (Some(length @ 1..), Some(step @ 1..)) = (length, step) else {
        return Err(writer.form(node, "constant lengths of a frame and of a step"));
    };
    let window = window.unwrap_or_else(|| vec![1.0; length]);
    let onesided = int_of(node, "onesided", 1) == 1;
    let bins = if onesided { length / 2 + 1 } else { length };
    if window.len() != length || 2 * bins * length > MOST {
        let reason = format!(
            "a window of {} numbers, frames of {length}: the same, and at most {MOST} factors",
            window.len()
        );
        return Err(writer.form(node, reason));
    }
    let mut kernels = Vec::with_capacity(2 * bins * length);
    for bin in 0..bins {
        for part in 0..2 {
            kernels.extend(window.iter().enumerate().map(|(at, weight)| {
                let (sin, cos) = turn(at * bin, length, -1.0);
                (weight * if part == 0 { cos } else { sin }) as f32
            }));
        }
    }
    let kernels = writer.constant(&[2 * bins, 1, length], &kernels);
    let x = writer.reshape(&node.input[0], &[batch, 1, samples]);
    let attributes = vec![
        ints("kernel_shape", &[length as i64]),
        ints("strides", &[step as i64]),
        int("group", 1),
    ];
    let y = writer.add("Conv", &[&x, &kernels], attributes);
    let y = writer.transpose(&y, &[0, 2, 1]);
    let y = writer.reshape(&y, &[0, 0, bins as i64, 2]);
    writer.give(&y, node.output.first());
    Ok(())
}

/// Sine and cosine of `at` parts of a circle of `length`.
fn turn(at: usize, length: usize, sign: f64) -> (f64, f64) {
    (sign * TAU * (at % length) as f64 / length as f64).sin_cos()
}

/// A length that depends on no input.
fn known(name: &str, writer: &mut Writer) -> Option<usize> {
    let numbers = writer.known_integers(name)?;
    usize::try_from(*numbers.first()?).ok()
}
