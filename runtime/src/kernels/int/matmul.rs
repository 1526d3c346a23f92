//! Matrix product of two activations: columns of the second are packed, a strip at a time, for the inner loop on int16.

use super::dot::{LANES, pairs_len, to_pairs};
use super::elementwise::Rescale;
use super::requantize::{Activation, requantize};
use crate::kernels::arch::int::WideBlocks;
use core::slice::ChunksExact;

/// Most columns of a strip.
const STRIP: usize = 4 * LANES;

/// int16 scratch of [`matmul`]: a row of `a: [m, k]` and a strip of `b: [k, n]`.
pub const fn scratch_len(k: usize, n: usize) -> usize {
    let columns = if n < STRIP { n } else { STRIP };
    pairs_len(k).saturating_mul(1 + columns.next_multiple_of(LANES))
}

/// `a: [m, k]` times `b: [k, n]`, minus their zero points (`by` has that of `b`), gives `y: [m, n]`. Sums of 64 bits are shifted right by
/// `shift`, at most 31, to 32 bits. `scratch` has [`scratch_len`] elements.
pub fn matmul<A: Activation, B: Activation, Y: Activation>(
    (a, a_zero_point): (&[A], i32),
    b: &[B],
    [k, n]: [usize; 2],
    shift: u32,
    by: &Rescale,
    scratch: &mut [i16],
    y: &mut [Y],
) {
    let Some((pairs, packed)) = scratch.split_at_mut_checked(pairs_len(k)) else {
        return;
    };
    let (k, n) = (k.max(1), n.max(1));
    for first in (0..n).step_by(STRIP) {
        let blocks = STRIP.min(n - first).div_ceil(LANES);
        let packed = packed.get_mut(..blocks * LANES * pairs.len());
        let packed = packed.unwrap_or_default();
        pack(b, n, first, by.input_zero_point, packed, pairs.len());
        let strip = Strip {
            weights: packed,
            first,
            n,
            shift,
        };
        strip.rows((a.chunks_exact(k), a_zero_point), by, pairs, y);
    }
}

/// Some columns of `b: [k, n]`, packed.
struct Strip<'w> {
    weights: &'w [i16],
    first: usize,
    n: usize,
    shift: u32,
}

impl Strip<'_> {
    /// Multiplies every row of `a` with the strip. Not inlined, because there are four of it and eight of [`matmul`].
    #[inline(never)]
    fn rows<A: Activation, Y: Activation>(
        &self,
        (mut a, zero_point): (ChunksExact<A>, i32),
        by: &Rescale,
        pairs: &mut [i16],
        y: &mut [Y],
    ) {
        let mut sums = [[0; LANES]; STRIP / LANES];
        for y in y.chunks_exact_mut(self.n.max(1)) {
            let Some(a) = a.next() else {
                return;
            };
            to_pairs(a, zero_point, pairs);
            let row = WideBlocks {
                pairs,
                weights: self.weights,
                shift: self.shift,
            };
            row.run(&mut sums);
            let y = y.get_mut(self.first..).unwrap_or_default();
            for (y, &sum) in y.iter_mut().zip(sums.as_flattened()) {
                let value = requantize(sum, by.multiplier, by.left_shift);
                let value = value.wrapping_add(by.zero_point);
                *y = Y::from_i32(value.max(by.min).min(by.max));
            }
        }
    }
}

/// Packs the columns of `b: [k, n]` from `first` on, as many as `packed` takes, in blocks of four with inputs in pair order.
#[inline(never)]
fn pack<B: Activation>(
    b: &[B],
    n: usize,
    first: usize,
    zero_point: i32,
    packed: &mut [i16],
    k: usize,
) {
    for (block, packed) in packed.chunks_exact_mut((LANES * k).max(1)).enumerate() {
        let mut rows = b.chunks_exact(n.max(1));
        let mut next = || {
            let row = rows.next()?.get(first + block * LANES..)?;
            Some(four(row, zero_point))
        };
        for group in packed.as_chunks_mut::<{ LANES * LANES }>().0 {
            let [p, q, r, s] = [(); LANES].map(|()| next().unwrap_or_default());
            let inputs = p.iter().zip(&q).zip(r.iter().zip(&s));
            let outputs = group.as_chunks_mut::<LANES>().0.iter_mut();
            for (output, ((&p, &q), (&r, &s))) in outputs.zip(inputs) {
                *output = [p, r, q, s];
            }
        }
    }
}

/// The first four of a row, minus the zero point; 0 after its end.
#[inline(always)]
fn four<B: Activation>(row: &[B], zero_point: i32) -> [i16; LANES] {
    let value = |x: B| x.into().wrapping_sub(zero_point) as i16;
    match row.first_chunk::<LANES>() {
        Some(row) => row.map(value),
        None => {
            let mut values = [0; LANES];
            let slots = values.iter_mut().zip(row);
            slots.for_each(|(slot, &x)| *slot = value(x));
            values
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::testing::rescale;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn products_are_rounded_once(
            a in proptest::collection::vec(any::<i16>(), 3 * 5),
            b in proptest::collection::vec(any::<i8>(), 5 * 11),
        ) {
            let by = Rescale { min: -32768, max: 32767, ..rescale(-7, 1 << 18, 0, 3) };
            let mut y = [0i16; 33];
            let mut scratch = [0; scratch_len(5, 11)];
            matmul((&a, 0), &b, [5, 11], 4, &by, &mut scratch, &mut y);
            for (i, y) in y.into_iter().enumerate() {
                let term = |k: usize| f64::from(a[i / 11 * 5 + k]) * (f64::from(b[k * 11 + i % 11]) + 7.0);
                let exact = ((0..5).map(term).sum::<f64>() / 16.0).floor() / 16384.0 + 3.0;
                let exact = exact.clamp(-32768.0, 32767.0);
                prop_assert!((f64::from(y) - exact).abs() <= 0.5, "{} for {}", y, exact);
            }
        }
    }
}
