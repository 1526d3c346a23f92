//! `cargo xtask setup`: installs missing tools for building, emulating and testing, and reports each. It does nothing if
//! nothing is missing.

mod apt;
pub mod crates;
mod remedy;

use attn_lab::emulator::Core;
use attn_lab::tools::{self, has_target};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use thiserror::Error;

/// Chips that the runtime is built for.
pub const TARGETS: [&str; 4] = [
    "thumbv6m-none-eabi",
    "thumbv7m-none-eabi",
    "thumbv7em-none-eabihf",
    "thumbv8m.main-none-eabihf",
];
/// Debian suite whose `rust-src` replaces a target that rustup cannot install.
const RUST_SRC_SUITE: &str = "trixie-backports";

/// Errors of an installation, with the remedy.
#[derive(Debug, Error)]
#[error("{0}")]
pub struct SetupError(String);

type Done = Result<(), SetupError>;

/// Installs everything that is missing.
pub fn run() -> Done {
    TARGETS.into_iter().try_for_each(target)?;
    component("rustfmt", "fmt")?;
    component("clippy", "clippy")?;
    remedy::tool(&remedy::QEMU)?;
    remedy::tool(&remedy::CC)?;
    bindings()
}

/// Installs what is missing to build programs in C and C++.
fn bindings() -> Done {
    let tools = [
        &remedy::CXX,
        &remedy::CMAKE,
        &remedy::MAKE,
        &remedy::ARM_GCC,
    ];
    tools.into_iter().try_for_each(remedy::tool)
}

/// Installs what is missing to pack the C library for these targets.
pub fn packing(targets: impl IntoIterator<Item = &'static str>) -> Done {
    remedy::tool(&remedy::CMAKE)?;
    targets.into_iter().try_for_each(target)
}

/// Installs what is missing to build an image for the emulated Cortex-M4 and to run it.
pub fn emulation() -> Done {
    target(Core::M4.target())?;
    remedy::tool(&remedy::QEMU)
}

/// The program that makes a project of `templates/`, and its version.
const GENERATOR: [&str; 2] = ["cargo-generate", "0.23.3"];

/// Installs the generator of projects into the build folder, if it is missing. It makes projects of folders, so it needs no git.
pub fn generator() -> Done {
    let [program, version] = GENERATOR;
    let starter = tools::starter(program);
    let Some(root) = starter.parent().and_then(Path::parent) else {
        return Ok(());
    };
    let mut install = Command::new(tools::cargo());
    install
        .args(["install", program, "--version", version, "--locked"])
        .args(["--no-default-features", "--root"])
        .arg(root);
    if starter.exists() || say_and_run(&mut install) {
        return Ok(());
    }
    Err(SetupError(format!(
        "{program} is missing and `cargo install {program}` failed; is there a network?"
    )))
}

/// Installs the browser that pages are looked at in, if it is missing.
pub fn browser() -> Done {
    remedy::tool(&remedy::BROWSER)
}

fn target(target: &str) -> Done {
    if has_target(target) {
        return Ok(());
    }
    add_target(target)
}

/// Runs a program without a word. Returns its output, or `None` if it is missing or fails.
fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    output.status.success().then_some(text)
}

/// Says what it runs; shows the program's own messages only if it fails.
fn say_and_run(command: &mut Command) -> bool {
    let arguments: Vec<_> = command.get_args().map(|a| a.to_string_lossy()).collect();
    let program = command.get_program().to_string_lossy().into_owned();
    println!("setup: {program} {}", arguments.join(" "));
    let Ok(output) = command.stdin(Stdio::null()).output() else {
        return false;
    };
    if !output.status.success() {
        print!("{}", String::from_utf8_lossy(&output.stderr));
    }
    output.status.success()
}

fn sysroot() -> Result<PathBuf, SetupError> {
    output("rustc", &["--print", "sysroot"])
        .map(PathBuf::from)
        .ok_or_else(|| {
            SetupError("rustc does not run: install Rust 1.95 or later with rustup".into())
        })
}

fn add_target(target: &str) -> Done {
    if say_and_run(Command::new("rustup").args(["target", "add", target])) && has_target(target) {
        return Ok(());
    }
    println!("setup: rustup cannot install {target}; building it from Debian's rust-src");
    build_target(target).map_err(|SetupError(reason)| {
        SetupError(format!(
            "target {target} is missing: `rustup target add {target}` failed, and building it from Debian's rust-src \
             failed too ({reason}); is there a network?"
        ))
    })
}

