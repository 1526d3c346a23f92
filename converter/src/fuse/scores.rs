//! The way of scores from a product to their softmax: factors, summands, masks and rearrangements on it.

use super::matcher::{Matcher, Origin};
use crate::graph::{Clamp, Node, Op, ValueId, op};

/// A number that far below the highest constant of its row, in place of a score, hides: import puts it there for -inf.
const HIDDEN: f32 = -100.0;
/// A constant that is so far below the highest of its row hides a score.
const HIDES: f32 = -1e4;

/// What a softmax weighs: `factor * x[place] + constant + summands`, element by element.
#[derive(Clone)]
pub struct Scores {
    /// The value that the way leads to.
    pub from: ValueId,
    /// For each element of the softmax its place there; [`Origin::ZERO`] where it does not come from there.
    pub place: Vec<u32>,
    /// Factor on all of them.
    pub factor: f32,
    /// Summand of each element.
    pub constant: Vec<f32>,
    /// Computed summands: element `i` adds `factor * base[position[i]]`.
    pub summands: Vec<Origin>,
    /// Elements of a row.
    pub width: usize,
}

impl Scores {
    /// Follows the input of a softmax back to where it comes from: all ways that there are, one for each choice among summands.
    pub fn of(matcher: &Matcher, softmax: &Node) -> Vec<Self> {
        let value = &matcher.graph.values[softmax.inputs[0].0];
        let start = Self {
            from: softmax.inputs[0],
            place: (0..value.len() as u32).collect(),
            factor: 1.0,
            constant: vec![0.0; value.len()],
            summands: Vec::new(),
            width: matcher.graph.values[softmax.output.0].channels(),
        };
        let (mut open, mut ends) = (vec![start], Vec::new());
        while let Some(scores) = open.pop() {
            match scores.before(matcher) {
                Some(before) => open.extend(before),
                None => ends.push(scores),
            }
        }
        ends
    }

    /// One step back; `None` where the way ends.
    fn before(&self, matcher: &Matcher) -> Option<Vec<Self>> {
        let origin = matcher.moved(self.from);
        if origin.base != self.from {
            return Some(vec![self.moved(&origin)]);
        }
        let node = matcher.producer(self.from)?;
        match &node.op {
            Op::Activation(op::Activation(function)) => {
                let (slope, offset) = function.line()?;
                let mut before = self.clone();
                before.add(|_| self.factor * offset as f32);
                before.factor *= slope as f32;
                before.from = node.inputs[0];
                Some(vec![before])
            }
            Op::AddConstant(op::AddConstant { constant, clamp }) if *clamp == Clamp::NONE => {
                let mut before = self.clone();
                before.add(|at| self.factor * constant[at]);
                before.from = node.inputs[0];
                Some(vec![before])
            }
            Op::Add(op::Add { clamp }) if *clamp == Clamp::NONE => {
                let side =
                    |side: usize| self.beside(matcher, node.inputs[side], node.inputs[1 - side]);
                Some(vec![side(1), side(0)])
            }
            _ => None,
        }
    }

    /// The way to `main`, where `other` is added to it.
    fn beside(&self, matcher: &Matcher, main: ValueId, other: ValueId) -> Self {
        let mut before = self.clone();
        before.from = main;
        if let Some(constant) = matcher.graph.constant(other) {
            before.add(|at| self.factor * constant[at]);
            return before;
        }
        let mut summand = matcher.moved(other);
        let at = |&at: &u32| match at {
            Origin::ZERO => Origin::ZERO,
            at => summand.position[at as usize],
        };
        summand.position = self.place.iter().map(at).collect();
        summand.factor *= self.factor;
        before.summands.push(summand);
        before
    }

    fn moved(&self, origin: &Origin) -> Self {
        let at = |&at: &u32| match at {
            Origin::ZERO => Origin::ZERO,
            at => origin.position[at as usize],
        };
        Self {
            from: origin.base,
            place: self.place.iter().map(at).collect(),
            ..self.clone()
        }
    }

    /// Adds a number to every element that still comes from somewhere.
    fn add(&mut self, number: impl Fn(usize) -> f32) {
        for (constant, &at) in self.constant.iter_mut().zip(&self.place) {
            if at != Origin::ZERO {
                *constant += number(at as usize);
            }
        }
    }

    /// Which elements are hidden, row by row; `None` if one is known but not hidden, or a row has no other.
    pub fn hidden(&self) -> Option<Vec<bool>> {
        let width = self.width.max(1);
        let mut all = Vec::new();
        for (places, constants) in self.place.chunks(width).zip(self.constant.chunks(width)) {
            let row = || places.iter().zip(constants);
            let computed = row().filter(|(at, _)| **at != Origin::ZERO);
            let highest = computed.map(|(_, &c)| c).reduce(f32::max)?;
            for (&at, &constant) in row() {
                let below = constant - highest;
                all.push(match at {
                    Origin::ZERO if below > HIDDEN => return None,
                    Origin::ZERO => true,
                    _ => below <= HIDES,
                });
            }
        }
        Some(all)
    }

    /// The constants of what is seen, without what is the same for a whole row: that changes no softmax. `None` if nothing is left.
    pub fn bias(&self, hidden: &[bool]) -> Option<Vec<f32>> {
        let mut bias = self.constant.clone();
        let rows = bias.chunks_mut(self.width.max(1));
        for (row, hidden) in rows.zip(hidden.chunks(self.width.max(1))) {
            let seen = row.iter().zip(hidden).filter(|(_, hidden)| !**hidden);
            let (low, high) = seen.fold((f32::MAX, f32::MIN), |(low, high), (&c, _)| {
                (low.min(c), high.max(c))
            });
            // Halfway between them, so that what remains is small.
            let middle = if low == high { low } else { (low + high) / 2.0 };
            let clear =
                |(c, hidden): (&mut f32, &bool)| *c = if *hidden { 0.0 } else { *c - middle };
            row.iter_mut().zip(hidden).for_each(clear);
        }
        bias.iter().any(|&c| c != 0.0).then_some(bias)
    }
}
