//! A small file with every operator, a stream and a whole window as entry points, written record by record.

mod tiny_image;
mod wide;

use attn_runtime::format::{
    AudioMeta, DType, DecodeMeta, EntryRecord, FILE_ALIGN, HEADER_LEN, Header, LengthMeta, MAGIC,
    MetaKey, MetaRecord, NO_TENSOR, NONE, OpKind, OpRecord, RowRule, Section, SpotterMeta, Storage,
    TensorRecord, VERSION, checksum,
};
use attn_runtime::kernels::geometry::Shape;
use attn_runtime::kernels::int::dot::{packed_len, pairs_len};
use attn_runtime::ops::{
    AddConstantParams, AddParams, AdditiveAttentionParams, AttentionGeometry, AttentionParams,
    CellScale, ConstantParams, Conv1dParams, EmbeddingParams, GruParams, LayerNormParams,
    LinearParams, LstmParams, LutParams, RecurrentGeometry, RecurrentSide, RequantizeParams,
    RotaryGeometry, RotaryParams, SoftmaxParams, Start, TopKParams, Window1dParams,
};
use zerocopy::IntoBytes;

/// Channels of every row.
pub const C: usize = 4;
pub const WINDOW: Shape = Shape {
    heads: 2,
    key_heads: 2,
    head_dim: 2,
    slots: 3,
};

#[derive(Default)]
pub struct Builder {
    pub tensors: Vec<TensorRecord>,
    pub ops: Vec<OpRecord>,
    pub entries: Vec<EntryRecord>,
    meta: Vec<MetaRecord>,
    params: Vec<u8>,
    pub weights: Vec<u8>,
    strings: Vec<u8>,
    state_len: u32,
    arena_len: u32,
}

impl Builder {
    pub fn new() -> Self {
        Self {
            strings: vec![0, 0],
            ..Self::default()
        }
    }

    pub fn name(&mut self, name: &str) -> u32 {
        let at = self.strings.len() as u32;
        self.strings
            .extend_from_slice(&(name.len() as u16).to_le_bytes());
        self.strings.extend_from_slice(name.as_bytes());
        at
    }

    /// A tensor behind the last one. State comes before all others.
    pub fn tensor(&mut self, storage: Storage, dtype: DType, rows: usize, channels: usize) -> u16 {
        let bytes = ((rows * channels * dtype.size()) as u32).next_multiple_of(4);
        let offset = self.arena_len;
        self.arena_len += bytes;
        if storage == Storage::State {
            self.state_len = self.arena_len;
        }
        let name = self.name("t");
        self.tensors.push(TensorRecord {
            dtype: dtype as u8,
            storage: storage as u8,
            rank: 2,
            rows_rule: 0,
            dims: [rows as u32, channels as u32, 1, 1, 1, 1],
            offset,
            scale: if dtype == DType::F16 { 1.0 } else { 0.125 },
            zero_point: if dtype == DType::I8 { -3 } else { 0 },
            name,
        });
        self.tensors.len() as u16 - 1
    }

    pub fn op<P: IntoBytes + zerocopy::Immutable + ?Sized>(
        &mut self,
        kind: OpKind,
        inputs: &[u16],
        outputs: &[u16],
        scratch: Option<u16>,
        params: &P,
    ) {
        let (at, len) = self.params(params.as_bytes());
        let name = self.name(kind.name());
        let touched = inputs.iter().chain(outputs);
        let half = touched
            .filter_map(|&id| self.tensors.get(usize::from(id)))
            .any(|t| t.dtype() == DType::F16);
        self.ops.push(OpRecord {
            kind: kind as u16,
            inputs: padded(inputs),
            outputs: padded(outputs),
            scratch: scratch.unwrap_or(NO_TENSOR),
            encoding: half.into(),
            name,
            params: at,
            params_len: len,
        });
    }

