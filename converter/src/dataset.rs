//! Calibration and evaluation data: an npz file with one array for each input of the model, samples first.
//!
//! Quantities have any float or integer type, or int8 with a scalar array `scale`, as `attn features` writes them. Numbers of tokens are
//! integers. An array `labels` (one class number per sample) is optional.

use crate::error::{ConvertError, Result};
use crate::hiding::{is_mask, shown};
use crate::npz::Npz;
use crate::reference::Input;
use ndarray::{ArrayD, ArrayView, Axis, IxDyn, Slice};
use std::path::{Path, PathBuf};

/// Samples for the inputs of one model.
#[derive(Debug)]
pub struct Dataset {
    path: PathBuf,
    /// For each input of the model `[samples, …]`, without the batch axis.
    inputs: Vec<ArrayD<f32>>,
    /// For each input the axis of a sample that is as long as the sample's sequence.
    varies: Vec<Option<usize>>,
    /// Of each sample, where an input varies.
    lengths: Option<Vec<usize>>,
    /// Class of each sample.
    labels: Option<Vec<usize>>,
}

/// An array that is 1 in a sequence and 0 in its padding, or the other way round.
#[derive(Clone, Copy, Debug)]
pub struct Mask<'m> {
    /// Its name.
    pub name: &'m str,
    /// What it is in the sequence.
    pub inside: f32,
}

impl Dataset {
    /// Reads an array for every input: `inputs` are names and ONNX shapes. Every sample must have the input's shape, but for a dynamic
    /// axis: there an array may have fewer elements, and an array `INPUT_len` `[samples]`, or the one of the padding mask, says
    /// how many of them each sample has. Without both, it has all.
    ///
    /// # Errors
    /// [`ConvertError::File`] for a missing file or array, [`ConvertError::Data`] for a wrong shape or length, NaN, no samples.
    pub fn load(path: &Path, inputs: &[Input], mask: Option<Mask>) -> Result<Self> {
        let arrays = inputs
            .iter()
            .map(|input| sample_shape(path, input, read_input(path, input)?))
            .collect::<Result<Vec<_>, _>>()?;
        let mut dataset = Self::new(path, inputs, arrays)?;
        dataset.varies = inputs.iter().map(varying_axis).collect();
        dataset.lengths = dataset.read_lengths(inputs, mask)?;
        // An input may be called so, too.
        if inputs.iter().all(|input| input.name != "labels") {
            dataset.labels = read_labels(path, dataset.len())?;
        }
        dataset.check_values(inputs)?;
        Ok(dataset)
    }

    /// Like [`Dataset::load`], for a model that runs step by step: every sample is a sequence, `[samples, steps, …]`, and has as many steps
    /// as the others. Labels are those of the sequences.
    ///
    /// # Errors
    /// Those of [`Dataset::load`].
    pub fn load_steps(path: &Path, inputs: &[Input]) -> Result<Self> {
        let mut arrays = Vec::new();
        for input in inputs {
            let array = read_input(path, input)?;
            let found = array.shape().to_vec();
            let expected = without_batch(&input.shape);
            let inside: usize = found.iter().skip(2).product();
            if found.len() < 2 || inside != expected.iter().product::<usize>() {
                let expected: Vec<String> = expected.iter().map(usize::to_string).collect();
                let expected = [&["samples".into(), "steps".into()], &expected[..]].concat();
                let expected = expected.join(", ");
                let reason = format!("shape {found:?}, expected [{expected}]");
                return Err(data(path, &input.name, reason));
            }
            let shape = [&found[..2], expected].concat();
            let array = array.into_shape_with_order(shape);
            arrays.push(array.expect("as many elements"));
        }
        let mut dataset = Self::new(path, inputs, arrays)?;
        let steps = dataset.steps();
        for (input, array) in inputs.iter().zip(&dataset.inputs) {
            if array.shape()[1] != steps || steps == 0 {
                let reason = format!("{} steps, the other arrays have {steps}", array.shape()[1]);
                return Err(data(path, &input.name, reason));
            }
        }
        if inputs.iter().all(|input| input.name != "labels") {
            dataset.labels = read_labels(path, dataset.len())?;
        }
        dataset.check_values(inputs)?;
        Ok(dataset)
    }

    /// Steps of every sample, of a model that runs step by step.
    pub fn steps(&self) -> usize {
        let first = self.inputs.first();
        first
            .and_then(|array| array.shape().get(1))
            .copied()
            .unwrap_or(0)
    }

