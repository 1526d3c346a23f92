//! What parsing counts and proves about operators: the work of a run, the bytes that checks go through, and that no
//! accumulator leaves 32 bits.

use super::{OpError, OpView, require};
use crate::format::{DType, TensorRecord};
use crate::kernels::int::dot::LANES;
use crate::kernels::int::joined::{LEFT_MAX, RECORD, SHIFT, plain_bias};
use crate::kernels::int::requantize::requantize;
use core::cell::Cell;

/// Proofs that are remembered, for models whose operators share weights.
const REMEMBERED: usize = 8;
/// Inputs of one sum that a proof takes on; their magnitudes then add up within 32 bits.
const MAX_INPUTS: usize = 1 << 24;

/// What a run of all operators asks for, each at the greatest length of a sequence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Work {
    /// Multiply-accumulates; comparisons and additions of pooling count as such.
    pub macs: u64,
    /// Bytes of tensors that are read or written.
    pub bytes: u64,
}

/// The accounts of a parse.
#[derive(Default)]
pub(crate) struct Audit {
    macs: Cell<u64>,
    bytes: Cell<u64>,
    /// Bytes that checks may still go through.
    left: Cell<usize>,
    /// Outputs of the operator that its check has asked for.
    outputs: Cell<usize>,
    proofs: [Cell<(Key, i32)>; REMEMBERED],
    next: Cell<usize>,
}

/// Which sums a proof was about: offsets of weights, bias and multipliers, outputs, inputs, magnitude and shift.
type Key = [u32; 6];

impl Audit {
    /// Accounts for a parse whose checks may go through so many bytes.
    pub(crate) fn new(bytes: usize) -> Self {
        Self {
            left: Cell::new(bytes),
            ..Self::default()
        }
    }

    /// The work so far.
    pub(crate) fn work(&self) -> Work {
        Work {
            macs: self.macs.get(),
            bytes: self.bytes.get(),
        }
    }

    /// Notes that a check has asked for the output in `slot`.
    pub(super) fn ask_for_output(&self, slot: usize) {
        self.outputs.set(self.outputs.get().max(slot + 1));
    }

    /// Takes `bytes` from those that checks may go through; false if there are fewer.
    pub(crate) fn examine(&self, bytes: usize) -> bool {
        let left = self.left.get().checked_sub(bytes);
        self.left.set(left.unwrap_or(0));
        left.is_some()
    }
}

/// Weights, biases and multipliers of a matrix, to be proved.
pub(super) struct Sums<'a> {
    pub weights: &'a [i8],
    pub bias: &'a [i32],
    pub multipliers: &'a [i32],
    pub left_shift: u32,
    /// Inputs of each sum.
    pub inputs: usize,
    /// How the weights lie.
    pub order: Order,
}

/// How weights lie in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum Order {
    /// See [`crate::kernels::int::dot`].
    Packed,
    /// `[inputs, outputs]`.
    Plain,
    /// See [`crate::kernels::int::joined`]; left shifts end at [`LEFT_MAX`].
    Joined,
}

impl Order {
    /// That of the weights which an operator's first input meets.
    pub fn of(op: &OpView) -> Self {
        if op.joined() {
            Self::Joined
        } else {
            Self::Packed
        }
    }
}

