//! `attn bench`: what a model costs on a chip, operator by operator. Here are the flags, and the way from the file to the figures; [`text`] and
//! [`page`] show them.

mod figures;
mod page;
mod svg;
mod text;

use super::recipe::{Recipe, is_manifest};
use super::{CommandResult, check_output};
use crate::bars::Bars;
use crate::flags::FlagError;
use crate::limits::working;
use crate::shown::say;
use attn_converter::compare::{Comparison, compare_file};
use attn_converter::emit::Metadata;
use attn_converter::files::write_bytes;
use attn_converter::noise;
use attn_converter::output::TemporaryFolder;
use attn_converter::pipeline::{Conversion, Source, convert};
use attn_converter::runner::ModelFile;
use attn_lab::bench::{Bench as Measured, Options, measure, missing};
use attn_lab::emulator::Core;
use attn_lab::error::LabError;
use attn_runtime::format::MAGIC;
use clap::{Args, ValueEnum};
use figures::{Figures, Setting};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Counts what a model costs on an emulated core: instructions and estimated cycles of each operator, memory, flash.
#[derive(Args)]
pub struct Bench {
    /// An .attn file; or what `attn convert` takes, which is converted for this alone: an ONNX model (calibrated with noise unless
    /// --calibrate names data) or a bundle, described by a .toml file.
    #[arg(required_unless_present = "entry", conflicts_with = "entry")]
    model: Option<PathBuf>,
    /// The core.
    #[arg(long, value_enum, default_value_t = CoreName::M4)]
    core: CoreName,
    /// Clock that times are given for, as 64MHz.
    #[arg(long, value_name = "HZ", default_value = "64MHz")]
    clock: Clock,
    /// Cycles that the core waits for each line of its flash, with nothing but one line kept of the code and one of the data. 0: memory that
    /// never waits.
    #[arg(long, value_name = "CYCLES", default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=64))]
    wait_states: u32,
    /// Bits that the flash delivers at once.
    #[arg(long, value_name = "BITS", default_value_t = FlashWidth::Bits128, value_enum, requires = "wait_states")]
    flash_width: FlashWidth,
    /// Also count functions of the program.
    #[arg(long, value_enum)]
    by: Option<By>,
    /// Write the figures with plots into this HTML file.
    #[arg(long, value_name = "HTML")]
    report: Option<PathBuf>,
    /// Print as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    recipe: Recipe,
}

/// `--core`.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum CoreName {
    /// Cortex-M0, without DSP instructions and floating point.
    M0,
    /// Cortex-M3, without DSP instructions and floating point.
    M3,
    /// Cortex-M4 with a floating-point unit.
    M4,
    /// Cortex-M7.
    M7,
    /// Cortex-M33.
    M33,
    /// Cortex-M55.
    M55,
}

impl From<CoreName> for Core {
    fn from(name: CoreName) -> Self {
        match name {
            CoreName::M0 => Self::M0,
            CoreName::M3 => Self::M3,
            CoreName::M4 => Self::M4,
            CoreName::M7 => Self::M7,
            CoreName::M33 => Self::M33,
            CoreName::M55 => Self::M55,
        }
    }
}

/// `--flash-width`.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum FlashWidth {
    /// A word.
    #[value(name = "32")]
    Bits32,
    /// Two words.
    #[value(name = "64")]
    Bits64,
    /// Four words.
    #[value(name = "128")]
    Bits128,
    /// Eight words.
    #[value(name = "256")]
    Bits256,
}

impl FlashWidth {
    fn bytes(self) -> u32 {
        match self {
            Self::Bits32 => 4,
            Self::Bits64 => 8,
            Self::Bits128 => 16,
            Self::Bits256 => 32,
        }
    }
}

/// `--by`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum By {
    /// Functions.
    Function,
}

/// Cycles a second.
#[derive(Clone, Copy, Debug)]
struct Clock(f64);

impl FromStr for Clock {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let units = [("GHz", 1e9), ("MHz", 1e6), ("kHz", 1e3), ("Hz", 1.0)];
        let unit = units
            .iter()
            .find_map(|(unit, hertz)| Some((text.strip_suffix(unit)?, *hertz)));
        let (number, hertz) = unit.unwrap_or((text, 1.0));
        let number = number.trim().parse::<f64>().ok();
        let clock = number.map(|number| number * hertz);
        let clock = clock.filter(|clock| (1e3..=1e10).contains(clock));
        clock
            .map(Self)
            .ok_or_else(|| "give a clock from 1kHz to 10GHz, as 64MHz".into())
    }
}

/// A model, and what its conversion told.
struct Subject {
    /// What it is called.
    name: String,
    file: ModelFile,
    conversion: Option<Conversion>,
    /// With data that mean something.
    comparison: Option<Comparison>,
}

