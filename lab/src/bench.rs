//! A user's model measured on an emulated core, in an image built around it: the code is that which ships with this model. What the file
//! alone tells is in `layout`.

use crate::aligned::AlignedBytes;
use crate::elf::{Image as Elf, Symbol};
use crate::emulator::{Core, Emulator, Executed, Flash, Region};
use crate::error::{LabError, io};
use crate::images::Image;
use crate::layout;
use crate::{plugin, tools, workspace};
use attn_runtime::Model;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::PathBuf;
use std::time::Duration;
use thiserror::Error;

/// Longest run of an image: some hundred inferences of a large model.
const TIMEOUT: Duration = Duration::from_secs(600);
/// Stack that is left to a program beside its arena.
const STACK: u64 = 64 << 10;
/// Code of a program with all operators.
const CODE: u64 = 160 << 10;

/// What to measure on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// The core.
    pub core: Core,
    /// Cycles that it waits for each line of flash.
    pub wait_states: u32,
    /// Bytes of a line of flash; a power of two.
    pub line: u32,
    /// Count functions, too.
    pub functions: bool,
}

/// What was executed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Instructions: exact.
    pub instructions: u64,
    /// Cycles: estimated from the costs of instructions.
    pub cycles: u64,
}

/// A function of the image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// What was executed in it, without what it calls.
    pub count: Count,
}

/// An entry point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Each operator, in order.
    pub operators: Vec<Count>,
    /// A run from start to end.
    pub whole: Count,
    /// Functions of such a run, the most costly first, if they were asked for.
    pub functions: Vec<Function>,
}

/// What a model costs on a core.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bench {
    /// Each entry point, in the order of the file.
    pub entries: Vec<Entry>,
    /// Parsing and checking the file, once.
    pub parse: Count,
    /// Instructions and vector table of the smallest program around the model, bytes.
    pub code: u64,
    /// Its tables and other constants without the model, bytes.
    pub tables: u64,
    /// Most stack in use, bytes.
    pub stack: u64,
}

/// Something that is needed to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Missing {
    /// The sources of the firmware.
    #[error(
        "the sources of the firmware are missing, which this command was built beside: clone the repository and install the command \
         from it (`cargo install --path cli`)"
    )]
    Sources,
    /// Cargo.
    #[error("cargo does not run: install Rust with rustup (https://rustup.rs)")]
    Cargo,
    /// The compiler's target.
    #[error("the compiler has no target {0}: `rustup target add {0}`")]
    Target(&'static str),
    /// QEMU.
    #[error("QEMU is missing: `cargo xtask setup` in the repository installs qemu-system-arm")]
    Qemu,
    /// The C compiler.
    #[error(
        "there is no C compiler (cc), which builds the instruction counter: `cargo xtask setup` installs one"
    )]
    Compiler,
}

/// The first thing that is missing to measure on a core.
pub fn missing(core: Core) -> Option<Missing> {
    let target = core.target();
    // One after the other: without the sources there is no folder for tools either.
    if !workspace::root()
        .join("firmware/bench/Cargo.toml")
        .is_file()
    {
        Some(Missing::Sources)
    } else if !tools::cargo_runs() {
        Some(Missing::Cargo)
    } else if !tools::has_target(target) {
        Some(Missing::Target(target))
    } else if tools::command("qemu-system-arm").is_none() {
        Some(Missing::Qemu)
    } else if !plugin::is_built() && tools::command("cc").is_none() {
        Some(Missing::Compiler)
    } else {
        None
    }
}

/// Measures the model in `file`.
///
/// # Errors
/// [`LabError::DoesNotFit`], [`LabError::NoFpu`], before anything is built; [`LabError`].
pub fn measure(file: &[u8], options: &Options) -> Result<Bench, LabError> {
    let core = options.core;
    let aligned = AlignedBytes::new(file);
    let model = Model::parse(aligned.as_slice()).map_err(|source| LabError::Model {
        path: "the model".into(),
        source,
    })?;
    let [flash, ram] = core.memory().regions()?;
    fits(&model, file, core, [&flash, &ram].map(|r| r.end - r.start))?;
    let built = build(file, core)?;
    let mut emulator = Emulator::new(core).timeout(TIMEOUT).counting();
    if options.wait_states > 0 {
        emulator = emulator.waiting_for(Flash {
            range: flash,
            line: options.line,
            wait_states: options.wait_states,
        });
    }
    if options.functions {
        emulator = emulator.by_address();
    }
    let run = emulator.run(&built.measured, &[], built.folder.path())?;
    let stack = run.output.lines().find_map(|line| {
        let bytes = line.strip_prefix("stack ")?;
        bytes.parse().ok()
    });
    let bad = || LabError::BadOutput(run.output.clone());
    let symbols = Elf::read(&built.measured)?.symbols;
    let (parse, entries) = entries(&model, &run.regions).ok_or_else(bad)?;
    let sizes = Elf::read(&built.smallest)?.sizes;
    Ok(Bench {
        entries: entries
            .into_iter()
            .map(|(entry, region)| Entry {
                functions: functions(&symbols, &run.executed, region),
                ..entry
            })
            .collect(),
        parse,
        code: sizes.code,
        tables: sizes.constants.saturating_sub(file.len() as u64),
        stack: stack.ok_or_else(bad)?,
    })
}

