//! Calibration and evaluation data: an npz file with one array for each input of the model, samples first.
//!
//! Quantities have any float or integer type, or int8 with a scalar array `scale`, as `attn features` writes them. Numbers of tokens are
//! integers. An array `labels` (one class number per sample) is optional.

use crate::error::ConvertError;
use crate::npz::Npz;
use crate::reference::Input;
use ndarray::{ArrayD, ArrayView, Axis, IxDyn};
use std::path::{Path, PathBuf};

/// Samples for the inputs of one model.
#[derive(Debug)]
pub struct Dataset {
    path: PathBuf,
    /// For each input of the model `[samples, …]`, without the batch axis.
    inputs: Vec<ArrayD<f32>>,
    /// Class of each sample.
    labels: Option<Vec<usize>>,
}

impl Dataset {
    /// Reads an array for every input: `inputs` are names and ONNX shapes. Every sample must have the input's shape.
    ///
    /// # Errors
    /// [`ConvertError::File`] for a missing file or array, [`ConvertError::Data`] for a wrong shape, NaN, no samples.
    pub fn load(path: &Path, inputs: &[Input]) -> Result<Self, ConvertError> {
        let arrays = inputs
            .iter()
            .map(|input| {
                let array = read_input(path, input)?;
                check_shape(path, &input.name, &input.shape, array)
            })
            .collect::<Result<Vec<_>, _>>()?;
        let mut dataset = Self::new(path, inputs, arrays)?;
        dataset.labels = read_labels(path, dataset.len())?;
        Ok(dataset)
    }

    /// Like [`Dataset::load`] for one input whose samples may have any number of rows: sequences for a stream. Labels are
    /// ignored.
    ///
    /// # Errors
    /// Those of [`Dataset::load`].
    pub fn load_sequences(path: &Path, name: &str, channels: usize) -> Result<Self, ConvertError> {
        let input = Input::real(name, &[1, 1, channels]);
        let array = read_input(path, &input)?;
        let shape = array.shape().to_vec();
        if shape.len() != 3 || shape[2] != channels {
            let reason = format!("shape {shape:?}, expected [samples, frames, {channels}]");
            return Err(data(path, name, reason));
        }
        Self::new(path, &[input], vec![array])
    }

    fn new(path: &Path, inputs: &[Input], arrays: Vec<ArrayD<f32>>) -> Result<Self, ConvertError> {
        let count = arrays.first().map_or(0, |array| array.shape()[0]);
        for (Input { name, .. }, array) in inputs.iter().zip(&arrays) {
            let samples = array.shape()[0];
            if samples == 0 {
                return Err(data(path, name, "it holds no samples".into()));
            }
            if samples != count {
                let reason = format!("{samples} samples, the other arrays have {count}");
                return Err(data(path, name, reason));
            }
            if let Some(at) = array.iter().position(|x| !x.is_finite()) {
                let sample = at / (array.len() / samples).max(1);
                let reason = format!("sample {sample} holds NaN or infinity");
                return Err(data(path, name, reason));
            }
        }
        Ok(Self {
            path: path.into(),
            inputs: arrays,
            labels: None,
        })
    }

    /// Number of samples.
    pub fn len(&self) -> usize {
        self.inputs.first().map_or(0, |array| array.shape()[0])
    }

    /// True if there are no inputs.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Class of each sample, if the file has labels.
    pub fn labels(&self) -> Option<&[usize]> {
        self.labels.as_deref()
    }

    /// The arrays of sample `index`, one for each input.
    pub fn sample(&self, index: usize) -> Vec<ArrayView<'_, f32, IxDyn>> {
        self.inputs
            .iter()
            .map(|array| array.index_axis(Axis(0), index))
            .collect()
    }

    /// At most `count` samples, spread evenly over the file.
    pub fn spread(&self, count: usize) -> impl Iterator<Item = usize> + use<> {
        let (len, count) = (self.len(), count.min(self.len()).max(1));
        (0..count).map(move |i| i * len / count)
    }
}

fn data(path: &Path, array: &str, reason: String) -> ConvertError {
    ConvertError::Data {
        path: path.into(),
        array: array.into(),
        reason,
    }
}

/// The array of an npz file for one input.
pub(crate) fn read_input(path: &Path, input: &Input) -> Result<ArrayD<f32>, ConvertError> {
    let (mut npz, name) = (Npz::open(path)?, input.name.as_str());
    Ok(match input.integer {
        true => npz.read_tokens(name)?.mapv(|token| token as f32),
        false => npz.read_real(name)?,
    })
}

/// Drops the batch axis after the sample axis, if the array has one.
fn check_shape(
    path: &Path,
    name: &str,
    onnx: &[usize],
    array: ArrayD<f32>,
) -> Result<ArrayD<f32>, ConvertError> {
    let expected = onnx
        .strip_prefix(&[1])
        .filter(|rest| !rest.is_empty())
        .unwrap_or(onnx);
    let found = array.shape().to_vec();
    let inside = found.get(1..).unwrap_or_default();
    if inside == expected {
        return Ok(array);
    }
    if inside == onnx {
        return Ok(array.index_axis_move(Axis(1), 0));
    }
    let expected: Vec<String> = expected.iter().map(usize::to_string).collect();
    Err(data(
        path,
        name,
        format!(
            "shape {found:?}, expected [samples, {}]",
            expected.join(", ")
        ),
    ))
}

fn read_labels(path: &Path, count: usize) -> Result<Option<Vec<usize>>, ConvertError> {
    let mut npz = Npz::open(path)?;
    if !npz.has("labels") {
        return Ok(None);
    }
    let labels = npz.read_tokens("labels")?;
    if labels.len() != count {
        let reason = format!("{} labels for {count} samples", labels.len());
        return Err(data(path, "labels", reason));
    }
    let classes = labels.iter().map(|&label| usize::try_from(label));
    let classes = classes.collect::<Result<Vec<_>, _>>();
    classes
        .map(Some)
        .map_err(|_| data(path, "labels", "a class number is negative".into()))
}
