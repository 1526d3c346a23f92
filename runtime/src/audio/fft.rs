//! The fixed-point Fourier transform of a real frame. There is no maintained `no_std` integer FFT crate, and a
//! float one would not give the same bytes on every target.
//!
//! 256 complex points, radix 4, decimation in frequency, 32-bit values with Q31 twiddles. Every stage divides by 4,
//! so nothing grows: with inputs below 2^28 no sum of four reaches 2^31. Results stand in digit-reversed order.

use super::FRAME_LEN;
use super::tables::SINE_Q31;

const POINTS: usize = FRAME_LEN / 2;
const MASK: usize = POINTS - 1;

/// Complex values `[re, im]`; sample pairs before the transform, the packed spectrum after it.
pub(super) type Spectrum = [[i32; 2]; POINTS];

/// Transforms in place; result `k` is at [`position`]`(k)`, divided by 256.
pub(super) fn transform(z: &mut Spectrum) {
    let mut quarter = POINTS / 4;
    let mut turn = FRAME_LEN / POINTS;
    while quarter > 0 {
        for j in 0..quarter {
            let twiddles = [
                twiddle(j * turn),
                twiddle(2 * j * turn),
                twiddle(3 * j * turn),
            ];
            let mut first = j;
            while first < POINTS {
                butterfly(
                    z,
                    [
                        first,
                        first + quarter,
                        first + 2 * quarter,
                        first + 3 * quarter,
                    ],
                    &twiddles,
                );
                first += 4 * quarter;
            }
        }
        quarter /= 4;
        turn *= 4;
    }
}

/// Where [`transform`] leaves result `k`: the base-4 digits of `k` in reverse.
pub(super) fn position(k: usize) -> usize {
    let bits = (k as u8).reverse_bits();
    (((bits & 0x55) << 1) | ((bits >> 1) & 0x55)) as usize
}

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

#[inline(always)]
fn butterfly(z: &mut Spectrum, at: [usize; 4], twiddles: &[[i32; 2]; 3]) {
    let [a, b, c, d] = at.map(|i| z[i & MASK]);
    let add = |x: [i32; 2], y: [i32; 2]| [x[0].wrapping_add(y[0]), x[1].wrapping_add(y[1])];
    let sub = |x: [i32; 2], y: [i32; 2]| [x[0].wrapping_sub(y[0]), x[1].wrapping_sub(y[1])];
    let halve = |x: [i32; 2]| [x[0] >> 1, x[1] >> 1];
    let (sum_ac, diff_ac) = (add(a, c), sub(a, c));
    let (sum_bd, diff_bd) = (add(b, d), sub(b, d));
    let turned = [diff_bd[1], diff_bd[0].wrapping_neg()]; // -i (b - d)
    let results = [
        halve(halve(add(sum_ac, sum_bd))),
        half_product(halve(add(diff_ac, turned)), twiddles[0]),
        half_product(halve(sub(sum_ac, sum_bd)), twiddles[1]),
        half_product(halve(sub(diff_ac, turned)), twiddles[2]),
    ];
    for (i, result) in at.into_iter().zip(results) {
        z[i & MASK] = result;
    }
}
