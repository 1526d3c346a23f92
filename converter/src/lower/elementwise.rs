//! Element by element, or along one row: Activation, Add, AddConstant, Mul, Gate, Softmax, MaxChannels, MeanChannels; and changes of
//! scale for the other families.

use super::matrix::{half_limits, halves};
use super::parabolas::fit;
use super::{Form, Lower, Lowered, Lowering, NONE, limit};
use crate::error::Result;
use crate::graph::{Clamp, Node, ValueId, op};
use crate::program::{Place, Tensor, TensorId};
use crate::quantize::Quant;
use crate::quantize::weights::{mean, product, rescale};
use attn_runtime::format::{DType, OpKind};
use attn_runtime::kernels::int::softmax::score_multiplier;
use attn_runtime::ops::{
    AddConstantHalfParams, AddConstantParams, AddHalfParams, AddParams, GateHalfParams, GateParams,
    LutHalfParams, LutParams, MulHalfParams, RequantizeParams, SoftmaxParams, WideLutParams,
};
use zerocopy::IntoBytes;

/// Sums are Q16.
const SUM_ONE: f64 = 65536.0;

/// A multiplier and a left shift.
pub(super) type Factor = (i32, u32);

impl Lowering<'_> {
    /// The parameters of a change of scale whose result is `y`.
    pub(super) fn by(&self, y: TensorId, (multiplier, left_shift): Factor) -> RequantizeParams {
        let (min, max) = self.quant(y).limits();
        RequantizeParams {
            multiplier,
            left_shift,
            min,
            max,
        }
    }

    /// The parameters of a change of scale from `x` to `y`.
    pub(super) fn rescaled(
        &self,
        name: &str,
        x: TensorId,
        y: TensorId,
    ) -> Result<RequantizeParams> {
        let factor = rescale(name, self.quant(x), self.quant(y).scale)?;
        Ok(self.by(y, factor))
    }

    /// Writes `x` into `y`, held as that is; the operator is called as `y`, or as it is given.
    pub(super) fn requantize(&mut self, x: TensorId, y: TensorId, name: Option<&str>) -> Lowered {
        let name = name.map_or_else(|| self.program.tensors[y].name.clone(), String::from);
        let (kind, inputs, outputs) = (OpKind::Requantize, vec![x], vec![y]);
        if self.scheme.is_half() {
            return self.op(&name, kind, inputs, outputs, None, NONE);
        }
        let params = self.rescaled(&name, x, y)?;
        self.op(&name, kind, inputs, outputs, None, &params)
    }

    /// An operator whose one parameter in integers is a change of scale; `factor` gives it for the inputs and the result's scale.
    pub(super) fn requantized(
        &mut self,
        node: &Node,
        kind: OpKind,
        factor: impl Fn(&[Quant], f32) -> Result<Factor>,
    ) -> Lowered {
        let (inputs, y) = (self.inputs(node), self.add_value(node.output));
        if self.scheme.is_half() {
            return self.op(&node.name, kind, inputs, vec![y], None, NONE);
        }
        let held: Vec<Quant> = inputs.iter().map(|&x| self.quant(x)).collect();
        let params = self.by(y, factor(&held, self.quant(y).scale)?);
        self.op(&node.name, kind, inputs, vec![y], None, &params)
    }

    /// Scratch of `len` f32.
    pub(super) fn f32_scratch(&mut self, node: &Node, len: usize) -> Option<TensorId> {
        Some(self.program.scratch(&node.name, DType::I32, len))
    }

    /// True when a value's bytes may be overwritten by its only reader.
    fn is_last_reader(&self, value: ValueId) -> bool {
        let nodes = self.graph.nodes.iter();
        let readers = nodes.filter(|node| node.inputs.contains(&value)).count();
        let given = self.graph.inputs.contains(&value) || self.graph.outputs.contains(&value);
        readers == 1
            && !given
            && !self.kept.contains(&value)
            && self.program.base(self.tensor(value)).0 == self.tensor(value)
    }

    /// Both inputs; the second copied where it shares bytes with the first, which operators do not take.
    pub(super) fn pair(&mut self, node: &Node) -> Result<Vec<TensorId>> {
        let mut inputs = self.inputs(node);
        let span = |id: TensorId| {
            let (base, offset) = self.program.base(id);
            (base, offset..offset + self.program.tensors[id].byte_len())
        };
        let [(a, first), (b, second)] = [span(inputs[0]), span(inputs[1])];
        if a != b || first.end <= second.start || second.end <= first.start {
            return Ok(inputs);
        }
        if self.program.max_length > 0 {
            let reason =
                "it takes one tensor of variable length twice: write it as a function of one input";
            return Err(limit(node, reason));
        }
        let Tensor {
            name, dims, quant, ..
        } = self.program.tensors[inputs[1]].clone();
        let copy = (self.program).tensor(format!("{name}.again"), &dims, quant, Place::Arena);
        self.requantize(inputs[1], copy, None)?;
        inputs[1] = copy;
        Ok(inputs)
    }

    /// A constant in rows, their number, and the inputs of its sum: on a stream one row for all frames where all are alike, or else
    /// a counter says which row is next.
    fn positioned<'c>(
        &mut self,
        node: &Node,
        constant: &'c [f32],
    ) -> (&'c [f32], u32, Vec<TensorId>) {
        let x = self.tensor(node.inputs[0]);
        let channels = self.channels(node.inputs[0]).max(1);
        let positions = (constant.len() / channels) as u32;
        let first = &constant[..channels.min(constant.len())];
        if self.form == Form::Window {
            return (constant, positions, vec![x]);
        }
        if constant.chunks(channels).all(|row| row == first) {
            return (first, 1, vec![x]);
        }
        (constant, positions, vec![x, self.position(node)])
    }

    /// A counter of the frames that `node` has seen.
    pub(super) fn position(&mut self, node: &Node) -> TensorId {
        let name = format!("{}.position", node.name);
        self.kept(name, &[1], Quant::COUNTER)
    }
}

