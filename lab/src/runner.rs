//! The test image on an emulated core: files in, counted regions and the file `outputs` back.

use crate::aligned::AlignedBytes;
use crate::emulator::{Emulator, Region};
use crate::error::{LabError, io};
use crate::images::Image;
use attn_runtime::Model;
use std::path::Path;

/// The results of a run of the test image.
pub(crate) struct Ran {
    /// The counted regions.
    pub regions: Vec<Region>,
    /// Bytes of the file `outputs`; none if the command writes none.
    pub outputs: Vec<u8>,
}

/// Runs the test image on `model`, which it finds as `model.attn`, with further files of these names and contents.
pub(crate) fn run(
    emulator: &Emulator,
    arguments: &[&str],
    model: &Path,
    files: &[(&str, &[u8])],
) -> Result<Ran, LabError> {
    let folder = tempfile::tempdir().map_err(io("a temporary folder"))?;
    std::fs::copy(model, folder.path().join("model.attn")).map_err(io(model))?;
    for (name, bytes) in files {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).map_err(io(path))?;
    }
    let image = Image::Runner(emulator.core()).build()?;
    let regions = emulator.run(&image, arguments, folder.path())?.regions;
    let outputs = std::fs::read(folder.path().join("outputs")).unwrap_or_default();
    Ok(Ran { regions, outputs })
}

/// Parses the model in `file`, read from `path`.
pub(crate) fn parse<'f>(path: &Path, file: &'f AlignedBytes) -> Result<Model<'f>, LabError> {
    Model::parse(file.as_slice()).map_err(|source| LabError::Model {
        path: path.into(),
        source,
    })
}
