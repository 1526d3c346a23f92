//! Values in float of nodes whose result no ONNX tensor holds: parts of what one ONNX node became, and what several were fused into.

use super::{Clamp, Graph, Node, Op, op};
use op::Reduction;

/// True for operators that [`evaluate`] computes. The result of any other has to be an ONNX tensor.
pub fn computes(op: &Op) -> bool {
    !matches!(
        op,
        Op::Conv1d(_)
            | Op::DepthwiseConv1d(_)
            | Op::Gru(_)
            | Op::Lstm(_)
            | Op::Recurrent(_)
            | Op::ClearRows(_)
            | Op::MeanRows(_)
            | Op::ConcatRows(_)
            | Op::Rotary(_)
            | Op::WeightedRows(_)
            | Op::Conv2d(_)
            | Op::DepthwiseConv2d(_)
            | Op::ConvTranspose2d(_)
            | Op::MaxPool2d(_)
            | Op::AveragePool2d(_)
            | Op::MaxChannels(_)
            | Op::MeanChannels(_)
            | Op::Gate(_)
    )
}

/// The elements of a node's result, from those of its inputs; `None` for operators that it does not compute.
pub fn evaluate(graph: &Graph, node: &Node, inputs: &[&[f32]]) -> Option<Vec<f32>> {
    let x = inputs.first().copied().unwrap_or_default();
    let channels = graph.values[node.output.0].channels().max(1);
    Some(match &node.op {
        Op::Linear(op::Linear(op::Affine {
            weight,
            bias,
            clamp,
        })) => {
            let weight = weight.as_slice()?;
            let k = weight.len() / bias.len().max(1);
            let output = |row: &[f32]| -> Vec<f32> {
                let dot = |w: &[f32]| w.iter().zip(row).map(|(w, x)| w * x).sum::<f32>();
                let sums = weight.chunks(k.max(1)).map(dot).zip(bias);
                sums.map(|(sum, b)| clamped(sum + b, *clamp)).collect()
            };
            x.chunks_exact(k.max(1)).flat_map(output).collect()
        }
        Op::Sequence(_) | Op::Reshape(_) => x.to_vec(),
        Op::Constant(op::Constant { values }) => values.clone(),
        Op::Activation(op::Activation(f)) => x.iter().map(|&x| f.eval(x.into()) as f32).collect(),
        Op::Add(op::Add { clamp }) => {
            let sums = x.iter().zip(*inputs.get(1)?);
            sums.map(|(a, b)| clamped(a + b, *clamp)).collect()
        }
        Op::AddConstant(op::AddConstant { constant, clamp }) => {
            let sums = x.iter().zip(constant);
            sums.map(|(a, b)| clamped(a + b, *clamp)).collect()
        }
        Op::Mul(op::Mul { factor }) => {
            let products = x.iter().zip(*inputs.get(1)?);
            products.map(|(a, b)| a * b * factor).collect()
        }
        Op::Concat(_) => {
            let rows = graph.values[node.output.0].rows();
            let part = |row: usize, part: &&[f32]| {
                let width = part.len() / rows.max(1);
                part.iter()
                    .skip(row * width)
                    .take(width)
                    .copied()
                    .collect::<Vec<_>>()
            };
            let row = |row| inputs.iter().flat_map(move |input| part(row, input));
            (0..rows).flat_map(row).collect()
        }
        Op::Softmax(_) => x.chunks(channels).flat_map(softmax).collect(),
        Op::LayerNorm(norm) => x
            .chunks(channels)
            .flat_map(|row| normalised(norm, row))
            .collect(),
        Op::Copy(op::Copy { index }) => {
            let at = |&at: &u32| x.get(at as usize).copied().unwrap_or(0.0);
            index.iter().map(at).collect()
        }
        Op::Embedding(op::Embedding { table }) => {
            let rows = table.as_slice()?;
            let row = |&token: &f32| {
                let start = token as usize * channels;
                let row = rows.get(start..start + channels).filter(|_| token >= 0.0);
                row.map_or_else(|| vec![0.0; channels], <[f32]>::to_vec)
            };
            x.iter().flat_map(row).collect()
        }
        Op::SelectRows(op::SelectRows { start, .. }) => {
            let len = graph.values[node.output.0].len();
            let selected = x.iter().skip(start * channels).take(len);
            selected.copied().collect()
        }
        Op::MatMul(op::MatMul { batch, m, k, n }) => {
            let b = *inputs.get(1)?;
            let one = |i: usize| {
                let (matrix, row, column) = (i / (m * n), i / n % m, i % n);
                let term =
                    |at: usize| x[(matrix * m + row) * k + at] * b[(matrix * k + at) * n + column];
                (0..*k).map(term).sum()
            };
            let known = x.len() == batch * m * k && b.len() == batch * k * n;
            (0..batch * m * n).map(one).take_while(|_| known).collect()
        }
        Op::Reduce(op::Reduce { n, by }) => {
            let reduced = |row: &[f32]| match by {
                Reduction::Sum => row.iter().sum(),
                Reduction::Mean => row.iter().sum::<f32>() / *n as f32,
                Reduction::Max => row.iter().copied().fold(f32::NEG_INFINITY, f32::max),
                Reduction::Min => row.iter().copied().fold(f32::INFINITY, f32::min),
            };
            x.chunks((*n).max(1)).map(reduced).collect()
        }
        Op::ArgMax(op::ArgMax { n, last }) => {
            let place = |row: &[f32]| {
                let mut best = 0;
                for (at, x) in row.iter().enumerate() {
                    if *x > row[best] || (*last && *x == row[best]) {
                        best = at;
                    }
                }
                best as f32
            };
            x.chunks((*n).max(1)).map(place).collect()
        }
        Op::Attention(attention) => {
            let bias = inputs.get(3).copied().unwrap_or(&[]);
            attended(
                attention,
                [x, inputs.get(1)?, inputs.get(2)?, bias],
                graph,
                node,
            )
        }
        Op::AdditiveAttention(op::AdditiveAttention { v, tanh }) => {
            let (keys, values) = (*inputs.get(1)?, *inputs.get(2)?);
            let energy = |sum: f32| if *tanh { sum.tanh() } else { sum };
            let score = |key: &[f32]| -> f32 {
                let sums = x.iter().zip(key).zip(v);
                sums.map(|((q, k), v)| energy(q + k) * v).sum()
            };
            let scores: Vec<f32> = keys.chunks(v.len().max(1)).map(score).collect();
            let weights = softmax(&scores);
            let mean = |c: usize| {
                let rows = values.chunks(channels).zip(&weights);
                rows.map(|(row, w)| row[c] * w).sum()
            };
            (0..channels).map(mean).collect()
        }
        op => {
            debug_assert!(!computes(op), "an operator that is said to be computed");
            return None;
        }
    })
}

