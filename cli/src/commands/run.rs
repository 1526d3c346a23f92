//! `attn run`: an `.attn` file on the host, over samples of an npz file.

use super::{CommandResult, check_output};
use crate::bars::Bars;
use crate::shown::say;
use attn_converter::dataset::Mask;
use attn_converter::files;
use attn_converter::outputs::reals;
use attn_converter::runner::ModelFile;
use clap::Args;
use std::path::PathBuf;

/// Runs an .attn file on the host; the outputs are those of the chip, bit for bit.
#[derive(Args)]
pub struct Run {
    /// The .attn file.
    model: PathBuf,
    /// Inputs: an .npz with one array per input of the model, [samples, ...], images [samples, channels, height, width]; for a model
    /// that runs step by step, as a stream or with states, [samples, steps, ...]. Where the length of an input varies, an array INPUT_len says it.
    inputs: PathBuf,
    /// The array that is 1 in the sequence and 0 in its padding, where it says the lengths and no INPUT_len does
    #[arg(long, value_name = "ARRAY", conflicts_with = "padding_mask")]
    mask: Option<String>,
    /// The same, but 0 in the sequence and 1 in its padding
    #[arg(long, value_name = "ARRAY")]
    padding_mask: Option<String>,
    /// Where to write the .npz: one float32 array per output, [samples, ...]; step by step [samples, steps, ...]. Rows behind the
    /// end of a shorter sequence are 0.
    #[arg(short, long)]
    output: PathBuf,
}

impl Run {
    pub fn run(&self) -> CommandResult {
        check_output(&self.output, [&self.model, &self.inputs])?;
        let file = ModelFile::load(&self.model)?;
        let bars = Bars::default();
        let outputs = reals(&file, &self.inputs, self.mask(), &|step| bars.show(step))?;
        files::write_npz(&self.output, |npz| {
            outputs
                .iter()
                .try_for_each(|output| npz.add_array(output.name.as_str(), &output.values))
        })?;
        let count = outputs.first().map_or(0, |output| output.values.dim().0);
        say!("{}: outputs of {count} sample(s)", self.output.display());
        Ok(())
    }

    fn mask(&self) -> Option<Mask<'_>> {
        let of = |name, inside| Mask { name, inside };
        let mask = self.mask.as_deref().map(|name| of(name, 1.0));
        mask.or_else(|| self.padding_mask.as_deref().map(|name| of(name, 0.0)))
    }
}
