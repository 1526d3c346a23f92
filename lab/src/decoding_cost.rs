//! The cost of decoding on the chip: memory, the encoder once for each input, a step for each token, and the share of each kind of
//! operator.

use crate::aligned::AlignedBytes;
use crate::cost::{Mean, group, means};
use crate::decoding::{self, Decoded, Input, Search};
use crate::elf::Image as Elf;
use crate::emulator::{Core, Emulator, Region};
use crate::error::LabError;
use crate::runner;
use crate::table::Figures;
use attn_runtime::Model;
use attn_runtime::audio::FrontEnd;
use attn_runtime::format::DecodeMeta;
use attn_runtime::seq2seq::{Beam, DecodeError, Spelling};
use comfy_table::Table;
use std::path::Path;
use zerocopy::IntoBytes;

/// Hypotheses of the application's beam.
const WIDTH: usize = 4;

/// Seed of the sampling.
const SEED: u32 = 1;
/// Name of the sampling in tables.
const CHANCE: &str = "by chance";

/// The cost of decoding with one model.
#[derive(Clone, Debug)]
pub struct DecodingCost {
    /// The input, as text for tables.
    pub input: String,
    /// The decoded sequences.
    pub answers: Answers,
    /// The encoder by kind of operator, for the whole input; the mean step by kind of operator.
    pub kinds: Vec<Mean>,
    /// Bytes: code with tables, model file, arena, memory of the beam.
    pub memory: [(&'static str, u64); 4],
}

/// What the decoding application makes of an input.
#[derive(Clone, Debug)]
pub struct Answers {
    /// Greedy decoding on the chip.
    pub greedy: Decoded,
    /// The other search, as text for tables: a beam, or sampling after a prompt.
    pub other_name: &'static str,
    /// Decoding with that search on the chip.
    pub other: Decoded,
}

/// Decodes `input` with the decoding application in `image`, greedily and with a beam (after a prompt: by sampling).
///
/// # Errors
/// [`LabError`].
pub fn answers(image: &Path, input: Input) -> Result<Answers, LabError> {
    let (other_name, search) = match input {
        Input::Prompt(_) => (CHANCE, Search::Chance(SEED)),
        _ => ("beam of 4", Search::Beam),
    };
    Ok(Answers {
        greedy: decoding::decode(image, Search::Greedy, input)?,
        other_name,
        other: decoding::decode(image, search, input)?,
    })
}

/// Counts what it costs to come to `answers` from `input`. `image` is the decoding application around `model` (a `.attn` file).
///
/// # Errors
/// [`LabError`].
pub fn measure(
    model: &Path,
    image: &Path,
    input: Input,
    answers: Answers,
) -> Result<DecodingCost, LabError> {
    let file = AlignedBytes::read(model)?;
    let parsed = runner::parse(model, &file)?;
    let memory = Beam::<WIDTH>::memory_len(&parsed, WIDTH)?;
    let sizes = Elf::read(image)?.sizes;
    let file_len = file.as_slice().len() as u64;
    Ok(DecodingCost {
        input: match input {
            Input::Text(text) => format!("“{text}”"),
            Input::Wav(_) => "the demo recording".into(),
            Input::Prompt(text) => format!("behind “{text}”"),
        },
        kinds: kinds(model, &parsed, input, &answers.greedy)?,
        answers,
        memory: [
            (
                "flash: code, tables and constants",
                (sizes.code + sizes.constants).saturating_sub(file_len),
            ),
            ("flash: model", file_len),
            ("RAM: arena", parsed.arena_len() as u64),
            ("RAM: beam of 4 hypotheses", memory as u64),
        ],
    })
}

/// Counts every operator in the test image, along the decoded tokens, and sums them by kind.
fn kinds(
    path: &Path,
    model: &Model,
    input: Input,
    greedy: &Decoded,
) -> Result<Vec<Mean>, LabError> {
    let (bytes, length) = encoder_input(model, input)?;
    let prompt = match input {
        Input::Prompt(text) => spelled(Spelling::of_tokens(*model, text))?,
        _ => Vec::new(),
    };
    let number = |name: &String| model.tokens().position(|token| token == name.as_str());
    let numbers = greedy.tokens.iter().map(|name| {
        let number = number(name).or_else(|| name.parse().ok());
        number.ok_or_else(|| LabError::BadOutput(name.clone()))
    });
    let numbers = numbers.collect::<Result<Vec<_>, _>>()?;
    let start = model.decode().map_or(0, |decode| decode.start as usize);
    let numbers = numbers.into_iter().map(|number| number as u16);
    let tokens = [start as u16].into_iter().chain(prompt).chain(numbers);
    let tokens: Vec<u16> = tokens.collect();
    let regions = count(path, &bytes, length, &tokens)?;
    Ok(by_kind(&regions, tokens.len() as u64))
}

/// Counts every operator of the encoder of `model` (a `.attn` file) on the emulated M4, on the bytes of one input of that
/// length (0: of fixed shape), and of the steps along `tokens`: regions `encode KIND NAME` and `step KIND NAME`.
///
/// # Errors
/// [`LabError`].
pub fn count(
    model: &Path,
    input: &[u8],
    length: usize,
    tokens: &[u16],
) -> Result<Vec<Region>, LabError> {
    let tokens: Vec<u8> = tokens.iter().flat_map(|t| t.to_le_bytes()).collect();
    let length = length.to_string();
    let arguments = ["steps", "model.attn", &length, "input", "tokens"];
    let emulator = Emulator::new(Core::M4)
        .timeout(decoding::TIMEOUT)
        .counting();
    let files = [("input", input), ("tokens", &tokens[..])];
    Ok(runner::run(&emulator, &arguments, model, &files)?.regions)
}

/// Regions `encode KIND NAME` and `step KIND NAME`, summed by kind; those of the steps divided by their number.
fn by_kind(regions: &[Region], steps: u64) -> Vec<Mean> {
    let kind = |name: &str| name.splitn(3, ' ').take(2).collect::<Vec<_>>().join(" ");
    let named = regions.iter().map(|region| Region {
        name: kind(&region.name),
        ..region.clone()
    });
    let named: Vec<Region> = named.collect();
    let mut sums = means(&named);
    for sum in &mut sums {
        let same = || named.iter().filter(|region| region.name == sum.name);
        let runs = if sum.name.starts_with("step ") {
            steps.max(1)
        } else {
            1
        };
        sum.instructions = same().map(|r| r.instructions).sum::<u64>() / runs;
        sum.cycles = same().map(|r| r.cycles).sum::<u64>() / runs;
    }
    sums
}

/// Bytes of the encoder's input, and its length; 0 for a model of fixed shape.
fn encoder_input(model: &Model, input: Input) -> Result<(Vec<u8>, usize), LabError> {
    let (bytes, length): (Vec<u8>, usize) = match input {
        Input::Text(text) => {
            let symbols = spelled(Spelling::new(*model, text))?;
            let mut symbols: Vec<i32> = symbols.into_iter().map(i32::from).collect();
            let end = model
                .decode()
                .and_then(|d| DecodeMeta::optional(d.end_symbol));
            symbols.extend(end.map(|end| end as i32));
            (symbols.as_bytes().to_vec(), symbols.len())
        }
        Input::Prompt(_) => (Vec::new(), 0),
        Input::Wav(path) => {
            let pcm = attn_recordings::read(path)?;
            let hop = model.audio().map_or(0, |audio| audio.hop as usize);
            let mut front_end =
                FrontEnd::new(hop).map_err(|error| LabError::BadOutput(error.to_string()))?;
            let (mut features, mut frames) = (Vec::new(), 0);
            front_end.push(&pcm, |frame| {
                features.extend_from_slice(frame.as_bytes());
                frames += 1;
            });
            (features, frames)
        }
    };
    Ok((bytes, if model.max_length() > 0 { length } else { 0 }))
}

/// A text as numbers.
fn spelled(spelling: Result<Spelling, DecodeError>) -> Result<Vec<u16>, LabError> {
    let numbers = spelling.and_then(Iterator::collect::<Result<_, _>>);
    Ok(numbers?)
}

impl DecodingCost {
    fn time(&self) -> Figures {
        let row = |name: String, instructions: u64| [name, group(instructions)];
        let mut rows = Vec::new();
        let front_end = self.answers.greedy.total("front end");
        if front_end > 0 {
            rows.push(row("front end, the whole recording".into(), front_end));
        }
        let encoder = match self.answers.other_name {
            CHANCE => "the prompt",
            _ => "encoder, once",
        };
        rows.push(row(encoder.into(), self.answers.greedy.total("encode")));
        rows.extend(self.kinds_of("encode "));
        let steps = |decoded: &Decoded| {
            let steps = decoded.regions.iter().filter(|r| r.name == "step");
            steps.filter(|r| r.instructions > 1000).count()
        };
        let step = |decoded: &Decoded| decoded.total("step") / (steps(decoded) as u64).max(1);
        let greedy = step(&self.answers.greedy);
        rows.push(row("one token, greedy".into(), greedy));
        rows.extend(self.kinds_of("step "));
        let ops = self
            .kinds
            .iter()
            .filter(|kind| kind.name.starts_with("step "));
        let ops: u64 = ops.map(|kind| kind.instructions).sum();
        rows.push(row("· ranking, decoder".into(), greedy.saturating_sub(ops)));
        let other = self.answers.other_name;
        rows.push(row(
            format!("one token, {other}"),
            step(&self.answers.other),
        ));
        for (name, decoded) in [
            ("greedy", &self.answers.greedy),
            (other, &self.answers.other),
        ] {
            let all = decoded.total("encode") + decoded.total("step");
            let steps = steps(decoded);
            rows.push(row(format!("all of it, {name} ({steps} steps)"), all));
        }
        Figures::new([&self.input, "instructions"], rows)
    }

    fn kinds_of(&self, part: &str) -> Vec<[String; 2]> {
        let kinds = self.kinds.iter();
        kinds
            .filter_map(|kind| {
                let name = kind.name.strip_prefix(part)?;
                Some([format!("· {name}"), group(kind.instructions)])
            })
            .collect()
    }

    fn memory(&self) -> Figures {
        let stack = self.answers.greedy.stack.max(self.answers.other.stack);
        let stack = [("RAM: stack, high-water mark", stack)];
        let rows = self.memory.iter().chain(&stack);
        let rows = rows.map(|(name, bytes)| [(*name).into(), group(*bytes)]);
        Figures::new(["memory", "bytes"], rows.collect())
    }

    /// The cost as tables for the terminal.
    pub fn tables(&self) -> [Table; 2] {
        [self.memory().table(), self.time().table()]
    }

    /// The cost as Markdown, for docs/results/cost.md.
    pub fn markdown(&self) -> String {
        [self.time().markdown(), self.memory().markdown()].join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operators_are_summed_by_kind_and_steps_averaged() {
        let region = |name: &str, instructions| Region {
            name: name.into(),
            instructions,
            cycles: 2 * instructions,
        };
        let regions = [
            region("encode Gru a", 10),
            region("encode Gru b", 20),
            region("step Linear a", 3),
            region("step Linear b", 4),
            region("step Linear a", 5),
            region("step Linear b", 6),
        ];
        let found = by_kind(&regions, 2);
        let found: Vec<_> = found
            .iter()
            .map(|m| (m.name.as_str(), m.instructions))
            .collect();
        assert_eq!(found, [("encode Gru", 30), ("step Linear", 9)]);
    }
}
