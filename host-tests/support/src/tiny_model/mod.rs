//! A small file with every operator, a stream and a whole window as entry points, written record by record: in integers, with joined
//! weights where operators take them, or in half precision.

mod builder;
mod image;
mod params;

pub use Param::{Bytes, Int, Real, Words};
use attn_runtime::format::{
    AudioMeta, DType, DecodeMeta, Encoding, MetaKey, NONE, OpKind, SpotterMeta, Storage,
};
use attn_runtime::kernels::geometry::{Cell, Shape};
use attn_runtime::kernels::int::dot::pairs_len;
use attn_runtime::ops::{AttentionGeometry, Start};
pub use builder::{Builder, Param, sealed};
pub use params::RESCALE;
use zerocopy::IntoBytes;

/// Channels of every row.
pub const C: usize = 4;
const ROWS: usize = 3;
/// Channels of keys and values in [`WINDOW`].
const KEYS: usize = 2;
/// Two heads of queries over one of keys.
const WINDOW: Shape = Shape {
    heads: 2,
    key_heads: 1,
    head_dim: 2,
    value_dim: 2,
    slots: ROWS,
};
/// A head of queries for each of keys.
const PAIRS: Shape = Shape {
    key_heads: 2,
    ..WINDOW
};
const ONE_HEAD: Shape = Shape {
    heads: 1,
    head_dim: C,
    value_dim: C,
    ..WINDOW
};

/// Enough for each of them, in either encoding.
const ATTENTION_SCRATCH: usize = 8;

/// Type, rows and channels; half precision has no other type for activations.
type Size = (DType, usize, usize);
/// One row, in int8 and in int16.
const ROW: Size = (DType::I8, 1, C);
const WIDE: Size = (DType::I16, 1, C);

impl Builder {
    /// The type in which activations of `dtype` are held.
    fn held(&self, dtype: DType) -> DType {
        match dtype {
            DType::I8 | DType::I16 if self.half => DType::F16,
            dtype => dtype,
        }
    }

    /// A tensor in the arena.
    fn new_tensor(&mut self, (dtype, rows, channels): Size) -> u16 {
        self.tensor(Storage::Arena, self.held(dtype), rows, channels)
    }

    fn state(&mut self, (dtype, rows, channels): Size) -> u16 {
        self.tensor(Storage::State, self.held(dtype), rows, channels)
    }

    /// Keys and values of a window.
    fn window(&self, dtype: DType, shape: &Shape) -> [Size; 2] {
        let packed = |out, k| self.packed(out, k);
        let lens = [shape.keys_len(packed), shape.values_len(packed)];
        lens.map(|len| (dtype, 1, len))
    }

    /// An operator with a new tensor as its result.
    fn add(
        &mut self,
        kind: OpKind,
        inputs: &[u16],
        y: Size,
        scratch: usize,
        params: &[Param],
    ) -> u16 {
        let y = self.new_tensor(y);
        self.op(kind, inputs, &[y], scratch, params);
        y
    }

    pub fn linear(&mut self, x: u16, y: u16, k: usize) {
        let params = self.matrix(C, k);
        self.op(OpKind::Linear, &[x], &[y], pairs_len(k), &params);
    }

    /// Pushes keys and values, then attends to them.
    fn attend(&mut self, kv: &[u16], window: &[u16], x: &[u16], y: &[u16], params: [&[Param]; 2]) {
        let [push, attend] = params;
        match window {
            // A ring is state, and so are its keys and values.
            [_, _, _ring] => {
                self.op(OpKind::PushKeyValue, &[kv, window].concat(), &[], 0, push);
            }
            _ => self.op(OpKind::PushKeyValue, kv, window, 0, push),
        }
        let seen = [x, window].concat();
        self.op(OpKind::Attention, &seen, y, ATTENTION_SCRATCH, attend);
    }
}

/// The file with every operator, in this encoding as far as each has it.
pub fn tiny_model(encoding: Encoding) -> Vec<u8> {
    let mut b = Builder::new();
    b.half = encoding == Encoding::Half;
    b.joined = encoding == Encoding::Joined;
    let counter = step(&mut b);
    window(&mut b);
    let first = b.ops.len();
    let x = b.new_tensor(ROW);
    let twice = b.rescale().repeat(2);
    let y = b.add(OpKind::Concat, &[x, x], (DType::I8, 1, 2 * C), 0, &twice);
    b.entry("twice", first, &[x], &[y]);
    image::image(&mut b);
    words(&mut b);
    next(&mut b);
    turned(&mut b, counter);
    wide(&mut b);
    masked(&mut b);
    base(&mut b);
    cells(&mut b);
    metadata(&mut b);
    b.file()
}

