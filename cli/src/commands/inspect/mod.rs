//! `attn inspect`: what is in an `.attn` file.

mod json;
mod text;

use super::CommandResult;
use attn_converter::runner::ModelFile;
use attn_runtime::format::{Storage, TensorRecord};
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
            true => json::print(file.model(), file.bytes().len()),
            false => text::print(file.model(), file.bytes().len(), self.tensors),
        }
        Ok(())
    }
}

fn storage(tensor: &TensorRecord) -> &'static str {
    match tensor.storage() {
        Storage::Arena => "arena",
        Storage::State => "state",
    }
}
