//! Operators with weight matrices: Linear, Conv1d, DepthwiseConv1d, Embedding; and matrices for the other families.

use super::parts::Layer;
use super::{Form, Lower, Lowered, Lowering, NONE, limit};
use crate::error::Result;
use crate::graph::op::Affine;
use crate::graph::{Clamp, Node, Window1d, op};
use crate::program::{Place, TensorId};
use crate::quantize::inputs::Side;
use crate::quantize::weights::{self, Weights};
use attn_runtime::f16;
use attn_runtime::format::{DType, Encoding, OpKind};
use attn_runtime::kernels::half;
use attn_runtime::kernels::int::dot::pairs_len;
use attn_runtime::kernels::int::linear::scratch_len;
use attn_runtime::ops::{
    Conv1dHalfParams, Conv1dParams, Conv2dHalfParams, Conv2dParams, EmbeddingHalfParams,
    EmbeddingParams, LinearHalfParams, LinearParams, Window1dParams, Window2dParams,
};
use ndarray::ArrayD;
use zerocopy::IntoBytes;

/// A matrix `[out, k]` that an operator multiplies its input with.
pub(super) struct Matrix {
    pub rows: Vec<Vec<f32>>,
    pub bias: Vec<f32>,
    pub layout: Layout,
    pub clamp: Clamp,
}

/// How weights lie in the file.
#[derive(Clone, Copy)]
pub(super) enum Layout {
    /// In the order of reading, every one of these groups of outputs by itself.
    Packed { groups: usize },
    /// `[k, out]`, for a depthwise convolution.
    Transposed,
}

impl Matrix {
    /// The weights of a layer as these rows.
    pub(super) fn packed(affine: &Affine, rows: Vec<Vec<f32>>) -> Self {
        Self {
            rows,
            bias: affine.bias.clone(),
            layout: Layout::Packed { groups: 1 },
            clamp: affine.clamp,
        }
    }

    /// Weights `[.., channels]`, one kernel for each channel.
    pub(super) fn depthwise(affine: &Affine) -> Self {
        let channels = affine.bias.len();
        let kernel = |c: usize| {
            affine
                .weight
                .iter()
                .skip(c)
                .step_by(channels)
                .copied()
                .collect()
        };
        Self {
            layout: Layout::Transposed,
            ..Self::packed(affine, (0..channels).map(kernel).collect())
        }
    }
}

/// The parameters of a matrix, with which those of a convolution begin.
pub(super) enum MatrixParams {
    Int(LinearParams, Encoding),
    Half(LinearHalfParams),
}

impl MatrixParams {
    pub(super) fn encoding(&self) -> Encoding {
        match self {
            Self::Int(_, encoding) => *encoding,
            Self::Half(_) => Encoding::Half,
        }
    }

    fn linear(self) -> Vec<u8> {
        match self {
            Self::Int(matrix, _) => matrix.as_bytes().to_vec(),
            Self::Half(matrix) => matrix.as_bytes().to_vec(),
        }
    }

    fn conv1d(self, window: Window1dParams) -> Vec<u8> {
        match self {
            Self::Int(matrix, _) => Conv1dParams { matrix, window }.as_bytes().to_vec(),
            Self::Half(matrix) => Conv1dHalfParams { matrix, window }.as_bytes().to_vec(),
        }
    }

    pub(super) fn conv2d(self, window: Window2dParams) -> Vec<u8> {
        match self {
            Self::Int(matrix, _) => Conv2dParams { matrix, window }.as_bytes().to_vec(),
            Self::Half(matrix) => Conv2dHalfParams { matrix, window }.as_bytes().to_vec(),
        }
    }
}

/// Rows `[out, …]` of a matrix, each flat.
pub(super) fn rows(matrix: &ArrayD<f32>) -> Vec<Vec<f32>> {
    let row = |row: ndarray::ArrayViewD<f32>| row.iter().copied().collect();
    matrix.outer_iter().map(row).collect()
}

/// Weights as halves.
///
/// # Errors
/// [`ConvertError::Limit`](crate::error::ConvertError::Limit) for a weight that no half is near.
pub(super) fn halves<'w>(node: &Node, weights: impl Iterator<Item = &'w f32>) -> Result<Vec<f16>> {
    let one = |&w: &f32| match w.abs() <= half::MAX {
        true => Ok(f16::from_f32(w)),
        false => Err(limit(
            node,
            format!(
                "a weight of {w}: half precision ends at {}; convert with int8 weights",
                half::MAX
            ),
        )),
    };
    weights.map(one).collect()
}

