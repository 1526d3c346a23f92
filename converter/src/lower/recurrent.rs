//! Recurrent layers: Gru and Lstm, over a whole sequence or carried on from frame to frame.

use super::matrix::{pack_halves, rows};
use super::{Form, Lower, Lowered, Lowering, limit};
use crate::error::Result;
use crate::graph::op::Recurrent;
use crate::graph::{Node, op};
use crate::program::TensorId;
use crate::quantize::Quant;
use crate::quantize::inputs::Side;
use crate::quantize::weights::{Weights, padded, rescale};
use attn_runtime::format::{DType, OpKind};
use attn_runtime::kernels::half::LANES;
use attn_runtime::kernels::int::dot::pairs_len;
use attn_runtime::ops::{
    CellScale, GruHalfParams, GruParams, LstmHalfParams, LstmParams, RecurrentGeometry,
    RecurrentHalfSide, RecurrentSide, Start,
};
use ndarray::ArrayD;
use zerocopy::IntoBytes;

/// Pre-activations and the cells of a run are Q16.
const Q16: Quant = Quant {
    dtype: DType::I32,
    scale: 1.0 / 65536.0,
    zero_point: 0,
};

/// Weights of the input's side and of the state's.
enum Sides {
    Int([RecurrentSide; 2]),
    Half([RecurrentHalfSide; 2]),
}

/// How a run of one layer begins and ends.
struct Run {
    ends: [TensorId; 2],
    start: Start,
    geometry: RecurrentGeometry,
    /// How the state is held.
    state: Quant,
    hidden: usize,
}

impl Lowering<'_> {
    fn recurrent(&mut self, node: &Node, layer: &Recurrent) -> Result<(Run, Sides)> {
        let (ends, hidden) = (self.ends(node), self.channels(node.output));
        let sides = match self.scheme.is_half() {
            true => Sides::Half([
                self.half_side(node, &layer.w, &layer.bias_w, hidden)?,
                self.half_side(node, &layer.r, &layer.bias_r, hidden)?,
            ]),
            false => Sides::Int(self.sides(node, layer, ends, hidden)?),
        };
        let start = match (self.form, node.inputs.len()) {
            (Form::Stream, _) => Start::Last,
            (Form::Window, 1) => Start::Zero,
            (Form::Window, _) => Start::Given,
        };
        let run = Run {
            ends,
            start,
            geometry: RecurrentGeometry {
                start: start as u32,
                reverse: layer.reverse.into(),
            },
            state: self.quant(ends[1]),
            hidden,
        };
        Ok((run, sides))
    }

    fn sides(
        &mut self,
        node: &Node,
        layer: &Recurrent,
        [x, y]: [TensorId; 2],
        hidden: usize,
    ) -> Result<[RecurrentSide; 2]> {
        let input = self.weights(node, Side::Input, &rows(&layer.w), &layer.bias_w, x)?;
        // The state is held as the results are.
        let recurrent = self.weights(node, Side::State, &rows(&layer.r), &layer.bias_r, y)?;
        let largest = |side: &Weights, from| side.largest(self.quant(from).scale, Q16.scale.into());
        if largest(&input, x) + largest(&recurrent, y) > f64::from(i32::MAX) {
            let reason = "pre-activations could reach 32768: the weights have diverged";
            return Err(limit(node, reason));
        }
        Ok([
            self.side(node, &input, x, hidden)?,
            self.side(node, &recurrent, y, hidden)?,
        ])
    }

    fn side(
        &mut self,
        node: &Node,
        side: &Weights,
        from: TensorId,
        hidden: usize,
    ) -> Result<RecurrentSide> {
        let multipliers = side.multipliers(&node.name, self.quant(from).scale, Q16.scale.into())?;
        let (mut packed, mut bias, mut factors) = (Vec::new(), Vec::new(), Vec::new());
        for gate in 0..side.outputs() / hidden.max(1) {
            let part = side.gate(gate, hidden);
            packed.extend(part.packed());
            bias.extend(padded(part.bias()));
            let gate = gate * hidden..(gate + 1) * hidden;
            factors.extend(padded(&multipliers.values[gate]));
        }
        Ok(RecurrentSide {
            weights: self.program.weights(&packed),
            bias: self.program.weights(&bias),
            multipliers: self.program.weights(&factors),
            left_shift: multipliers.left_shift,
        })
    }

    fn half_side(
        &mut self,
        node: &Node,
        matrix: &ArrayD<f32>,
        bias: &[f32],
        hidden: usize,
    ) -> Result<RecurrentHalfSide> {
        let (mut packed, mut padded) = (Vec::new(), Vec::new());
        for (gate, bias) in rows(matrix).chunks(hidden).zip(bias.chunks(hidden)) {
            packed.extend(pack_halves(node, gate)?);
            padded.extend_from_slice(bias);
            padded.resize(padded.len().next_multiple_of(LANES), 0.0f32);
        }
        Ok(RecurrentHalfSide {
            weights: self.program.weights(&packed),
            bias: self.program.weights(&padded),
        })
    }

    /// A tensor `[hidden]` beside the results of a layer: what it carries on, or what it ends with.
    fn beside(&mut self, node: &Node, what: &str, run: &Run, quant: Quant) -> TensorId {
        let name = format!("{}.{what}", self.graph.values[node.output.0].name);
        self.kept(name, &[run.hidden], quant)
    }

    /// Scratch for the inputs and the state in the order of multiplication, and `cells` cells.
    fn layer_scratch(&mut self, node: &Node, run: &Run, cells: usize) -> Option<TensorId> {
        let (k, hidden) = (self.channels(node.inputs[0]), run.hidden);
        if self.scheme.is_half() {
            return self.f32_scratch(node, k + hidden + cells);
        }
        let pairs = pairs_len(k) + pairs_len(hidden);
        Some(match cells {
            0 => self.program.scratch(&node.name, DType::I16, pairs),
            _ => {
                let len = cells + pairs / 2;
                self.program.scratch(&node.name, DType::I32, len)
            }
        })
    }
}

