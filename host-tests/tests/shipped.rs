//! The committed `.attn` files of the shipped models.

use attn_lab::model::{Shipped, convert};
use std::process::Command;

#[test]
fn the_committed_files_are_what_the_converter_makes_of_the_models() {
    for model in Shipped::ALL {
        let committed = std::fs::read(model.path()).unwrap();
        let converted = convert(model).unwrap();
        assert!(
            committed == converted.file,
            "models/{}.attn is stale: `cargo xtask model` writes it\n{}",
            model.name(),
            converted.report
        );
    }
}

/// What anyone builds first is small: no converter, no float reference.
#[test]
fn the_tasks_link_no_converter() {
    let mut cargo = Command::new(env!("CARGO"));
    let tree = ["tree", "--package", "xtask", "--edges", "normal,build"];
    let output = cargo
        .args(tree)
        .args(["--prefix", "none"])
        .output()
        .unwrap();
    let tree = String::from_utf8(output.stdout).unwrap();
    assert!(tree.contains("attn-lab "), "{tree}");
    for heavy in ["attn-converter ", "tract-", "ndarray ", "prost "] {
        let found = tree.lines().find(|line| line.starts_with(heavy));
        assert_eq!(found, None);
    }
}
