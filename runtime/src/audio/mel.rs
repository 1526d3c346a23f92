//! From the packed spectrum to features: power per bin, power per mel band, logarithm, int8.

use super::fft::{Spectrum, half_product, position, twiddle};
use super::tables::{LOG2_Q16, MEL_RISING_Q15, MEL_SEGMENTS};
use super::{FEATURE_OFFSET_OCTAVES, FEATURE_STEPS_PER_OCTAVE, FRAME_LEN, Features};

const POINTS: usize = FRAME_LEN / 2;
const MASK: usize = POINTS - 1;

/// Features from the transform of a windowed frame that was scaled by `2^(15 + exponent)`.
pub(super) fn features(spectrum: &mut Spectrum, exponent: i32, features: &mut Features) {
    // The transform divided by 256 and `power_of_bins` halves: |X'|^2 = |X|^2 * 2^(2 * (15 + exponent - 9)).
    power_of_bins(spectrum, (12 + 2 * exponent).clamp(0, 63) as u32);
    let mut weights = MEL_RISING_Q15.as_slice();
    let mut rising_before = 0u64;
    for (segment, ends) in MEL_SEGMENTS.windows(2).enumerate() {
        let &[start, end] = ends else { continue };
        let (mut rising, mut total) = (0u64, 0u64);
        let (now, later) = weights
            .split_at_checked(usize::from(end.wrapping_sub(start)))
            .unwrap_or_default();
        weights = later;
        for (&weight, bin) in now.iter().zip(usize::from(start)..) {
            let power = load(spectrum, bin);
            rising += power * u64::from(weight);
            total += power;
        }
        // The segment is the falling edge of the band before it (weight 1 - w) and the rising edge of its own.
        // By Parseval all power together stays below 2^47, so Q15 sums stay below 2^62.
        if let Some(band) = segment
            .checked_sub(1)
            .and_then(|band| features.get_mut(band))
        {
            *band = feature(rising_before + ((total << 15) - rising));
        }
        rising_before = rising;
    }
}

/// Unpacks the spectrum of the real frame, `X[k] = E[k] + O[k]` with `E` and `O` the transforms of the even and
/// odd samples, and leaves `|X[k]|^2 >> shift` for `k` in 1..256 where `Z[k]` stood.
fn power_of_bins(spectrum: &mut Spectrum, shift: u32) {
    for k in 1..=POINTS / 2 {
        let (low, high) = (position(k) & MASK, position(POINTS - k) & MASK);
        let (a, b) = (spectrum[low], spectrum[high]);
        let even = [(a[0] + b[0]) >> 2, (a[1] - b[1]) >> 2];
        // -i (Z[k] - conj Z[256 - k]) / 2, turned by the twiddle, which halves once more
        let odd = half_product([(a[1] + b[1]) >> 1, (b[0] - a[0]) >> 1], twiddle(k));
        store(
            spectrum,
            low,
            power([even[0] + odd[0], even[1] + odd[1]]) >> shift,
        );
        store(
            spectrum,
            high,
            power([even[0] - odd[0], even[1] - odd[1]]) >> shift,
        );
    }
}

fn power(x: [i32; 2]) -> u64 {
    let square = |v: i32| (i64::from(v) * i64::from(v)) as u64;
    square(x[0]) + square(x[1])
}

fn store(spectrum: &mut Spectrum, at: usize, power: u64) {
    spectrum[at & MASK] = [power as i32, (power >> 32) as i32];
}

fn load(spectrum: &Spectrum, bin: usize) -> u64 {
    let [low, high] = spectrum[position(bin) & MASK];
    (u64::from(high as u32) << 32) | u64::from(low as u32)
}

/// `round(steps * (log2(power + 1) - offset))`, saturated; `power` in Q15.
fn feature(power_q15: u64) -> i8 {
    let octaves_q16 = log2_q16(power_q15 + (1 << 15)) - (15 << 16);
    let steps_q16 = FEATURE_STEPS_PER_OCTAVE * (octaves_q16 - (FEATURE_OFFSET_OCTAVES << 16));
    ((steps_q16 + (1 << 15)) >> 16).clamp(i8::MIN.into(), i8::MAX.into()) as i8
}

/// Base-2 logarithm of `x > 0` in Q16: 32 intervals and linear interpolation, error below 0.0002.
fn log2_q16(x: u64) -> i32 {
    let exponent = 63 - x.leading_zeros().min(63);
    let mantissa = ((x << (63 - exponent)) >> 32) as u32; // 1.f in Q31
    let interval = ((mantissa >> 26) & 31) as usize;
    let fraction = (mantissa >> 10) & 0xffff; // Q16
    let (low, high) = (LOG2_Q16[interval], LOG2_Q16[interval + 1]);
    ((exponent << 16) + low + (((high - low) * fraction) >> 16)) as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_logarithm_is_close_everywhere() {
        for shift in 0..63 {
            for step in 0..1000u64 {
                let x = ((1000 + step) << shift.min(52)) / 1000 + step;
                let exact = (x as f64).log2();
                assert!(
                    (f64::from(log2_q16(x)) / 65536.0 - exact).abs() < 2.5e-4,
                    "log2({x})"
                );
            }
        }
    }
}