impl Bench {
    pub fn run(&self) -> CommandResult {
        if let Some(path) = &self.report {
            check_output(path, &self.model)?;
        }
        // All that the conversion and the laboratory need for the moment lies in it, and goes with it when the command is interrupted.
        let folder = TemporaryFolder::new()?;
        // Refused only to a second one.
        let _ = tempfile::env::override_temp_dir(folder.path());
        let subject = self.subject()?;
        let setting = Setting {
            core: self.core.into(),
            clock: self.clock.0,
            wait_states: self.wait_states,
            flash_width: self.flash_width.bytes(),
        };
        let measured = self.measured(&subject, &setting)?;
        let figures = Figures::new(&subject.file, &setting, measured);
        if let Some(path) = &self.report {
            let page = page::page(&subject, &figures);
            write_bytes(path, page.as_bytes())?;
        }
        if self.json {
            say!("{:#}", figures.json());
        } else {
            text::print(&subject, &figures);
        }
        Ok(())
    }

    /// The figures of the emulator; `None`, with a note, where it cannot run.
    fn measured(
        &self,
        subject: &Subject,
        setting: &Setting,
    ) -> Result<Option<Measured>, Box<dyn std::error::Error>> {
        if let Some(missing) = missing(setting.core) {
            eprintln!("note: nothing is measured, cycles are estimated from shapes: {missing}");
            if self.by.is_some() {
                return Err(FlagError::new("--by", "needs the emulator").into());
            }
            return Ok(None);
        }
        working();
        let options = Options {
            core: setting.core,
            wait_states: setting.wait_states,
            line: setting.flash_width,
            functions: self.by == Some(By::Function),
        };
        let measured = measure(subject.file.bytes(), &options);
        Ok(Some(
            measured.map_err(|error| explained(error, &subject.name))?,
        ))
    }

    /// The model, converted if it is not an .attn file.
    fn subject(&self) -> Result<Subject, Box<dyn std::error::Error>> {
        let model = self.model.as_deref();
        let converted = model.filter(|path| is_converted(path));
        if let Some(path) = converted {
            if let Some(flag) = self.recipe.given() {
                let reason =
                    "the file is converted already: give the ONNX model, or leave this out";
                return Err(FlagError::new(flag, reason).into());
            }
            return Ok(Subject {
                name: path.display().to_string(),
                file: ModelFile::load(path)?,
                conversion: None,
                comparison: None,
            });
        }
        self.convert(model)
    }

    /// As `attn convert` does, in memory.
    fn convert(&self, model: Option<&Path>) -> Result<Subject, Box<dyn std::error::Error>> {
        let noisy = model.filter(|path| !self.recipe.is_calibrated() && !is_manifest(path));
        let folder = tempfile::tempdir()?;
        let manifest = match noisy {
            None => self.recipe.manifest(model)?,
            Some(onnx) => {
                if let Some(flag) = self.recipe.needs_data() {
                    let reason = "needs calibration data: name them with --calibrate";
                    return Err(FlagError::new(flag, reason).into());
                }
                let data = folder.path().join("noise.npz");
                noise::write(onnx, &data)?;
                eprintln!(
                    "note: calibrated with noise; which values have 16 bits depends on data, which --calibrate names"
                );
                self.recipe.calibrated(model, &data)?
            }
        };
        let bars = Bars::default();
        let show = |step| bars.show(step);
        let source = Source::Bundle(&manifest);
        let conversion = convert(source, &self.recipe.options(Metadata::default()), &show)?;
        let name = model.map_or("the entry points".into(), |path| path.display().to_string());
        let comparison = match noisy.is_none() && self.report.is_some() {
            true => {
                let file = &conversion.file;
                Some(compare_file(source, file, name.as_ref(), &show)?)
            }
            false => None,
        };
        Ok(Subject {
            name,
            file: conversion.file.clone(),
            conversion: Some(conversion),
            comparison,
        })
    }
}

/// Whether a file is converted already: by its name, or by its first bytes.
fn is_converted(path: &Path) -> bool {
    let mut start = [0; MAGIC.len()];
    let mut starts = || File::open(path).and_then(|mut file| file.read_exact(&mut start));
    let named = path.extension().is_some_and(|end| end == "attn");
    named || path.is_file() && starts().is_ok() && start == MAGIC
}

/// The laboratory's errors, with the model's name and what a user of the command can do.
fn explained(error: LabError, model: &str) -> String {
    match error {
        LabError::NoFpu(_) => {
            format!("{model}: {error}; convert it with --dtype int8, or choose another --core")
        }
        LabError::DoesNotFit { .. } => format!("{model}: {error} (--core)"),
        error => format!("{model}: {error}"),
    }
}
