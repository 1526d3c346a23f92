//! The common part of greedy and beam decoding: reading an input, running a step, finding the best tokens.

use super::DecodeError;
use super::vocabulary::Spelling;
use crate::format::{DType, DecodeMeta, TensorRecord};
use crate::kernels::int::softmax::{ScoreMultiplier, score_multiplier};
use crate::kernels::int::top_k::top_k;
use crate::model::Model;
use crate::session::{Element, Progress, Session};

/// A session with its model's metadata for decoding.
#[derive(Debug)]
pub(super) struct Stepper<'s, 'm, 'a> {
    session: &'s mut Session<'m, 'a>,
    meta: &'m DecodeMeta,
    /// From logits to octaves; not used if a step returns scores.
    multiplier: ScoreMultiplier,
    /// Number of tokens that a step returns.
    candidates: usize,
}

impl<'s, 'm, 'a> Stepper<'s, 'm, 'a> {
    pub(super) fn new(session: &'s mut Session<'m, 'a>) -> Result<Self, DecodeError> {
        let meta = session.model().decode().ok_or(DecodeError::NoDecode)?;
        let logits = session.output_record(meta.step as usize, meta.logits as usize)?;
        Ok(Self {
            meta,
            multiplier: score_multiplier(logits.scale),
            candidates: logits.len(),
            session,
        })
    }

