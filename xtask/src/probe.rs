//! What looks at the runtime while it runs: Miri (`cargo xtask miri`), and the lines that tests reach (`cargo xtask coverage`).

use crate::setup::crates::nightly;
use crate::{TaskResult, fuzz};
use attn_lab::{tools, workspace};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Tests of the runtime itself that Miri runs: the format, operators' tables and checks, decoding, and everything `unsafe` of a computer.
const UNITS: [&str; 5] = [
    "format::",
    "kernels::arch::",
    "ops::",
    "seq2seq::beam::",
    "typed::",
];

/// Runs tests in Miri, which sees undefined behaviour: those of [`UNITS`], and some mutated files that have every operator.
pub fn miri() -> TaskResult {
    nightly(&["miri", "rust-src"])?;
    let run = |arguments: &[&str]| -> TaskResult {
        let mut miri = Command::new("rustup");
        miri.current_dir(workspace::root())
            .args(["run", "nightly", "cargo", "miri", "test", "--target-dir"])
            .arg(workspace::build_folder()?.join("miri"))
            .args(arguments)
            // Random inputs of a test, each of which takes long.
            .envs([
                ("PROPTEST_CASES", "4"),
                ("MIRIFLAGS", "-Zmiri-disable-isolation"),
            ])
            .env_remove("CARGO")
            .env_remove("RUSTC")
            .env_remove("RUSTUP_TOOLCHAIN")
            .stdin(Stdio::null());
        match miri.status()?.success() {
            true => Ok(()),
            false => Err("Miri found something, or a test failed".into()),
        }
    };
    let runtime = [
        "-p",
        "attn-runtime",
        "--lib",
        "--features",
        "fp16,internals",
        "--",
    ];
    run(&[&runtime[..], &UNITS].concat())?;
    run(&[
        "-p",
        "attn-fuzz",
        "--no-default-features",
        "--test",
        "models",
    ])
}

/// Prints which share of the runtime's lines is reached by its own tests and by the fuzzing target, from the tiny and from converted models.
pub fn coverage() -> TaskResult {
    fuzz::seeds()?;
    let folder = workspace::build_folder()?.join("coverage");
    // Named, so that build scripts and macros are not instrumented.
    let host = host()?;
    let raw = folder.join("raw");
    if raw.exists() {
        std::fs::remove_dir_all(&raw)?;
    }
    let cargo = |arguments: &[&str]| -> TaskResult {
        let mut cargo = Command::new(tools::cargo());
        cargo
            .current_dir(workspace::root())
            .args(&arguments[..1])
            .args(["--quiet", "--target", &host, "--target-dir"])
            .arg(&folder)
            .args(&arguments[1..])
            .env("RUSTFLAGS", "-Cinstrument-coverage")
            .env("LLVM_PROFILE_FILE", raw.join("%m-%p.profraw"))
            .stdin(Stdio::null());
        match cargo.status()?.success() {
            true => Ok(()),
            false => Err(format!("cargo {} failed", arguments.join(" ")).into()),
        }
    };
    let [seeds, finds] = ["seeds", "finds"].map(|name| folder.with_file_name(name));
    let features = ["-p", "attn-runtime", "--features", "fp16,internals,signed"];
    let fuzz = ["-p", "attn-fuzz", "--no-default-features"];
    cargo(&[&["test", "--lib", "--tests"], &features[..]].concat())?;
    cargo(&[&["test"], &fuzz[..]].concat())?;
    let paths = [&seeds, &finds].map(|path| path.display().to_string());
    let from = [
        "--",
        "--targets",
        "model",
        "--seconds",
        "60",
        "--seeds",
        &paths[0],
        "--finds",
        &paths[1],
    ];
    cargo(&[&["run"], &fuzz[..], &from].concat())?;
    report(&folder, &raw)
}

