//! Beam search: several hypotheses are carried along, each with its own copy of the state that a step changes.

use super::memory::{Memory, memory_len};
use super::{DecodeError, stepper::Stepper};
use crate::format::MAX_CANDIDATES;
use crate::kernels::int::softmax::exp2_fraction;
use crate::kernels::int::top_k::log2_q32;
use crate::model::Model;
use crate::session::{Element, Progress, Session};
use heapless::Vec;

/// Keeps up to `N` hypotheses (1 to 16) at every step and finds up to `N` sequences.
///
/// At every step each hypothesis offers its `N` best continuations, and the `N` most likely of all survive. A hypothesis is
/// complete if fewer than `N` continuations are better than its end token. The search ends when `N` sequences are complete, when no hypothesis
/// survives, or at the model's limit on tokens. Complete sequences are ranked by their log-probability divided by a power
/// of their length; sequences that the limit cut off rank after them: where one has a higher score than the best that ended, the input
/// holds more than the model's limit. With `N = 1` this is [`super::Greedy`].
///
/// ```no_run
/// # fn decode(session: &mut attn_runtime::Session) -> Result<(), attn_runtime::seq2seq::DecodeError> {
/// use attn_runtime::{Arena, seq2seq::Beam};
///
/// let mut memory = Arena::<8192>::new(); // in a static; include_model! has the length as beam_len(4)
/// let mut beam = Beam::<4>::new(session, memory.as_mut_slice())?;
/// beam.encode_text("tokenize")?;
/// beam.decode()?;
/// for found in beam.hypotheses() {
///     let (tokens, score) = (found.tokens, found.score);
///     // …
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Beam<'s, 'm, 'a, 'b, const N: usize> {
    stepper: Stepper<'s, 'm, 'a>,
    memory: Memory<'b>,
    width: usize,
    /// Exponent of the length that scores are divided by.
    alpha_q16: u32,
    live: Vec<Live, N>,
    found: Vec<Found, N>,
    /// The best continuations and endings of the step in progress, best first.
    going: Vec<Candidate, N>,
    ending: Vec<Candidate, N>,
    /// The hypothesis whose turn it is in that step.
    turn: usize,
    /// Tokens that each hypothesis has.
    steps: usize,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Idle,
    Reading,
    Running,
    Done,
}

/// A hypothesis that survives.
#[derive(Clone, Copy, Debug)]
struct Live {
    /// Its last token.
    token: u16,
    /// Where its state is in memory; shared with those that have the same past.
    slot: usize,
    /// Log-probability, Q16 nats.
    score: i32,
}

/// A continuation of a hypothesis.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    /// Number of the hypothesis that it continues.
    parent: usize,
    token: u16,
    /// Log-probability of the whole, Q16 nats.
    score: i32,
}

/// A sequence that was found; its tokens are in memory, by rank.
#[derive(Clone, Copy, Debug)]
struct Found {
    /// Number of the hypothesis whose tokens it has.
    parent: usize,
    /// Number of these tokens, the end token not counted.
    len: usize,
    score: i32,
    normalized: i32,
    ended: bool,
}

/// A sequence that a [`Beam`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Hypothesis<'t> {
    /// Its tokens, without start and end token.
    pub tokens: &'t [u16],
    /// Log-probability in Q16 nats, the end token included.
    pub score: i32,
    /// Rank: the score divided by a power of the length (the end token counts).
    pub normalized: i32,
    /// False when the limit on tokens cut it off.
    pub ended: bool,
}

impl<'s, 'm, 'a, 'b, const N: usize> Beam<'s, 'm, 'a, 'b, N> {
    /// A decoder for the session's model. `memory`: [`Self::memory_len`] bytes at a multiple of 4, as in an
    /// [`Arena`](crate::Arena).
    ///
    /// # Errors
    /// [`DecodeError::NoDecode`], [`DecodeError::TooFewCandidates`], [`DecodeError::MemoryTooSmall`],
    /// [`DecodeError::MemoryMisaligned`].
    pub fn new(
        session: &'s mut Session<'m, 'a>,
        memory: &'b mut [u8],
    ) -> Result<Self, DecodeError> {
        Self::with_width(session, memory, N)
    }

