//! Hyperbolic tangent and sigmoid of fixed-point numbers, from one table.

use super::tables::TANH_Q15;

/// `tanh(x)` in Q15 for `x` in Q16: 1/32 steps on [-8, 8] with linear interpolation; error below 5 steps of 2^-15.
#[inline]
pub fn tanh_q15(x_q16: i32) -> i32 {
    const LIMIT: i32 = 8 << 16;
    let x = x_q16.clamp(-LIMIT, LIMIT - 1) + LIMIT;
    let at = ((x >> 11) & 511) as usize;
    let (low, high) = (i32::from(TANH_Q15[at]), i32::from(TANH_Q15[at + 1]));
    low + (((high - low) * (x & 0x7ff) + 0x400) >> 11)
}

/// `1 / (1 + exp(-x)) = (1 + tanh(x / 2)) / 2` in Q15, at most 32767.
#[inline]
pub fn sigmoid_q15(x_q16: i32) -> i32 {
    ((32768 + tanh_q15(x_q16 >> 1)) >> 1).min(32767)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_are_close_everywhere() {
        for x_q16 in (-(20 << 16)..(20 << 16))
            .step_by(37)
            .chain([i32::MIN, i32::MAX])
        {
            let x = f64::from(x_q16) / 65536.0;
            let tanh = (f64::from(tanh_q15(x_q16)) - 32768.0 * x.tanh()).abs();
            let sigmoid = (f64::from(sigmoid_q15(x_q16)) - 32768.0 / (1.0 + (-x).exp())).abs();
            assert!(
                tanh < 5.0 && sigmoid < 3.0,
                "x {x}: tanh off by {tanh}, sigmoid by {sigmoid} of 32768"
            );
        }
    }
}