impl Lower for op::Activation {
    fn lower(&self, to: &mut Lowering, node: &Node) -> Lowered {
        let (half, value) = (to.scheme.is_half(), node.inputs[0]);
        let wide = to.scheme.all_int16(&[value, node.output]);
        let x = match half || wide {
            true => to.tensor(value),
            false => to.int8(value)?,
        };
        let ends = [x, to.add_value(node.output)];
        if to.is_last_reader(value) {
            let place = Place::Within {
                tensor: x,
                offset: 0,
            };
            to.program.tensors[ends[1]].place = place;
        }
        let (function, kind) = (&self.0, OpKind::Lut);
        if half {
            let fitted = fit(function, to.scheme.half_range(value));
            let table = [fitted.negative.as_slice(), &fitted.positive].concat();
            let params = LutHalfParams {
                table: to.program.weights(table.as_flattened()),
                negative: fitted.negative.len() as u32,
                positive: fitted.positive.len() as u32,
                inverse_step: fitted.inverse_step,
                octave_bits: fitted.octave_bits,
            };
            // What is 0 at the end may be left out.
            let len = size_of_val(&params) - 4 * usize::from(fitted.octave_bits == 0);
            return to.unary(node, kind, ends, None, &params.as_bytes()[..len]);
        }
        let [from, out] = ends.map(|tensor| to.quant(tensor));
        if wide {
            let made = to.scheme.tables().interpolated(function, from, out);
            let params = WideLutParams {
                table: to.program.weights(&made.entries),
                step_bits: made.step_bits,
                points: to.program.weights(made.points.as_flattened()),
                point_count: made.points.len() as u32,
            };
            if made.points.is_empty() {
                let plain = [params.table, params.step_bits];
                return to.unary(node, kind, ends, None, &plain);
            }
            return to.unary(node, kind, ends, None, &params);
        }
        let entry = |q: i32| out.quantize(function.eval(from.dequantize(q).into()) as f32) as i8;
        let table: Vec<i8> = (-128..128).map(entry).collect();
        let table = to.program.weights(&table);
        to.unary(node, kind, ends, None, &LutParams { table })
    }
}

impl Lowering<'_> {
    /// The parameters of a sum in integers.
    pub(super) fn sum_params(
        &self,
        node: &Node,
        inputs: [TensorId; 2],
        y: TensorId,
        clamp: Clamp,
    ) -> Result<AddParams> {
        let out = self.quant(y);
        let factor = |x| f64::from(self.quant(x).scale) / f64::from(out.scale) * SUM_ONE;
        let factors = inputs.map(factor);
        if factors.iter().any(|&factor| factor > f64::from(i32::MAX)) {
            let reason = "an input's scale is more than 32768 times the result's: calibrate with more varied data";
            return Err(limit(node, reason));
        }
        Ok(AddParams {
            factors: factors.map(|factor| factor.round() as i32),
            min: out.quantize(clamp.min),
            max: out.quantize(clamp.max),
        })
    }
}

