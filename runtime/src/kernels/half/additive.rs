//! Additive attention, in the form of [`crate::kernels::int::additive`].

use super::function::{exp2, tanh};
use super::softmax::greatest;
use super::{CHUNK, Clamp, Sum, chunks, narrow, widen};
use crate::f16;

/// Energies of the rows of `keys: [rows, width]`: the sum of `v * tanh(query + key)` (of `v * (query + key)` without
/// `through_tanh`) over `query: [width]` and `v: [width]`.
pub fn energies(query: &[f32], keys: &[f16], v: &[f32], through_tanh: bool, energies: &mut [f32]) {
    let width = v.len().max(1);
    for (energy, keys) in energies.iter_mut().zip(keys.chunks_exact(width)) {
        let mut sum = Sum::default();
        chunks(keys, |at, keys| {
            let [query, v] = [query, v].map(|all| all.get(at..).unwrap_or(&[]));
            for ((x, q), v) in keys.iter_mut().zip(query).zip(v) {
                let y = q + *x;
                *x = v * if through_tanh { tanh(y) } else { y };
            }
            sum.add(keys);
        });
        *energy = sum.total();
    }
}

/// Turns energies into weights that add up to 1: softmax.
pub fn weigh(energies: &mut [f32]) {
    let top = greatest(energies);
    for energy in energies.iter_mut() {
        *energy = exp2((*energy - top) * core::f32::consts::LOG2_E);
    }
    let mut sum = Sum::default();
    sum.add(energies);
    let reciprocal = 1.0 / sum.total();
    energies.iter_mut().for_each(|weight| *weight *= reciprocal);
}

/// The sum of the rows of `values: [rows, channels]` times their weights, in the order of the rows.
pub fn mean(weights: &[f32], values: &[f16], context: &mut [f16]) {
    let channels = context.len().max(1);
    for (i, context) in context.chunks_mut(CHUNK).enumerate() {
        let (mut sums, mut wide) = ([0.0; CHUNK], [0.0; CHUNK]);
        for (weight, row) in weights.iter().zip(values.chunks_exact(channels)) {
            widen(row.get(i * CHUNK..).unwrap_or(&[]), &mut wide);
            sums.iter_mut()
                .zip(wide)
                .for_each(|(sum, x)| *sum += weight * x);
        }
        narrow(&sums, Clamp::NONE, context);
    }
}

#[cfg(test)]
mod tests {
    use super::super::linear::tests::halves;
    use super::*;
    use proptest::prelude::*;
    use std::vec;
    use std::vec::Vec;

    proptest! {
        #[test]
        fn the_context_is_close_to_double_precision(
            (width, rows, channels, query, keys, values) in (1usize..70, 1usize..12, 1usize..70).prop_flat_map(|(w, r, c)| (
                Just(w), Just(r), Just(c), halves(w), halves(w * r), halves(r * c),
            )),
            through_tanh in any::<bool>(),
        ) {
            let v: Vec<f32> = (0..width).map(|i| (i as f32 * 0.37).sin()).collect();
            let (mut wide, mut weights) = (vec![0.0; width], vec![0.0; rows]);
            widen(&query, &mut wide);
            energies(&wide, &keys, &v, through_tanh, &mut weights);
            weigh(&mut weights);
            let mut context = vec![f16::ZERO; channels];
            mean(&weights, &values, &mut context);
            let energy = |row: usize| (0..width).map(|i| {
                let x = f64::from(query[i]) + f64::from(keys[row * width + i]);
                f64::from(v[i]) * if through_tanh { x.tanh() } else { x }
            }).sum::<f64>();
            let exact: Vec<f64> = (0..rows).map(|row| energy(row).exp()).collect();
            let total: f64 = exact.iter().sum();
            for (c, got) in context.iter().enumerate() {
                let mean = (0..rows).map(|row| exact[row] / total * f64::from(values[row * channels + c])).sum::<f64>();
                let error = (f64::from(*got) - mean).abs();
                prop_assert!(error <= mean.abs() * 2f64.powi(-11) + 5e-5, "{} for {}", got, mean);
            }
        }
    }
}
