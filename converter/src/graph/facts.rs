//! What is to be known of an operator by algorithms that do not know operators: streaming, variable length, padding, quantization.
//!
//! Every operator states all of its facts, in its own file under `op/`; a fact left out does not compile.

use super::{Window, Window1d};
use attn_runtime::format::OpKind;

/// An operator that states its facts.
pub trait Operator {
    /// Its facts, for a result with this many channels.
    fn facts(&self, channels: usize) -> Facts;
}

/// The facts of one operator in one place of a graph.
#[derive(Clone, Debug)]
pub struct Facts {
    /// What runs it on the chip.
    pub kind: Kind,
    /// How rows of the result come from rows of the inputs.
    pub rows: Rows,
    /// Whether the row's own number goes into it.
    pub positions: Positions,
    /// The runtime's operator can work on fewer rows than it was planned for.
    pub shortens: bool,
    /// How the result may be held in integers.
    pub held: Held,
    /// What the second result is, where there is one.
    pub second: Second,
    /// What the weights are multiplied with, where there are any whose rounding can be compensated.
    pub weighted: Weighted,
}

/// What runs an operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An operator of the runtime, by the same name in the file and in reports.
    Runtime(OpKind),
    /// Nothing: it only says where its result lies in other tensors.
    Graph(&'static str),
}

impl Kind {
    /// The operator's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Runtime(kind) => kind.name(),
            Self::Graph(name) => name,
        }
    }
}

/// How rows of the result come from rows of the inputs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rows {
    /// Row `i` comes from row `i` of every input.
    Each,
    /// From the rows under a kernel that moves over the first input.
    Window(Window1d),
    /// From row `i` of the first input and the row before of the result; other inputs are the first states.
    Recurrent {
        /// From the last row to the first.
        reverse: bool,
    },
    /// From row `i` of the first input, and all rows of the others that it sees.
    Queries {
        /// Row `i` sees rows up to its own number, counted from the last.
        causal: bool,
        /// Which rows it sees is written out, row by row.
        masked: bool,
    },
    /// Adjacent rows of the input.
    Select {
        /// The first.
        start: usize,
        /// How many.
        rows: usize,
    },
    /// The rows that the sequence has, without those of its padding.
    Valid,
    /// The rows that the sequence has, and zeros in place of its padding.
    Cleared,
    /// The same rows for any input.
    Constant,
    /// All rows together go into each row of the result.
    All {
        /// Why the operator cannot work frame by frame, and what to do.
        reason: &'static str,
    },
}

/// Whether the number of a row goes into it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Positions {
    /// It does not.
    None,
    /// It does, and can be counted for as long as rows come.
    Counted,
    /// It does, by a table with a row for each row of the window.
    Listed,
}

/// How a result may be held in integers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Held {
    /// In int8 or int16, whichever is worth it.
    Free,
    /// As [`Held::Free`]; rows of the first input, where that is constant, are held in int16 so that the sum of a row has 15 bits.
    FreeBySums,
    /// In int8 unless everything is int16.
    Plain,
    /// As the first input.
    AsInput,
    /// In int16 with the scale of a state.
    State,
    /// In int16 with the scale of a probability.
    Probability,
    /// In int8 or int16 as the first input is: a table of either kind.
    Table,
    /// A mean of values (the last input) that are held with their keys in a window, all in int8 or all in int16.
    Window,
    /// A mean of values (the last input), which are held as they are.
    Mean,
}

/// A second result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Second {
    /// There is none.
    None,
    /// The last cell of a recurrent layer.
    Cell,
    /// Softmax weights of the second input's rows.
    Weights,
}

/// What weights are multiplied with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Weighted {
    /// There are none, or their rounding is not compensated.
    None,
    /// Rows of the first input.
    Rows,
    /// Rows under a kernel of the first input.
    Window(Window1d),
    /// Pixels under a kernel of the first input.
    Image(Window),
    /// Rows of the first input, and the layer's own results of the row before.
    Recurrent {
        /// From the last row to the first.
        reverse: bool,
    },
}
