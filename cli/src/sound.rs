//! Sound that a command is given: a recording, `-` for standard input, or the microphone.

use attn_recordings::{Recording, RecordingError};
use attn_runtime::audio::SAMPLE_RATE;
use std::path::Path;

/// Pieces of 16 kHz mono samples.
pub type Pieces = Box<dyn Iterator<Item = Result<Vec<i16>, RecordingError>>>;

/// Whether `path` means standard input.
pub fn is_stdin(path: &Path) -> bool {
    path == Path::new("-")
}

/// Opens `path`, or standard input for `-`.
pub fn open(path: &Path) -> Result<Recording, RecordingError> {
    if is_stdin(path) {
        return Recording::from_reader(name(path), std::io::stdin());
    }
    Recording::open(path)
}

/// Opens the microphone.
#[cfg(feature = "mic")]
pub fn microphone() -> Result<Pieces, Box<dyn std::error::Error>> {
    Ok(Box::new(attn_recordings::Microphone::open()?))
}

/// Says how to hear the microphone without it.
#[cfg(not(feature = "mic"))]
pub fn microphone() -> Result<Pieces, Box<dyn std::error::Error>> {
    let reason = "this attn was built without the microphone: build it with `--features mic` (on Linux with ALSA's development files), \
                  or pipe a recorder to it, as in `arecord -q -f S16_LE -r 16000 | attn spot MODEL -`";
    Err(crate::flags::FlagError::new("--mic", reason).into())
}

/// The first `seconds` of some sound; all of it without.
pub fn first(pieces: Pieces, seconds: Option<u32>) -> Pieces {
    let Some(seconds) = seconds else {
        return pieces;
    };
    let most = seconds as usize * SAMPLE_RATE as usize;
    Box::new(pieces.scan(most, |left, piece| {
        if *left == 0 {
            return None;
        }
        Some(piece.map(|mut pcm| {
            pcm.truncate(*left);
            *left -= pcm.len();
            pcm
        }))
    }))
}

/// All samples, 16 kHz mono.
pub fn read(path: &Path) -> Result<Vec<i16>, RecordingError> {
    let pieces: Result<Vec<_>, _> = open(path)?.collect();
    Ok(pieces?.concat())
}

/// What messages call it.
pub fn name(path: &Path) -> &Path {
    if is_stdin(path) {
        return Path::new("standard input");
    }
    path
}
