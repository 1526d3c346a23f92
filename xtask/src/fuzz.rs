//! `cargo xtask fuzz`: mutated files for every parser, for some minutes. Finds are kept in `target/attn/finds`.

use crate::TaskResult;
use attn_lab::{model, workspace};
use std::process::{Command, Stdio};

/// What is run, and for how long.
#[derive(clap::Args, Default)]
pub struct Fuzz {
    /// Minutes, shared by the targets; 0 only converts the models to start from
    #[arg(long, default_value_t = 2)]
    minutes: u64,
    /// Targets: model, onnx, npz, wav, manifest
    #[arg(long, default_value = "model,onnx,npz,wav,manifest")]
    targets: String,
    /// Seed of the random numbers: another one tries other files
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The runtime alone, with AddressSanitizer
    #[arg(long, conflicts_with = "bits32")]
    asan: bool,
    /// The runtime alone, as a program of 32 bits
    #[arg(long)]
    bits32: bool,
    /// Writes each model to target/attn/finds/last.attn before it is tried, for finds that end the process; start with the seed in the
    /// file state there
    #[arg(long)]
    keep_each: bool,
}

/// A build of the runtime's target alone: its platform, and variables for Cargo.
type Build = (&'static str, &'static [(&'static str, &'static str)]);

/// The option is one of nightly compilers.
const ASAN: Build = (
    "x86_64-unknown-linux-gnu",
    &[
        ("RUSTC_BOOTSTRAP", "1"),
        ("RUSTFLAGS", "-Zsanitizer=address"),
    ],
);
/// Links by itself: no C library of 32 bits is needed.
const BITS32: Build = (
    "i686-unknown-linux-musl",
    &[("CARGO_TARGET_I686_UNKNOWN_LINUX_MUSL_LINKER", "rust-lld")],
);

/// Fails if there is a find.
pub fn run(fuzz: &Fuzz) -> TaskResult {
    let alone = match (fuzz.asan, fuzz.bits32) {
        (false, false) => return run_with(fuzz, fuzz.minutes, &fuzz.targets, None),
        (true, _) => ASAN,
        (_, true) => BITS32,
    };
    seeds()?;
    run_with(fuzz, fuzz.minutes, "model", Some(alone))
}

/// Has the plain build convert the models to start from, into `target/attn/seeds`.
pub fn seeds() -> TaskResult {
    run_with(&Fuzz::default(), 0, "model", None)
}

fn run_with(fuzz: &Fuzz, minutes: u64, targets: &str, alone: Option<Build>) -> TaskResult {
    let folder = workspace::build_folder()?;
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
    cargo
        .current_dir(workspace::root())
        // Not `-p`: dependencies would get other features and be built twice.
        .args(["run", "--quiet", "--bin", "attn-fuzz"]);
    if let Some((target, variables)) = alone {
        install(target)?;
        cargo
            .args(["--package", "attn-fuzz", "--no-default-features"])
            .args(["--target", target])
            // The variables would have everything else built again, too.
            .arg("--target-dir")
            .arg(folder.join("fuzz"))
            .envs(variables.iter().copied());
    }
    let status = cargo
        .args(["--", "--targets", targets])
        .args(["--seconds", &(60 * minutes).to_string()])
        .args(["--seed", &fuzz.seed.to_string(), "--attn"])
        .arg(model::command()?)
        .arg("--seeds")
        .arg(folder.join("seeds"))
        .arg("--finds")
        .arg(folder.join("finds"))
        .args(fuzz.keep_each.then_some("--keep-each"))
        .stdin(Stdio::null())
        .status()?;
    match status.success() {
        true => Ok(()),
        false => Err("there are finds, or a target did not run".into()),
    }
}

/// Has rustup install the platform's library.
fn install(target: &str) -> TaskResult {
    let rustup = Command::new("rustup")
        .args(["target", "add", target])
        .status()?;
    let failed = || format!("`rustup target add {target}` failed");
    rustup.success().then_some(()).ok_or_else(failed)?;
    Ok(())
}
