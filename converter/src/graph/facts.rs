//! Facts of operators. Streaming, variable length, padding and quantization read them and name no operator.
//!
//! Every operator states all of its facts, in its own file under `op/`; a missing fact does not compile.

use super::op::Affine;
use super::{Value, Window, Window1d};
use attn_runtime::format::OpKind;
use ndarray::ArrayD;

/// An operator that states its facts.
pub trait Operator {
    /// Its facts, for a result with this many channels.
    fn facts(&self, channels: usize) -> Facts;

    /// Its weights, bias and clamp, if it has all three, and the axis of the weights that its outputs are on.
    fn affine(&self) -> Option<(&Affine, usize)> {
        None
    }

    /// The same, to be changed.
    fn affine_mut(&mut self) -> Option<(&mut Affine, usize)> {
        None
    }

    /// Products of two numbers that one run takes, for these inputs and this result: for layers every weight meets every position of
    /// the result.
    fn products(&self, _inputs: &[&Value], result: &Value) -> usize {
        self.affine().map_or(0, |(affine, axis)| {
            let outputs = affine.weight.shape().get(axis).map_or(1, |&n| n.max(1));
            affine.weight.len() / outputs * result.len()
        })
    }

    /// The smallest scale that an integer result can have, beside inputs that are held so; `n` elements of the first input go into one
    /// of the result. A result that hardly varies in calibration needs this.
    fn finest(&self, inputs: &[Step], _n: usize) -> f64 {
        let layer = self.affine();
        layer.map_or(0.0, |(affine, _)| affine.finest(inputs))
    }

    /// How large every channel of the result is, from weights alone; `None` where channels of the result cannot be scaled by themselves.
    fn channel_sizes(&self) -> Option<Vec<f64>> {
        let (affine, axis) = self.affine()?;
        affine.channel_sizes(axis)
    }

    /// Divides every channel of the result, where they have sizes, by its factor.
    fn divide(&mut self, factors: &[f32]) {
        if let Some((affine, axis)) = self.affine_mut() {
            affine.divide(axis, factors);
        }
    }

    /// The weights that read the first input and no other does, if their last axis has its channels.
    fn columns(&self) -> Option<&ArrayD<f32>> {
        self.affine().map(|(affine, _)| &affine.weight)
    }

    /// The same, to be changed.
    fn columns_mut(&mut self) -> Option<&mut ArrayD<f32>> {
        self.affine_mut().map(|(affine, _)| &mut affine.weight)
    }

    /// True if a channel of the result comes from that channel of the input alone, and is larger by the factor that that is.
    fn keeps_channels(&self) -> bool {
        false
    }
}

/// How integers hold an input of an operator.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// Its scale.
    pub scale: f64,
    /// Largest magnitude in steps, above its zero point.
    pub largest: f64,
}

/// The smallest scale of a result that is `unit` times a sum of at most `bound`: a left shift in 32 bits, by
/// at most 15, and a multiplier below 1 make it.
pub fn rescaled(unit: f64, bound: f64) -> f64 {
    let shift = (30.0 - bound.max(1.0).log2().ceil()).clamp(0.0, 15.0);
    1.001 * unit * (1.0 - shift).exp2()
}

/// The smallest scale of a product of the inputs and a constant.
pub fn finest_product(inputs: &[Step], factor: f32) -> f64 {
    let unit = inputs.iter().map(|input| input.scale).product::<f64>();
    let bound = inputs.iter().map(|input| input.largest).product();
    rescaled(unit * f64::from(factor), bound)
}

/// The smallest scale of a sum of `n` elements of the first input, divided by a number.
pub fn finest_sum(inputs: &[Step], n: usize, divisor: usize) -> f64 {
    let sum = |input: &Step| {
        let bound = 2.0 * input.largest * n as f64;
        rescaled(input.scale / divisor as f64, bound)
    };
    inputs.first().map_or(0.0, sum)
}

/// The smallest scale of a result that these amounts are added to, with 16 bits below its step.
pub fn finest_addition(amounts: impl Iterator<Item = f64>) -> f64 {
    amounts.fold(0.0, f64::max) / f64::from(i16::MAX)
}