/// Adds up what the runs left in `raw`, and prints the lines of each folder.
fn report(folder: &Path, raw: &Path) -> TaskResult {
    let sum = folder.join("all.profdata");
    let profiles = files(raw, |path| {
        path.extension().is_some_and(|end| end == "profraw")
    })?;
    output(
        llvm("llvm-profdata")?
            .args(["merge", "--sparse", "-o"])
            .arg(&sum)
            .args(profiles),
    )?;
    let built = folder.join(host()?).join("debug");
    let is_program = |path: &Path| path.is_file() && path.extension().is_none();
    let mut programs = files(&built.join("deps"), is_program)?;
    programs.push(built.join("attn-fuzz"));
    let mut export = llvm("llvm-cov")?;
    export
        .args(["export", "--format=lcov", "--instr-profile"])
        .arg(&sum);
    for program in programs {
        export.arg("--object").arg(program);
    }
    let lines = lines(
        &output(&mut export)?,
        &workspace::root().join("runtime/src"),
    );
    let of = |folder: &str| {
        let chosen = lines.iter().filter(|(path, _)| path.starts_with(folder));
        chosen.fold([0, 0], |[a, b], (_, [c, d])| [a + c, b + d])
    };
    for folder in [
        "format", "model", "kernels", "ops", "seq2seq", "kws", "audio", "",
    ] {
        let [reached, all] = of(folder);
        let name = if folder.is_empty() {
            "the runtime"
        } else {
            folder
        };
        println!(
            "{name}: {reached} of {all} lines, {:.1} %",
            100.0 * reached as f64 / all.max(1) as f64
        );
    }
    Ok(())
}

/// For each file beneath `folder`, by its path in it: lines that were reached, and all.
fn lines(lcov: &str, folder: &Path) -> BTreeMap<PathBuf, [usize; 2]> {
    let mut found = BTreeMap::<PathBuf, [usize; 2]>::new();
    let mut path = None;
    for line in lcov.lines() {
        if let Some(name) = line.strip_prefix("SF:") {
            path = Path::new(name).strip_prefix(folder).ok();
        } else if let (Some(path), Some(data)) = (path, line.strip_prefix("DA:")) {
            let counts = found.entry(path.into()).or_default();
            counts[0] += usize::from(!data.ends_with(",0"));
            counts[1] += 1;
        }
    }
    found
}

fn files(folder: &Path, wanted: impl Fn(&Path) -> bool) -> std::io::Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path()));
    let mut paths = entries.collect::<Result<Vec<_>, _>>()?;
    paths.retain(|path| wanted(path));
    Ok(paths)
}

/// A program of the compiler's component llvm-tools, which rustup installs.
fn llvm(program: &str) -> Result<Command, Box<dyn std::error::Error>> {
    let sysroot = output(Command::new("rustc").args(["--print", "sysroot"]))?;
    let path = Path::new(sysroot.trim())
        .join("lib/rustlib")
        .join(host()?)
        .join("bin")
        .join(program);
    if !path.exists() {
        output(Command::new("rustup").args(["component", "add", "llvm-tools"]))?;
    }
    Ok(Command::new(path))
}

/// The platform of this computer.
fn host() -> Result<String, Box<dyn std::error::Error>> {
    let said = output(Command::new("rustc").args(["--print", "host-tuple"]))?;
    Ok(said.trim().into())
}

fn output(command: &mut Command) -> Result<String, Box<dyn std::error::Error>> {
    let output = command.stdin(Stdio::null()).output()?;
    match output.status.success() {
        true => Ok(String::from_utf8(output.stdout)?),
        false => Err(String::from_utf8_lossy(&output.stderr).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_counted_by_file() {
        let lcov = "SF:/r/runtime/src/model/mod.rs\nDA:1,0\nDA:2,10\nend_of_record\nSF:/other/x.rs\nDA:1,1\nend_of_record\n";
        let found = lines(lcov, Path::new("/r/runtime/src"));
        assert_eq!(found, BTreeMap::from([("model/mod.rs".into(), [1, 2])]));
    }
}