    pub fn entry(&mut self, name: &str, first_op: usize, inputs: &[u16], outputs: &[u16]) {
        let name = self.name(name);
        self.entries.push(EntryRecord {
            name,
            first_op: first_op as u32,
            op_count: (self.ops.len() - first_op) as u32,
            inputs: padded(inputs),
            outputs: padded(outputs),
            input_names: [0; 8],
            output_names: [0; 8],
        });
    }

    pub fn params(&mut self, bytes: &[u8]) -> (u32, u32) {
        let at = self.params.len() as u32;
        self.params.extend_from_slice(bytes);
        self.params.resize(self.params.len().next_multiple_of(4), 0);
        (at, bytes.len() as u32)
    }

    pub fn meta(&mut self, key: MetaKey, count: usize, payload: &[u8]) {
        let (offset, len) = self.params(payload);
        self.meta.push(MetaRecord {
            key: key as u16,
            count: count as u16,
            offset,
            len,
        });
    }

    /// Pseudo-random weights: `bytes` of int8, or words of that many bytes of `value`.
    pub fn weights(&mut self, bytes: usize) -> u32 {
        let at = self.weights.len();
        self.weights
            .extend((0..bytes).map(|i| (i * 89 % 251) as u8));
        self.weights
            .resize(self.weights.len().next_multiple_of(4), 0);
        at as u32
    }

    pub fn words(&mut self, count: usize, value: i32) -> u32 {
        let at = self.weights.len() as u32;
        for _ in 0..count {
            self.weights.extend_from_slice(&value.to_le_bytes());
        }
        at
    }

    pub fn linear_params(&mut self, packed: usize, out: usize) -> LinearParams {
        LinearParams {
            weights: self.weights(packed),
            bias: self.words(out, 77),
            multipliers: self.words(out, 1 << 26),
            left_shift: 2,
            min: -128,
            max: 127,
        }
    }

    fn side(&mut self, gates: usize, k: usize) -> RecurrentSide {
        let units = gates * pairs_len(C);
        RecurrentSide {
            weights: self.weights(units * pairs_len(k)),
            bias: self.words(units, -500),
            multipliers: self.words(units, 1 << 27),
            left_shift: 4,
        }
    }

    pub fn linear(&mut self, x: u16, y: u16, k: usize) {
        let scratch = self.tensor(Storage::Arena, DType::I16, 1, pairs_len(k));
        let params = self.linear_params(packed_len(C, k), C);
        self.op(OpKind::Linear, &[x], &[y], Some(scratch), &params);
    }

    /// The file.
    pub fn file(self) -> Vec<u8> {
        let mut file = vec![0; HEADER_LEN];
        let mut append = |bytes: &[u8], count: usize| {
            file.resize(file.len().next_multiple_of(FILE_ALIGN), 0);
            let offset = file.len() as u32;
            file.extend_from_slice(bytes);
            Section {
                offset,
                count: count as u32,
            }
        };
        let header = Header {
            magic: MAGIC,
            version: VERSION,
            flags: 0,
            file_len: 0,
            checksum: 0,
            arena_len: self.arena_len,
            state_len: self.state_len,
            tensors: append(self.tensors.as_bytes(), self.tensors.len()),
            ops: append(self.ops.as_bytes(), self.ops.len()),
            entries: append(self.entries.as_bytes(), self.entries.len()),
            meta: append(self.meta.as_bytes(), self.meta.len()),
            params: append(&self.params, self.params.len()),
            weights: append(&self.weights, self.weights.len()),
            strings: append(&self.strings, self.strings.len()),
        };
        file[..HEADER_LEN].copy_from_slice(header.as_bytes());
        sealed(file)
    }
}

fn padded<const N: usize>(ids: &[u16]) -> [u16; N] {
    core::array::from_fn(|i| ids.get(i).copied().unwrap_or(NO_TENSOR))
}

/// `file` with length and checksum as they should be.
pub fn sealed(mut file: Vec<u8>) -> Vec<u8> {
    let len = file.len() as u32;
    file[8..12].copy_from_slice(&len.to_le_bytes());
    let sum = checksum(&file);
    file[12..16].copy_from_slice(&sum.to_le_bytes());
    file
}

