//! The operator record and the entry-point record.

use super::NO_TENSOR;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Most input tensors of one operator.
pub const MAX_OP_INPUTS: usize = 5;
/// Most output tensors of one operator.
pub const MAX_OP_OUTPUTS: usize = 2;
/// Most inputs, and most outputs, of one entry point.
pub const MAX_ENTRY_IO: usize = 8;

macro_rules! op_kinds {
    ($($(#[$doc:meta])* $name:ident = $code:literal,)*) => {
        /// What an operator computes. Its inputs, outputs and parameters are described in [`crate::ops`],
        /// one file per family.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[cfg_attr(feature = "defmt", derive(defmt::Format))]
        #[repr(u16)]
        pub enum OpKind { $($(#[$doc])* $name = $code,)* }

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
        }
    };
}

op_kinds! {
    /// Matrix times rows, plus bias.
    Linear = 1,
    /// Convolution over time, channels last.
    Conv1d = 2,
    /// Depthwise convolution over time.
    DepthwiseConv1d = 3,
    /// Gated recurrent unit.
    Gru = 4,
    /// Softmax attention over keys and values.
    Attention = 5,
    /// Elementwise function through a table.
    Lut = 6,
    /// Elementwise sum.
    Add = 7,
    /// Join along channels.
    Concat = 8,
    /// Softmax over channels.
    Softmax = 9,
    /// Appends rows to a state tensor and drops the oldest.
    ShiftRows = 10,
    /// Writes one key and one value into the ring of an attention window.
    PushKeyValue = 11,
    /// Change of scale, zero point or integer width.
    Requantize = 12,
    /// Normalisation of every row.
    LayerNorm = 13,
    /// Mean over rows.
    MeanRows = 14,
    /// Sum with a constant tensor.
    AddConstant = 15,
    /// Elementwise product.
    Mul = 16,
    /// Rows of a table, by token number.
    Embedding = 17,
    /// Long short-term memory.
    Lstm = 18,
    /// The last row of a sequence of variable length.
    LastRow = 19,
    /// Attention by a small network: scores are sums of tanh.
    AdditiveAttention = 21,
    /// The best outputs of a layer, with their log-probabilities.
    TopK = 20,
    /// Convolution over an image, channels last.
    Conv2d = 32,
    /// Depthwise convolution over an image.
    DepthwiseConv2d = 33,
    /// Transposed convolution over an image.
    ConvTranspose2d = 34,
    /// Largest value under a window that moves over an image.
    MaxPool2d = 35,
    /// Mean under a window that moves over an image.
    AveragePool2d = 36,
    /// Largest value of every row.
    MaxChannels = 37,
    /// Mean of every row.
    MeanChannels = 38,
    /// Product with one factor for each channel or each row.
    Gate = 39,
    /// A tensor that is always the same.
    Constant = 48,
    /// Rotary positions.
    Rotary = 49,
    /// Weighted sums of rows.
    WeightedRows = 50,
    /// The rows of a sequence, and zeros in the place of its padding.
    ClearRows = 51,
}

/// One operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct OpRecord {
    /// [`OpKind`] code.
    pub kind: u16,
    /// Tensors read (a state tensor named here may also be written), [`NO_TENSOR`] where unused.
    pub inputs: [u16; MAX_OP_INPUTS],
    /// Tensors written, [`NO_TENSOR`] where unused.
    pub outputs: [u16; MAX_OP_OUTPUTS],
    /// Scratch tensor, or [`NO_TENSOR`].
    pub scratch: u16,
    /// Reserved; 0.
    pub flags: u16,
    /// Offset of the name in the strings section.
    pub name: u32,
    /// Offset of the parameters in the params section; a multiple of 4.
    pub params: u32,
    /// Length of the parameters in bytes.
    pub params_len: u32,
}

impl OpRecord {
    /// The operator's kind, if the code is known.
    pub fn kind(&self) -> Option<OpKind> {
        OpKind::from_code(self.kind)
    }

    /// Numbers of the tensors read.
    pub fn inputs(&self) -> impl Iterator<Item = usize> + '_ {
        used(&self.inputs)
    }

    /// Numbers of the tensors written.
    pub fn outputs(&self) -> impl Iterator<Item = usize> + '_ {
        used(&self.outputs)
    }

    /// Number of the scratch tensor.
    pub fn scratch(&self) -> Option<usize> {
        (self.scratch != NO_TENSOR).then_some(self.scratch as usize)
    }
}

/// A function of the model that a caller can run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct EntryRecord {
    /// Offset of the name in the strings section.
    pub name: u32,
    /// First operator.
    pub first_op: u32,
    /// Number of operators.
    pub op_count: u32,
    /// Tensors that the caller fills, [`NO_TENSOR`] where unused.
    pub inputs: [u16; MAX_ENTRY_IO],
    /// Tensors that the caller reads, [`NO_TENSOR`] where unused.
    pub outputs: [u16; MAX_ENTRY_IO],
}

impl EntryRecord {
    /// Numbers of the tensors that the caller fills.
    pub fn inputs(&self) -> impl Iterator<Item = usize> + '_ {
        used(&self.inputs)
    }

    /// Numbers of the tensors that the caller reads.
    pub fn outputs(&self) -> impl Iterator<Item = usize> + '_ {
        used(&self.outputs)
    }

    /// Numbers of the entry's operators.
    pub fn ops(&self) -> core::ops::Range<usize> {
        let first = self.first_op as usize;
        first..first.saturating_add(self.op_count as usize)
    }
}

fn used(ids: &[u16]) -> impl Iterator<Item = usize> + '_ {
    ids.iter()
        .take_while(|&&id| id != NO_TENSOR)
        .map(|&id| id as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_have_the_documented_sizes() {
        assert_eq!(size_of::<OpRecord>(), 32);
        assert_eq!(size_of::<EntryRecord>(), 44);
    }

    #[test]
    fn kinds_round_trip_through_their_codes() {
        for &kind in OpKind::ALL {
            assert_eq!(OpKind::from_code(kind as u16), Some(kind));
        }
        assert_eq!(OpKind::from_code(0), None);
    }

    #[test]
    fn unused_slots_end_a_tensor_list() {
        let mut op: OpRecord = zerocopy::FromZeros::new_zeroed();
        op.inputs = [3, 4, NO_TENSOR, NO_TENSOR, NO_TENSOR];
        assert!(op.inputs().eq([3, 4]));
    }
}