/// Builds `core` for `target` from the source of this very compiler version and puts it where rustup would.
fn build_target(target: &str) -> Done {
    let sysroot = sysroot()?;
    let source = sysroot.join("lib/rustlib/src/rust");
    if !source.join("library/core/Cargo.toml").exists() {
        fetch_rust_src(&source)?;
    }
    let work = tempfile::tempdir().map_err(|error| SetupError(error.to_string()))?;
    let io = |error: std::io::Error| SetupError(error.to_string());
    let manifest = "[package]\nname = \"empty\"\nversion = \"0.0.0\"\nedition = \"2024\"\n[lib]\npath = \"lib.rs\"\n[workspace]\n";
    std::fs::write(work.path().join("Cargo.toml"), manifest).map_err(io)?;
    std::fs::write(work.path().join("lib.rs"), "#![no_std]\n").map_err(io)?;
    let built = say_and_run(
        Command::new("cargo")
            .current_dir(work.path())
            .env("RUSTC_BOOTSTRAP", "1")
            .env("CARGO_TARGET_DIR", work.path().join("target"))
            .args(["build", "--release", "-Zbuild-std=core", "--target", target]),
    );
    if !built {
        return Err(SetupError("cargo build -Zbuild-std=core failed".into()));
    }
    let libraries = sysroot.join("lib/rustlib").join(target).join("lib");
    std::fs::create_dir_all(&libraries).map_err(io)?;
    let dependencies = work.path().join("target").join(target).join("release/deps");
    for file in std::fs::read_dir(dependencies).map_err(io)?.flatten() {
        let name = file.file_name().to_string_lossy().into_owned();
        let wanted = ["libcore-", "libcompiler_builtins-"];
        if name.ends_with(".rlib") && wanted.iter().any(|start| name.starts_with(start)) {
            std::fs::copy(file.path(), libraries.join(&name)).map_err(io)?;
        }
    }
    if has_target(target) {
        Ok(())
    } else {
        Err(SetupError("the build left no libcore".into()))
    }
}

/// Unpacks the library source of this compiler version from Debian's package `rust-src`.
fn fetch_rust_src(source: &Path) -> Done {
    let failed = |what: &str| SetupError(what.to_owned());
    let io = |error: std::io::Error| SetupError(error.to_string());
    let version = output("rustc", &["--version"])
        .and_then(|line| Some(line.split(' ').nth(1)?.to_owned()))
        .ok_or_else(|| failed("rustc --version says nothing"))?;
    // The package server that this machine already uses.
    let site = output("apt-get", &["indextargets", "--format", "$(SITE)"])
        .and_then(|text| {
            text.lines()
                .find(|site| !site.contains("security"))
                .map(str::to_owned)
        })
        .ok_or_else(|| failed("apt-get knows no package server"))?;
    let work = tempfile::tempdir().map_err(io)?;
    let list = work.path().join("sources.list");
    let lists = work.path().join("lists");
    std::fs::create_dir_all(lists.join("partial")).map_err(io)?;
    std::fs::write(&list, format!("deb {site} {RUST_SRC_SUITE} main\n")).map_err(io)?;
    let options = [
        format!("Dir::Etc::SourceList={}", list.display()),
        "Dir::Etc::SourceParts=/dev/null".into(),
        format!("Dir::State::Lists={}", lists.display()),
    ];
    let apt = |arguments: &[&str]| {
        let mut apt = Command::new("apt-get");
        apt.current_dir(work.path()).args(arguments);
        options.iter().for_each(|option| {
            apt.args(["-o", option]);
        });
        say_and_run(&mut apt)
    };
    let package = format!("rust-src={version}*");
    if !apt(&["-qq", "update"]) || !apt(&["-qq", "download", &package]) {
        return Err(SetupError(format!(
            "Debian has no rust-src {version} in {RUST_SRC_SUITE}"
        )));
    }
    let mut files = std::fs::read_dir(work.path()).map_err(io)?.flatten();
    let deb = files
        .find(|file| file.path().extension().is_some_and(|end| end == "deb"))
        .ok_or_else(|| failed("apt-get left no package"))?;
    let unpacked = work.path().join("unpacked");
    if !say_and_run(
        Command::new("dpkg-deb")
            .arg("-x")
            .arg(deb.path())
            .arg(&unpacked),
    ) {
        return Err(failed("dpkg-deb cannot unpack rust-src"));
    }
    let library = unpacked.join(format!("usr/src/rustc-{version}/library"));
    std::fs::create_dir_all(source).map_err(io)?;
    let copied = say_and_run(Command::new("cp").arg("-rL").arg(library).arg(source));
    copied
        .then_some(())
        .ok_or_else(|| failed("cannot copy the library source"))
}

fn component(name: &str, subcommand: &str) -> Done {
    if output("cargo", &[subcommand, "--version"]).is_some()
        || say_and_run(Command::new("rustup").args(["component", "add", name]))
    {
        return Ok(());
    }
    Err(SetupError(format!(
        "{name} is missing and `rustup component add {name}` failed; is there a network?"
    )))
}
