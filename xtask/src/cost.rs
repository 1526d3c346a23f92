//! `cargo xtask cost`: the tables of docs/results/cost.md, generated, and checked for staleness.

use crate::results::{self, with_table};
use crate::{TaskResult, decode, demo};
use attn_lab::workspace;

/// Names of the tables' marks in the page.
const SPOTTING: &str = "cost";
const DECODING: &str = "decoding-cost";

/// Measures and writes the page, or checks it.
pub fn run(check: bool) -> TaskResult {
    let pcm = attn_recordings::read(&workspace::demo_recording())?;
    let cost = demo::cost_of(&pcm)?;
    let word = decode::cost_of(decode::WORD)?.markdown();
    let page = results::page("cost");
    let text = std::fs::read_to_string(&page)?;
    let text = with_table(&text, SPOTTING, &cost.markdown())?;
    let text = with_table(&text, DECODING, &word)?;
    results::update(&page, &text, check, "cost")?;
    match cost.exceeded().as_slice() {
        [] => Ok(()),
        over => Err(over.join("; ").into()),
    }
}
