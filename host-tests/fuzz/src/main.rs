//! Runs the targets for a given time and prints what came of it; finds are written to a folder. See `cargo xtask fuzz`.
#![forbid(unsafe_code)]

mod models;

#[cfg(feature = "desktop")]
use attn_fuzz::desktop::{Desktop, Kind};
use attn_fuzz::random::Random;
use clap::Parser;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
#[cfg(feature = "desktop")]
use std::time::Instant;

/// Finds of one kind that are kept.
const KEPT: usize = 20;

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
    /// The command `attn`: for all targets but model, and to fill the folder of seeds.
    #[arg(long)]
    attn: Option<PathBuf>,
    /// Folder of converted models to start from: with feature desktop filled anew, else it must be there.
    #[arg(long)]
    seeds: PathBuf,
    /// Folder for finds. Its file `state` has a seed that starts at most 1 024 models before the last one.
    #[arg(long)]
    finds: PathBuf,
    /// Writes each model to `last.attn` there before it is tried, for finds that end this process.
    #[arg(long)]
    keep_each: bool,
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
    let seconds = arguments.seconds as f64 / arguments.targets.len().max(1) as f64;
    let time = Duration::from_secs_f64(seconds);
    let mut finds = 0;
    for target in &arguments.targets {
        let mut random = Random(arguments.seed);
        finds += match target.as_str() {
            "model" => models::run(arguments, time, &mut random)?,
            #[cfg(feature = "desktop")]
            "onnx" => desktop(arguments, Kind::Onnx, time, &mut random)?,
            #[cfg(feature = "desktop")]
            "npz" => desktop(arguments, Kind::Npz, time, &mut random)?,
            #[cfg(feature = "desktop")]
            "wav" => desktop(arguments, Kind::Wav, time, &mut random)?,
            #[cfg(feature = "desktop")]
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

#[cfg(feature = "desktop")]
fn desktop(
    arguments: &Arguments,
    kind: Kind,
    time: Duration,
    random: &mut Random,
) -> Result<usize, Box<dyn Error>> {
    let attn = arguments.attn.as_deref().ok_or("name the command attn")?;
    let target = Desktop::new(attn, kind)?;
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
