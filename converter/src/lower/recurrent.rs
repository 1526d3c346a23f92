//! Recurrent layers: Gru and Lstm, over a whole sequence or carried on from frame to frame.

use super::matrix::rows;
use super::{Form, Lowering};
use crate::error::ConvertError;
use crate::graph::{Node, ValueId, op};
use crate::program::{Place, TensorId};
use crate::quantize::Quant;
use crate::quantize::inputs::Side;
use crate::quantize::weights::{Weights, padded, rescale};
use attn_runtime::format::{DType, OpKind};
use attn_runtime::kernels::int::dot::pairs_len;
use attn_runtime::ops::{
    CellScale, GruParams, LstmParams, RecurrentGeometry, RecurrentSide, Start,
};
use ndarray::ArrayD;

/// Pre-activations and the cells of a run are Q16.
const Q16: Quant = Quant {
    dtype: DType::I32,
    scale: 1.0 / 65536.0,
    zero_point: 0,
};

/// Weights of both sides of a layer, as the graph has them.
pub(super) struct Layer<'n> {
    pub w: &'n ArrayD<f32>,
    pub r: &'n ArrayD<f32>,
    pub bias_w: &'n [f32],
    pub bias_r: &'n [f32],
    pub reverse: bool,
}

impl<'n> From<&'n op::Gru> for Layer<'n> {
    fn from(op: &'n op::Gru) -> Self {
        Self {
            w: &op.w,
            r: &op.r,
            bias_w: &op.bias_w,
            bias_r: &op.bias_r,
            reverse: op.reverse,
        }
    }
}

impl<'n> From<&'n op::Lstm> for Layer<'n> {
    fn from(op: &'n op::Lstm) -> Self {
        Self {
            w: &op.w,
            r: &op.r,
            bias_w: &op.bias_w,
            bias_r: &op.bias_r,
            reverse: op.reverse,
        }
    }
}

/// What both kinds of layer need in the program.
struct Parts {
    x: TensorId,
    y: TensorId,
    hidden: usize,
    input: RecurrentSide,
    recurrent: RecurrentSide,
}

/// How `layer` runs.
pub(super) fn run(start: Start, layer: &Layer) -> RecurrentGeometry {
    RecurrentGeometry {
        start: start as u32,
        reverse: layer.reverse.into(),
    }
}

