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

use super::dot::{pairs_len, to_pairs};
use super::gates::{BATCH, Side, round_q15};
use super::requantize::Activation;
use super::tanh::{sigmoid_q15, tanh_q15};

/// One step: `x: [k]`, state `h: [hidden]` Q15, updated in place.
///
/// `pairs` is scratch of at least `pairs_len(k) + pairs_len(hidden)`.
pub fn step<X: Activation>(
    x: &[X],
    input: &Side,
    recurrent: &Side,
    h: &mut [i16],
    pairs: &mut [i16],
) {
    let (x_len, h_len) = (pairs_len(x.len()), pairs_len(h.len()));
    let Some((x_pairs, rest)) = pairs.split_at_mut_checked(x_len) else {
        return;
    };
    let Some(h_pairs) = rest.get_mut(..h_len) else {
        return;
    };
    to_pairs(x, 0, x_pairs);
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
    use crate::kernels::int::dot::{packed_index, packed_len};
    use std::vec;
    use std::vec::Vec;

    const K: usize = 6;
    const H: usize = 5;
    const STEP: f64 = 0.02; // real value of one weight step
    const X_SCALE: f64 = 1.0 / 32.0;

    struct Weights {
        plain: Vec<Vec<i8>>, // [3 * H][k]
        packed: Vec<i8>,
        bias: Vec<i32>,
    }

    fn weights(k: usize, next: &mut impl FnMut() -> i32) -> Weights {
        let plain: Vec<Vec<i8>> = (0..3 * H)
            .map(|_| (0..k).map(|_| (next() % 100) as i8).collect())
            .collect();
        let gate_len = packed_len(H, k);
        let mut packed = vec![0; 3 * gate_len];
        let mut bias = vec![0; 3 * pairs_len(H)];
        for (row, weights) in plain.iter().enumerate() {
            let (gate, unit) = (row / H, row % H);
            bias[gate * pairs_len(H) + unit] = next() % 50;
            for (i, &w) in weights.iter().enumerate() {
                packed[gate * gate_len + packed_index(unit, i, k)] = w;
            }
        }
        Weights {
            plain,
            packed,
            bias,
        }
    }

    fn multiplier(scale: f64, shift: u32) -> i32 {
        (scale * 65536.0 * f64::from(2.0f32).powi(32 - shift as i32)).round() as i32
    }

    #[test]
    fn the_state_stays_close_to_double_precision_over_many_steps() {
        let mut seed = 1u32;
        let mut next = move || {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 8) as i32 % 1000 - 500
        };
        let (w, r) = (weights(K, &mut next), weights(H, &mut next));
        let shift = 8;
        let w_multipliers = vec![multiplier(STEP * X_SCALE, shift); 3 * pairs_len(H)];
        let r_multipliers = vec![multiplier(STEP / 32768.0, 0); 3 * pairs_len(H)];
        let input = Side {
            weights: &w.packed,
            bias: &w.bias,
            multipliers: &w_multipliers,
            left_shift: shift,
        };
        let recurrent = Side {
            weights: &r.packed,
            bias: &r.bias,
            multipliers: &r_multipliers,
            left_shift: 0,
        };
        let (mut h, mut exact) = ([0i16; H], [0f64; H]);
        let mut worst = 0f64;
        for _ in 0..500 {
            let x: Vec<i8> = (0..K).map(|_| (next() % 128) as i8).collect();
            step(&x, &input, &recurrent, &mut h, &mut [0; 16]);
            let dot = |side: &Weights, row: usize, x: &[f64], scale: f64| {
                let unit = row / H * pairs_len(H) + row % H;
                scale
                    * (f64::from(side.bias[unit])
                        + side.plain[row]
                            .iter()
                            .zip(x)
                            .map(|(&w, x)| f64::from(w) * x)
                            .sum::<f64>())
            };
            let real: Vec<f64> = x.iter().map(|&x| f64::from(x)).collect();
            let scaled: Vec<f64> = exact.iter().map(|h| h * 32768.0).collect();
            let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
            exact = core::array::from_fn(|u| {
                let a = |gate: usize| dot(&w, gate * H + u, &real, STEP * X_SCALE);
                let b = |gate: usize| dot(&r, gate * H + u, &scaled, STEP / 32768.0);
                let z = sigmoid(a(0) + b(0));
                let n = (a(2) + sigmoid(a(1) + b(1)) * b(2)).tanh();
                n + z * (exact[u] - n)
            });
            for (h, exact) in h.iter().zip(exact) {
                worst = worst.max((f64::from(*h) / 32768.0 - exact).abs());
            }
        }
        assert!(worst < 0.002, "worst error {worst}");
    }
}
