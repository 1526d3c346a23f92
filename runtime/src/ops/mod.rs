//! The operators. A family is one file: its parameters in the file format, the checks that parsing makes, and the call of
//! the kernel, for integer activations and (in its `half` module) for half precision. The arithmetic itself is in
//! [`crate::kernels`].
//!
//! Parsing calls `OpView::check` once; running calls `OpView::run`. Both read the same parameters through the same
//! accessors: whatever `check` accepted, `run` finds in place. `operators!` below is the one list of operators; a program has
//! those that its tables name ([`Operators`]).

mod activations;
mod additive;
mod arena;
mod arithmetic;
mod attention;
mod audit;
mod cell;
mod conv1d;
mod conv2d;
mod copy;
mod embedding;
mod gate;
mod gru;
mod key_value;
mod layer_norm;
mod linear;
mod linked;
mod lstm;
mod lut;
mod matmul;
mod pool;
mod recurrent;
mod reduce;
mod rescale;
mod rotary;
mod rows;
mod softmax;
mod state;
mod top_k;
mod view;

use crate::format::{Encoding, OpFacts};
pub use additive::AdditiveAttentionParams;
pub use arithmetic::{AddConstantParams, AddParams, MulParams};
pub use attention::{AttentionGeometry, AttentionParams};
pub(crate) use audit::Audit;
pub use audit::Work;
use audit::{Order, Sums, centred, magnitude, require_fits};
pub use cell::{CurveParams, RecurrentParams};
pub use conv1d::{Conv1dParams, DepthwiseConv1dParams, Window1dParams};
pub use conv2d::{Conv2dParams, ConvTranspose2dParams, DepthwiseConv2dParams, Window2dParams};
pub use copy::CopyParams;
pub use embedding::EmbeddingParams;
pub use gate::{GateParams, MeanChannelsParams};
pub use gru::GruParams;
pub use layer_norm::LayerNormParams;
pub use linear::LinearParams;
pub use linked::{Linked, OperatorSet, Operators};
use linked::{Uses, variant};
pub use lstm::{CellScale, LstmParams};
pub use lut::{LutParams, WideLutParams};
pub use matmul::{MatMulGeometry, MatMulParams};
pub use pool::{AveragePool2dParams, MaxPool2dParams};
pub use recurrent::{RecurrentGeometry, RecurrentSide, Start};
pub use reduce::{ReduceGeometry, ReduceParams};
pub use rescale::{MeanRowsParams, RequantizeParams};
pub use rotary::{RotaryGeometry, RotaryParams};
pub use rows::{ConstantParams, WeightedRowsParams};
pub use softmax::SoftmaxParams;
pub use top_k::TopKParams;
pub use view::OpError;
pub(crate) use view::OpView;
use view::in_place;
pub(crate) use view::require;
#[cfg(attn_half)]
pub use {
    additive::half::AdditiveAttentionHalfParams,
    arithmetic::half::{AddConstantHalfParams, AddHalfParams, MulHalfParams},
    attention::half::AttentionHalfParams,
    cell::half::{CurveHalfParams, RecurrentHalfParams},
    conv1d::half::{Conv1dHalfParams, DepthwiseConv1dHalfParams},
    conv2d::half::{Conv2dHalfParams, ConvTranspose2dHalfParams, DepthwiseConv2dHalfParams},
    embedding::half::EmbeddingHalfParams,
    gate::half::GateHalfParams,
    gru::half::GruHalfParams,
    layer_norm::half::LayerNormHalfParams,
    linear::half::LinearHalfParams,
    lstm::half::LstmHalfParams,
    lut::half::LutHalfParams,
    recurrent::half::RecurrentHalfSide,
    reduce::half::ReduceHalfParams,
    rotary::half::RotaryHalfParams,
    top_k::half::TopKHalfParams,
};

/// Operators whose outputs do not have the rows of their inputs: they check row rules themselves.
const fn has_own_rows(kind: OpKind) -> bool {
    use OpKind::*;
    matches!(
        kind,
        Conv1d
            | DepthwiseConv1d
            | MeanRows
            | LastRow
            | ClearRows
            | AdditiveAttention
            | Attention
            | PushKeyValue
            | WeightedRows
            | ShiftRows
    )
}

