//! The operator record and the entry-point record.

use super::NO_TENSOR;
use crate::ops::OpKind;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Most input tensors of one operator.
pub const MAX_OP_INPUTS: usize = 5;
/// Most output tensors of one operator.
pub const MAX_OP_OUTPUTS: usize = 2;
/// Most inputs, and most outputs, of one entry point.
pub const MAX_ENTRY_IO: usize = 8;

/// How an operator's weights and activations are encoded, and with that which parameters it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[repr(u16)]
pub enum Encoding {
    /// int8 weights, int8 and int16 activations.
    Int8 = 0,
    /// IEEE halves, computed in f32.
    Half = 1,
    /// As [`Self::Int8`], with the weights that int8 activations meet joined, two in a halfword.
    Joined = 2,
}

impl Encoding {
    /// The encoding with this number in the file.
    pub const fn from_code(code: u16) -> Option<Self> {
        match code {
            0 => Some(Self::Int8),
            1 => Some(Self::Half),
            2 => Some(Self::Joined),
            _ => None,
        }
    }
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
    /// [`Encoding`] code.
    pub encoding: u16,
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

    /// The operator's encoding, if the code is known.
    pub fn encoding(&self) -> Option<Encoding> {
        Encoding::from_code(self.encoding)
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
    /// Offsets of the inputs' names in the original model, in the strings section; 0: the tensor's name.
    pub input_names: [u32; MAX_ENTRY_IO],
    /// The same for the outputs.
    pub output_names: [u32; MAX_ENTRY_IO],
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
        assert_eq!(size_of::<EntryRecord>(), 108);
    }

    #[test]
    fn unused_slots_end_a_tensor_list() {
        let mut op: OpRecord = zerocopy::FromZeros::new_zeroed();
        op.inputs = [3, 4, NO_TENSOR, NO_TENSOR, NO_TENSOR];
        assert!(op.inputs().eq([3, 4]));
    }
}
