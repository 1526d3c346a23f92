//! The audio front end: 16 kHz PCM to log-mel features, in integers, the same bytes on every target.
//!
//! Here are framing and the chain `window → FFT → power → mel → log → int8`; the transform itself is in `fft`,
//! the last three steps are in `mel`. Keyword decisions are made in [`crate::kws`].

mod fft;
mod mel;
mod tables;

use crate::kernels::shift::drop_first;
use core::fmt;
use tables::WINDOW_Q15;
pub use tables::{FRAME_LEN, MEL_BANDS, SAMPLE_RATE};

/// Real value of one step of a feature, as the neural network sees it; its zero point is 0.
pub const FEATURE_SCALE: f32 = 1.0 / 32.0;
/// Steps of a feature per doubling of the power in its band.
pub const FEATURE_STEPS_PER_OCTAVE: i32 = 10;
/// Base-2 logarithm of the band power (in squared PCM units, unnormalised transform) that gives feature 0.
pub const FEATURE_OFFSET_OCTAVES: i32 = 25;

/// Features of one frame: `clamp(round(10 * (log2(power + 1) - 25)))` for each band.
pub type Features = [i8; MEL_BANDS];

/// Why a front end cannot be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum AudioError {
    /// The hop is 0 or longer than a frame.
    BadHop {
        /// Hop asked for, in samples.
        hop: usize,
    },
}

impl fmt::Display for AudioError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadHop { hop } => {
                write!(f, "a hop of {hop} samples: it must be 1 to {FRAME_LEN}")
            }
        }
    }
}

impl core::error::Error for AudioError {}

/// Working memory of [`log_mel`]: 2 KiB.
#[derive(Clone, Debug)]
pub struct Scratch(fft::Spectrum);

impl Scratch {
    /// Zeroed memory.
    pub const fn new() -> Self {
        Self([[0; 2]; FRAME_LEN / 2])
    }
}

impl Default for Scratch {
    fn default() -> Self {
        Self::new()
    }
}

/// Cuts a stream of samples into overlapping frames and computes their features.
#[derive(Clone, Debug)]
pub struct FrontEnd {
    frame: [i16; FRAME_LEN],
    filled: usize,
    hop: usize,
    scratch: Scratch,
}

impl FrontEnd {
    /// A front end whose frames start `hop` samples apart (320 samples are 20 ms).
    ///
    /// # Errors
    /// [`AudioError::BadHop`] unless `hop` is 1 to [`FRAME_LEN`].
    pub fn new(hop: usize) -> Result<Self, AudioError> {
        if !(1..=FRAME_LEN).contains(&hop) {
            return Err(AudioError::BadHop { hop });
        }
        Ok(Self {
            frame: [0; FRAME_LEN],
            filled: 0,
            hop,
            scratch: Scratch::new(),
        })
    }

    /// Forgets all samples.
    pub fn reset(&mut self) {
        self.filled = 0;
    }

    /// Samples that complete the next frame; never 0.
    pub fn samples_to_next_frame(&self) -> usize {
        FRAME_LEN.saturating_sub(self.filled)
    }

    /// Takes any number of samples and hands over the features of every frame that they complete.
    pub fn push(&mut self, mut pcm: &[i16], mut on_frame: impl FnMut(&Features)) {
        while let Some((features, rest)) = self.push_frame(pcm) {
            on_frame(&features);
            pcm = rest;
        }
    }

    /// Takes samples up to the end of the next frame: gives its features and the samples left over, or `None`
    /// when all of `pcm` was taken and the frame is still incomplete.
    pub fn push_frame<'p>(&mut self, pcm: &'p [i16]) -> Option<(Features, &'p [i16])> {
        let free = self.frame.get_mut(self.filled..)?;
        let taken = free.len().min(pcm.len());
        let (new, rest) = pcm.split_at_checked(taken)?;
        free.get_mut(..taken)?.copy_from_slice(new);
        self.filled += taken;
        if self.filled < FRAME_LEN {
            return None;
        }
        let mut features = [0; MEL_BANDS];
        log_mel(&self.frame, &mut self.scratch, &mut features);
        drop_first(&mut self.frame, self.hop.min(FRAME_LEN));
        self.filled = FRAME_LEN - self.hop.min(FRAME_LEN);
        Some((features, rest))
    }
}

