//! `cargo xtask systems`: the tables of docs/results/systems.md. `host-tests/examples/systems.rs` measures, in a
//! process of its own: the tasks do not link the converter.

use crate::{TaskResult, results, setup};
use attn_lab::workspace;
use std::process::{Command, Stdio};

/// Name of the page, and of the tables' place in it.
const PLACE: &str = "systems";
/// Systems that the checks measure again; measuring all takes minutes.
const CHECKED: [&str; 7] = [
    "self_attention",
    "packed_multi_head",
    "rotary_half",
    "keyword_transformer",
    "cbam_cnn",
    "additive",
    "llama",
];

/// Measures and writes the page, or checks some of its rows.
pub fn run(check: bool) -> TaskResult {
    setup::run()?;
    let page = results::page(PLACE);
    if check {
        return results::check_rows(&page, PLACE, &measured(&CHECKED)?, "systems");
    }
    let text = std::fs::read_to_string(&page)?;
    let text = results::with_table(&text, PLACE, &measured(&[])?)?;
    results::update(&page, &text, false, "systems")
}

/// The command that runs an example of `host-tests`.
pub fn example(name: &str, arguments: &[&str]) -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
    cargo
        .current_dir(workspace::root())
        .args(["run", "--quiet", "--example", name, "--"])
        .args(arguments)
        .stdin(Stdio::null());
    cargo
}

/// The tables of these systems; of all, if none is named.
fn measured(systems: &[&str]) -> Result<String, Box<dyn std::error::Error>> {
    let output = example("systems", systems)
        .stderr(Stdio::inherit())
        .output()?;
    if !output.status.success() {
        return Err("the systems cannot be measured".into());
    }
    Ok(String::from_utf8(output.stdout)?)
}
