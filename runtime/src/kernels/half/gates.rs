//! Gates of recurrent layers: products of input and state with their weights.

use super::{LANES, packed_len};
use crate::f16;
use crate::kernels::arch::half::dot4;

/// Weights of one side, input or recurrent, gate by gate.
#[derive(Clone, Copy, Debug)]
pub struct Side<'w> {
    /// For each gate a packed matrix `[hidden, k]`.
    pub weights: &'w [[f16; LANES]],
    /// For each gate `hidden` rounded up to a multiple of four.
    pub bias: &'w [[f32; LANES]],
}

impl Side<'_> {
    /// Pre-activations of four units of one gate: bias, then the products in the order of the inputs.
    #[inline]
    pub(super) fn gate(&self, gate: usize, block: usize, hidden: usize, x: &[f32]) -> [f32; LANES] {
        let at = gate * hidden.div_ceil(LANES) + block;
        let weights = self.weights.get(at * x.len()..).unwrap_or(&[]);
        let mut sums = self.bias.get(at).copied().unwrap_or([0.0; LANES]);
        dot4(x, weights, &mut sums);
        sums
    }

    /// Those of `N` gates.
    #[inline(always)]
    pub(super) fn gates<const N: usize>(
        &self,
        block: usize,
        hidden: usize,
        x: &[f32],
    ) -> [[f32; LANES]; N] {
        core::array::from_fn(|gate| self.gate(gate, block, hidden, x))
    }
}

/// Groups of weights of a side with `gates` gates and `k` inputs; see [`packed_len`].
pub const fn side_len(gates: usize, hidden: usize, k: usize) -> usize {
    packed_len(hidden, k).saturating_mul(gates)
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::linear::tests::pack;
    use super::*;
    use std::vec;
    use std::vec::Vec;

    /// A side from weights `[gates * hidden][k]` and biases.
    pub fn packed(
        weights: &[Vec<f16>],
        bias: &[f32],
        hidden: usize,
        k: usize,
    ) -> (Vec<[f16; LANES]>, Vec<[f32; LANES]>) {
        let gates = weights
            .chunks(hidden)
            .flat_map(|gate| pack(gate, k))
            .collect();
        let mut padded = vec![];
        for gate in bias.chunks(hidden) {
            let mut gate = gate.to_vec();
            gate.resize(hidden.next_multiple_of(LANES), 0.0);
            padded.extend(gate.as_chunks::<LANES>().0);
        }
        (gates, padded)
    }

    /// Row `row` of plain weights times `x`, plus bias, in f64.
    pub fn exact(weights: &[Vec<f16>], bias: &[f32], row: usize, x: &[f64]) -> f64 {
        let products = weights[row].iter().zip(x).map(|(&w, x)| f64::from(w) * x);
        f64::from(bias[row]) + products.sum::<f64>()
    }
}