impl Lowering<'_> {
    fn layer(&mut self, node: &Node, layer: &Layer) -> Result<Parts, ConvertError> {
        let (x, y) = (self.tensor(node.inputs[0]), self.add_value(node.output));
        let hidden = self.channels(node.output);
        let state = self.quant(y);
        let input = self.matrix(node, &rows(layer.w), layer.bias_w, x)?;
        // The state is held as the results are.
        let recurrent = self.matrix_of(node, Side::State, &rows(layer.r), layer.bias_r, y)?;
        let largest = [(&input, self.quant(x)), (&recurrent, state)]
            .map(|(side, from)| side.largest(from.scale, Q16.scale.into()));
        if largest[0] + largest[1] > f64::from(i32::MAX) {
            let reason = "pre-activations could reach 32768: the weights have diverged".into();
            return Err(ConvertError::Limit {
                node: node.name.clone(),
                reason,
            });
        }
        let input = self.side(node, &input, x, hidden)?;
        let recurrent = self.side(node, &recurrent, y, hidden)?;
        Ok(Parts {
            x,
            y,
            hidden,
            input,
            recurrent,
        })
    }

    fn side(
        &mut self,
        node: &Node,
        side: &Weights,
        from: TensorId,
        hidden: usize,
    ) -> Result<RecurrentSide, ConvertError> {
        let multipliers = side.multipliers(&node.name, self.quant(from).scale, Q16.scale.into())?;
        let (mut packed, mut bias, mut factors) = (Vec::new(), Vec::new(), Vec::new());
        for gate in 0..side.outputs() / hidden.max(1) {
            let part = side.gate(gate, hidden);
            packed.extend(part.packed());
            bias.extend(padded(part.bias()));
            factors.extend(padded(
                &multipliers.values[gate * hidden..(gate + 1) * hidden],
            ));
        }
        Ok(RecurrentSide {
            weights: self.program.weights(&packed),
            bias: self.program.weights(&bias),
            multipliers: self.program.weights(&factors),
            left_shift: multipliers.left_shift,
        })
    }

    pub(super) fn start(&self, node: &Node) -> Start {
        match (self.form, node.inputs.len()) {
            (Form::Stream, _) => Start::Last,
            (Form::Window, 1) => Start::Zero,
            (Form::Window, _) => Start::Given,
        }
    }

    /// A tensor `[hidden]` beside the results of a layer: what it carries on, or what it ends with.
    pub(super) fn kept(
        &mut self,
        node: &Node,
        what: &str,
        hidden: usize,
        quant: Quant,
    ) -> TensorId {
        let place = match self.form {
            Form::Stream => Place::State,
            Form::Window => Place::Arena,
        };
        let name = format!("{}.{what}", self.graph.values[node.output.0].name);
        self.program.tensor(name, &[hidden], quant, place)
    }

    pub(super) fn gru(&mut self, node: &Node, layer: &Layer) -> Result<(), ConvertError> {
        let parts = self.layer(node, layer)?;
        let state = self.quant(parts.y);
        let h = self.kept(node, "state", parts.hidden, state);
        let start = self.start(node);
        let (inputs, outputs) = match start {
            Start::Last => (vec![parts.x, h], vec![parts.y]),
            Start::Zero => (vec![parts.x], vec![parts.y, h]),
            Start::Given => {
                let h0 = self.held_as(node.inputs[1], state)?;
                (vec![parts.x, h0], vec![parts.y, h])
            }
        };
        let params = GruParams {
            input: parts.input,
            recurrent: parts.recurrent,
            run: run(start, layer),
        };
        let len = pairs_len(self.channels(node.inputs[0])) + pairs_len(parts.hidden);
        let scratch = self.program.scratch(&node.name, DType::I16, len);
        self.op(
            &node.name,
            OpKind::Gru,
            inputs,
            outputs,
            Some(scratch),
            &params,
        );
        Ok(())
    }

    pub(super) fn lstm(&mut self, node: &Node, layer: &Layer) -> Result<(), ConvertError> {
        let parts = self.layer(node, layer)?;
        let (hidden, state) = (parts.hidden, self.quant(parts.y));
        let held = self.scheme.cell(node);
        let c = match node.second {
            Some(cell) if self.form == Form::Window => self.add_value(cell),
            _ => self.kept(node, "cell", hidden, held),
        };
        let start = self.start(node);
        let (inputs, outputs) = match start {
            Start::Last => {
                let h = self.kept(node, "state", hidden, state);
                (vec![parts.x, h, c], vec![parts.y])
            }
            Start::Zero => (vec![parts.x], vec![parts.y, c]),
            Start::Given => {
                let h0 = self.held_as(node.inputs[1], state)?;
                let c0 = self.held_as(node.inputs[2], held)?;
                (vec![parts.x, h0, c0], vec![parts.y, c])
            }
        };
        let params = LstmParams {
            input: parts.input,
            recurrent: parts.recurrent,
            run: run(start, layer),
            cell_in: cell_scale(node, held, Q16)?,
            cell_out: cell_scale(
                node,
                Quant {
                    dtype: DType::I16,
                    ..Q16
                },
                held,
            )?,
        };
        let pairs = pairs_len(self.channels(node.inputs[0])) + pairs_len(hidden);
        let scratch = self
            .program
            .scratch(&node.name, DType::I32, hidden + pairs / 2);
        self.op(
            &node.name,
            OpKind::Lstm,
            inputs,
            outputs,
            Some(scratch),
            &params,
        );
        Ok(())
    }

    /// The value held in just this way: itself, or a copy.
    pub(super) fn held_as(
        &mut self,
        value: ValueId,
        quant: Quant,
    ) -> Result<TensorId, ConvertError> {
        let x = self.tensor(value);
        if self.quant(x) == quant {
            return Ok(x);
        }
        let name = format!("{}.rescaled", self.graph.values[value.0].name);
        let dims = self.dims(value);
        let copy = self.program.tensor(&name, &dims, quant, Place::Arena);
        self.vary(value, copy);
        let params = self.requantize_params(&name, x, copy)?;
        self.op(
            &name,
            OpKind::Requantize,
            vec![x],
            vec![copy],
            None,
            &params,
        );
        Ok(copy)
    }
}

fn cell_scale(node: &Node, from: Quant, to: Quant) -> Result<CellScale, ConvertError> {
    let (multiplier, left_shift) = rescale(&node.name, from, to.scale)?;
    Ok(CellScale {
        multiplier,
        left_shift,
    })
}
