//! Audio features on the host: recordings or arrays of PCM through the runtime's own front end.
//!
//! There is one front end, [`attn_runtime::audio`]; training, calibration and evaluation all use it.

use crate::files::{self, FileError};
use attn_recordings::RecordingError;
use attn_runtime::audio::{AudioError, FRAME_LEN, FrontEnd, MEL_BANDS};
use ndarray::{Array2, Array3};
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Errors of reading audio or computing features.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FeatureError {
    /// The recording cannot be read.
    #[error(transparent)]
    Recording(#[from] RecordingError),
    /// Fewer samples than one frame.
    #[error(
        "{path}: {samples} samples are less than one frame ({FRAME_LEN} samples at 16 kHz, 32 ms): there is nothing to compute features of"
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

/// Clips of equal length, `[clip, sample]`, from a recording (one clip) or the array `pcm` of an npz file.
///
/// # Errors
/// [`FeatureError::Recording`], and [`FeatureError::File`] for an npz without such an array.
pub fn read_clips(path: &Path) -> Result<Array2<i16>, FeatureError> {
    if path
        .extension()
        .is_some_and(|extension| extension.eq_ignore_ascii_case("npz"))
    {
        return Ok(files::read_array(path, "pcm")?);
    }
    Ok(clip(attn_recordings::read(path)?))
}

/// Samples as one clip.
pub fn clip(pcm: Vec<i16>) -> Array2<i16> {
    Array2::from_shape_vec((1, pcm.len()), pcm).expect("one row of all samples")
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
