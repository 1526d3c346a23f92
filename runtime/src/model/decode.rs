//! Metadata for decoding: access to it, and the checks that decoding relies on.

use super::{Model, ModelError};
use crate::format::{
    DType, DecodeMeta, EntryRecord, MAX_CANDIDATES, MAX_TOKENS, MetaKey, TensorRecord,
};
use crate::ops::Audit;
use zerocopy::FromBytes;

impl<'a> Model<'a> {
    /// How the model decodes sequences of tokens, if it does; [`crate::seq2seq`] follows it.
    pub fn decode(&self) -> Option<&'a DecodeMeta> {
        DecodeMeta::ref_from_bytes(self.payload(MetaKey::Decode)?.1).ok()
    }

    /// Names of the input symbols, by number; none for a model without a vocabulary.
    pub fn symbols(&self) -> impl ExactSizeIterator<Item = &'a str> + use<'a> {
        self.names(MetaKey::Symbols)
    }

    /// Names of the output tokens, by number; none for a model without a vocabulary.
    pub fn tokens(&self) -> impl ExactSizeIterator<Item = &'a str> + use<'a> {
        self.names(MetaKey::Tokens)
    }

    /// Name of output token `number`, if the model has a vocabulary and the token is in it.
    pub fn token_name(&self, number: u16) -> Option<&'a str> {
        let offset = self
            .name_offsets(MetaKey::Tokens)
            .get(usize::from(number))?;
        Some(self.name(*offset))
    }

    /// Separator between two tokens in a text.
    pub fn separator(&self) -> &'a str {
        self.decode()
            .map_or("", |decode| self.name(decode.separator))
    }

    /// Everything that [`DecodeMeta`] names exists, and has the type and shape that decoding expects.
    pub(super) fn check_decode(&self, audit: &Audit) -> Result<(), ModelError> {
        let Some(decode) = self.decode() else {
            return Ok(());
        };
        self.check_name(decode.separator, audit)?;
        self.check_numbers(decode)?;
        self.check_encode(decode)?;
        self.check_step(decode)
    }

    fn check_numbers(&self, decode: &DecodeMeta) -> Result<(), ModelError> {
        let tokens = decode.tokens as usize;
        let names = self.tokens().len();
        let hypothesis = decode.hypothesis_len as usize;
        let sequence = 1..=MAX_TOKENS;
        let limits = [
            (sequence.contains(&tokens), "tokens"),
            (names == 0 || names == tokens, "tokens"),
            (decode.start < decode.tokens, "start"),
            (decode.end < decode.tokens, "end"),
            (
                sequence.contains(&(decode.max_tokens as usize)),
                "max_tokens",
            ),
            (
                hypothesis <= self.state_len() && hypothesis.is_multiple_of(4),
                "hypothesis_len",
            ),
        ];
        all(limits)
    }

    fn check_encode(&self, decode: &DecodeMeta) -> Result<(), ModelError> {
        let Some(encode) = DecodeMeta::optional(decode.encode) else {
            return Ok(());
        };
        let entry = self.entries.get(encode).ok_or(bad("encode"))?;
        let input = self.nth(entry.inputs(), decode.input).ok_or(bad("input"))?;
        let symbols = self.symbols().len();
        let end = DecodeMeta::optional(decode.end_symbol);
        let written = symbols > 0 || end.is_some();
        let known = |symbol| symbols == 0 && symbol <= MAX_TOKENS || symbol < symbols;
        let pad = DecodeMeta::optional(decode.pad);
        let fills = |pad| {
            if input.dtype() == DType::I32 {
                known(pad)
            } else {
                pad == 0
            }
        };
        // A fixed-size input is padded up to `max_length`, so it must have exactly that many rows.
        let fillable = input.rows_rule != 0 || input.rows() == self.max_length();
        all([
            (decode.encode != decode.step, "encode"),
            (entry.inputs().count() == 1, "encode"),
            (!written || is_tokens(input, input.rows()), "input"),
            (end.is_none_or(known), "end_symbol"),
            (pad.is_none_or(|pad| fills(pad) && fillable), "pad"),
        ])
    }

    fn check_step(&self, decode: &DecodeMeta) -> Result<(), ModelError> {
        let entry: &EntryRecord = self.entries.get(decode.step as usize).ok_or(bad("step"))?;
        let token = self.nth(entry.inputs(), decode.token).ok_or(bad("token"))?;
        let logits = self
            .nth(entry.outputs(), decode.logits)
            .ok_or(bad("logits"))?;
        let weights = DecodeMeta::optional(decode.weights);
        all([
            (entry.inputs().count() == 1, "step"),
            (is_tokens(token, 1), "token"),
            (
                weights.is_none_or(|index| entry.outputs().nth(index).is_some()),
                "weights",
            ),
        ])?;
        if DecodeMeta::optional(decode.scores).is_none() {
            let fits = logits.dtype() != DType::I32
                && logits.rows_rule == 0
                && logits.len() == decode.tokens as usize;
            return all([(fits, "logits")]);
        }
        let scores = self
            .nth(entry.outputs(), decode.scores)
            .ok_or(bad("scores"))?;
        let candidates = logits.len();
        let few = (1..=MAX_CANDIDATES).contains(&candidates);
        all([
            (few && is_row(logits, candidates), "logits"),
            (is_row(scores, candidates), "scores"),
        ])
    }

    fn nth(&self, mut ids: impl Iterator<Item = usize>, index: u32) -> Option<&'a TensorRecord> {
        self.tensor(ids.nth(index as usize)?)
    }
}

/// int32 `[rows, 1]`: token numbers; a single one may also be `[1, 1]` or `[1]`.
fn is_tokens(tensor: &TensorRecord, rows: usize) -> bool {
    tensor.dtype() == DType::I32 && tensor.channels() == 1 && tensor.rows() == rows
}

/// An int32 tensor of `len` elements without a row rule.
fn is_row(tensor: &TensorRecord, len: usize) -> bool {
    tensor.dtype() == DType::I32 && tensor.rows_rule == 0 && tensor.len() == len
}

fn all<const N: usize>(rules: [(bool, &'static str); N]) -> Result<(), ModelError> {
    match rules.into_iter().find(|(holds, _)| !holds) {
        Some((_, field)) => Err(bad(field)),
        None => Ok(()),
    }
}

fn bad(field: &'static str) -> ModelError {
    ModelError::BadDecode { field }
}
