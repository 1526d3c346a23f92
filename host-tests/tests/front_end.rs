//! The integer front end against the same chain in f64, written independently: window and filters from their
//! formulas, `rustfft` for the transform. Contract: at most one step apart on 99.9 % of the features.

use attn_runtime::audio::{
    FRAME_LEN, Features, FrontEnd, MEL_BANDS, SAMPLE_RATE, Scratch, log_mel,
};
use rustfft::FftPlanner;
use rustfft::num_complex::Complex;
use std::f64::consts::TAU;

/// Features before rounding, in steps.
fn reference(frame: &[i16]) -> [f64; MEL_BANDS] {
    let mut bins: Vec<Complex<f64>> = frame
        .iter()
        .enumerate()
        .map(|(n, &x)| {
            let hann = 0.5 - 0.5 * (TAU * n as f64 / FRAME_LEN as f64).cos();
            Complex::new(f64::from(x) * hann, 0.0)
        })
        .collect();
    FftPlanner::new()
        .plan_fft_forward(FRAME_LEN)
        .process(&mut bins);
    let mel = |hz: f64| 2595.0 * (1.0 + hz / 700.0).log10();
    let hz = |mel: f64| 700.0 * (10f64.powf(mel / 2595.0) - 1.0);
    let (low, high) = (mel(60.0), mel(7600.0));
    let corner = |m: usize| hz(low + (high - low) * m as f64 / (MEL_BANDS + 1) as f64);
    core::array::from_fn(|band| {
        let (from, peak, to) = (corner(band), corner(band + 1), corner(band + 2));
        let power: f64 = (0..=FRAME_LEN / 2)
            .map(|bin| {
                let f = bin as f64 * f64::from(SAMPLE_RATE) / FRAME_LEN as f64;
                let weight = ((f - from) / (peak - from))
                    .min((to - f) / (to - peak))
                    .max(0.0);
                weight * bins[bin].norm_sqr()
            })
            .sum();
        10.0 * ((power + 1.0).log2() - 25.0)
    })
}

fn quantized(steps: f64) -> i32 {
    steps.round().clamp(-128.0, 127.0) as i32
}

/// How far features lie from the reference.
#[derive(Default)]
struct Differences {
    features: usize,
    one: usize,
    more: usize,
    worst: i32,
}

impl Differences {
    fn add(&mut self, frame: &[i16; FRAME_LEN]) {
        let mut features = [0; MEL_BANDS];
        log_mel(frame, &mut Scratch::new(), &mut features);
        for (&found, expected) in features.iter().zip(reference(frame)) {
            let apart = (i32::from(found) - quantized(expected)).abs();
            self.features += 1;
            self.one += usize::from(apart == 1);
            self.more += usize::from(apart > 1);
            self.worst = self.worst.max(apart);
        }
    }

    fn add_signal(&mut self, pcm: &[i16]) {
        for start in (0..pcm.len() - FRAME_LEN).step_by(320) {
            self.add(pcm[start..start + FRAME_LEN].try_into().unwrap());
        }
    }

    /// The contract.
    fn check(&self, what: &str) {
        let Self {
            features,
            one,
            more,
            worst,
        } = self;
        println!(
            "{what}: of {features} features {one} are one step off, {more} more; the worst {worst}"
        );
        assert!(
            *features > 0 && more * 1000 <= *features,
            "{what}: {more} of {features} features are off by more than 1"
        );
    }
}

/// Uniform noise in [-1, 1].
fn noise(seed: u64) -> impl FnMut() -> f64 {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }
}

const SECOND: usize = SAMPLE_RATE as usize;

/// A second of `signal(t)` in [-1, 1], louder values clipped.
fn pcm(level: f64, mut signal: impl FnMut(f64) -> f64) -> Vec<i16> {
    (0..SECOND)
        .map(|n| {
            (level * signal(n as f64 / SECOND as f64))
                .round()
                .clamp(-32768.0, 32767.0) as i16
        })
        .collect()
}

/// From the loudest to less than one step of the sound card.
const LEVELS: [f64; 9] = [
    32767.0, 10_000.0, 3000.0, 1000.0, 300.0, 60.0, 10.0, 2.0, 0.6,
];

/// Room noise: tones alone leave most bands with nothing but rounding of the samples.
const ROOM: f64 = 1e-3;

