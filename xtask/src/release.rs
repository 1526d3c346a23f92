//! `cargo xtask release`: what a release consists of, in one folder. Nothing leaves this computer.

use crate::{TaskResult, pack, python, setup};
use attn_lab::{tools, workspace};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The target of the static program.
const STATIC: &str = "x86_64-unknown-linux-musl";
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The model whose operators the C packages have.
const PACKED: &str = "models/kws.attn";

/// Makes the parts and their checksums in `folder`, which must not be there yet.
pub fn run(folder: &Path) -> TaskResult {
    if folder.exists() {
        let folder = folder.display();
        return Err(format!("{folder} is there: remove it, or name another folder").into());
    }
    let parent = match folder.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    // A release that was not finished is no folder of this name.
    let work =
        tempfile::tempdir_in(parent).map_err(|error| format!("{}: {error}", parent.display()))?;
    let parts = work.path().join("parts");
    fs::create_dir(&parts)?;
    command(&parts)?;
    wheel(&parts)?;
    models(&parts)?;
    packages(work.path(), &parts)?;
    checksums(&parts)?;
    fs::rename(&parts, folder)?;
    println!("wrote {}", folder.display());
    Ok(())
}

/// The command `attn`, which needs no library of the system.
fn command(parts: &Path) -> TaskResult {
    setup::packing([STATIC])?;
    println!("building attn for {STATIC}");
    let mut cargo = Command::new(tools::cargo());
    cargo
        .current_dir(workspace::root())
        .args(["build", "--release", "--locked", "--package", "attn-cli"])
        .args(["--target", STATIC]);
    if tools::command("musl-gcc").is_none() {
        // It compiles assembly alone, for which any C compiler does.
        cargo.env("CC_x86_64_unknown_linux_musl", "cc");
    }
    done(&mut cargo, "the static command")?;
    let built = workspace::build_folder()?.join("..").join(STATIC);
    let built = built.join("release/attn");
    let bytes = fs::read(&built)?;
    let loaders: [&[u8]; 2] = [b"/lib64/ld-linux", b"/lib/ld-musl"];
    let wants = |loader: &&[u8]| bytes.windows(loader.len()).any(|at| at == *loader);
    if loaders.iter().any(wants) {
        return Err(format!("{} wants a loader: it is not static", built.display()).into());
    }
    let mut version = Command::new(&built);
    done(version.arg("--version"), "the static command")?;
    fs::copy(built, parts.join(format!("attn-{VERSION}-{STATIC}")))?;
    Ok(())
}

/// The Python package, optimised.
fn wheel(parts: &Path) -> TaskResult {
    let python = python::with("python-release", &["maturin"])?;
    println!("building the wheel");
    let mut maturin = Command::new(python);
    maturin
        .args([
            "-m",
            "maturin",
            "build",
            "--release",
            "--quiet",
            "--locked",
            "-m",
        ])
        .arg(workspace::root().join("bindings/python/Cargo.toml"))
        .arg("--out")
        .arg(parts);
    done(&mut maturin, "the wheel")
}

/// The shipped models, as they are committed; a test holds them to what the converter makes.
fn models(parts: &Path) -> TaskResult {
    let mut count = 0;
    for entry in fs::read_dir(workspace::root().join("models"))? {
        let path = entry?.path();
        if let (Some(name), Some("attn")) = (
            path.file_name(),
            path.extension().and_then(|end| end.to_str()),
        ) {
            fs::copy(&path, parts.join(name))?;
            count += 1;
        }
    }
    match count {
        0 => Err("models/ has no .attn file: `cargo xtask model` makes them".into()),
        _ => Ok(()),
    }
}

/// The packages for C, each as one archive.
fn packages(work: &Path, parts: &Path) -> TaskResult {
    let folder = work.join("packages");
    pack::run(&[workspace::root().join(PACKED)], Some(folder.clone()))?;
    for name in ["attn-c", "attn-arduino"] {
        let mut tar = Command::new("cmake");
        tar.current_dir(&folder)
            .args(["-E", "tar", "czf"])
            .arg(
                parts
                    .canonicalize()?
                    .join(format!("{name}-{VERSION}.tar.gz")),
            )
            .arg(name);
        done(&mut tar, name)?;
    }
    Ok(())
}

/// `SHA256SUMS`, which `sha256sum --check` reads.
fn checksums(parts: &Path) -> TaskResult {
    let mut names: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(parts)? {
        names.push(PathBuf::from(entry?.file_name()));
    }
    names.sort();
    let mut sum = Command::new("sha256sum");
    let output = sum.current_dir(parts).args(&names).output();
    let output = output.map_err(|error| format!("sha256sum: {error}"))?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
    }
    print!("{}", String::from_utf8_lossy(&output.stdout));
    fs::write(parts.join("SHA256SUMS"), output.stdout)?;
    Ok(())
}

fn done(command: &mut Command, what: &str) -> TaskResult {
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(_) => Err(format!("{what} cannot be made").into()),
        Err(error) => Err(format!("{what}: {:?}: {error}", command.get_program()).into()),
    }
}
