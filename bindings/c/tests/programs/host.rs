//! On this computer.

use crate::build::{file, keyword_library, library, program, run};
use std::path::Path;
use std::process::Command;

/// What a program prints when it gets these files of the repository.
fn printed(program: &Path, files: &[&str]) -> String {
    run(Command::new(program).args(files.iter().map(|path| file(path))))
}

#[test]
fn every_misuse_has_its_code() {
    let program = program("gcc", "-std=c99", "misuse.c", library());
    let files = [
        "models/kws.attn",
        "models/g2p.attn",
        "models/llama.attn",
        "firmware/assets/demo.wav",
        "bindings/c/tests/programs/signed/tiny.attn",
        "bindings/c/tests/programs/signed/key.pub",
        "models/digits.attn",
    ];
    assert_eq!(printed(&program, &files), "every check holds\n");
}

#[test]
fn an_operator_that_is_not_linked_has_its_code() {
    let program = program("gcc", "-std=c99", "linked.c", keyword_library());
    let files = ["models/kws.attn", "models/g2p.attn", "models/llama.attn"];
    assert_eq!(printed(&program, &files), "every check holds\n");
}

#[test]
fn the_classes_hear_and_decode_as_the_functions_do() {
    let program = program("g++", "-std=c++17", "classes.cpp", library());
    let files = [
        "models/kws.attn",
        "models/g2p.attn",
        "firmware/assets/demo.wav",
    ];
    let printed = printed(&program, &files);
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
