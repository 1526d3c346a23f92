//! Summands of the scores of an attention, as one tensor: one row for each query or one for all, for each head or all alike.

use super::heads::Heads;
use super::matcher::Origin;
use super::rewrite::{Arranged, Rewrite};
use super::scores::Scores;
use super::weighing::Weighing;
use crate::function::Function;
use crate::graph::{ValueId, op};

/// Summands in the order of the tensor.
pub struct Bias {
    /// Computed ones.
    summands: Vec<Origin>,
    /// Constant ones.
    constant: Option<Vec<f32>>,
    /// Elements of a row.
    channels: usize,
}

impl Bias {
    /// The summands of these scores; `None` if there are none.
    pub fn of(
        weighing: &Weighing,
        scores: &Scores,
        heads: &Heads,
        hidden: &[bool],
    ) -> Option<Self> {
        let constant = scores.bias(hidden);
        if scores.summands.is_empty() && constant.is_none() {
            return None;
        }
        let (count, queries) = (heads.heads.len(), heads.heads.first()?.uses.len());
        let row = |query: usize, head: usize| {
            weighing.uses[heads.heads[head].uses[query]].row * weighing.keys
        };
        let of = |query, head, key| row(query, head) + key;
        let same = |all: &dyn Fn(usize) -> usize, times: usize| {
            same(scores, &constant, hidden, all, times)
        };
        let grid = |alike: &dyn Fn(usize, usize, usize) -> bool| {
            let places = (0..queries).flat_map(|q| (0..count).map(move |h| (q, h)));
            let mut places = places.flat_map(|(q, h)| (0..weighing.keys).map(move |k| (q, h, k)));
            places.all(|(q, h, k)| alike(q, h, k))
        };
        let one_head = grid(&|q, h, k| h > 0 || same(&|head| of(q, head, k), count));
        let one_query = grid(&|q, h, k| q > 0 || same(&|query| of(query, h, k), queries));
        // The first that is seen of those that are alike.
        let (heads_left, rows) = (
            if one_head { 1 } else { count },
            if one_query { 1 } else { queries },
        );
        let mut table = Vec::new();
        for query in 0..rows {
            for head in 0..heads_left {
                for key in 0..weighing.keys {
                    let queries = if one_query {
                        0..queries
                    } else {
                        query..query + 1
                    };
                    let mut all = queries.flat_map(|query| {
                        let heads = if one_head { 0..count } else { head..head + 1 };
                        heads.map(move |head| (query, head))
                    });
                    let seen = all.find(|&(query, head)| !hidden[of(query, head, key)]);
                    let (query, head) = seen.unwrap_or((query, head));
                    table.push(of(query, head, key));
                }
            }
        }
        let take = |summand: &Origin| Origin {
            position: table.iter().map(|&at| summand.position[at]).collect(),
            ..summand.clone()
        };
        Some(Self {
            summands: scores.summands.iter().map(take).collect(),
            constant: constant.map(|all| table.iter().map(|&at| all[at]).collect()),
            channels: heads_left * weighing.keys,
        })
    }

    /// Adds the tensor to the graph.
    pub fn put(self, rewrite: &mut Rewrite, name: &str) -> Option<ValueId> {
        let len = self.summands.first().map(|summand| summand.position.len());
        let rows = len.or(self.constant.as_ref().map(Vec::len))? / self.channels.max(1);
        let dims = match rows {
            1 => vec![self.channels],
            rows => vec![rows, self.channels],
        };
        let mut values = Vec::new();
        for summand in &self.summands {
            let arranged = Arranged {
                base: summand.base,
                position: &summand.position,
                channels: self.channels,
            };
            let mut value = rewrite.arranged(name, &arranged);
            if summand.factor != 1.0 {
                let scaled = Function::scaled(summand.factor.into());
                value = rewrite.add_inner(name, op::Activation(scaled), vec![value], &dims);
            }
            values.push(value);
        }
        let zeros = || vec![0.0; rows * self.channels];
        let constant = self.constant.unwrap_or_else(zeros);
        Some(rewrite.sum(name, values, constant, &dims))
    }
}

/// True if all summands are the same at these elements of the softmax, as far as they are seen.
fn same(
    scores: &Scores,
    constant: &Option<Vec<f32>>,
    hidden: &[bool],
    at: &dyn Fn(usize) -> usize,
    times: usize,
) -> bool {
    let mut seen = (0..times).map(at).filter(|&at| !hidden[at]);
    let Some(first) = seen.next() else {
        return true;
    };
    seen.all(|other| {
        let places = scores.summands.iter();
        let mut places = places.map(|summand| [first, other].map(|at| summand.position[at]));
        let constants = constant
            .as_ref()
            .map(|all| [first, other].map(|at| all[at]));
        places.all(|[a, b]| a == b) && constants.is_none_or(|[a, b]| a == b)
    })
}
