//! Calibration data of a bundle: sequences, and the tokens that the step reads.

use super::float::Bundle;
use crate::dataset::read_input;
use crate::error::ConvertError;
use crate::npz::Npz;
use ndarray::{ArrayD, Axis, Slice};
use std::path::Path;

/// One sequence with the tokens for the step.
#[derive(Clone, Debug)]
pub struct Sample {
    /// The encoder's input: tokens `[length]` or rows `[length, …]`.
    pub input: Option<ArrayD<f32>>,
    /// Length of the sequence.
    pub length: usize,
    /// Tokens, the start token first.
    pub tokens: Vec<u32>,
}

/// Sequences of an npz file: an array `INPUT` `[samples, longest, …]` (int64 for symbols, padded with -1; features as for a
/// single model), `INPUT_len` `[samples]` with their lengths (default: the length of the array), and `tokens` `[samples, most]`
/// int64, padded with -1, which the step reads one by one.
pub struct Samples {
    /// The sequences.
    pub samples: Vec<Sample>,
}

impl Samples {
    /// Reads the sequences for a bundle.
    ///
    /// # Errors
    /// [`ConvertError::File`], [`ConvertError::Data`].
    pub fn load(path: &Path, bundle: &Bundle) -> Result<Self, ConvertError> {
        let tokens = Npz::open(path)?.read_tokens("tokens")?;
        if tokens.ndim() != 2 {
            let reason = format!("shape {:?}, expected [samples, most]", tokens.shape());
            return Err(wrong(path, "tokens", reason));
        }
        let mut samples: Vec<Sample> = tokens
            .outer_iter()
            .map(|row| Sample {
                input: None,
                length: 0,
                tokens: row
                    .iter()
                    .take_while(|&&token| token >= 0)
                    .map(|&token| token as u32)
                    .collect(),
            })
            .collect();
        if samples.is_empty() {
            return Err(wrong(path, "tokens", "it holds no samples".into()));
        }
        let most = samples.iter().map(|sample| sample.tokens.len()).max();
        if let (Some(_), Some(most)) = (&bundle.stream, most)
            && most > bundle.token_rows()
        {
            let rows = bundle.token_rows();
            let reason = format!("a sequence of {most} tokens; the step was exported for {rows}");
            return Err(wrong(path, "tokens", reason));
        }
        let (Some(encode), Some(name)) = (bundle.encode, bundle.manifest.decode.input.clone())
        else {
            return Ok(Self { samples });
        };
        let input = bundle.inputs[encode]
            .iter()
            .find(|input| input.name == name);
        let input = input.ok_or_else(|| bundle.missing("input", encode, &name))?;
        let array = read_input(path, input)?;
        let lengths = lengths(path, &name, &array)?;
        if array.shape()[0] != samples.len() || lengths.len() != samples.len() {
            return Err(wrong(
                path,
                &name,
                format!(
                    "{} samples, `tokens` has {}",
                    array.shape()[0],
                    samples.len()
                ),
            ));
        }
        for ((sample, sequence), length) in samples.iter_mut().zip(array.outer_iter()).zip(lengths)
        {
            let longest = sequence.shape()[0];
            if length == 0
                || length > longest
                || (bundle.max_length > 0 && length > bundle.max_length)
            {
                return Err(wrong(
                    path,
                    &format!("{name}_len"),
                    format!(
                        "a length of {length}; sequences have 1 to {}",
                        longest.min(bundle.max_length.max(1))
                    ),
                ));
            }
            sample.length = length;
            let kept = if bundle.max_length > 0 {
                length
            } else {
                longest
            };
            let sequence = sequence.slice_axis(Axis(0), Slice::from(..kept));
            if sequence
                .iter()
                .any(|x| !x.is_finite() || (input.integer && *x < 0.0))
            {
                return Err(wrong(
                    path,
                    &name,
                    "a sequence holds NaN, or padding before its end".into(),
                ));
            }
            sample.input = Some(sequence.to_owned());
        }
        Ok(Self { samples })
    }
}

fn lengths(path: &Path, name: &str, array: &ArrayD<f32>) -> Result<Vec<usize>, ConvertError> {
    let mut npz = Npz::open(path)?;
    let name = format!("{name}_len");
    if !npz.has(&name) {
        let all = array.shape().get(1).copied().unwrap_or(0);
        return Ok(vec![all; array.shape()[0]]);
    }
    let lengths = npz.read_tokens(&name)?;
    Ok(lengths
        .iter()
        .map(|&length| usize::try_from(length).unwrap_or(0))
        .collect())
}

fn wrong(path: &Path, array: &str, reason: String) -> ConvertError {
    ConvertError::Data {
        path: path.into(),
        array: array.into(),
        reason,
    }
}
