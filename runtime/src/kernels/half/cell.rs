//! Recurrent layers in every form of ONNX, as [`crate::kernels::int::cell`] has them.
//!
//! Everything within a step is f32; the state is half and rounded once in every step, an LSTM's cell once a run.

use super::gates::Side;
use super::{Clamp, LANES, narrow, widen};
use crate::f16;
use crate::kernels::geometry::Cell;

/// A function of one number: a table between two places, straight lines beyond them.
#[derive(Clone, Copy, Debug)]
pub struct Curve<'w> {
    /// Results at `low` and every `1 / inverse_step` further on; the last is that of a place at or beyond `high`. At least two.
    pub table: &'w [f32],
    /// Where the table begins.
    pub low: f32,
    /// Where it ends, at least `low`.
    pub high: f32,
    /// 1 / the distance of two results.
    pub inverse_step: f32,
    /// What 1 adds below `low`, and above `high`.
    pub slopes: [f32; 2],
}

impl Curve<'_> {
    /// The function's value: linear between the table's; of infinities and NaN that of the largest and the smallest number.
    #[inline]
    pub fn at(&self, x: f32) -> f32 {
        let x = if x > f32::MIN { x } else { f32::MIN };
        let x = if x < f32::MAX { x } else { f32::MAX };
        let above_low = if x > self.low { x } else { self.low };
        let inside = if above_low < self.high {
            above_low
        } else {
            self.high
        };
        let place = (inside - self.low) * self.inverse_step;
        let interval = (place as usize).min(self.table.len().saturating_sub(2));
        let pair = self
            .table
            .get(interval..)
            .and_then(|rest| rest.first_chunk());
        let [first, second] = pair.copied().unwrap_or([0.0; 2]);
        let y = first + (place - interval as f32) * (second - first);
        let [below, above] = self.slopes;
        if x < self.low {
            y + (x - self.low) * below
        } else if x > self.high {
            y + (x - self.high) * above
        } else {
            y
        }
    }
}

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
    /// `[3 * hidden]`, for gates i, o and f; empty without peepholes.
    pub peepholes: &'w [f32],
}

/// What a step changes, and its scratch.
pub struct Memory<'t> {
    /// The state `[hidden]`, which holds halves.
    pub h: &'t mut [f32],
    /// The cell of an LSTM `[hidden]`; empty for other cells.
    pub c: &'t mut [f32],
    /// `[hidden]` for a GRU with the reset before the product; else empty.
    pub reset: &'t mut [f32],
}

type Block = [f32; LANES];

