//! On this computer.

use crate::build::{file, folder, program, run};
use std::process::Command;

fn source(name: &str) -> std::path::PathBuf {
    folder().join("tests/programs").join(name)
}

#[test]
fn every_misuse_has_its_code() {
    let program = program("gcc", "-std=c99", &[source("misuse.c")], "c-misuse");
    let mut command = Command::new(program);
    for path in [
        "models/kws.attn",
        "models/g2p.attn",
        "models/llama.attn",
        "firmware/assets/demo.wav",
    ] {
        command.arg(file(path));
    }
    assert_eq!(run(&mut command), "every check holds\n");
}

#[test]
fn the_classes_hear_and_decode_as_the_functions_do() {
    let program = program("g++", "-std=c++17", &[source("classes.cpp")], "c-classes");
    let mut command = Command::new(program);
    for path in [
        "models/kws.attn",
        "models/g2p.attn",
        "firmware/assets/demo.wav",
    ] {
        command.arg(file(path));
    }
    let printed = run(&mut command);
    let said = attn_lab::demo::truth(&attn_lab::workspace::demo_truth()).unwrap();
    let said: Vec<&str> = said.iter().map(|word| word.label.as_str()).collect();
    let heard: Vec<&str> = printed
        .lines()
        .filter_map(|line| line.strip_prefix("heard "))
        .collect();
    assert_eq!(heard, said, "{printed}");
    // With a beam of 4; greedily the AH0 is lost (docs/results/cost.md).
    assert!(
        printed.contains("beam T OW1 K AH0 N AY2 Z\n")
            && printed.contains("greedy T OW1 K N AY2 Z\n"),
        "{printed}"
    );
}
