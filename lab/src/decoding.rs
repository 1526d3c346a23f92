//! Decoding on an emulated core: the tokens of the decoding application and their cost, and a comparison of its bytes with those of
//! this computer.

use crate::aligned::AlignedBytes;
use crate::emulator::{Core, Emulator, Region};
use crate::error::{LabError, io};
use crate::runner;
use attn_app::trace;
use attn_runtime::Session;
use attn_runtime::seq2seq::Beam;
use std::path::Path;
use std::time::Duration;

pub(crate) const TIMEOUT: Duration = Duration::from_secs(600);

/// Decodes all of `inputs` (numbers of symbols, or the bits of features) here and on `core`, greedily with all outputs of every
/// step, and with a beam. Returns the number of bytes that were compared and found equal.
///
/// # Errors
/// [`LabError`].
pub fn check(core: Core, model: &Path, inputs: &[Vec<u16>]) -> Result<usize, LabError> {
    let records = inputs.iter().flat_map(|elements| {
        let count = elements.len() as u16;
        [count].into_iter().chain(elements.iter().copied())
    });
    let bytes: Vec<u8> = records.flat_map(u16::to_le_bytes).collect();
    let arguments = ["decode", "model.attn", "inputs", "outputs"];
    let emulator = Emulator::new(core).timeout(TIMEOUT);
    let found = runner::run(&emulator, &arguments, model, &[("inputs", &bytes)])?.outputs;
    let expected = here(model, inputs)?;
    if found == expected {
        return Ok(found.len());
    }
    let same = found.iter().zip(&expected).take_while(|(a, b)| a == b);
    Err(LabError::DecodeDiffers {
        core,
        found: found.len(),
        expected: expected.len(),
        at: same.count(),
    })
}

/// The decode of this computer.
fn here(model: &Path, inputs: &[Vec<u16>]) -> Result<Vec<u8>, LabError> {
    let file = AlignedBytes::read(model)?;
    let model = runner::parse(model, &file)?;
    let mut arena = AlignedBytes::zeroed(model.arena_len());
    let mut session = Session::new(model, arena.as_mut_slice())?;
    let len = Beam::<{ trace::WIDTH }>::memory_len(&model, trace::WIDTH)?;
    let mut memory = AlignedBytes::zeroed(len);
    let mut bytes = Vec::new();
    for elements in inputs {
        let write = |piece: &[u8]| bytes.extend_from_slice(piece);
        trace::decode(&mut session, memory.as_mut_slice(), elements, write)?;
    }
    Ok(bytes)
}

/// The input of a decode.
#[derive(Clone, Copy, Debug)]
pub enum Input<'i> {
    /// Text, without spaces.
    Text(&'i str),
    /// A WAV file, 16 kHz, mono, 16-bit.
    Wav(&'i Path),
    /// A text to continue, of less than 512 bytes.
    Prompt(&'i str),
}

/// The search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Search {
    /// The best token at every step.
    Greedy,
    /// A beam of four hypotheses.
    Beam,
    /// Sampled tokens, with this seed.
    Chance(u32),
}

/// The result of the application.
#[derive(Clone, Debug, Default)]
pub struct Decoded {
    /// Names of the tokens.
    pub tokens: Vec<String>,
    /// Log-probability, Q16 nats.
    pub score: i32,
    /// True if the limit on tokens ended the sequence.
    pub cut: bool,
    /// Most bytes of stack in use.
    pub stack: u64,
    /// Regions `front end`, `encode` and `step`.
    pub regions: Vec<Region>,
}

impl Decoded {
    /// The sum of all regions of this name.
    pub fn total(&self, name: &str) -> u64 {
        let named = self.regions.iter().filter(|region| region.name == name);
        named.map(|region| region.instructions).sum()
    }
}

/// Has the application in `image` (built from [`crate::images::Image::decode`]) decode `input`, counting instructions.
///
/// # Errors
/// [`LabError`]; [`LabError::Emulator`] with the application's message if it refuses the input.
pub fn decode(image: &Path, search: Search, input: Input) -> Result<Decoded, LabError> {
    let folder = tempfile::tempdir().map_err(io("a temporary folder"))?;
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
        read_line(line, &mut decoded).ok_or_else(|| LabError::BadOutput(line.into()))?;
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
