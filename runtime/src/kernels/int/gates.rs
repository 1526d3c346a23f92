//! The common part of recurrent layers: the products of input and state with the weights of their gates.
//!
//! Pre-activations are Q16 (one rounding for each side). [`super::gru`] and [`super::lstm`] use the gates.

use super::dot::{LANES, pairs_len};
use crate::kernels::arch::int::{Blocks, Constants, Store};

/// Weights of one side, input or recurrent, which may be `JOINED`: the gates one after the other, each padded to whole blocks of outputs.
#[derive(Clone, Copy, Debug)]
pub struct Side<'w, const JOINED: bool = false> {
    /// For each gate a packed matrix `[hidden, k]`.
    pub weights: &'w [i8],
    /// For each gate `hidden` rounded up to a multiple of 4; contains the input's zero point.
    pub bias: &'w [i32],
    /// As many factors from accumulator to Q16.
    pub multipliers: &'w [i32],
    /// Common left shift of the requantization.
    pub left_shift: u32,
}

/// Units computed together: one call of the inner loop for each side and gate.
pub(super) const BATCH: usize = 4 * LANES;

impl<const JOINED: bool> Side<'_, JOINED> {
    /// Pre-activations (Q16) of one gate from unit `first` on.
    pub(super) fn gate(
        &self,
        gate: usize,
        first: usize,
        units: usize,
        pairs: &[i16],
        y: &mut [i32; BATCH],
    ) {
        let at = gate * units + first;
        let blocks = Blocks::<JOINED> {
            pairs,
            weights: self.weights.get(at * pairs.len()..).unwrap_or(&[]),
            bias: Constants::Each(self.bias.get(at..).unwrap_or(&[])),
            multipliers: Constants::Each(self.multipliers.get(at..).unwrap_or(&[])),
            left_shift: self.left_shift,
            zero_point: 0,
            min: i32::MIN,
            max: i32::MAX,
        };
        let y = y.get_mut(..units.saturating_sub(first).min(BATCH));
        blocks.run(Store::I32(y.unwrap_or_default().as_chunks_mut().0));
    }
}

/// The places of an input of `k` values and of a state of `h_len` pairs in the scratch.
#[inline(always)]
pub(super) fn split(pairs: &mut [i16], k: usize, h_len: usize) -> Option<(&mut [i16], &mut [i16])> {
    let (x, rest) = pairs.split_at_mut_checked(pairs_len(k))?;
    Some((x, rest.get_mut(..h_len)?))
}

/// `a * b` for `a` in Q15, rounded.
#[inline(always)]
pub(super) fn round_q15(a: i32, b: i32) -> i32 {
    ((i64::from(a) * i64::from(b) + (1 << 14)) >> 15) as i32
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::kernels::int::dot::packed_len;
    use crate::kernels::int::dot::tests::pack;
    use std::vec;
    use std::vec::Vec;

    /// Units of the layers in tests.
    pub const H: usize = 5;

    /// Weights of one side of a layer.
    pub struct Weights {
        /// `[gate][unit][input]`.
        plain: Vec<Vec<Vec<i8>>>,
        packed: Vec<i8>,
        bias: Vec<i32>,
        multipliers: Vec<i32>,
        left_shift: u32,
        /// Real value of a step of an input times a step of a weight.
        scale: f64,
    }

    impl Weights {
        pub fn random(
            [gates, k]: [usize; 2],
            (scale, left_shift): (f64, u32),
            mut next: impl FnMut() -> i32,
        ) -> Self {
            let mut row = || (0..k).map(|_| (next() % 100) as i8).collect();
            let mut gate = || (0..H).map(|_| row()).collect();
            let plain: Vec<Vec<Vec<i8>>> = (0..gates).map(|_| gate()).collect();
            let packed: Vec<i8> = plain.iter().flat_map(|gate| pack(gate, k)).collect();
            assert_eq!(packed.len(), gates * packed_len(H, k));
            let multiplier = scale * 65536.0 * 2f64.powi(32 - left_shift as i32);
            Self {
                plain,
                packed,
                bias: (0..gates * pairs_len(H)).map(|_| next() % 50).collect(),
                multipliers: vec![multiplier.round() as i32; gates * pairs_len(H)],
                left_shift,
                scale,
            }
        }

        pub fn side(&self) -> Side<'_> {
            Side {
                weights: &self.packed,
                bias: &self.bias,
                multipliers: &self.multipliers,
                left_shift: self.left_shift,
            }
        }

        /// Pre-activations of a unit, for every gate, from `x` in steps.
        pub fn sums<const GATES: usize>(&self, unit: usize, x: &[f64]) -> [f64; GATES] {
            core::array::from_fn(|gate| {
                let products = self.plain[gate][unit].iter().zip(x);
                let sum: f64 = products.map(|(&w, x)| f64::from(w) * x).sum();
                self.scale * (f64::from(self.bias[gate * pairs_len(H) + unit]) + sum)
            })
        }
    }

    /// Largest distance of states in Q15 from exact ones.
    pub fn distance(h: &[i16], exact: &[f64]) -> f64 {
        let errors = h
            .iter()
            .zip(exact)
            .map(|(&h, exact)| f64::from(h) / 32768.0 - exact);
        errors.fold(0.0, |worst, error| worst.max(error.abs()))
    }
}
