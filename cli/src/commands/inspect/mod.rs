//! `attn inspect`: what is in an `.attn` file.

mod text;

use super::CommandResult;
use crate::shown::say;
use attn_converter::inspect::json;
use attn_converter::runner::ModelFile;
use clap::Args;
use std::path::PathBuf;

/// Shows what an .attn file holds: sizes, entry points, operators, tensors.
#[derive(Args)]
pub struct Inspect {
    /// The .attn file.
    model: PathBuf,
    /// Also list the tensors.
    #[arg(long)]
    tensors: bool,
    /// Print as JSON.
    #[arg(long)]
    json: bool,
}

impl Inspect {
    pub fn run(&self) -> CommandResult {
        let file = ModelFile::load(&self.model)?;
        match self.json {
            true => say!("{:#}", json(&file)),
            false => text::print(file.model(), file.bytes().len(), self.tensors),
        }
        Ok(())
    }
}
