//! Recordings for the demo: WAV files of any usual rate and number of channels become 16 kHz mono.

use attn_runtime::audio::SAMPLE_RATE;
use hound::{SampleFormat, WavReader, WavSpec, WavWriter};
use rubato::audioadapter_buffers::owned::InterleavedOwned;
use rubato::{Fft, FixedSync, Resampler};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Sampling rates that are converted.
pub const RATES: RangeInclusive<u32> = 8_000..=192_000;
/// Samples that the resampler takes at a time.
const CHUNK: usize = 1024;

/// Why a recording cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RecordingError {
    /// Not a WAV file, or a damaged one.
    #[error("{path}: {source}")]
    Wav {
        /// The file.
        path: PathBuf,
        /// The reader's error.
        source: hound::Error,
    },
    /// Samples are floating-point numbers or have fewer than 16 bits.
    #[error(
        "{path}: {kind} samples of {bits} bits: only 16, 24 and 32-bit integers are taken; convert it, for example \
         with `sox {path} -b 16 -e signed-integer OUT.wav`"
    )]
    WrongSamples {
        /// The file.
        path: PathBuf,
        /// `integer` or `floating-point`.
        kind: &'static str,
        /// Bits per sample.
        bits: u16,
    },
    /// A sampling rate that is not converted.
    #[error("{path}: {rate} samples per second: {} to {} are taken", RATES.start(), RATES.end())]
    WrongRate {
        /// The file.
        path: PathBuf,
        /// Samples per second.
        rate: u32,
    },
    /// No samples.
    #[error("{path}: the recording has no samples")]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// The resampler refused.
    #[error("{path}: cannot convert the sampling rate: {reason}")]
    Resample {
        /// The file.
        path: PathBuf,
        /// The resampler's error.
        reason: String,
    },
}

/// Adds the path to an error of the reader or writer.
fn wav_error(path: &Path) -> impl Fn(hound::Error) -> RecordingError + Copy {
    move |source| RecordingError::Wav {
        path: path.into(),
        source,
    }
}

/// Reads a WAV file as 16 kHz mono: channels are averaged, other rates are converted.
///
/// # Errors
/// [`RecordingError`].
pub fn read(path: &Path) -> Result<Vec<i16>, RecordingError> {
    let wav = wav_error(path);
    let mut reader = WavReader::open(path).map_err(wav)?;
    let spec = reader.spec();
    let bits = spec.bits_per_sample;
    if spec.sample_format == SampleFormat::Float || !matches!(bits, 16 | 24 | 32) {
        return Err(RecordingError::WrongSamples {
            path: path.into(),
            kind: match spec.sample_format {
                SampleFormat::Float => "floating-point",
                SampleFormat::Int => "integer",
            },
            bits,
        });
    }
    if !RATES.contains(&spec.sample_rate) {
        return Err(RecordingError::WrongRate {
            path: path.into(),
            rate: spec.sample_rate,
        });
    }
    let samples: Result<Vec<i32>, _> = reader.samples::<i32>().collect();
    let samples = samples.map_err(wav)?;
    let scale = f64::from(1u32 << (bits - 16));
    let channels = usize::from(spec.channels);
    let mono: Vec<f64> = samples
        .chunks_exact(channels)
        .map(|frame| frame.iter().map(|&x| f64::from(x)).sum::<f64>() / channels as f64 / scale)
        .collect();
    if mono.is_empty() {
        return Err(RecordingError::Empty { path: path.into() });
    }
    let resampled = if spec.sample_rate == SAMPLE_RATE {
        mono
    } else {
        resample(mono, spec.sample_rate).map_err(|reason| RecordingError::Resample {
            path: path.into(),
            reason,
        })?
    };
    Ok(resampled.into_iter().map(|x| x.round() as i16).collect())
}

fn resample(mono: Vec<f64>, rate: u32) -> Result<Vec<f64>, String> {
    let frames = mono.len();
    let input = InterleavedOwned::new_from(mono, 1, frames).map_err(|error| error.to_string())?;
    let [from, to] = [rate, SAMPLE_RATE].map(|rate| rate as usize);
    let resampler = Fft::<f64>::new(from, to, CHUNK, 1, FixedSync::Both);
    let mut resampler = resampler.map_err(|error| error.to_string())?;
    let output = resampler.process_all(&input, frames, None);
    let output = output.map_err(|error| error.to_string())?;
    let frames = rubato::audioadapter::Adapter::frames(&output);
    let mut samples = output.take_data();
    samples.truncate(frames);
    Ok(samples)
}

