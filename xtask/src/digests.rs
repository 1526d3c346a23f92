//! `cargo xtask digests`: checks that every model and fixture still computes the bytes of the committed list. `host-tests/examples/digests.rs`
//! converts and runs them, in a process of its own: it runs models on this computer, which this program is not optimised for.

use crate::{TaskResult, systems};

/// Compares with the committed list, or writes it.
pub fn run(record: bool) -> TaskResult {
    let arguments: &[&str] = if record { &["--record"] } else { &[] };
    let status = systems::example("digests", arguments).status()?;
    if status.success() {
        Ok(())
    } else {
        Err("the digests are not those of the list".into())
    }
}