impl Sums<'_> {
    /// Of weights that are not joined the largest magnitude of a result of values up to `magnitude`, after requantization.
    ///
    /// # Errors
    /// [`OpError::MayOverflow`] if a sum, shifted, may leave 32 bits.
    fn largest(&self, magnitude: u32) -> Result<i32, OpError> {
        require(self.inputs < MAX_INPUTS, OpError::MayOverflow)?;
        let mut results = self.bias.iter().zip(self.multipliers);
        let mut largest = 0;
        let mut add = |weights: u32, (&bias, &multiplier): (&i32, &i32)| {
            let sum = u64::from(weights) * u64::from(magnitude) + u64::from(bias.unsigned_abs());
            require_fits(sum, self.left_shift)?;
            let result = requantize(sum as i32, multiplier, self.left_shift);
            largest = result.saturating_abs().max(largest);
            Ok(())
        };
        if self.order == Order::Plain {
            let outputs = self.bias.len();
            for (at, result) in results.enumerate() {
                let (mut weights, mut at) = (0u32, at);
                while let Some(w) = self.weights.get(at) {
                    weights = weights.wrapping_add(u32::from(w.unsigned_abs()));
                    at = at.saturating_add(outputs);
                }
                add(weights, result)?;
            }
            return Ok(largest);
        }
        let len = self.inputs.next_multiple_of(LANES) * LANES;
        let mut rest = self.weights;
        while let Some((block, others)) = rest.split_at_checked(len).filter(|_| len > 0) {
            for weights in block_magnitudes(block) {
                let Some(result) = results.next() else { break };
                add(weights, result)?;
            }
            rest = others;
        }
        Ok(largest)
    }

    /// [`Self::largest`] of joined weights: with products and biases 256 times as large. The functions of operators name it, so that
    /// a program without such weights does not have it.
    pub(super) fn largest_joined(&self, magnitude: u32) -> Result<i32, OpError> {
        require(self.inputs < MAX_INPUTS, OpError::MayOverflow)?;
        require(self.left_shift <= LEFT_MAX, OpError::BadParams)?;
        let right = SHIFT - self.left_shift;
        let len = self.inputs.next_multiple_of(LANES) * RECORD;
        let mut results = self.bias.iter().zip(self.multipliers);
        let (mut rest, mut largest) = (self.weights, 0);
        while let Some((record, others)) = rest.split_at_checked(len).filter(|_| len > 0) {
            for (weights, odd) in record_sums(record) {
                let Some((&bias, &multiplier)) = results.next() else {
                    break;
                };
                let products = (u64::from(weights) * u64::from(magnitude)) << SHIFT;
                let sum = products + u64::from(plain_bias(bias, odd).unsigned_abs());
                require_fits(sum, 0)?;
                // Rounded up: a bias in a file need be no multiple of 256.
                let sum = (sum as u32).div_ceil(1 << right);
                let result = requantize(sum as i32, multiplier, 0);
                largest = result.saturating_abs().max(largest);
            }
            rest = others;
        }
        Ok(largest)
    }
}

/// Groups whose magnitudes add up within 16 bits.
const SHORT: usize = 127;

/// For each output of a block of packed weights, the sum of their magnitudes.
fn block_magnitudes(block: &[i8]) -> [u32; LANES] {
    let mut sums = [0u32; LANES];
    for groups in block.as_chunks::<{ LANES * LANES }>().0.chunks(SHORT) {
        let mut halves = [0u32; LANES];
        for group in groups {
            for (halves, &weights) in halves.iter_mut().zip(group.as_chunks::<LANES>().0) {
                *halves = halves.wrapping_add(magnitudes(zerocopy::transmute!(weights)));
            }
        }
        for (sum, halves) in sums.iter_mut().zip(halves) {
            *sum = sum.wrapping_add((halves & 0xffff) + (halves >> 16));
        }
    }
    sums
}

/// For both outputs of a record of joined weights: the sum of the magnitudes of all weights, and the sum of the odd ones.
fn record_sums(record: &[i8]) -> [(u32, i32); RECORD] {
    let mut sums = [(0u32, 0i32); RECORD];
    for groups in record.as_chunks::<{ RECORD * LANES }>().0.chunks(SHORT) {
        let mut halves = [[0u32; 2]; RECORD];
        for group in groups {
            let words = group.as_chunks::<LANES>().0;
            for ([sizes, odd], &word) in halves.iter_mut().zip(words) {
                let word: u32 = zerocopy::transmute!(word);
                let low = word & 0x00ff_00ff;
                let borrowed = word >> 7 & 0x0001_0001;
                // 128 becomes -128, which is as large.
                let high = ((word >> 8 & 0x00ff_00ff) + borrowed) & 0x00ff_00ff;
                *sizes = sizes.wrapping_add(magnitudes(high << 8 | low));
                // 128 above each.
                *odd = odd.wrapping_add(low ^ 0x0080_0080);
            }
        }
        let total = |halves: u32| (halves & 0xffff) + (halves >> 16);
        let above = groups.len() as i32 * 2 * 128;
        for ((size, odd), [sizes, odds]) in sums.iter_mut().zip(halves) {
            *size = size.wrapping_add(total(sizes));
            *odd = odd.wrapping_add(total(odds) as i32 - above);
        }
    }
    sums
}

/// The magnitudes of four weights in a word: sums of the lower two and of the upper two, in 16 bits each.
#[inline(always)]
fn magnitudes(word: u32) -> u32 {
    let negative = word >> 7 & 0x0101_0101;
    // -x is the complement of x, plus 1; that of -128 fits a byte without a sign.
    let magnitudes = (word ^ (negative << 8).wrapping_sub(negative)).wrapping_add(negative);
    (magnitudes & 0x00ff_00ff) + (magnitudes >> 8 & 0x00ff_00ff)
}

