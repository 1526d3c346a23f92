//! `cargo xtask digests`: checks that every model and fixture still computes the bytes of the committed list. `lab` has the models and
//! their inputs.

use crate::TaskResult;
use attn_lab::{digests, model};

/// Compares with the committed list, or writes it.
pub fn run(record: bool) -> TaskResult {
    let found = digests::measure(&model::command()?)?;
    if record {
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
