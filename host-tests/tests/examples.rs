//! The projects in `examples/`: each is built as a user builds it, and runs in the emulator.

use attn_lab::{tools, workspace};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const TARGET: &str = "thumbv7em-none-eabihf";
/// Bytes of code that the motion sensor's firmware may have.
const MOTION_CODE: u64 = 55_000;

fn built(example: &str) -> PathBuf {
    let folder = workspace::build_folder().unwrap().join("examples");
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .current_dir(workspace::root().join("examples"))
        .args(["build", "--quiet", "--release", "--package", example])
        .args(["--target", TARGET, "--target-dir"])
        .arg(&folder);
    assert!(
        cargo.status().unwrap().success(),
        "{example} does not build"
    );
    folder.join(TARGET).join("release").join(example)
}

/// What an example prints on the console and on its serial port, which reads `input`.
fn printed(example: &str, input: &str) -> String {
    printed_by(&built(example), input)
}

/// The same of an image.
fn printed_by(image: &Path, input: &str) -> String {
    let mut qemu = Command::new(tools::command("qemu-system-arm").unwrap());
    let mut child = qemu
        .args(["-machine", "mps2-an386", "-cpu", "cortex-m4"])
        .args(["-nographic", "-monitor", "none", "-serial", "stdio"])
        .args(["-semihosting-config", "enable=on,target=native", "-kernel"])
        .arg(image)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    assert!(output.status.success(), "{image:?}: {text}");
    text
}

/// Lines `3712 ms: alexa`, perhaps with a confidence.
fn heard(printed: &str) -> Vec<String> {
    let words = printed.lines().filter_map(|line| line.split_once(" ms: "));
    words
        .map(|(_, word)| word.split(' ').next().unwrap_or_default().to_owned())
        .collect()
}

#[test]
#[ignore = "takes long: builds six projects"]
fn every_keyword_is_heard_under_each_scheduler() {
    let said = attn_lab::demo::truth(&workspace::demo_truth()).unwrap();
    let said: Vec<String> = said.into_iter().map(|word| word.label).collect();
    for example in ["keywords", "keywords-embassy", "keywords-rtic"] {
        assert_eq!(heard(&printed(example, "")), said, "{example}");
    }
}

/// `templates/keywords`, by the command of its first lines.
#[test]
#[ignore = "takes long: builds a project"]
fn a_generated_project_hears_every_keyword() {
    let work = tempfile::tempdir().unwrap();
    let generator = tools::starter("cargo-generate");
    let mut generate = Command::new(&generator);
    generate
        .current_dir(work.path())
        .args(["generate", "--silent", "--vcs", "none", "--name", "spotter"])
        .arg("--path")
        .arg(workspace::root().join("templates/keywords"))
        .arg("--define")
        .arg(format!("attn={}", workspace::root().display()));
    let output = generate.output().unwrap_or_else(|error| {
        panic!(
            "{}: {error}; `cargo xtask test --all` installs it",
            generator.display()
        )
    });
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success(), "{said}");
    let (project, folder) = (work.path().join("spotter"), work.path().join("target"));
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .current_dir(&project)
        .args(["build", "--quiet", "--release", "--target-dir"])
        .arg(&folder);
    assert!(cargo.status().unwrap().success());
    let said = attn_lab::demo::truth(&workspace::demo_truth()).unwrap();
    let said: Vec<String> = said.into_iter().map(|word| word.label).collect();
    let image = folder.join(TARGET).join("release/spotter");
    assert_eq!(heard(&printed_by(&image, "")), said);
}

#[test]
#[ignore = "takes long: builds six projects"]
fn words_gestures_and_texts_come_out_right() {
    let text = printed("g2p-uart", "tokenize\n\n");
    assert!(text.contains("T OW1 K AH0 N AY2 Z"), "{text}");
    let text = printed("motion", "");
    assert!(text.contains("20 of 20 right"), "{text}");
    let text = printed("text", "");
    assert!(
        text.starts_with("In the beginning") && text.len() > 60,
        "{text}"
    );
}

#[test]
#[ignore = "takes long: builds six projects"]
fn a_small_transformer_links_little_code() {
    let image = attn_lab::elf::Image::read(&built("motion")).unwrap();
    let (code, tables) = (image.sizes.code, image.sizes.constants);
    println!("{code} bytes of code, {tables} of tables and constants, the model included");
    assert!(code <= MOTION_CODE, "{code} bytes of code");
}
