//! Half-precision files: one with every operator that has a half-precision form, as it is and damaged.

#[path = "half_image.rs"]
mod half_image;

use super::{nasty, parse_and_run, section};
use attn_runtime::format::{DType, OpKind, Storage, TensorRecord};
use attn_runtime::kernels::geometry::Shape;
use attn_runtime::kernels::half::gates::side_len;
use attn_runtime::kernels::half::{LANES, packed_len};
use attn_runtime::ops::{
    AddConstantHalfParams, AddHalfParams, AdditiveAttentionHalfParams, AttentionGeometry,
    AttentionHalfParams, ConstantParams, Conv1dHalfParams, EmbeddingHalfParams, GruHalfParams,
    LayerNormHalfParams, LinearHalfParams, LutHalfParams, MulHalfParams, OpError,
    RecurrentHalfSide, RotaryGeometry, RotaryHalfParams, Start, TopKHalfParams, Window1dParams,
};
use attn_runtime::{ModelError, TensorError};
use attn_test_support::tiny_model::{Builder, geometry, run};
use proptest::prelude::*;

const C: usize = 4;
const ROWS: usize = 3;
/// Channels of keys and values: one head for two of queries.
const KEYS: usize = 2;
const WINDOW: Shape = Shape {
    heads: 2,
    key_heads: 1,
    head_dim: 2,
    slots: ROWS,
};
/// 1/4 in f32.
const QUARTER: i32 = 0x3e80_0000;
const F16: DType = DType::F16;

fn attention(score_factor: f32, seen: u32) -> AttentionHalfParams {
    AttentionHalfParams {
        score_factor,
        window: geometry(&WINDOW, seen),
    }
}

fn layer(b: &mut Builder, out: usize, k: usize) -> LinearHalfParams {
    LinearHalfParams {
        weights: b.weights(2 * LANES * packed_len(out, k)),
        bias: b.words(out, QUARTER),
        min: -60.0,
        max: 65504.0,
    }
}

fn recurrent(b: &mut Builder, gates: usize, start: Start) -> GruHalfParams {
    let mut side = || RecurrentHalfSide {
        weights: b.weights(2 * LANES * side_len(gates, C, C)),
        bias: b.words(gates * C, QUARTER),
    };
    GruHalfParams {
        input: side(),
        recurrent: side(),
        run: run(start, start == Start::Given),
    }
}

/// A tensor of halves in the arena.
fn halves(b: &mut Builder, rows: usize, channels: usize) -> u16 {
    b.tensor(Storage::Arena, F16, rows, channels)
}

/// An operator with one new output of `rows` rows and, where it needs any, words of scratch.
fn op<P: zerocopy::IntoBytes + zerocopy::Immutable + ?Sized>(
    b: &mut Builder,
    kind: OpKind,
    inputs: &[u16],
    [rows, channels]: [usize; 2],
    scratch: usize,
    params: &P,
) -> u16 {
    let y = halves(b, rows, channels);
    let wide = (scratch > 0).then(|| b.tensor(Storage::Arena, DType::I32, 1, scratch));
    b.op(kind, inputs, &[y], wide, params);
    y
}

/// The file.
fn half_model() -> Vec<u8> {
    use Storage::State;
    let mut b = Builder::new();
    let state = |b: &mut Builder, rows, channels| b.tensor(State, F16, rows, channels);
    let history = state(&mut b, 3, C);
    let [h, h2, c] = [(); 3].map(|()| state(&mut b, 1, C));
    let keys = state(&mut b, 1, LANES * WINDOW.keys_len(packed_len));
    let values = state(&mut b, 1, LANES * WINDOW.values_len(packed_len));
    let ring = b.tensor(State, DType::I32, 1, 2);
    step(&mut b, [history, h, h2, c, keys, values, ring]);
    window(&mut b);
    decoder(&mut b);
    half_image::images(&mut b);
    b.file()
}

