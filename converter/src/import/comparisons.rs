//! Truth values that the model computes: comparisons, their combinations, choices by them, and casts that round or test. On one tensor they
//! are functions of it, which jump; on several, functions of differences.

use super::node::OnnxNode;
use super::view::View;
use super::{Importer, Item};
use crate::error::Result;
use crate::function::{Binary, Function, Unary};

/// What reads one tensor only.
type Curve = (View, Function);

impl Importer<'_> {
    /// Comparisons, and what joins or negates truth values.
    pub(super) fn compared(&mut self, node: &OnnxNode) -> Result<()> {
        if self.counts(node) {
            return Err(node.form("whole numbers that are compared"));
        }
        if node.op == "Not" {
            let (view, inner) = self.curve(node, 0)?;
            return self.insert_curve(node, view, negated(inner));
        }
        let Some((view, [a, b])) = self.curves(node, [0, 1])? else {
            return Err(node.form(
                "it compares two tensors for being equal; tensors that the model computes can be compared with Greater and Less, for being \
                 equal only with a number",
            ));
        };
        let function = match node.op {
            "Greater" => a.with(Binary::Greater, b),
            "Less" => b.with(Binary::Greater, a),
            "LessOrEqual" => negated(a.with(Binary::Greater, b)),
            "GreaterOrEqual" => negated(b.with(Binary::Greater, a)),
            "Equal" => a.with(Binary::Equal, b),
            "And" => a.with(Binary::Mul, b),
            "Or" => a.with(Binary::Max, b),
            _ => negated(a.with(Binary::Equal, b)),
        };
        self.insert_curve(node, view, function)
    }

    /// A choice between functions of one tensor, by a third; false for anything else.
    pub(super) fn chosen_curve(&mut self, node: &OnnxNode) -> Result<bool> {
        let known = |input: usize| match self.item(node, input) {
            Ok(item) => matches!(item, Item::View(_) | Item::Curve(..)),
            Err(_) => input > 0,
        };
        let hides = |input: usize| {
            let fill = self.constant(node, input);
            fill.is_some_and(|fill| self.hides(node, &fill))
        };
        if ![0, 1, 2].into_iter().all(known) || hides(1) || hides(2) {
            return Ok(false);
        }
        let Some((view, [condition, chosen, other])) = self.curves(node, [0, 1, 2])? else {
            return Ok(false);
        };
        let function = Function::choice(condition, chosen, other);
        self.insert_curve(node, view, function)?;
        Ok(true)
    }

    /// A cast that rounds towards 0, or tells 0 from other numbers.
    pub(super) fn rounded(&mut self, node: &OnnxNode, truth: bool) -> Result<()> {
        if truth && self.counts(node) {
            return Err(node.form("whole numbers that are told from 0"));
        }
        let (view, inner) = self.curve(node, 0)?;
        let function = match truth {
            true => negated(inner.with(Binary::Equal, Function::Constant(0.0))),
            false => inner.then(Unary::Trunc),
        };
        self.insert_curve(node, view, function)
    }

    /// A quotient of integers, which is rounded towards 0.
    pub(super) fn integer_quotient(&mut self, node: &OnnxNode) -> Result<()> {
        let Some((view, [a, b])) = self.curves(node, [0, 1])? else {
            return Err(node.form(
                "a quotient of integers that the model computes, which are different tensors",
            ));
        };
        self.insert_curve(node, view, a.with(Binary::Div, b).then(Unary::Trunc))
    }

    /// True if all inputs are constants and tensors of whole numbers, which base operators compare exactly.
    fn counts(&self, node: &OnnxNode) -> bool {
        let counted = |name: &String| {
            let known = self.items.get(name);
            matches!(known, Some(Item::View(_)) | None) && self.is_integer(name)
        };
        node.inputs.iter().all(counted)
    }

    /// Inputs as functions of the same elements; `None` where they read different ones, or constants that are not one number.
    fn curves<const N: usize>(
        &mut self,
        node: &OnnxNode,
        inputs: [usize; N],
    ) -> Result<Option<(View, [Function; N])>> {
        let mut view: Option<View> = None;
        let mut functions = Vec::new();
        for input in inputs {
            if let Some(constant) = self.constant(node, input) {
                let first = constant.first().copied().unwrap_or(0.0);
                if !first.is_finite() || constant.iter().any(|&c| c != first) {
                    return Ok(None);
                }
                functions.push(Function::Constant(first.into()));
                continue;
            }
            let (own, function): Curve = self.curve(node, input)?;
            match &view {
                Some(view) if view.base != own.base || view.position != own.position => {
                    return Ok(None);
                }
                _ => view = Some(own),
            }
            functions.push(function);
        }
        // A constant may make the result larger than the tensor.
        let shape = self.shape_of(&node.output);
        let view = view.filter(|view| view.shape() == shape);
        Ok(view.zip(functions.try_into().ok()))
    }
}

/// 1 for 0, 0 for 1.
fn negated(truth: Function) -> Function {
    Function::Constant(1.0).with(Binary::Sub, truth)
}
