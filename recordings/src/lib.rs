//! Recordings as the front end takes them: WAV (integers of 8 to 32 bits, floating point, A-law, µ-law) and FLAC, of any sampling rate
//! from 8 to 192 kHz and any number of channels, become 16 kHz mono.
//!
//! A [`Recording`] is read in pieces, so a pipe from a microphone is heard as it comes. Channels are averaged.

#![forbid(unsafe_code)]

pub mod cut;
#[cfg(feature = "microphone")]
mod microphone;
mod resample;
mod wav;

use attn_runtime::audio::SAMPLE_RATE;
#[cfg(feature = "microphone")]
pub use microphone::Microphone;
use resample::Resampler;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use symphonia::core::codecs::audio::{AudioDecoder, AudioDecoderOptions};
use symphonia::core::errors::Error as DecoderError;
use symphonia::core::formats::probe::Hint;
use symphonia::core::formats::{FormatReader, TrackType};
use symphonia::core::io::{MediaSourceStream, ReadOnlySource};
use thiserror::Error;

/// Sampling rates that are converted.
pub const RATES: RangeInclusive<u32> = 8_000..=192_000;

/// Why a recording cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RecordingError {
    /// The file cannot be opened, read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// No WAV or FLAC file, or a damaged one.
    #[error("{path}: not a readable WAV or FLAC file: {reason}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the decoder says.
        reason: String,
    },
    /// The header announces more samples than there are.
    #[error(
        "{path}: the header announces {announced} bytes of samples, the last {missing} are missing: the file was cut. If what is there will \
         do, rewrite its header, for example with `sox --ignore-length {path} OUT.wav`"
    )]
    Cut {
        /// The file.
        path: PathBuf,
        /// Bytes that the header announces.
        announced: u64,
        /// Bytes that did not come.
        missing: u64,
    },
    /// A sampling rate that is not converted.
    #[error("{path}: {rate} samples per second: {} to {} are taken", RATES.start(), RATES.end())]
    WrongRate {
        /// The file.
        path: PathBuf,
        /// Samples per second.
        rate: u32,
    },
    /// Floating-point samples that are no numbers.
    #[error("{path}: a sample is infinite or not a number: write the recording again, as integers")]
    NotFinite {
        /// The file.
        path: PathBuf,
    },
    /// The microphone does not give samples.
    #[error("microphone: {reason}")]
    Microphone {
        /// What the system says.
        reason: String,
    },
    /// No samples.
    #[error("{path}: 0 samples: the recording is empty")]
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

/// A recording that is being read. Its items are pieces of 16 kHz mono samples, each piece at least one sample.
pub struct Recording {
    path: PathBuf,
    format: Box<dyn FormatReader>,
    decoder: Box<dyn AudioDecoder>,
    track: u32,
    channels: usize,
    /// `None` at 16 kHz.
    resampler: Option<Resampler>,
    announced: u64,
    missing: Arc<AtomicU64>,
    empty: bool,
    ended: bool,
}

impl Recording {
    /// Opens a file.
    ///
    /// # Errors
    /// [`RecordingError`]: no such file, nothing that can be decoded, another sampling rate than [`RATES`].
    pub fn open(path: &Path) -> Result<Self, RecordingError> {
        let file = File::open(path).map_err(|source| RecordingError::Io {
            path: path.into(),
            source,
        })?;
        Self::from_reader(path, BufReader::new(file))
    }

    /// Reads from anything, such as standard input; errors call it `path`.
    ///
    /// # Errors
    /// As [`Recording::open`].
    pub fn from_reader(
        path: &Path,
        mut reader: impl Read + Send + Sync + 'static,
    ) -> Result<Self, RecordingError> {
        let io = |source: io::Error| match source.kind() {
            io::ErrorKind::InvalidData => RecordingError::Unreadable {
                path: path.into(),
                reason: source.to_string(),
            },
            _ => RecordingError::Io {
                path: path.into(),
                source,
            },
        };
        let mut marker = Vec::new();
        reader
            .by_ref()
            .take(4)
            .read_to_end(&mut marker)
            .map_err(io)?;
        let missing = Arc::new(AtomicU64::new(0));
        let (source, announced): (Box<dyn Read + Send + Sync>, u64) =
            match <[u8; 4]>::try_from(&marker[..]) {
                Ok(marker) if marker == *b"RIFF" || marker == *b"RF64" => {
                    let body = wav::Body::new(marker, reader, missing.clone()).map_err(io)?;
                    let announced = body.announced().unwrap_or(0);
                    (Box::new(body), announced)
                }
                _ => (Box::new(io::Cursor::new(marker).chain(reader)), 0),
            };
        let unreadable = |error: DecoderError| unreadable(path, error);
        let stream =
            MediaSourceStream::new(Box::new(ReadOnlySource::new(source)), Default::default());
        let format = symphonia::default::get_probe()
            .probe(&Hint::new(), stream, Default::default(), Default::default())
            .map_err(unreadable)?;
        let track = format.default_track(TrackType::Audio);
        let parameters =
            track.and_then(|track| Some((track.id, track.codec_params.as_ref()?.audio()?)));
        let (track, parameters) =
            parameters.ok_or_else(|| unreadable(DecoderError::Unsupported("no sound in it")))?;
        let rate = parameters.sample_rate.unwrap_or(0);
        if !RATES.contains(&rate) {
            return Err(RecordingError::WrongRate {
                path: path.into(),
                rate,
            });
        }
        let channels = parameters
            .channels
            .as_ref()
            .map_or(0, |channels| channels.count());
        if channels == 0 {
            return Err(unreadable(DecoderError::Unsupported("it has no channels")));
        }
        let options = AudioDecoderOptions::default().verify(true);
        let decoder = symphonia::default::get_codecs()
            .make_audio_decoder(parameters, &options)
            .map_err(unreadable)?;
        let resampler = (rate != SAMPLE_RATE)
            .then(|| Resampler::new(rate))
            .transpose();
        let resampler = resampler.map_err(|reason| RecordingError::Resample {
            path: path.into(),
            reason,
        })?;
        Ok(Self {
            path: path.into(),
            format,
            decoder,
            track,
            channels,
            resampler,
            announced,
            missing,
            empty: true,
            ended: false,
        })
    }

