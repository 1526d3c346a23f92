//! `attn run`: an `.attn` file on the host, over samples of an npz file.

use super::{CommandResult, check_output};
use crate::bars::bar;
use crate::shown::say;
use attn_converter::dataset::{Dataset, Mask};
use attn_converter::error::ConvertError;
use attn_converter::files;
use attn_converter::reference::Input;
use attn_converter::runner::{self, AlignedBytes, ModelFile};
use attn_runtime::{Model, Session};
use clap::Args;
use ndarray::{Array2, Array3, Axis};
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
        let model = file.model();
        let (outputs, count) = match model.entry("step") {
            Some(entry) => self.stream(model, entry)?,
            None => self.windows(model, model.entry("run").unwrap_or(0))?,
        };
        files::write_npz(&self.output, |npz| {
            outputs
                .iter()
                .try_for_each(|(name, array)| npz.add_array(name.as_str(), array))
        })?;
        say!("{}: outputs of {count} sample(s)", self.output.display());
        Ok(())
    }

    fn mask(&self) -> Option<Mask<'_>> {
        let of = |name, inside| Mask { name, inside };
        let mask = self.mask.as_deref().map(|name| of(name, 1.0));
        mask.or_else(|| self.padding_mask.as_deref().map(|name| of(name, 0.0)))
    }

    /// Whole windows: outputs `[sample, 1, elements]`.
    fn windows(&self, model: Model, entry: usize) -> Result<(Outputs, usize), ConvertError> {
        let record = &model.entries()[entry];
        let tensors = record.inputs().filter_map(|id| model.tensor(id));
        let inputs: Vec<Input> = tensors.map(|tensor| runner::input(model, tensor)).collect();
        let data = Dataset::load(&self.inputs, &inputs, self.mask())?;
        let data = data.with_lengths(&inputs, self.mask(), model.max_length())?;
        let mut arena = AlignedBytes::zeroed(model.arena_len());
        let mut session = Session::new(model, arena.as_mut_slice())?;
        let mut rows = vec![Vec::new(); record.outputs().count()];
        let bar = bar("run", data.len());
        for index in 0..data.len() {
            if let Some(length) = data.length(index) {
                session.set_length(length)?;
            }
            for (slot, input) in data.sample(index).iter().enumerate() {
                runner::fill(&mut session, entry, slot, input.iter())?;
            }
            session.run(entry)?;
            for (slot, row) in rows.iter_mut().enumerate() {
                let elements = runner::output(&session, entry, slot)?;
                let tensor = session.output_record(entry, slot)?;
                let all = row.len() + tensor.len();
                row.extend(runner::onnx_order(tensor, &elements));
                // Behind a shorter sequence.
                row.resize(all, 0.0);
            }
            bar.inc(1);
        }
        bar.finish_and_clear();
        Ok((named(model, entry, rows, data.len(), 1), data.len()))
    }

    /// Sequences, each from a reset on: outputs `[sample, frame, channels]`.
    fn stream(&self, model: Model, entry: usize) -> Result<(Outputs, usize), ConvertError> {
        let mut arena = AlignedBytes::zeroed(model.arena_len());
        let mut session = Session::new(model, arena.as_mut_slice())?;
        let tensors = model.entries()[entry].inputs();
        let tensors = tensors.filter_map(|id| model.tensor(id));
        let inputs: Vec<Input> = tensors.map(|tensor| runner::input(model, tensor)).collect();
        let data = Dataset::load_steps(&self.inputs, &inputs)?;
        let steps = data.steps();
        let mut rows = vec![Vec::new(); model.entries()[entry].outputs().count()];
        let bar = bar("run", data.len());
        for index in 0..data.len() {
            session.reset();
            for step in 0..steps {
                for (slot, sequence) in data.sample(index).iter().enumerate() {
                    let given = sequence.index_axis(Axis(0), step);
                    runner::fill(&mut session, entry, slot, given.iter())?;
                }
                session.run(entry)?;
                for (slot, row) in rows.iter_mut().enumerate() {
                    let elements = runner::output(&session, entry, slot)?;
                    let tensor = session.output_record(entry, slot)?;
                    row.extend(runner::onnx_order(tensor, &elements));
                }
            }
            bar.inc(1);
        }
        bar.finish_and_clear();
        Ok((named(model, entry, rows, data.len(), steps), data.len()))
    }
}

/// Output arrays with their names.
type Outputs = Vec<(String, Array3<f32>)>;

fn named(
    model: Model,
    entry: usize,
    rows: Vec<Vec<f32>>,
    samples: usize,
    frames: usize,
) -> Outputs {
    let arrays = rows.into_iter().map(|row| {
        let width = row.len() / (samples * frames).max(1);
        let flat = Array2::from_shape_vec((samples * frames, width), row)
            .expect("every run gives the same outputs");
        flat.into_shape_with_order((samples, frames, width))
            .expect("as many elements")
    });
    let names = model.output_names(&model.entries()[entry]);
    names.map(str::to_owned).zip(arrays).collect()
}
