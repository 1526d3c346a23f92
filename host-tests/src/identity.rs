//! The same bytes everywhere: a model traced on this computer and on an emulated core, operator by operator.

use crate::cost::{AlignedFile, CostError};
use crate::emulator::{Core, Emulator, EmulatorError};
use crate::images::{BuildError, Image};
use attn_firmware::trace;
use attn_runtime::format::DType;
use attn_runtime::{Model, ModelError, Session, SessionError, f16};
use std::path::{Path, PathBuf};
use thiserror::Error;
use zerocopy::IntoBytes;

/// Why traces could not be compared, or where they differ.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// The image cannot be built.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The emulated core failed.
    #[error(transparent)]
    Emulator(#[from] EmulatorError),
    /// The model's file cannot be read.
    #[error(transparent)]
    File(#[from] CostError),
    /// A file of the comparison cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// The model is refused.
    #[error("{0}")]
    Model(ModelError),
    /// The session failed on this computer.
    #[error("{0}")]
    Session(SessionError),
    /// An operator's result is not the same.
    #[error("{core:?}: run {run}, operator {op}: bytes differ from this computer's")]
    Differs {
        /// The emulated core.
        core: Core,
        /// Number of the input.
        run: usize,
        /// Number of the operator; that of all operators for the state.
        op: usize,
    },
    /// The emulated core handed back more or fewer bytes.
    #[error("{core:?}: a trace of {found} bytes, expected {expected}")]
    Length {
        /// The emulated core.
        core: Core,
        /// Bytes from the core.
        found: usize,
        /// Bytes of this computer.
        expected: usize,
    },
}

/// One operator's results in one run.
struct Piece {
    run: usize,
    op: usize,
    bytes: Vec<u8>,
}

/// Runs `model` on `inputs`, the bytes of all inputs of entry point 0 for one run after the other without a reset, here and on `core`, and compares
/// every operator's output and the state after every run. Returns the number of comparisons.
///
/// # Errors
/// [`IdentityError`].
pub fn check(core: Core, model: &Path, inputs: &[u8]) -> Result<usize, IdentityError> {
    let folder = tempfile::tempdir().map_err(io(Path::new("a temporary folder")))?;
    let [copy, given, traced] =
        ["model.attn", "inputs", "outputs"].map(|name| folder.path().join(name));
    std::fs::copy(model, &copy).map_err(io(model))?;
    std::fs::write(&given, inputs).map_err(io(&given))?;
    let image = Image::Runner(core).build()?;
    let arguments = ["trace", "model.attn", "inputs", "outputs"];
    Emulator::new(core).run(&image, &arguments, folder.path())?;
    let found = std::fs::read(&traced).map_err(io(&traced))?;
    compare(core, &here(model, inputs)?, &found)
}

fn io(path: &Path) -> impl FnOnce(std::io::Error) -> IdentityError + '_ {
    move |source| IdentityError::Io {
        path: path.into(),
        source,
    }
}

/// What this computer computes.
fn here(model: &Path, inputs: &[u8]) -> Result<Vec<Piece>, IdentityError> {
    let file = AlignedFile::read(model)?;
    let model = Model::parse(file.bytes()).map_err(IdentityError::Model)?;
    let mut arena = vec![0u128; model.arena_len().div_ceil(size_of::<u128>())];
    let mut session = Session::new(model, arena.as_mut_bytes()).map_err(IdentityError::Session)?;
    let mut pieces = Vec::new();
    for (run, bytes) in inputs.chunks_exact(run_len(model).max(1)).enumerate() {
        fill(&mut session, bytes).map_err(IdentityError::Session)?;
        trace::run(&mut session, 0, |op, bytes| {
            pieces.push(Piece {
                run,
                op,
                bytes: bytes.to_vec(),
            })
        })
        .map_err(IdentityError::Session)?;
    }
    Ok(pieces)
}

/// Bytes of all inputs of entry point 0.
pub fn run_len(model: Model) -> usize {
    let inputs = model
        .entries()
        .iter()
        .take(1)
        .flat_map(|entry| entry.inputs());
    inputs
        .filter_map(|id| model.tensor(id))
        .map(|tensor| tensor.byte_len())
        .sum()
}

/// Fills all inputs of entry point 0, one behind the other.
fn fill(session: &mut Session, mut bytes: &[u8]) -> Result<(), SessionError> {
    let count = session.model().entries()[0].inputs().count();
    for index in 0..count {
        let input = match session.input_record(0, index)?.dtype() {
            DType::I8 => session.input::<i8>(0, index)?.as_mut_bytes(),
            DType::I16 => session.input::<i16>(0, index)?.as_mut_bytes(),
            DType::I32 => session.input::<i32>(0, index)?.as_mut_bytes(),
            DType::F16 => session.input::<f16>(0, index)?.as_mut_bytes(),
        };
        let (first, rest) = bytes.split_at(input.len());
        input.copy_from_slice(first);
        bytes = rest;
    }
    Ok(())
}

fn compare(core: Core, expected: &[Piece], found: &[u8]) -> Result<usize, IdentityError> {
    let len = expected.iter().map(|piece| piece.bytes.len()).sum();
    if found.len() != len {
        return Err(IdentityError::Length {
            core,
            found: found.len(),
            expected: len,
        });
    }
    let mut rest = found;
    for Piece { run, op, bytes } in expected {
        let (piece, behind) = rest.split_at(bytes.len());
        if piece != bytes {
            return Err(IdentityError::Differs {
                core,
                run: *run,
                op: *op,
            });
        }
        rest = behind;
    }
    Ok(expected.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_single_bit_is_found_with_its_operator() {
        let piece = |run, op, bytes: &[u8]| Piece {
            run,
            op,
            bytes: bytes.to_vec(),
        };
        let expected = [
            piece(0, 0, &[1, 2]),
            piece(0, 1, &[3]),
            piece(1, 0, &[4, 5]),
        ];
        assert_eq!(compare(Core::M4, &expected, &[1, 2, 3, 4, 5]).unwrap(), 3);
        let message = compare(Core::M4, &expected, &[1, 2, 3, 4, 4])
            .unwrap_err()
            .to_string();
        assert!(message.contains("run 1, operator 0"), "{message}");
        let message = compare(Core::M4, &expected, &[1, 2, 3, 4])
            .unwrap_err()
            .to_string();
        assert!(message.contains("4 bytes, expected 5"), "{message}");
    }
}