pub const RESCALE: RequantizeParams = RequantizeParams {
    multiplier: 1 << 28,
    left_shift: 1,
    min: -128,
    max: 127,
};

pub fn attention_params(score_multiplier: u32) -> AttentionParams {
    AttentionParams {
        score_multiplier,
        value_zero_point: -3,
        score_shift: 0,
        window: geometry(&WINDOW, AttentionGeometry::ALL),
    }
}

/// A window as parameters hold it, without a mask.
pub fn geometry(shape: &Shape, seen: u32) -> AttentionGeometry {
    AttentionGeometry {
        heads: shape.heads as u32,
        key_heads: shape.key_heads as u32,
        head_dim: shape.head_dim as u32,
        slots: shape.slots as u32,
        seen,
        mask: 0,
        rows_rule: 0,
    }
}

/// How a recurrent layer runs.
pub fn run(start: Start, reverse: bool) -> RecurrentGeometry {
    RecurrentGeometry {
        start: start as u32,
        reverse: reverse.into(),
    }
}

/// The file with every operator.
pub fn tiny_model() -> Vec<u8> {
    use DType::{I8, I16, I32};
    use Storage::{Arena, State};
    let mut b = Builder::new();
    let history = b.tensor(State, I8, 3, C);
    let h = b.tensor(State, I16, 1, C);
    let keys = b.tensor(State, I8, 1, WINDOW.keys_len(packed_len));
    let values = b.tensor(State, I8, 1, WINDOW.values_len(packed_len));
    let ring = b.tensor(State, I32, 1, 2);
    let position = b.tensor(State, I32, 1, 1);
    step(&mut b, [history, h, keys, values, ring]);
    let first = b.ops.len();
    window(&mut b, first);

    let x = b.tensor(Arena, I8, 1, C);
    let y = b.tensor(Arena, I8, 1, 2 * C);
    let first = b.ops.len();
    b.op(OpKind::Concat, &[x, x], &[y], None, &[RESCALE; 2]);
    b.entry("twice", first, &[x], &[y]);
    let first = b.ops.len();
    tiny_image::image(&mut b, first);

    let embedding = words(&mut b);
    next(&mut b, &embedding);
    decode_meta(&mut b);
    let first = b.ops.len();
    turned(&mut b, position, first);
    wide::wide(&mut b);
    let labels = ["yes", "no", "noise", "unknown"].map(|label| b.name(label));
    b.meta(MetaKey::Labels, labels.len(), labels.as_bytes());
    let audio = AudioMeta {
        sample_rate: 16_000,
        frame_len: 512,
        hop: 320,
        mel_bands: 40,
    };
    b.meta(MetaKey::Audio, 1, audio.as_bytes());
    let spotter = SpotterMeta {
        smoothing_hops: 5,
        refractory_hops: 50,
    };
    let thresholds = [20_000u16; 4];
    b.meta(
        MetaKey::Spotter,
        4,
        &[spotter.as_bytes(), thresholds.as_bytes()].concat(),
    );
    let length = LengthMeta { max: 4 };
    let rule = RowRule { add: 0, divisor: 1 };
    b.meta(
        MetaKey::Length,
        1,
        &[length.as_bytes(), rule.as_bytes()].concat(),
    );

    b.file()
}

/// One token in, what the next may be out.
fn next(b: &mut Builder, embedding: &EmbeddingParams) {
    use DType::{I8, I16, I32};
    let [token, x, logits] = [(I32, 1), (I16, C), (I8, C)]
        .map(|(dtype, channels)| b.tensor(Storage::Arena, dtype, 1, channels));
    let first = b.ops.len();
    b.op(OpKind::Embedding, &[token], &[x], None, embedding);
    b.linear(x, logits, C);
    let [best, scores] = [(); 2].map(|_| b.tensor(Storage::Arena, I32, 1, 2));
    let scratch = b.tensor(Storage::Arena, I16, 1, pairs_len(C));
    let params = TopKParams {
        matrix: b.linear_params(packed_len(C, C), C),
        tokens: C as u32,
        score_multiplier: 1 << 28,
    };
    b.op(OpKind::TopK, &[x], &[best, scores], Some(scratch), &params);
    b.entry("next", first, &[token], &[logits, best, scores]);
}