/// Operators whose output may have exactly the bytes of their input.
const fn works_in_place(kind: OpKind) -> bool {
    matches!(kind, OpKind::Lut)
}

/// Makes [`OpKind`] and the functions of each operator from one row: documentation, name, code in the file, its family, and
/// its `check` and `run` there, `<USES>` where it exists in variants; then the `run` for joined weights, which does, if there is
/// one. Those for half precision have the same names in the family's module `half`.
macro_rules! operators {
    ($(
        $(#[doc = $doc:literal])+
        $name:ident = $code:literal: $family:ident::{$check:ident, $run:ident $(<$uses:ident>)? $(, joined $joined:ident)?};
    )*) => {
        /// What an operator computes. Its inputs, outputs and parameters are described in one file for each family.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[cfg_attr(feature = "defmt", derive(defmt::Format))]
        #[repr(u16)]
        pub enum OpKind { $($(#[doc = $doc])+ $name = $code,)* }

        impl OpKind {
            /// Every kind, in the order of the file's codes.
            pub const ALL: &[OpKind] = &[$(OpKind::$name,)*];

            /// The kind with this number in the file.
            pub const fn from_code(code: u16) -> Option<Self> {
                match code { $($code => Some(OpKind::$name),)* _ => None }
            }

            /// The operator's name, the same in IR, format, report and documentation.
            pub const fn name(self) -> &'static str {
                match self { $(OpKind::$name => stringify!($name),)* }
            }

            /// Whether its weights can be joined.
            pub const fn joins(self) -> bool {
                match self { $($(OpKind::$name => { let _ = stringify!($joined); true })?)* _ => false }
            }

            /// One sentence about the operator.
            pub const fn doc(self) -> &'static str {
                match self { $(OpKind::$name => concat!($($doc),+).trim_ascii(),)* }
            }
        }

        /// The functions of the operator with this code in this encoding, if this runtime has it.
        // Inlined, which is to say evaluated at compile time: by itself it would have all instances of all functions.
        #[inline(always)]
        const fn linked(code: u16, encoding: u16, used: u8) -> Option<Linked> {
            match (Encoding::from_code(encoding), OpKind::from_code(code)) {
                (Some(Encoding::Int8), Some(kind)) => Some(match kind {
                    $(OpKind::$name => Linked {
                        uses: variant!(@uses used $($uses)?),
                        check: $family::$check,
                        run: variant!($family::$run $(<$uses>)?, used),
                        joined: None,
                    },)*
                }),
                (Some(Encoding::Joined), Some(kind)) => match kind {
                    $($(OpKind::$name => Some(Linked {
                        uses: used,
                        check: $family::$check,
                        run: variant!($family::$joined<USES>, used),
                        joined: Some(|sums, magnitude| sums.largest_joined(magnitude)),
                    }),)?)*
                    _ => None,
                },
                #[cfg(attn_half)]
                (Some(Encoding::Half), Some(kind)) => Some(match kind {
                    $(OpKind::$name => Linked {
                        uses: Uses::ALL,
                        check: $family::half::$check,
                        run: $family::half::$run,
                        joined: None,
                    },)*
                }),
                _ => None,
            }
        }
    };
}

/// What an operator may need beyond the plain form of its family.
const fn has_extras(op: &OpFacts) -> bool {
    match OpKind::from_code(op.code) {
        Some(OpKind::Attention) => attention::has_extras(op),
        Some(OpKind::Gru) => gru::has_extras(op),
        _ => false,
    }
}

impl OpView<'_> {
    /// Checks everything that [`Self::run`] relies on.
    pub(crate) fn check(&self) -> Result<(), OpError> {
        self.check_overlap()?;
        self.check_encoding()?;
        self.check_rows()?;
        self.count_bytes()?;
        let linked = self.linked()?;
        require(
            Uses::of(&self.facts()) & !linked.uses == 0,
            OpError::NotLinked,
        )?;
        self.check_outputs(linked.check)
    }

    /// Runs the operator on `arena`. Cannot fail for an operator that [`Self::check`] accepted.
    pub(crate) fn run(&self, arena: &mut [u8]) -> Result<(), OpError> {
        (self.linked()?.run)(self, arena)
    }
}

operators! {
    /// Matrix times rows, plus bias.
    Linear = 1: linear::{check, run<USES>, joined run_joined};
    /// Convolution over time, channels last.
    Conv1d = 2: conv1d::{check, run<USES>, joined run_joined};
    /// Depthwise convolution over time.
    DepthwiseConv1d = 3: conv1d::{check_depthwise, run_depthwise};
    /// Gated recurrent unit.
    Gru = 4: gru::{check, run<USES>, joined run_joined};
    /// Softmax attention over keys and values.
    Attention = 5: attention::{check, run<USES>};
    /// Elementwise function through a table.
    Lut = 6: lut::{check, run<USES>};
    /// Elementwise sum.
    Add = 7: arithmetic::{check_add, run_add<USES>};
    /// Join along channels.
    Concat = 8: rescale::{check_concat, run_concat};
    /// Softmax over channels.
    Softmax = 9: softmax::{check, run};
    /// Appends rows to a state tensor and drops the oldest.
    ShiftRows = 10: state::{check_shift_rows, run_shift_rows};
    /// Writes keys and values into an attention window.
    PushKeyValue = 11: key_value::{check, run<USES>};
    /// Change of scale, zero point or integer width.
    Requantize = 12: rescale::{check_requantize, run_requantize<USES>};
    /// Normalisation of every row.
    LayerNorm = 13: layer_norm::{check, run<USES>};
    /// Mean over rows.
    MeanRows = 14: rescale::{check_mean_rows, run_mean_rows<USES>};
    /// Sum with a constant tensor.
    AddConstant = 15: arithmetic::{check_add_constant, run_add_constant<USES>};
    /// Elementwise product.
    Mul = 16: arithmetic::{check_mul, run_mul<USES>};
    /// Rows of a table, by token number.
    Embedding = 17: embedding::{check, run};
    /// Long short-term memory.
    Lstm = 18: lstm::{check, run, joined run_joined};
    /// The last row of a sequence of variable length.
    LastRow = 19: state::{check_last_row, run_last_row};
    /// The best outputs of a layer, with their log-probabilities.
    TopK = 20: top_k::{check, run};
    /// Attention by a small network: scores are sums of tanh.
    AdditiveAttention = 21: additive::{check, run};
    /// Recurrent layer of any cell, with any activations.
    Recurrent = 22: cell::{check, run};
    /// Convolution over an image, channels last.
    Conv2d = 32: conv2d::{check, run, joined run_joined};
    /// Depthwise convolution over an image.
    DepthwiseConv2d = 33: conv2d::{check_depthwise, run_depthwise};
    /// Transposed convolution over an image.
    ConvTranspose2d = 34: conv2d::{check_transposed, run_transposed};
    /// Largest value under a window that moves over an image.
    MaxPool2d = 35: pool::{check_max, run_max};
    /// Mean under a window that moves over an image.
    AveragePool2d = 36: pool::{check_average, run_average};
    /// Largest value of every row.
    MaxChannels = 37: gate::{check_max_channels, run_max_channels};
    /// Mean of every row.
    MeanChannels = 38: gate::{check_mean_channels, run_mean_channels};
    /// Product with one factor for each channel or each row.
    Gate = 39: gate::{check, run};
    /// A tensor that is always the same.
    Constant = 48: rows::{check_constant, run_constant};
    /// Rotary positions.
    Rotary = 49: rotary::{check, run};
    /// Weighted sums of rows.
    WeightedRows = 50: rows::{check_weighted, run_weighted};
    /// The rows of a sequence, and zeros in place of its padding.
    ClearRows = 51: rows::{check_clear, run_clear};
    /// Elements in another order.
    Copy = 64: copy::{check, run};
    /// Matrix product of two activations.
    MatMul = 65: matmul::{check, run};
    /// Sum, mean, largest or smallest along an axis.
    Reduce = 66: reduce::{check, run};
    /// Place of the largest element along an axis.
    ArgMax = 67: reduce::{check_arg_max, run_arg_max};
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_round_trip_through_their_codes_in_ascending_order() {
        for &kind in OpKind::ALL {
            assert_eq!(OpKind::from_code(kind as u16), Some(kind));
        }
        assert_eq!(OpKind::from_code(0), None);
        assert!(OpKind::ALL.is_sorted_by_key(|&kind| kind as u16));
    }
}
