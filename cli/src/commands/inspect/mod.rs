//! `attn inspect`: what is in an `.attn` file.

mod fit;
mod text;

use super::CommandResult;
use crate::shown::say;
use attn_converter::inspect::json;
use attn_converter::runner::ModelFile;
use clap::Args;
use std::path::PathBuf;

/// Shows what an .attn file holds: sizes, entry points, operators, tensors; and whether it fits a chip.
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
    #[command(flatten)]
    room: fit::Room,
}

impl Inspect {
    pub fn run(&self) -> CommandResult {
        let file = ModelFile::load(&self.model)?;
        let (model, len) = (file.model(), file.bytes().len());
        let fit = self.room.fit(model, len);
        if self.json {
            let mut all = json(&file);
            if let Some(fit) = &fit {
                all["fit"] = fit.json();
            }
            say!("{all:#}");
        } else {
            text::print(model, len, self.tensors);
            fit.iter().for_each(fit::Fit::print);
        }
        match fit {
            Some(fit) => Ok(fit.check(self.model.display().to_string(), model)?),
            None => Ok(()),
        }
    }
}