/// One frame of a stream: convolutions on a history, recurrent layers, attention over a ring, an output layer. Gives the state that counts
/// positions in [`turned`].
fn step(b: &mut Builder) -> u16 {
    use DType::{I8, I32};
    use OpKind::*;
    let history = b.state((I8, 3, C));
    let [h, h2, cell] = [WIDE; 3].map(|size| b.state(size));
    let [keys, values] = b.window(I8, &WINDOW).map(|size| b.state(size));
    let ring = b.state((I32, 1, 2));
    let counter = b.state((I32, 1, 1));

    let x = b.new_tensor(ROW);
    b.op(ShiftRows, &[x, history], &[], 0, &[]);
    let over_history = [3, 1, 0, 0, 0].map(Int);
    let params = [&b.matrix(C, 3 * C)[..], &over_history].concat();
    let conv = b.add(Conv1d, &[history], ROW, 3 * C, &params);
    let params = [&b.layer(3 * C, C)[..], &over_history].concat();
    let depthwise = b.add(DepthwiseConv1d, &[history], ROW, 0, &params);
    let params = b.recurrent(3, C, Start::Last);
    let gru = b.add(Gru, &[conv, h], WIDE, 2 * C, &params);
    let params = b.recurrent(4, C, Start::Last);
    let lstm = b.add(Lstm, &[depthwise, h2, cell], WIDE, 3 * C, &params);

    let [q, k, v] = [(gru, C), (lstm, KEYS), (gru, KEYS)]
        .map(|(x, out)| b.add(Linear, &[x], (I8, 1, out), C, &b.matrix(out, C)));
    let context = b.new_tensor(WIDE);
    let params = b.attention(&WINDOW, AttentionGeometry::ALL, Int(0), 0);
    let window = [keys, values, ring];
    b.attend(&[k, v], &window, &[q], &[context], [&params; 2]);
    let rescale = b.rescale();
    let narrow = b.add(Requantize, &[context], ROW, 0, &rescale);
    b.op(Lut, &[narrow], &[narrow], 0, &b.lut());
    let factors = [1 << 16, 1 << 15, -128, 127].map(Int);
    let params = b.by(&factors, &[Real(0.0), Real(6.0)]);
    let sum = b.add(Add, &[narrow, conv], ROW, 0, &params);
    let params = b.by(&RESCALE, &[Real(-0.5)]);
    let product = b.add(Mul, &[sum, depthwise], ROW, 0, &params);
    let joined = b.add(
        Concat,
        &[sum, product],
        (I8, 1, 2 * C),
        0,
        &rescale.repeat(2),
    );
    let logits = b.new_tensor(ROW);
    b.linear(joined, logits, 2 * C);
    let params = b.by(&[Int(1 << 28)], &[]);
    let probabilities = b.add(Softmax, &[logits], WIDE, 0, &params);
    b.entry("step", 0, &[x], &[probabilities, sum]);
    counter
}

/// A whole window of three frames: the Gru starts from zero, keys and values are outputs; then what a transformer's encoder has besides:
/// a constant added, rows normalised, a product, their mean.
fn window(b: &mut Builder) {
    use DType::{I8, I16};
    use OpKind::*;
    let (first, rows) = (b.ops.len(), (I8, ROWS, C));
    let x = b.new_tensor(rows);
    let (states, h) = (b.new_tensor((I16, ROWS, C)), b.new_tensor(WIDE));
    let params = b.recurrent(3, C, Start::Zero);
    b.op(Gru, &[x], &[states, h], 2 * C, &params);
    let rescale = b.rescale();
    let narrow = b.add(Requantize, &[states], rows, 0, &rescale);
    let [k, v] =
        [states, narrow].map(|x| b.add(Linear, &[x], (I8, ROWS, KEYS), C, &b.matrix(KEYS, C)));
    let packed = b.window(I8, &WINDOW).map(|size| b.new_tensor(size));
    let context = b.new_tensor((I16, ROWS, C));
    let push = b.attention(&WINDOW, AttentionGeometry::ALL, Int(0), 0);
    let causal = b.attention(&WINDOW, AttentionGeometry::CAUSAL, Int(0), 0);
    b.attend(&[k, v], &packed, &[narrow], &[context], [&push, &causal]);

    let sum = b.add(AddConstant, &[context], rows, 0, &b.add_constant(ROWS, C));
    let normal = b.add(LayerNorm, &[sum], rows, 0, &b.layer_norm(C));
    let params = b.by(&RESCALE, &[Real(0.5)]);
    let product = b.add(Mul, &[normal, sum], rows, 0, &params);
    let mean = b.add(MeanRows, &[product], ROW, 0, &rescale);
    b.entry("run", first, &[x], &[context, mean]);
}

