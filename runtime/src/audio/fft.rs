//! The fixed-point Fourier transform of a real frame. There is no maintained `no_std` integer FFT crate, and a
//! float one would not give the same bytes on every target.
//!
//! 256 complex points, radix 4, decimation in frequency, 32-bit values with Q31 twiddles. Every stage divides by 4,
//! so nothing grows: with inputs below 2^28 no sum of four reaches 2^31. Results are in digit-reversed order.

use super::FRAME_LEN;
use super::tables::SINE_Q31;

const POINTS: usize = FRAME_LEN / 2;

/// Complex values `[re, im]`; sample pairs before the transform, the packed spectrum after it.
pub(super) type Spectrum = [[i32; 2]; POINTS];

/// Transforms in place; result `k` is at [`position`]`(k)`, divided by 256.
pub(super) fn transform(z: &mut Spectrum) {
    stage::<64, 256>(z);
    stage::<16, 64>(z);
    stage::<4, 16>(z);
    stage::<1, 4>(z);
}

/// One stage: groups of `SPAN = 4 * QUARTER` points. Compiled for each size, so that places are known offsets.
fn stage<const QUARTER: usize, const SPAN: usize>(z: &mut Spectrum) {
    let (groups, _) = z.as_chunks_mut();
    for group in groups.iter_mut() {
        butterfly::<QUARTER, SPAN>(group, 0, |x, _| half(x));
    }
    let turn = FRAME_LEN / SPAN;
    for j in 1..QUARTER {
        let twiddles = [1, 2, 3].map(|i| twiddle(i * j * turn));
        for group in groups.iter_mut() {
            butterfly::<QUARTER, SPAN>(group, j, |x, i| half_product(x, twiddles[i]));
        }
    }
}

/// Where [`transform`] leaves result `k`: the base-4 digits of `k` in reverse.
pub(super) fn position(k: usize) -> usize {
    POSITIONS[k % POINTS].into()
}

/// A table, since every bin is looked for twice.
static POSITIONS: [u8; POINTS] = {
    let mut positions = [0; POINTS];
    let mut k = 0;
    while k < POINTS {
        let bits = (k as u8).reverse_bits();
        positions[k] = ((bits & 0x55) << 1) | ((bits >> 1) & 0x55);
        k += 1;
    }
    positions
};

/// `exp(-2 pi i k / 512)` in Q31.
pub(super) fn twiddle(k: usize) -> [i32; 2] {
    let at = |k: usize| SINE_Q31[k % FRAME_LEN];
    [at(k + FRAME_LEN / 4), -at(k)]
}

/// `a * b / 2` for `b` in Q31, truncated.
#[inline(always)]
pub(super) fn half_product(a: [i32; 2], b: [i32; 2]) -> [i32; 2] {
    let wide = |x: i32, y: i32| i64::from(x) * i64::from(y);
    let re = wide(a[0], b[0]) + wide(a[1], b[1].wrapping_neg());
    let im = wide(a[0], b[1]) + wide(a[1], b[0]);
    [(re >> 32) as i32, (im >> 32) as i32]
}

/// `x / 2` as [`half_product`] gives it for a twiddle of 1.
#[inline(always)]
fn half(x: [i32; 2]) -> [i32; 2] {
    x.map(|v| ((i64::from(v) * i64::from(i32::MAX)) >> 32) as i32)
}

/// The butterfly of points `j`, `j + QUARTER`, ...; `turned` multiplies result 1 to 3 by half its twiddle.
#[inline(always)]
fn butterfly<const QUARTER: usize, const SPAN: usize>(
    z: &mut [[i32; 2]; SPAN],
    j: usize,
    turned: impl Fn([i32; 2], usize) -> [i32; 2],
) {
    let at = [j, j + QUARTER, j + 2 * QUARTER, j + 3 * QUARTER].map(|i| i & (SPAN - 1));
    let [a, b, c, d] = at.map(|i| z[i]);
    let add = |x: [i32; 2], y: [i32; 2]| [x[0].wrapping_add(y[0]), x[1].wrapping_add(y[1])];
    let sub = |x: [i32; 2], y: [i32; 2]| [x[0].wrapping_sub(y[0]), x[1].wrapping_sub(y[1])];
    let halve = |x: [i32; 2]| [x[0] >> 1, x[1] >> 1];
    let (sum_ac, diff_ac) = (add(a, c), sub(a, c));
    let (sum_bd, diff_bd) = (add(b, d), sub(b, d));
    let rotated = [diff_bd[1], diff_bd[0].wrapping_neg()]; // -i (b - d)
    z[at[0]] = halve(halve(add(sum_ac, sum_bd)));
    z[at[1]] = turned(halve(add(diff_ac, rotated)), 0);
    z[at[2]] = turned(halve(sub(sum_ac, sum_bd)), 1);
    z[at[3]] = turned(halve(sub(diff_ac, rotated)), 2);
}
