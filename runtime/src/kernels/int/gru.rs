//! The gated recurrent unit (Cho et al. 2014), in the form of PyTorch and of ONNX with `linear_before_reset = 1`:
//!
//! ```text
//! z  = sigmoid(W_z x + R_z h + b_z)
//! r  = sigmoid(W_r x + R_r h + b_r)
//! n  = tanh(W_n x + b_wn + r * (R_n h + b_rn))
//! h' = n + z * (h - n)
//! ```
//!
//! Pre-activations are Q16 ([`super::gates`], in the order z, r, n), gates and state Q15.

use super::dot::{pairs_len, to_order, to_pairs};
use super::gates::{BATCH, Side, round_q15, split};
use super::requantize::Activation;
use super::tanh::{sigmoid_q15, tanh_q15};

/// One step: `x: [k]`, state `h: [hidden]` Q15, updated in place.
///
/// `pairs` is scratch of at least `pairs_len(k) + pairs_len(hidden)`.
pub fn step<X: Activation, const JOINED: bool>(
    x: &[X],
    input: &Side<JOINED>,
    recurrent: &Side,
    h: &mut [i16],
    pairs: &mut [i16],
) {
    let h_len = pairs_len(h.len());
    let Some((x_pairs, h_pairs)) = split(pairs, x.len(), h_len) else {
        return;
    };
    to_order::<_, JOINED>(x, x_pairs);
    to_pairs(h, 0, h_pairs);
    let (mut w, mut r) = ([[0; BATCH]; 3], [[0; BATCH]; 3]);
    for (batch, h) in h.chunks_mut(BATCH).enumerate() {
        let first = batch * BATCH;
        for (gate, (w, r)) in w.iter_mut().zip(&mut r).enumerate() {
            input.gate(gate, first, h_len, x_pairs, w);
            recurrent.gate(gate, first, h_len, h_pairs, r);
        }
        let ([wz, wr, wn], [rz, rr, rn]) = (&w, &r);
        let z = wz.iter().zip(rz).map(|(w, r)| w.wrapping_add(*r));
        let r = wr.iter().zip(rr).map(|(w, r)| w.wrapping_add(*r));
        let n = wn.iter().zip(rn);
        for (((h, z), r), (&wn, &rn)) in h.iter_mut().zip(z).zip(r).zip(n) {
            let n = tanh_q15(wn.wrapping_add(round_q15(sigmoid_q15(r), rn)));
            let next = n + round_q15(sigmoid_q15(z), i32::from(*h) - n);
            *h = next.clamp(-32767, 32767) as i16;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::int::gates::tests::{H, Weights, distance};
    use crate::kernels::testing::{gru, numbers};

    const K: usize = 6;
    const STEP: f64 = 0.02; // real value of one weight step

    #[test]
    fn the_state_stays_close_to_double_precision_over_many_steps() {
        let mut next = numbers(1);
        let w = Weights::random([3, K], (STEP / 32.0, 8), &mut next);
        let r = Weights::random([3, H], (STEP / 32768.0, 0), &mut next);
        let (mut h, mut exact, mut worst) = ([0i16; H], [0f64; H], 0f64);
        for _ in 0..500 {
            let x: [i8; K] = core::array::from_fn(|_| (next() % 128) as i8);
            step(&x, &w.side(), &r.side(), &mut h, &mut [0; 16]);
            let (x, old) = (x.map(f64::from), exact.map(|h| h * 32768.0));
            exact = core::array::from_fn(|u| gru(w.sums(u, &x), r.sums(u, &old), exact[u]));
            worst = worst.max(distance(&h, &exact));
        }
        assert!(worst < 0.002, "worst error {worst}");
    }
}
