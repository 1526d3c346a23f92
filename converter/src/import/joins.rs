//! Tensors joined along channels or rows, and parts of one tensor joined again.

use super::node::OnnxNode;
use super::nodes::normalize;
use super::terms::Terms;
use super::view::{View, is_run};
use super::{Importer, Item};
use crate::error::Result;
use crate::graph::{Op, op};
use attn_runtime::format::MAX_OP_INPUTS;

impl Importer<'_> {
    pub(super) fn concat(&mut self, node: &OnnxNode) -> Result<()> {
        let shape = self.shape_of(&node.output);
        let axis = normalize(node.int("axis", -1), shape.len())
            .ok_or_else(|| node.form("axis out of range"))?;
        if self.join_terms(node, axis)? {
            return Ok(());
        }
        let mut views = Vec::new();
        for input in 0..node.inputs.len() {
            views.push(self.unscaled(node, input)?);
        }
        if let Some(view) = self.join_views(&views, axis) {
            self.items.insert(node.output.clone(), Item::View(view));
            return Ok(());
        }
        if views.len() > MAX_OP_INPUTS {
            return Err(node.form(format!("more than {MAX_OP_INPUTS} tensors at once")));
        }
        if axis + 1 == shape.len() && self.join_repeated(node, &views) {
            return Ok(());
        }
        if views.len() > MAX_OP_INPUTS {
            return Err(node.form(format!("{} inputs; at most {MAX_OP_INPUTS}", views.len())));
        }
        let in_rows = |view: &View| {
            let positions = view.positions();
            is_run(&positions, positions.first().map_or(0, |&p| p as usize))
        };
        if axis == 1 && (shape.len() == 4 || shape.len() == 3 && !views.iter().all(in_rows)) {
            return self.concat_channels(node, &views);
        }
        let single = |view: &View| view.position.len() == view.shape().last().copied().unwrap_or(1);
        let along_channels = axis + 1 == shape.len();
        if !along_channels && views.iter().all(single) {
            return self.concat_states(node, &views);
        }
        let along_rows =
            !along_channels && shape[..axis].iter().all(|&n| n == 1) && axis + 2 == shape.len();
        let op = match (along_channels, along_rows) {
            (true, _) => Op::Concat(op::Concat),
            (_, true) => Op::ConcatRows(op::ConcatRows),
            _ => {
                return Err(node.form(
                    "tensors can be joined along channels (the last axis) or rows [.., rows, channels] only",
                ));
            }
        };
        let mut inputs = Vec::new();
        for view in &views {
            inputs.push(self.row_operand(node, view)?);
        }
        let view = View::whole(self.next_value(), &shape);
        self.add_node(node, op, inputs, &shape, view);
        Ok(())
    }

    /// Single rows joined along rows, such as the states of several layers.
    fn concat_states(&mut self, node: &OnnxNode, views: &[View]) -> Result<()> {
        let mut inputs = Vec::new();
        for view in views {
            inputs.push(self.row_operand(node, view)?);
        }
        let shape = self.shape_of(&node.output);
        let view = View::whole(self.next_value(), &shape);
        self.add_node(
            node,
            Op::Concat(op::Concat),
            inputs,
            &[shape.iter().product()],
            view,
        );
        Ok(())
    }

    /// Joined parts of one tensor, some of them scaled: still terms. False for anything else.
    fn join_terms(&mut self, node: &OnnxNode, axis: usize) -> Result<bool> {
        let mut parts = Vec::new();
        let mut plain = true;
        for input in 0..node.inputs.len() {
            let Ok(item) = self.item(node, input) else {
                return Ok(false);
            };
            plain &= matches!(&item, Item::View(view) if view.factor == 1.0);
            match self.terms(&item) {
                Some(terms) => parts.push(terms),
                None => return Ok(false),
            }
        }
        let Some(joined) = Terms::joined(&parts, axis).filter(|_| !plain) else {
            return Ok(false);
        };
        self.items.insert(node.output.clone(), Item::Terms(joined));
        Ok(true)
    }

    /// Joined parts of one tensor.
    fn join_views(&mut self, views: &[View], axis: usize) -> Option<View> {
        let base = views.first()?.base;
        if views.len() < 2 || views.iter().any(|view| view.base != base) {
            return None;
        }
        let parts: Vec<_> = views.iter().map(|view| view.position.view()).collect();
        let position = ndarray::concatenate(ndarray::Axis(axis), &parts).ok()?;
        let run: Vec<u32> = position.iter().copied().collect();
        let mut sorted = run.clone();
        sorted.sort_unstable();
        sorted.dedup();
        // Each element once: a rearrangement.
        (sorted.len() == run.len()).then(|| View {
            position,
            ..views[0].clone()
        })
    }
}
