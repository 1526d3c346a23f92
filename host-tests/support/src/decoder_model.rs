//! A small encoder-decoder with random weights, written record by record: a recurrent layer reads symbols and leaves its
//! state to another, which writes tokens.

use crate::tiny_model::{Builder, run};
use attn_runtime::format::{
    DType, DecodeMeta, LengthMeta, MetaKey, NONE, OpKind, RowRule, Storage,
};
use attn_runtime::kernels::int::dot::{packed_len, pairs_len};
use attn_runtime::kernels::int::softmax::score_multiplier;
use attn_runtime::ops::{
    EmbeddingParams, GruParams, LinearParams, RecurrentSide, Start, TopKParams,
};
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

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 >> 8
    }

    /// int8 weights in `b`; offset.
    fn weights(&mut self, b: &mut Builder, count: usize) -> u32 {
        let at = b.weights.len() as u32;
        b.weights.extend((0..count).map(|_| self.next() as u8));
        b.weights.resize(b.weights.len().next_multiple_of(4), 0);
        at
    }

    fn embedding(&mut self, b: &mut Builder, rows: usize) -> EmbeddingParams {
        EmbeddingParams {
            table: self.weights(b, rows * HIDDEN),
            multipliers: b.words(rows, 1 << 30),
            tokens: rows as u32,
            left_shift: 8,
            min: -32768,
            max: 32767,
        }
    }

    fn side(&mut self, b: &mut Builder) -> RecurrentSide {
        let units = 3 * pairs_len(HIDDEN);
        RecurrentSide {
            weights: self.weights(b, units * pairs_len(HIDDEN)),
            bias: b.words(units, 100),
            multipliers: b.words(units, 1 << 28),
            left_shift: 0,
        }
    }

    fn gru(&mut self, b: &mut Builder) -> GruParams {
        GruParams {
            input: self.side(b),
            recurrent: self.side(b),
            run: run(Start::Last, false),
        }
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
    let scratch = b.tensor(Arena, I16, 1, 2 * pairs_len(HIDDEN));

    if variant.encoder {
        let [symbols, x, states] = [(I32, 1), (I16, HIDDEN), (I16, HIDDEN)]
            .map(|(dtype, channels)| b.tensor(Arena, dtype, MAX_LENGTH, channels));
        for id in [symbols, x, states] {
            b.tensors[usize::from(id)].rows_rule =
                (variant.variable && variant.pad.is_none()).into();
        }
        let embedding = random.embedding(&mut b, SYMBOLS.len());
        b.op(OpKind::Embedding, &[symbols], &[x], None, &embedding);
        let gru = random.gru(&mut b);
        b.op(OpKind::Gru, &[x, h], &[states], Some(scratch), &gru);
        b.entry("encode", 0, &[symbols], &[states]);
    }

    let first = b.ops.len();
    let [token, x, state, logits] = [(I32, 1), (I16, HIDDEN), (I16, HIDDEN), (I16, TOKENS)]
        .map(|(dtype, channels)| b.tensor(Arena, dtype, 1, channels));
    b.tensors[usize::from(logits)].scale = LOGIT_SCALE;
    let embedding = random.embedding(&mut b, TOKENS);
    b.op(OpKind::Embedding, &[token], &[x], None, &embedding);
    let gru = random.gru(&mut b);
    b.op(OpKind::Gru, &[x, h], &[state], Some(scratch), &gru);
    let matrix = LinearParams {
        weights: random.weights(&mut b, packed_len(TOKENS, HIDDEN)),
        bias: b.words(TOKENS, 0),
        multipliers: b.words(TOKENS, 1 << 24),
        left_shift: 0,
        min: -32768,
        max: 32767,
    };
    let end = matrix.bias as usize + 4 * usize::from(END);
    b.weights[end..end + 4].copy_from_slice(&(variant.end_bias << 8).to_le_bytes());
    let outputs = match variant.output {
        Output::Logits => {
            b.op(OpKind::Linear, &[state], &[logits], Some(scratch), &matrix);
            vec![state, logits]
        }
        Output::TopK => {
            let best = [(); 2].map(|_| b.tensor(Arena, I32, 1, CANDIDATES));
            let params = TopKParams {
                matrix,
                tokens: TOKENS as u32,
                score_multiplier: score_multiplier(LOGIT_SCALE),
            };
            b.op(OpKind::TopK, &[state], &best, Some(scratch), &params);
            vec![state, best[0], best[1]]
        }
    };
    b.entry("step", first, &[token], &outputs);
    metadata(&mut b, variant);
    b.file()
}

fn metadata(b: &mut Builder, variant: Variant) {
    if variant.variable {
        let length = LengthMeta {
            max: MAX_LENGTH as u32,
        };
        let rule = RowRule { add: 0, divisor: 1 };
        let payload = [length.as_bytes(), rule.as_bytes()].concat();
        b.meta(MetaKey::Length, 1, &payload);
    }
    if variant.vocabulary {
        let symbols = SYMBOLS.map(|name| b.name(name));
        b.meta(MetaKey::Symbols, symbols.len(), symbols.as_bytes());
        let tokens: Vec<u32> = (0..TOKENS).map(|i| b.name(&format!("T{i}"))).collect();
        b.meta(MetaKey::Tokens, tokens.len(), tokens.as_bytes());
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
