//! Attention, and the rotary positions of its queries and keys.

use crate::graph::facts::{Facts, Held, Kind, Operator, Positions, Rows, Second, Weighted};
use crate::graph::{Op, Value};
use attn_runtime::format::OpKind;

/// `softmax(scale * q k^T) v` per head; inputs `q: [tq, heads * d]`, `k: [tk, heads * d]`, `v: [tk, heads * dv]`,
/// result `[tq, heads * dv]`. A fourth input is added to the scores: `[tq, heads * tk]`, or without the factors that are the same for all
/// queries or all heads.
#[derive(Clone, Debug)]
pub struct Attention {
    /// Number of heads; heads are adjacent channel blocks.
    pub heads: usize,
    /// Factor on the scores before the softmax.
    pub scale: f32,
    /// Query `i` of `tq` sees keys up to number `tk - tq + i` only.
    pub causal: bool,
    /// The keys that each query sees, `[tq, tk]`, for masks other than `causal`. A query that sees no key gets 0.
    pub visible: Option<Vec<bool>>,
    /// Heads of keys and values, a divisor of `heads`: adjacent query heads share one (grouped-query attention).
    /// `k` is then `[tk, key_heads * d]`, `v` likewise.
    pub key_heads: usize,
    /// There is a fourth input.
    pub biased: bool,
}

impl Operator for Attention {
    fn facts(&self, _channels: usize) -> Facts {
        let rows = match self.biased {
            true => Rows::All {
                reason: "its scores have summands for all queries and keys: attention without them can be streamed",
            },
            false => Rows::Queries {
                causal: self.causal,
                masked: self.visible.is_some(),
            },
        };
        Facts {
            kind: Kind::Runtime(OpKind::Attention),
            rows,
            positions: Positions::None,
            shortens: !self.biased,
            held: Held::Window,
            second: Second::Weights,
            weighted: Weighted::None,
        }
    }

    fn products(&self, inputs: &[&Value], result: &Value) -> usize {
        let [queries, keys, ..] = inputs else {
            return 0;
        };
        queries.rows() * keys.rows() * (queries.channels() + result.channels())
    }
}

/// `softmax_t(v . f(q + k_t))` over rows of values, `f` tanh or the identity; inputs `q: [a]`, `k: [t, a]` and values
/// `[t, c]`, results `[c]` and the weights `[t]`.
#[derive(Clone, Debug)]
pub struct AdditiveAttention {
    /// `[a]`
    pub v: Vec<f32>,
    /// `f` is tanh.
    pub tanh: bool,
}

impl Operator for AdditiveAttention {
    fn facts(&self, _channels: usize) -> Facts {
        Facts {
            kind: Kind::Runtime(OpKind::AdditiveAttention),
            rows: Rows::All {
                reason: "additive attention has one query in each run: export a step for one token",
            },
            positions: Positions::None,
            shortens: true,
            held: Held::Mean,
            second: Second::Weights,
            weighted: Weighted::None,
        }
    }

    fn products(&self, inputs: &[&Value], result: &Value) -> usize {
        let [_, keys, ..] = inputs else { return 0 };
        keys.rows() * (keys.channels() + result.channels())
    }
}

/// Rotary positions: pairs of channels turned by an angle that grows with the row; `x: [rows, heads * head_dim]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Rotary {
    /// Channels of one head; all heads have the same angles.
    pub head_dim: usize,
    /// Pairs of channels that are turned, the first `2 * pairs` of each head; the rest stays.
    pub pairs: usize,
    /// Pairs are neighbours `(2i, 2i + 1)`, not halves `(i, pairs + i)`.
    pub interleaved: bool,
    /// `[rows, pairs]`: cosine and sine.
    pub table: Vec<[f32; 2]>,
}

impl Operator for Rotary {
    fn facts(&self, _channels: usize) -> Facts {
        Facts {
            kind: Kind::Runtime(OpKind::Rotary),
            rows: Rows::Each,
            positions: Positions::Counted,
            shortens: false,
            held: Held::Free,
            second: Second::None,
            weighted: Weighted::None,
        }
    }
}

impl Op {
    /// Replaces the causal mask by an explicit one for this many queries and keys, which does not count from the last key.
    pub fn write_out_causal(&mut self, queries: usize, keys: usize) {
        if let Self::Attention(attention) = self {
            let ahead = |at: usize| at % keys > at / keys + keys - queries.min(keys);
            attention.visible = Some((0..queries * keys).map(|at| !ahead(at)).collect());
            attention.causal = false;
        }
    }
}