/// A sequence of up to four tokens: looked up, run over backwards and forwards by an Lstm, its last row, which attends to the others.
fn words(b: &mut Builder) {
    use DType::{I16, I32};
    use OpKind::*;
    let first = b.ops.len();
    let tokens = b.new_tensor((I32, 4, 1));
    let [words, states, again, cleared] = [(); 4].map(|_| b.new_tensor((I16, 4, C)));
    let [cell, last_cell, context] = [(); 3].map(|_| b.new_tensor(WIDE));
    let weights = b.new_tensor((I16, 4, 1));
    b.vary(&[tokens, words, states, again, weights]);
    b.op(Embedding, &[tokens], &[words], 0, &b.embedding(3, C));
    let params = b.recurrent(4, C, Start::Zero);
    b.op(Lstm, &[words], &[states, cell], 3 * C, &params);
    let last = b.add(LastRow, &[states], WIDE, 0, &[]);
    let (seen, outputs) = ([last, states, states], [context, weights]);
    b.op(
        AdditiveAttention,
        &seen,
        &outputs,
        C + 4 + 2,
        &b.additive(C),
    );
    let params = b.recurrent(4, C, Start::Given);
    let given = [words, last, cell];
    b.op(Lstm, &given, &[again, last_cell], 3 * C, &params);
    b.op(ClearRows, &[words], &[cleared], 0, &[]);
    let outputs = [words, again, last_cell, cleared];
    b.entry("words", first, &[tokens], &outputs);
}

/// One token in, what the next may be out.
fn next(b: &mut Builder) {
    use DType::I32;
    use OpKind::*;
    let first = b.ops.len();
    let token = b.new_tensor((I32, 1, 1));
    let x = b.add(Embedding, &[token], WIDE, 0, &b.embedding(3, C));
    let logits = b.new_tensor(ROW);
    b.linear(x, logits, C);
    let [best, scores] = [(); 2].map(|_| b.new_tensor((I32, 1, 2)));
    b.op(TopK, &[x], &[best, scores], C, &b.top_k(C, C));
    b.entry("next", first, &[token], &[logits, best, scores]);
}

/// Rows turned by their positions, some counted from run to run, and weighted sums of them.
fn turned(b: &mut Builder, counter: u16) {
    use DType::{I8, I16};
    use OpKind::*;
    let (first, rows) = (b.ops.len(), (I8, ROWS, C));
    let x = b.new_tensor(rows);
    let y = b.add(Rotary, &[x, counter], rows, 0, &b.rotary(C, 1));
    let y = b.add(Rotary, &[y], rows, 0, &b.rotary(C, 0));
    let weights = [Bytes(2 * 2 * ROWS)];
    let weights = b.add(Constant, &[], (I16, 2, ROWS), 0, &weights);
    let sums = (I8, 2, C);
    let sums = b.add(WeightedRows, &[weights, y], sums, C, &b.rescale());
    b.entry("turned", first, &[x], &[sums]);
}

/// Attention over int16 keys and values, of which a mask hides some and one query sees none, and a function of the result.
fn wide(b: &mut Builder) {
    let (first, rows) = (b.ops.len(), (DType::I16, ROWS, C));
    let [x, context] = [rows; 2].map(|size| b.new_tensor(size));
    let packed = b.window(DType::I16, &PAIRS).map(|size| b.new_tensor(size));
    let masks = [0b011, 0, 0b111].map(|mask| b.weights(i32::to_le_bytes(mask)));
    let mask = Int(masks[0] as i32);
    let push = b.attention(&PAIRS, AttentionGeometry::ALL, Int(0), 9);
    let attend = b.attention(&PAIRS, AttentionGeometry::MASK, mask, 9);
    b.attend(&[x, x], &packed, &[x], &[context], [&push, &attend]);
    b.op(OpKind::Lut, &[context], &[context], 0, &b.wide_lut());
    b.entry("wide", first, &[x], &[context]);
}

