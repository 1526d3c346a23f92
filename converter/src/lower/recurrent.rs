//! Recurrent layers: Gru, Lstm, and Recurrent for every other form, over a whole sequence or carried on from frame to frame.

use super::matrix::{pack_halves, rows};
use super::{Form, Lower, Lowered, Lowering, limit};
use crate::error::Result;
use crate::graph::op::RecurrentWeights;
use crate::graph::{Node, op};
use crate::program::TensorId;
use crate::quantize::inputs::Side;
use crate::quantize::weights::{Weights, padded, rescale};
use crate::quantize::{Quant, STATE};
use attn_runtime::format::{DType, Encoding, OpKind};
use attn_runtime::kernels::geometry::Cell;
use attn_runtime::kernels::half::LANES;
use attn_runtime::kernels::int::dot::pairs_len;
use attn_runtime::ops::{
    CellScale, GruHalfParams, GruParams, LstmHalfParams, LstmParams, RecurrentGeometry,
    RecurrentHalfSide, RecurrentSide, Start,
};
use ndarray::ArrayD;
use zerocopy::IntoBytes;

/// Pre-activations and the cells of a run are Q16.
pub(super) const Q16: Quant = Quant {
    dtype: DType::I32,
    scale: 1.0 / 65536.0,
    zero_point: 0,
};

/// Weights of the input's side and of the state's.
enum Sides {
    Int([RecurrentSide; 2], Encoding),
    Half([RecurrentHalfSide; 2]),
}

impl Sides {
    fn encoding(&self) -> Encoding {
        match self {
            Self::Int(_, encoding) => *encoding,
            Self::Half(_) => Encoding::Half,
        }
    }
}

/// How a run of one layer begins and ends.
pub(super) struct Run {
    pub ends: [TensorId; 2],
    start: Start,
    pub geometry: RecurrentGeometry,
    /// How the state is held.
    pub state: Quant,
    pub hidden: usize,
}

impl Lowering<'_> {
    /// Ends and start of a run.
    pub(super) fn run(&mut self, node: &Node, layer: &RecurrentWeights) -> Run {
        let ends = self.ends(node);
        let start = match (self.form, node.inputs.len()) {
            (Form::Stream, _) => Start::Last,
            (Form::Window, 1) => Start::Zero,
            (Form::Window, _) => Start::Given,
        };
        Run {
            ends,
            start,
            geometry: RecurrentGeometry {
                start: start as u32,
                reverse: layer.reverse.into(),
            },
            state: self.quant(ends[1]),
            hidden: self.channels(node.output),
        }
    }

    fn recurrent(&mut self, node: &Node, layer: &RecurrentWeights) -> Result<(Run, Sides)> {
        let run = self.run(node, layer);
        let sides = match self.scheme.is_half() {
            true => Sides::Half(self.half_sides(node, layer, run.hidden)?),
            false => {
                let (weights, _) = self.weights_of(node, layer, &run, None)?;
                let (sides, encoding) = self.sides(node, &weights, &run, true)?;
                Sides::Int(sides, encoding)
            }
        };
        Ok((run, sides))
    }

    pub(super) fn half_sides(
        &mut self,
        node: &Node,
        layer: &RecurrentWeights,
        hidden: usize,
    ) -> Result<[RecurrentHalfSide; 2]> {
        Ok([
            self.half_side(node, &layer.w, &layer.bias_w, hidden)?,
            self.half_side(node, &layer.r, &layer.bias_r, hidden)?,
        ])
    }

    /// Weights of both sides, and the largest magnitude of a pre-activation. What the matrices of state from gate `apart` on multiply is
    /// not the state.
    pub(super) fn weights_of(
        &self,
        node: &Node,
        layer: &RecurrentWeights,
        run: &Run,
        apart: Option<usize>,
    ) -> Result<([Weights; 2], f64)> {
        let [x, y] = run.ends;
        let input = self.weights(node, Side::Input, &rows(&layer.w), &layer.bias_w, x)?;
        // The state is held as the results are.
        let (all, bias) = (rows(&layer.r), &layer.bias_r);
        let at = apart.map_or(all.len(), |gate| gate * run.hidden);
        let mut recurrent = self.weights(node, Side::State, &all[..at], &bias[..at], y)?;
        if apart.is_some() {
            let others = all[at..].iter().map(Vec::as_slice);
            let rounding = self.scheme.uncompensated();
            let others = Weights::new(&node.name, others, &bias[at..], run.state, rounding)?;
            recurrent.append(others);
        }
        let largest = |side: &Weights, from| side.largest(self.quant(from).scale, Q16.scale.into());
        let bound = largest(&input, x) + largest(&recurrent, y);
        if bound > f64::from(i32::MAX) {
            let reason = "pre-activations could reach 32768: the weights have diverged";
            return Err(limit(node, reason));
        }
        Ok(([input, recurrent], bound * f64::from(Q16.scale)))
    }

    /// Both sides; the weights of the input's are joined where the operator, if it `joins`, and their sums allow it.
    pub(super) fn sides(
        &mut self,
        node: &Node,
        [input, recurrent]: &[Weights; 2],
        run: &Run,
        joins: bool,
    ) -> Result<([RecurrentSide; 2], Encoding)> {
        let [x, y] = run.ends;
        let (input, encoding) = self.side(node, input, (x, joins), run.hidden)?;
        let (recurrent, _) = self.side(node, recurrent, (y, false), run.hidden)?;
        Ok(([input, recurrent], encoding))
    }

    fn side(
        &mut self,
        node: &Node,
        side: &Weights,
        (from, joins): (TensorId, bool),
        hidden: usize,
    ) -> Result<(RecurrentSide, Encoding)> {
        let multipliers = side.multipliers(&node.name, self.quant(from).scale, Q16.scale.into())?;
        let joins = joins && self.program.joins;
        let encoding = match joins && side.joins(self.quant(from), multipliers.left_shift) {
            true => Encoding::Joined,
            false => Encoding::Int8,
        };
        let (mut packed, mut bias, mut factors) = (Vec::new(), Vec::new(), Vec::new());
        for gate in 0..side.outputs() / hidden.max(1) {
            let part = side.gate(gate, hidden);
            let (weights, biases) = match encoding {
                Encoding::Joined => part.joined(),
                _ => (part.packed(), part.bias().to_vec()),
            };
            packed.extend(weights);
            bias.extend(padded(&biases));
            let gate = gate * hidden..(gate + 1) * hidden;
            factors.extend(padded(&multipliers.values[gate]));
        }
        let side = RecurrentSide {
            weights: self.program.weights(&packed),
            bias: self.program.weights(&bias),
            multipliers: self.program.weights(&factors),
            left_shift: multipliers.left_shift,
        };
        Ok((side, encoding))
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

    /// True if the states of a layer are held otherwise than Gru and Lstm hold theirs.
    pub(super) fn has_other_states(&self, node: &Node) -> bool {
        !self.scheme.is_half() && self.scheme.of(node.output) != STATE
    }

    /// Inputs and outputs of a layer without a cell.
    pub(super) fn with_state(&mut self, node: &Node, run: &Run) -> Result<Connected> {
        let [x, y] = run.ends;
        let h = self.beside(node, "state", run, run.state);
        Ok(match run.start {
            Start::Last => (vec![x, h], vec![y]),
            Start::Zero => (vec![x], vec![y, h]),
            Start::Given => (
                vec![x, self.held_as(node.inputs[1], run.state)?],
                vec![y, h],
            ),
        })
    }

    /// How the cell of an LSTM is held.
    pub(super) fn cell_held(&self, node: &Node) -> Quant {
        match self.scheme.is_half() {
            true => Quant::HALF,
            false => self.scheme.cell(node),
        }
    }

    /// Inputs and outputs of a layer with a cell that is held so.
    pub(super) fn with_cell(&mut self, node: &Node, run: &Run, held: Quant) -> Result<Connected> {
        let [x, y] = run.ends;
        let c = match node.second {
            Some(cell) if self.form == Form::Window => self.add_value(cell),
            _ => self.beside(node, "cell", run, held),
        };
        Ok(match run.start {
            Start::Last => {
                let h = self.beside(node, "state", run, run.state);
                (vec![x, h, c], vec![y])
            }
            Start::Zero => (vec![x], vec![y, c]),
            Start::Given => {
                let h0 = self.held_as(node.inputs[1], run.state)?;
                let c0 = self.held_as(node.inputs[2], held)?;
                (vec![x, h0, c0], vec![y, c])
            }
        })
    }
}

