//! Products and quotients: factors on tensors, functions and attention scores, and products of tensors.

use super::node::OnnxNode;
use super::terms::Terms;
use super::view::View;
use super::{Importer, Item};
use crate::error::Result;
use crate::function::{Binary, Function};
use crate::graph::{Clamp, Op, op};
use ndarray::{ArrayD, IxDyn};

/// Smallest factor on masked scores: a score lowered by 10000 must still have no weight.
const SMALLEST_FACTOR: f32 = 0.02;

impl Importer<'_> {
    /// A constant factor on a tensor, a function or attention scores, or a product of functions of one tensor.
    pub(super) fn multiply(&mut self, node: &OnnxNode) -> Result<()> {
        let binary = if node.op == "Div" {
            Binary::Div
        } else {
            Binary::Mul
        };
        let (constant, input) = match (self.weight(node, 0)?, self.weight(node, 1)?) {
            (Some(constant), None) => (constant, 1),
            (None, Some(constant)) => (constant, 0),
            _ => return self.multiply_tensors(node, binary),
        };
        if let (Item::RowSum(sum), Binary::Mul) = (self.item(node, input)?, binary) {
            return self.times_v(node, sum, &constant);
        }
        let first = constant.first().copied().unwrap_or(1.0);
        if self.masking_factor(node, first).is_some() {
            return Err(node.form("a factor that only hides"));
        }
        if constant.iter().any(|&c| c != first) {
            return self.factor_per_channel(node, &constant, input, binary);
        }
        if binary == Binary::Div && input == 1 {
            let inverse = Function::Constant(first.into()).with(Binary::Div, Function::Input);
            if let Item::MeanSquare(mean) = self.item(node, 1)? {
                return self.root(node, mean, &inverse);
            }
            let (view, function) = self.curve(node, 1)?;
            return self.insert_curve(node, view, inverse.of(&function));
        }
        let factor = if binary == Binary::Div {
            1.0 / first
        } else {
            first
        };
        let item = match self.item(node, input)? {
            Item::View(view) => Item::View(View {
                factor: view.factor * factor,
                ..view
            }),
            Item::Curve(view, function) => Item::Curve(
                view,
                function.with(Binary::Mul, Function::Constant(factor.into())),
            ),
            Item::Scores(mut scores) => {
                if scores.is_masked() && !(SMALLEST_FACTOR..).contains(&factor) {
                    return Err(node.form(format!(
                        "a factor of {factor} on scores that are masked could show what was hidden: scale before the mask"
                    )));
                }
                scores.scale *= factor;
                Item::Scores(scores)
            }
            Item::Terms(terms) => {
                let factor = ArrayD::from_elem(IxDyn(&[1]), factor);
                Item::Terms(terms.times(&factor).ok_or_else(|| node.form("a factor"))?)
            }
            Item::RowSum(_)
            | Item::Joined(_)
            | Item::Product(_)
            | Item::MeanSquare(_)
            | Item::Mask(_)
            | Item::Shifted(..)
            | Item::Undefined(_) => {
                return Err(node.form("a factor on the mean square of a normalisation, or on a product that is yet to be summed up: put it into the layer before"));
            }
            Item::Weights(_) => {
                return Err(
                    node.form("a factor on softmax weights: put it into the value projection")
                );
            }
        };
        self.items.insert(node.output.clone(), item);
        Ok(())
    }

    /// A product of functions of one tensor, a normalisation, or a product of two tensors.
    fn multiply_tensors(&mut self, node: &OnnxNode, binary: Binary) -> Result<()> {
        if self.root_mean_square(node, binary)? {
            return Ok(());
        }
        let scores = |item: Result<Item>| matches!(item, Ok(Item::Weights(_)));
        let weighs = scores(self.item(node, 0)) || scores(self.item(node, 1));
        if !weighs && self.combine(node, binary)? {
            return Ok(());
        }
        if binary == Binary::Mul && (weighs || self.is_summed(node)) && self.product(node)? {
            return Ok(());
        }
        let (a, b) = (self.view(node, 0)?, self.view(node, 1)?);
        let value = &self.graph.values[a.base.0];
        let fits = binary == Binary::Mul
            && a.is_like(&b)
            && b.position.len() == self.graph.values[b.base.0].len()
            && a.position.len() == value.len();
        if !fits && binary == Binary::Mul && self.gate(node, &a, &b)? {
            return Ok(());
        }
        let value = &self.graph.values[a.base.0];
        if !fits {
            return Err(node.form("only tensors of the same shape and layout can be multiplied, or a tensor by one factor for each channel or each row"));
        }
        let (dims, inputs) = (value.dims.clone(), vec![a.base, b.base]);
        let op = Op::Mul(op::Mul {
            factor: a.factor * b.factor,
        });
        let view = View {
            base: self.next_value(),
            factor: 1.0,
            ..a
        };
        self.add_node_as(node, op, inputs, &dims, view);
        Ok(())
    }

    /// Constant factors that differ: the layer before them takes factors per channel; others become terms.
    fn factor_per_channel(
        &mut self,
        node: &OnnxNode,
        constant: &ArrayD<f32>,
        input: usize,
        binary: Binary,
    ) -> Result<()> {
        let form = || {
            node.form("constant factors must have the tensor's shape, or one that broadcasts to it")
        };
        if binary == Binary::Div && input == 1 {
            return Err(node.form("constants divided by a tensor"));
        }
        let constant = constant.mapv(|c| if binary == Binary::Div { 1.0 / c } else { c });
        if let Item::View(view) = self.item(node, input)?
            && self.fold_factors(node, &constant, input, &view)
        {
            return Ok(());
        }
        let item = self.item(node, input)?;
        let terms = match self.terms(&item) {
            Some(terms) => terms,
            None => Terms::of(&self.view(node, input)?, &Function::Input).ok_or_else(form)?,
        };
        // The constant may have more axes, all of them 1.
        let shape = self.shape_of(&node.output);
        let view = View::whole(terms.base, terms.shape());
        if terms.shape().len() > shape.len() {
            return Err(form());
        }
        let terms = terms.gathered(&view.repeated(&shape).position);
        let terms = terms.times(&constant).ok_or_else(form)?;
        self.items.insert(node.output.clone(), Item::Terms(terms));
        Ok(())
    }

    /// Folds one factor per channel into the layer before; false if there is no such layer, or if another node reads its result.
    fn fold_factors(
        &mut self,
        node: &OnnxNode,
        constant: &ArrayD<f32>,
        input: usize,
        view: &View,
    ) -> bool {
        let channels = self.graph.values[view.base.0].channels();
        let per_channel = constant.len() == channels
            && constant.shape().last() == Some(&channels)
            && view.shape().last() == Some(&channels);
        if !per_channel || view.factor != 1.0 {
            return false;
        }
        let name = node.inputs[input].clone();
        match self
            .sole_producer(view.base, &name)
            .map(|producer| &mut producer.op)
        {
            Some(Op::LayerNorm(op::LayerNorm { gamma, beta, .. })) => {
                for ((gamma, beta), &c) in gamma.iter_mut().zip(beta).zip(constant) {
                    (*gamma, *beta) = (*gamma * c, *beta * c);
                }
            }
            Some(Op::Linear(op::Linear(affine))) if affine.clamp == Clamp::NONE => {
                let rows = affine.weight.outer_iter_mut().zip(&mut affine.bias);
                for ((mut row, bias), &c) in rows.zip(constant) {
                    row *= c;
                    *bias *= c;
                }
            }
            _ => return false,
        }
        self.renamed(view.clone(), node);
        true
    }
}