    /// As [`Self::new`], with `width` hypotheses instead of `N`.
    ///
    /// # Errors
    /// As [`Self::new`], and [`DecodeError::BadWidth`] for 0 or more than `N`.
    pub fn with_width(
        session: &'s mut Session<'m, 'a>,
        memory: &'b mut [u8],
        width: usize,
    ) -> Result<Self, DecodeError> {
        const {
            assert!(
                N >= 1 && N <= MAX_CANDIDATES,
                "a beam has 1 to 16 hypotheses"
            )
        };
        if !(1..=N).contains(&width) {
            return Err(DecodeError::BadWidth { width, most: N });
        }
        let stepper = Stepper::new(session)?;
        let candidates = stepper.candidates();
        if candidates < width {
            return Err(DecodeError::TooFewCandidates { width, candidates });
        }
        Ok(Self {
            memory: Memory::new(stepper.meta(), width, memory)?,
            stepper,
            width,
            alpha_q16: 1 << 16,
            live: Vec::new(),
            found: Vec::new(),
            going: Vec::new(),
            ending: Vec::new(),
            turn: 0,
            steps: 0,
            phase: Phase::Idle,
        })
    }

    /// Bytes of memory for `width` hypotheses of `model`: for each its state, and six bytes for each token that a sequence
    /// can have.
    ///
    /// # Errors
    /// [`DecodeError::NoDecode`].
    pub fn memory_len(model: &Model, width: usize) -> Result<usize, DecodeError> {
        let meta = model.decode().ok_or(DecodeError::NoDecode)?;
        Ok(memory_len(meta, width))
    }

    /// Divides scores by `length^alpha` when sequences are ranked: 0 favours short ones, 1 (as long as nothing is set)
    /// ranks by the mean over tokens. Held to 0 to 8.
    pub fn set_length_normalization(&mut self, alpha: f32) {
        self.alpha_q16 = (alpha.clamp(0.0, 8.0) * 65536.0) as u32;
    }

