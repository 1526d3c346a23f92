//! Headers of WAV files, as recorders and pipes leave them: sizes of 0, of "unknown", or of before the recording went on.
//!
//! A writer that cannot go back to its header leaves a placeholder for the sizes. Decoders trust sizes, so the header is read here, and
//! a decoder gets one with the format chunk and an open end; [`Body`] ends where the samples do.

use std::io::{Error, ErrorKind, Read, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// From here on a size is a placeholder: sox writes 0x7FFF_F000 to pipes, arecord 0x7FFF_FFFF or 0x8000_0000, ffmpeg 0xFFFF_FFFF.
const PLACEHOLDER: u32 = 0x7fff_0000;
/// Longest chunk before the samples, in bytes; longer ones are no header.
const LONGEST_CHUNK: u32 = 16 << 20;

/// Most channels of a recording; decoders multiply them with other sizes.
const MOST_CHANNELS: u16 = 256;

/// The samples of a WAV file behind a header that fits them.
pub struct Body<R> {
    header: std::io::Cursor<Vec<u8>>,
    rest: R,
    /// Bytes of samples that the header announces, or `u64::MAX` for all that come.
    announced: u64,
    left: u64,
    /// Bytes that were announced and did not come.
    missing: Arc<AtomicU64>,
}

impl<R: Read> Body<R> {
    /// Reads the header of what follows `RIFF` or `RF64` (the first four bytes, which have been read).
    ///
    /// # Errors
    /// `InvalidData` with what is wrong for what is no WAV file or has no samples; those of the reader.
    pub fn new(marker: [u8; 4], mut rest: R, missing: Arc<AtomicU64>) -> Result<Self> {
        let riff = u32::from_le_bytes(bytes(&mut rest)?);
        if &bytes(&mut rest)? != b"WAVE" {
            return Err(invalid("a RIFF file, but no WAVE"));
        }
        let mut position = 12u64;
        let mut header = b"RIFF\xff\xff\xff\xffWAVE".to_vec();
        let mut long = None; // bytes of samples, by the chunk `ds64` of RF64
        let mut format = false;
        loop {
            let tag = bytes(&mut rest)?;
            let size = u32::from_le_bytes(bytes(&mut rest)?);
            position += 8;
            if &tag == b"data" {
                if !format {
                    return Err(invalid("no format chunk before the samples"));
                }
                let end = u64::from(riff) + 8;
                let announced = match long {
                    Some(samples) if marker == *b"RF64" => samples,
                    _ if size >= PLACEHOLDER => u64::MAX,
                    // No samples at all is the truth where whole chunks follow; else the writer did not come back.
                    _ if size == 0 && !(riff < PLACEHOLDER && end > position) => u64::MAX,
                    _ => u64::from(size),
                };
                header.extend_from_slice(b"data\xff\xff\xff\xff");
                let header = std::io::Cursor::new(header);
                let left = announced;
                return Ok(Self {
                    header,
                    rest,
                    announced,
                    left,
                    missing,
                });
            }
            if size > LONGEST_CHUNK {
                return Err(invalid(
                    "a chunk before the samples that is longer than any header",
                ));
            }
            // Chunks of an odd size are followed by a byte of padding.
            let padded = u64::from(size) + u64::from(size % 2);
            let mut chunk = Vec::new();
            if rest.by_ref().take(padded).read_to_end(&mut chunk)? as u64 != padded {
                return Err(invalid("no samples: the file ends within its header"));
            }
            position += padded;
            if &tag == b"fmt " {
                format = true;
                let channels = chunk.get(2..4).map(|x| u16::from_le_bytes([x[0], x[1]]));
                if channels.is_some_and(|channels| channels > MOST_CHANNELS) {
                    return Err(invalid("more than 256 channels"));
                }
                header.extend_from_slice(b"fmt ");
                header.extend_from_slice(&size.to_le_bytes());
                header.extend_from_slice(&chunk);
            } else if &tag == b"ds64" {
                long = chunk
                    .get(8..16)
                    .and_then(|x| x.try_into().ok())
                    .map(u64::from_le_bytes);
            }
        }
    }

    /// Bytes of samples that the header announces, if it does.
    pub fn announced(&self) -> Option<u64> {
        (self.announced != u64::MAX).then_some(self.announced)
    }
}

impl<R: Read> Read for Body<R> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let read = self.header.read(buffer)?;
        if read > 0 || buffer.is_empty() {
            return Ok(read);
        }
        let most = buffer
            .len()
            .min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let read = self.rest.read(&mut buffer[..most])?;
        if self.announced != u64::MAX {
            self.left -= read as u64;
            if read == 0 {
                self.missing.store(self.left, Ordering::Relaxed);
            }
        }
        Ok(read)
    }
}

/// The next `N` bytes.
fn bytes<const N: usize>(reader: &mut impl Read) -> Result<[u8; N]> {
    let mut bytes = [0; N];
    reader
        .read_exact(&mut bytes)
        .map_err(|error| match error.kind() {
            ErrorKind::UnexpectedEof => invalid("no samples: the file ends within its header"),
            _ => error,
        })?;
    Ok(bytes)
}

fn invalid(reason: &'static str) -> Error {
    Error::new(ErrorKind::InvalidData, reason)
}
