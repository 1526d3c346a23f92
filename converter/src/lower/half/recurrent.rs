//! Recurrent layers in half precision: Gru and Lstm.

use super::super::matrix::rows;
use super::super::recurrent::{Layer, run};
use super::super::{Form, Lowering};
use super::pack;
use crate::error::ConvertError;
use crate::graph::Node;
use crate::program::TensorId;
use crate::quantize::Quant;
use attn_runtime::format::OpKind;
use attn_runtime::kernels::half::LANES;
use attn_runtime::ops::{GruHalfParams, LstmHalfParams, RecurrentHalfSide, Start};
use ndarray::ArrayD;

impl Lowering<'_> {
    pub(super) fn half_gru(&mut self, node: &Node, layer: &Layer) -> Result<(), ConvertError> {
        let (x, y) = (self.tensor(node.inputs[0]), self.add_value(node.output));
        let (k, hidden) = (self.channels(node.inputs[0]), self.channels(node.output));
        let h = self.kept(node, "state", hidden, Quant::HALF);
        let params = self.half_layer(node, layer, hidden)?;
        let (inputs, outputs) = match self.start(node) {
            Start::Last => (vec![x, h], vec![y]),
            Start::Zero => (vec![x], vec![y, h]),
            Start::Given => (vec![x, self.tensor(node.inputs[1])], vec![y, h]),
        };
        let scratch = self.half_scratch(node, k + hidden);
        self.op(&node.name, OpKind::Gru, inputs, outputs, scratch, &params);
        Ok(())
    }

    pub(super) fn half_lstm(&mut self, node: &Node, layer: &Layer) -> Result<(), ConvertError> {
        let (x, y) = (self.tensor(node.inputs[0]), self.add_value(node.output));
        let (k, hidden) = (self.channels(node.inputs[0]), self.channels(node.output));
        let c: TensorId = match node.second {
            Some(cell) if self.form == Form::Window => self.add_value(cell),
            _ => self.kept(node, "cell", hidden, Quant::HALF),
        };
        let params: LstmHalfParams = self.half_layer(node, layer, hidden)?;
        let (inputs, outputs) = match self.start(node) {
            Start::Last => {
                let h = self.kept(node, "state", hidden, Quant::HALF);
                (vec![x, h, c], vec![y])
            }
            Start::Zero => (vec![x], vec![y, c]),
            Start::Given => {
                let [h0, c0] = [1, 2].map(|i| self.tensor(node.inputs[i]));
                (vec![x, h0, c0], vec![y, c])
            }
        };
        let scratch = self.half_scratch(node, k + 2 * hidden);
        self.op(&node.name, OpKind::Lstm, inputs, outputs, scratch, &params);
        Ok(())
    }

    fn half_layer(
        &mut self,
        node: &Node,
        layer: &Layer,
        hidden: usize,
    ) -> Result<GruHalfParams, ConvertError> {
        Ok(GruHalfParams {
            input: self.half_side(node, layer.w, layer.bias_w, hidden)?,
            recurrent: self.half_side(node, layer.r, layer.bias_r, hidden)?,
            run: run(self.start(node), layer),
        })
    }

    fn half_side(
        &mut self,
        node: &Node,
        matrix: &ArrayD<f32>,
        bias: &[f32],
        hidden: usize,
    ) -> Result<RecurrentHalfSide, ConvertError> {
        let rows = rows(matrix);
        let (mut packed, mut padded) = (Vec::new(), Vec::new());
        for (gate, bias) in rows.chunks(hidden).zip(bias.chunks(hidden)) {
            packed.extend(pack(node, gate)?);
            padded.extend_from_slice(bias);
            padded.resize(padded.len().next_multiple_of(LANES), 0.0f32);
        }
        Ok(RecurrentHalfSide {
            weights: self.program.weights(&packed),
            bias: self.program.weights(&padded),
        })
    }
}