/// Features of one frame. Differs by at most one step from the same chain in f64 on 99.9 % of features
/// (`host-tests/tests/front_end.rs`).
// Inlined into an application that is built for size, its loops would be, too.
#[inline(never)]
pub fn log_mel(frame: &[i16; FRAME_LEN], scratch: &mut Scratch, features: &mut Features) {
    let spectrum = &mut scratch.0;
    let Some(exponent) = window(frame, spectrum) else {
        features.fill(i8::MIN);
        return;
    };
    fft::transform(spectrum);
    mel::features(spectrum, exponent, features);
}

/// Windows the frame and scales it by a power of two so that its largest value has 27 or 28 bits.
/// Returns that power (the values are `2^(15 + exponent)` times the windowed samples), or `None` for silence.
/// Sample pairs become complex numbers, the input of a real transform by a complex one of half the length.
fn window(frame: &[i16; FRAME_LEN], spectrum: &mut fft::Spectrum) -> Option<i32> {
    let (rising, _) = WINDOW_Q15.as_chunks();
    let (falling, _) = WINDOW_Q15[1..].as_chunks();
    let (samples, _) = frame.as_chunks();
    let (early, late) = samples.split_at_checked(samples.len() / 2)?;
    let (first, second) = spectrum.split_at_mut_checked(early.len())?;
    let falling = falling.iter().rev().map(|&[a, b]| [b, a]);
    let magnitudes = weigh(first, early, rising.iter().copied()) | weigh(second, late, falling);
    if magnitudes == 0 {
        return None;
    }
    let exponent = magnitudes.leading_zeros() as i32 - 4;
    let (fours, _) = spectrum.as_flattened_mut().as_chunks_mut::<4>();
    if exponent >= 0 {
        let scale = |four: &mut [i32; 4]| *four = four.map(|value| value << exponent);
        fours.iter_mut().for_each(scale);
    } else {
        let scale = |four: &mut [i32; 4]| *four = four.map(|value| value >> -exponent);
        fours.iter_mut().for_each(scale);
    }
    Some(exponent)
}

/// Writes samples times weights; the bits of all magnitudes.
#[inline(always)]
fn weigh(
    into: &mut [[i32; 2]],
    samples: &[[i16; 2]],
    weights: impl Iterator<Item = [u16; 2]>,
) -> u32 {
    let mut magnitudes = 0;
    for ((pair, &[a, b]), [v, w]) in into.iter_mut().zip(samples).zip(weights) {
        *pair = [i32::from(a) * i32::from(v), i32::from(b) * i32::from(w)];
        magnitudes |= pair[0].unsigned_abs() | pair[1].unsigned_abs();
    }
    magnitudes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(len: usize) -> impl Iterator<Item = i16> {
        (0..len as u32).scan(1u32, |state, _| {
            *state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            Some((*state >> 18) as i16 - 8192)
        })
    }

    #[test]
    fn the_size_of_the_pieces_does_not_change_the_features() {
        let mut pcm = [0i16; 4000];
        pcm.iter_mut()
            .zip(noise(4000))
            .for_each(|(slot, x)| *slot = x);
        let collect = |piece: usize| {
            let mut front_end = FrontEnd::new(320).unwrap();
            let mut all = [[0i8; MEL_BANDS]; 11];
            let mut count = 0;
            for pcm in pcm.chunks(piece) {
                front_end.push(pcm, |features| {
                    all[count] = *features;
                    count += 1;
                });
            }
            assert_eq!(count, 11);
            all
        };
        let whole = collect(4000);
        for piece in [1, 7, 320, 512, 513] {
            assert_eq!(collect(piece), whole);
        }
    }

    #[test]
    fn silence_has_the_lowest_features_and_full_scale_does_not_overflow() {
        let mut scratch = Scratch::new();
        let mut features = [0; MEL_BANDS];
        log_mel(&[0; FRAME_LEN], &mut scratch, &mut features);
        assert_eq!(features, [i8::MIN; MEL_BANDS]);
        let mut square = [i16::MIN; FRAME_LEN];
        square
            .chunks_mut(16)
            .step_by(2)
            .for_each(|half| half.fill(i16::MAX));
        log_mel(&square, &mut scratch, &mut features);
        assert!(features.contains(&i8::MAX));
    }

    #[test]
    fn a_hop_outside_a_frame_is_refused() {
        assert_eq!(FrontEnd::new(0).unwrap_err(), AudioError::BadHop { hop: 0 });
        assert_eq!(
            FrontEnd::new(513).unwrap_err(),
            AudioError::BadHop { hop: 513 }
        );
    }
}