    /// The model.
    pub fn model(&self) -> Model<'m> {
        self.stepper.model()
    }

    reads_inputs!();

    fn start(&mut self) {
        self.found.clear();
        self.live.clear();
        self.going.clear();
        self.ending.clear();
        self.turn = 0;
        let start = Live {
            token: self.stepper.meta().start as u16,
            slot: 0,
            score: 0,
        };
        // There is room: N is at least 1.
        let _ = self.live.push(start);
        self.memory.store(0, self.stepper.state());
        self.steps = 0;
        self.phase = Phase::Running;
    }

    /// Searches to the end and returns the best sequence.
    ///
    /// # Errors
    /// [`DecodeError::NotEncoded`].
    pub fn decode(&mut self) -> Result<Option<Hypothesis<'_>>, DecodeError> {
        while self.step()? == Progress::More {}
        Ok(self.hypotheses().next())
    }

    /// One step of every hypothesis.
    ///
    /// # Errors
    /// [`DecodeError::NotEncoded`].
    pub fn step(&mut self) -> Result<Progress, DecodeError> {
        self.read_on(usize::MAX)?;
        let steps = self.steps;
        loop {
            let progress = self.poll(usize::MAX)?;
            if progress == Progress::Done || self.steps > steps {
                return Ok(progress);
            }
        }
    }

    /// Runs at most `operators` operators, and at least one, of reading the input or of the search, so that a cooperative scheduler can
    /// do other work in between. At the end, [`Self::hypotheses`] has what was found.
    ///
    /// # Errors
    /// [`DecodeError::NotEncoded`].
    pub fn poll(&mut self, operators: usize) -> Result<Progress, DecodeError> {
        match self.phase {
            Phase::Idle => return Err(DecodeError::NotEncoded),
            Phase::Done => return Ok(Progress::Done),
            Phase::Reading => {
                self.read_on(operators)?;
                return Ok(Progress::More);
            }
            Phase::Running => {}
        }
        if self.carry_on(operators)? == Progress::Done {
            self.conclude();
        }
        Ok(match self.phase {
            Phase::Done => Progress::Done,
            _ => Progress::More,
        })
    }

    /// Carries on the step of the hypothesis whose turn it is, and then sorts its candidates; `Done` behind the last hypothesis.
    ///
    /// There are `width` slots for states. A slot is free once the last hypothesis that starts from its state has been
    /// loaded, so there is always a free slot for the result.
    fn carry_on(&mut self, operators: usize) -> Result<Progress, DecodeError> {
        let turn = self.turn;
        let Some(&Live { token, slot, score }) = self.live.get(turn) else {
            return Ok(Progress::Done);
        };
        if !self.stepper.is_running() {
            self.memory.load(slot, self.stepper.state());
            self.stepper.begin_step(token)?;
        }
        if self.stepper.carry_on(operators)? == Progress::More {
            return Ok(Progress::More);
        }
        let held = |slot: usize| {
            let mut others = self.live.iter().enumerate();
            others.any(|(at, other)| at != turn && other.slot == slot)
        };
        let free = (0..self.width).find(|slot| !held(*slot)).unwrap_or(0);
        if let Some(live) = self.live.get_mut(turn) {
            live.slot = free;
        }
        self.memory.store(free, self.stepper.state());
        self.rate(turn, score)?;
        self.turn += 1;
        Ok(match self.turn < self.live.len() {
            true => Progress::More,
            false => Progress::Done,
        })
    }

    /// Sorts the candidates of the step that was run for a hypothesis of this score: the best continuations, and the best endings.
    fn rate(&mut self, parent: usize, score: i32) -> Result<(), DecodeError> {
        let end = self.stepper.meta().end as u16;
        let (mut tokens, mut scores) = ([0; N], [0; N]);
        let tokens = tokens.get_mut(..self.width).unwrap_or_default();
        let scores = scores.get_mut(..self.width).unwrap_or_default();
        self.stepper.best(tokens, scores)?;
        for (&token, &more) in tokens.iter().zip(&*scores) {
            let candidate = Candidate {
                parent,
                token: token as u16,
                score: score.saturating_add(more),
            };
            // `ending` has at most one for each hypothesis.
            let list = match candidate.token == end {
                true => &mut self.ending,
                false => &mut self.going,
            };
            insert(list, self.width, candidate, |c| c.score);
        }
        Ok(())
    }

    /// Ends a step: the best continuations become the hypotheses.
    fn conclude(&mut self) {
        let going = core::mem::take(&mut self.going);
        let ending = core::mem::take(&mut self.ending);
        self.turn = 0;
        self.collect_ended(&going, &ending);
        self.go_on(&going);
        let limit = self.stepper.meta().max_tokens as usize;
        if self.live.is_empty() || self.found.len() == self.width || self.steps >= limit {
            self.finish();
        }
    }

    /// Records the sequences that end here, unless `width` continuations are at least as good.
    fn collect_ended(&mut self, going: &[Candidate], ending: &[Candidate]) {
        let worst = going.get(self.width.saturating_sub(1));
        for end in ending {
            if worst.is_some_and(|worst| worst.score >= end.score) {
                break;
            }
            self.note(end.parent, end.score, true);
        }
    }

    /// Records a sequence with the tokens of a hypothesis so far.
    fn note(&mut self, parent: usize, score: i32, ended: bool) {
        let length = self.steps + usize::from(ended);
        let found = Found {
            parent,
            len: self.steps,
            score,
            normalized: normalized(score, length, self.alpha_q16),
            ended,
        };
        insert(&mut self.found, self.width, found, |f| {
            (f.ended, f.normalized)
        });
    }

    /// The best continuations become the hypotheses.
    fn go_on(&mut self, going: &[Candidate]) {
        let parents = self.live.clone();
        self.live.clear();
        for (at, candidate) in going.iter().enumerate() {
            let live = Live {
                token: candidate.token,
                slot: parents.get(candidate.parent).map_or(0, |p| p.slot),
                score: candidate.score,
            };
            // There is room: `going` has at most N.
            let _ = self.live.push(live);
            self.memory
                .note(self.steps, at, candidate.token, candidate.parent);
        }
        self.steps += 1;
    }

    /// Hypotheses that are still there were cut off; the tokens of all that was found are written out.
    fn finish(&mut self) {
        self.phase = Phase::Done;
        if self.found.len() < self.width {
            let live = self.live.clone();
            for (parent, live) in live.iter().enumerate() {
                self.note(parent, live.score, false);
            }
        }
        for (rank, found) in self.found.iter().enumerate() {
            self.memory.write_out(rank, found.len, found.parent);
        }
    }

    /// The sequences found, best first: at most the width of the beam, none before the search is over.
    pub fn hypotheses(&self) -> impl ExactSizeIterator<Item = Hypothesis<'_>> {
        let found = match self.phase {
            Phase::Done => self.found.as_slice(),
            _ => &[],
        };
        found.iter().enumerate().map(|(rank, found)| Hypothesis {
            tokens: self.memory.tokens(rank, found.len),
            score: found.score,
            normalized: found.normalized,
            ended: found.ended,
        })
    }
}

