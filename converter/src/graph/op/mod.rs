//! The operators of the graph: one type each, one file per family, and the table that lists them.

mod attention;
mod base;
mod elementwise;
mod image;
mod matrix;
mod recurrent;
mod rows;

pub use attention::{AdditiveAttention, Attention, Rotary};
pub use base::{ArgMax, Copy, MatMul, Reduce, Reduction};
pub use elementwise::{
    Activation, Add, AddConstant, Gate, LayerNorm, MaxChannels, MeanChannels, Mul, Softmax,
};
pub use image::{AveragePool2d, Conv2d, ConvTranspose2d, DepthwiseConv2d, MaxPool2d};
pub use matrix::{Affine, Conv1d, DepthwiseConv1d, Linear};
pub use recurrent::{Gru, Lstm, Recurrent, RecurrentWeights};
pub use rows::{
    ClearRows, Concat, ConcatRows, Constant, Embedding, MeanRows, Reshape, SelectRows, Sequence,
    WeightedRows,
};

use super::facts::Operator;
use std::ops::{Deref, DerefMut};

/// The one list of operators, handed to a macro: whoever has something to say of each of them takes it from here.
macro_rules! with_operators {
    ($callback:ident) => {
        $callback! {
            Linear,
            Conv1d,
            DepthwiseConv1d,
            Gru,
            Lstm,
            Recurrent,
            Attention,
            AdditiveAttention,
            Activation,
            Add,
            SelectRows,
            Reshape,
            Sequence,
            ClearRows,
            Mul,
            AddConstant,
            LayerNorm,
            MeanRows,
            Concat,
            Embedding,
            ConcatRows,
            Constant,
            Rotary,
            WeightedRows,
            Softmax,
            Conv2d,
            DepthwiseConv2d,
            ConvTranspose2d,
            MaxPool2d,
            AveragePool2d,
            MaxChannels,
            MeanChannels,
            Gate,
            Copy,
            MatMul,
            Reduce,
            ArgMax,
        }
    };
}

pub(crate) use with_operators;

macro_rules! define {
    ($($name:ident,)*) => {
        /// The operator of a node. Shapes are [`super::Value::dims`].
        #[derive(Clone, Debug)]
        pub enum Op {
            $(#[doc = concat!("See [`", stringify!($name), "`](struct@", stringify!($name), ").")] $name($name),)*
        }

        $(impl From<$name> for Op {
            fn from(op: $name) -> Self {
                Self::$name(op)
            }
        })*

        impl Op {
            /// Names of all operators, as the types are called.
            pub const NAMES: &[&str] = &[$(stringify!($name),)*];
        }

        /// The one dispatch: what every operator states.
        impl Deref for Op {
            type Target = dyn Operator;

            fn deref(&self) -> &Self::Target {
                match self {
                    $(Self::$name(op) => op,)*
                }
            }
        }

        impl DerefMut for Op {
            fn deref_mut(&mut self) -> &mut Self::Target {
                match self {
                    $(Self::$name(op) => op,)*
                }
            }
        }
    };
}

with_operators!(define);

impl Op {
    /// The operator's name in reports: the runtime's name, or a more specific one if it has several uses.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Activation(Activation(function)) => function.name(),
            Self::LayerNorm(LayerNorm { centre: false, .. }) => "RmsNorm",
            other => other.facts(1).kind.name(),
        }
    }
}

/// How a window moves over an image; pairs are (vertical, horizontal), in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Window {
    /// Size of the window.
    pub kernel: [usize; 2],
    /// From one position to the next.
    pub stride: [usize; 2],
    /// From one tap of the window to the next.
    pub dilation: [usize; 2],
    /// Padding above and to the left.
    pub pad_before: [usize; 2],
    /// Padding below and to the right.
    pub pad_after: [usize; 2],
}

impl Window {
    /// A window that covers a whole image of this height and width.
    pub fn over(kernel: [usize; 2]) -> Self {
        let none = [0; 2];
        Self {
            kernel,
            stride: [1; 2],
            dilation: [1; 2],
            pad_before: none,
            pad_after: none,
        }
    }

    /// Rows and columns of the image from the first under the kernel to the last.
    pub fn reach(&self) -> [usize; 2] {
        let reach = |axis: usize| self.kernel[axis].saturating_sub(1) * self.dilation[axis] + 1;
        [reach(0), reach(1)]
    }

    /// Rows and columns from the start of the kernel to one of its taps.
    pub fn offset(&self, [down, right]: [usize; 2]) -> [usize; 2] {
        [down * self.dilation[0], right * self.dilation[1]]
    }

    /// True if there is one result for each pixel, computed from that pixel alone.
    pub fn is_pointwise(&self) -> bool {
        *self == Self::over([1; 2])
    }
}

/// How a kernel moves over rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Window1d {
    /// Rows under the kernel.
    pub kernel: usize,
    /// From one position to the next, in rows.
    pub stride: usize,
    /// From one tap of the kernel to the next, in rows.
    pub dilation: usize,
    /// Zero rows before and after the input.
    pub padding: (usize, usize),
}

impl Window1d {
    /// One row, for every row.
    pub const POINTWISE: Self = Self {
        kernel: 1,
        stride: 1,
        dilation: 1,
        padding: (0, 0),
    };

    /// Rows from the first under the kernel to the last.
    pub fn reach(&self) -> usize {
        self.kernel.saturating_sub(1) * self.dilation + 1
    }

    /// Rows from the start of the kernel to each of its taps.
    pub fn offsets(&self) -> impl Iterator<Item = usize> + use<> {
        (0..self.kernel).map({
            let dilation = self.dilation;
            move |tap| tap * dilation
        })
    }

    /// True if there is one result for each row, computed from that row alone.
    pub fn is_pointwise(&self) -> bool {
        *self == Self::POINTWISE
    }
}

/// Range that a result is clamped to: ReLU is `(0, inf)`, ReLU6 `(0, 6)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Clamp {
    /// Lower bound.
    pub min: f32,
    /// Upper bound.
    pub max: f32,
}

impl Clamp {
    /// No clamp at all.
    pub const NONE: Clamp = Clamp {
        min: f32::NEG_INFINITY,
        max: f32::INFINITY,
    };
    /// ReLU.
    pub const RELU: Clamp = Clamp {
        min: 0.0,
        max: f32::INFINITY,
    };
}