/// Reading with entry point "words" and writing with "next".
fn decode_meta(b: &mut Builder) {
    for (key, prefix) in [(MetaKey::Symbols, 's'), (MetaKey::Tokens, 't')] {
        let names: Vec<u32> = (0..C).map(|i| b.name(&format!("{prefix}{i}"))).collect();
        b.meta(key, names.len(), names.as_bytes());
    }
    let decode = DecodeMeta {
        encode: b.entries.len() as u32 - 2,
        step: b.entries.len() as u32 - 1,
        input: 0,
        token: 0,
        logits: 0,
        scores: NONE,
        weights: NONE,
        tokens: C as u32,
        start: 0,
        end: 1,
        max_tokens: 9,
        hypothesis_len: 20,
        end_symbol: 3,
        separator: b.name("-"),
        pad: 2,
    };
    b.meta(MetaKey::Decode, 1, decode.as_bytes());
}

/// Additive attention of one row over others, with its weights.
fn additive(b: &mut Builder, query: u16, rows: u16) {
    let context = b.tensor(Storage::Arena, DType::I16, 1, C);
    let weights = b.tensor(Storage::Arena, DType::I16, 4, 1);
    b.tensors[usize::from(weights)].rows_rule = 1;
    let scratch = b.tensor(Storage::Arena, DType::I32, 1, C + 4 + 2);
    let params = AdditiveAttentionParams {
        v: b.weights(2 * C),
        score_multiplier: 100_000,
        query_multiplier: 1 << 30,
        query_shift: 3,
        key_multiplier: 1 << 30,
        key_shift: 3,
        tanh: 1,
    };
    b.op(
        OpKind::AdditiveAttention,
        &[query, rows, rows],
        &[context, weights],
        Some(scratch),
        &params,
    );
}

/// A sequence of up to four tokens: looked up, run over backwards and forwards by an Lstm, and its last row.
fn words(b: &mut Builder) -> EmbeddingParams {
    use DType::{I16, I32};
    use Storage::Arena;
    let tokens = b.tensor(Arena, I32, 4, 1);
    let [words, states, again] = [0; 3].map(|_| b.tensor(Arena, I16, 4, C));
    for id in [tokens, words, states, again] {
        b.tensors[usize::from(id)].rows_rule = 1;
    }
    let first = b.ops.len();
    let embedding = EmbeddingParams {
        table: b.weights(3 * C),
        multipliers: b.words(3, 1 << 28),
        tokens: 3,
        left_shift: 1,
        min: -100,
        max: 100,
    };
    b.op(OpKind::Embedding, &[tokens], &[words], None, &embedding);
    let [cell, last_cell, last] = [0; 3].map(|_| b.tensor(Arena, I16, 1, C));
    let scratch = b.tensor(Arena, I32, 1, C + pairs_len(C));
    let scale = CellScale {
        multiplier: 1 << 28,
        left_shift: 4,
    };
    let mut lstm = LstmParams {
        input: b.side(4, C),
        recurrent: b.side(4, C),
        run: run(Start::Zero, true),
        cell_in: scale,
        cell_out: scale,
    };
    b.op(
        OpKind::Lstm,
        &[words],
        &[states, cell],
        Some(scratch),
        &lstm,
    );
    b.op(OpKind::LastRow, &[states], &[last], None, &[0u8; 0]);
    additive(b, last, states);
    lstm.run = run(Start::Given, false);
    b.op(
        OpKind::Lstm,
        &[words, last, cell],
        &[again, last_cell],
        Some(scratch),
        &lstm,
    );
    let cleared = b.tensor(Arena, I16, 4, C);
    b.op(OpKind::ClearRows, &[words], &[cleared], None, &[0u8; 0]);
    let outputs = [words, again, last_cell, cleared];
    b.entry("words", first, &[tokens], &outputs);
    embedding
}

