//! The target of the runtime: mutates models, and counts what became of them. The models to start from are the tiny ones and what `attn` makes
//! of the fixtures.

use crate::{Arguments, KEPT, keep};
use attn_fuzz::random::Random;
use attn_fuzz::records::Parts;
use attn_fuzz::target::{Outcome, check};
use attn_runtime::format::{Encoding, OpKind};
use attn_test_support::tiny_model::tiny_model;
use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Largest file to start from.
const SEED_LEN: usize = 1 << 16;

/// Mutates models for this time; how many finds there are.
pub fn run(
    arguments: &Arguments,
    time: Duration,
    random: &mut Random,
) -> Result<usize, Box<dyn Error>> {
    let seeds = seeds(arguments)?;
    let start = Instant::now();
    let (mut count, mut ran, mut finds) = (0u64, 0u64, 0);
    let mut kinds = BTreeMap::<&str, u64>::new();
    let mut slowest = Duration::ZERO;
    while start.elapsed() < time {
        let mut parts = random.one_of(&seeds).clone();
        let other = random.one_of(&seeds).clone();
        parts.mutate(&other, random);
        let (file, seed) = (parts.file(), random.number());
        let began = Instant::now();
        let outcome = check(&file, seed);
        slowest = slowest.max(began.elapsed());
        count += 1;
        match outcome {
            Outcome::Refused(_) => {}
            Outcome::Ran(ops) => {
                ran += 1;
                ops.iter()
                    .for_each(|op| *kinds.entry(op.name()).or_default() += 1);
            }
            Outcome::Find(what) => {
                finds += 1;
                if finds <= KEPT {
                    keep(
                        &arguments.finds,
                        &format!("model-{seed:x}.attn"),
                        &file,
                        &what,
                    )?;
                }
            }
        }
    }
    let rarest = OpKind::ALL.iter().map(|kind| kind.name());
    let rarest = rarest.min_by_key(|name| kinds.get(name).copied().unwrap_or(0));
    let least = rarest
        .and_then(|name| kinds.get(name))
        .copied()
        .unwrap_or(0);
    println!(
        "model: {} seeds, {count} files, {ran} accepted and run, {finds} finds; rarest operator {} in {least}; slowest {slowest:?}",
        seeds.len(),
        rarest.unwrap_or("none"),
    );
    Ok(finds)
}

/// The tiny models, and the converted ones.
fn seeds(arguments: &Arguments) -> Result<Vec<Parts>, Box<dyn Error>> {
    if !arguments.seeds.exists() {
        convert(arguments)?;
    }
    let tiny = [Encoding::Int8, Encoding::Half].map(tiny_model);
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

#[cfg(not(feature = "desktop"))]
fn convert(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    Err(format!("no folder {}", arguments.seeds.display()).into())
}

/// Fills the folder of seeds. It appears when it is complete.
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
    fs::rename(folder.keep(), &arguments.seeds)?;
    Ok(())
}