impl Lower for op::Gru {
    fn lower(&self, to: &mut Lowering, node: &Node) -> Lowered {
        let (run, sides) = to.recurrent(node, &self.0)?;
        let [x, y] = run.ends;
        let h = to.beside(node, "state", &run, run.state);
        let (inputs, outputs) = match run.start {
            Start::Last => (vec![x, h], vec![y]),
            Start::Zero => (vec![x], vec![y, h]),
            Start::Given => (vec![x, to.held_as(node.inputs[1], run.state)?], vec![y, h]),
        };
        let params = match sides {
            Sides::Int([input, recurrent]) => GruParams {
                input,
                recurrent,
                run: run.geometry,
            }
            .as_bytes()
            .to_vec(),
            Sides::Half(sides) => half_params(sides, &run).as_bytes().to_vec(),
        };
        let scratch = to.layer_scratch(node, &run, 0);
        to.op(&node.name, OpKind::Gru, inputs, outputs, scratch, &*params)
    }
}

impl Lower for op::Lstm {
    fn lower(&self, to: &mut Lowering, node: &Node) -> Lowered {
        let (run, sides) = to.recurrent(node, &self.0)?;
        let [x, y] = run.ends;
        let held = match to.scheme.is_half() {
            true => Quant::HALF,
            false => to.scheme.cell(node),
        };
        let c = match node.second {
            Some(cell) if to.form == Form::Window => to.add_value(cell),
            _ => to.beside(node, "cell", &run, held),
        };
        let (inputs, outputs) = match run.start {
            Start::Last => {
                let h = to.beside(node, "state", &run, run.state);
                (vec![x, h, c], vec![y])
            }
            Start::Zero => (vec![x], vec![y, c]),
            Start::Given => {
                let h0 = to.held_as(node.inputs[1], run.state)?;
                let c0 = to.held_as(node.inputs[2], held)?;
                (vec![x, h0, c0], vec![y, c])
            }
        };
        let params = match sides {
            Sides::Int([input, recurrent]) => LstmParams {
                input,
                recurrent,
                run: run.geometry,
                cell_in: cell_scale(node, held, Q16)?,
                cell_out: cell_scale(node, SHORT_Q16, held)?,
            }
            .as_bytes()
            .to_vec(),
            Sides::Half(sides) => {
                let params: LstmHalfParams = half_params(sides, &run);
                params.as_bytes().to_vec()
            }
        };
        let scratch = to.layer_scratch(node, &run, run.hidden);
        to.op(&node.name, OpKind::Lstm, inputs, outputs, scratch, &*params)
    }
}

/// A cell of a run that 16 bits can hold.
const SHORT_Q16: Quant = Quant {
    dtype: DType::I16,
    ..Q16
};

fn half_params([input, recurrent]: [RecurrentHalfSide; 2], run: &Run) -> GruHalfParams {
    GruHalfParams {
        input,
        recurrent,
        run: run.geometry,
    }
}

fn cell_scale(node: &Node, from: Quant, to: Quant) -> Result<CellScale> {
    let (multiplier, left_shift) = rescale(&node.name, from, to.scale)?;
    Ok(CellScale {
        multiplier,
        left_shift,
    })
}