/// One frame of a stream: convolutions on a history, a Gru, attention over a ring, an output layer.
fn step(b: &mut Builder, [history, h, keys, values, ring]: [u16; 5]) {
    use DType::{I8, I16, I32};
    use Storage::Arena;
    let x = b.tensor(Arena, I8, 1, C);
    let conv = b.tensor(Arena, I8, 1, C);
    let depthwise = b.tensor(Arena, I8, 1, C);
    b.op(OpKind::ShiftRows, &[x, history], &[], None, &[0u8; 0]);
    let scratch = b.tensor(Arena, I16, 1, 3 * C);
    let mut params = Conv1dParams {
        matrix: b.linear_params(packed_len(C, 3 * C), C),
        window: Window1dParams {
            kernel: 3,
            stride: 1,
            pad_before: 0,
            pad_after: 0,
            gap: 0,
        },
    };
    b.op(OpKind::Conv1d, &[history], &[conv], Some(scratch), &params);
    params.matrix = b.linear_params(3 * C, C);
    b.op(
        OpKind::DepthwiseConv1d,
        &[history],
        &[depthwise],
        None,
        &params,
    );

    let state = b.tensor(Arena, I16, 1, C);
    let scratch = b.tensor(Arena, I16, 1, 2 * pairs_len(C));
    let gru = GruParams {
        input: b.side(3, C),
        recurrent: b.side(3, C),
        run: run(Start::Last, false),
    };
    b.op(OpKind::Gru, &[conv, h], &[state], Some(scratch), &gru);

    let [q, k, v] = [(); 3].map(|_| b.tensor(Arena, I8, 1, C));
    for y in [q, k, v] {
        b.linear(state, y, C);
    }
    b.op(
        OpKind::PushKeyValue,
        &[k, v, keys, values, ring],
        &[],
        None,
        &attention_params(0),
    );
    let context = b.tensor(Arena, I16, 1, C);
    let scratch = b.tensor(
        Arena,
        I32,
        1,
        WINDOW.scores_len() + WINDOW.pairs_len().div_ceil(2),
    );
    b.op(
        OpKind::Attention,
        &[q, keys, values, ring],
        &[context],
        Some(scratch),
        &attention_params(1 << 20),
    );

    let narrow = b.tensor(Arena, I8, 1, C);
    b.op(OpKind::Requantize, &[context], &[narrow], None, &RESCALE);
    let lut = LutParams {
        table: b.weights(256),
    };
    b.op(OpKind::Lut, &[narrow], &[narrow], None, &lut);
    let sum = b.tensor(Arena, I8, 1, C);
    let add = AddParams {
        factors: [1 << 16, 1 << 15],
        min: -128,
        max: 127,
    };
    b.op(OpKind::Add, &[narrow, conv], &[sum], None, &add);
    let joined = b.tensor(Arena, I8, 1, 2 * C);
    b.op(
        OpKind::Concat,
        &[sum, depthwise],
        &[joined],
        None,
        &[RESCALE; 2],
    );
    let logits = b.tensor(Arena, I8, 1, C);
    b.linear(joined, logits, 2 * C);
    let probabilities = b.tensor(Arena, I16, 1, C);
    let softmax = SoftmaxParams {
        score_multiplier: 1 << 28,
    };
    b.op(OpKind::Softmax, &[logits], &[probabilities], None, &softmax);
    b.entry("step", 0, &[x], &[probabilities, sum]);
}

