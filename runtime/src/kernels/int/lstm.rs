//! Long short-term memory (Hochreiter and Schmidhuber 1997; with the forget gate of Gers et al. 2000), as PyTorch and ONNX
//! define it, without peepholes:
//!
//! ```text
//! i  = sigmoid(W_i x + R_i h + b_i)
//! o  = sigmoid(W_o x + R_o h + b_o)
//! f  = sigmoid(W_f x + R_f h + b_f)
//! g  = tanh(W_g x + R_g h + b_g)
//! c' = f * c + i * g
//! h' = o * tanh(c')
//! ```
//!
//! Pre-activations are Q16 ([`super::gates`], in ONNX order i, o, f, g), gates and `h` Q15. The cell `c` is not bounded:
//! it is int32 Q16 and saturates.

use super::dot::{pairs_len, to_order, to_pairs};
use super::gates::{BATCH, Side, round_q15, split};
use super::requantize::Activation;
use super::tanh::{sigmoid_q15, tanh_q15};

/// One step: `x: [k]`, new state `h: [hidden]` Q15, and cell `c: [hidden]` Q16, which is updated.
///
/// `pairs` is scratch of at least `pairs_len(k) + pairs_len(hidden)`. Behind the first `pairs_len(k)` it carries the state
/// in pair order from step to step.
pub fn step<X: Activation, const JOINED: bool>(
    x: &[X],
    input: &Side<JOINED>,
    recurrent: &Side,
    h: &mut [i16],
    c: &mut [i32],
    pairs: &mut [i16],
) {
    let h_len = pairs_len(h.len());
    let Some((x_pairs, h_pairs)) = split(pairs, x.len(), h_len) else {
        return;
    };
    to_order::<_, JOINED>(x, x_pairs);
    let (mut w, mut r) = ([[0; BATCH]; 4], [[0; BATCH]; 4]);
    for (batch, (h, c)) in h.chunks_mut(BATCH).zip(c.chunks_mut(BATCH)).enumerate() {
        let first = batch * BATCH;
        for (gate, (w, r)) in w.iter_mut().zip(&mut r).enumerate() {
            input.gate(gate, first, h_len, x_pairs, w);
            recurrent.gate(gate, first, h_len, h_pairs, r);
        }
        let sums = |gate: usize| {
            let (w, r) = (w.get(gate), r.get(gate));
            let (w, r) = (w.into_iter().flatten(), r.into_iter().flatten());
            w.zip(r).map(|(w, r)| w.wrapping_add(*r))
        };
        let gates = sums(0).zip(sums(1)).zip(sums(2).zip(sums(3)));
        for ((h, c), ((i, o), (f, g))) in h.iter_mut().zip(c).zip(gates) {
            let kept = round_q15(sigmoid_q15(f), *c);
            // Q15 times Q15 is Q30: one bit up is Q31, rounded to Q16.
            let new = round_q15(sigmoid_q15(i), tanh_q15(g) << 1);
            *c = kept.saturating_add(new);
            let out = round_q15(sigmoid_q15(o), tanh_q15(*c));
            *h = out.clamp(-32767, 32767) as i16;
        }
    }
    to_pairs(h, 0, h_pairs);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::int::dot::packed_len;
    use crate::kernels::int::gates::tests::{H, Weights, distance};
    use crate::kernels::testing::{lstm, numbers};

    const K: usize = 6;
    const GATES: usize = 4;
    const STEP: f64 = 0.004; // real value of one weight step

    #[test]
    fn state_and_cell_stay_close_to_double_precision_over_many_steps() {
        let mut next = numbers(7);
        let w = Weights::random([GATES, K], (STEP / 32.0, 8), &mut next);
        let r = Weights::random([GATES, H], (STEP / 32768.0, 0), &mut next);
        let (mut h, mut c, mut pairs, mut worst) = ([0i16; H], [0i32; H], [0; 16], 0f64);
        let (mut exact_h, mut exact_c) = ([0f64; H], [0f64; H]);
        for _ in 0..300 {
            let x: [i8; K] = core::array::from_fn(|_| (next() % 128) as i8);
            step(&x, &w.side(), &r.side(), &mut h, &mut c, &mut pairs);
            let (x, old) = (x.map(f64::from), exact_h.map(|h| h * 32768.0));
            for unit in 0..H {
                let (a, b): ([f64; GATES], [f64; GATES]) = (w.sums(unit, &x), r.sums(unit, &old));
                let sums = core::array::from_fn(|gate| a[gate] + b[gate]);
                (exact_h[unit], exact_c[unit]) = lstm(sums, exact_c[unit]);
            }
            worst = worst.max(distance(&h, &exact_h));
        }
        assert!(worst < 0.002, "worst error {worst}");
    }

    #[test]
    fn a_cell_that_grows_without_bounds_saturates() {
        let weights = [0i8; GATES * packed_len(1, 1)];
        // i, o, f and g all wide open.
        let bias = [1 << 20; GATES * pairs_len(1)];
        let multipliers = [i32::MAX; GATES * pairs_len(1)];
        let side = Side {
            weights: &weights,
            bias: &bias,
            multipliers: &multipliers,
            left_shift: 0,
        };
        let (mut h, mut c) = ([0i16], [i32::MAX - 10]);
        step(&[0i8], &side, &side, &mut h, &mut c, &mut [0; 8]);
        assert!(c[0] > i32::MAX - 100_000 && h[0] > 32_000, "{c:?} {h:?}");
    }
}
