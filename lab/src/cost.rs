//! The cost of keyword spotting on the chip: flash, RAM, stack, instructions and cycles per hop.

use crate::aligned::AlignedBytes;
use crate::demo;
use crate::elf::Image as Elf;
use crate::emulator::{Core, Emulator, Region};
use crate::error::LabError;
use crate::runner;
use crate::table::Figures;
use comfy_table::Table;
use std::path::Path;
use zerocopy::IntoBytes;

/// Clock of the M4 for the share of real time.
pub const CLOCK_HZ: f64 = 64e6;
/// The project's own limits: arena, weights, code with tables, instructions per hop.
pub const LIMITS: Limits = Limits {
    arena: 24 << 10,
    weights: 160 << 10,
    code: 54 << 10,
    instructions: 350_000,
};
/// Hops before the layers are measured, and hops measured: within the first word of the demo recording.
const WARM_UP: usize = 160;
const MEASURED: usize = 20;

/// Upper limits.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of arena.
    pub arena: u64,
    /// Bytes of weights.
    pub weights: u64,
    /// Bytes of code and tables.
    pub code: u64,
    /// Instructions per hop.
    pub instructions: u64,
}

/// A mean over hops.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Mean {
    /// Name of the region.
    pub name: String,
    /// Instructions.
    pub instructions: u64,
    /// Estimated cycles.
    pub cycles: u64,
}

/// The cost of keyword spotting.
#[derive(Clone, Debug)]
pub struct Cost {
    /// Instructions and vector table, bytes.
    pub code: u64,
    /// Tables and other constants, bytes.
    pub tables: u64,
    /// The model file, bytes, including [`Cost::weights`].
    pub model: u64,
    /// Weights, biases, multipliers, bytes.
    pub weights: u64,
    /// The model's arena, bytes.
    pub arena: u64,
    /// Static variables without the arena, bytes.
    pub variables: u64,
    /// Most stack in use, bytes.
    pub stack: u64,
    /// Length of a hop in seconds.
    pub hop_seconds: f64,
    /// A whole hop, mean over the recording.
    pub hop: Mean,
    /// Instructions of the most expensive hop.
    pub most_instructions: u64,
    /// The front end, then every operator.
    pub parts: Vec<Mean>,
}

/// Measures `model` (a `.attn` file) on the emulated M4 with 16 kHz mono samples. `image` is the application with this
/// model, `played` what it did with the samples while instructions were counted.
///
/// # Errors
/// [`LabError`].
pub fn measure(
    model: &Path,
    image: &Path,
    played: &demo::Played,
    pcm: &[i16],
) -> Result<Cost, LabError> {
    let file = AlignedBytes::read(model)?;
    let parsed = runner::parse(model, &file)?;
    let audio = parsed
        .audio()
        .ok_or_else(|| LabError::NoAudio(model.into()))?;
    let sizes = Elf::read(image)?.sizes;
    let (file_len, arena) = (file.as_slice().len() as u64, parsed.arena_len() as u64);
    Ok(Cost {
        code: sizes.code,
        tables: sizes.constants.saturating_sub(file_len),
        model: file_len,
        weights: parsed.weights_len() as u64,
        arena,
        variables: sizes.variables.saturating_sub(arena),
        stack: played.stack,
        hop_seconds: f64::from(audio.hop) / f64::from(audio.sample_rate),
        hop: mean("hop", played.hops.iter()),
        most_instructions: played
            .hops
            .iter()
            .map(|hop| hop.instructions)
            .max()
            .unwrap_or(0),
        parts: parts(model, pcm, audio.hop as usize)?,
    })
}

fn mean<'r>(name: &str, regions: impl Iterator<Item = &'r Region>) -> Mean {
    let (mut count, mut sum) = (0, Mean::default());
    for region in regions {
        count += 1;
        sum.instructions += region.instructions;
        sum.cycles += region.cycles;
    }
    let count = std::cmp::max(count, 1);
    Mean {
        name: name.into(),
        instructions: sum.instructions / count,
        cycles: sum.cycles / count,
    }
}

/// Front end and operators one by one, in the test image.
fn parts(model: &Path, pcm: &[i16], hop: usize) -> Result<Vec<Mean>, LabError> {
    let needed = (WARM_UP + MEASURED) * hop + attn_runtime::audio::FRAME_LEN;
    let pcm = pcm.get(..needed).unwrap_or(pcm);
    let warm_up = WARM_UP.min(pcm.len() / hop / 2).to_string();
    let arguments = ["bench", "model.attn", "samples.pcm", &warm_up];
    let emulator = Emulator::new(Core::M4).counting();
    let run = runner::run(
        &emulator,
        &arguments,
        model,
        &[("samples.pcm", pcm.as_bytes())],
    )?;
    Ok(means(&run.regions))
}

