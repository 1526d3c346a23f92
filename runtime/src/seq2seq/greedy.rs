//! Greedy decoding: the best token of every step, one after the other.

use super::sampling::Candidate;
use super::vocabulary::Spelling;
use super::{DecodeError, stepper::Stepper};
use crate::format::MAX_CANDIDATES;
use crate::model::Model;
use crate::session::{Element, Progress, Session};
use core::task::Poll;

/// Takes the most likely token at every step; of equally likely ones the lowest.
///
/// ```no_run
/// # fn decode(session: &mut attn_runtime::Session) -> Result<(), attn_runtime::seq2seq::DecodeError> {
/// use attn_runtime::seq2seq::Greedy;
///
/// let mut decoder = Greedy::new(session)?;
/// decoder.encode_text("tokenize")?;
/// while let Some(token) = decoder.step()? {
///     let name = decoder.model().token_name(token);
///     // …
/// }
/// if !decoder.ended() {
///     // The model's limit on tokens came before the end: what follows is missing.
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Greedy<'s, 'm, 'a> {
    stepper: Stepper<'s, 'm, 'a>,
    phase: Phase,
    /// Input of the next step.
    last: u16,
    steps: usize,
    score: i32,
}

/// The progress of a sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// No input yet.
    Idle,
    /// An input is read.
    Reading,
    /// More tokens follow.
    Running,
    /// The end token came.
    Ended,
    /// The limit on tokens was reached without an end token.
    CutOff,
}

impl<'s, 'm, 'a> Greedy<'s, 'm, 'a> {
    /// A decoder for the session's model.
    ///
    /// # Errors
    /// [`DecodeError::NoDecode`].
    pub fn new(session: &'s mut Session<'m, 'a>) -> Result<Self, DecodeError> {
        Ok(Self {
            stepper: Stepper::new(session)?,
            phase: Phase::Idle,
            last: 0,
            steps: 0,
            score: 0,
        })
    }