    /// The next piece; `None` after the last.
    fn piece(&mut self) -> Result<Option<Vec<i16>>, RecordingError> {
        while !self.ended {
            let mono = self.decoded()?;
            let resample = |reason| RecordingError::Resample {
                path: self.path.clone(),
                reason,
            };
            let samples = match (&mut self.resampler, mono) {
                (None, mono) => mono.unwrap_or_default(),
                (Some(resampler), Some(mono)) => resampler.push(&mono).map_err(resample)?,
                (Some(resampler), None) => resampler.finish().map_err(resample)?,
            };
            if !samples.is_empty() {
                self.empty = false;
                return Ok(Some(to_pcm(samples)));
            }
        }
        Ok(None)
    }

    /// The next samples of the file, channels averaged, in -1 to 1; `None` at its end, which is checked.
    fn decoded(&mut self) -> Result<Option<Vec<f64>>, RecordingError> {
        loop {
            let packet = match self.format.next_packet() {
                Ok(Some(packet)) if packet.track_id != self.track => continue,
                Ok(Some(packet)) => packet,
                Ok(None) => return self.end(),
                Err(DecoderError::IoError(error))
                    if error.kind() == io::ErrorKind::UnexpectedEof =>
                {
                    return self.end();
                }
                Err(error) => return Err(unreadable(&self.path, error)),
            };
            let buffer = self
                .decoder
                .decode(&packet)
                .map_err(|error| unreadable(&self.path, error))?;
            let mut samples: Vec<f64> = Vec::new();
            buffer.copy_to_vec_interleaved(&mut samples);
            if !samples.iter().all(|x| x.is_finite()) {
                return Err(RecordingError::NotFinite {
                    path: self.path.clone(),
                });
            }
            let scale = 1.0 / self.channels as f64;
            let mono = samples
                .chunks_exact(self.channels)
                .map(|frame| frame.iter().sum::<f64>() * scale);
            return Ok(Some(mono.collect()));
        }
    }

    fn end(&mut self) -> Result<Option<Vec<f64>>, RecordingError> {
        self.ended = true;
        let missing = self.missing.load(Ordering::Relaxed);
        if missing > 0 {
            return Err(RecordingError::Cut {
                path: self.path.clone(),
                announced: self.announced,
                missing,
            });
        }
        if self.decoder.finalize().verify_ok == Some(false) {
            let error =
                DecoderError::DecodeError("the samples do not have the checksum of the header");
            return Err(unreadable(&self.path, error));
        }
        Ok(None)
    }
}

impl Iterator for Recording {
    type Item = Result<Vec<i16>, RecordingError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.piece().transpose();
        if let Some(Err(_)) = next {
            self.ended = true;
            self.empty = false;
        }
        if next.is_none() && std::mem::take(&mut self.empty) {
            return Some(Err(RecordingError::Empty {
                path: self.path.clone(),
            }));
        }
        next
    }
}

/// Samples from -1 to 1 as integers.
fn to_pcm(samples: Vec<f64>) -> Vec<i16> {
    let pcm = samples.into_iter().map(|x| (x * 32768.0).round() as i16);
    pcm.collect()
}

fn unreadable(path: &Path, error: DecoderError) -> RecordingError {
    match error {
        DecoderError::IoError(source) if source.kind() != io::ErrorKind::UnexpectedEof => {
            RecordingError::Io {
                path: path.into(),
                source,
            }
        }
        error => RecordingError::Unreadable {
            path: path.into(),
            reason: error.to_string(),
        },
    }
}

/// All of a file, as 16 kHz mono.
///
/// # Errors
/// [`RecordingError`].
pub fn read(path: &Path) -> Result<Vec<i16>, RecordingError> {
    let mut all = Vec::new();
    for piece in Recording::open(path)? {
        all.append(&mut piece?);
    }
    Ok(all)
}

/// The files in a folder, and in the folders in it, that are recordings by their names, in the order of their names.
///
/// # Errors
/// [`RecordingError::Io`] for a folder that cannot be listed.
pub fn files(folder: &Path) -> Result<Vec<PathBuf>, RecordingError> {
    let io = |source| RecordingError::Io {
        path: folder.into(),
        source,
    };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(io)? {
        let entry = entry.map_err(io)?;
        let path = entry.path();
        // A link to a folder is not followed: it may lead back.
        if entry.file_type().map_err(io)?.is_dir() {
            found.append(&mut files(&path)?);
        } else if path
            .extension()
            .is_some_and(|e| e.eq_ignore_ascii_case("wav") || e.eq_ignore_ascii_case("flac"))
        {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Writes 16 kHz mono samples as a WAV file.
///
/// # Errors
/// [`RecordingError::Io`].
pub fn write(path: &Path, pcm: &[i16]) -> Result<(), RecordingError> {
    let spec = hound::WavSpec {
        channels: 1,
        sample_rate: SAMPLE_RATE,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let written = hound::WavWriter::create(path, spec).and_then(|mut writer| {
        for &sample in pcm {
            writer.write_sample(sample)?;
        }
        writer.finalize()
    });
    written.map_err(|error| RecordingError::Io {
        path: path.into(),
        source: match error {
            hound::Error::IoError(error) => error,
            other => io::Error::other(other),
        },
    })
}