/// The means of regions with the same name, in order of first appearance.
pub fn means(regions: &[Region]) -> Vec<Mean> {
    let mut names: Vec<&str> = Vec::new();
    for region in regions {
        if !names.contains(&region.name.as_str()) {
            names.push(&region.name);
        }
    }
    let of = |name: &&str| mean(name, regions.iter().filter(|region| region.name == *name));
    names.iter().map(of).collect()
}

impl Cost {
    /// Share of real time on an M4 at [`CLOCK_HZ`], 0 to 1.
    pub fn share(&self) -> f64 {
        self.hop.cycles as f64 / (CLOCK_HZ * self.hop_seconds)
    }

    /// Limits that are exceeded, in words.
    pub fn exceeded(&self) -> Vec<String> {
        let checks = [
            ("arena bytes", self.arena, LIMITS.arena),
            ("bytes of weights", self.weights, LIMITS.weights),
            (
                "bytes of code and tables",
                self.code + self.tables,
                LIMITS.code,
            ),
            (
                "instructions in a hop",
                self.most_instructions,
                LIMITS.instructions,
            ),
        ];
        let over = checks.into_iter().filter(|(_, value, limit)| value > limit);
        over.map(|(what, value, limit)| {
            format!("{} {what}, the limit is {}", group(value), group(limit))
        })
        .collect()
    }

    fn memory(&self) -> Figures {
        let rows = [
            ("flash: code", self.code),
            ("flash: tables and constants", self.tables),
            ("flash: model", self.model),
            ("of which weights", self.weights),
            ("RAM: arena", self.arena),
            ("RAM: other variables", self.variables),
            ("RAM: stack, high-water mark", self.stack),
        ];
        let rows = rows.map(|(what, bytes)| [what.into(), group(bytes)]);
        Figures::new(["memory", "bytes"], rows.into())
    }

    fn time(&self) -> Figures {
        let row =
            |name: &str, mean: &Mean| [name.into(), group(mean.instructions), group(mean.cycles)];
        let sum = |f: fn(&Mean) -> u64| self.parts.iter().map(f).sum::<u64>();
        let rest = Mean {
            name: "framing, smoothing, decision".into(),
            instructions: self
                .hop
                .instructions
                .saturating_sub(sum(|p| p.instructions)),
            cycles: self.hop.cycles.saturating_sub(sum(|p| p.cycles)),
        };
        let parts = self.parts.iter().chain([&rest]);
        let mut rows: Vec<_> = parts.map(|part| row(&part.name, part)).collect();
        rows.push(row("whole hop, mean over the recording", &self.hop));
        Figures::new(["one hop", "instructions", "cycles (estimate)"], rows)
    }

    /// The cost as tables for the terminal.
    pub fn tables(&self) -> [Table; 2] {
        [self.memory().table(), self.time().table()]
    }

    /// The time that a hop takes, in a sentence.
    pub fn summary(&self) -> String {
        format!(
            "One hop ({} ms) takes {} instructions at most; with {} estimated cycles on average that is {:.0} % of a \
             {} MHz Cortex-M4.",
            (self.hop_seconds * 1000.0).round(),
            group(self.most_instructions),
            group(self.hop.cycles),
            self.share() * 100.0,
            CLOCK_HZ / 1e6
        )
    }

    /// The cost as Markdown, for docs/results/cost.md.
    pub fn markdown(&self) -> String {
        let tables = [self.memory().markdown(), self.time().markdown()];
        format!("{}\n{}\n", tables.join("\n"), self.summary())
    }
}

/// A number with its thousands separated.
pub fn group(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_thousands() {
        let numbers = [0, 999, 1000, 12_345_678];
        assert_eq!(numbers.map(group), ["0", "999", "1 000", "12 345 678"]);
    }

    #[test]
    fn a_limit_that_is_exceeded_is_named() {
        let mut cost = Cost {
            code: 40 << 10,
            tables: 14 << 10,
            model: 0,
            weights: 160 << 10,
            arena: 24 << 10,
            variables: 0,
            stack: 0,
            hop_seconds: 0.02,
            hop: Mean {
                cycles: 640_000,
                ..Mean::default()
            },
            most_instructions: 350_000,
            parts: vec![],
        };
        assert!(cost.exceeded().is_empty());
        assert!((cost.share() - 0.5).abs() < 1e-9);
        cost.tables += 1;
        assert_eq!(
            cost.exceeded(),
            ["55 297 bytes of code and tables, the limit is 55 296"]
        );
    }
}