fn step(b: &mut Builder, [history, h, h2, c, keys, values, ring]: [u16; 7]) {
    let row = [1, C];
    let x = halves(b, 1, C);
    b.op(OpKind::ShiftRows, &[x, history], &[], None, &[0u8; 0]);
    let mut conv = Conv1dHalfParams {
        matrix: layer(b, C, 3 * C),
        window: Window1dParams {
            kernel: 3,
            stride: 1,
            pad_before: 0,
            pad_after: 0,
            gap: 0,
        },
    };
    let wide = op(b, OpKind::Conv1d, &[history], row, 3 * C, &conv);
    conv.matrix = layer(b, C, 3 * C);
    let deep = op(b, OpKind::DepthwiseConv1d, &[history], row, 0, &conv);
    let params = recurrent(b, 3, Start::Last);
    let gru = op(b, OpKind::Gru, &[wide, h], row, 2 * C, &params);
    let params = recurrent(b, 4, Start::Last);
    let lstm = op(b, OpKind::Lstm, &[deep, h2, c], row, 3 * C, &params);
    let [q, k, v] = [(gru, C), (lstm, KEYS), (gru, KEYS)].map(|(x, out)| {
        let params = layer(b, out, C);
        op(b, OpKind::Linear, &[x], [1, out], C, &params)
    });
    let pushed = [k, v, keys, values, ring];
    b.op(OpKind::PushKeyValue, &pushed, &[], None, &attention(0.0, 0));
    let seen = [q, keys, values, ring];
    let scratch = WINDOW.scratch_len();
    let context = op(
        b,
        OpKind::Attention,
        &seen,
        row,
        scratch,
        &attention(0.7, 0),
    );
    let lut = LutHalfParams {
        table: b.words(5 * 3, QUARTER),
        negative: 2,
        positive: 3,
        inverse_step: 2.0,
    };
    b.op(OpKind::Lut, &[context], &[context], None, &lut);
    let add = AddHalfParams { min: 0.0, max: 6.0 };
    let sum = op(b, OpKind::Add, &[context, gru], row, 0, &add);
    let product = op(
        b,
        OpKind::Mul,
        &[sum, lstm],
        row,
        0,
        &MulHalfParams { factor: -0.5 },
    );
    let joined = op(b, OpKind::Concat, &[sum, product], [1, 2 * C], 0, &[0u8; 0]);
    let y = op(b, OpKind::Softmax, &[joined], [1, 2 * C], 0, &[0u8; 0]);
    b.entry("step", 0, &[x], &[y]);
}

fn window(b: &mut Builder) {
    let first = b.ops.len();
    let tokens = b.tensor(Storage::Arena, DType::I32, ROWS, 1);
    let rows = [ROWS, C];
    let embedding = EmbeddingHalfParams {
        table: b.weights(2 * 6 * C),
        tokens: 6,
    };
    let x = op(b, OpKind::Embedding, &[tokens], rows, 0, &embedding);
    let constant = AddConstantHalfParams {
        constant: b.weights(2 * ROWS * C),
        positions: ROWS as u32,
        min: -8.0,
        max: 8.0,
    };
    let x = op(b, OpKind::AddConstant, &[x], rows, 0, &constant);
    let norm = LayerNormHalfParams {
        gamma: b.words(C, QUARTER),
        beta: b.words(C, QUARTER),
        epsilon: 1e-5,
        centre: 1,
    };
    let x = op(b, OpKind::LayerNorm, &[x], rows, 0, &norm);
    let (states, h) = (halves(b, ROWS, C), halves(b, 1, C));
    let scratch = b.tensor(Storage::Arena, DType::I32, 1, 2 * C);
    let params = recurrent(b, 3, Start::Zero);
    b.op(OpKind::Gru, &[x], &[states, h], Some(scratch), &params);
    let (back, cell) = (halves(b, ROWS, C), halves(b, 1, C));
    let scratch = b.tensor(Storage::Arena, DType::I32, 1, 3 * C);
    let given = recurrent(b, 4, Start::Given);
    let turn = RotaryHalfParams {
        table: b.weights(2 * 2 * ROWS),
        turns: RotaryGeometry {
            positions: ROWS as u32,
            head_dim: 2,
            pairs: 1,
            interleaved: 0,
        },
    };
    let turned = op(b, OpKind::Rotary, &[states], rows, 0, &turn);
    let data = ConstantParams {
        data: b.weights(2 * ROWS * ROWS),
    };
    let shares = op(b, OpKind::Constant, &[], [ROWS, ROWS], 0, &data);
    let weighed = op(
        b,
        OpKind::WeightedRows,
        &[shares, turned],
        rows,
        ROWS,
        &[0u8; 0],
    );
    let mean = op(b, OpKind::MeanRows, &[weighed], [1, C], 0, &[0u8; 0]);
    b.op(
        OpKind::Lstm,
        &[x, h, mean],
        &[back, cell],
        Some(scratch),
        &given,
    );
    let keys = halves(b, 1, LANES * WINDOW.keys_len(packed_len));
    let values = halves(b, 1, LANES * WINDOW.values_len(packed_len));
    let packed = [keys, values];
    let [k, v] = [states, back].map(|x| {
        let params = layer(b, KEYS, C);
        op(b, OpKind::Linear, &[x], [ROWS, KEYS], C, &params)
    });
    b.op(
        OpKind::PushKeyValue,
        &[k, v],
        &packed,
        None,
        &attention(0.0, 0),
    );
    let seen = [x, keys, values];
    let y = op(
        b,
        OpKind::Attention,
        &seen,
        rows,
        WINDOW.scratch_len(),
        &attention(0.7, 1),
    );
    b.entry("run", first, &[tokens], &[y]);
}