#[test]
fn noise_at_all_levels() {
    let mut all = Differences::default();
    for (seed, level) in (1..).zip(LEVELS) {
        let mut white = noise(seed);
        all.add_signal(&pcm(level, |_| white()));
        let (mut white, mut brown) = (noise(seed + 100), 0.0);
        all.add_signal(&pcm(level, |_| {
            brown = 0.99 * brown + 0.1 * white();
            brown
        }));
    }
    all.check("noise");
}

#[test]
fn tones_and_chirps_in_a_room() {
    let mut all = Differences::default();
    for (seed, level) in (1..).zip(LEVELS) {
        let mut room = noise(seed);
        for hz in [50.0, 62.5, 440.0, 997.0, 3141.59, 7999.0] {
            all.add_signal(&pcm(level, |t| (TAU * hz * t).sin() + ROOM * room()));
        }
        all.add_signal(&pcm(level, |t| {
            (TAU * (100.0 + 3700.0 * t) * t).sin() + ROOM * room()
        }));
    }
    all.check("tones and chirps");
}

/// Pulses of a voice through two resonances, with pauses.
#[test]
fn voices_at_all_levels() {
    let mut all = Differences::default();
    for (seed, level) in (1..).zip(LEVELS) {
        let (mut breath, mut phase) = (noise(seed), 0.0);
        let mut formants = [[0.0; 2]; 2];
        all.add_signal(&pcm(level, |t| {
            phase += (110.0 + 40.0 * (TAU * 3.0 * t).sin()) / SECOND as f64;
            let pulse = if phase >= 1.0 { 1.0 } else { 0.0 };
            phase -= pulse;
            let speaking = (TAU * 1.5 * t).sin().max(0.0);
            let mut x = speaking * (pulse + 0.02 * breath());
            for (y, hz) in formants
                .iter_mut()
                .zip([500.0 + 300.0 * t, 1500.0 - 400.0 * t])
            {
                let r: f64 = 0.98;
                let next = x + 2.0 * r * (TAU * hz / SECOND as f64).cos() * y[0] - r * r * y[1];
                *y = [next, y[0]];
                x = next * 0.1;
            }
            x + ROOM * breath()
        }));
    }
    all.check("voices");
}

#[test]
fn clipped_and_sparse_signals() {
    let mut all = Differences::default();
    for (seed, overdrive) in (1..).zip([2.0, 5.0, 40.0]) {
        let mut room = noise(seed);
        all.add_signal(&pcm(32767.0 * overdrive, |t| {
            (TAU * 313.0 * t).sin() + ROOM * room()
        }));
        all.add_signal(&pcm(32767.0 * overdrive, |_| room()));
        all.add_signal(&pcm(20_000.0, |_| if room() > 0.99 { 1.0 } else { 0.0 }));
    }
    all.check("clipped and sparse");
}

#[test]
fn extremes() {
    let features = |frame: [i16; FRAME_LEN]| {
        let mut features: Features = [0; MEL_BANDS];
        log_mel(&frame, &mut Scratch::new(), &mut features);
        features
    };
    assert_eq!(features([0; FRAME_LEN]), [i8::MIN; MEL_BANDS]);
    let mut all = Differences::default();
    for period in [2, 4, 16, 37, 100, 512] {
        let square = |n: usize| {
            if (n / (period / 2)).is_multiple_of(2) {
                i16::MAX
            } else {
                i16::MIN
            }
        };
        let frame = core::array::from_fn(square);
        if period >= 16 {
            assert_eq!(
                features(frame).iter().max(),
                Some(&i8::MAX),
                "a square wave of {period} samples"
            );
        }
        all.add(&frame);
    }
    for constant in [i16::MIN, -1, 1, i16::MAX] {
        all.add(&[constant; FRAME_LEN]);
    }
    for at in [0, 1, 255, 256, 511] {
        all.add(&core::array::from_fn(
            |n| if n == at { i16::MIN } else { 0 },
        ));
    }
    assert!(all.worst <= 1, "off by {}", all.worst);
}

#[test]
fn a_stream_gives_the_features_of_its_frames() {
    let mut white = noise(7);
    let pcm = pcm(8000.0, |_| white());
    let mut frames = 0;
    FrontEnd::new(320).unwrap().push(&pcm, |features| {
        let start = 320 * frames;
        let expected = reference(&pcm[start..start + FRAME_LEN]).map(quantized);
        let apart = |(&a, b): (&i8, i32)| (i32::from(a) - b).abs();
        assert!(
            features.iter().zip(expected).map(apart).max() <= Some(1),
            "frame {frames}"
        );
        frames += 1;
    });
    assert_eq!(frames, 1 + (SECOND - FRAME_LEN) / 320);
}
