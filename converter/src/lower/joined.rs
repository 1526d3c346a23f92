//! Whether joined weights pay: a chip then has their loops beside those for packed weights, if something else needs these.

use crate::program::{Operator, Program};
use attn_runtime::format::{DType, OpKind};

/// The least share of multiplications with weights that have to meet int8.
const LEAST: f64 = 0.25;

/// True if enough of a program's multiplications are of weights that can be joined.
pub fn pays(program: &Program) -> bool {
    let products = program.ops.iter().map(|op| products(program, op));
    let [joined, all] = products.fold([0.0; 2], |[joined, all], [of_input, others]| {
        [joined + of_input, all + of_input + others]
    });
    joined > 0.0 && joined >= LEAST * all
}

/// Multiplications in a run of an operator: of weights that can be joined, and of other matrices of weights.
fn products(program: &Program, op: &Operator) -> [f64; 2] {
    let (Some(&x), Some(&y)) = (op.inputs.first(), op.outputs.first()) else {
        return [0.0; 2];
    };
    let (x, y) = (&program.tensors[x], &program.tensors[y]);
    let size = |dims: &[usize]| dims.iter().product::<usize>() as f64;
    let (channels, hidden) = (last(&x.dims), last(&y.dims));
    let [of_input, others] = match op.kind {
        OpKind::Linear => [size(&y.dims) * channels, 0.0],
        OpKind::Conv1d => [size(&y.dims) * channels * word(op, 6), 0.0],
        OpKind::Conv2d => [size(&y.dims) * channels * word(op, 6) * word(op, 7), 0.0],
        OpKind::Gru => [channels, hidden].map(|k| 3.0 * size(&y.dims) * k),
        OpKind::Lstm => [channels, hidden].map(|k| 4.0 * size(&y.dims) * k),
        _ => return [0.0; 2],
    };
    match x.quant.dtype {
        DType::I8 => [of_input, others],
        _ => [0.0, of_input + others],
    }
}

fn last(dims: &[usize]) -> f64 {
    dims.last().map_or(0.0, |&n| n as f64)
}

/// A word of an operator's parameters; behind those of the matrix a convolution has the size of its window.
fn word(op: &Operator, at: usize) -> f64 {
    let word = op.params.as_chunks().0.get(at);
    word.map_or(0.0, |&word| u32::from_le_bytes(word).into())
}
