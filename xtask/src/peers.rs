//! `cargo xtask peers`: the tables of docs/results/peers.md. They need CMSIS-NN's sources and a C compiler for the chip, so nothing checks
//! them for staleness.

use crate::TaskResult;
use crate::results::{self, with_table};
use attn_lab::peers;
use std::path::Path;

/// Measures and writes the page.
pub fn run(sources: &Path) -> TaskResult {
    let found = peers::measure(sources)?;
    let page = results::page("peers");
    let text = std::fs::read_to_string(&page)?;
    let text = with_table(&text, "kernels", &found.kernels()?)?;
    let text = with_table(&text, "networks", &found.networks())?;
    results::update(&page, &text, false, "peers")
}
