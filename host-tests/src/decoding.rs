//! Decoding on an emulated core: the decoding application's tokens and what they cost, and whether a decode gives the same
//! bytes there as here.

use crate::cost::{AlignedFile, CostError};
use crate::emulator::{Core, Emulator, EmulatorError, Region};
use crate::images::{BuildError, Image};
use attn_firmware::trace;
use attn_runtime::seq2seq::{Beam, DecodeError};
use attn_runtime::{Model, ModelError, Session, SessionError};
use std::path::{Path, PathBuf};
use std::time::Duration;
use thiserror::Error;
use zerocopy::IntoBytes;

pub(crate) const TIMEOUT: Duration = Duration::from_secs(600);

/// Why a decode on an emulated core cannot be run or judged.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DecodingError {
    /// The image cannot be built.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The emulator, or the application in it.
    #[error(transparent)]
    Emulator(#[from] EmulatorError),
    /// A file.
    #[error(transparent)]
    File(#[from] CostError),
    /// A file cannot be read or written.
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
    /// Decoding failed on this computer.
    #[error("{0}")]
    Decode(DecodeError),
    /// The core's bytes are not this computer's.
    #[error(
        "{core:?}: {found} bytes, {expected} here; the first difference is at byte {at} of all decodes together"
    )]
    Differs {
        /// The emulated core.
        core: Core,
        /// Bytes from the core.
        found: usize,
        /// Bytes of this computer.
        expected: usize,
        /// Where they part.
        at: usize,
    },
    /// The application printed something else than expected.
    #[error("cannot read what the application printed: {0}")]
    BadOutput(String),
}

pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> DecodingError + '_ {
    move |source| DecodingError::Io {
        path: path.into(),
        source,
    }
}

/// Decodes all of `inputs` (numbers of symbols, or the bits of features) here and on `core`, greedily with all outputs of every
/// step, and with a beam. Returns the number of bytes that were compared and found equal.
///
/// # Errors
/// [`DecodingError`].
pub fn check(core: Core, model: &Path, inputs: &[Vec<u16>]) -> Result<usize, DecodingError> {
    let folder = tempfile::tempdir().map_err(io(Path::new("a temporary folder")))?;
    let [copy, given, written] =
        ["model.attn", "inputs", "outputs"].map(|name| folder.path().join(name));
    std::fs::copy(model, &copy).map_err(io(model))?;
    let records = inputs.iter().flat_map(|elements| {
        let count = elements.len() as u16;
        [count].into_iter().chain(elements.iter().copied())
    });
    let bytes: Vec<u8> = records.flat_map(u16::to_le_bytes).collect();
    std::fs::write(&given, bytes).map_err(io(&given))?;
    let image = Image::Runner(core).build()?;
    let arguments = ["decode", "model.attn", "inputs", "outputs"];
    Emulator::new(core)
        .timeout(TIMEOUT)
        .run(&image, &arguments, folder.path())?;
    let found = std::fs::read(&written).map_err(io(&written))?;
    let expected = here(model, inputs)?;
    if found == expected {
        return Ok(found.len());
    }
    let same = found.iter().zip(&expected).take_while(|(a, b)| a == b);
    Err(DecodingError::Differs {
        core,
        found: found.len(),
        expected: expected.len(),
        at: same.count(),
    })
}

/// What this computer decodes.
fn here(model: &Path, inputs: &[Vec<u16>]) -> Result<Vec<u8>, DecodingError> {
    let file = AlignedFile::read(model)?;
    let model = Model::parse(file.bytes()).map_err(DecodingError::Model)?;
    let mut arena = vec![0u128; model.arena_len().div_ceil(16)];
    let mut session = Session::new(model, arena.as_mut_bytes()).map_err(DecodingError::Session)?;
    let len = Beam::<{ trace::WIDTH }>::memory_len(&model, trace::WIDTH);
    let mut memory = vec![0u128; len.map_err(DecodingError::Decode)?.div_ceil(16)];
    let mut bytes = Vec::new();
    for elements in inputs {
        let write = |piece: &[u8]| bytes.extend_from_slice(piece);
        trace::decode(&mut session, memory.as_mut_bytes(), elements, write)
            .map_err(DecodingError::Decode)?;
    }
    Ok(bytes)
}