    pub(super) fn model(&self) -> Model<'m> {
        self.session.model()
    }

    pub(super) fn session(&self) -> &Session<'m, 'a> {
        self.session
    }

    pub(super) fn meta(&self) -> &'m DecodeMeta {
        self.meta
    }

    pub(super) fn candidates(&self) -> usize {
        self.candidates
    }

    /// Starts a model that reads no input.
    pub(super) fn restart(&mut self) -> Result<(), DecodeError> {
        if DecodeMeta::optional(self.meta.encode).is_some() {
            return Err(DecodeError::InputNeeded);
        }
        self.session.reset();
        Ok(())
    }

    /// Takes rows of features (or symbols as the entry point takes them, without an end symbol) and begins to read them.
    pub(super) fn load<T: Element>(&mut self, input: &[T]) -> Result<(), DecodeError> {
        self.load_by(input, |slot: &mut T, x| {
            let bytes = slot.as_mut_bytes().iter_mut();
            bytes.zip(x.as_bytes()).for_each(|(slot, x)| *slot = *x);
        })
    }

    /// The same with real values, which become elements of the input's type.
    pub(super) fn load_reals(&mut self, input: &[f32]) -> Result<(), DecodeError> {
        let (encode, index) = self.encoder()?;
        match self.session.input_record(encode, index)?.dtype() {
            DType::I16 => self.load_reals_as::<i16>(input),
            DType::I32 => self.load_reals_as::<i32>(input),
            #[cfg(attn_half)]
            DType::F16 => self.load_reals_as::<crate::f16>(input),
            _ => self.load_reals_as::<i8>(input),
        }
    }

    fn load_reals_as<T: Element>(&mut self, input: &[f32]) -> Result<(), DecodeError> {
        let (encode, index) = self.encoder()?;
        let record = self.session.input_record(encode, index)?;
        let (scale, zero_point) = (record.scale, record.zero_point);
        self.load_by(input, |slot: &mut T, x| {
            *slot = T::from_real(*x, scale, zero_point);
        })
    }

    /// Takes whole rows, each element put into its place by `put`; what is behind them is padding.
    fn load_by<T: Element, X>(
        &mut self,
        input: &[X],
        put: impl Fn(&mut T, &X),
    ) -> Result<(), DecodeError> {
        let (encode, index) = self.encoder()?;
        let channels = self.session.input_record(encode, index)?.channels();
        let rows = input.len().checked_div(channels).unwrap_or(0);
        if !input.len().is_multiple_of(channels) {
            let elements = input.len();
            return Err(DecodeError::PartialRow { elements, channels });
        }
        self.prepare(rows)?;
        let pad = self.padding(encode, index)?.to_le_bytes();
        let slots = self.session.input::<T>(encode, index)?;
        let (given, rest) = slots.split_at_mut_checked(input.len()).unwrap_or_default();
        given
            .iter_mut()
            .zip(input)
            .for_each(|(slot, x)| put(slot, x));
        for slot in rest {
            let bytes = slot.as_mut_bytes().iter_mut();
            bytes.zip(pad).for_each(|(slot, x)| *slot = x);
        }
        Ok(self.session.start(encode)?)
    }

    /// The same with symbols by number, followed by the end symbol.
    pub(super) fn load_symbols(&mut self, symbols: &[u16]) -> Result<(), DecodeError> {
        let known = self.model().symbols().len();
        let unknown = |&symbol: &u16| known > 0 && usize::from(symbol) >= known;
        if let Some(at) = symbols.iter().position(unknown) {
            return Err(DecodeError::UnknownSymbol {
                symbol: symbols.get(at).copied().unwrap_or(0),
                at,
                symbols: known,
            });
        }
        self.load_numbers(symbols.len(), symbols.iter().copied())
    }

    /// The same with text, symbol by symbol, followed by the end symbol.
    pub(super) fn load_text(&mut self, text: &str) -> Result<(), DecodeError> {
        let spelling = Spelling::new(self.model(), text)?;
        let mut count = 0usize;
        for symbol in spelling {
            symbol?;
            count += 1;
        }
        self.load_numbers(count, spelling.map_while(Result::ok))
    }

    fn load_numbers(
        &mut self,
        count: usize,
        symbols: impl Iterator<Item = u16>,
    ) -> Result<(), DecodeError> {
        let (encode, index) = self.encoder()?;
        if count == 0 {
            return Err(DecodeError::EmptyInput);
        }
        let end = DecodeMeta::optional(self.meta.end_symbol);
        self.prepare(count + usize::from(end.is_some()))?;
        let rest = core::iter::repeat(self.padding(encode, index)?);
        let slots = self.session.input::<i32>(encode, index)?;
        let symbols = symbols.map(i32::from).chain(end.map(|end| end as i32));
        let symbols = symbols.chain(rest);
        slots
            .iter_mut()
            .zip(symbols)
            .for_each(|(slot, symbol)| *slot = symbol);
        Ok(self.session.start(encode)?)
    }

    fn encoder(&self) -> Result<(usize, usize), DecodeError> {
        let encode = DecodeMeta::optional(self.meta.encode).ok_or(DecodeError::NoEncoder)?;
        Ok((encode, self.meta.input as usize))
    }

    /// Padding of an input with more rows than the sequence: the pad symbol, or the zero point.
    fn padding(&self, encode: usize, index: usize) -> Result<i32, DecodeError> {
        let input = self.session.input_record(encode, index)?;
        Ok(match input.dtype() {
            DType::I32 => self.meta.pad as i32,
            _ => input.zero_point,
        })
    }

    /// Resets the session and sets the length of the next input.
    fn prepare(&mut self, length: usize) -> Result<(), DecodeError> {
        if length == 0 {
            return Err(DecodeError::EmptyInput);
        }
        let (encode, index) = self.encoder()?;
        let max = self.model().max_length();
        let input = self.session.input_record(encode, index)?;
        let fixed = input.rows_rule == 0 && DecodeMeta::optional(self.meta.pad).is_none();
        let needed = input.rows();
        if (fixed || max == 0) && length != needed {
            return Err(DecodeError::WrongLength { length, needed });
        } else if max > 0 && length > max {
            return Err(DecodeError::InputTooLong { length, max });
        } else if max > 0 {
            self.session.set_length(length)?;
        }
        self.session.reset();
        Ok(())
    }

    /// Begins the step on one token.
    pub(super) fn begin_step(&mut self, token: u16) -> Result<(), DecodeError> {
        let (step, index) = (self.meta.step as usize, self.meta.token as usize);
        let slots = self.session.input::<i32>(step, index)?;
        slots.iter_mut().for_each(|slot| *slot = token.into());
        Ok(self.session.start(step)?)
    }

    /// Whether a run was begun and is not over.
    pub(super) fn is_running(&self) -> bool {
        self.session.is_running()
    }

    /// Runs at most `operators` operators, and at least one, of the run in progress, if there is one.
    pub(super) fn carry_on(&mut self, operators: usize) -> Result<Progress, DecodeError> {
        match self.is_running() {
            true => Ok(self.session.run_ops(operators.max(1))?),
            false => Ok(Progress::Done),
        }
    }

    /// Gives up the run in progress, if there is one.
    pub(super) fn give_up(&mut self) {
        if self.is_running() {
            self.session.reset();
        }
    }

    /// The best next tokens and their log-probabilities (Q16 nats), best first. Fills both slices, up to
    /// [`Self::candidates`] elements.
    pub(super) fn best(&self, tokens: &mut [i32], scores: &mut [i32]) -> Result<(), DecodeError> {
        let (step, logits) = (self.meta.step as usize, self.meta.logits as usize);
        if let Some(index) = DecodeMeta::optional(self.meta.scores) {
            let found = self.session.output::<i32>(step, logits)?;
            let rated = self.session.output::<i32>(step, index)?;
            tokens
                .iter_mut()
                .zip(found)
                .for_each(|(slot, &x)| *slot = x);
            scores
                .iter_mut()
                .zip(rated)
                .for_each(|(slot, &x)| *slot = x);
            return Ok(());
        }
        match self.session.output_record(step, logits)?.dtype() {
            DType::I16 => {
                let row = self.session.output::<i16>(step, logits)?;
                top_k(row, self.multiplier, tokens, scores);
            }
            #[cfg(attn_half)]
            DType::F16 => {
                let row = self.session.output::<crate::f16>(step, logits)?;
                crate::kernels::int::top_k::half_top_k(row, tokens, scores);
            }
            _ => {
                let row = self.session.output::<i8>(step, logits)?;
                top_k(row, self.multiplier, tokens, scores);
            }
        }
        Ok(())
    }

    /// Attention weights of the last step.
    pub(super) fn weights<T: Element>(&self) -> Result<&[T], DecodeError> {
        let index = DecodeMeta::optional(self.meta.weights).ok_or(DecodeError::NoWeights)?;
        Ok(self.session.output(self.meta.step as usize, index)?)
    }

    /// The same as real values of any type, as many as there is room for; returns how many there are.
    pub(super) fn read_weights(&self, into: &mut [f32]) -> Result<usize, DecodeError> {
        let index = DecodeMeta::optional(self.meta.weights).ok_or(DecodeError::NoWeights)?;
        let record = self.session.output_record(self.meta.step as usize, index)?;
        match record.dtype() {
            DType::I16 => self.read_weights_as::<i16>(record, into),
            DType::I32 => self.read_weights_as::<i32>(record, into),
            #[cfg(attn_half)]
            DType::F16 => self.read_weights_as::<crate::f16>(record, into),
            _ => self.read_weights_as::<i8>(record, into),
        }
    }

    fn read_weights_as<T: Element>(
        &self,
        record: &TensorRecord,
        into: &mut [f32],
    ) -> Result<usize, DecodeError> {
        let weights = self.weights::<T>()?;
        for (slot, weight) in into.iter_mut().zip(weights) {
            *slot = weight.to_real(record.scale, record.zero_point);
        }
        Ok(weights.len())
    }

    /// The state of the hypothesis that was stepped last.
    pub(super) fn state(&mut self) -> &mut [u8] {
        self.session.state(self.meta.hypothesis_len as usize)
    }
}