/// Refuses what the machine has no room for, and what the core cannot compute.
fn fits(model: &Model, file: &[u8], core: Core, [flash, ram]: [u64; 2]) -> Result<(), LabError> {
    if layout::is_half(model) && !core.has_fpu() {
        return Err(LabError::NoFpu(core));
    }
    let parts = [
        ("flash", file.len() as u64 + CODE, flash),
        ("RAM", model.arena_len() as u64 + STACK, ram),
    ];
    for (memory, needed, there) in parts {
        if needed > there {
            return Err(LabError::DoesNotFit {
                core,
                memory,
                needed,
                there,
            });
        }
    }
    Ok(())
}

/// The images around a model, in a folder of their own.
struct Built {
    folder: tempfile::TempDir,
    measured: PathBuf,
    smallest: PathBuf,
}

/// Builds the images. Cargo keeps what it built last: the same model on the same core is not compiled twice in a row.
fn build(file: &[u8], core: Core) -> Result<Built, LabError> {
    let shared = workspace::build_folder()
        .map_err(io("target/attn"))?
        .join("bench");
    fs::create_dir_all(&shared).map_err(io(&shared))?;
    let folder = tempfile::tempdir().map_err(io("a temporary folder"))?;
    // Until the images are copied, no other process builds its own in their place.
    let lock = File::create(shared.join("lock")).map_err(io(&shared))?;
    lock.lock().map_err(io(&shared))?;
    let model = shared.join("model.attn");
    if fs::read(&model).ok().as_deref() != Some(file) {
        fs::write(&model, file).map_err(io(&model))?;
    }
    let copied = |image: Image, name: &str| {
        let copy = folder.path().join(name);
        let image = image.build()?;
        fs::copy(&image, &copy).map_err(io(image))?;
        Ok::<_, LabError>(copy)
    };
    let measured = copied(Image::Measured(core, &model), "measured")?;
    let smallest = copied(Image::Smallest(core, &model), "smallest")?;
    Ok(Built {
        measured,
        smallest,
        folder,
    })
}

/// Parsing, and the entry points with the number of the region that is a whole run; `None` if regions are missing.
fn entries(model: &Model, regions: &[Region]) -> Option<(Count, Vec<(Entry, usize)>)> {
    let count = |region: &Region| Count {
        instructions: region.instructions,
        cycles: region.cycles,
    };
    let parse = count(regions.first()?);
    let mut at = 1;
    let mut found = Vec::new();
    for entry in model.entries() {
        let whole = at + entry.ops().len();
        let operators = regions.get(at..whole)?.iter().map(count).collect();
        let entry = Entry {
            operators,
            whole: count(regions.get(whole)?),
            functions: Vec::new(),
        };
        found.push((entry, whole));
        at = whole + 1;
    }
    (regions.len() == at).then_some((parse, found))
}

/// What was executed in a region, function by function.
fn functions(symbols: &[Symbol], executed: &[Executed], region: usize) -> Vec<Function> {
    let mut counts: BTreeMap<&str, Count> = BTreeMap::new();
    for line in executed.iter().filter(|line| line.region == region) {
        let behind = symbols.partition_point(|symbol| symbol.address <= line.address);
        let symbol = behind.checked_sub(1).map(|at| &symbols[at]);
        let symbol = symbol.filter(|symbol| line.address < symbol.address + symbol.size);
        let name = symbol.map_or("?", |symbol| symbol.name.as_str());
        let count = counts.entry(name).or_default();
        count.instructions += line.instructions;
        count.cycles += line.cycles;
    }
    let named = counts.into_iter().map(|(name, count)| Function {
        name: name.to_owned(),
        count,
    });
    let mut functions: Vec<_> = named.collect();
    functions.sort_by_key(|function| std::cmp::Reverse(function.count.cycles));
    functions
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_belong_to_the_function_around_them() {
        let symbol = |name: &str, address, size| Symbol {
            name: name.into(),
            address,
            size,
        };
        let symbols = [symbol("first", 16, 8), symbol("second", 32, 16)];
        let executed = |region, address, cycles| Executed {
            region,
            address,
            instructions: 1,
            cycles,
        };
        let executed = [
            executed(0, 16, 9),
            executed(1, 22, 1),
            executed(1, 32, 2),
            executed(1, 46, 3),
            executed(1, 24, 4),
        ];
        let found = functions(&symbols, &executed, 1);
        let found: Vec<_> = found
            .iter()
            .map(|function| (function.name.as_str(), function.count.cycles))
            .collect();
        assert_eq!(found, [("second", 5), ("?", 4), ("first", 1)]);
    }
}