/// Rows of a matrix, `[out, k]`, packed as the half-precision kernels read them.
pub(super) fn pack_halves(node: &Node, rows: &[Vec<f32>]) -> Result<Vec<f16>> {
    let k = rows.first().map_or(0, Vec::len);
    let mut packed = vec![f16::ZERO; half::LANES * half::packed_len(rows.len(), k)];
    for (o, row) in rows.iter().enumerate() {
        for (i, w) in halves(node, row.iter())?.into_iter().enumerate() {
            packed[half::packed_index(o, i, k)] = w;
        }
    }
    Ok(packed)
}

/// A clamp within the finite halves.
pub(super) fn half_limits(clamp: Clamp) -> (f32, f32) {
    let finite = |x: f32| x.clamp(-half::MAX, half::MAX);
    (finite(clamp.min), finite(clamp.max))
}

impl Lowering<'_> {
    /// The integer weights on one side of a node, which reads `x`.
    pub(super) fn weights(
        &self,
        node: &Node,
        side: Side,
        rows: &[Vec<f32>],
        bias: &[f32],
        x: TensorId,
    ) -> Result<Weights> {
        let rounding = self.scheme.rounding(self.graph, node, side);
        let rows = rows.iter().map(Vec::as_slice);
        Weights::new(&node.name, rows, bias, self.quant(x), rounding)
    }

    /// The parameters of an operator's matrix with these weights, from `x` to `y`. Weights are joined where the operator and their sums
    /// allow it.
    pub(super) fn matrix(
        &mut self,
        node: &Node,
        (kind, matrix): (OpKind, &Matrix),
        weights: &Weights,
        clamp: Clamp,
        [x, y]: [TensorId; 2],
    ) -> Result<MatrixParams> {
        let (from, out) = (self.quant(x), self.quant(y));
        let multipliers = weights.multipliers(&node.name, from.scale, out.scale.into())?;
        let joins =
            self.program.joins && kind.joins() && weights.joins(from, multipliers.left_shift);
        let plain = || weights.bias().to_vec();
        let (stored, bias, encoding) = match matrix.layout {
            Layout::Packed { .. } if joins => {
                let (stored, bias) = weights.joined();
                (stored, bias, Encoding::Joined)
            }
            Layout::Packed { groups } => {
                let size = weights.outputs() / groups;
                let packed = |group| weights.gate(group, size).packed();
                let stored = (0..groups).flat_map(packed).collect();
                (stored, plain(), Encoding::Int8)
            }
            Layout::Transposed => (weights.transposed(), plain(), Encoding::Int8),
        };
        let params = LinearParams {
            weights: self.program.weights(&stored),
            bias: self.program.weights(&bias),
            multipliers: self.program.weights(&multipliers.values),
            left_shift: multipliers.left_shift,
            min: out.quantize(clamp.min),
            max: out.quantize(clamp.max),
        };
        Ok(MatrixParams::Int(params, encoding))
    }

    pub(super) fn half_matrix(&mut self, node: &Node, matrix: &Matrix) -> Result<LinearHalfParams> {
        let mut stored = Vec::new();
        match matrix.layout {
            Layout::Packed { groups } => {
                for group in matrix.rows.chunks((matrix.rows.len() / groups).max(1)) {
                    stored.extend(pack_halves(node, group)?);
                }
            }
            Layout::Transposed => {
                for tap in 0..matrix.rows.first().map_or(0, Vec::len) {
                    stored.extend(halves(node, matrix.rows.iter().map(|row| &row[tap]))?);
                }
            }
        }
        let (min, max) = half_limits(matrix.clamp);
        Ok(LinearHalfParams {
            weights: self.program.weights(&stored),
            bias: self.program.weights(&matrix.bias),
            min,
            max,
        })
    }

    /// Scratch for rows of `len` inputs in the order in which a matrix is multiplied with them.
    fn gathered(&mut self, node: &Node, len: usize) -> Option<TensorId> {
        let rows = self.results(node);
        Some(match self.scheme.is_half() {
            true => self.program.scratch(&node.name, DType::I32, len),
            false => {
                let pairs = scratch_len(pairs_len(len), rows);
                self.program.scratch(&node.name, DType::I16, pairs)
            }
        })
    }

    /// Rows of a node's output: results of its matrix.
    pub(super) fn results(&self, node: &Node) -> usize {
        let rows = |dims: &[usize]| dims.iter().rev().skip(1).product();
        rows(&self.dims(node.output))
    }

    /// The rows that a convolution reads: its input, or the history that the newest row was pushed into.
    fn convolved(&mut self, node: &Node, reach: usize) -> Result<TensorId> {
        let x = self.tensor(node.inputs[0]);
        if self.form == Form::Window || reach == 1 {
            return Ok(x);
        }
        let name = format!("{}.history", self.graph.values[node.inputs[0].0].name);
        let dims = [reach, self.channels(node.inputs[0])];
        let quant = self.quant(x);
        let history = self.program.tensor(&name, &dims, quant, Place::State);
        let (kind, inputs) = (OpKind::ShiftRows, vec![x, history]);
        self.op(&name, kind, inputs, vec![], None, NONE)?;
        Ok(history)
    }

    /// A kernel's way over rows; over the history of a stream without padding.
    fn window(&self, window: Window1d) -> Window1dParams {
        let (before, after) = match self.form {
            Form::Window => window.padding,
            Form::Stream => (0, 0),
        };
        Window1dParams {
            kernel: window.kernel as u32,
            stride: window.stride as u32,
            pad_before: before as u32,
            pad_after: after as u32,
            gap: window.dilation as u32 - 1,
        }
    }
}

