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
    use crate::graph::{Source, Value};

    /// What a softmax needs whose input has these elements.
    fn needed(elements: &[f32], precision: Precision) -> Result<usize> {
        let node = pb::NodeProto {
            op_type: "Softmax".into(),
            name: "weights".into(),
            input: vec!["x".into()],
            output: vec!["y".into()],
            ..Default::default()
        };
        let onnx = pb::GraphProto {
            node: vec![node],
            ..Default::default()
        };
        let value = Value {
            name: "x".into(),
            dims: vec![1, 4],
            source: Some(Source {
                onnx: "x".into(),
                position: (0..4).collect(),
            }),
        };
        let graph = Graph {
            values: vec![value],
            ..Graph::default()
        };
        let seen = [Distribution::of(elements)];
        Ok(needs_int16(&onnx, &graph, &seen, precision)?.len())
    }

    #[test]
    fn a_softmax_of_large_values_gets_16_bits_or_is_refused_by_name() {
        let all = [Precision::Int8, Precision::Int16x8, Precision::Fp16];
        let small = all.map(|precision| needed(&[-3.0, 4.0], precision).unwrap());
        assert_eq!(small, [0, 0, 0]);
        assert_eq!(needed(&[-100.0, 300.0], Precision::Int8).unwrap(), 1);
        for precision in all {
            let error = needed(&[0.0, 1.0, 10_000.0, 10_003.0], precision).unwrap_err();
            let said = error.to_string();
            assert!(
                said.contains("`weights`") && said.contains("Softmax of `x`"),
                "{said}"
            );
            // What a mask hides is far below the rest.
            assert!(needed(&[-10_000.0, 3.0], precision).is_ok());
        }
    }

    #[test]
    fn the_distance_of_numbers_is_that_of_the_type() {
        assert_eq!(step(1000.0, Precision::Fp16), 0.5);
        assert_eq!(step(10_003.0, Precision::Fp16), 8.0);
        assert!(step(10_003.0, Precision::Int16x8) > LARGEST_STEP);
        assert!(step(100.0, Precision::Int8) < 0.01);
    }
}
