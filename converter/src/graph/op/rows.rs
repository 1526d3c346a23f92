//! Operators that select, join, look up and weight rows.

use crate::graph::facts::{Facts, Held, Kind, Operator, Positions, Rows, Second, Weighted};
use attn_runtime::format::OpKind;
use ndarray::ArrayD;

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
        Facts {
            kind: Kind::Graph("SelectRows"),
            rows: Rows::Select {
                start: self.start,
                rows: self.rows,
            },
            positions: Positions::None,
            shortens: true,
            held: Held::AsInput,
            second: Second::None,
            weighted: Weighted::None,
        }
    }
}

/// The same elements in rows of another length.
#[derive(Clone, Debug)]
pub struct Reshape;

impl Operator for Reshape {
    fn facts(&self, _channels: usize) -> Facts {
        Facts {
            kind: Kind::Graph("Reshape"),
            rows: Rows::All {
                reason: "it reads the whole window: pool with attention over the window in its place",
            },
            positions: Positions::None,
            shortens: false,
            held: Held::AsInput,
            second: Second::None,
            weighted: Weighted::None,
        }
    }
}

/// The sequence's rows, the first of `x: [t, c]`; the padding rows after them are not read.
#[derive(Clone, Debug)]
pub struct Sequence;

impl Operator for Sequence {
    fn facts(&self, _channels: usize) -> Facts {
        Facts {
            kind: Kind::Graph("Sequence"),
            rows: Rows::Valid,
            positions: Positions::None,
            shortens: true,
            held: Held::AsInput,
            second: Second::None,
            weighted: Weighted::None,
        }
    }
}

/// The sequence's rows (a varying number of the `[t, c]`), followed by rows of 0 for the padding; result `[t, c]`.
#[derive(Clone, Debug)]
pub struct ClearRows;

impl Operator for ClearRows {
    fn facts(&self, _channels: usize) -> Facts {
        Facts {
            kind: Kind::Runtime(OpKind::ClearRows),
            rows: Rows::Cleared,
            positions: Positions::None,
            shortens: true,
            held: Held::AsInput,
            second: Second::None,
            weighted: Weighted::None,
        }
    }
}

/// Mean over rows: `x: [rows, c]`, result `[c]`.
#[derive(Clone, Debug)]
pub struct MeanRows;

impl Operator for MeanRows {
    fn facts(&self, _channels: usize) -> Facts {
        Facts {
            kind: Kind::Runtime(OpKind::MeanRows),
            rows: Rows::All {
                reason: "a mean over the window: pool with attention over the window in its place",
            },
            positions: Positions::None,
            shortens: false,
            held: Held::Free,
            second: Second::None,
            weighted: Weighted::None,
        }
    }
}

/// Joins any number of inputs along channels; rows are equal.
#[derive(Clone, Debug)]
pub struct Concat;

impl Operator for Concat {
    fn facts(&self, _channels: usize) -> Facts {
        Facts {
            kind: Kind::Runtime(OpKind::Concat),
            rows: Rows::Each,
            positions: Positions::None,
            shortens: true,
            held: Held::Free,
            second: Second::None,
            weighted: Weighted::None,
        }
    }
}

/// Joins any number of inputs along rows; channels are equal.
#[derive(Clone, Debug)]
pub struct ConcatRows;

impl Operator for ConcatRows {
    fn facts(&self, _channels: usize) -> Facts {
        Facts {
            kind: Kind::Graph("ConcatRows"),
            rows: Rows::All {
                reason: "it reads the whole window: pool with attention over the window in its place",
            },
            positions: Positions::None,
            shortens: false,
            held: Held::Free,
            second: Second::None,
            weighted: Weighted::None,
        }
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
        Facts {
            kind: Kind::Runtime(OpKind::Embedding),
            rows: Rows::Each,
            positions: Positions::None,
            shortens: true,
            held: Held::Free,
            second: Second::None,
            weighted: Weighted::None,
        }
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
        Facts {
            kind: Kind::Runtime(OpKind::WeightedRows),
            rows: Rows::All {
                reason: "it reads the whole window: pool with attention over the window in its place",
            },
            positions: Positions::None,
            shortens: false,
            held: Held::FreeBySums,
            second: Second::None,
            weighted: Weighted::None,
        }
    }
}