impl Lower for op::Linear {
    fn lower(&self, to: &mut Lowering, node: &Node) -> Lowered {
        let ends = to.ends(node);
        let layer = Layer {
            kind: OpKind::Linear,
            matrix: &Matrix::packed(&self.0, rows(&self.0.weight)),
            params: &MatrixParams::linear,
            scratch: to.gathered(node, to.channels(node.inputs[0])),
        };
        to.layer(node, &layer, ends)
    }
}

impl Lower for op::Conv1d {
    fn lower(&self, to: &mut Lowering, node: &Node) -> Lowered {
        let x = to.convolved(node, self.window.reach())?;
        let ends = [x, to.add_value(node.output)];
        let window = to.window(self.window);
        let layer = Layer {
            kind: OpKind::Conv1d,
            matrix: &Matrix::packed(&self.affine, rows(&self.affine.weight)),
            params: &|matrix| matrix.conv1d(window),
            scratch: to.gathered(node, self.window.kernel * self.affine.weight.shape()[2]),
        };
        to.layer(node, &layer, ends)
    }
}

impl Lower for op::DepthwiseConv1d {
    fn lower(&self, to: &mut Lowering, node: &Node) -> Lowered {
        let x = to.convolved(node, self.window.reach())?;
        let ends = [x, to.add_value(node.output)];
        let window = to.window(self.window);
        let layer = Layer {
            kind: OpKind::DepthwiseConv1d,
            matrix: &Matrix::depthwise(&self.affine),
            params: &|matrix| matrix.conv1d(window),
            scratch: None,
        };
        to.layer(node, &layer, ends)
    }
}

impl Lower for op::Embedding {
    fn lower(&self, to: &mut Lowering, node: &Node) -> Lowered {
        let ends = to.ends(node);
        let tokens = self.table.shape()[0] as u32;
        if to.scheme.is_half() {
            let table = halves(node, self.table.iter())?;
            let table = to.program.weights(&table);
            let params = EmbeddingHalfParams { table, tokens };
            return to.unary(node, OpKind::Embedding, ends, None, &params);
        }
        let out = to.quant(ends[1]);
        let rows = rows(&self.table);
        let rounding = to.scheme.rounding(to.graph, node, Side::Input);
        let slices = rows.iter().map(Vec::as_slice);
        let (stored, multipliers) = weights::table(&node.name, slices, out.scale, rounding)?;
        let (min, max) = out.limits();
        let params = EmbeddingParams {
            table: to.program.weights(&stored),
            multipliers: to.program.weights(&multipliers.values),
            tokens,
            left_shift: multipliers.left_shift,
            min,
            max,
        };
        to.unary(node, OpKind::Embedding, ends, None, &params)
    }
}
