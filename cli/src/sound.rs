//! Recordings that a command is given: a file, or `-` for standard input.

use attn_recordings::{Recording, RecordingError};
use std::path::Path;

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
