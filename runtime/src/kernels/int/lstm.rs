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

use super::dot::{pairs_len, to_pairs};
use super::gates::{BATCH, Side, round_q15};
use super::requantize::Activation;
use super::tanh::{sigmoid_q15, tanh_q15};

/// One step: `x: [k]`, state `h: [hidden]` Q15 and cell `c: [hidden]` Q16, both updated in place.
///
/// `pairs` is scratch of at least `pairs_len(k) + pairs_len(hidden)`.
pub fn step<X: Activation>(
    x: &[X],
    input: &Side,
    recurrent: &Side,
    h: &mut [i16],
    c: &mut [i32],
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::int::dot::{packed_index, packed_len};
    use std::vec;
    use std::vec::Vec;

    const K: usize = 6;
    const H: usize = 5;
    const GATES: usize = 4;
    const STEP: f64 = 0.004; // real value of one weight step

    struct Weights {
        plain: Vec<Vec<i8>>, // [GATES * H][k]
        packed: Vec<i8>,
    }

    fn weights(k: usize, next: &mut impl FnMut() -> i32) -> Weights {
        let plain: Vec<Vec<i8>> = (0..GATES * H)
            .map(|_| (0..k).map(|_| (next() % 100) as i8).collect())
            .collect();
        let gate_len = packed_len(H, k);
        let mut packed = vec![0; GATES * gate_len];
        for (row, weights) in plain.iter().enumerate() {
            for (i, &w) in weights.iter().enumerate() {
                packed[row / H * gate_len + packed_index(row % H, i, k)] = w;
            }
        }
        Weights { plain, packed }
    }

    #[test]
    fn state_and_cell_stay_close_to_double_precision_over_many_steps() {
        let mut seed = 7u32;
        let mut next = move || {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 8) as i32 % 1000 - 500
        };
        let (w, r) = (weights(K, &mut next), weights(H, &mut next));
        let bias = vec![0; GATES * pairs_len(H)];
        let (x_scale, h_scale) = (1.0 / 32.0, 1.0 / 32768.0);
        let factor = |scale: f64, shift: i32| {
            (STEP * scale * 65536.0 * f64::from(2.0f32).powi(32 - shift)).round() as i32
        };
        let w_factors = vec![factor(x_scale, 8); GATES * pairs_len(H)];
        let r_factors = vec![factor(h_scale, 0); GATES * pairs_len(H)];
        let side = |weights, multipliers, left_shift| Side {
            weights,
            bias: &bias,
            multipliers,
            left_shift,
        };
        let input = side(&w.packed, &w_factors, 8);
        let recurrent = side(&r.packed, &r_factors, 0);
        let (mut h, mut c) = ([0i16; H], [0i32; H]);
        let (mut exact_h, mut exact_c) = ([0f64; H], [0f64; H]);
        let mut worst = 0f64;
        for _ in 0..300 {
            let x: Vec<i8> = (0..K).map(|_| (next() % 128) as i8).collect();
            step(&x, &input, &recurrent, &mut h, &mut c, &mut [0; 16]);
            let dot = |side: &Weights, row: usize, x: &[f64]| {
                let products = side.plain[row]
                    .iter()
                    .zip(x)
                    .map(|(&w, x)| f64::from(w) * x);
                STEP * products.sum::<f64>()
            };
            let real: Vec<f64> = x.iter().map(|&x| f64::from(x) * x_scale).collect();
            let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
            let old = exact_h;
            for unit in 0..H {
                let a =
                    |gate: usize| dot(&w, gate * H + unit, &real) + dot(&r, gate * H + unit, &old);
                exact_c[unit] = sigmoid(a(2)) * exact_c[unit] + sigmoid(a(0)) * a(3).tanh();
                exact_h[unit] = sigmoid(a(1)) * exact_c[unit].tanh();
            }
            for (h, exact) in h.iter().zip(exact_h) {
                worst = worst.max((f64::from(*h) / 32768.0 - exact).abs());
            }
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
