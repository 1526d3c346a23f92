//! One file per subcommand of `attn`: arguments in, a call of the library, text out.

mod bench;
mod bundle;
mod compare;
mod convert;
mod decode;
mod features;
mod inspect;
mod manual;
mod operators;
mod quality;
mod recipe;
mod record;
mod run;
mod sign;
mod spot;
mod tune;

pub use bench::Bench;
pub use compare::Compare;
pub use convert::Convert;
pub use decode::Decode;
pub use features::Features;
pub use inspect::Inspect;
pub use manual::{Completions, Manual};
pub use operators::Operators;
pub use record::Record;
pub use run::Run;
pub use sign::{Keygen, Sign, Verify};
pub use spot::Spot;
pub use tune::Tune;

use crate::flags::FlagError;
use attn_converter::bundle::Manifest;
use attn_converter::files::FileError;
use attn_converter::output::Output;
use comfy_table::{Table, presets};
use std::path::Path;

/// What a subcommand gives back; the error is printed with its causes and ends the program with status 1.
pub type CommandResult = Result<(), Box<dyn std::error::Error>>;

/// An empty table with a heading.
fn table(heading: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_BORDERS_ONLY);
    table.set_header(heading);
    table
}

/// Reads a manifest, which names no file outside its folder unless that is `allowed`.
fn load_manifest(path: &Path, allowed: bool) -> Result<Manifest, Box<dyn std::error::Error>> {
    let manifest = Manifest::load(path)?;
    match manifest.outside().filter(|_| !allowed) {
        None => Ok(manifest),
        Some(named) => {
            let reason = format!(
                "{} names {}, which lies outside its folder: give this flag if you trust it",
                path.display(),
                named.display()
            );
            Err(FlagError::new("--outside", reason).into())
        }
    }
}

/// Checks, before anything is computed, that an output can be written and replaces none of `inputs`. Says where a link leads.
fn check_output<P: AsRef<Path>>(
    path: &Path,
    inputs: impl IntoIterator<Item = P>,
) -> Result<(), FileError> {
    let output = Output::new(path, inputs)?;
    if let Some(file) = output.behind_link() {
        eprintln!(
            "note: {} is a link; writing {}",
            path.display(),
            file.display()
        );
    }
    Ok(())
}
