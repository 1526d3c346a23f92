//! Sequences of tokens: greedy decoding and beam search over a model that reads an input with one entry point and makes
//! one token at a time with another.
//!
//! Here are the order of decoding and the choice of tokens, all of it on integers, in memory that the caller gives. What
//! the model needs to say for that is in [`crate::format::DecodeMeta`]; ranking a row of logits is in
//! [`crate::kernels::int::top_k`]. Every decode ends: at the end token, or at the model's limit on tokens.
//!
//! Attention weights are there after each [`Greedy::step`]. To see them along a sequence that a [`Beam`] found, let
//! [`Greedy::follow`] lead the model through it: that costs one more pass and no memory.

/// The methods of a decoder that has a `stepper` and a `phase` which begin a sequence: what the model reads, then `start`.
macro_rules! reads_inputs {
    () => {
        /// Reads an input of whole rows, such as features of sound, and starts a new sequence. A last one is given up.
        ///
        /// # Errors
        /// [`DecodeError::EmptyInput`], [`DecodeError::InputTooLong`], [`DecodeError::WrongLength`],
        /// [`DecodeError::PartialRow`], [`DecodeError::NoEncoder`]; [`DecodeError::Session`] when the input has elements of
        /// another type.
        pub fn encode<T: Element>(&mut self, input: &[T]) -> Result<(), DecodeError> {
            self.load(input)?;
            self.read_on(usize::MAX).map(drop)
        }

        /// Reads an input of whole rows of real values, whatever type its elements have: each is rounded to the nearest step and limited to
        /// the range of the type.
        ///
        /// # Errors
        /// As [`Self::encode`], but never for the type.
        pub fn encode_reals(&mut self, input: &[f32]) -> Result<(), DecodeError> {
            self.load_reals(input)?;
            self.read_on(usize::MAX).map(drop)
        }

        /// Reads symbols by number, followed by the end symbol if the model has one, and starts a new sequence.
        ///
        /// # Errors
        /// As [`Self::encode`], and [`DecodeError::UnknownSymbol`].
        pub fn encode_symbols(&mut self, symbols: &[u16]) -> Result<(), DecodeError> {
            self.load_symbols(symbols)?;
            self.read_on(usize::MAX).map(drop)
        }

        /// Reads text, spelled in the symbols of the model's vocabulary (the longest that fits, where several do), and starts
        /// a new sequence.
        ///
        /// # Errors
        /// As [`Self::encode`], [`DecodeError::NoSymbols`] and [`DecodeError::UnknownText`].
        pub fn encode_text(&mut self, text: &str) -> Result<(), DecodeError> {
            self.load_text(text)?;
            self.read_on(usize::MAX).map(drop)
        }

        /// Takes an input as [`Self::encode`] does, and leaves the work to [`Self::poll`].
        ///
        /// # Errors
        /// As [`Self::encode`].
        pub fn load<T: Element>(&mut self, input: &[T]) -> Result<(), DecodeError> {
            self.begin(|stepper| stepper.load(input))
        }

        /// Takes real values as [`Self::encode_reals`] does, and leaves the work to [`Self::poll`].
        ///
        /// # Errors
        /// As [`Self::encode_reals`].
        pub fn load_reals(&mut self, input: &[f32]) -> Result<(), DecodeError> {
            self.begin(|stepper| stepper.load_reals(input))
        }

        /// Takes symbols as [`Self::encode_symbols`] does, and leaves the work to [`Self::poll`].
        ///
        /// # Errors
        /// As [`Self::encode_symbols`].
        pub fn load_symbols(&mut self, symbols: &[u16]) -> Result<(), DecodeError> {
            self.begin(|stepper| stepper.load_symbols(symbols))
        }

        /// Takes text as [`Self::encode_text`] does, and leaves the work to [`Self::poll`].
        ///
        /// # Errors
        /// As [`Self::encode_text`].
        pub fn load_text(&mut self, text: &str) -> Result<(), DecodeError> {
            self.begin(|stepper| stepper.load_text(text))
        }

        /// Starts a new sequence of a model that reads no input.
        ///
        /// # Errors
        /// [`DecodeError::InputNeeded`].
        pub fn restart(&mut self) -> Result<(), DecodeError> {
            self.begin(|stepper| stepper.restart())?;
            self.read_on(usize::MAX).map(drop)
        }

        /// Has the model take an input by `take`; a run in progress is given up.
        fn begin(
            &mut self,
            take: impl FnOnce(&mut Stepper<'s, 'm, 'a>) -> Result<(), DecodeError>,
        ) -> Result<(), DecodeError> {
            self.phase = Phase::Idle;
            self.stepper.give_up();
            take(&mut self.stepper)?;
            self.phase = Phase::Reading;
            Ok(())
        }

        /// Runs at most `operators` operators of reading the input; behind the last, the sequence starts.
        fn read_on(&mut self, operators: usize) -> Result<Progress, DecodeError> {
            if self.phase != Phase::Reading {
                return Ok(Progress::Done);
            }
            let progress = self.stepper.carry_on(operators)?;
            if progress == Progress::Done {
                self.start();
            }
            Ok(progress)
        }
    };
}

mod beam;
mod error;
mod greedy;
mod memory;
mod sampling;
mod stepper;
mod vocabulary;

pub use beam::{Beam, Hypothesis};
pub use error::DecodeError;
pub use greedy::Greedy;
pub use sampling::{Candidate, Sampling};
pub use vocabulary::{Spelling, Text, text};