    fn new(path: &Path, inputs: &[Input], arrays: Vec<ArrayD<f32>>) -> Result<Self> {
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
        }
        Ok(Self {
            path: path.into(),
            varies: vec![None; arrays.len()],
            inputs: arrays,
            lengths: None,
            labels: None,
        })
    }

    /// How long the sequence of each sample is.
    fn read_lengths(&self, inputs: &[Input], mask: Option<Mask>) -> Result<Option<Vec<usize>>> {
        let all = inputs.iter().zip(&self.inputs).zip(&self.varies);
        let mut sequences = all.filter_map(|((input, array), axis)| Some((input, array, (*axis)?)));
        let Some((input, array, axis)) = sequences.next() else {
            return Ok(None);
        };
        let longest = array.shape()[axis + 1];
        if let Some(lengths) = self.given_lengths(input, longest)? {
            return Ok(Some(lengths));
        }
        let lengths = self.masked_lengths(mask, longest)?;
        Ok(Some(lengths.unwrap_or_else(|| vec![longest; self.len()])))
    }

    /// How long the sequence of each sample is, where the file has the array of the mask.
    fn masked_lengths(&self, mask: Option<Mask>, longest: usize) -> Result<Option<Vec<usize>>> {
        let mut npz = Npz::open(&self.path)?;
        let Some(mask) = mask.filter(|mask| npz.has(mask.name)) else {
            return Ok(None);
        };
        let inside = |row: ArrayView<f32, IxDyn>| row.iter().filter(|&&x| x == mask.inside).count();
        let lengths = npz.read_real(mask.name)?;
        let lengths = lengths.outer_iter().map(inside).collect();
        self.checked_lengths(mask.name, lengths, longest).map(Some)
    }

    /// How long the sequence of each sample is, where the file says it for an input.
    fn given_lengths(&self, input: &Input, longest: usize) -> Result<Option<Vec<usize>>> {
        let name = format!("{}_len", input.name);
        let mut npz = Npz::open(&self.path)?;
        if !npz.has(&name) {
            return Ok(None);
        }
        let lengths = npz.read_tokens(&name)?;
        let lengths = lengths.iter().map(|&length| usize::try_from(length));
        let lengths = lengths.map(|length| length.unwrap_or(0)).collect();
        self.checked_lengths(&name, lengths, longest).map(Some)
    }

    fn checked_lengths(
        &self,
        name: &str,
        lengths: Vec<usize>,
        longest: usize,
    ) -> Result<Vec<usize>> {
        if lengths.len() != self.len() {
            let reason = format!("{} lengths for {} samples", lengths.len(), self.len());
            return Err(data(&self.path, name, reason));
        }
        let mut wrong = lengths.iter();
        match wrong.find(|&&length| length == 0 || length > longest) {
            Some(length) => {
                let reason = format!("a length of {length}; sequences have 1 to {longest}");
                Err(data(&self.path, name, reason))
            }
            None => Ok(lengths),
        }
    }

    /// Also reads how long the sequences are of a model whose inputs all have a fixed size, and that hides what is behind the end: `longest`
    /// is the greatest length.
    ///
    /// # Errors
    /// [`ConvertError::Data`] for a wrong length.
    pub fn with_lengths(
        mut self,
        inputs: &[Input],
        mask: Option<Mask>,
        longest: usize,
    ) -> Result<Self> {
        for input in inputs.iter().filter(|_| longest > 0) {
            if self.lengths.is_none() {
                self.lengths = self.given_lengths(input, longest)?;
            }
        }
        if self.lengths.is_none() && longest > 0 {
            self.lengths = self.masked_lengths(mask, longest)?;
        }
        Ok(self)
    }

    /// Quantities must be numbers, and the tokens of a sequence none of padding.
    fn check_values(&self, inputs: &[Input]) -> Result<()> {
        for index in 0..self.len() {
            let arrays = self.sample(index);
            for ((array, input), axis) in arrays.iter().zip(inputs).zip(&self.varies) {
                let wrong = |reason| Err(data(&self.path, &input.name, reason));
                if array.iter().any(|&x| x.is_nan() || x == f32::INFINITY) {
                    return wrong(format!("sample {index} holds NaN or infinity"));
                }
                if array.iter().any(|&x| x == f32::NEG_INFINITY) {
                    return wrong(format!(
                        "sample {index} holds -infinity, which no integer is: give a mask that is added to attention scores as 0 and -200, \
                         which hides as well, or as booleans"
                    ));
                }
                if axis.is_some() && input.integer && array.iter().any(|&x| x < 0.0) {
                    return wrong("a sequence holds padding before its end".into());
                }
            }
        }
        Ok(())
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

    /// The arrays of sample `index`, one for each input, as long as its sequence is.
    pub fn sample(&self, index: usize) -> Vec<ArrayView<'_, f32, IxDyn>> {
        let all = self.inputs.iter().zip(&self.varies);
        all.map(|(array, axis)| {
            let mut values = array.index_axis(Axis(0), index);
            if let (Some(axis), Some(length)) = (axis, self.length(index)) {
                values.slice_axis_inplace(Axis(*axis), Slice::from(..length));
            }
            values
        })
        .collect()
    }

    /// Length of the sequence of sample `index`, where an input varies.
    pub fn length(&self, index: usize) -> Option<usize> {
        self.lengths.as_ref()?.get(index).copied()
    }
}