impl Layer<'_> {
    fn through(&self, mut sums: Block, curve: usize) -> Block {
        if let Some(curve) = self.curves.get(curve) {
            sums.iter_mut().for_each(|x| *x = curve.at(*x));
        }
        sums
    }

    /// Pre-activations of a gate.
    fn sums(&self, gate: usize, block: usize, x: &[f32], h: &[f32]) -> Block {
        let mut sums = self.input.gate(gate, block, h.len(), x);
        let recurrent = self.recurrent.gate(gate, block, h.len(), h);
        sums.iter_mut()
            .zip(recurrent)
            .for_each(|(sum, r)| *sum += r);
        sums
    }

    /// The same with what a peephole sees of a cell.
    fn peeping(&self, gate: usize, block: usize, [x, h]: [&[f32]; 2], c: &[f32]) -> Block {
        let mut sums = self.sums(gate, block, x, h);
        let own = self.peepholes.get(gate * h.len() + block * LANES..);
        for ((sum, p), c) in sums.iter_mut().zip(own.unwrap_or_default()).zip(c) {
            *sum += p * c;
        }
        self.through(sums, 0)
    }

    /// One step: reads `x: [k]`, updates the memory, and writes the new state to `y: [hidden]`, too.
    pub fn step(&self, x: &[f32], memory: &mut Memory, y: &mut [f16]) {
        let Memory { h, c, reset } = memory;
        if self.cell == Cell::GruResetBefore {
            self.reset(x, h, reset);
        }
        let mut cells = c.chunks_mut(LANES);
        for (block, y) in y.chunks_mut(LANES).enumerate() {
            let next = match self.cell {
                Cell::Rnn => self.through(self.sums(0, block, x, h), 0),
                Cell::GruResetBefore | Cell::GruResetAfter => self.gru(block, x, h, reset),
                Cell::Lstm | Cell::LstmCoupled => {
                    self.lstm(block, [x, h], cells.next().unwrap_or_default())
                }
            };
            narrow(&next, Clamp::NONE, y);
        }
        widen(y, h);
    }

    /// The state times the reset gate.
    fn reset(&self, x: &[f32], h: &[f32], reset: &mut [f32]) {
        let rows = h.chunks(LANES).zip(reset.chunks_mut(LANES));
        for (block, (old, reset)) in rows.enumerate() {
            let r = self.through(self.sums(1, block, x, h), 0);
            for ((reset, h), r) in reset.iter_mut().zip(old).zip(r) {
                *reset = r * h;
            }
        }
    }

    fn gru(&self, block: usize, x: &[f32], h: &[f32], reset: &[f32]) -> Block {
        let z = self.through(self.sums(0, block, x, h), 0);
        let mut n = self.input.gate(2, block, h.len(), x);
        if self.cell == Cell::GruResetBefore {
            let recurrent = self.recurrent.gate(2, block, h.len(), reset);
            n.iter_mut().zip(recurrent).for_each(|(n, r)| *n += r);
        } else {
            let r = self.through(self.sums(1, block, x, h), 0);
            let recurrent = self.recurrent.gate(2, block, h.len(), h);
            for ((n, r), inner) in n.iter_mut().zip(r).zip(recurrent) {
                *n += r * inner;
            }
        }
        let mut next = self.through(n, 1);
        let old = h.get(block * LANES..).unwrap_or_default();
        for ((n, z), h) in next.iter_mut().zip(z).zip(old) {
            *n += z * (h - *n);
        }
        next
    }

    fn lstm(&self, block: usize, rows: [&[f32]; 2], c: &mut [f32]) -> Block {
        let [x, h] = rows;
        let i = self.peeping(0, block, rows, c);
        let kept = match self.cell {
            Cell::LstmCoupled => i.map(|i| 1.0 - i),
            _ => self.peeping(2, block, rows, c),
        };
        let g = self.through(self.sums(3, block, x, h), 1);
        for ((c, kept), (i, g)) in c.iter_mut().zip(kept).zip(i.into_iter().zip(g)) {
            *c = kept * *c + i * g;
        }
        let mut next = self.peeping(1, block, rows, c);
        let mut out = [0.0; LANES];
        out.iter_mut().zip(&*c).for_each(|(out, c)| *out = *c);
        let out = self.through(out, 2);
        next.iter_mut().zip(out).for_each(|(o, out)| *o *= out);
        next
    }
}

#[cfg(test)]
mod tests {
    use super::super::gates::tests::{exact, packed};
    use super::super::linear::tests::halves;
    use super::*;
    use crate::kernels::testing::AnyCell;
    use proptest::prelude::*;
    use std::vec::Vec;

    const K: usize = 6;
    const H: usize = 5;

    /// Constant where the table ends.
    fn sigmoid(x: f64) -> f64 {
        1.0 / (1.0 + (-x.clamp(-8.0, 8.0)).exp())
    }

    fn leaky(x: f64) -> f64 {
        if x > 0.0 { x } else { 0.1 * x }
    }

    /// A table of `f` on `[-8, 8]`, in steps of 1/64.
    fn table(f: fn(f64) -> f64) -> Vec<f32> {
        (0..=1025)
            .map(|i| f(f64::from(i) / 64.0 - 8.0) as f32)
            .collect()
    }

