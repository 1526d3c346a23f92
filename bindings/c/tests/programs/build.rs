//! Builds the library and programs against it.

use attn_lab::workspace;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The folder of the bindings.
pub fn folder() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Runs a command to its end; returns what it printed.
pub fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| {
        let program = command.get_program().to_string_lossy();
        panic!("{program} does not start, `cargo xtask setup` installs it: {error}")
    });
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    assert!(output.status.success(), "{command:?}\n{text}");
    text
}

/// The libraries for this computer: with every operator, and with those of the keyword spotter alone.
struct Libraries {
    all: PathBuf,
    keywords: PathBuf,
}

fn libraries() -> &'static Libraries {
    static LIBRARIES: OnceLock<Libraries> = OnceLock::new();
    LIBRARIES.get_or_init(|| Libraries {
        keywords: built("models/kws.attn", "libattn-keywords.a"),
        // Last, because it is what the next build finds unchanged.
        all: built("", "libattn-all.a"),
    })
}

fn built(models: &str, name: &str) -> PathBuf {
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .current_dir(workspace::root())
        .args(["build", "--quiet", "--package", "attn-c", "--lib"])
        .args(["--features", "fp16,signed"])
        .env("ATTN_MODELS", models);
    run(&mut cargo);
    let copy = workspace::build_folder().unwrap().join(name);
    std::fs::copy(target_folder().join("debug/libattn.a"), &copy).unwrap();
    copy
}

/// The library with everything in it.
pub fn library() -> &'static Path {
    &libraries().all
}

/// The library that has the keyword spotter's operators alone.
pub fn keyword_library() -> &'static Path {
    &libraries().keywords
}

/// Cargo's target folder.
pub fn target_folder() -> PathBuf {
    workspace::build_folder().unwrap().join("..")
}

/// Compiles a program of this folder and links it with `library`, every warning an error and every access watched.
pub fn program(compiler: &str, standard: &str, source: &str, library: &Path) -> PathBuf {
    let source = folder().join("tests/programs").join(source);
    let name = source.file_stem().unwrap();
    let out = workspace::build_folder()
        .unwrap()
        .join("c-programs")
        .join(name);
    std::fs::create_dir_all(out.parent().unwrap()).unwrap();
    let mut command = Command::new(compiler);
    command
        .arg(standard)
        .args(["-Wall", "-Wextra", "-Werror", "-pedantic", "-g", "-O1"])
        .args(["-fsanitize=address,undefined", "-fno-sanitize-recover=all"])
        .arg("-DATTN_SIGNED")
        .arg("-I")
        .arg(folder().join("include"))
        .arg("-I")
        .arg(folder().join("tests/programs"))
        .arg(source)
        .arg(library)
        .args(["-lpthread", "-ldl", "-lm", "-o"])
        .arg(&out);
    run(&mut command);
    out
}

/// A file of the repository.
pub fn file(path: &str) -> PathBuf {
    workspace::root().join(path)
}

/// Makes C source of a model, as `attn_add_model` does.
pub fn model_source(model: &str, name: &str, into: &Path) {
    let mut cmake = Command::new("cmake");
    cmake
        .arg(format!("-DFILE={}", file(model).display()))
        .arg(format!("-DNAME={name}"))
        .arg(format!("-DFOLDER={}", into.display()))
        .arg("-P")
        .arg(folder().join("cmake/attn-model.cmake"));
    run(&mut cmake);
}