/// The axis of a sample that is dynamic: the batch, if there is one, is dropped.
fn varying_axis(input: &Input) -> Option<usize> {
    let axis = input.dynamic?;
    let batch = axis > 0 && input.shape.first() == Some(&1);
    Some(axis - usize::from(batch))
}

pub(crate) fn data(path: &Path, array: &str, reason: String) -> ConvertError {
    ConvertError::Data {
        path: path.into(),
        array: array.into(),
        reason,
    }
}

/// The array of an npz file for one input.
fn read_input(path: &Path, input: &Input) -> Result<ArrayD<f32>> {
    let (mut npz, name) = (Npz::open(path)?, input.name.as_str());
    if input.integer {
        return Ok(npz.read_tokens(name)?.mapv(|token| token as f32));
    }
    let array = npz.read_real(name)?;
    Ok(match input.hides && is_mask(array.iter()) {
        true => array.mapv(shown),
        false => array,
    })
}

/// A shape without a batch axis of 1 in front of others.
fn without_batch(shape: &[usize]) -> &[usize] {
    let rest = shape.strip_prefix(&[1]);
    rest.filter(|rest| !rest.is_empty()).unwrap_or(shape)
}

/// Drops the batch axis after the sample axis, if the array has one.
fn sample_shape(path: &Path, input: &Input, array: ArrayD<f32>) -> Result<ArrayD<f32>> {
    let (onnx, varies) = (&input.shape[..], varying_axis(input));
    let expected = without_batch(onnx);
    let found = array.shape().to_vec();
    let inside = found.get(1..).unwrap_or_default();
    let fits = |inside: &[usize], expected: &[usize], varies: Option<usize>| {
        let mut axes = inside.iter().zip(expected).enumerate();
        inside.len() == expected.len()
            && axes.all(|(axis, (&found, &size))| {
                found == size || (Some(axis) == varies && (1..size).contains(&found))
            })
    };
    if fits(inside, expected, varies) {
        return Ok(array);
    }
    if expected.len() < onnx.len() && fits(inside, onnx, varies.map(|axis| axis + 1)) {
        return Ok(array.index_axis_move(Axis(1), 0));
    }
    // Unit axes do not count, nor does how many axes the rows are on.
    let long = |shape: &[usize]| -> Vec<usize> {
        shape.iter().copied().filter(|&size| size != 1).collect()
    };
    let (a, b) = (long(inside), long(expected));
    let product = |shape: &[usize]| shape.iter().product::<usize>();
    let rows = b.len() <= 1 || (b.len() == 2 && a.last() == b.last());
    let rows = rows && product(&a) == product(&b);
    if varies.is_none() && (a == b || rows) {
        let shape = [&found[..1], expected].concat();
        return Ok(array
            .into_shape_with_order(shape)
            .expect("as many elements"));
    }
    let size = |(axis, size): (usize, &usize)| match Some(axis) == varies {
        true => format!("1 to {size}"),
        false => size.to_string(),
    };
    let expected: Vec<String> = expected.iter().enumerate().map(size).collect();
    let expected = expected.join(", ");
    let reason = format!("shape {found:?}, expected [samples, {expected}]");
    Err(data(path, &input.name, reason))
}

/// The class of each of `count` samples, if the file has labels.
fn read_labels(path: &Path, count: usize) -> Result<Option<Vec<usize>>> {
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