    fn curve(table: &[f32], slopes: [f32; 2]) -> Curve<'_> {
        Curve {
            table,
            low: -8.0,
            high: 8.0,
            inverse_step: 64.0,
            slopes,
        }
    }

    #[test]
    fn a_curve_goes_on_straight_and_takes_what_is_not_a_number() {
        let (leaky, sigmoid) = (table(leaky), table(sigmoid));
        let leaky = curve(&leaky, [0.1, 1.0]);
        for (x, y) in [
            (-100.0, -10.0),
            (-0.5, -0.05),
            (0.0, 0.0),
            (7.25, 7.25),
            (300.0, 300.0),
        ] {
            assert!((leaky.at(x) - y).abs() < 1e-5, "{} at {x}", leaky.at(x));
        }
        let sigmoid = curve(&sigmoid, [0.0; 2]);
        assert_eq!(sigmoid.at(f32::NAN), sigmoid.at(-8.0));
        assert_eq!(sigmoid.at(f32::INFINITY), sigmoid.at(8.0));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]

        #[test]
        fn every_step_of_every_cell_is_close_to_double_precision(
            code in 0u32..5,
            w in proptest::collection::vec(halves(K), 4 * H),
            r in proptest::collection::vec(halves(H), 4 * H),
            bias in proptest::collection::vec(-0.5f32..0.5, 8 * H),
            peepholes in proptest::collection::vec(-0.5f32..0.5, 3 * H),
            x in proptest::collection::vec(halves(K), 50),
        ) {
            let cell = Cell::from_code(code).unwrap();
            let rows = cell.gates() * H;
            let (bias_w, bias_r) = bias.split_at(4 * H);
            let (w, r) = (&w[..rows], &r[..rows]);
            let sides = [packed(w, &bias_w[..rows], H, K), packed(r, &bias_r[..rows], H, H)];
            let [input, recurrent] = sides.each_ref().map(|(weights, bias)| Side { weights, bias });
            let functions = [sigmoid, leaky, f64::tanh];
            // Nothing bounds a cell that grows by what it is: g is bounded.
            let functions = if cell.is_lstm() { [sigmoid, f64::tanh, leaky] } else { functions };
            let tables = functions.map(table);
            let slopes = functions.map(|f| if f(100.0) > 2.0 { [0.1, 1.0] } else { [0.0; 2] });
            let layer = Layer {
                cell,
                input,
                recurrent,
                curves: core::array::from_fn(|i| curve(&tables[i], slopes[i])),
                peepholes: &peepholes,
            };
            let (mut h, mut c, mut reset, mut y) = ([0.0; H], [0.0; H], [0.0; H], [f16::ZERO; H]);
            for x in x {
                let mut wide_x = [0.0; K];
                widen(&x, &mut wide_x);
                let [before, before_c] = [h, c].map(|all| all.map(f64::from));
                let memory = &mut Memory { h: &mut h, c: &mut c, reset: &mut reset };
                layer.step(&wide_x, memory, &mut y);
                let real_x = wide_x.map(f64::from);
                let reference = AnyCell {
                    cell,
                    input: |gate, u| exact(w, bias_w, gate * H + u, &real_x),
                    recurrent: |gate, u, h: &[f64]| exact(r, bias_r, gate * H + u, h),
                    functions,
                    peepholes: peepholes.iter().map(|&p| p.into()).collect(),
                };
                let (exact_h, _) = reference.step(&before, &before_c);
                for (&y, &exact) in y.iter().zip(&exact_h) {
                    // A state that grows without end stays at the largest half.
                    let exact = exact.clamp((-crate::kernels::half::MAX).into(), crate::kernels::half::MAX.into());
                    let error = (f64::from(y) - exact).abs();
                    prop_assert!(error < 6e-4 * exact.abs().max(1.0), "{cell:?}: {y} for {exact}");
                }
            }
        }
    }
}