fn clamped(x: f32, clamp: Clamp) -> f32 {
    x.max(clamp.min).min(clamp.max)
}

fn softmax(row: &[f32]) -> Vec<f32> {
    let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers: Vec<f32> = row.iter().map(|x| (x - largest).exp()).collect();
    let sum: f32 = powers.iter().sum();
    powers.iter().map(|power| power / sum).collect()
}

/// Softmax attention, query by query, head by head.
fn attended(
    of: &op::Attention,
    [q, k, v, bias]: [&[f32]; 4],
    graph: &Graph,
    node: &Node,
) -> Vec<f32> {
    let channels = |slot: usize| graph.values[node.inputs[slot].0].channels().max(1);
    let (width, out) = (channels(0) / of.heads, channels(2) / of.key_heads);
    let (queries, keys) = (q.len() / channels(0), k.len() / channels(1));
    let bias_width = node
        .inputs
        .get(3)
        .map_or(0, |id| graph.values[id.0].channels());
    // One for each query and head, or the same for all of either.
    let bias = |query: usize, head: usize, key: usize| {
        let row = if bias.len() > bias_width { query } else { 0 };
        let head = if bias_width > keys { head } else { 0 };
        bias.get(row * bias_width + head * keys + key)
            .copied()
            .unwrap_or(0.0)
    };
    let mut all = Vec::new();
    for query in 0..queries {
        for head in 0..of.heads {
            let shared = head / (of.heads / of.key_heads);
            let q = &q[query * channels(0) + head * width..][..width];
            let seen = |key: &usize| match &of.visible {
                Some(visible) => visible[query * keys + key],
                None => !of.causal || key + queries <= keys + query,
            };
            let seen: Vec<usize> = (0..keys).filter(seen).collect();
            let score = |&key: &usize| {
                let k = &k[key * channels(1) + shared * width..][..width];
                q.iter().zip(k).map(|(q, k)| q * k).sum::<f32>() * of.scale + bias(query, head, key)
            };
            let weights = softmax(&seen.iter().map(score).collect::<Vec<_>>());
            let mean = |c: usize| {
                let value = |(&key, w): (&usize, &f32)| v[key * channels(2) + shared * out + c] * w;
                seen.iter().zip(&weights).map(value).sum::<f32>()
            };
            all.extend((0..out).map(mean));
        }
    }
    all
}

fn normalised(norm: &op::LayerNorm, row: &[f32]) -> Vec<f32> {
    let n = row.len() as f32;
    let mean = match norm.centre {
        true => row.iter().sum::<f32>() / n,
        false => 0.0,
    };
    let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f32>() / n;
    let scale = 1.0 / (variance + norm.epsilon).sqrt();
    let affine = norm.gamma.iter().zip(&norm.beta);
    row.iter()
        .zip(affine)
        .map(|(x, (g, b))| (x - mean) * scale * g + b)
        .collect()
}