/// A magnitude that `left_shift` must not push out of 32 bits.
pub(super) fn require_fits(magnitude: u64, left_shift: u32) -> Result<(), OpError> {
    let most = (i32::MAX as u64) >> left_shift.min(31);
    require(magnitude <= most, OpError::MayOverflow)
}

/// The largest magnitude of an element as it is held.
pub(super) fn magnitude(tensor: &TensorRecord) -> u32 {
    match tensor.dtype() {
        DType::I8 => 1 << 7,
        DType::I16 | DType::F16 => 1 << 15,
        DType::I32 => 1 << 31,
    }
}

/// The largest magnitude of an element less the zero point.
pub(super) fn centred(tensor: &TensorRecord) -> u32 {
    match tensor.dtype() {
        // -128 or 127, whichever is further away.
        DType::I8 => tensor
            .zero_point
            .saturating_add(128)
            .max(127i32.saturating_sub(tensor.zero_point)) as u32,
        _ => magnitude(tensor),
    }
}

impl<'a> OpView<'a> {
    /// Counts the bytes of all tensors as read or written.
    pub(super) fn count_bytes(&self) -> Result<(), OpError> {
        let Some(audit) = self.audit() else {
            return Ok(());
        };
        let record = self.record();
        let named = record.inputs().chain(record.outputs());
        for id in named.chain(record.scratch()) {
            let len = self.named(Some(id))?.byte_len() as u64;
            audit.bytes.set(audit.bytes.get().saturating_add(len));
        }
        Ok(())
    }

    /// The family's own `check`, which must ask for every output of the record: one that it does not know is never written.
    pub(super) fn check_outputs(
        &self,
        check: fn(&Self) -> Result<(), OpError>,
    ) -> Result<(), OpError> {
        if let Some(audit) = self.audit() {
            audit.outputs.set(0);
        }
        check(self)?;
        let known = self.audit().map_or(usize::MAX, |audit| audit.outputs.get());
        require(
            self.record().outputs().count() <= known,
            OpError::SurplusOutput,
        )
    }

    /// Counts `each` multiply-accumulates for each of `results`.
    pub(super) fn count_macs(&self, results: usize, each: usize) {
        if let Some(audit) = self.audit() {
            let macs = (results as u64).saturating_mul(each as u64);
            audit.macs.set(audit.macs.get().saturating_add(macs));
        }
    }

    /// Accounts for a check that goes through so many bytes.
    pub(super) fn examine(&self, bytes: usize) -> Result<(), OpError> {
        let within = self.audit().is_none_or(|audit| audit.examine(bytes));
        require(within, OpError::TooMuchToCheck)
    }

