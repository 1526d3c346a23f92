//! What can go wrong in an experiment: one error for all that build an image, run it and compare or count. Errors of a single
//! instrument (emulator, compiler) are beside it.

use crate::elf::ElfError;
use crate::emulator::{Core, EmulatorError};
use crate::images::BuildError;
use crate::peers::PeersError;
use attn_recordings::RecordingError;
use attn_runtime::seq2seq::DecodeError;
use attn_runtime::{ModelError, SessionError};
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Why an experiment cannot be run, or what it found wrong.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LabError {
    /// An image cannot be built.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// An image cannot be read.
    #[error(transparent)]
    Elf(#[from] ElfError),
    /// The emulator, or the image in it.
    #[error(transparent)]
    Emulator(#[from] EmulatorError),
    /// A recording.
    #[error(transparent)]
    Recording(#[from] RecordingError),
    /// The model is refused.
    #[error("{path}: {source}")]
    Model {
        /// The file.
        path: PathBuf,
        /// What the runtime says.
        source: ModelError,
    },
    /// The session failed on this computer.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// Decoding failed on this computer.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The model does not take sound.
    #[error("{0}: not a model of audio")]
    NoAudio(PathBuf),
    /// The inputs are too short for one run.
    #[error("{0}: there are no inputs for even one run")]
    NoRuns(PathBuf),
    /// The browser did not show a page.
    #[error("chromium: {reason}: `cargo xtask test --all` installs it")]
    Browser {
        /// What it said.
        reason: String,
    },
    /// No program with CMSIS-NN.
    #[error(transparent)]
    Peers(#[from] PeersError),
    /// A file cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// A line of the list of what is said is not `MILLISECONDS,LABEL`.
    #[error("{path}, line {line}: not MILLISECONDS,LABEL")]
    BadTruth {
        /// The file.
        path: PathBuf,
        /// Number of the line, from 1.
        line: usize,
    },
    /// The model does not fit into the memory of the emulated machine.
    #[error(
        "the emulated machine of the {} has {there} bytes of {memory}, the model needs {needed} with its program: measure it on another \
         core",
        core.name()
    )]
    DoesNotFit {
        /// The core.
        core: Core,
        /// Which memory.
        memory: &'static str,
        /// Bytes that are needed.
        needed: u64,
        /// Bytes that are there.
        there: u64,
    },
    /// Half precision on a core without a floating-point unit.
    #[error("the model is in half precision, which the {} cannot compute: it has no floating-point unit", _0.name())]
    NoFpu(Core),
    /// A board's memory map is not understood.
    #[error("{0}: no lines `FLASH : … LENGTH = 960K` and `RAM : …` (in K or M)")]
    BadMap(PathBuf),
    /// The image printed something unexpected.
    #[error("cannot read what the application printed: {0}")]
    BadOutput(String),
    /// An operator's result differs between the core and this computer.
    #[error("{core:?}: run {run}, operator {op}: bytes differ from this computer's")]
    OperatorDiffers {
        /// The emulated core.
        core: Core,
        /// Number of the input.
        run: usize,
        /// Number of the operator; the number of operators stands for the state.
        op: usize,
    },
    /// A decode differs between the core and this computer.
    #[error(
        "{core:?}: {found} bytes, {expected} here; the first difference is at byte {at} of all decodes together"
    )]
    DecodeDiffers {
        /// The emulated core.
        core: Core,
        /// Bytes from the core.
        found: usize,
        /// Bytes of this computer.
        expected: usize,
        /// Where they part.
        at: usize,
    },
    /// The core returned more or fewer bytes than this computer.
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

/// Adds the path to an error of the operating system.
pub(crate) fn io(path: impl AsRef<Path>) -> impl FnOnce(std::io::Error) -> LabError {
    let path = path.as_ref().to_owned();
    move |source| LabError::Io { path, source }
}
