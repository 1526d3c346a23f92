//! `cargo xtask pack`: the C library as packages, built for every chip. `attn-c` is for CMake (`find_package`) and a Zephyr module, `attn-arduino` an
//! Arduino library. What is in them stands in `bindings/c`; here it is only built and laid out.

use crate::{TaskResult, setup};
use attn_lab::workspace;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Targets of the library, each with the folders in which the Arduino builder looks for it: the core, then floating-point unit and calling
/// convention where its command line names them.
const TARGETS: [(&str, &[&str]); 6] = [
    ("thumbv6m-none-eabi", &["cortex-m0plus"]),
    ("thumbv7m-none-eabi", &["cortex-m3"]),
    (
        "thumbv7em-none-eabi",
        &["cortex-m4/fpv4-sp-d16-softfp", "cortex-m7/fpv5-d16-softfp"],
    ),
    ("thumbv7em-none-eabihf", &["cortex-m4/fpv4-sp-d16-hard"]),
    ("thumbv8m.main-none-eabi", &["cortex-m33"]),
    (
        "thumbv8m.main-none-eabihf",
        &["cortex-m33/fpv5-sp-d16-hard"],
    ),
];
/// The model of the examples.
const EXAMPLE: &str = "models/kws.attn";

/// Builds the library with the operators of `models` and lays the packages out, in `folder` or in the build folder.
pub fn run(models: &[PathBuf], folder: Option<PathBuf>) -> TaskResult {
    let own = workspace::build_folder()?.join("packages");
    let folder = folder.unwrap_or_else(|| own.clone());
    setup::packing(TARGETS.map(|(target, _)| target))?;
    let models: Vec<PathBuf> = models
        .iter()
        .map(|model| {
            let absolute = model.canonicalize();
            absolute.map_err(|error| format!("{}: {error}", model.display()))
        })
        .collect::<Result<_, _>>()?;
    let source = workspace::root().join("bindings/c");
    let (cmake, arduino) = (folder.join("attn-c"), folder.join("attn-arduino"));
    for package in [&cmake, &arduino] {
        if package.exists() && folder != own {
            return Err(format!(
                "{} is there: remove it, or name another folder",
                package.display()
            )
            .into());
        } else if package.exists() {
            fs::remove_dir_all(package)?;
        }
    }
    for part in ["include", "cmake", "zephyr", "examples/keywords"] {
        copy(&source.join(part), &cmake.join(part))?;
    }
    fs::copy(source.join("CMakeLists.txt"), cmake.join("CMakeLists.txt"))?;
    for example in ["zephyr/samples/keyword", "examples/keywords"] {
        let model = cmake.join(example).join("kws.attn");
        fs::copy(workspace::root().join(EXAMPLE), model)?;
    }
    let recording = cmake.join("examples/keywords/demo.wav");
    fs::copy(workspace::demo_recording(), recording)?;
    copy(&source.join("arduino"), &arduino)?;
    copy(&source.join("include"), &arduino.join("src"))?;
    example(&arduino.join("examples/Keyword"))?;
    for package in [&cmake, &arduino] {
        for license in ["LICENSE-MIT", "LICENSE-APACHE"] {
            fs::copy(workspace::root().join(license), package.join(license))?;
        }
    }
    for (target, cores) in TARGETS {
        println!("building the library for {target}");
        let library = library(target, &models)?;
        put(&library, &cmake.join("lib").join(target))?;
        for core in cores {
            put(&library, &arduino.join("src").join(core))?;
        }
    }
    println!("wrote {} and {}", cmake.display(), arduino.display());
    Ok(())
}

/// The library for a target, small, without debugging information.
fn library(target: &str, models: &[PathBuf]) -> Result<PathBuf, Box<dyn std::error::Error>> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
    cargo
        .current_dir(workspace::root())
        .args(["build", "--quiet", "--package", "attn-c", "--lib"])
        .args(["--profile", "firmware", "--target", target])
        .args(["--config", "profile.firmware.debug=false"])
        .arg("--target-dir")
        .arg(workspace::build_folder()?.join("pack"))
        .env("ATTN_MODELS", std::env::join_paths(models)?);
    if !cargo.status()?.success() {
        return Err(format!("the library for {target} does not build").into());
    }
    let built = workspace::build_folder()?.join("pack").join(target);
    Ok(built.join("firmware/libattn.a"))
}

/// The example's model as C source, beside its sketch.
fn example(folder: &Path) -> TaskResult {
    let mut cmake = Command::new("cmake");
    let model = workspace::root().join(EXAMPLE);
    cmake
        .arg(format!("-DFILE={}", model.display()))
        .arg("-DNAME=kws")
        .arg(format!("-DFOLDER={}", folder.display()))
        .arg("-P")
        .arg(workspace::root().join("bindings/c/cmake/attn-model.cmake"));
    match cmake.status()?.success() {
        true => Ok(()),
        false => Err(format!("{} cannot be made C source", model.display()).into()),
    }
}

fn put(library: &Path, folder: &Path) -> std::io::Result<()> {
    fs::create_dir_all(folder)?;
    fs::copy(library, folder.join("libattn.a")).map(drop)
}

/// Copies a folder with everything in it.
fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