    /// Proves that sums of inputs up to `magnitude` fit 32 bits; their largest result. `offsets`: of weights, bias and
    /// multipliers in the weights section.
    pub(super) fn prove(
        &self,
        offsets: [u32; 3],
        sums: &Sums,
        magnitude: u32,
    ) -> Result<i32, OpError> {
        let Some(audit) = self.audit() else {
            return Ok(0);
        };
        let [weights, bias, multipliers] = offsets;
        let shape = (sums.bias.len() as u32, sums.inputs as u32);
        let how = magnitude << 7 | sums.left_shift << 2 | sums.order as u32;
        let key = [weights, bias, multipliers, shape.0, shape.1, how];
        let mut known = audit.proofs.iter().map(Cell::get);
        if let Some((_, largest)) = known.find(|(known, _)| *known == key) {
            return Ok(largest);
        }
        self.examine(size_of_val(sums.weights) + 2 * size_of_val(sums.bias))?;
        let largest = match sums.order {
            Order::Joined => self.linked()?.joined.ok_or(OpError::WrongEncoding)?(sums, magnitude),
            Order::Packed | Order::Plain => sums.largest(magnitude),
        }?;
        let next = audit.next.get();
        if let Some(slot) = audit.proofs.get(next) {
            slot.set((key, largest));
        }
        audit.next.set((next + 1) % REMEMBERED);
        Ok(largest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::int::dot::{packed_index, packed_len};
    use crate::kernels::int::joined::{bias, joined_index};

    fn largest(
        w: [[i8; 3]; 2],
        bias: [i32; 2],
        magnitude: u32,
        shift: u32,
    ) -> Result<i32, OpError> {
        let mut packed = [0i8; packed_len(2, 3)];
        let mut plain = [0i8; 6];
        for (o, row) in w.iter().enumerate() {
            for (i, &w) in row.iter().enumerate() {
                (packed[packed_index(o, i, 3)], plain[i * 2 + o]) = (w, w);
            }
        }
        let orders = [(&packed[..], Order::Packed), (&plain[..], Order::Plain)];
        let [a, b] = orders.map(|(weights, order)| {
            let sums = Sums {
                weights,
                bias: &bias,
                multipliers: &[1 << 30, -1 << 30],
                left_shift: shift,
                inputs: 3,
                order,
            };
            sums.largest(magnitude)
        });
        assert_eq!(a, b);
        a
    }

    #[test]
    fn magnitudes_of_all_weights_are_added() {
        for w in i8::MIN..=i8::MAX {
            let halves = magnitudes(zerocopy::transmute!([w, 3i8, -128i8, w]));
            let w = u32::from(w.unsigned_abs());
            assert_eq!([halves & 0xffff, halves >> 16], [w + 3, w + 128]);
        }
        let mut block = [0i8; 16 * 300];
        block.iter_mut().step_by(3).for_each(|w| *w = -128);
        let mut sums = [0; LANES];
        for (at, w) in block.iter().enumerate() {
            sums[at / LANES % LANES] += u32::from(w.unsigned_abs());
        }
        assert_eq!(block_magnitudes(&block), sums);
    }

    #[test]
    fn joined_weights_count_as_what_they_stand_for() {
        let rows = [[1i8, -2, 3, 127], [-127, 127, -127, -127]];
        let (mut joined, mut packed) = ([0i8; packed_len(2, 4)], [0i8; packed_len(2, 4)]);
        for (o, row) in rows.into_iter().enumerate() {
            let at = joined_index(o, 0, 4);
            joined[at..at + LANES].copy_from_slice(&crate::kernels::int::joined::joined(row));
            let at = packed_index(o, 0, 4);
            packed[at..at + LANES].copy_from_slice(&row);
        }
        // Sums of odd weights: 125 and 0.
        let largest = |biases: [i32; 2], shift, order| {
            let stored = [bias(biases[0], 125), bias(biases[1], 0)];
            let sums = Sums {
                weights: if order == Order::Joined {
                    &joined
                } else {
                    &packed
                },
                bias: if order == Order::Joined {
                    &stored
                } else {
                    &biases
                },
                multipliers: &[1 << 30, -1 << 30],
                left_shift: shift,
                inputs: 4,
                order,
            };
            match order {
                Order::Joined => sums.largest_joined(128),
                _ => sums.largest(128),
            }
        };
        for shift in 0..=LEFT_MAX {
            let found = largest([4, -9], shift, Order::Joined);
            assert!(found.is_ok() && found == largest([4, -9], shift, Order::Packed));
        }
        assert_eq!(
            largest([0; 2], LEFT_MAX + 1, Order::Joined),
            Err(OpError::BadParams)
        );
        let most = (1 << 23) - 1 - 508 * 128;
        assert!(largest([0, most], 0, Order::Joined).is_ok());
        let overflow = Err(OpError::MayOverflow);
        assert_eq!(largest([0, most + 1], 0, Order::Joined), overflow);
        assert_eq!(largest([0, -most - 1], 0, Order::Joined), overflow);
        // What no converter writes: even weights of 128 beside odd ones of -1.
        assert_eq!(record_sums(&[-1, 127, -1, 127, 0, 0, 0, 0])[0], (258, -2));
    }

    #[test]
    fn the_largest_sum_decides() {
        let rows = [[1, -2, 3], [-128, 127, -128]];
        assert_eq!(largest(rows, [4, 5], 128, 2), Ok(383 * 128 + 5));
        let overflow = Err(OpError::MayOverflow);
        let most = i32::MAX - 6 * 128;
        assert!(largest([rows[0]; 2], [most, 0], 128, 0).is_ok());
        assert_eq!(largest([rows[0]; 2], [most + 1, 0], 128, 0), overflow);
        assert_eq!(largest([rows[0]; 2], [0, -most - 1], 128, 0), overflow);
        assert_eq!(largest(rows, [0; 2], 1 << 15, 8), overflow);
        assert_eq!(largest(rows, [i32::MIN; 2], 0, 0), overflow);
    }
}