/// What is decoded.
#[derive(Clone, Copy, Debug)]
pub enum Input<'i> {
    /// Text, without spaces.
    Text(&'i str),
    /// A WAV file, 16 kHz, mono, 16-bit.
    Wav(&'i Path),
    /// A text to be continued, of less than 512 bytes.
    Prompt(&'i str),
}

/// How.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Search {
    /// The best token at every step.
    Greedy,
    /// A beam of four hypotheses.
    Beam,
    /// Tokens drawn by chance, with this seed.
    Chance(u32),
}

/// What the application decoded.
#[derive(Clone, Debug, Default)]
pub struct Decoded {
    /// Names of the tokens.
    pub tokens: Vec<String>,
    /// Log-probability, Q16 nats.
    pub score: i32,
    /// True when the limit on tokens ended the sequence.
    pub cut: bool,
    /// Most bytes of stack in use.
    pub stack: u64,
    /// Regions `front end`, `encode` and `step`.
    pub regions: Vec<Region>,
}

impl Decoded {
    /// Everything in regions of this name together.
    pub fn total(&self, name: &str) -> u64 {
        let named = self.regions.iter().filter(|region| region.name == name);
        named.map(|region| region.instructions).sum()
    }
}

/// Has the application in `image` (built from [`Image::QemuDecode`]) decode `input`, counting instructions.
///
/// # Errors
/// [`DecodingError`]; [`DecodingError::Emulator`] with the application's words when it refuses the input.
pub fn decode(image: &Path, search: Search, input: Input) -> Result<Decoded, DecodingError> {
    let folder = tempfile::tempdir().map_err(io(Path::new("a temporary folder")))?;
    let mode = match search {
        Search::Greedy => "greedy".into(),
        Search::Beam => "beam".into(),
        Search::Chance(seed) => seed.to_string(),
    };
    let (kind, value) = match input {
        Input::Text(text) => ("text", text),
        Input::Wav(path) => {
            let copy = folder.path().join("recording.wav");
            std::fs::copy(path, copy).map_err(io(path))?;
            ("wav", "recording.wav")
        }
        Input::Prompt(text) => {
            let file = folder.path().join("prompt.txt");
            std::fs::write(&file, text).map_err(io(&file))?;
            ("prompt", "prompt.txt")
        }
    };
    let emulator = Emulator::new(Core::M4).timeout(TIMEOUT).counting();
    let run = emulator.run(image, &[&mode, kind, value], folder.path())?;
    let mut decoded = Decoded {
        regions: run.regions,
        ..Decoded::default()
    };
    for line in run.output.lines() {
        read_line(line, &mut decoded).ok_or_else(|| DecodingError::BadOutput(line.into()))?;
    }
    Ok(decoded)
}

fn read_line(line: &str, decoded: &mut Decoded) -> Option<()> {
    match line.split_once(' ') {
        Some(("@region", _)) => {}
        Some(("token", name)) => decoded.tokens.push(name.into()),
        Some(("score", magnitude)) => decoded.score = -magnitude.parse::<i32>().ok()?,
        Some(("stack", bytes)) => decoded.stack = bytes.parse().ok()?,
        None if line == "cut" => decoded.cut = true,
        _ => return None,
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_application_prints_is_understood() {
        let mut decoded = Decoded::default();
        for line in ["@region step", "token OW1", "cut", "score 77", "stack 12"] {
            read_line(line, &mut decoded).unwrap();
        }
        assert_eq!((decoded.tokens[0].as_str(), decoded.score), ("OW1", -77));
        assert_eq!((decoded.cut, decoded.stack), (true, 12));
        assert!(read_line("hello", &mut decoded).is_none());
    }
}
