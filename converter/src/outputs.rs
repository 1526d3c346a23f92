//! What an `.attn` file gives for every sample of an npz file: real values, or its own integers. One run is in [`crate::runner`],
//! comparison with float in [`crate::compare`].

use crate::dataset::{Dataset, Mask};
use crate::error::Result;
use crate::lower::Form;
use crate::progress::{Phase, Progress, Step};
use crate::reference::Input;
use crate::runner::{self, AlignedBytes, ModelFile};
use attn_runtime::format::{DType, EntryRecord, TensorRecord};
use attn_runtime::{Model, Session};
use ndarray::{Array2, Array3, Axis};
use std::path::Path;

/// An output over all samples.
#[derive(Clone, Debug)]
pub struct Output<T> {
    /// Its name in the ONNX model.
    pub name: String,
    /// Shape of one run's result: rows and channels, or an image as in ONNX, `[channels, height, width]`.
    pub shape: Vec<usize>,
    /// Its type in the file.
    pub dtype: DType,
    /// Elements in ONNX's order, `[sample, step, element]`; one step for a model that takes its input at once. Rows behind the end of a
    /// shorter sequence are 0.
    pub values: Array3<T>,
}

/// Real values.
///
/// # Errors
/// [`ConvertError`](crate::error::ConvertError) for samples that do not fit the model's inputs.
pub fn reals(
    file: &ModelFile,
    inputs: &Path,
    mask: Option<Mask>,
    progress: Progress,
) -> Result<Vec<Output<f32>>> {
    outputs(file.model(), inputs, mask, progress, runner::output)
}

/// The integers of the file.
///
/// # Errors
/// As [`reals`]; [`NoIntegers`](crate::error::ConvertError::NoIntegers) for a file in half precision.
pub fn integers(
    file: &ModelFile,
    inputs: &Path,
    mask: Option<Mask>,
    progress: Progress,
) -> Result<Vec<Output<i32>>> {
    outputs(file.model(), inputs, mask, progress, runner::integers)
}

/// Runs the entry point of a model by itself; `read` takes the elements of an output after a run, in the order of its tensor.
fn outputs<T: Copy + Default>(
    model: Model,
    path: &Path,
    mask: Option<Mask>,
    progress: Progress,
    read: impl Fn(&Session, usize, usize) -> Result<Vec<T>>,
) -> Result<Vec<Output<T>>> {
    let step = model.entry(Form::Stream.entry_name());
    let entry = step.or(model.entry(Form::Window.entry_name())).unwrap_or(0);
    let record = &model.entries()[entry];
    let tensors = record.inputs().filter_map(|id| model.tensor(id));
    let inputs: Vec<Input> = tensors.map(|tensor| runner::input(model, tensor)).collect();
    let data = match step {
        Some(_) => Dataset::load_steps(path, &inputs)?,
        None => {
            Dataset::load(path, &inputs, mask)?.with_lengths(&inputs, mask, model.max_length())?
        }
    };
    let steps = if step.is_some() { data.steps() } else { 1 };
    let mut arena = AlignedBytes::zeroed(model.arena_len());
    let mut session = Session::new(model, arena.as_mut_slice())?;
    let mut rows = vec![Vec::new(); record.outputs().count()];
    for index in 0..data.len() {
        if step.is_some() {
            // Each sequence starts without a past.
            session.reset();
        }
        if let Some(length) = data.length(index).filter(|_| step.is_none()) {
            session.set_length(length)?;
        }
        for at in 0..steps {
            for (slot, given) in data.sample(index).into_iter().enumerate() {
                let given = match step {
                    Some(_) => given.index_axis_move(Axis(0), at),
                    None => given,
                };
                runner::fill(&mut session, entry, slot, given.iter())?;
            }
            session.run(entry)?;
            for (slot, row) in rows.iter_mut().enumerate() {
                let elements = read(&session, entry, slot)?;
                let tensor = session.output_record(entry, slot)?;
                let all = row.len() + tensor.len();
                row.extend(runner::onnx_order(tensor, &elements));
                // Behind a shorter sequence.
                row.resize(all, T::default());
            }
        }
        progress(Step::of(Phase::Run, index + 1, data.len()));
    }
    Ok(named(model, record, rows, data.len(), steps))
}

fn named<T>(
    model: Model,
    record: &EntryRecord,
    rows: Vec<Vec<T>>,
    samples: usize,
    steps: usize,
) -> Vec<Output<T>> {
    let tensors = record.outputs().filter_map(|id| model.tensor(id));
    let named = model.output_names(record).zip(tensors);
    let outputs = named.zip(rows).map(|((name, tensor), row)| {
        let width = row.len() / (samples * steps).max(1);
        let flat = Array2::from_shape_vec((samples * steps, width), row)
            .expect("every run gives the same outputs");
        Output {
            name: name.to_owned(),
            shape: shape(tensor),
            dtype: tensor.dtype(),
            values: (flat.into_shape_with_order((samples, steps, width)))
                .expect("as many elements"),
        }
    });
    outputs.collect()
}

/// As ONNX has it: the channels of an image come first.
fn shape(tensor: &TensorRecord) -> Vec<usize> {
    let mut shape: Vec<usize> = tensor.shape().iter().map(|&axis| axis as usize).collect();
    if shape.len() == 3 {
        shape.rotate_right(1);
    }
    shape
}
