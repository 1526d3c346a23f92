//! The gated recurrent unit, in the form of [`crate::kernels::int::gru`].
//!
//! Pre-activations and gates are f32, the state is half: it is rounded once in every step.

use super::function::{sigmoid, tanh};
use super::gates::Side;
use super::{Clamp, LANES, narrow, widen};
use crate::f16;

/// One step: input `wide_x: [k]`, state `wide_h: [hidden]`, which holds halves and is updated; the new state is also
/// written to `y: [hidden]`. Gates z, r, n.
pub fn step(wide_x: &[f32], input: &Side, recurrent: &Side, wide_h: &mut [f32], y: &mut [f16]) {
    let hidden = wide_h.len();
    for (block, y) in y.chunks_mut(LANES).enumerate() {
        let [wz, wr, wn] = input.gates(block, hidden, wide_x);
        let [rz, rr, rn] = recurrent.gates(block, hidden, wide_h);
        let z = wz.iter().zip(&rz).map(|(w, r)| sigmoid(w + r));
        let r = wr.iter().zip(&rr).map(|(w, r)| sigmoid(w + r));
        let n = wn.iter().zip(&rn);
        let mut next = [0.0; LANES];
        let old = wide_h.get(block * LANES..).unwrap_or(&[]);
        for ((((next, old), z), r), (&wn, &rn)) in next.iter_mut().zip(old).zip(z).zip(r).zip(n) {
            let n = tanh(wn + r * rn);
            *next = n + z * (old - n);
        }
        narrow(&next, Clamp::NONE, y);
    }
    widen(y, wide_h);
}

#[cfg(test)]
mod tests {
    use super::super::gates::tests::{exact, packed};
    use super::super::linear::tests::halves;
    use super::*;
    use crate::kernels::testing::gru;
    use proptest::prelude::*;

    const K: usize = 6;
    const H: usize = 5;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]

        #[test]
        fn the_state_stays_close_to_double_precision_over_many_steps(
            w in proptest::collection::vec(halves(K), 3 * H),
            r in proptest::collection::vec(halves(H), 3 * H),
            bias in proptest::collection::vec(-0.5f32..0.5, 6 * H),
            x in proptest::collection::vec(halves(K), 200),
        ) {
            let (bias_w, bias_r) = bias.split_at(3 * H);
            let sides = [packed(&w, bias_w, H, K), packed(&r, bias_r, H, H)];
            let [input, recurrent] = sides.each_ref().map(|(weights, bias)| Side { weights, bias });
            let (mut wide_h, mut h, mut real_h) = ([0.0; H], [f16::ZERO; H], [0f64; H]);
            for x in x {
                let mut wide_x = [0.0; K];
                widen(&x, &mut wide_x);
                step(&wide_x, &input, &recurrent, &mut wide_h, &mut h);
                let real_x = wide_x.map(f64::from);
                real_h = core::array::from_fn(|u| {
                    let a = |gate: usize| exact(&w, bias_w, gate * H + u, &real_x);
                    let b = |gate: usize| exact(&r, bias_r, gate * H + u, &real_h);
                    gru([0, 1, 2].map(a), [0, 1, 2].map(b), real_h[u])
                });
                for (h, exact) in h.iter().zip(real_h) {
                    let error = (f64::from(*h) - exact).abs();
                    prop_assert!(error < 0.003, "{} for {}", h, exact);
                }
            }
        }
    }
}
