//! `cargo xtask`: set-up, demo, tests, generated tables. `lab` does the measurements; this crate only calls it.
#![forbid(unsafe_code)]

mod cost;
mod decode;
mod demo;
mod digests;
mod fuzz;
mod model;
mod pack;
mod peers;
mod picture;
mod probe;
mod python;
mod release;
mod results;
mod setup;
mod suite;
mod supply;
mod systems;
mod test;

use clap::{Parser, Subcommand, ValueEnum};
use std::path::PathBuf;
use std::process::ExitCode;

/// Tasks of this repository.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Task {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Installs what is missing to build, emulate and test
    Setup,
    /// Converts the shipped models anew into the committed files models/*.attn
    Model,
    /// Runs a shipped model on an emulated Cortex-M4: keywords in a recording, phonemes of a word, spoken digits, a text continued
    Demo {
        /// Which one
        #[arg(value_enum, default_value_t = Shown::Keywords)]
        what: Shown,
        /// For g2p: the word; for llama: the text to continue
        text: Option<String>,
        /// For keywords and digits: a recording of yours (WAV or FLAC) instead of the committed recording
        #[arg(long)]
        wav: Option<PathBuf>,
    },
    /// Runs the checks and tests
    Test {
        /// Also those that take long: every model on every emulated core, digests, rows of the tables of systems, real recordings
        #[arg(long)]
        all: bool,
    },
    /// Converts and runs every model and fixture and compares their output bytes with the committed list
    Digests {
        /// Writes the list: for a change that is meant to change bytes
        #[arg(long)]
        record: bool,
    },
    /// Packs the C library, built for every chip: for CMake and Zephyr, and for Arduino
    Pack {
        /// The models whose operators the library gets
        #[arg(required = true)]
        models: Vec<PathBuf>,
        /// Where the packages go; in the build folder otherwise
        #[arg(long)]
        folder: Option<PathBuf>,
    },
    /// Measures what keyword spotting and decoding cost on the chip and writes docs/results/cost.md
    Cost {
        /// Only checks whether the page is stale
        #[arg(long)]
        check: bool,
    },
    /// Counts CMSIS-NN on the emulated Cortex-M4 and writes docs/results/peers.md
    Peers {
        /// A checkout of CMSIS-NN (github.com/ARM-software/CMSIS-NN)
        sources: PathBuf,
    },
    /// Draws docs/guide/bench.png: the page of `attn bench --report` for a model, in a browser
    Picture,
    /// Mutates files of every kind and looks whether a parser stumbles
    Fuzz(fuzz::Fuzz),
    /// Runs a part of the tests of the runtime in Miri, with a nightly compiler
    Miri,
    /// Prints which lines of the runtime its own tests and the fuzzing target reach
    Coverage,
    /// Checks licences, sources and advisories of every crate against deny.toml
    Deny,
    /// Writes a bill of materials (CycloneDX) for every package: all crates in it, with version and licence
    Sbom {
        /// Where they go; in the build folder otherwise
        #[arg(long)]
        folder: Option<PathBuf>,
        /// Only for this platform, such as thumbv7em-none-eabihf
        #[arg(long)]
        target: Option<String>,
    },
    /// Builds the Python package, installs its wheel and runs its tests; needs Python with the packages that it names
    Python,
    /// Makes what a release consists of: the command as a static program, the wheel, converted models, packages for C, checksums
    Release {
        /// Where it goes; must not be there yet
        folder: PathBuf,
    },
    /// Runs ONNX's own operator tests; needs Python with onnx and numpy
    Suite,
    /// Measures every attention system, how close it stays to PyTorch and what it costs, and writes docs/results/systems.md
    Systems {
        /// Only checks whether the page is stale, with some of the systems
        #[arg(long)]
        check: bool,
    },
}

/// The model that the demo runs.
#[derive(Clone, Copy, ValueEnum)]
enum Shown {
    /// Keyword spotting
    Keywords,
    /// Grapheme to phoneme
    G2p,
    /// Strings of spoken digits
    Digits,
    /// A text continued by a small language model
    Llama,
}

/// The result of a task.
type TaskResult = Result<(), Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    let result = match Task::parse().command {
        Command::Setup => setup::run().map_err(Into::into),
        Command::Model => model::run(),
        Command::Demo { what, text, wav } => match what {
            Shown::Keywords => demo::run(wav.as_deref()),
            Shown::G2p => decode::g2p(text.as_deref().unwrap_or(decode::WORD)),
            Shown::Digits => decode::digits(wav.as_deref()),
            Shown::Llama => decode::llama(text.as_deref().unwrap_or(decode::PROMPT)),
        },
        Command::Pack { models, folder } => pack::run(&models, folder),
        Command::Test { all } => test::run(all),
        Command::Digests { record } => digests::run(record),
        Command::Cost { check } => cost::run(check),
        Command::Peers { sources } => peers::run(&sources),
        Command::Picture => picture::run(),
        Command::Fuzz(what) => fuzz::run(&what),
        Command::Miri => probe::miri(),
        Command::Coverage => probe::coverage(),
        Command::Deny => supply::deny(),
        Command::Sbom { folder, target } => supply::sbom(folder, target.as_deref()),
        Command::Python => python::run(),
        Command::Release { folder } => release::run(&folder),
        Command::Suite => suite::run(),
        Command::Systems { check } => systems::run(check),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
