//! Recurrent layers in every form of ONNX: any cell, any activations, states of any size.
//!
//! ```text
//! Rnn   h' = f(W x + R h + b)
//! Gru   z = f(W_z x + R_z h + b_z)      r = f(W_r x + R_r h + b_r)      h' = n + z * (h - n)
//!       n = g(W_n x + b_wn + r * (R_n h + b_rn)), or g(W_n x + R_n (r * h) + b_n) with the reset before the product
//! Lstm  i = f(W_i x + R_i h + p_i * c + b_i)       o = f(W_o x + R_o h + p_o * c' + b_o)
//!       k = f(W_f x + R_f h + p_f * c + b_f), or 1 - i where the gates are coupled
//!       c' = k * c + i * g(W_g x + R_g h + b_g)    h' = o * h(c')
//! ```
//!
//! Everything within a step is Q16 int32 and saturates; every product is rounded once. The state has its own binary point.

use super::curve::{Curve, saturated};
use super::dot::{pairs_len, to_pairs};
use super::gates::{BATCH, Side};
use super::requantize::Activation;
use crate::kernels::geometry::Cell;

/// A recurrent layer.
#[derive(Clone, Copy, Debug)]
pub struct Layer<'w> {
    /// What a step computes.
    pub cell: Cell,
    /// Weights of the input.
    pub input: Side<'w>,
    /// Weights of the state.
    pub recurrent: Side<'w>,
    /// f, g and h; a cell uses the first of them.
    pub curves: [Curve<'w>; 3],
    /// Q16 `[3 * hidden]`, for gates i, o and f; empty without peepholes.
    pub peepholes: &'w [i32],
    /// The state's bits behind the point, at most 15.
    pub state_bits: u32,
}

/// What a step changes, and its scratch.
pub struct Memory<'t> {
    /// The state `[hidden]`.
    pub h: &'t mut [i16],
    /// The cell of an LSTM `[hidden]`, Q16; empty for other cells.
    pub c: &'t mut [i32],
    /// `[pairs_len(k)]`
    pub x_pairs: &'t mut [i16],
    /// `[pairs_len(hidden)]`
    pub h_pairs: &'t mut [i16],
    /// `[pairs_len(hidden)]` for a GRU with the reset before the product; else empty.
    pub reset: &'t mut [i16],
}

/// The product of two numbers in Q16.
#[inline]
fn product(a: i32, b: i32) -> i32 {
    saturated((i64::from(a) * i64::from(b) + (1 << 15)) >> 16)
}

type Batch = [i32; BATCH];

/// The gates of units from `first` on.
struct Gates<'l, 'w> {
    layer: &'l Layer<'w>,
    first: usize,
    units: usize,
    x: &'l [i16],
    h: &'l [i16],
}

impl Gates<'_, '_> {
    fn of_input(&self, gate: usize) -> Batch {
        let mut sums = [0; BATCH];
        let side = &self.layer.input;
        side.gate(gate, self.first, self.units, self.x, &mut sums);
        sums
    }

    fn of_state(&self, gate: usize, h: &[i16]) -> Batch {
        let mut sums = [0; BATCH];
        let side = &self.layer.recurrent;
        side.gate(gate, self.first, self.units, h, &mut sums);
        sums
    }

    /// Pre-activations.
    fn sums(&self, gate: usize) -> Batch {
        let mut sums = self.of_input(gate);
        let recurrent = self.of_state(gate, self.h);
        for (sum, r) in sums.iter_mut().zip(recurrent) {
            *sum = sum.wrapping_add(r);
        }
        sums
    }

    fn through(&self, mut sums: Batch, curve: usize) -> Batch {
        if let Some(curve) = self.layer.curves.get(curve) {
            sums.iter_mut().for_each(|x| *x = curve.at(*x));
        }
        sums
    }

    /// Adds what the peepholes of one gate see of a cell.
    fn peep(&self, sums: &mut Batch, gate: usize, hidden: usize, c: &[i32]) {
        let own = self.layer.peepholes.get(gate * hidden + self.first..);
        for ((sum, &p), &c) in sums.iter_mut().zip(own.unwrap_or_default()).zip(c) {
            *sum = sum.saturating_add(product(p, c));
        }
    }
}

