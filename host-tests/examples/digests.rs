//! Converts and runs every model and fixture and compares their output bytes with the committed list; `cargo xtask digests` runs it. With
//! `--record` it writes the list. `lab` has the models and their inputs.

use attn_lab::{digests, model};
use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    // Those that are made from others are there.
    attn_twins::fixtures();
    let found = digests::measure(&model::command()?)?;
    if std::env::args().nth(1).as_deref() == Some("--record") {
        std::fs::write(digests::list(), digests::text(&found))?;
        println!("{} digests recorded", found.len());
        return Ok(());
    }
    let differences = digests::compare(&found)?;
    for line in &differences {
        println!("{line}");
    }
    if differences.is_empty() {
        println!("{} digests, all as in the list", found.len());
        return Ok(());
    }
    Err(format!("{} of {} digests differ", differences.len(), found.len()).into())
}
