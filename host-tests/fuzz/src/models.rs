//! The target of the runtime: mutates models, and counts what became of them. The models to start from are the tiny ones and what
//! `attn` makes of the fixtures.

use crate::{Arguments, KEPT, keep};
use attn_fuzz::random::Random;
use attn_fuzz::records::Parts;
use attn_fuzz::target::{Outcome, check};
use attn_runtime::format::{Encoding, OpKind};
use attn_test_support::tiny_model::tiny_model;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Largest file to start from.
const SEED_LEN: usize = 1 << 16;

/// Files between two notes of the state of the random numbers.
const NOTED: u64 = 1 << 10;

/// What became of the files.
#[derive(Default)]
struct Tally {
    count: u64,
    /// Accepted and run, and unlike every file that was started from.
    ran: u64,
    finds: usize,
    /// Of those that ran, how many have operators of a kind.
    kinds: BTreeMap<&'static str, u64>,
    slowest: Duration,
}

impl Tally {
    /// The operator that the fewest had, and how many.
    fn rarest(&self) -> (&'static str, u64) {
        let times = |name| (name, self.kinds.get(name).copied().unwrap_or(0));
        let all = OpKind::ALL.iter().map(|kind| times(kind.name()));
        all.min_by_key(|(_, times)| *times).unwrap_or(("none", 0))
    }
}

/// Mutates models for this time; how many finds there are.
pub fn run(
    arguments: &Arguments,
    time: Duration,
    random: &mut Random,
) -> Result<usize, Box<dyn Error>> {
    let seeds = seeds(arguments)?;
    let known: HashSet<Vec<u8>> = seeds.iter().map(Parts::file).collect();
    let start = Instant::now();
    let mut tally = Tally::default();
    while start.elapsed() < time {
        if tally.count.is_multiple_of(NOTED) {
            fs::write(arguments.finds.join("state"), random.0.to_string())?;
        }
        let mut parts = random.one_of(&seeds).clone();
        let other = random.one_of(&seeds);
        parts.mutate(other, random);
        let (file, seed) = (parts.file(), random.number());
        if arguments.keep_each {
            fs::write(arguments.finds.join("last.attn"), &file)?;
        }
        let began = Instant::now();
        let outcome = check(&file, seed);
        tally.slowest = tally.slowest.max(began.elapsed());
        tally.count += 1;
        match outcome {
            Outcome::Ran(ops) if !known.contains(&file) => {
                tally.ran += 1;
                let kinds: BTreeSet<_> = ops.iter().map(|op| op.name()).collect();
                for kind in kinds {
                    *tally.kinds.entry(kind).or_default() += 1;
                }
            }
            Outcome::Refused(_) | Outcome::Ran(_) => {}
            Outcome::Find(what) => {
                tally.finds += 1;
                if tally.finds <= KEPT {
                    let name = format!("model-{seed:x}.attn");
                    keep(&arguments.finds, &name, &file, &what)?;
                }
            }
        }
    }
    let (rarest, least) = tally.rarest();
    println!(
        "model: {} seeds, {} files, {} accepted and run that differ from every seed, {} finds; rarest operator {rarest} in \
         {least}; slowest {:?}",
        seeds.len(),
        tally.count,
        tally.ran,
        tally.finds,
        tally.slowest,
    );
    Ok(tally.finds)
}

/// The tiny models, and the converted ones.
fn seeds(arguments: &Arguments) -> Result<Vec<Parts>, Box<dyn Error>> {
    convert(arguments)?;
    let tiny = [Encoding::Int8, Encoding::Half, Encoding::Joined].map(tiny_model);
    let mut files: Vec<Vec<u8>> = tiny.into();
    for path in listed(&arguments.seeds, "attn")? {
        files.push(fs::read(path)?);
    }
    files.retain(|file| file.len() <= SEED_LEN);
    Ok(files.iter().map(|file| Parts::of(file)).collect())
}

/// The files of a folder whose names end so, in order.
fn listed(folder: &Path, extension: &str) -> std::io::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path()));
    let mut paths = entries.collect::<Result<Vec<_>, _>>()?;
    paths.retain(|path| path.extension().is_some_and(|e| e == extension));
    paths.sort();
    Ok(paths)
}

/// The folder must have been filled.
#[cfg(not(feature = "desktop"))]
fn convert(_: &Arguments) -> Result<(), Box<dyn Error>> {
    Ok(())
}

/// Fills the folder of seeds anew. It appears when it is complete.
#[cfg(feature = "desktop")]
fn convert(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    use attn_test_support::folder::fixture;
    use std::process::{Command, Stdio};
    let attn = arguments.attn.as_ref().ok_or("name the command attn")?;
    let parent = arguments.seeds.parent().ok_or("seeds need a folder")?;
    fs::create_dir_all(parent)?;
    let folder = tempfile::tempdir_in(parent)?;
    for (at, model) in listed(fixture("cases").as_ref(), "onnx")?
        .iter()
        .enumerate()
    {
        let dtype = ["int8", "fp16", "int16x8"][at % 3];
        // Some cases are refused in some precision; the rest is enough.
        Command::new(attn)
            .arg("convert")
            .arg(model)
            .arg("--calibrate")
            .arg(model.with_extension("npz"))
            .args(["--no-mixed", "--dtype", dtype, "-o"])
            .arg(folder.path().join(format!("{at}.attn")))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()?;
    }
    if arguments.seeds.exists() {
        fs::remove_dir_all(&arguments.seeds)?;
    }
    fs::rename(folder.keep(), &arguments.seeds)?;
    Ok(())
}
