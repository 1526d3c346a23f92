//! What parsing a file takes on the chip, whether it is a model or not.

use crate::emulator::{Core, Emulator, Region};
use crate::error::{LabError, io};
use crate::images::Image;
use crate::runner;
use std::path::Path;

/// Counts `Model::parse` of `file` (at most 2 MB) on the emulated M4.
///
/// # Errors
/// [`LabError`].
pub fn measure(file: &[u8]) -> Result<Region, LabError> {
    let folder = tempfile::tempdir().map_err(io("a temporary folder"))?;
    let path = folder.path().join("file");
    std::fs::write(&path, file).map_err(io(path.clone()))?;
    measure_file(&path)
}

/// The same for the file at `path`.
///
/// # Errors
/// [`LabError`].
pub fn measure_file(path: &Path) -> Result<Region, LabError> {
    let emulator = Emulator::new(Core::M4).counting();
    let run = runner::run(&emulator, &["parse", "model.attn"], path, &[])?;
    let counted = run.regions.into_iter().next();
    counted.ok_or_else(|| LabError::BadOutput("no counted region".into()))
}

/// Counts `Model::parse_signed` on the emulated M4; what the image prints comes with it.
///
/// # Errors
/// [`LabError`].
pub fn measure_signed(
    file: &[u8],
    key: &[u8; 32],
    oldest: u32,
) -> Result<(Region, String), LabError> {
    let folder = tempfile::tempdir().map_err(io("a temporary folder"))?;
    for (name, bytes) in [("model.attn", file), ("key", key)] {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).map_err(io(path.clone()))?;
    }
    let emulator = Emulator::new(Core::M4).counting();
    let image = Image::Runner(emulator.core()).build()?;
    let arguments = ["signed", "model.attn", "key", &oldest.to_string()];
    let run = emulator.run(&image, &arguments, folder.path())?;
    let counted = run.regions.into_iter().next();
    let region = counted.ok_or_else(|| LabError::BadOutput("no counted region".into()))?;
    Ok((region, run.output))
}
