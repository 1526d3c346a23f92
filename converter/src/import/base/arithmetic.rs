//! Sums, products, quotients, maxima and choices of tensors of any shape.

use super::super::Importer;
use super::super::node::OnnxNode;
use super::super::view::{PADDING, View};
use super::{Operand, broadcast};
use crate::error::Result;
use crate::function::{Binary, Function, Unary};
use crate::graph::{Clamp, op};
use crate::hiding::HIDDEN;
use crate::reference::to_f32;
use crate::shapes::MOVES;
use ndarray::{ArrayD, IxDyn};
use tract_onnx::pb::NodeProto;

/// A summand from here down hides what it is added to.
pub(super) const MASKED: f32 = -1e9;
/// Most operators behind a base that are asked whether they can be below 0.
const MOST_ON_THE_WAY: usize = 64;

impl Importer<'_> {
    pub(super) fn base_arithmetic(&mut self, node: &OnnxNode) -> Result<()> {
        match node.op {
            "Where" => return self.base_where(node),
            "Pow" => return self.base_pow(node),
            _ => {}
        }
        let mut result = self.summand(node, 0)?;
        for input in 1..node.inputs.len() {
            if node.inputs[input].is_empty() {
                continue;
            }
            let next = self.summand(node, input)?;
            result = match node.op {
                "Add" | "Sum" | "Mean" => self.sum_of(node, result, next)?,
                "Sub" => {
                    let negative = self.scaled_operand(node, next, -1.0);
                    self.sum_of(node, result, negative)?
                }
                "Mul" => self.product_of(node, result, next)?,
                "Div" => {
                    let inverse = self.inverse_of(node, next);
                    self.product_of(node, result, inverse)?
                }
                "Max" | "Min" => self.extreme_of(node, result, next, node.op == "Max")?,
                // Inputs: the lower bound, then the upper.
                "Clip" => self.extreme_of(node, result, next, input == 1)?,
                _ => self.prelu(node, result, next)?,
            };
        }
        if node.op == "Mean" {
            result = self.scaled_operand(node, result, 1.0 / node.inputs.len() as f32);
        }
        match result {
            Operand::Live(view) => self.give(node, view),
            Operand::Constant(_) => Err(node.unsupported()),
        }
    }

    /// An operand that may be a mask: a constant with elements of -inf, where that is added or chosen.
    fn summand(&mut self, node: &OnnxNode, input: usize) -> Result<Operand> {
        let mask = ["Add", "Where"].contains(&node.op);
        match self.constant(node, input).filter(|_| mask) {
            Some(c) if c.iter().all(|&c| c < f32::INFINITY) => Ok(Operand::Constant(c)),
            _ => self.operand(node, input),
        }
    }

    /// `a + b`.
    pub(super) fn sum_of(&mut self, node: &OnnxNode, a: Operand, b: Operand) -> Result<Operand> {
        Ok(Operand::Live(match (a, b) {
            (Operand::Constant(a), Operand::Constant(b)) => return Ok(Operand::Constant(a + b)),
            (Operand::Live(x), Operand::Constant(c)) | (Operand::Constant(c), Operand::Live(x)) => {
                let shape = broadcast(x.shape(), c.shape());
                let mut constant = spread(node, &c, &shape)?;
                let mut x = x.repeated(&shape);
                if self.hides_all(node, &constant, &shape) {
                    return Err(
                        node.form("a mask that hides a whole row: nothing would be left to weigh")
                    );
                }
                // What a mask hides is not computed with: a half or an integer could not hold its sum.
                let masked = constant.iter().any(|&c| c <= MASKED);
                for (position, c) in x.position.iter_mut().zip(&mut constant) {
                    if *c <= MASKED {
                        (*position, *c) = (PADDING, HIDDEN);
                    }
                }
                let input = self.plain(&x);
                let op = op::AddConstant {
                    constant,
                    clamp: Clamp::NONE,
                };
                let sum = self.part(node, "add", op, vec![input], &shape);
                if masked {
                    self.altered.insert(sum.base);
                }
                sum
            }
            (Operand::Live(a), Operand::Live(b)) => {
                let shape = broadcast(a.shape(), b.shape());
                let inputs = [&a, &b].map(|x| x.repeated(&shape));
                let [a, b] = [self.plain(&inputs[0]), self.plain(&inputs[1])];
                if a == b {
                    return Ok(Operand::Live(self.mapped(
                        node,
                        &inputs[0],
                        Function::scaled(2.0),
                    )));
                }
                let op = op::Add { clamp: Clamp::NONE };
                self.part(node, "add", op, vec![a, b], &shape)
            }
        }))
    }

    /// `a * b`.
    pub(super) fn product_of(
        &mut self,
        node: &OnnxNode,
        a: Operand,
        b: Operand,
    ) -> Result<Operand> {
        let (a, b) = match (a, b) {
            (Operand::Constant(a), Operand::Constant(b)) => return Ok(Operand::Constant(a * b)),
            (Operand::Live(x), Operand::Constant(c)) | (Operand::Constant(c), Operand::Live(x)) => {
                let first = c.first().copied().unwrap_or(1.0);
                if c.iter().all(|&c| c == first) && broadcast(x.shape(), c.shape()) == x.shape() {
                    let masking = self.masking_factor(node, first);
                    let function = Function::scaled(masking.unwrap_or(first).into());
                    let product = self.mapped(node, &x, function);
                    if masking.is_some() {
                        self.altered.insert(product.base);
                    }
                    return Ok(Operand::Live(product));
                }
                let shape = broadcast(x.shape(), c.shape());
                let values = spread(node, &c, &shape)?;
                let name = format!("{}.factors{}", node.name, self.graph.values.len());
                let factors = self.inner(&name, op::Constant { values }, vec![], &shape);
                (x, View::whole(factors, &shape))
            }
            (Operand::Live(a), Operand::Live(b)) => (a, b),
        };
        let shape = broadcast(a.shape(), b.shape());
        let inputs = [a.repeated(&shape), b.repeated(&shape)];
        let [a, b] = [self.plain(&inputs[0]), self.plain(&inputs[1])];
        if a == b {
            let square = Function::Input.with(Binary::Mul, Function::Input);
            return Ok(Operand::Live(self.mapped(node, &inputs[0], square)));
        }
        let op = op::Mul { factor: 1.0 };
        Ok(Operand::Live(self.part(
            node,
            "mul",
            op,
            vec![a, b],
            &shape,
        )))
    }

    pub(super) fn scaled_operand(&mut self, node: &OnnxNode, x: Operand, factor: f32) -> Operand {
        match x {
            Operand::Constant(c) => Operand::Constant(c * factor),
            Operand::Live(x) => {
                Operand::Live(self.mapped(node, &x, Function::scaled(factor.into())))
            }
        }
    }

    fn inverse_of(&mut self, node: &OnnxNode, x: Operand) -> Operand {
        match x {
            Operand::Constant(c) => Operand::Constant(c.mapv(|c| 1.0 / c)),
            Operand::Live(x) => {
                let inverse = Function::Constant(1.0).with(Binary::Div, Function::Input);
                Operand::Live(self.mapped(node, &x, inverse))
            }
        }
    }

    /// `max(a, b) = a + max(b - a, 0)`, and the same for the minimum.
    fn extreme_of(
        &mut self,
        node: &OnnxNode,
        a: Operand,
        b: Operand,
        largest: bool,
    ) -> Result<Operand> {
        let rest = match largest {
            true => Binary::Max,
            false => Binary::Min,
        };
        let copy = match &a {
            Operand::Constant(c) => Operand::Constant(c.clone()),
            Operand::Live(x) => Operand::Live(x.clone()),
        };
        let negative = self.scaled_operand(node, copy, -1.0);
        let Operand::Live(difference) = self.sum_of(node, b, negative)? else {
            return Err(node.unsupported());
        };
        let part = Function::Input.with(rest, Function::Constant(0.0));
        let part = self.mapped(node, &difference, part);
        self.sum_of(node, a, Operand::Live(part))
    }

    /// `max(x, 0) + slope * min(x, 0)`.
    fn prelu(&mut self, node: &OnnxNode, x: Operand, slope: Operand) -> Result<Operand> {
        let Operand::Live(x) = x else {
            return Err(node.unsupported());
        };
        let below = Function::Input.with(Binary::Min, Function::Constant(0.0));
        let below = self.mapped(node, &x, below);
        let above = self.mapped(node, &x, Function::Input.then(Unary::Relu));
        let product = self.product_of(node, Operand::Live(below), slope)?;
        self.sum_of(node, Operand::Live(above), product)
    }

    /// A tensor to constant powers: one function for each of them, cleared where another one holds. Constants to the power of a tensor are
    /// `e^(x * ln(c))`.
    fn base_pow(&mut self, node: &OnnxNode) -> Result<()> {
        const MOST: usize = 64;
        let shape = self.shape_of(&node.output);
        match (self.operand(node, 0)?, self.operand(node, 1)?) {
            (Operand::Live(x), Operand::Constant(powers)) => {
                let powers = spread(node, &powers, &shape)?;
                let mut kinds: Vec<f32> = powers.clone();
                kinds.sort_by(f32::total_cmp);
                kinds.dedup();
                if kinds.len() > MOST {
                    let reason = format!("{} different exponents; at most {MOST}", kinds.len());
                    return Err(node.form(reason));
                }
                let x = x.repeated(&shape);
                let mut sum: Option<Operand> = None;
                for kind in kinds {
                    let power = Function::Input.with(Binary::Pow, Function::Constant(kind.into()));
                    let position = x.position.iter().zip(&powers);
                    let position =
                        position.map(|(&p, &power)| if power == kind { p } else { PADDING });
                    let own = View::of(x.base, &shape, position.collect());
                    let y = self.mapped(node, &own, power);
                    // A function of the zeros need not be 0.
                    let kept = y.position.iter().zip(&powers);
                    let kept = kept.map(|(&p, &power)| if power == kind { p } else { PADDING });
                    let y = Operand::Live(View::of(y.base, &shape, kept.collect()));
                    sum = Some(match sum {
                        None => y,
                        Some(sum) => self.sum_of(node, sum, y)?,
                    });
                }
                match sum {
                    Some(Operand::Live(view)) => self.give(node, view),
                    _ => Err(node.unsupported()),
                }
            }
            (Operand::Constant(base), Operand::Live(x)) if base.iter().all(|&c| c > 0.0) => {
                let logarithms = Operand::Constant(base.mapv(f32::ln));
                let Operand::Live(powers) = self.product_of(node, Operand::Live(x), logarithms)?
                else {
                    return Err(node.unsupported());
                };
                let y = self.mapped(node, &powers, Function::Input.then(Unary::Exp));
                self.give(node, y)
            }
            // A base below 0 has powers of whole exponents only. With any other exponent the base of a float model is none: there it would
            // be NaN.
            (Operand::Live(x), Operand::Live(powers))
                if self.is_not_negative(&node.inputs[0]) || !self.is_rounded(&node.inputs[1]) =>
            {
                let logarithm = self.mapped(node, &x, Function::Input.then(Unary::Log));
                let powers = Operand::Live(powers);
                let product = self.product_of(node, Operand::Live(logarithm), powers)?;
                let Operand::Live(product) = product else {
                    return Err(node.unsupported());
                };
                let y = self.mapped(node, &product, Function::Input.then(Unary::Exp));
                self.give(node, y)
            }
            _ => Err(node.form(
                "whole exponents that the model computes, of a base that may be below 0: make the base one that cannot, by abs, relu, clamp or \
                 softmax",
            )),
        }
    }

    /// True for a tensor whose elements cannot be below 0, whatever the input is.
    fn is_not_negative(&self, name: &str) -> bool {
        let mut open = vec![name];
        for _ in 0..MOST_ON_THE_WAY {
            let Some(name) = open.pop() else {
                return true;
            };
            if let Some(constant) = self.known(name) {
                if constant.iter().any(|&c| c < 0.0) {
                    return false;
                }
                continue;
            }
            let nodes = &self.reference.graph().node;
            let Some(node) = nodes
                .iter()
                .find(|node| node.output.iter().any(|output| output == name))
            else {
                return false;
            };
            match node.op_type.as_str() {
                "Softmax" | "Sigmoid" | "HardSigmoid" | "Relu" | "Exp" | "Abs" | "Softplus"
                | "Sqrt" | "ReduceL1" | "ReduceL2" | "ReduceSumSquare" => {}
                "Clip" => {
                    let low = node.input.get(1).and_then(|low| self.known(low));
                    let least = OnnxNode::new(node, &self.values).float("min", f32::NEG_INFINITY);
                    let least = low.and_then(|low| low.first().copied()).unwrap_or(least);
                    if least < 0.0 {
                        return false;
                    }
                }
                "Add" | "Mul" | "Div" | "Concat" | "MatMul" | "Sum" | "Mean" => {
                    open.extend(node.input.iter().map(String::as_str));
                }
                "Where" => open.extend(node.input.iter().skip(1).map(String::as_str)),
                op if MOVES.contains(&op)
                    || ["ReduceSum", "ReduceMean", "ReduceMax"].contains(&op) =>
                {
                    open.extend(node.input.first().map(String::as_str));
                }
                _ => return false,
            }
        }
        false
    }

    /// True for whole numbers, of integers or rounded ones.
    fn is_rounded(&self, name: &str) -> bool {
        let nodes = &self.reference.graph().node;
        let producer = nodes
            .iter()
            .find(|node| node.output.iter().any(|output| output == name));
        let rounds = |node: &NodeProto| {
            ["Cast", "Ceil", "Floor", "Round", "Sign"].contains(&node.op_type.as_str())
        };
        self.is_integer(name) || producer.is_some_and(rounds)
    }

    /// The elements of a tensor that depends on no input.
    fn known(&self, name: &str) -> Option<ArrayD<f32>> {
        let constant = !self.dynamic.contains(name);
        constant.then(|| to_f32(self.values.get(name)?)).flatten()
    }

    /// A constant condition: each side with zeros where the other is chosen, added up.
    fn base_where(&mut self, node: &OnnxNode) -> Result<()> {
        let Some(condition) = self.constant(node, 0) else {
            return self.choice(node);
        };
        let shape = self.shape_of(&node.output);
        let condition = spread(node, &condition, &shape)?;
        let mut sides = Vec::new();
        for (input, chosen) in [(1, true), (2, false)] {
            let kept = |at: usize| (condition[at] != 0.0) == chosen;
            sides.push(match self.summand(node, input)? {
                Operand::Constant(c) => {
                    let values = spread(node, &c, &shape)?.into_iter().enumerate();
                    let values = values.map(|(at, c)| if kept(at) { c } else { 0.0 });
                    let array = ArrayD::from_shape_vec(IxDyn(&shape), values.collect());
                    Operand::Constant(array.expect("as many elements"))
                }
                Operand::Live(x) => {
                    let position = x.repeated(&shape).positions().into_iter().enumerate();
                    let position = position.map(|(at, p)| if kept(at) { p } else { PADDING });
                    Operand::Live(View::of(x.base, &shape, position.collect()))
                }
            });
        }
        let [chosen, other] = sides.try_into().map_err(|_| node.unsupported())?;
        match self.sum_of(node, chosen, other)? {
            Operand::Live(view) => self.give(node, view),
            Operand::Constant(_) => Err(node.unsupported()),
        }
    }
}

/// A constant broadcast to a shape, flat.
pub(super) fn spread(node: &OnnxNode, constant: &ArrayD<f32>, shape: &[usize]) -> Result<Vec<f32>> {
    let broadcast = constant.broadcast(IxDyn(shape));
    let broadcast = broadcast.ok_or_else(|| node.form("shapes that do not broadcast"))?;
    Ok(broadcast.iter().copied().collect())
}
