//! The header of a WAV file: the position of its samples. Only 16 kHz mono 16-bit PCM is accepted; other recordings are
//! converted on the computer (`cargo xtask demo --wav`).

use attn_runtime::audio::SAMPLE_RATE;
use core::fmt;
use core::ops::Range;

const RIFF_HEADER_LEN: usize = 12;
const CHUNK_HEADER_LEN: usize = 8;
const PCM: u16 = 1;

/// Errors in a recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WavError {
    /// Not a RIFF/WAVE file.
    NotWav,
    /// Not 16 kHz mono 16-bit PCM.
    WrongFormat {
        /// Format code; 1 is PCM.
        code: u16,
        /// Channels.
        channels: u16,
        /// Samples per second.
        rate: u32,
        /// Bits per sample.
        bits: u16,
    },
    /// No samples, or none within the bytes that were read.
    NoSamples,
}

impl WavError {
    /// The error in words.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NotWav => "not a WAV file",
            Self::WrongFormat { .. } => {
                "the recording is not 16-bit PCM, mono, 16 kHz; `cargo xtask demo --wav` converts recordings"
            }
            Self::NoSamples => "the recording has no samples",
        }
    }
}

impl fmt::Display for WavError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason())
    }
}

impl core::error::Error for WavError {}

/// Byte range of the samples in a file that begins with `start`. All chunks up to the samples' own header must lie
/// within `start`.
///
/// # Errors
/// [`WavError`].
pub fn samples(start: &[u8]) -> Result<Range<usize>, WavError> {
    let (riff, mut chunks) = start
        .split_at_checked(RIFF_HEADER_LEN)
        .ok_or(WavError::NotWav)?;
    if !riff.starts_with(b"RIFF") || !riff.ends_with(b"WAVE") {
        return Err(WavError::NotWav);
    }
    let mut at = RIFF_HEADER_LEN;
    let mut checked = false;
    while let Some((header, rest)) = chunks.split_at_checked(CHUNK_HEADER_LEN) {
        let len = u32_at(header, 4).unwrap_or(0) as usize;
        at += CHUNK_HEADER_LEN;
        if header.starts_with(b"fmt ") {
            check_format(rest).ok_or(WavError::NotWav)??;
            checked = true;
        } else if header.starts_with(b"data") && checked && len >= 2 {
            return Ok(at..at.saturating_add(len & !1));
        }
        let padded = len.saturating_add(len & 1);
        chunks = rest.get(padded..).unwrap_or(&[]);
        at = at.saturating_add(padded);
    }
    Err(WavError::NoSamples)
}

fn check_format(chunk: &[u8]) -> Option<Result<(), WavError>> {
    let (code, channels) = (u16_at(chunk, 0)?, u16_at(chunk, 2)?);
    let (rate, bits) = (u32_at(chunk, 4)?, u16_at(chunk, 14)?);
    let fits = (code, channels, rate, bits) == (PCM, 1, SAMPLE_RATE, 16);
    Some(fits.then_some(()).ok_or(WavError::WrongFormat {
        code,
        channels,
        rate,
        bits,
    }))
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn file(channels: u16, rate: u32, bits: u16, extra: &[u8], samples: u32) -> Vec<u8> {
        let mut bytes = b"RIFF\0\0\0\0WAVE".to_vec();
        bytes.extend_from_slice(extra);
        bytes.extend_from_slice(b"fmt \x10\0\0\0\x01\0");
        bytes.extend_from_slice(&channels.to_le_bytes());
        bytes.extend_from_slice(&rate.to_le_bytes());
        bytes.extend_from_slice(&[0; 6]);
        bytes.extend_from_slice(&bits.to_le_bytes());
        bytes.extend_from_slice(b"data");
        bytes.extend_from_slice(&(samples * 2).to_le_bytes());
        bytes
    }

    #[test]
    fn samples_are_found_behind_other_chunks() {
        assert_eq!(samples(&file(1, 16_000, 16, &[], 5)), Ok(44..54));
        let list = b"LIST\x03\0\0\0abc\0";
        assert_eq!(samples(&file(1, 16_000, 16, list, 5)), Ok(56..66));
    }

    #[test]
    fn other_formats_are_refused_and_named() {
        for (channels, rate, bits) in [(2, 16_000, 16), (1, 44_100, 16), (1, 16_000, 8)] {
            let error = samples(&file(channels, rate, bits, &[], 5)).unwrap_err();
            let code = 1;
            assert_eq!(
                error,
                WavError::WrongFormat {
                    code,
                    channels,
                    rate,
                    bits
                }
            );
        }
    }

    #[test]
    fn no_bytes_make_it_fail_otherwise() {
        let whole = file(1, 16_000, 16, &[], 5);
        for len in 0..whole.len() {
            assert!(samples(&whole[..len]).is_err());
        }
        assert_eq!(
            samples(&file(1, 16_000, 16, &[], 0)),
            Err(WavError::NoSamples)
        );
        assert_eq!(samples(&[b'x'; 100]), Err(WavError::NotWav));
    }
}
