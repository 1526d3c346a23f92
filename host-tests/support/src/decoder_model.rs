//! A small encoder-decoder with random weights, written record by record: a recurrent layer reads symbols and leaves its
//! state to another, which writes tokens.

use crate::tiny_model::{Builder, Int, Param, Words};
use attn_runtime::format::{DType, DecodeMeta, MetaKey, NONE, OpKind, Storage};
use attn_runtime::kernels::int::dot::{packed_len, pairs_len};
use attn_runtime::kernels::int::softmax::score_multiplier;
use attn_runtime::ops::Start;
use zerocopy::IntoBytes;

/// Input symbols: `a`, `b`, `ab`, `é`, `c` and the end of the input.
pub const SYMBOLS: [&str; 6] = ["a", "b", "ab", "é", "c", "<end>"];
pub const TOKENS: usize = 7;
pub const START: u16 = 0;
pub const END: u16 = 1;
/// Most symbols, the end symbol included.
pub const MAX_LENGTH: usize = 9;
pub const MAX_TOKENS: usize = 11;
pub const CANDIDATES: usize = 4;
const HIDDEN: usize = 8;
const LOGIT_SCALE: f32 = 8.0 / 32768.0;

/// The outputs of the model's steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// A row of logits.
    Logits,
    /// The best tokens and their log-probabilities.
    TopK,
}

/// Changes to the model.
#[derive(Clone, Copy, Debug)]
pub struct Variant {
    pub seed: u64,
    pub output: Output,
    /// Reads an input; otherwise it is a language model.
    pub encoder: bool,
    pub vocabulary: bool,
    /// A length that can vary; otherwise all inputs have [`MAX_LENGTH`] symbols.
    pub variable: bool,
    /// Inputs of [`MAX_LENGTH`] symbols; shorter ones are padded with this symbol.
    pub pad: Option<u16>,
    /// Added to the logit of the end token, in steps.
    pub end_bias: i32,
}

impl Default for Variant {
    fn default() -> Self {
        Self {
            seed: 1,
            output: Output::Logits,
            encoder: true,
            vocabulary: true,
            variable: true,
            pad: None,
            end_bias: 0,
        }
    }
}

impl Variant {
    /// The usual model, changed.
    pub fn with(change: impl FnOnce(&mut Self)) -> Self {
        let mut variant = Self::default();
        change(&mut variant);
        variant
    }
}

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 >> 8
    }

    /// int8 weights in `b`.
    fn weights(&mut self, b: &mut Builder, count: usize) -> Param {
        Int(b.weights((0..count).map(|_| self.next() as u8)) as i32)
    }

    fn embedding(&mut self, b: &mut Builder, rows: usize) -> [Param; 6] {
        let [count, shift, min, max] = [rows as i32, 8, -32768, 32767].map(Int);
        let table = self.weights(b, rows * HIDDEN);
        [table, Words(rows, 1 << 30), count, shift, min, max]
    }

    fn gru(&mut self, b: &mut Builder) -> Vec<Param> {
        let units = 3 * pairs_len(HIDDEN);
        let rest = [Words(units, 100), Words(units, 1 << 28), Int(0)];
        let [input, recurrent] = [(); 2].map(|_| self.weights(b, units * pairs_len(HIDDEN)));
        let run = [Int(Start::Last as i32), Int(0)];
        [&[input][..], &rest, &[recurrent], &rest, &run].concat()
    }
}

/// The file.
pub fn decoder_file(variant: Variant) -> Vec<u8> {
    use DType::{I16, I32};
    use Storage::{Arena, State};
    let mut b = Builder::new();
    let mut random = Random(variant.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let h = b.tensor(State, I16, 1, HIDDEN);
    let _shared = b.tensor(State, I16, 1, 10);
    let scratch = 2 * pairs_len(HIDDEN);

    if variant.encoder {
        let [symbols, x, states] = [(I32, 1), (I16, HIDDEN), (I16, HIDDEN)]
            .map(|(dtype, channels)| b.tensor(Arena, dtype, MAX_LENGTH, channels));
        if variant.variable && variant.pad.is_none() {
            b.vary(&[symbols, x, states]);
        }
        let embedding = random.embedding(&mut b, SYMBOLS.len());
        b.op(OpKind::Embedding, &[symbols], &[x], 0, &embedding);
        let gru = random.gru(&mut b);
        b.op(OpKind::Gru, &[x, h], &[states], scratch, &gru);
        b.entry("encode", 0, &[symbols], &[states]);
    }

    let first = b.ops.len();
    let [token, x, state, logits] = [(I32, 1), (I16, HIDDEN), (I16, HIDDEN), (I16, TOKENS)]
        .map(|(dtype, channels)| b.tensor(Arena, dtype, 1, channels));
    b.tensors[usize::from(logits)].scale = LOGIT_SCALE;
    let embedding = random.embedding(&mut b, TOKENS);
    b.op(OpKind::Embedding, &[token], &[x], 0, &embedding);
    let gru = random.gru(&mut b);
    b.op(OpKind::Gru, &[x, h], &[state], scratch, &gru);
    let weights = random.weights(&mut b, packed_len(TOKENS, HIDDEN));
    let bias = b.weights.len() + 4 * usize::from(END);
    let rest = [Words(TOKENS, 0), Words(TOKENS, 1 << 24)];
    let limits = [0, -32768, 32767].map(Int);
    let matrix = [&[weights][..], &rest, &limits].concat();
    let mut outputs = vec![state];
    match variant.output {
        Output::Logits => {
            outputs.push(logits);
            b.op(OpKind::Linear, &[state], &[logits], scratch, &matrix);
        }
        Output::TopK => {
            let best = [(); 2].map(|_| b.tensor(Arena, I32, 1, CANDIDATES));
            outputs.extend(best);
            let of_tokens = [TOKENS as i32, score_multiplier(LOGIT_SCALE) as i32].map(Int);
            let params = [&matrix[..], &of_tokens].concat();
            b.op(OpKind::TopK, &[state], &best, scratch, &params);
        }
    }
    b.weights[bias..bias + 4].copy_from_slice(&(variant.end_bias << 8).to_le_bytes());
    b.entry("step", first, &[token], &outputs);
    metadata(&mut b, variant);
    b.file()
}

fn metadata(b: &mut Builder, variant: Variant) {
    if variant.variable {
        b.length(MAX_LENGTH);
    }
    if variant.vocabulary {
        b.names(MetaKey::Symbols, &SYMBOLS);
        b.names(MetaKey::Tokens, &["T0", "T1", "T2", "T3", "T4", "T5", "T6"]);
    }
    let decode = DecodeMeta {
        encode: if variant.encoder { 0 } else { NONE },
        step: variant.encoder.into(),
        input: 0,
        token: 0,
        logits: 1,
        scores: match variant.output {
            Output::Logits => NONE,
            Output::TopK => 2,
        },
        weights: 0,
        tokens: TOKENS as u32,
        start: START.into(),
        end: END.into(),
        max_tokens: MAX_TOKENS as u32,
        hypothesis_len: (HIDDEN * size_of::<i16>()) as u32,
        end_symbol: if variant.vocabulary { 5 } else { NONE },
        separator: b.name(" "),
        pad: variant.pad.map_or(NONE, u32::from),
    };
    b.meta(MetaKey::Decode, 1, decode.as_bytes());
}
