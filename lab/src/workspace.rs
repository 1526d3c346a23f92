//! Paths: the repository, its build folder, the shipped model and the demo recording.

use std::path::{Path, PathBuf};

/// Root of the repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap_or(Path::new("."))
}

/// Folder for what attn itself builds (models, plugins): `attn` in Cargo's target folder.
///
/// # Errors
/// If it cannot be created.
pub fn build_folder() -> std::io::Result<PathBuf> {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or("target".into(), PathBuf::from);
    let folder = root().join(target).join("attn");
    std::fs::create_dir_all(&folder)?;
    Ok(folder)
}

/// The demo recording.
pub fn demo_recording() -> PathBuf {
    root().join("firmware/assets/demo.wav")
}

/// The recording of spoken digits.
pub fn digits_recording() -> PathBuf {
    root().join("firmware/assets/digits.wav")
}

/// The digits said in it.
pub fn digits_truth() -> PathBuf {
    root().join("firmware/assets/digits.txt")
}

/// The words said in the demo recording, with times.
pub fn demo_truth() -> PathBuf {
    root().join("firmware/assets/demo.csv")
}

/// Recordings that are not ours to commit (training/README.md): the folder that `ATTN_SPEECH` names.
pub fn speech() -> PathBuf {
    let beside = root().join("../shared/data/speech");
    std::env::var_os("ATTN_SPEECH").map_or(beside, PathBuf::from)
}
