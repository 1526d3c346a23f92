//! Audio features on the host: WAV files or arrays of PCM through the runtime's own front end.
//!
//! There is one front end, [`attn_runtime::audio`]; training, calibration and evaluation all use it.

use crate::files::{self, FileError};
use attn_runtime::audio::{AudioError, FRAME_LEN, FrontEnd, MEL_BANDS, SAMPLE_RATE};
use ndarray::{Array2, Array3};
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Errors of reading audio or computing features.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FeatureError {
    /// Not a WAV file that can be read.
    #[error("{path}: not a readable WAV file: {source}")]
    Wav {
        /// The file.
        path: PathBuf,
        /// The WAV reader's error.
        source: hound::Error,
    },
    /// Another sample format, rate or channel count.
    #[error(
        "{path}: {found}; the front end takes 16 kHz, mono, 16-bit integer PCM. Convert it, for example: sox {path} -r 16000 -c 1 -b 16 -e signed out.wav"
    )]
    Format {
        /// The file.
        path: PathBuf,
        /// What it holds.
        found: String,
    },
    /// Fewer samples than one frame.
    #[error(
        "{path}: {samples} samples are less than one frame ({FRAME_LEN} samples, 32 ms): there is nothing to compute features of"
    )]
    TooShort {
        /// The file.
        path: PathBuf,
        /// Samples per clip.
        samples: usize,
    },
    /// A hop that the front end refuses.
    #[error(transparent)]
    Hop(#[from] AudioError),
    /// Reading or writing an array file failed.
    #[error(transparent)]
    File(#[from] FileError),
}

/// PCM of a WAV file: 16 kHz, mono, 16-bit.
///
/// # Errors
/// [`FeatureError::Wav`] for no WAV file, [`FeatureError::Format`] for another format or rate,
/// [`FeatureError::TooShort`] for one without samples.
pub fn read_wav(path: &Path) -> Result<Vec<i16>, FeatureError> {
    let wav = |source| FeatureError::Wav {
        path: path.into(),
        source,
    };
    let mut reader = hound::WavReader::open(path).map_err(wav)?;
    let spec = reader.spec();
    let kind = match spec.sample_format {
        hound::SampleFormat::Int => "integer",
        hound::SampleFormat::Float => "float",
    };
    if (
        spec.channels,
        spec.sample_rate,
        spec.bits_per_sample,
        spec.sample_format,
    ) != (1, SAMPLE_RATE, 16, hound::SampleFormat::Int)
    {
        let found = format!(
            "{} Hz, {} channel(s), {}-bit {kind}",
            spec.sample_rate, spec.channels, spec.bits_per_sample
        );
        return Err(FeatureError::Format {
            path: path.into(),
            found,
        });
    }
    let samples = reader
        .samples::<i16>()
        .collect::<Result<Vec<_>, _>>()
        .map_err(wav)?;
    if samples.is_empty() {
        return Err(FeatureError::TooShort {
            path: path.into(),
            samples: 0,
        });
    }
    Ok(samples)
}

/// Clips of equal length, `[clip, sample]`, from a WAV file (one clip) or the array `pcm` of an npz file.
///
/// # Errors
/// Those of [`read_wav`], and [`FeatureError::File`] for an npz without such an array.
pub fn read_clips(path: &Path) -> Result<Array2<i16>, FeatureError> {
    if path
        .extension()
        .is_some_and(|extension| extension.eq_ignore_ascii_case("npz"))
    {
        return Ok(files::read_array(path, "pcm")?);
    }
    let pcm = read_wav(path)?;
    Ok(Array2::from_shape_vec((1, pcm.len()), pcm).expect("one row of all samples"))
}

/// Features of every clip, `[clip, frame, band]` int8, from frames that start `hop` samples apart.
///
/// # Errors
/// [`FeatureError::Hop`], and [`FeatureError::TooShort`] (naming `path`) for clips shorter than a frame.
pub fn features(path: &Path, clips: &Array2<i16>, hop: usize) -> Result<Array3<i8>, FeatureError> {
    let (count, samples) = clips.dim();
    let mut front_end = FrontEnd::new(hop)?;
    if samples < FRAME_LEN || count == 0 {
        return Err(FeatureError::TooShort {
            path: path.into(),
            samples: samples * count.min(1),
        });
    }
    let frames = 1 + (samples - FRAME_LEN) / hop;
    let mut data = Vec::with_capacity(count * frames * MEL_BANDS);
    for clip in clips.rows() {
        front_end.reset();
        front_end.push(&clip.to_vec(), |features| data.extend_from_slice(features));
    }
    Ok(Array3::from_shape_vec((count, frames, MEL_BANDS), data)
        .expect("every clip has the same number of frames"))
}