/// Inserts `item` into a list sorted by `key`, highest first, after equal keys. Drops the last item of more than `most`.
fn insert<T: Copy, K: Ord, const N: usize>(
    list: &mut Vec<T, N>,
    most: usize,
    item: T,
    key: impl Fn(&T) -> K,
) {
    let mut carried = item;
    let mut moving = false;
    for slot in list.iter_mut() {
        moving |= key(&carried) > key(slot);
        if moving {
            core::mem::swap(slot, &mut carried);
        }
    }
    if list.len() < most {
        // There is room: `most` is at most N.
        let _ = list.push(carried);
    }
}

/// `score / length^alpha`.
fn normalized(score: i32, length: usize, alpha_q16: u32) -> i32 {
    if alpha_q16 == 1 << 16 {
        return score / i32::try_from(length).unwrap_or(i32::MAX).max(1);
    }
    let octaves_q16 = log2_q32(length as u64) >> 16;
    let exponent_q16 = (octaves_q16 * i64::from(alpha_q16)) >> 16;
    let fraction_q23 = exp2_fraction(exponent_q16 as u32 & 0xffff);
    let product = i64::from(score) * i64::from(fraction_q23);
    (product >> (23 + (exponent_q16 >> 16)).min(63)) as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_are_divided_by_a_power_of_the_length() {
        for length in 1..200usize {
            for alpha in [0.0f64, 0.3, 0.6, 1.0, 1.5] {
                let score = -1_234_567;
                let exact = f64::from(score) / (length as f64).powf(alpha);
                let got = normalized(score, length, (alpha * 65536.0) as u32);
                let error = (f64::from(got) - exact).abs();
                assert!(
                    error <= 1.0 + exact.abs() * 2e-4,
                    "{length}^{alpha}: {got}, {exact}"
                );
            }
        }
        assert_eq!(normalized(-7, 1, 0), -7);
        normalized(i32::MIN, usize::MAX, 8 << 16);
    }

    #[test]
    fn lists_stay_sorted_with_equals_in_order_of_arrival() {
        let mut list = Vec::<(i32, char), 4>::new();
        for item in [(3, 'a'), (5, 'b'), (3, 'c'), (5, 'd'), (4, 'e')] {
            insert(&mut list, 3, item, |i| i.0);
        }
        assert_eq!(list, [(5, 'b'), (5, 'd'), (4, 'e')]);
    }
}
