//! Pythons: those that tests of other programs need, and `cargo xtask python`, which builds the Python package, installs its wheel into a
//! fresh environment, and runs its tests and notebook there.

use crate::TaskResult;
use attn_lab::{model, tools, workspace};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The Python that is asked first; the variable names another one.
const PYTHON: &str = "python3";
const VARIABLE: &str = "ATTN_PYTHON";

/// What the package's tests import. Each is called like the package that brings it.
const TESTED_WITH: [&str; 9] = [
    "ipykernel",
    "maturin",
    "mypy",
    "nbclient",
    "numpy",
    "onnx",
    "onnxscript",
    "pytest",
    "torch",
];

/// A Python with `packages`, which modules are called like: the one that the variable names, the one on the search path, or the environment
/// `name` in the build folder, which is made for it.
pub fn with(name: &str, packages: &[&str]) -> Result<PathBuf, Box<dyn std::error::Error>> {
    let folder = tools::folder(name);
    let own = folder.join("bin/python");
    let named = std::env::var_os(VARIABLE).map_or(PYTHON.into(), PathBuf::from);
    let known = [named.clone(), own.clone()];
    if let Some(python) = known.into_iter().find(|python| has(python, packages)) {
        return Ok(python);
    }
    let all = packages.join(" ");
    println!("installing {all} into {}", folder.display());
    let made = done(Command::new(&named).args(["-m", "venv"]).arg(&folder))
        && done(
            Command::new(&own)
                .args(["-m", "pip", "install", "--quiet"])
                .args(packages),
        );
    match made && has(&own, packages) {
        true => Ok(own),
        false => Err(format!(
            "{all} cannot be installed: `pip install {all}`, and name that Python in {VARIABLE}"
        )
        .into()),
    }
}

fn done(command: &mut Command) -> bool {
    command.status().is_ok_and(|status| status.success())
}

fn has(python: &Path, modules: &[&str]) -> bool {
    let mut command = Command::new(python);
    command.args(["-c", &format!("import {}", modules.join(", "))]);
    done(command.stdout(Stdio::null()).stderr(Stdio::null()))
}

/// Builds, installs and tests the package.
pub fn run() -> TaskResult {
    let python = with("python-package", &TESTED_WITH)?;
    let (attn, work) = (model::command()?, tempfile::tempdir()?);
    let package = workspace::root().join("bindings/python");
    let wheels = work.path().join("wheels");
    // Not a release: the dependencies are optimised as for all tests.
    step(
        "maturin build",
        Command::new(&python)
            .args(["-m", "maturin", "build", "--quiet", "--locked", "-m"])
            .arg(package.join("Cargo.toml"))
            .arg("--out")
            .arg(&wheels),
    )?;
    let wheel = std::fs::read_dir(&wheels)?
        .next()
        .ok_or("maturin left no wheel")??;
    let fresh = fresh(&python, work.path())?;
    let install = ["-m", "pip", "install", "--quiet"];
    step(
        "pip install of the wheel",
        Command::new(&fresh).args(install).arg(wheel.path()),
    )?;
    step(
        "pytest",
        Command::new(&fresh)
            .args(["-m", "pytest", "-q", "-p", "no:cacheprovider"])
            .arg(package.join("tests"))
            .env("ATTN", attn)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .current_dir(&package),
    )
}

/// The Python of a new environment, which also sees what `python` has.
fn fresh(python: &Path, work: &Path) -> Result<PathBuf, Box<dyn std::error::Error>> {
    let folder = work.join("environment");
    step(
        "python -m venv",
        Command::new(python).args(["-m", "venv"]).arg(&folder),
    )?;
    let fresh = folder.join("bin/python");
    let seen = packages_of(python)?;
    // As a folder of packages: it may refer to others.
    let line = format!(
        "import site; site.addsitedir({:?})\n",
        seen.display().to_string()
    );
    std::fs::write(packages_of(&fresh)?.join("seen.pth"), line)?;
    Ok(fresh)
}

/// The folder that `python` has its packages in.
fn packages_of(python: &Path) -> Result<PathBuf, Box<dyn std::error::Error>> {
    let said = "import sysconfig; print(sysconfig.get_path('purelib'))";
    let output = Command::new(python).args(["-c", said]).output()?;
    Ok(PathBuf::from(
        String::from_utf8(output.stdout)?.trim().to_owned(),
    ))
}

fn step(what: &str, command: &mut Command) -> TaskResult {
    match done(command.stdin(Stdio::null())) {
        true => Ok(()),
        false => Err(format!("{what} failed").into()),
    }
}