/// The facts of one operator in a graph.
#[derive(Clone, Debug)]
pub struct Facts {
    /// What runs it on the chip.
    pub kind: Kind,
    /// How rows of the result depend on rows of the inputs.
    pub rows: Rows,
    /// Whether a row depends on its own number.
    pub positions: Positions,
    /// The runtime's operator accepts fewer rows than planned.
    pub shortens: bool,
    /// How the result may be held in integers.
    pub held: Held,
    /// The second result, if there is one.
    pub second: Second,
    /// The inputs of the weights, if there are weights whose rounding can be compensated.
    pub weighted: Weighted,
}

impl Facts {
    /// Element by element, or along one row: nothing but row `i` of the inputs goes into row `i`, and nothing is multiplied with
    /// weights.
    pub fn row_by_row(kind: Kind, shortens: bool, held: Held) -> Self {
        Self {
            kind,
            rows: Rows::Each,
            positions: Positions::None,
            shortens,
            held,
            second: Second::None,
            weighted: Weighted::None,
        }
    }

    /// From the whole input at once, which can therefore not have fewer rows; `reason` says why it cannot be streamed.
    pub fn whole(kind: Kind, reason: &'static str, held: Held, weighted: Weighted) -> Self {
        Self {
            kind,
            rows: Rows::All { reason },
            positions: Positions::None,
            shortens: false,
            held,
            second: Second::None,
            weighted,
        }
    }

    /// Rows of the input, chosen or cleared.
    pub fn chosen(kind: Kind, rows: Rows) -> Self {
        Self {
            kind,
            rows,
            positions: Positions::None,
            shortens: true,
            held: Held::AsInput,
            second: Second::None,
            weighted: Weighted::None,
        }
    }
}

/// What runs an operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An operator of the runtime, by the same name in the file and in reports.
    Runtime(OpKind),
    /// Nothing: the result is a view of other tensors.
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

/// How rows of the result depend on rows of the inputs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rows {
    /// Row `i` depends on row `i` of every input.
    Each,
    /// On the rows under a kernel that moves over the first input.
    Window(Window1d),
    /// On row `i` of the first input and the previous row of the result; other inputs are the initial states.
    Recurrent {
        /// From the last row to the first.
        reverse: bool,
    },
    /// On row `i` of the first input, and all rows of the others that it sees.
    Queries {
        /// Row `i` sees rows up to its own number, counted from the last row.
        causal: bool,
        /// A mask lists the rows that each row sees.
        masked: bool,
    },
    /// Adjacent rows of the input.
    Select {
        /// The first.
        start: usize,
        /// How many.
        rows: usize,
    },
    /// The sequence's rows, without the padding.
    Valid,
    /// The sequence's rows, and zeros for the padding.
    Cleared,
    /// The same rows for any input.
    Constant,
    /// Each row of the result depends on all rows.
    All {
        /// Why the operator cannot work frame by frame, and what to do.
        reason: &'static str,
    },
}

/// Whether a row depends on its own number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Positions {
    /// It does not.
    None,
    /// It does, and a counter gives the number on a stream.
    Counted,
    /// It does, by a table with one row for each row of the window.
    Listed,
}

/// How a result may be held in integers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Held {
    /// In int8 or int16, by measured gain.
    Free,
    /// As [`Held::Free`]; a constant first input is held in int16, scaled so that the sum of a row has 15 bits.
    FreeBySums,
    /// In int8 unless everything is int16.
    Plain,
    /// With type and scale of the first input.
    AsInput,
    /// In int16 as a state; the largest magnitude that the layer computes, if it is known.
    State(Option<f32>),
    /// In int16 with the scale of a probability.
    Probability,
    /// Like the first input, in int8 or int16: a table of either kind.
    Table,
    /// A mean of values (the third input) in a window with their keys (the second), all in int8 or all in int16.
    Window,
    /// A mean of values (the third input), which keep their type.
    Mean,
    /// Whole numbers of 32 bits.
    Index,
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

/// The inputs of a layer's weights.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Weighted {
    /// There are no weights, or their rounding is not compensated.
    None,
    /// Rows of the first input.
    Rows,
    /// Rows under a kernel of the first input.
    Window(Window1d),
    /// Pixels under a kernel of the first input.
    Image(Window),
    /// Rows of the first input, and the layer's results for the previous row.
    Recurrent {
        /// From the last row to the first.
        reverse: bool,
    },
}
