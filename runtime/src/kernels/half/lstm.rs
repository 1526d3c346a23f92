//! Long short-term memory, in the form of [`crate::kernels::int::lstm`].
//!
//! Pre-activations, gates and, within a run, the cell are f32; the state is half and rounded once in every step.

use super::function::{sigmoid, tanh};
use super::gates::Side;
use super::{Clamp, LANES, narrow, widen};
use crate::f16;

/// One step: input `wide_x: [k]`, state `wide_h: [hidden]`, which holds halves, and cell `c: [hidden]`, both updated; the
/// new state is also written to `y: [hidden]`. Gates i, o, f, g.
pub fn step(
    wide_x: &[f32],
    input: &Side,
    recurrent: &Side,
    wide_h: &mut [f32],
    c: &mut [f32],
    y: &mut [f16],
) {
    let hidden = wide_h.len();
    for (block, (y, c)) in y.chunks_mut(LANES).zip(c.chunks_mut(LANES)).enumerate() {
        let w: [[f32; LANES]; 4] = input.gates(block, hidden, wide_x);
        let r: [[f32; LANES]; 4] = recurrent.gates(block, hidden, wide_h);
        let [i, o, f, g] = core::array::from_fn(|gate| {
            let (w, r) = (w.get(gate), r.get(gate));
            w.into_iter()
                .flatten()
                .zip(r.into_iter().flatten())
                .map(|(w, r)| w + r)
        });
        let mut next = [0.0; LANES];
        let gates = i.zip(o).zip(f.zip(g));
        for ((next, c), ((i, o), (f, g))) in next.iter_mut().zip(c).zip(gates) {
            *c = sigmoid(f) * *c + sigmoid(i) * tanh(g);
            *next = sigmoid(o) * tanh(*c);
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
    use crate::kernels::testing::lstm;
    use proptest::prelude::*;

    const K: usize = 6;
    const H: usize = 5;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]

        #[test]
        fn state_and_cell_stay_close_to_double_precision_over_many_steps(
            w in proptest::collection::vec(halves(K), 4 * H),
            r in proptest::collection::vec(halves(H), 4 * H),
            bias in proptest::collection::vec(-0.5f32..0.5, 8 * H),
            x in proptest::collection::vec(halves(K), 100),
        ) {
            let (bias_w, bias_r) = bias.split_at(4 * H);
            let sides = [packed(&w, bias_w, H, K), packed(&r, bias_r, H, H)];
            let [input, recurrent] = sides.each_ref().map(|(weights, bias)| Side { weights, bias });
            let (mut wide_h, mut c, mut h) = ([0.0; H], [0.0; H], [f16::ZERO; H]);
            let (mut real_h, mut real_c) = ([0f64; H], [0f64; H]);
            for x in x {
                let mut wide_x = [0.0; K];
                widen(&x, &mut wide_x);
                step(&wide_x, &input, &recurrent, &mut wide_h, &mut c, &mut h);
                let real_x = wide_x.map(f64::from);
                let old = real_h;
                for u in 0..H {
                    let a = |gate: usize| {
                        exact(&w, bias_w, gate * H + u, &real_x) + exact(&r, bias_r, gate * H + u, &old)
                    };
                    (real_h[u], real_c[u]) = lstm([0, 1, 2, 3].map(a), real_c[u]);
                }
                for (h, exact) in h.iter().zip(real_h) {
                    let error = (f64::from(*h) - exact).abs();
                    prop_assert!(error < 0.003, "{} for {}", h, exact);
                }
            }
        }
    }
}