impl Layer<'_> {
    /// A state in Q16.
    #[inline]
    fn widened(&self, h: i16) -> i32 {
        i32::from(h) << (16 - self.state_bits)
    }

    /// Q16 as a state.
    #[inline]
    fn narrowed(&self, x: i32) -> i16 {
        let shift = 16 - self.state_bits;
        let rounded = x.saturating_add(1 << (shift - 1)) >> shift;
        rounded.clamp(-32767, 32767) as i16
    }

    /// One step: reads `x: [k]` and updates the memory.
    pub fn step<X: Activation>(&self, x: &[X], memory: &mut Memory) {
        let hidden = memory.h.len();
        to_pairs(x, 0, memory.x_pairs);
        to_pairs(memory.h, 0, memory.h_pairs);
        if self.cell == Cell::GruResetBefore {
            self.reset(memory);
        }
        let mut cells = memory.c.chunks_mut(BATCH);
        for (batch, h) in memory.h.chunks_mut(BATCH).enumerate() {
            let gates = Gates {
                layer: self,
                first: batch * BATCH,
                units: pairs_len(hidden),
                x: memory.x_pairs,
                h: memory.h_pairs,
            };
            match self.cell {
                Cell::Rnn => {
                    let next = gates.through(gates.sums(0), 0);
                    h.iter_mut()
                        .zip(next)
                        .for_each(|(h, x)| *h = self.narrowed(x));
                }
                Cell::GruResetBefore | Cell::GruResetAfter => self.gru(&gates, memory.reset, h),
                Cell::Lstm | Cell::LstmCoupled => {
                    self.lstm(&gates, hidden, h, cells.next().unwrap_or_default());
                }
            }
        }
    }

    /// The state times the reset gate, in pair order.
    fn reset(&self, memory: &mut Memory) {
        let units = pairs_len(memory.h.len());
        let rows = memory.h.chunks(BATCH).zip(memory.reset.chunks_mut(BATCH));
        for (batch, (h, reset)) in rows.enumerate() {
            let gates = Gates {
                layer: self,
                first: batch * BATCH,
                units,
                x: memory.x_pairs,
                h: memory.h_pairs,
            };
            let r = gates.through(gates.sums(1), 0);
            let mut kept = [0i16; BATCH];
            for ((kept, &h), r) in kept.iter_mut().zip(h).zip(r) {
                *kept = self.narrowed(product(r, self.widened(h)));
            }
            to_pairs(kept.get(..h.len()).unwrap_or_default(), 0, reset);
        }
    }

    fn gru(&self, gates: &Gates, reset: &[i16], h: &mut [i16]) {
        let z = gates.through(gates.sums(0), 0);
        let mut n = gates.of_input(2);
        if self.cell == Cell::GruResetBefore {
            let recurrent = gates.of_state(2, reset);
            for (n, r) in n.iter_mut().zip(recurrent) {
                *n = n.wrapping_add(r);
            }
        } else {
            let r = gates.through(gates.sums(1), 0);
            let recurrent = gates.of_state(2, gates.h);
            for ((n, r), inner) in n.iter_mut().zip(r).zip(recurrent) {
                *n = n.saturating_add(product(r, inner));
            }
        }
        let n = gates.through(n, 1);
        for ((h, z), n) in h.iter_mut().zip(z).zip(n) {
            let difference = self.widened(*h).saturating_sub(n);
            *h = self.narrowed(n.saturating_add(product(z, difference)));
        }
    }

    fn lstm(&self, gates: &Gates, hidden: usize, h: &mut [i16], c: &mut [i32]) {
        let mut i = gates.sums(0);
        gates.peep(&mut i, 0, hidden, c);
        let i = gates.through(i, 0);
        let kept = if self.cell == Cell::LstmCoupled {
            i.map(|i| (1i32 << 16).saturating_sub(i))
        } else {
            let mut f = gates.sums(2);
            gates.peep(&mut f, 2, hidden, c);
            gates.through(f, 0)
        };
        let g = gates.through(gates.sums(3), 1);
        for ((c, kept), (i, g)) in c.iter_mut().zip(kept).zip(i.into_iter().zip(g)) {
            *c = product(kept, *c).saturating_add(product(i, g));
        }
        let mut o = gates.sums(1);
        gates.peep(&mut o, 1, hidden, c);
        let o = gates.through(o, 0);
        let mut out = [0; BATCH];
        out.iter_mut().zip(&*c).for_each(|(out, c)| *out = *c);
        let out = gates.through(out, 2);
        for ((h, o), out) in h.iter_mut().zip(o).zip(out) {
            *h = self.narrowed(product(o, out));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::curve::tests::{curve, table};
    use super::super::gates::tests::{H, Weights, distance};
    use super::*;
    use crate::kernels::testing::{AnyCell, numbers};
    use std::vec::Vec;

    const K: usize = 6;
    /// Real value of one weight step.
    const STEP: f64 = 0.02;
    /// Bits of states within ±1, ±2 and ±8; the functions leave the first or the second.
    const BITS: [[u32; 2]; 2] = [[15, 12], [14, 12]];
    const CELLS: [Cell; 5] = [
        Cell::Rnn,
        Cell::GruResetBefore,
        Cell::GruResetAfter,
        Cell::Lstm,
        Cell::LstmCoupled,
    ];

    fn sigmoid(x: f64) -> f64 {
        1.0 / (1.0 + (-x).exp())
    }

    fn hard_sigmoid(x: f64) -> f64 {
        (0.2 * x + 0.5).clamp(0.0, 1.0)
    }

    fn clipped_relu(x: f64) -> f64 {
        x.clamp(0.0, 2.0)
    }

    type Functions = [(fn(f64) -> f64, [f64; 2]); 3];
    /// Functions and where their tables end.
    const FUNCTIONS: [Functions; 2] = [
        [
            (sigmoid, [-12.0, 12.0]),
            (f64::tanh, [-8.0, 8.0]),
            (f64::tanh, [-8.0, 8.0]),
        ],
        [
            (hard_sigmoid, [-2.5, 2.5]),
            (clipped_relu, [0.0, 2.0]),
            (f64::tanh, [-8.0, 8.0]),
        ],
    ];

    /// The worst error of a state and of a cell that one of 300 steps makes.
    fn worst(cell: Cell, functions: &Functions, state_bits: u32, peepholes: &[f64]) -> f64 {
        let mut next = numbers(7);
        let one = f64::from(1u32 << state_bits);
        let w = Weights::random([cell.gates(), K], (STEP / 32.0, 8), &mut next);
        let r = Weights::random([cell.gates(), H], (STEP / one, 0), &mut next);
        let tables = functions.map(|(f, ends)| table(f, ends));
        let narrow: Vec<i32> = peepholes.iter().map(|p| (p * 65536.0) as i32).collect();
        let layer = Layer {
            cell,
            input: w.side(),
            recurrent: r.side(),
            curves: core::array::from_fn(|i| curve(&tables[i], functions[i].1, [0.0; 2])),
            peepholes: &narrow,
            state_bits,
        };
        let first = [0.9, -0.5, 0.3, 0.0, -0.8].map(|x| x * 32768.0 / one);
        let mut h = first.map(|x| (x * one) as i16);
        let (mut c, mut pairs) = ([0; H], [[0; pairs_len(H)]; 3]);
        let mut worst = 0f64;
        for _ in 0..300 {
            let before: Vec<f64> = h.iter().map(|&h| f64::from(h) / one).collect();
            let before_c = c.map(|c| f64::from(c) / 65536.0);
            let x: [i8; K] = core::array::from_fn(|_| (next() % 128) as i8);
            let [x_pairs, h_pairs, reset] = &mut pairs;
            let mut memory = Memory {
                h: &mut h,
                c: if cell.is_lstm() { &mut c } else { &mut [] },
                x_pairs,
                h_pairs,
                reset,
            };
            layer.step(&x, &mut memory);
            let x = x.map(f64::from);
            let side = |side: &Weights, gate: usize, u: usize, x: &[f64]| match cell.gates() {
                1 => side.sums::<1>(u, x)[gate],
                3 => side.sums::<3>(u, x)[gate],
                _ => side.sums::<4>(u, x)[gate],
            };
            let steps = |h: &[f64]| -> Vec<f64> { h.iter().map(|h| h * one).collect() };
            let reference = AnyCell {
                cell,
                input: |gate, u| side(&w, gate, u, &x),
                recurrent: |gate, u, h: &[f64]| side(&r, gate, u, &steps(h)),
                functions: functions.map(|(f, _)| f),
                peepholes: peepholes.to_vec(),
            };
            let (exact, exact_c) = reference.step(&before, &before_c);
            let scaled: Vec<f64> = exact.iter().map(|h| h * one / 32768.0).collect();
            worst = worst.max(distance(&h, &scaled) * 32768.0 / one);
            for (&c, exact) in c.iter().zip(exact_c) {
                worst = worst.max((f64::from(c) / 65536.0 - exact).abs());
            }
        }
        worst
    }

    #[test]
    fn every_step_of_every_cell_is_close_to_double_precision() {
        for cell in CELLS {
            for (functions, of_state) in FUNCTIONS.iter().zip(BITS) {
                for bits in of_state {
                    let worst = worst(cell, functions, bits, &[]);
                    let steps = 8.0 / f64::from(1u32 << bits);
                    assert!(worst < 0.002 + steps, "{cell:?}, {bits} bits: {worst}");
                }
            }
        }
    }

    #[test]
    fn peepholes_see_the_cell() {
        let peepholes: Vec<f64> = (0..3 * H).map(|i| i as f64 / 10.0 - 0.7).collect();
        for cell in [Cell::Lstm, Cell::LstmCoupled] {
            let worst = worst(cell, &FUNCTIONS[0], 15, &peepholes);
            assert!(worst < 4e-4, "{cell:?}: {worst}");
        }
    }
}