/// One query over a memory, with its weights.
fn masked(b: &mut Builder) {
    let first = b.ops.len();
    let [query, context] = [ROW, WIDE].map(|size| b.new_tensor(size));
    let memory = b.new_tensor((DType::I8, ROWS, C));
    let weights = b.new_tensor((DType::I16, ROWS, 1));
    let packed = b
        .window(DType::I8, &ONE_HEAD)
        .map(|size| b.new_tensor(size));
    let push = b.attention(&ONE_HEAD, AttentionGeometry::ALL, Int(0), 0);
    let attend = b.attention(&ONE_HEAD, AttentionGeometry::MASK, Words(1, 5), 0);
    let (kv, outputs) = ([memory, memory], [context, weights]);
    b.attend(&kv, &packed, &[query], &outputs, [&push, &attend]);
    b.entry("masked", first, &[query, memory], &outputs);
}

fn ints(words: &[&[i32]]) -> Vec<Param> {
    words.concat().into_iter().map(Int).collect()
}

/// What computes any model: rows and channels exchanged by strides and by a table, a product of both, its sums, their largest.
fn base(b: &mut Builder) {
    use DType::{I8, I32};
    use OpKind::*;
    let first = b.ops.len();
    let x = b.new_tensor((I8, ROWS, C));
    let (rows, channels) = (ROWS as i32, C as i32);
    let by_strides = [
        &[0, 0, 1, 1, 1, 1, channels, rows][..],
        &[0, 0, 0, 0, 1, channels],
    ];
    let turned = b.add(Copy, &[x], (I8, C, ROWS), 0, &ints(&by_strides));
    let table = (0..ROWS * C).map(|i| {
        if i == 2 {
            u32::MAX
        } else {
            (i * 5 % (ROWS * C)) as u32
        }
    });
    let table = b.weights(table.flat_map(u32::to_le_bytes));
    let mixed = b.add(
        Copy,
        &[x],
        (I8, ROWS, C),
        0,
        &ints(&[&[1, table as i32], &[0; 12]]),
    );
    let sizes = [1, channels, rows, channels].map(Int);
    let params = [b.rescale(), b.by(&[Int(2)], &[]), sizes.to_vec()].concat();
    let scratch = if b.half {
        ROWS * (1 + C / 2)
    } else {
        (1 + C) * C
    };
    let product = b.add(MatMul, &[turned, mixed], (I8, C, C), scratch, &params);
    let over = [0, channels, channels].map(Int);
    let params = [b.by(&RESCALE, &[Real(0.25)]), over.to_vec()].concat();
    let sums = b.add(Reduce, &[product], ROW, 0, &params);
    let largest = b.add(ArgMax, &[sums], (I32, 1, 1), 0, &[1, channels, 1].map(Int));
    b.entry("base", first, &[x], &[sums, largest]);
}

/// Recurrent layers of every cell over three rows, each over the rows of the one before.
fn cells(b: &mut Builder) {
    use DType::{I8, I16};
    let first = b.ops.len();
    let x = b.new_tensor((I8, ROWS, C));
    let (mut rows, mut last) = (x, x);
    for (cell, start) in [
        (Cell::Rnn, Start::Zero),
        (Cell::GruResetBefore, Start::Given),
        (Cell::GruResetAfter, Start::Given),
        (Cell::Lstm, Start::Zero),
        (Cell::LstmCoupled, Start::Zero),
    ] {
        let (y, kept) = (b.new_tensor((I16, ROWS, C)), b.new_tensor(WIDE));
        let params = b.any_cell(cell, C, start);
        let inputs = if start == Start::Given {
            vec![rows, last]
        } else {
            vec![rows]
        };
        let states = match cell {
            Cell::GruResetBefore => 3,
            _ => 2,
        };
        // Halves of words, and words of a cell.
        let words = match (b.half, cell.is_lstm()) {
            (true, true) => 3 * C,
            (true, false) => states * C,
            (false, true) => C + (1 + states) * C / 2,
            (false, false) => (1 + states) * C / 2,
        };
        b.op(OpKind::Recurrent, &inputs, &[y, kept], words, &params);
        (rows, last) = (y, kept);
    }
    b.entry("cells", first, &[x], &[rows, last]);
}

/// Labels, sound, lengths; reading with entry point "words" and writing with "next".
fn metadata(b: &mut Builder) {
    b.names(MetaKey::Symbols, &["s0", "s1", "s2", "s3"]);
    b.names(MetaKey::Tokens, &["t0", "t1", "t2", "t3"]);
    let decode = DecodeMeta {
        encode: 4,
        step: 5,
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
    b.names(MetaKey::Labels, &["yes", "no", "noise", "unknown"]);
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
    let payload = [spotter.as_bytes(), thresholds.as_bytes()].concat();
    b.meta(MetaKey::Spotter, 4, &payload);
    b.length(4);
}
