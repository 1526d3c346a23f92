//! Comparisons, logic and choices by what the model computes, and masks among its inputs. True is 1.0, false 0.0.

use super::super::Importer;
use super::super::node::OnnxNode;
use super::super::nodes::normalize;
use super::super::view::View;
use super::Operand;
use super::arithmetic::MASKED;
use crate::error::Result;
use crate::function::{Binary, Function};
use crate::graph::op::Reduction;
use crate::graph::{Clamp, Op, ValueId, op};
use crate::hiding::{HIDDEN, HIDES, only_softmax, shown};
use ndarray::{ArrayD, IxDyn};
use tract_onnx::pb::NodeProto;
use tract_onnx::pb::tensor_proto::DataType;

/// Numbers that differ by more than one of this are told apart.
const STEEP: f64 = 1024.0;
/// Most operators between a mask and its softmax.
const MOST_ON_THE_WAY: usize = 16;

impl Importer<'_> {
    /// Comparisons, and logic of their results.
    pub(super) fn base_logic(&mut self, node: &OnnxNode) -> Result<()> {
        if let Some(view) = self.told_by_table(node)? {
            return self.give(node, view);
        }
        let a = self.operand(node, 0)?;
        let y = match node.op {
            "Not" => self.complement(node, a),
            "And" => {
                let b = self.operand(node, 1)?;
                self.product_of(node, a, b)?
            }
            "Or" => {
                let b = self.operand(node, 1)?;
                let sum = self.sum_of(node, a, b)?;
                self.positive(node, sum, true)
            }
            "Xor" => {
                let b = self.operand(node, 1)?;
                let equal = self.equal(node, a, b, true)?;
                self.complement(node, equal)
            }
            _ => {
                let b = self.operand(node, 1)?;
                self.compare(node, a, b)?
            }
        };
        self.give_operand(node, y)
    }

    /// A number cast to a boolean: 1 for all but 0. Casts to other types are those of a tensor.
    pub(super) fn base_cast(&mut self, node: &OnnxNode) -> Result<()> {
        if node.int("to", 0) != DataType::Bool as i64 {
            return self.settled(node);
        }
        let x = self.operand(node, 0)?;
        let zero = Operand::Constant(ArrayD::zeros(IxDyn(&[])));
        let equal = self.equal(node, x, zero, self.whole(node, 0))?;
        let y = self.complement(node, equal);
        self.give_operand(node, y)
    }

    fn give_operand(&mut self, node: &OnnxNode, y: Operand) -> Result<()> {
        match y {
            Operand::Live(view) => self.give(node, view),
            Operand::Constant(_) => Err(node.unsupported()),
        }
    }

    /// True if an input holds whole numbers.
    fn whole(&self, node: &OnnxNode, input: usize) -> bool {
        node.inputs
            .get(input)
            .is_some_and(|name| self.is_integer(name))
    }

    fn compare(&mut self, node: &OnnxNode, a: Operand, b: Operand) -> Result<Operand> {
        let whole = self.whole(node, 0) && self.whole(node, 1);
        let (low, high) = match node.op {
            "Less" | "GreaterOrEqual" => (a, b),
            "Greater" | "LessOrEqual" => (b, a),
            "Equal" => return self.equal(node, a, b, whole),
            _ => return Err(node.unsupported()),
        };
        let low = self.scaled_operand(node, low, -1.0);
        let difference = self.sum_of(node, high, low)?;
        let below = self.positive(node, difference, whole);
        Ok(match node.op.ends_with("OrEqual") {
            true => self.complement(node, below),
            false => below,
        })
    }

    /// `1 - (a > b) - (b > a)`.
    pub(super) fn equal(
        &mut self,
        node: &OnnxNode,
        a: Operand,
        b: Operand,
        whole: bool,
    ) -> Result<Operand> {
        let negative = self.scaled_operand(node, b, -1.0);
        let Operand::Live(x) = self.sum_of(node, a, negative)? else {
            return Err(node.unsupported());
        };
        let other = self.scaled_operand(node, Operand::Live(x.clone()), -1.0);
        let [above, below] = [Operand::Live(x), other].map(|side| self.positive(node, side, whole));
        let differ = self.sum_of(node, above, below)?;
        Ok(self.complement(node, differ))
    }

    /// 1 where `x > 0`, else 0: `min(max(x, 0), 1)`, of whole numbers or of numbers that are made large before.
    fn positive(&mut self, node: &OnnxNode, x: Operand, whole: bool) -> Operand {
        let x = match x {
            Operand::Constant(c) => {
                return Operand::Constant(c.mapv(|c| f32::from(u8::from(c > 0.0))));
            }
            Operand::Live(x) if whole => x,
            Operand::Live(x) => self.mapped(node, &x, Function::scaled(STEEP)),
        };
        let input = self.plain(&x);
        let op = op::AddConstant {
            constant: vec![0.0; x.position.len()],
            clamp: Clamp { min: 0.0, max: 1.0 },
        };
        Operand::Live(self.part(node, "positive", op, vec![input], x.shape()))
    }

    /// `1 - x`.
    fn complement(&mut self, node: &OnnxNode, x: Operand) -> Operand {
        match x {
            Operand::Constant(c) => Operand::Constant(c.mapv(|c| 1.0 - c)),
            Operand::Live(x) => {
                let rest = Function::Constant(1.0).with(Binary::Sub, Function::Input);
                Operand::Live(self.mapped(node, &x, rest))
            }
        }
    }

    /// `condition * a + (1 - condition) * b`.
    pub(super) fn choice(&mut self, node: &OnnxNode) -> Result<()> {
        let condition = self.live(node, 0)?;
        for (hidden, kept) in [(1, 2), (2, 1)] {
            if let Some(fill) = self.constant(node, hidden)
                && fill.iter().all(|&c| c <= HIDES)
                && self.hides(node, &fill)
            {
                return self.hidden_where(node, condition, hidden == 1, kept);
            }
        }
        let mut masked = false;
        let mut sides = Vec::new();
        for input in [1, 2] {
            let side = self.filled(node, input)?;
            masked |= side.1;
            sides.push(side.0);
        }
        let rest = self.complement(node, Operand::Live(condition.clone()));
        let mut sum = Operand::Constant(ArrayD::zeros(IxDyn(&[])));
        for (side, chosen) in sides.into_iter().zip([Operand::Live(condition), rest]) {
            if !matches!(&side, Operand::Constant(c) if c.iter().all(|&c| c == 0.0)) {
                let part = self.product_of(node, chosen, side)?;
                sum = match &sum {
                    Operand::Constant(_) => part,
                    Operand::Live(_) => self.sum_of(node, sum, part)?,
                };
            }
        }
        let Operand::Live(sum) = sum else {
            return Err(node.unsupported());
        };
        if masked {
            self.altered.insert(sum.base);
        }
        self.give(node, sum)
    }

    /// A choice that hides one side: what is added there lowers it far enough.
    fn hidden_where(
        &mut self,
        node: &OnnxNode,
        condition: View,
        holds: bool,
        kept: usize,
    ) -> Result<()> {
        let kept = self.operand(node, kept)?;
        let hidden = match holds {
            true => Operand::Live(condition),
            false => self.complement(node, Operand::Live(condition)),
        };
        let mask = self.scaled_operand(node, hidden, HIDDEN);
        let Operand::Live(sum) = self.sum_of(node, kept, mask)? else {
            return Err(node.unsupported());
        };
        self.altered.insert(sum.base);
        self.give(node, sum)
    }

    /// A side of a choice; whether it hides what it is chosen for.
    fn filled(&mut self, node: &OnnxNode, input: usize) -> Result<(Operand, bool)> {
        if let Some(constant) = self.constant(node, input)
            && self.hides(node, &constant)
        {
            let shown = constant.mapv(shown);
            return Ok((Operand::Constant(shown), true));
        }
        Ok((self.operand(node, input)?, false))
    }

    /// True for a constant with elements that only hide.
    pub(in crate::import) fn hides(&self, node: &OnnxNode, constant: &ArrayD<f32>) -> bool {
        constant.iter().any(|&c| c <= HIDES)
            && constant.iter().all(|&c| c < f32::INFINITY)
            && only_softmax(self.reference.graph(), &node.output)
    }

    /// A factor that turns a mask of 0 and 1 into what is added to scores.
    pub(in crate::import) fn masking_factor(&self, node: &OnnxNode, factor: f32) -> Option<f32> {
        let large = factor.abs() >= -HIDES && only_softmax(self.reference.graph(), &node.output);
        large.then(|| -HIDDEN * factor.signum())
    }

    /// True if a constant that is added hides everything that a softmax then weighs in some row: ONNX and frameworks do not agree on the
    /// result.
    pub(super) fn hides_all(&self, node: &OnnxNode, constant: &[f32], shape: &[usize]) -> bool {
        let behind = self.weighed_axis(&node.output);
        let Some(axis) = behind.and_then(|behind| shape.len().checked_sub(behind)) else {
            return false;
        };
        let inner: usize = shape[axis + 1..].iter().product();
        let mut blocks = constant.chunks((shape[axis] * inner).max(1));
        blocks.any(|block| {
            let mut row = 0..inner;
            row.any(|at| block.iter().skip(at).step_by(inner).all(|&c| c <= MASKED))
        })
    }

    /// The axis, counted from behind, of the softmax that a tensor goes to without being rearranged.
    fn weighed_axis(&self, name: &str) -> Option<usize> {
        let graph = self.reference.graph();
        let mut name = name;
        for _ in 0..MOST_ON_THE_WAY {
            let reader = graph
                .node
                .iter()
                .find(|node| node.input.iter().any(|x| x == name))?;
            match reader.op_type.as_str() {
                "Softmax" | "LogSoftmax" => {
                    let rank = self.shape_of(name).len();
                    let axis = OnnxNode::new(reader, &self.values).int("axis", -1);
                    return Some(rank - normalize(axis, rank)?);
                }
                "Add" | "Sub" | "Mul" | "Where" | "Cast" | "Identity" => {
                    name = reader.output.first()?
                }
                _ => return None,
            }
        }
        None
    }

    /// Functions that jump: -1, 0 and 1; nothing up to a threshold.
    pub(super) fn base_jump(&mut self, node: &OnnxNode) -> Result<()> {
        let x = self.live(node, 0)?;
        let alpha = f64::from(node.float("alpha", 1.0));
        let shifted = Function::Input.with(Binary::Sub, Function::Constant(alpha));
        let y = if node.op == "Sign" {
            let negative = self.scaled_operand(node, Operand::Live(x.clone()), -1.0);
            let [above, below] =
                [Operand::Live(x), negative].map(|side| self.positive(node, side, false));
            let below = self.scaled_operand(node, below, -1.0);
            self.sum_of(node, above, below)?
        } else {
            let above = Operand::Live(self.mapped(node, &x, shifted));
            let above = self.positive(node, above, false);
            self.product_of(node, Operand::Live(x), above)?
        };
        self.give_operand(node, y)
    }

    /// Where a softmax is NaN: in rows whose scores are all hidden.
    pub(super) fn sees_nothing(&mut self, node: &OnnxNode) -> Result<()> {
        let form = || node.form("only a softmax is asked whether it is a number");
        let graph = self.reference.graph();
        let softmax =
            |of: &&NodeProto| of.output.contains(&node.inputs[0]) && of.op_type == "Softmax";
        let softmax = graph.node.iter().find(softmax).ok_or_else(form)?;
        let softmax = OnnxNode::new(softmax, &self.values);
        let scores = self.live(&softmax, 0)?;
        let shape = scores.shape().to_vec();
        let axis = self.axis(node, softmax.int("axis", -1), shape.len())?;
        let mut order: Vec<usize> = (0..shape.len()).filter(|&at| at != axis).collect();
        order.push(axis);
        let mut kept = shape.clone();
        kept[axis] = 1;
        let along = scores.transposed(&order);
        let largest = self.reduced(node, &along, shape[axis], Reduction::Max, &kept);
        let middle = Operand::Constant(ArrayD::from_elem(IxDyn(&[]), -HIDDEN / 2.0));
        let above = self.sum_of(node, Operand::Live(largest), middle)?;
        let seen = self.positive(node, above, true);
        let Operand::Live(nothing) = self.complement(node, seen) else {
            return Err(form());
        };
        // The result is 0 or 1 in every float run, too: it can be compared with the ONNX tensor.
        self.altered.remove(&nothing.base);
        self.give(node, nothing.repeated(&shape))
    }

    /// True for an operator whose input only hides, so that its result is not the ONNX tensor's either.
    pub(in crate::import) fn stays_altered(&self, op: &Op, inputs: &[ValueId]) -> bool {
        !matches!(op, Op::Softmax(_)) && inputs.iter().any(|input| self.altered.contains(input))
    }
}
