//! Layers with weights: one operator, or two, whose results are added, where 8 bits are too few for the weights. The second has what
//! rounding has left of each weight.

use super::matrix::{Matrix, MatrixParams};
use super::{Lowered, Lowering};
use crate::graph::{Clamp, Node};
use crate::program::TensorId;
use crate::quantize::Quant;
use crate::quantize::inputs::Side;
use crate::quantize::weights::Weights;
use attn_runtime::format::OpKind;

/// An operator with a matrix.
pub(super) struct Layer<'m> {
    pub kind: OpKind,
    pub matrix: &'m Matrix,
    /// Its parameters, from those of the matrix.
    pub params: &'m dyn Fn(MatrixParams) -> Vec<u8>,
    pub scratch: Option<TensorId>,
}

impl Lowering<'_> {
    /// Makes a layer from `x` to `y`.
    pub(super) fn layer(&mut self, node: &Node, layer: &Layer, [x, y]: [TensorId; 2]) -> Lowered {
        if self.scheme.is_half() {
            let matrix = MatrixParams::Half(self.half_matrix(node, layer.matrix)?);
            return self.part(node, layer, matrix, [x, y]);
        }
        let Matrix {
            rows, bias, clamp, ..
        } = layer.matrix;
        let weights = self.weights(node, Side::Input, rows, bias, x)?;
        let of = (layer.kind, layer.matrix);
        if !self.scheme.has_two_parts(node.output) {
            let matrix = self.matrix(node, of, &weights, *clamp, [x, y])?;
            return self.part(node, layer, matrix, [x, y]);
        }
        let (rest, bias) = weights.rest(rows, bias, self.quant(x));
        let rest = rest.iter().map(Vec::as_slice);
        let rounding = self.scheme.uncompensated();
        let rest = Weights::new(&node.name, rest, &bias, self.quant(x), rounding)?;
        let largest = rest.largest(self.quant(x).scale, 1.0) as f32;
        let coarse = self.copy(node.output, ".coarse", self.quant(y));
        let fine = self.copy(node.output, ".fine", Quant::int16(largest));
        for (weights, to) in [(&weights, coarse), (&rest, fine)] {
            let matrix = self.matrix(node, of, weights, Clamp::NONE, [x, to])?;
            self.part(node, layer, matrix, [x, to])?;
        }
        let params = self.sum_params(node, [coarse, fine], y, *clamp)?;
        let inputs = vec![coarse, fine];
        self.op(&node.name, OpKind::Add, inputs, vec![y], None, &params)
    }

    fn part(
        &mut self,
        node: &Node,
        layer: &Layer,
        matrix: MatrixParams,
        ends: [TensorId; 2],
    ) -> Lowered {
        let encoding = matrix.encoding();
        let params = (layer.params)(matrix);
        self.unary(node, layer.kind, ends, layer.scratch, &*params)?;
        self.encoded(encoding)
    }
}
