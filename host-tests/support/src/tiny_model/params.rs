//! Parameters of the tiny models' operators, for integers and for half precision.

use super::Builder;
use super::Param::{self, Bytes, Int, Real, Words};
use attn_runtime::kernels::geometry::{Cell, Shape};
use attn_runtime::kernels::half::gates::side_len;
use attn_runtime::kernels::half::{self, LANES};
use attn_runtime::kernels::int::dot::{packed_len, pairs_len};
use attn_runtime::ops::Start;

/// Multiplier, left shift and range of an int8 result.
pub const RESCALE: [Param; 4] = [Int(1 << 28), Int(1), Int(-128), Int(127)];
/// 1/4 in f32.
const QUARTER: i32 = 0x3e80_0000;

impl Builder {
    /// The parameters of one encoding.
    pub(super) fn by(&self, int: &[Param], half: &[Param]) -> Vec<Param> {
        if self.half { half } else { int }.to_vec()
    }

    pub(super) fn rescale(&self) -> Vec<Param> {
        self.by(&RESCALE, &[])
    }

    /// Elements of a packed matrix.
    pub(super) fn packed(&self, out: usize, k: usize) -> usize {
        if self.half {
            LANES * half::packed_len(out, k)
        } else {
            packed_len(out, k)
        }
    }

    /// So many weights, and what each of `out` sums needs besides.
    pub(super) fn layer(&self, weights: usize, out: usize) -> Vec<Param> {
        let (bias, scales) = (Words(out, 77), Words(out, 1 << 26));
        let int = [Bytes(weights), bias, scales, Int(2), Int(-128), Int(127)];
        let bias = Words(out, QUARTER);
        let half = [Bytes(2 * weights), bias, Real(-60.0), Real(65504.0)];
        self.by(&int, &half)
    }

    pub(super) fn matrix(&self, out: usize, k: usize) -> Vec<Param> {
        self.layer(self.packed(out, k), out)
    }

    /// Both sides of a recurrent layer from `c` to `c` channels, and how it runs.
    pub(super) fn recurrent(&self, gates: usize, c: usize, start: Start) -> Vec<Param> {
        let units = gates * pairs_len(c);
        let (bias, scales) = (Words(units, -500), Words(units, 1 << 27));
        let int = [Bytes(units * pairs_len(c)), bias, scales, Int(4)];
        let weights = Bytes(2 * LANES * side_len(gates, c, c));
        let side = self.by(&int, &[weights, Words(gates * c, QUARTER)]);
        let cell = [Int(1 << 28), Int(4)].repeat(2);
        let cell = self.by(if gates == 4 { &cell } else { &[] }, &[]);
        let run = vec![Int(start as i32), Int((start == Start::Zero).into())];
        [side.clone(), side, cell, run].concat()
    }

    /// A recurrent layer of any cell from `c` to `c` channels: both sides, the cell with its activations, and how it runs. Peepholes for
    /// an LSTM.
    pub(super) fn any_cell(&self, cell: Cell, c: usize, start: Start) -> Vec<Param> {
        let usual = self.recurrent(cell.gates(), c, start);
        let side = if self.half { 2 } else { 4 };
        let (sides, run) = (&usual[..2 * side], &usual[usual.len() - 2..]);
        let peepholes = match cell {
            Cell::Lstm => Words(3 * c, if self.half { QUARTER } else { 9000 }),
            _ => Int(-1),
        };
        let int = [Words(4, 30_000), Int(-1 << 16), Int(1 << 16), Int(16)];
        let int = [&int[..], &[Int(0), Int(1 << 22)]].concat().repeat(3);
        let half = [Words(3, QUARTER), Int(3), Real(-1.0), Real(1.0), Real(1.0)];
        let half = [&half[..], &[Real(0.0), Real(0.5)]].concat().repeat(3);
        let scales = [Int(1 << 28), Int(4)].repeat(2);
        let code = Int(cell as i32);
        let int = [vec![code, Int(14), peepholes], int, scales].concat();
        let half = [vec![code, peepholes], half].concat();
        [sides, &self.by(&int, &half), run].concat()
    }

    /// Attention within a window, by the code of which keys are seen. Scores of int16 are wider.
    pub(super) fn attention(
        &self,
        shape: &Shape,
        seen: u32,
        mask: Param,
        shift: i32,
    ) -> Vec<Param> {
        let zero_point = if shift > 0 { 0 } else { -3 };
        let scaling = self.by(&[Int(1 << 20), Int(zero_point), Int(shift)], &[Real(0.7)]);
        let sizes = [shape.heads, shape.key_heads, shape.head_dim, shape.slots];
        let window = sizes.map(|size| Int(size as i32));
        [&scaling[..], &window, &[Int(seen as i32), mask, Int(0)]].concat()
    }

    pub(super) fn embedding(&self, tokens: usize, c: usize) -> Vec<Param> {
        let (table, count) = (tokens * c, Int(tokens as i32));
        let scales = Words(tokens, 1 << 28);
        let int = [Bytes(table), scales, count, Int(1), Int(-100), Int(100)];
        self.by(&int, &[Bytes(2 * table), count])
    }

    pub(super) fn additive(&self, c: usize) -> Vec<Param> {
        let scale = [Int(1 << 30), Int(3)];
        let int = [&[Bytes(2 * c), Int(100_000)], &scale[..], &scale, &[Int(1)]];
        self.by(&int.concat(), &[Words(c, QUARTER), Int(1)])
    }

    pub(super) fn top_k(&self, tokens: usize, c: usize) -> Vec<Param> {
        let count = Int(tokens as i32);
        let rest = self.by(&[count, Int(1 << 28)], &[count]);
        [self.matrix(tokens, c), rest].concat()
    }

    pub(super) fn add_constant(&self, rows: usize, c: usize) -> Vec<Param> {
        let positions = Int(rows as i32);
        let constant = Words(rows * c, 5 << 16);
        let int = [constant, positions, Int(1 << 12), Int(-128), Int(127)];
        let constant = Bytes(2 * rows * c);
        self.by(&int, &[constant, positions, Real(-8.0), Real(8.0)])
    }

    pub(super) fn layer_norm(&self, c: usize) -> Vec<Param> {
        let (scales, bias) = (Words(c, 1 << 20), Words(c, -(3 << 16)));
        let [epsilon, centre] = [[Int(100), Int(0)], [Int(1), Int(-128)]];
        let int = [&[scales, Int(12), bias], &epsilon[..], &centre, &[Int(127)]];
        let quarters = Words(c, QUARTER);
        self.by(&int.concat(), &[quarters, quarters, Real(1e-5), Int(1)])
    }

    /// A function of int8 or of half precision.
    pub(super) fn lut(&self) -> Vec<Param> {
        let parabolas = [Words(5 * 3, QUARTER), Int(2), Int(3), Real(2.0)];
        self.by(&[Bytes(256)], &parabolas)
    }

    /// A function of int16 or of half precision.
    pub(super) fn wide_lut(&self) -> Vec<Param> {
        let int = [Words(9, 0x1234_8765), Int(12)];
        if self.half { self.lut() } else { int.to_vec() }
    }

    /// Rows turned by up to five positions, in neighbours or in halves.
    pub(super) fn rotary(&self, c: usize, interleaved: i32) -> Vec<Param> {
        let turns = [5, c as i32, 2, interleaved].map(Int);
        [&[Bytes(4 * 5 * 2)], &self.rescale()[..], &turns].concat()
    }
}
