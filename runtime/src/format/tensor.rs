//! The tensor record: type, shape, place and quantization of one buffer in the arena.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Most dimensions that a tensor has.
pub const MAX_RANK: usize = 6;

/// Element type of a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[repr(u8)]
pub enum DType {
    /// 8-bit, asymmetric: `real = scale * (q - zero_point)`.
    I8 = 1,
    /// 16-bit, symmetric: `real = scale * q`.
    I16 = 2,
    /// 32-bit integer: counters and token numbers.
    I32 = 3,
    /// IEEE 754 half precision: `real = value`.
    F16 = 4,
}

impl DType {
    /// Bytes per element.
    pub const fn size(self) -> usize {
        match self {
            Self::I8 => 1,
            Self::I16 | Self::F16 => 2,
            Self::I32 => 4,
        }
    }

    /// The type with this number in the file.
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::I8),
            2 => Some(Self::I16),
            3 => Some(Self::I32),
            4 => Some(Self::F16),
            _ => None,
        }
    }

    /// The type's name, as reports print it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::I8 => "int8",
            Self::I16 => "int16",
            Self::I32 => "int32",
            Self::F16 => "float16",
        }
    }
}

/// Which part of the arena a tensor lives in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[repr(u8)]
pub enum Storage {
    /// Valid within one run; its bytes are reused.
    Arena = 0,
    /// Kept between runs, in the first `state_len` bytes; `Session::reset` fills it with the record's `zero_point`.
    State = 1,
}

impl Storage {
    /// The storage with this number in the file.
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Arena),
            1 => Some(Self::State),
            _ => None,
        }
    }
}

/// One tensor. `dims` beyond `rank` are 1.
#[derive(Clone, Copy, Debug, PartialEq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct TensorRecord {
    /// [`DType`] code.
    pub dtype: u8,
    /// [`Storage`] code.
    pub storage: u8,
    /// Number of dimensions in use, 1 to [`MAX_RANK`].
    pub rank: u8,
    /// Number, from 1, of the [`super::RowRule`] that gives the valid rows; 0: all of them.
    pub rows_rule: u8,
    /// Dimensions, channels last. With a row rule the first axis varies, and this is its maximum.
    pub dims: [u32; MAX_RANK],
    /// Byte offset in the arena; a multiple of 4.
    pub offset: u32,
    /// Real value of one quantization step; positive and finite, 1 for float16.
    pub scale: f32,
    /// The integer that represents 0.0; 0 unless `dtype` is int8. For int32 the start value of a counter.
    pub zero_point: i32,
    /// Offset of the name in the strings section.
    pub name: u32,
}

impl TensorRecord {
    /// Number of elements, or `None` when the product overflows. Dimensions beyond `rank` are 1 and not read.
    #[inline(never)] // called from every operator: inlined it was 8 KB of flash
    pub fn checked_len(&self) -> Option<usize> {
        (self.dims.iter().take(self.rank.into()))
            .try_fold(1usize, |n, &d| n.checked_mul(d as usize))
    }

    /// Number of elements. Exact for every record of a parsed model.
    pub fn len(&self) -> usize {
        self.checked_len().unwrap_or(0)
    }

    /// True when the tensor holds nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Element type; int8 for a code that no parsed model holds.
    pub fn dtype(&self) -> DType {
        DType::from_code(self.dtype).unwrap_or(DType::I8)
    }

    /// Storage; the arena for a code that no parsed model holds.
    pub fn storage(&self) -> Storage {
        Storage::from_code(self.storage).unwrap_or(Storage::Arena)
    }

    /// Size in bytes.
    #[inline(never)]
    pub fn byte_len(&self) -> usize {
        self.len() * self.dtype().size()
    }

    /// Bytes of the arena that the tensor covers.
    #[inline(never)]
    pub fn range(&self) -> core::ops::Range<usize> {
        let start = self.offset as usize;
        start..start + self.byte_len()
    }

    /// Size of the last axis in use.
    #[inline(never)]
    pub fn channels(&self) -> usize {
        (self.rank as usize)
            .checked_sub(1)
            .and_then(|axis| self.dims.get(axis))
            .map_or(1, |&d| d as usize)
    }

    /// Number of rows: all axes but the last.
    #[inline(never)]
    pub fn rows(&self) -> usize {
        self.len().checked_div(self.channels()).unwrap_or(0)
    }

    /// The dimensions in use.
    pub fn shape(&self) -> &[u32] {
        self.dims.get(..self.rank as usize).unwrap_or(&self.dims)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_round_trips_through_bytes() {
        let record = TensorRecord {
            dtype: DType::I16 as u8,
            storage: Storage::State as u8,
            rank: 2,
            rows_rule: 0,
            dims: [3, 40, 1, 1, 1, 1],
            offset: 16,
            scale: 0.5,
            zero_point: 0,
            name: 7,
        };
        assert_eq!(size_of::<TensorRecord>(), 44);
        assert_eq!(
            TensorRecord::read_from_bytes(record.as_bytes()).unwrap(),
            record
        );
        assert_eq!(
            (record.rows(), record.channels(), record.range()),
            (3, 40, 16..256)
        );
    }

    #[test]
    fn a_shape_that_overflows_has_no_length() {
        let mut record: TensorRecord = zerocopy::FromZeros::new_zeroed();
        (record.rank, record.dims) = (MAX_RANK as u8, [u32::MAX; MAX_RANK]);
        assert_eq!(record.checked_len(), None);
    }
}
