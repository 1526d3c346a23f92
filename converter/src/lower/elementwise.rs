//! Lut, Add, Concat, Softmax, Requantize, and rows taken out of a tensor.

use super::matrix::limits;
use super::table::interpolated;
use super::{Form, Lowering};
use crate::error::ConvertError;
use crate::function::Function;
use crate::graph::{Clamp, Node, ValueId};
use crate::program::{Place, Program, TensorId};
use crate::quantize::Quant;
use crate::quantize::weights::{mean, product, rescale};
use attn_runtime::format::{MAX_OP_INPUTS, OpKind};
use attn_runtime::kernels::int::softmax::score_multiplier;
use attn_runtime::ops::{
    AddConstantParams, AddParams, LutParams, RequantizeParams, SoftmaxParams, WideLutParams,
};

/// Sums are Q16.
const SUM_ONE: f64 = 65536.0;
impl Lowering<'_> {
    pub(super) fn requantize_params(
        &self,
        node: &str,
        x: TensorId,
        y: TensorId,
    ) -> Result<RequantizeParams, ConvertError> {
        let out = self.quant(y);
        let (multiplier, left_shift) = rescale(node, self.quant(x), out.scale)?;
        let (min, max) = out.limits();
        Ok(RequantizeParams {
            multiplier,
            left_shift,
            min,
            max,
        })
    }

    pub(super) fn activation(
        &mut self,
        node: &Node,
        function: &Function,
    ) -> Result<(), ConvertError> {
        let wide = self.scheme.all_int16(&[node.inputs[0], node.output]);
        let x = if wide {
            self.tensor(node.inputs[0])
        } else {
            self.int8(node.inputs[0])?
        };
        let y = self.add_value(node.output);
        if self.is_last_reader(node.inputs[0]) {
            self.program.tensors[y].place = Place::Within {
                tensor: x,
                offset: 0,
            };
        }
        let (from, to) = (self.quant(x), self.quant(y));
        if wide {
            let (table, step_bits) = interpolated(function, from, to);
            let params = WideLutParams {
                table: self.program.weights(&table),
                step_bits,
            };
            self.op(&node.name, OpKind::Lut, vec![x], vec![y], None, &params);
            return Ok(());
        }
        let entry = |q: i32| to.quantize(function.eval(from.dequantize(q).into()) as f32) as i8;
        let table: Vec<i8> = (-128..128).map(entry).collect();
        let params = LutParams {
            table: self.program.weights(&table),
        };
        self.op(&node.name, OpKind::Lut, vec![x], vec![y], None, &params);
        Ok(())
    }

    /// True when a value's bytes may be overwritten by its only reader.
    pub(super) fn is_last_reader(&self, value: ValueId) -> bool {
        let readers = self
            .graph
            .nodes
            .iter()
            .filter(|node| node.inputs.contains(&value))
            .count();
        let given = self.graph.inputs.contains(&value) || self.graph.outputs.contains(&value);
        readers == 1 && !given && self.program.base(self.tensor(value)).0 == self.tensor(value)
    }

    pub(super) fn add(&mut self, node: &Node, clamp: Clamp) -> Result<(), ConvertError> {
        let inputs = [0, 1].map(|i| self.tensor(node.inputs[i]));
        let y = self.add_value(node.output);
        let out = self.quant(y);
        let factor = |x: TensorId| f64::from(self.quant(x).scale) / f64::from(out.scale) * SUM_ONE;
        let factors = inputs.map(factor);
        if factors.iter().any(|&factor| factor > f64::from(i32::MAX)) {
            let reason = "an input's scale is more than 32768 times the result's: calibrate with more varied data".into();
            return Err(ConvertError::Limit {
                node: node.name.clone(),
                reason,
            });
        }
        if inputs[0] == inputs[1] {
            let reason =
                "it adds a tensor to itself: put the factor 2 into the layer before".into();
            return Err(ConvertError::Limit {
                node: node.name.clone(),
                reason,
            });
        }
        let (min, max) = limits(clamp, out);
        let params = AddParams {
            factors: factors.map(|factor| factor.round() as i32),
            min,
            max,
        };
        self.op(
            &node.name,
            OpKind::Add,
            inputs.to_vec(),
            vec![y],
            None,
            &params,
        );
        Ok(())
    }

    pub(super) fn add_constant(
        &mut self,
        node: &Node,
        constant: &[f32],
        clamp: Clamp,
    ) -> Result<(), ConvertError> {
        let (constant, positions, inputs) = self.positioned(node, constant);
        let (x, y) = (inputs[0], self.add_value(node.output));
        let out = self.quant(y);
        let limit = |reason: &str| ConvertError::Limit {
            node: node.name.clone(),
            reason: reason.into(),
        };
        let steps = |x: f64| x / f64::from(out.scale) * SUM_ONE;
        let fits = |x: f64| x.abs() <= f64::from(i32::MAX);
        let factor = steps(self.quant(x).scale.into());
        let constant: Vec<f64> = constant.iter().map(|&c| steps(c.into())).collect();
        if !fits(factor) || !constant.iter().all(|&c| fits(c)) {
            return Err(limit(
                "its result is much smaller than what is added: calibrate with more varied data",
            ));
        }
        let stored: Vec<i32> = constant.iter().map(|c| c.round() as i32).collect();
        let (min, max) = limits(clamp, out);
        let constant = self.program.weights(&stored);
        let params = AddConstantParams {
            constant,
            positions,
            factor: factor.round() as i32,
            min,
            max,
        };
        self.op(
            &node.name,
            OpKind::AddConstant,
            inputs,
            vec![y],
            None,
            &params,
        );
        Ok(())
    }

    /// A constant in rows, their number, and the inputs of its sum: on a stream one row for all frames where all are alike, or else
    /// a counter says which row is next.
    pub(super) fn positioned<'c>(
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
        self.program
            .tensor(name, &[1], Quant::COUNTER, Place::State)
    }

    pub(super) fn mul(&mut self, node: &Node, factor: f32) -> Result<(), ConvertError> {
        let inputs = [0, 1].map(|i| self.tensor(node.inputs[i]));
        let held = inputs.map(|x| self.quant(x));
        let scale = self.scheme.of(node.output).scale;
        let by = product(&node.name, held, factor, scale)?;
        self.requantized(node, OpKind::Mul, inputs.to_vec(), by);
        Ok(())
    }

    pub(super) fn mean_rows(&mut self, node: &Node) -> Result<(), ConvertError> {
        let x = self.tensor(node.inputs[0]);
        let rows = self.graph.values[node.inputs[0].0].rows();
        let scale = self.scheme.of(node.output).scale;
        let by = mean(&node.name, self.quant(x), rows, scale)?;
        self.requantized(node, OpKind::MeanRows, vec![x], by);
        Ok(())
    }

    /// An operator whose one parameter is a change of scale by `multiplier` and `left_shift`.
    pub(super) fn requantized(
        &mut self,
        node: &Node,
        kind: OpKind,
        inputs: Vec<TensorId>,
        (multiplier, left_shift): (i32, u32),
    ) {
        let y = self.add_value(node.output);
        let (min, max) = self.quant(y).limits();
        let params = RequantizeParams {
            multiplier,
            left_shift,
            min,
            max,
        };
        self.op(&node.name, kind, inputs, vec![y], None, &params);
    }

    pub(super) fn concat(&mut self, node: &Node) -> Result<(), ConvertError> {
        let y = self.add_value(node.output);
        self.join(node, y, |_, tensor| tensor)
    }

    /// Joins the inputs along channels, each tensor as `view` shows it.
    pub(super) fn join(
        &mut self,
        node: &Node,
        y: TensorId,
        view: impl Fn(&mut Program, TensorId) -> TensorId,
    ) -> Result<(), ConvertError> {
        if node.inputs.len() > MAX_OP_INPUTS {
            let reason = format!(
                "{} inputs; at most {MAX_OP_INPUTS}: nest them",
                node.inputs.len()
            );
            return Err(ConvertError::Limit {
                node: node.name.clone(),
                reason,
            });
        }
        let inputs: Vec<TensorId> = node.inputs.iter().map(|&id| self.tensor(id)).collect();
        if self.scheme.is_half() {
            let inputs = inputs.iter().map(|&x| view(&mut self.program, x)).collect();
            let y = view(&mut self.program, y);
            self.op(&node.name, OpKind::Concat, inputs, vec![y], None, &[0u8; 0]);
            return Ok(());
        }
        let params = inputs
            .iter()
            .map(|&x| self.requantize_params(&node.name, x, y));
        let params = params.collect::<Result<Vec<_>, _>>()?;
        let inputs = inputs.iter().map(|&x| view(&mut self.program, x)).collect();
        let y = view(&mut self.program, y);
        self.op(
            &node.name,
            OpKind::Concat,
            inputs,
            vec![y],
            None,
            params.as_slice(),
        );
        Ok(())
    }

    pub(super) fn softmax(&mut self, node: &Node) -> Result<(), ConvertError> {
        let (x, y) = (self.tensor(node.inputs[0]), self.add_value(node.output));
        let params = SoftmaxParams {
            score_multiplier: score_multiplier(self.quant(x).scale),
        };
        self.op(&node.name, OpKind::Softmax, vec![x], vec![y], None, &params);
        Ok(())
    }

    /// Rows of a tensor are a tensor inside it; of a stream there is only the newest.
    pub(super) fn select_rows(&mut self, node: &Node, start: usize) -> Result<(), ConvertError> {
        let x = self.tensor(node.inputs[0]);
        if self.form == Form::Stream {
            self.tensors.insert(node.output, x);
            return Ok(());
        }
        if start > 0 && self.graph.varying.contains_key(&node.inputs[0]) {
            let y = self.add_value(node.output);
            self.op(
                &node.name,
                OpKind::LastRow,
                vec![x],
                vec![y],
                None,
                &[0u8; 0],
            );
            return Ok(());
        }
        let row = self.channels(node.inputs[0]) * self.quant(x).dtype.size();
        let offset = start * row;
        if !offset.is_multiple_of(4) {
            let reason = format!(
                "row {start} of {row} bytes does not start at a word: use a multiple of 4 channels"
            );
            return Err(ConvertError::Limit {
                node: node.name.clone(),
                reason,
            });
        }
        let y = self.add_value(node.output);
        self.program.tensors[y].place = Place::Within { tensor: x, offset };
        Ok(())
    }
}