    /// The model.
    pub fn model(&self) -> Model<'m> {
        self.stepper.model()
    }

    /// The session, to look at other outputs of the last step.
    pub fn session(&self) -> &Session<'m, 'a> {
        self.stepper.session()
    }

    reads_inputs!();

    fn start(&mut self) {
        self.phase = Phase::Running;
        self.last = self.stepper.meta().start as u16;
        self.steps = 0;
        self.score = 0;
    }

    /// The next token; `None` at the end of the sequence: after the end token, or at the model's limit on tokens.
    ///
    /// # Errors
    /// [`DecodeError::NotEncoded`].
    pub fn step(&mut self) -> Result<Option<u16>, DecodeError> {
        self.step_by::<1>(|_| 0)
    }

    /// The next token. `choose` returns its index among the `K` best (1 to 16, best first; fewer if a step returns fewer), such as
    /// [`Sampling::pick`](super::Sampling::pick). An index beyond the last counts as the last. `None` at the end, as in
    /// [`Self::step`].
    ///
    /// # Errors
    /// [`DecodeError::NotEncoded`].
    pub fn step_by<const K: usize>(
        &mut self,
        choose: impl FnOnce(&[Candidate]) -> usize,
    ) -> Result<Option<u16>, DecodeError> {
        const { assert!(K >= 1 && K <= MAX_CANDIDATES, "1 to 16 candidates") };
        match self.run()? {
            true => self.pick::<K>(choose),
            false => Ok(None),
        }
    }

    /// Runs at most `operators` operators, and at least one, of reading the input or of the next step, so that a cooperative
    /// scheduler can do other work in between: `Pending` while there are more, then the next token as [`Self::step`] gives it.
    ///
    /// ```no_run
    /// # fn decode(session: &mut attn_runtime::Session) -> Result<(), attn_runtime::seq2seq::DecodeError> {
    /// use attn_runtime::seq2seq::Greedy;
    /// use core::task::Poll;
    ///
    /// let mut decoder = Greedy::new(session)?;
    /// decoder.load_text("tokenize")?;
    /// loop {
    ///     match decoder.poll(1)? {
    ///         Poll::Pending => { /* something else */ }
    ///         Poll::Ready(Some(token)) => { /* use it */ }
    ///         Poll::Ready(None) => break,
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`DecodeError::NotEncoded`].
    pub fn poll(&mut self, operators: usize) -> Result<Poll<Option<u16>>, DecodeError> {
        if self.phase == Phase::Reading {
            self.read_on(operators)?;
            return Ok(Poll::Pending);
        }
        if !self.begin_step()? {
            return Ok(Poll::Ready(None));
        }
        match self.stepper.carry_on(operators)? {
            Progress::More => Ok(Poll::Pending),
            Progress::Done => Ok(Poll::Ready(self.pick::<1>(|_| 0)?)),
        }
    }

    /// The token that `choose` picks of the `K` best of the step that was run; `None` for the end token.
    fn pick<const K: usize>(
        &mut self,
        choose: impl FnOnce(&[Candidate]) -> usize,
    ) -> Result<Option<u16>, DecodeError> {
        let count = K.min(self.stepper.candidates());
        let (mut tokens, mut scores) = ([0; K], [0; K]);
        self.stepper.best(&mut tokens, &mut scores)?;
        let mut candidates = [Candidate::default(); K];
        let found = tokens.into_iter().zip(scores);
        for (slot, (token, score)) in candidates.iter_mut().zip(found) {
            let token = token as u16;
            *slot = Candidate { token, score };
        }
        let candidates = candidates.get(..count).unwrap_or_default();
        let chosen = choose(candidates).min(count.saturating_sub(1));
        let Candidate { token, score } = candidates.get(chosen).copied().unwrap_or_default();
        self.score = self.score.saturating_add(score);
        self.take(token);
        Ok((self.phase != Phase::Ended).then_some(self.last))
    }

    /// Follows `text`, spelled in the names of the model's output tokens (the longest match at each place), so that the next tokens
    /// continue it. Call it after [`Self::restart`], or after reading an input. Its tokens count towards the model's
    /// limit; their score does not count.
    ///
    /// # Errors
    /// [`DecodeError::NotEncoded`], [`DecodeError::NoTokenNames`], [`DecodeError::UnknownText`];
    /// [`DecodeError::PromptTooLong`] when it leaves no room for a token more. After an error the sequence must be started anew.
    pub fn prompt_text(&mut self, text: &str) -> Result<(), DecodeError> {
        let spelling = Spelling::of_tokens(self.model(), text)?;
        for token in spelling {
            self.prompt(&[token?])?;
        }
        Ok(())
    }

    /// Follows known tokens, as [`Self::prompt_text`] does.
    ///
    /// # Errors
    /// As there, and [`DecodeError::UnknownSymbol`].
    pub fn prompt(&mut self, tokens: &[u16]) -> Result<(), DecodeError> {
        let (known, max) = {
            let meta = self.stepper.meta();
            (meta.tokens as usize, meta.max_tokens as usize)
        };
        for (at, &token) in tokens.iter().enumerate() {
            if usize::from(token) >= known {
                let (symbol, symbols) = (token, known);
                self.phase = Phase::Idle;
                return Err(DecodeError::UnknownSymbol {
                    symbol,
                    at,
                    symbols,
                });
            }
            if !self.follow(token)? || self.steps >= max {
                self.phase = Phase::Idle;
                return Err(DecodeError::PromptTooLong {
                    max: max.saturating_sub(1),
                });
            }
        }
        Ok(())
    }

    /// Runs a step, but continues with `token` in any case: to follow a known sequence and read [`Self::weights`] after each
    /// step. False at the end of the sequence.
    ///
    /// # Errors
    /// [`DecodeError::NotEncoded`].
    pub fn follow(&mut self, token: u16) -> Result<bool, DecodeError> {
        let running = self.run()?;
        if running {
            self.take(token);
        }
        Ok(running)
    }

    /// Runs one step, if the sequence goes on.
    fn run(&mut self) -> Result<bool, DecodeError> {
        self.read_on(usize::MAX)?;
        let running = self.begin_step()?;
        if running {
            self.stepper.carry_on(usize::MAX)?;
        }
        Ok(running)
    }

    /// Begins a step, if the sequence goes on and none is in progress.
    fn begin_step(&mut self) -> Result<bool, DecodeError> {
        match self.phase {
            Phase::Idle | Phase::Reading => return Err(DecodeError::NotEncoded),
            Phase::Ended | Phase::CutOff => return Ok(false),
            Phase::Running if self.stepper.is_running() => return Ok(true),
            Phase::Running => {}
        }
        if self.steps >= self.stepper.meta().max_tokens as usize {
            self.phase = Phase::CutOff;
            return Ok(false);
        }
        self.steps += 1;
        self.stepper.begin_step(self.last)?;
        Ok(true)
    }

    fn take(&mut self, token: u16) {
        self.last = token;
        if u32::from(token) == self.stepper.meta().end {
            self.phase = Phase::Ended;
        }
    }

    /// Log-probability of all tokens that [`Self::step`] has given since the start, the end token included; Q16 nats.
    pub fn score(&self) -> i32 {
        self.score
    }

    /// True after the end token; false while more tokens follow, and if the limit ended the sequence.
    pub fn ended(&self) -> bool {
        self.phase == Phase::Ended
    }

    /// Attention weights over the input of the last step, in the type of that output (int16 in Q15 where the file's
    /// operator makes them).
    ///
    /// # Errors
    /// [`DecodeError::NoWeights`]; [`DecodeError::Session`] for another element type.
    pub fn weights<T: Element>(&self) -> Result<&[T], DecodeError> {
        self.stepper.weights()
    }

    /// Copies the same as real values, 0 to 1, whatever type the file has: as many as there is room for. Returns how many there are.
    ///
    /// # Errors
    /// [`DecodeError::NoWeights`]; [`DecodeError::Session`] before the first step.
    pub fn read_weights(&self, into: &mut [f32]) -> Result<usize, DecodeError> {
        self.stepper.read_weights(into)
    }
}
