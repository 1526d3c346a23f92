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

/// The library for this computer, with everything in it.
pub fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let mut cargo = Command::new(env!("CARGO"));
        cargo
            .current_dir(workspace::root())
            .args(["build", "--quiet", "--package", "attn-c", "--lib"])
            .args(["--features", "fp16,signed"])
            .env_remove("ATTN_MODELS");
        run(&mut cargo);
        target_folder().join("debug/libattn.a")
    })
}

/// Cargo's target folder.
pub fn target_folder() -> PathBuf {
    workspace::build_folder().unwrap().join("..")
}

/// Compiles and links a program for this computer, every warning an error and every access watched.
pub fn program(compiler: &str, standard: &str, sources: &[PathBuf], name: &str) -> PathBuf {
    let out = workspace::build_folder().unwrap().join(name);
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
        .args(sources)
        .arg(library())
        .args(["-lpthread", "-ldl", "-lm", "-o"])
        .arg(&out);
    run(&mut command);
    out
}

/// A file of the repository.
pub fn file(path: &str) -> PathBuf {
    workspace::root().join(path)
}