/// Inputs and outputs of an operator.
pub(super) type Connected = (Vec<TensorId>, Vec<TensorId>);

impl Lower for op::Gru {
    fn lower(&self, to: &mut Lowering, node: &Node) -> Lowered {
        if to.has_other_states(node) {
            return op::Recurrent::usual(&self.0, Cell::GruResetAfter).lower(to, node);
        }
        let (run, sides) = to.recurrent(node, &self.0)?;
        let (inputs, outputs) = to.with_state(node, &run)?;
        let encoding = sides.encoding();
        let params = match sides {
            Sides::Int([input, recurrent], _) => GruParams {
                input,
                recurrent,
                run: run.geometry,
            }
            .as_bytes()
            .to_vec(),
            Sides::Half(sides) => half_params(sides, &run).as_bytes().to_vec(),
        };
        let scratch = to.layer_scratch(node, &run, 0);
        to.op(&node.name, OpKind::Gru, inputs, outputs, scratch, &*params)?;
        to.encoded(encoding)
    }
}

impl Lower for op::Lstm {
    fn lower(&self, to: &mut Lowering, node: &Node) -> Lowered {
        if to.has_other_states(node) {
            return op::Recurrent::usual(&self.0, Cell::Lstm).lower(to, node);
        }
        let (run, sides) = to.recurrent(node, &self.0)?;
        let held = to.cell_held(node);
        let (inputs, outputs) = to.with_cell(node, &run, held)?;
        let encoding = sides.encoding();
        let params = match sides {
            Sides::Int([input, recurrent], _) => LstmParams {
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
        to.op(&node.name, OpKind::Lstm, inputs, outputs, scratch, &*params)?;
        to.encoded(encoding)
    }
}

/// A cell of a run that 16 bits can hold.
pub(super) const SHORT_Q16: Quant = Quant {
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

pub(super) fn cell_scale(node: &Node, from: Quant, to: Quant) -> Result<CellScale> {
    let (multiplier, left_shift) = rescale(&node.name, from, to.scale)?;
    Ok(CellScale {
        multiplier,
        left_shift,
    })
}
