//! Constants and tables of the audio front end: rates, window, FFT twiddles, mel weights, logarithm.

use crate::table;
use std::f64::consts::PI;

const FRAME_LEN: usize = 512;
const SAMPLE_RATE: f64 = 16_000.0;
const MEL_BANDS: usize = 40;
const MEL_LOW_HZ: f64 = 60.0;
const MEL_HIGH_HZ: f64 = 7600.0;

pub fn source() -> String {
    let constants = format!(
        "/// Samples per second that the front end takes.\npub const SAMPLE_RATE: u32 = {SAMPLE_RATE};\n\
         /// Samples per frame: 32 ms.\npub const FRAME_LEN: usize = {FRAME_LEN};\n\
         /// Mel bands, and so features per frame: triangles on the HTK mel scale from {MEL_LOW_HZ} Hz to {MEL_HIGH_HZ} Hz.\n\
         pub const MEL_BANDS: usize = {MEL_BANDS};\n"
    );
    [constants, window(), sine(), mel(), log2()].concat()
}

/// First half and middle of the periodic Hann window (it is symmetric), Q15.
fn window() -> String {
    let values = (0..=FRAME_LEN / 2).map(|n| {
        let w = 0.5 - 0.5 * libm::cos(2.0 * PI * n as f64 / FRAME_LEN as f64);
        libm::round(w * 32768.0) as i64
    });
    table(
        "Hann window, Q15: sample `n` and sample `512 - n`.",
        "WINDOW_Q15",
        "u16",
        values.collect::<Vec<_>>().into_iter(),
    )
}

/// One full turn of the sine.
fn sine() -> String {
    let values = (0..FRAME_LEN).map(|k| {
        let s =
            libm::round(libm::sin(2.0 * PI * k as f64 / FRAME_LEN as f64) * 2147483648.0) as i64;
        s.clamp(-2147483647, 2147483647)
    });
    table("`sin(2 pi k / 512)`, Q31.", "SINE_Q31", "i32", values)
}

fn mel_of(hz: f64) -> f64 {
    2595.0 * libm::log10(1.0 + hz / 700.0)
}

/// The triangles meet at `MEL_BANDS + 2` points. Between two of them a bin counts for the rising edge of one band
/// with weight `w` and for the falling edge of the band before with `1 - w`: one weight per bin says all.
fn mel() -> String {
    let (low, high) = (mel_of(MEL_LOW_HZ), mel_of(MEL_HIGH_HZ));
    let point = |m: usize| low + (high - low) * m as f64 / (MEL_BANDS + 1) as f64;
    let mut starts = Vec::new();
    let mut weights = Vec::new();
    for segment in 0..=MEL_BANDS {
        starts.push(weights.len() as i64 + first_bin(point(0)) as i64);
        for bin in first_bin(point(segment))..first_bin(point(segment + 1)) {
            let hz = bin as f64 * SAMPLE_RATE / FRAME_LEN as f64;
            // Triangles are linear in Hz between their corner frequencies.
            let (from, to) = (hz_of(point(segment)), hz_of(point(segment + 1)));
            weights.push(libm::round((hz - from) / (to - from) * 32768.0) as i64);
        }
    }
    starts.push(weights.len() as i64 + first_bin(point(0)) as i64);
    [
        table(
            "First FFT bin of each segment between mel points, and the end.",
            "MEL_SEGMENTS",
            "u16",
            starts.into_iter(),
        ),
        table(
            "Weight of each bin from the first segment on, on the rising edge, Q15.",
            "MEL_RISING_Q15",
            "u16",
            weights.into_iter(),
        ),
    ]
    .concat()
}

fn hz_of(mel: f64) -> f64 {
    700.0 * (libm::pow(10.0, mel / 2595.0) - 1.0)
}

fn first_bin(mel: f64) -> usize {
    libm::ceil(hz_of(mel) * FRAME_LEN as f64 / SAMPLE_RATE) as usize
}

fn log2() -> String {
    let values = (0..=32).map(|i| libm::round(libm::log2(1.0 + i as f64 / 32.0) * 65536.0) as i64);
    table(
        "`log2(1 + i / 32)`, Q16.",
        "LOG2_Q16",
        "u32",
        values.collect::<Vec<_>>().into_iter(),
    )
}
