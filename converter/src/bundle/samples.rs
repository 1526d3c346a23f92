//! Calibration and evaluation data of a bundle: what the caller gives a single model or an encoder, and the tokens that the step takes
//! on the way.

use super::float::Bundle;
use crate::dataset::{Dataset, Mask, data};
use crate::error::Result;
use crate::npz::Npz;
use crate::reference::Input;
use ndarray::ArrayD;
use std::path::Path;

/// One sample: a sequence with the tokens to be fed to the step, or the inputs of a single model.
#[derive(Clone, Debug, Default)]
pub struct Sample {
    /// What the caller gives, by name of the input: symbols `[length]`, rows `[length, …]`, or an array of the input's shape; of a model
    /// that keeps states one after the other for all steps.
    pub inputs: Vec<(String, ArrayD<f32>)>,
    /// Length of the sequence; 0 where nothing varies.
    pub length: usize,
    /// Steps of a model that keeps states; it starts each sample without a past.
    pub steps: usize,
    /// Tokens, the start token first.
    pub tokens: Vec<u32>,
    /// Class.
    pub label: Option<usize>,
}

/// Samples of an npz file: an array for each input that the caller gives, and labels, as [`Dataset::load`] reads them. With `[decode]`,
/// `tokens` `[samples, most]` int64, padded with -1, that are fed to the step one by one.
pub struct Samples {
    /// The samples.
    pub samples: Vec<Sample>,
    /// Whether there are labels.
    pub labelled: bool,
}

impl Samples {
    /// Reads the samples for a bundle.
    ///
    /// # Errors
    /// [`ConvertError::File`](crate::error::ConvertError::File), [`ConvertError::Data`](crate::error::ConvertError::Data).
    pub fn load(path: &Path, bundle: &Bundle) -> Result<Self> {
        let mut samples = match &bundle.decoding {
            Some(_) => with_tokens(path, bundle)?,
            None => Vec::new(),
        };
        let Some(part) = bundle.first() else {
            let labelled = false;
            return Ok(Self { samples, labelled });
        };
        let inputs: Vec<Input> = bundle
            .given_inputs(part)
            .map(|input| {
                let padded = bundle.mask.is_some() && bundle.is_sequence(part, input);
                let rows = usize::from(input.shape.first() == Some(&1));
                Input {
                    dynamic: input.dynamic.or(padded.then_some(rows)),
                    ..input.clone()
                }
            })
            .collect();
        let mask = bundle.mask.as_ref().map(|mask| Mask {
            name: &mask.input,
            inside: mask.inside,
        });
        let dataset = match bundle.keeps_states() {
            true => Dataset::load_steps(path, &inputs)?,
            false => Dataset::load(path, &inputs, mask)?,
        };
        if bundle.decoding.is_none() {
            samples = vec![Sample::default(); dataset.len()];
        }
        if dataset.len() != samples.len() {
            let reason = format!("{} samples, `tokens` has {}", dataset.len(), samples.len());
            let name = inputs.first().map_or("", |input| &input.name);
            return Err(data(path, name, reason));
        }
        for (index, sample) in samples.iter_mut().enumerate() {
            let arrays = dataset.sample(index);
            let named = inputs.iter().zip(arrays);
            sample.inputs = named
                .map(|(input, x)| (input.name.clone(), x.to_owned()))
                .collect();
            sample.length = dataset.length(index).unwrap_or(0);
            sample.steps = dataset.steps();
            sample.label = dataset.labels().map(|labels| labels[index]);
        }
        let labelled = dataset.labels().is_some();
        Ok(Self { samples, labelled })
    }

    /// How often a part runs over all samples.
    pub fn runs(&self, bundle: &Bundle, part: usize) -> usize {
        let tokens = self.samples.iter().map(|sample| sample.tokens.len());
        if bundle.keeps_states() {
            return self.samples.iter().map(|sample| sample.steps).sum();
        }
        match bundle
            .as_step(part)
            .is_some_and(|decoding| decoding.stream.is_none())
        {
            true => self.samples.len() * tokens.max().unwrap_or(1),
            false => self.samples.len(),
        }
    }

    /// At most `count` samples, spread evenly.
    pub fn spread(&self, count: usize) -> impl Iterator<Item = &Sample> {
        let (len, count) = (self.samples.len(), count.min(self.samples.len()).max(1));
        (0..count).filter_map(move |i| self.samples.get(i * len / count))
    }
}

/// One sample for each row of `tokens`.
fn with_tokens(path: &Path, bundle: &Bundle) -> Result<Vec<Sample>> {
    let wrong = |reason| Err(data(path, "tokens", reason));
    let tokens = Npz::open(path)?.read_tokens("tokens")?;
    if tokens.ndim() != 2 {
        let shape = tokens.shape();
        return wrong(format!("shape {shape:?}, expected [samples, most]"));
    }
    let row = |row: ndarray::ArrayViewD<i64>| {
        let tokens = row.iter().take_while(|&&token| token >= 0);
        Sample {
            tokens: tokens.map(|&token| token as u32).collect(),
            ..Sample::default()
        }
    };
    let samples: Vec<Sample> = tokens.outer_iter().map(row).collect();
    let most = samples.iter().map(|sample| sample.tokens.len()).max();
    let Some(most) = most else {
        return wrong("it holds no samples".into());
    };
    let (rows, decoding) = (bundle.token_rows(), bundle.decoding.as_ref());
    if decoding.is_some_and(|decoding| decoding.stream.is_some()) && most > rows {
        let reason = format!("a sequence of {most} tokens; the step was exported for {rows}");
        return wrong(reason);
    }
    Ok(samples)
}
