//! What a softmax reads: the exponential turns a step of its input into a factor, so the input must be held finely where it is largest.

use super::{INT16_HEADROOM, Precision};
use crate::calibrate::Distribution;
use crate::error::{ConvertError, Result};
use crate::graph::{Graph, ValueId};
use std::collections::{BTreeSet, HashMap};
use tract_onnx::pb;

/// Largest step of a softmax's input: results are off by a quarter at most.
const LARGEST_STEP: f32 = 0.5;

/// The inputs of softmaxes that need 16 bits.
///
/// # Errors
/// [`ConvertError::Limit`] where they do not suffice.
pub fn needs_int16(
    onnx: &pb::GraphProto,
    graph: &Graph,
    distributions: &[Distribution],
    precision: Precision,
) -> Result<BTreeSet<ValueId>> {
    let sources = graph.values.iter().enumerate();
    let sources = sources.filter_map(|(id, value)| Some((&value.source.as_ref()?.onnx, id)));
    let values: HashMap<&String, usize> = sources.collect();
    let mut wide = BTreeSet::new();
    let softmaxes = onnx.node.iter();
    for node in softmaxes.filter(|node| ["Softmax", "LogSoftmax"].contains(&&*node.op_type)) {
        let Some(&id) = node.input.first().and_then(|name| values.get(name)) else {
            continue;
        };
        // Far below the largest, a step does not matter: what a mask hides is there.
        let (most, seen) = (distributions[id].max, &distributions[id]);
        let step = step(most, precision);
        if step > LARGEST_STEP {
            let reason = format!(
                "{} of `{}`, which reaches {most}: numbers of {} are {step} apart there, and a softmax needs {LARGEST_STEP}: scale its \
                 input down, or subtract the largest element in the layer before",
                node.op_type,
                node.input[0],
                match precision {
                    Precision::Fp16 => "half precision",
                    Precision::Int8 | Precision::Int16x8 => "16 bits",
                }
            );
            let node = match node.name.is_empty() {
                true => node.output.first().cloned().unwrap_or_default(),
                false => node.name.clone(),
            };
            return Err(ConvertError::Limit { node, reason });
        }
        if most > 0.0 && (seen.max - seen.min) / 255.0 > LARGEST_STEP {
            wide.insert(ValueId(id));
        }
    }
    Ok(wide)
}

/// Distance of the numbers that 16 bits have at `most`.
fn step(most: f32, precision: Precision) -> f32 {
    match precision {
        Precision::Fp16 => (most.max(1.0).log2().floor() - 10.0).exp2(),
        Precision::Int8 | Precision::Int16x8 => most * INT16_HEADROOM / 32767.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_distance_of_numbers_is_that_of_the_type() {
        assert_eq!(step(1000.0, Precision::Fp16), 0.5);
        assert_eq!(step(10_003.0, Precision::Fp16), 8.0);
        assert!(step(10_003.0, Precision::Int16x8) > LARGEST_STEP);
        assert!(step(100.0, Precision::Int8) < 0.01);
    }
}
