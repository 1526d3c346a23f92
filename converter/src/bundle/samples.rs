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

    /// Which of them are held back.
    pub fn split(&self) -> Split {
        Split(self.samples.len())
    }
}

/// Which of a number of samples calibration does not see at first, so that a conversion can be measured on them: one in five, and at least
/// one of four or more. With fewer, none: each is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Split(pub usize);

impl Split {
    const FEWEST: usize = 4;
    const ONE_IN: usize = 5;

    /// True for sample number `at` if it is held back.
    pub fn is_held_back(self, at: usize) -> bool {
        self.any() && at < self.0 && at % Self::ONE_IN == Self::FEWEST - 1
    }

    /// True if some are held back.
    pub fn any(self) -> bool {
        self.0 >= Self::FEWEST
    }

    /// Numbers of at most `count` of those that are held back, spread evenly; of all if none are.
    pub fn held_back(self, count: usize) -> impl Iterator<Item = usize> {
        self.spread(count, move |at| self.is_held_back(at) || !self.any())
    }

    /// Numbers of at most `count` of those that are not held back, spread evenly.
    pub fn known(self, count: usize) -> impl Iterator<Item = usize> {
        self.spread(count, move |at| !self.is_held_back(at))
    }

    fn spread(self, count: usize, of: impl Fn(usize) -> bool) -> impl Iterator<Item = usize> {
        let some: Vec<usize> = (0..self.0).filter(|&at| of(at)).collect();
        let (len, count) = (some.len(), count.min(some.len()));
        (0..count).map(move |i| some[i * len / count])
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_sample_in_five_is_held_back_and_every_other_is_known() {
        for count in 0..100 {
            let split = Split(count);
            let held: Vec<usize> = (0..count).filter(|&at| split.is_held_back(at)).collect();
            let known: Vec<usize> = split.known(count).collect();
            assert_eq!(held.len() + known.len(), count);
            assert!(known.iter().all(|at| !held.contains(at)), "{count}");
            match count < Split::FEWEST {
                // Too few to spare one: all are measured on.
                true => assert!(held.is_empty() && split.held_back(9).count() == count),
                false => {
                    assert_eq!(split.held_back(count).collect::<Vec<_>>(), held);
                    assert!((1..=count / 4).contains(&held.len()), "{count}");
                }
            }
        }
    }

    #[test]
    fn some_are_spread_over_all() {
        let some: Vec<usize> = Split(96).held_back(4).collect();
        assert_eq!(some, [3, 23, 48, 73]);
        assert_eq!(Split(96).held_back(100).count(), 19);
        assert_eq!(Split(96).known(100).count(), 77);
    }
}