impl Lower for op::Add {
    fn lower(&self, to: &mut Lowering, node: &Node) -> Lowered {
        let (inputs, y) = (to.pair(node)?, to.add_value(node.output));
        if to.scheme.is_half() {
            let (min, max) = half_limits(self.clamp);
            let params = AddHalfParams { min, max };
            return to.op(&node.name, OpKind::Add, inputs, vec![y], None, &params);
        }
        let ends = inputs[..].try_into().expect("a pair");
        let params = to.sum_params(node, ends, y, self.clamp)?;
        to.op(&node.name, OpKind::Add, inputs, vec![y], None, &params)
    }
}

impl Lower for op::AddConstant {
    fn lower(&self, to: &mut Lowering, node: &Node) -> Lowered {
        let (constant, positions, inputs) = to.positioned(node, &self.constant);
        let (x, y, kind) = (inputs[0], to.add_value(node.output), OpKind::AddConstant);
        if to.scheme.is_half() {
            let (min, max) = half_limits(self.clamp);
            let params = AddConstantHalfParams {
                constant: to.program.weights(&halves(node, constant.iter())?),
                positions,
                min,
                max,
            };
            return to.op(&node.name, kind, inputs, vec![y], None, &params);
        }
        let out = to.quant(y);
        let steps = |x: f64| x / f64::from(out.scale) * SUM_ONE;
        let fits = |x: f64| x.abs() <= f64::from(i32::MAX);
        let factor = steps(to.quant(x).scale.into());
        let constant: Vec<f64> = constant.iter().map(|&c| steps(c.into())).collect();
        if !fits(factor) || !constant.iter().all(|&c| fits(c)) {
            let reason =
                "its result is much smaller than what is added: calibrate with more varied data";
            return Err(limit(node, reason));
        }
        let stored: Vec<i32> = constant.iter().map(|c| c.round() as i32).collect();
        let params = AddConstantParams {
            constant: to.program.weights(&stored),
            positions,
            factor: factor.round() as i32,
            min: out.quantize(self.clamp.min),
            max: out.quantize(self.clamp.max),
        };
        to.op(&node.name, kind, inputs, vec![y], None, &params)
    }
}

impl Lower for op::Mul {
    fn lower(&self, to: &mut Lowering, node: &Node) -> Lowered {
        let factor = self.factor;
        if to.scheme.is_half() {
            let (inputs, y) = (to.pair(node)?, to.add_value(node.output));
            let params = MulHalfParams { factor };
            return to.op(&node.name, OpKind::Mul, inputs, vec![y], None, &params);
        }
        let by = |from: &[Quant], out| product(&node.name, [from[0], from[1]], factor, out);
        to.requantized(node, OpKind::Mul, by)
    }
}

impl Lower for op::Gate {
    fn lower(&self, to: &mut Lowering, node: &Node) -> Lowered {
        let (inputs, y, kind) = (to.inputs(node), to.add_value(node.output), OpKind::Gate);
        let (factor, per_row) = (self.factor, self.per_row.into());
        if to.scheme.is_half() {
            let params = GateHalfParams { factor, per_row };
            return to.op(&node.name, kind, inputs, vec![y], None, &params);
        }
        let held = [to.quant(inputs[0]), to.quant(inputs[1])];
        let rescale = product(&node.name, held, factor, to.quant(y).scale)?;
        let rescale = to.by(y, rescale);
        let params = GateParams { rescale, per_row };
        to.op(&node.name, kind, inputs, vec![y], None, &params)
    }
}

impl Lower for op::Softmax {
    fn lower(&self, to: &mut Lowering, node: &Node) -> Lowered {
        let (ends, kind) = (to.ends(node), OpKind::Softmax);
        if to.scheme.is_half() {
            return to.unary(node, kind, ends, None, NONE);
        }
        let score_multiplier = score_multiplier(to.quant(ends[0]).scale);
        let params = SoftmaxParams { score_multiplier };
        to.unary(node, kind, ends, None, &params)
    }
}

impl Lower for op::MaxChannels {
    fn lower(&self, to: &mut Lowering, node: &Node) -> Lowered {
        let ends = to.ends(node);
        to.unary(node, OpKind::MaxChannels, ends, None, NONE)
    }
}

impl Lower for op::MeanChannels {
    fn lower(&self, to: &mut Lowering, node: &Node) -> Lowered {
        let channels = to.channels(node.inputs[0]);
        let by = |from: &[Quant], out| mean(&node.name, from[0], channels, out);
        to.requantized(node, OpKind::MeanChannels, by)
    }
}
