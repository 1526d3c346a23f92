//! Masks that are added to scores: which elements hide, and whether a tensor can only hide.

use crate::shapes::MOVES;
use tract_onnx::pb;

/// Added to a score, it leaves nothing of its weight in any precision: what stands for minus infinity.
pub const HIDDEN: f32 = -200.0;
/// An element from here down is meant to hide.
pub const HIDES: f32 = -1e4;
/// Operators that scores and masks pass on their way to a softmax, besides those that move elements.
const ON_THE_WAY: [&str; 7] = ["Add", "Sub", "Mul", "Where", "Cast", "Concat", "Max"];

/// True if a tensor goes nowhere but to a softmax.
pub fn only_softmax(graph: &pb::GraphProto, name: &str) -> bool {
    let mut seen = vec![name];
    let mut at = 0;
    while let Some(&name) = seen.get(at) {
        if graph.output.iter().any(|output| output.name == name) {
            return false;
        }
        let reads = |node: &&pb::NodeProto| node.input.iter().any(|input| input == name);
        for reader in graph.node.iter().filter(reads) {
            match reader.op_type.as_str() {
                "Softmax" | "LogSoftmax" => {}
                op if ON_THE_WAY.contains(&op) || MOVES.contains(&op) => {
                    for output in reader.output.iter().map(String::as_str) {
                        if !seen.contains(&output) {
                            seen.push(output);
                        }
                    }
                }
                _ => return false,
            }
        }
        at += 1;
    }
    true
}

/// True for elements that hide or leave as it is what they are added to. Scores that are given are others.
pub fn is_mask<'x>(mut elements: impl Iterator<Item = &'x f32>) -> bool {
    elements.all(|&x| x >= HIDDEN / 2.0 || x <= HIDES)
}

/// What stands for an element of a mask. NaN stays.
pub fn shown(x: f32) -> f32 {
    if x <= HIDES { HIDDEN } else { x }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_are_no_mask() {
        assert!(is_mask([0.0, -1.5, f32::NEG_INFINITY, -1e9].iter()));
        assert!(!is_mask([-1000.0, -1001.0].iter()));
        assert_eq!([f32::NEG_INFINITY, -3.0].map(shown), [HIDDEN, -3.0]);
    }
}
