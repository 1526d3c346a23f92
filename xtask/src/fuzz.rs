//! `cargo xtask fuzz`: mutated files for every parser, for some minutes. Finds are kept in `target/attn/finds`.

use crate::TaskResult;
use attn_lab::{model, workspace};
use std::process::{Command, Stdio};

/// What is run, and for how long.
#[derive(clap::Args)]
pub struct Fuzz {
    /// Minutes, shared by the targets
    #[arg(long, default_value_t = 2)]
    minutes: u64,
    /// Targets: model, onnx, npz, wav, manifest
    #[arg(long, default_value = "model,onnx,npz,wav,manifest")]
    targets: String,
    /// Seed of the random numbers: another one tries other files
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Fails if there is a find.
pub fn run(fuzz: &Fuzz) -> TaskResult {
    let attn = model::command()?;
    let finds = workspace::build_folder()?.join("finds");
    let status = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()))
        .current_dir(workspace::root())
        // Not `-p`: dependencies would get other features and be built twice.
        .args(["run", "--quiet", "--bin", "attn-fuzz", "--", "--targets"])
        .arg(&fuzz.targets)
        .args(["--seconds", &(60 * fuzz.minutes).to_string()])
        .args(["--seed", &fuzz.seed.to_string(), "--attn"])
        .arg(attn)
        .arg("--finds")
        .arg(finds)
        .stdin(Stdio::null())
        .status()?;
    match status.success() {
        true => Ok(()),
        false => Err("there are finds, or a target did not run".into()),
    }
}
