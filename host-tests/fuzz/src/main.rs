//! Runs the targets for a given time and prints what came of it; finds are written to a folder. See `cargo xtask fuzz`.

use attn_fuzz::desktop::{Desktop, Kind};
use attn_fuzz::random::Random;
use attn_fuzz::records::Parts;
use attn_fuzz::target::{Outcome, check};
use attn_runtime::format::{Encoding, OpKind};
use attn_test_support::folder::fixture;
use attn_test_support::tiny_model::tiny_model;
use clap::Parser;
use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

/// Finds of one kind that are kept.
const KEPT: usize = 20;
/// Largest file to start from.
const SEED_LEN: usize = 1 << 16;

/// Mutates files and looks whether a parser stumbles.
#[derive(Parser)]
struct Arguments {
    /// Seconds, shared by the targets.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Targets: model, onnx, npz, wav, manifest.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "model,onnx,npz,wav,manifest"
    )]
    targets: Vec<String>,
    /// Seed of the random numbers.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The command `attn`.
    #[arg(long)]
    attn: PathBuf,
    /// Folder for finds.
    #[arg(long)]
    finds: PathBuf,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs all targets; how many finds there are.
fn run(arguments: &Arguments) -> Result<usize, Box<dyn Error>> {
    fs::create_dir_all(&arguments.finds)?;
    // A panic is a find; its message is in the outcome.
    std::panic::set_hook(Box::new(|_| ()));
    let seconds = arguments.seconds as f64 / arguments.targets.len().max(1) as f64;
    let time = Duration::from_secs_f64(seconds);
    let mut finds = 0;
    for target in &arguments.targets {
        let mut random = Random(arguments.seed);
        finds += match target.as_str() {
            "model" => models(arguments, time, &mut random)?,
            "onnx" => desktop(arguments, Kind::Onnx, time, &mut random)?,
            "npz" => desktop(arguments, Kind::Npz, time, &mut random)?,
            "wav" => desktop(arguments, Kind::Wav, time, &mut random)?,
            "manifest" => desktop(arguments, Kind::Manifest, time, &mut random)?,
            other => return Err(format!("no target {other}").into()),
        };
    }
    Ok(finds)
}

/// Keeps a find.
fn keep(folder: &Path, name: &str, file: &[u8], what: &str) -> Result<(), Box<dyn Error>> {
    let path = folder.join(name);
    println!("FIND {}: {what}", path.display());
    fs::write(path, file)?;
    Ok(())
}

fn models(
    arguments: &Arguments,
    time: Duration,
    random: &mut Random,
) -> Result<usize, Box<dyn Error>> {
    let seeds = model_seeds(&arguments.attn)?;
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

/// The tiny models, and what the converter makes of the fixtures.
fn model_seeds(attn: &Path) -> Result<Vec<Parts>, Box<dyn Error>> {
    let tiny = [Encoding::Int8, Encoding::Half, Encoding::Joined].map(tiny_model);
    let mut files: Vec<Vec<u8>> = tiny.into();
    let folder = tempfile::tempdir()?;
    let output = folder.path().join("out.attn");
    let mut models: Vec<PathBuf> = fs::read_dir(fixture("cases"))?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    models.retain(|path| path.extension().is_some_and(|e| e == "onnx"));
    models.sort();
    for (at, model) in models.iter().enumerate() {
        let dtype = ["int8", "fp16", "int16x8"][at % 3];
        let converted = Command::new(attn)
            .arg("convert")
            .arg(model)
            .arg("--calibrate")
            .arg(model.with_extension("npz"))
            .args(["--no-mixed", "--dtype", dtype, "-o"])
            .arg(&output)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()?;
        if converted.success() {
            files.push(fs::read(&output)?);
        }
    }
    files.retain(|file| file.len() <= SEED_LEN);
    Ok(files.iter().map(|file| Parts::of(file)).collect())
}

fn desktop(
    arguments: &Arguments,
    kind: Kind,
    time: Duration,
    random: &mut Random,
) -> Result<usize, Box<dyn Error>> {
    let target = Desktop::new(&arguments.attn, kind)?;
    let start = Instant::now();
    let (mut count, mut finds) = (0u64, 0);
    let mut slowest = Duration::ZERO;
    while start.elapsed() < time {
        let began = Instant::now();
        let found = target.once(random)?;
        slowest = slowest.max(began.elapsed());
        count += 1;
        if let Some((what, file)) = found {
            finds += 1;
            if finds <= KEPT {
                keep(
                    &arguments.finds,
                    &format!("{kind:?}-{count}").to_lowercase(),
                    &file,
                    &what,
                )?;
            }
        }
    }
    println!("{kind:?}: {count} files, {finds} finds; slowest {slowest:?}");
    Ok(finds)
}