/// One query over a memory in both kinds of attention, with their weights, and the best tokens.
fn decoder(b: &mut Builder) {
    let first = b.ops.len();
    let (query, memory) = (halves(b, 1, C), halves(b, ROWS, C));
    let additive = AdditiveAttentionHalfParams {
        v: b.words(C, QUARTER),
        tanh: 1,
    };
    let [context, shares, context2, shares2] = [C, ROWS, C, ROWS].map(|n| match n {
        C => halves(b, 1, C),
        rows => halves(b, rows, 1),
    });
    let scratch = Some(b.tensor(Storage::Arena, DType::I32, 1, C + ROWS));
    let inputs = [query, memory, memory];
    b.op(
        OpKind::AdditiveAttention,
        &inputs,
        &[context, shares],
        scratch,
        &additive,
    );
    let shape = Shape {
        heads: 1,
        key_heads: 1,
        head_dim: C,
        slots: ROWS,
    };
    let mut one = attention(0.3, AttentionGeometry::MASK);
    (one.window.heads, one.window.key_heads) = (1, 1);
    (one.window.head_dim, one.window.mask) = (C as u32, b.words(1, 5));
    let keys = halves(b, 1, LANES * shape.keys_len(packed_len));
    let values = halves(b, 1, LANES * shape.values_len(packed_len));
    let mut push = one;
    push.window.seen = AttentionGeometry::ALL;
    b.op(
        OpKind::PushKeyValue,
        &[memory, memory],
        &[keys, values],
        None,
        &push,
    );
    let scratch = Some(b.tensor(Storage::Arena, DType::I32, 1, shape.scratch_len()));
    b.op(
        OpKind::Attention,
        &[query, keys, values],
        &[context2, shares2],
        scratch,
        &one,
    );
    let [tokens, scores] = [(); 2].map(|()| b.tensor(Storage::Arena, DType::I32, 1, 2));
    let scratch = Some(b.tensor(Storage::Arena, DType::I32, 1, C));
    let best = TopKHalfParams {
        matrix: layer(b, 7, C),
        tokens: 7,
    };
    b.op(OpKind::TopK, &[context], &[tokens, scores], scratch, &best);
    let cleared = halves(b, ROWS, C);
    b.op(OpKind::ClearRows, &[memory], &[cleared], None, &[0u8; 0]);
    let outputs = [tokens, scores, shares, context2, shares2, cleared];
    b.entry("decode", first, &[query, memory], &outputs);
}

#[test]
fn a_file_with_every_half_precision_operator_runs() {
    parse_and_run(half_model()).unwrap();
}

#[test]
fn no_single_bit_flip_with_a_new_checksum_does_harm() {
    let file = half_model();
    let mut accepted = 0;
    for bit in 128..8 * file.len() {
        let mut flipped = file.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        accepted += usize::from(parse_and_run(flipped).is_ok());
    }
    assert!(
        accepted > file.len() && accepted < 7 * file.len(),
        "{accepted} accepted of {}",
        8 * file.len()
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_replaced_numbers_do_harm(
        changes in prop::collection::vec((16usize..8192, 1usize..5, nasty(&half_model())), 1..5)
    ) {
        let mut file = half_model();
        let records = section(&file, 5);
        for (at, width, value) in changes {
            let at = 16 + (at - 16) % (records - 20);
            file[at / width * width..][..width].copy_from_slice(&value.to_le_bytes()[..width]);
        }
        let _ = parse_and_run(file);
    }
}

#[test]
fn rules_of_half_precision_have_their_errors() {
    let file = half_model();
    let [tensors, ops, params] = [0, 1, 4].map(|i| section(&file, i));
    let broken = |at: usize, bytes: &[u8]| {
        let mut file = file.clone();
        file[at..at + bytes.len()].copy_from_slice(bytes);
        parse_and_run(file).unwrap_err()
    };
    let bad = |op, reason| ModelError::BadOp { op, reason };
    let scale = tensors + core::mem::offset_of!(TensorRecord, scale);
    assert_eq!(
        broken(scale, &0.5f32.to_le_bytes()),
        ModelError::BadTensor {
            tensor: 0,
            reason: TensorError::BadQuantization
        }
    );
    // Operator 1 is Conv1d; behind the offsets of weights and bias its parameters have limits.
    let conv = params + u32::from_le_bytes(file[ops + 32 + 24..][..4].try_into().unwrap()) as usize;
    for limit in [f32::NAN, f32::NEG_INFINITY, -65505.0, 7e4] {
        assert_eq!(
            broken(conv + 8, &limit.to_le_bytes()),
            bad(1, OpError::BadParams)
        );
    }
    // A half among integers, and an integer among halves.
    assert_eq!(
        broken(tensors, &[DType::I16 as u8]),
        bad(0, OpError::WrongType)
    );
    // The three rows of a history are not the one of a result.
    let linear = OpKind::Linear as u16;
    assert_eq!(
        broken(ops + 32, &linear.to_le_bytes()),
        bad(1, OpError::WrongShape)
    );
}
