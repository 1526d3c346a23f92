//! Base operators: they compute whatever import does not recognise as one of the others.

use crate::graph::Value;
use crate::graph::facts::{Facts, Held, Kind, Operator, Step, Weighted, finest_sum};
use attn_runtime::format::OpKind;

/// Why none of them works frame by frame.
const WHOLE: &str =
    "it is computed by a base operator, over the whole window: see what the report says fell back";

/// Elements of the input in another order; `x` and the result have any shape.
#[derive(Clone, Debug)]
pub struct Copy {
    /// For each element of the result the place of its element in the input; [`Copy::ZERO`] for 0.
    pub index: Vec<u32>,
}

impl Copy {
    /// An element that is 0.
    pub const ZERO: u32 = u32::MAX;
}

impl Operator for Copy {
    fn facts(&self, _channels: usize) -> Facts {
        let kind = Kind::Runtime(OpKind::Copy);
        Facts::whole(kind, WHOLE, Held::AsInput, Weighted::None)
    }
}

/// Products of matrices: `a: [batch, m, k]`, `b: [batch, k, n]`, result `[batch, m, n]`.
#[derive(Clone, Copy, Debug)]
pub struct MatMul {
    /// Number of products.
    pub batch: usize,
    /// Rows of `a`.
    pub m: usize,
    /// Columns of `a`, rows of `b`.
    pub k: usize,
    /// Columns of `b`.
    pub n: usize,
}

impl Operator for MatMul {
    fn facts(&self, _channels: usize) -> Facts {
        let kind = Kind::Runtime(OpKind::MatMul);
        Facts::whole(kind, WHOLE, Held::Free, Weighted::None)
    }

    fn products(&self, _inputs: &[&Value], _result: &Value) -> usize {
        self.batch * self.m * self.k * self.n
    }
}

/// How elements become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reduction {
    /// Their sum.
    Sum,
    /// Their mean.
    Mean,
    /// The largest.
    Max,
    /// The smallest.
    Min,
}

/// The place of the largest of `n` adjacent elements: `x: [outer, n]`, result `[outer]`.
#[derive(Clone, Copy, Debug)]
pub struct ArgMax {
    /// Elements to choose from.
    pub n: usize,
    /// The last of equals, not the first.
    pub last: bool,
}

impl Operator for ArgMax {
    fn facts(&self, _channels: usize) -> Facts {
        let kind = Kind::Runtime(OpKind::ArgMax);
        Facts::whole(kind, WHOLE, Held::Index, Weighted::None)
    }
}

/// One number for `n` adjacent elements: `x: [outer, n]`, result `[outer]`.
#[derive(Clone, Copy, Debug)]
pub struct Reduce {
    /// Elements that become one.
    pub n: usize,
    /// How.
    pub by: Reduction,
}

impl Operator for Reduce {
    fn facts(&self, _channels: usize) -> Facts {
        let held = match self.by {
            Reduction::Sum | Reduction::Mean => Held::Free,
            Reduction::Max | Reduction::Min => Held::AsInput,
        };
        Facts::whole(Kind::Runtime(OpKind::Reduce), WHOLE, held, Weighted::None)
    }

    fn finest(&self, inputs: &[Step], n: usize) -> f64 {
        let divisor = match self.by {
            Reduction::Mean => n,
            Reduction::Sum | Reduction::Max | Reduction::Min => 1,
        };
        finest_sum(inputs, n, divisor)
    }
}