/// A whole window of three frames: the Gru starts from zero, keys and values are outputs.
fn window(b: &mut Builder, first: usize) {
    use DType::{I8, I16, I32};
    use Storage::Arena;
    let rows = WINDOW.slots;
    let x = b.tensor(Arena, I8, rows, C);
    let (states, h) = (b.tensor(Arena, I16, rows, C), b.tensor(Arena, I16, 1, C));
    let scratch = b.tensor(Arena, I16, 1, 2 * pairs_len(C));
    let gru = GruParams {
        input: b.side(3, C),
        recurrent: b.side(3, C),
        run: run(Start::Zero, false),
    };
    b.op(OpKind::Gru, &[x], &[states, h], Some(scratch), &gru);
    let narrow = b.tensor(Arena, I8, rows, C);
    b.op(OpKind::Requantize, &[states], &[narrow], None, &RESCALE);
    let keys = b.tensor(Arena, I8, 1, WINDOW.keys_len(packed_len));
    let values = b.tensor(Arena, I8, 1, WINDOW.values_len(packed_len));
    b.op(
        OpKind::PushKeyValue,
        &[narrow, narrow],
        &[keys, values],
        None,
        &attention_params(0),
    );
    let context = b.tensor(Arena, I16, rows, C);
    let scratch = b.tensor(
        Arena,
        I32,
        1,
        WINDOW.scores_len() + WINDOW.pairs_len().div_ceil(2),
    );
    b.op(
        OpKind::Attention,
        &[narrow, keys, values],
        &[context],
        Some(scratch),
        &AttentionParams {
            window: geometry(&WINDOW, AttentionGeometry::CAUSAL),
            ..attention_params(1 << 20)
        },
    );
    let mean = encoder_tail(b, context, rows);
    b.entry("run", first, &[x], &[context, mean]);
}

/// What a transformer's encoder has besides: a constant added, rows normalised, a product, their mean.
fn encoder_tail(b: &mut Builder, x: u16, rows: usize) -> u16 {
    let [sum, normal] = [(); 2].map(|_| b.tensor(Storage::Arena, DType::I8, rows, C));
    let constant = AddConstantParams {
        constant: b.words(rows * C, 5 << 16),
        positions: rows as u32,
        factor: 1 << 12,
        min: -128,
        max: 127,
    };
    b.op(OpKind::AddConstant, &[x], &[sum], None, &constant);
    let norm = LayerNormParams {
        multipliers: b.words(C, 1 << 20),
        multiplier_bits: 12,
        bias: b.words(C, -(3 << 16)),
        epsilon: [100, 0],
        centre: 1,
        min: -128,
        max: 127,
    };
    b.op(OpKind::LayerNorm, &[sum], &[normal], None, &norm);
    let mean = b.tensor(Storage::Arena, DType::I8, 1, C);
    let product = b.tensor(Storage::Arena, DType::I8, rows, C);
    b.op(OpKind::Mul, &[normal, sum], &[product], None, &RESCALE);
    b.op(OpKind::MeanRows, &[product], &[mean], None, &RESCALE);
    mean
}

/// Rows turned by their positions, counted from run to run, and weighted sums of them.
fn turned(b: &mut Builder, counter: u16, first: usize) {
    use DType::{I8, I16, I32};
    use Storage::Arena;
    let rows = WINDOW.slots;
    let [x, y] = [(); 2].map(|_| b.tensor(Arena, I8, rows, C));
    let rotary = RotaryParams {
        table: b.weights(4 * 5 * 2),
        by: RESCALE,
        turns: RotaryGeometry {
            positions: 5,
            head_dim: C as u32,
            pairs: 2,
            interleaved: 1,
        },
    };
    b.op(OpKind::Rotary, &[x, counter], &[y], None, &rotary);
    let weights = b.tensor(Arena, I16, 2, rows);
    let constant = ConstantParams {
        data: b.weights(2 * 2 * rows),
    };
    b.op(OpKind::Constant, &[], &[weights], None, &constant);
    let sums = b.tensor(Arena, I8, 2, C);
    let scratch = b.tensor(Arena, I32, 1, C);
    b.op(
        OpKind::WeightedRows,
        &[weights, y],
        &[sums],
        Some(scratch),
        &RESCALE,
    );
    b.entry("turned", first, &[x], &[sums]);
}