/// Writes 16 kHz mono samples as a WAV file.
///
/// # Errors
/// [`RecordingError::Wav`].
pub fn write(path: &Path, pcm: &[i16]) -> Result<(), RecordingError> {
    let wav = wav_error(path);
    let spec = WavSpec {
        channels: 1,
        sample_rate: SAMPLE_RATE,
        bits_per_sample: 16,
        sample_format: SampleFormat::Int,
    };
    let mut writer = WavWriter::create(path, spec).map_err(wav)?;
    for &sample in pcm {
        writer.write_sample(sample).map_err(wav)?;
    }
    writer.finalize().map_err(wav)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(channels: u16, sample_rate: u32, bits_per_sample: u16, float: bool) -> WavSpec {
        WavSpec {
            channels,
            sample_rate,
            bits_per_sample,
            sample_format: if float {
                SampleFormat::Float
            } else {
                SampleFormat::Int
            },
        }
    }

    /// A tone of 100 Hz and half of full scale, one second long, read back.
    fn round_trip(spec: WavSpec, seconds: f64) -> Result<Vec<i16>, RecordingError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tone.wav");
        let mut writer = WavWriter::create(&path, spec).unwrap();
        for i in 0..(f64::from(spec.sample_rate) * seconds) as u32 {
            let phase = std::f64::consts::TAU * 100.0 * f64::from(i) / f64::from(spec.sample_rate);
            let x = 0.5 * phase.sin();
            for _ in 0..spec.channels {
                match spec.sample_format {
                    SampleFormat::Float => writer.write_sample(x as f32).unwrap(),
                    SampleFormat::Int => {
                        let full = f64::from(1u32 << (spec.bits_per_sample - 1));
                        writer.write_sample((x * full) as i32).unwrap();
                    }
                }
            }
        }
        writer.finalize().unwrap();
        read(&path)
    }

    #[test]
    fn other_rates_channels_and_widths_become_the_same_tone() {
        let original = round_trip(spec(1, 16_000, 16, false), 1.0).unwrap();
        assert_eq!(original.len(), 16_000);
        for other in [
            spec(2, 16_000, 16, false),
            spec(1, 44_100, 16, false),
            spec(2, 48_000, 24, false),
            spec(1, 8_000, 32, false),
            spec(1, 22_050, 16, false),
        ] {
            let pcm = round_trip(other, 1.0).unwrap();
            assert!(pcm.len().abs_diff(16_000) <= 2, "{other:?}: {}", pcm.len());
            // Without the ends, where the resampler's filter sees silence beside the tone; up to half a sample late.
            for (at, (a, b)) in pcm
                .iter()
                .zip(&original)
                .enumerate()
                .skip(1000)
                .take(14_000)
            {
                assert!(a.abs_diff(*b) < 330, "{other:?} at {at}: {a}, {b}");
            }
        }
    }

    #[test]
    fn float_8_bit_empty_and_odd_rates_are_refused() {
        use RecordingError::{Empty, WrongRate, WrongSamples};
        let refused = |spec, seconds| round_trip(spec, seconds).unwrap_err();
        let float = refused(spec(1, 16_000, 32, true), 0.1);
        assert!(matches!(float, WrongSamples { bits: 32, .. }));
        let narrow = refused(spec(1, 16_000, 8, false), 0.1);
        assert!(matches!(narrow, WrongSamples { bits: 8, .. }));
        let empty = refused(spec(1, 16_000, 16, false), 0.0);
        assert!(matches!(empty, Empty { .. }));
        let slow = refused(spec(1, 4_000, 16, false), 0.1);
        assert!(matches!(slow, WrongRate { rate: 4_000, .. }));
    }

    #[test]
    fn what_is_no_wav_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("text.wav");
        std::fs::write(&path, "not a recording").unwrap();
        assert!(matches!(read(&path), Err(RecordingError::Wav { .. })));
        std::fs::write(&path, "").unwrap();
        assert!(matches!(read(&path), Err(RecordingError::Wav { .. })));
    }
}
