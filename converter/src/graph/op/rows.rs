//! Operators that select, join, look up and weight rows.

use crate::graph::Value;
use crate::graph::facts::{
    Facts, Held, Kind, Operator, Positions, Rows, Second, Step, Weighted, finest_sum,
};
use attn_runtime::format::OpKind;
use ndarray::ArrayD;

/// Why an operator that reads all rows cannot be streamed.
const WHOLE_WINDOW: &str =
    "it reads the whole window: pool with attention over the window in its place";

/// Adjacent rows of `x: [t, c]`; result `[rows, c]`, or `[c]` for a single row.
#[derive(Clone, Debug)]
pub struct SelectRows {
    /// First row.
    pub start: usize,
    /// Number of rows.
    pub rows: usize,
}

impl Operator for SelectRows {
    fn facts(&self, _channels: usize) -> Facts {
        Facts::chosen(
            Kind::Graph("SelectRows"),
            Rows::Select {
                start: self.start,
                rows: self.rows,
            },
        )
    }

    fn keeps_channels(&self) -> bool {
        true
    }
}

/// The same elements in rows of another length.
#[derive(Clone, Debug)]
pub struct Reshape;

impl Operator for Reshape {
    fn facts(&self, _channels: usize) -> Facts {
        Facts::whole(
            Kind::Graph("Reshape"),
            WHOLE_WINDOW,
            Held::AsInput,
            Weighted::None,
        )
    }
}

/// The sequence's rows, the first of `x: [t, c]`; the padding rows after them are not read.
#[derive(Clone, Debug)]
pub struct Sequence;

impl Operator for Sequence {
    fn facts(&self, _channels: usize) -> Facts {
        Facts::chosen(Kind::Graph("Sequence"), Rows::Valid)
    }
}

/// The sequence's rows (a varying number of the `[t, c]`), followed by rows of 0 for the padding; result `[t, c]`.
#[derive(Clone, Debug)]
pub struct ClearRows;

impl Operator for ClearRows {
    fn facts(&self, _channels: usize) -> Facts {
        Facts::chosen(Kind::Runtime(OpKind::ClearRows), Rows::Cleared)
    }
}

/// Mean over rows: `x: [rows, c]`, result `[c]`.
#[derive(Clone, Debug)]
pub struct MeanRows;

impl Operator for MeanRows {
    fn facts(&self, _channels: usize) -> Facts {
        Facts::whole(
            Kind::Runtime(OpKind::MeanRows),
            "a mean over the window: pool with attention over the window in its place",
            Held::Free,
            Weighted::None,
        )
    }

    fn keeps_channels(&self) -> bool {
        true
    }

    fn finest(&self, inputs: &[Step], n: usize) -> f64 {
        finest_sum(inputs, n, n)
    }
}

/// Joins any number of inputs along channels; rows are equal.
#[derive(Clone, Debug)]
pub struct Concat;

impl Operator for Concat {
    fn facts(&self, _channels: usize) -> Facts {
        Facts::row_by_row(Kind::Runtime(OpKind::Concat), true, Held::Free)
    }
}

/// Joins any number of inputs along rows; channels are equal.
#[derive(Clone, Debug)]
pub struct ConcatRows;

impl Operator for ConcatRows {
    fn facts(&self, _channels: usize) -> Facts {
        Facts::whole(
            Kind::Graph("ConcatRows"),
            WHOLE_WINDOW,
            Held::Free,
            Weighted::None,
        )
    }
}

/// Rows of a table; input: tokens `[n, 1]`, result `[n, channels]`.
#[derive(Clone, Debug)]
pub struct Embedding {
    /// `[tokens, channels]`
    pub table: ArrayD<f32>,
}

impl Operator for Embedding {
    fn facts(&self, _channels: usize) -> Facts {
        Facts::row_by_row(Kind::Runtime(OpKind::Embedding), true, Held::Free)
    }
}

/// A constant tensor, such as a class token or a learned query; no input.
#[derive(Clone, Debug)]
pub struct Constant {
    /// In the order of the result.
    pub values: Vec<f32>,
}

impl Operator for Constant {
    fn facts(&self, _channels: usize) -> Facts {
        Facts {
            kind: Kind::Runtime(OpKind::Constant),
            rows: Rows::Constant,
            positions: Positions::None,
            shortens: false,
            held: Held::Plain,
            second: Second::None,
            weighted: Weighted::None,
        }
    }
}

/// `y[q, c] = sum_t w[q, t] * x[t, c]`; inputs `w: [q, t]`, `x: [t, c]`.
#[derive(Clone, Debug)]
pub struct WeightedRows;

impl Operator for WeightedRows {
    fn facts(&self, _channels: usize) -> Facts {
        Facts::whole(
            Kind::Runtime(OpKind::WeightedRows),
            WHOLE_WINDOW,
            Held::FreeBySums,
            Weighted::None,
        )
    }

    fn products(&self, inputs: &[&Value], result: &Value) -> usize {
        let [_, rows, ..] = inputs else { return 0 };
        rows.rows() * result.len()
    }
}
