//! Decoding on the host, with the runtime's own decoders: sequences of tokens for an input, or the attention weights along
//! one sequence.

use crate::features::{FeatureError, clip};
use crate::runner::AlignedBytes;
use attn_recordings::RecordingError;
use attn_runtime::audio::{FRAME_LEN, MEL_BANDS, SAMPLE_RATE};
use attn_runtime::format::{DType, DecodeMeta, MAX_CANDIDATES};
use attn_runtime::seq2seq::{Beam, DecodeError, Greedy, Sampling, Spelling};
use attn_runtime::{Model, Session, SessionError, f16};
use std::path::{Path, PathBuf};
use thiserror::Error;

/// The input of a decode.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// Text, spelled in the model's symbols.
    Text(String),
    /// Symbols by number.
    Symbols(Vec<u16>),
    /// Features of sound, row by row, in steps of 1/32.
    Features(Vec<i8>),
    /// Nothing: for a language model.
    Nothing,
}

/// The search.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Search {
    /// The best token at every step.
    Greedy,
    /// Several hypotheses.
    Beam {
        /// Width of the beam, 1 to 16.
        width: usize,
        /// Exponent of the length that scores are divided by for ranking.
        alpha: f32,
    },
}

/// Parameters for sampling the continuation of a text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Chance {
    /// Temperature: low values prefer the best tokens; 1 keeps the model's probabilities.
    pub temperature: f32,
    /// Number of best tokens to sample from, 1 to 16.
    pub top: usize,
    /// Seed of the sampling.
    pub seed: u32,
}

/// A sequence found by the search.
#[derive(Clone, Debug, PartialEq)]
pub struct Sequence {
    /// Its tokens, without start and end token.
    pub tokens: Vec<u16>,
    /// Log-probability in nats, the end token included.
    pub score: f64,
    /// False if the limit on tokens cut it off.
    pub ended: bool,
}

/// Features of a recording, for a model with sound as its input: 16 kHz mono samples that errors call `path`.
///
/// # Errors
/// [`FeatureError::TooShort`], [`FeatureError::Hop`].
pub fn features(path: &Path, pcm: Vec<i16>, hop: usize) -> Result<Input, FeatureError> {
    let features = crate::features::features(path, &clip(pcm), hop)?;
    Ok(Input::Features(features.into_raw_vec_and_offset().0))
}

/// The features of a recording as `model` takes them: `read` gives its 16 kHz mono samples, which errors call `path`.
///
/// # Errors
/// [`HearError`].
pub fn heard(
    model: Model,
    path: &Path,
    read: impl FnOnce() -> Result<Vec<i16>, RecordingError>,
) -> Result<Input, HearError> {
    let audio = model
        .audio()
        .ok_or_else(|| HearError::NoAudio { path: path.into() })?;
    let wanted = [audio.sample_rate, audio.frame_len, audio.mel_bands];
    if wanted != HEARD {
        return Err(HearError::OtherFrontEnd { wanted });
    }
    let pcm = read().map_err(FeatureError::from)?;
    Ok(features(path, pcm, audio.hop as usize)?)
}

/// The front end's sampling rate, samples in a frame and mel bands.
const HEARD: [u32; 3] = [SAMPLE_RATE, FRAME_LEN as u32, MEL_BANDS as u32];

/// Why a model cannot decode a recording.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum HearError {
    /// The model takes text or symbols.
    #[error("{path}: the model does not listen: give it text or symbols")]
    NoAudio {
        /// The recording.
        path: PathBuf,
    },
    /// The model was made for another front end.
    #[error(
        "the model wants {} Hz, frames of {} samples and {} mel bands; this front end has {} Hz, {} and {}",
        wanted[0], wanted[1], wanted[2], HEARD[0], HEARD[1], HEARD[2]
    )]
    OtherFrontEnd {
        /// Sampling rate, samples in a frame, mel bands.
        wanted: [u32; 3],
    },
    /// There are no features.
    #[error(transparent)]
    Features(#[from] FeatureError),
}

/// A model and the memory that it decodes in.
#[derive(Debug)]
pub struct Decoder<'m> {
    model: Model<'m>,
    arena: AlignedBytes,
}

impl<'m> Decoder<'m> {
    /// A decoder for `model`.
    pub fn new(model: Model<'m>) -> Self {
        Self {
            model,
            arena: AlignedBytes::zeroed(model.arena_len()),
        }
    }

    /// The sequences found for `input`, best first; exactly one by greedy decoding.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn decode(&mut self, input: &Input, search: Search) -> Result<Vec<Sequence>, DecodeError> {
        let mut session = Session::new(self.model, self.arena.as_mut_slice())?;
        match search {
            Search::Greedy => greedy(&mut session, input).map(|found| vec![found]),
            Search::Beam { width, alpha } => beam(&mut session, input, width, alpha),
        }
    }

    /// The continuation of `prompt` by a language model: the best token every time, or sampled tokens.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn write(&mut self, prompt: &str, chance: Option<Chance>) -> Result<Sequence, DecodeError> {
        let mut session = Session::new(self.model, self.arena.as_mut_slice())?;
        let mut decoder = Greedy::new(&mut session)?;
        decoder.restart()?;
        if !prompt.is_empty() {
            decoder.prompt_text(prompt)?;
        }
        let Some(Chance {
            temperature,
            top,
            seed,
        }) = chance
        else {
            return rest(&mut decoder, Greedy::step);
        };
        let mut sampling = Sampling::new(temperature, seed);
        rest(&mut decoder, |decoder| {
            decoder.step_by::<MAX_CANDIDATES>(|best| {
                sampling.pick(best.get(..top.max(1)).unwrap_or(best))
            })
        })
    }

    /// Attention weights over the rows of the input, `[token, row]`: one row for each of `tokens`, and one for the end token
    /// unless the limit on tokens is reached.
    ///
    /// # Errors
    /// [`DecodeError`]; [`DecodeError::NoWeights`] for a model that returns none.
    pub fn weights(&mut self, input: &Input, tokens: &[u16]) -> Result<Vec<Vec<f32>>, DecodeError> {
        let mut session = Session::new(self.model, self.arena.as_mut_slice())?;
        let mut decoder = Greedy::new(&mut session)?;
        read(&mut decoder, input)?;
        let end = self.model.decode().map_or(0, |decode| decode.end as u16);
        let mut rows = Vec::new();
        for &token in tokens.iter().chain([&end]) {
            if !decoder.follow(token)? {
                break;
            }
            rows.push(row_of_weights(&decoder)?);
        }
        Ok(rows)
    }

    /// Names of the symbols of `input`, the end symbol included; none for sound.
    pub fn symbol_names(&self, input: &Input) -> Vec<String> {
        let symbols: Vec<u16> = match input {
            Input::Text(text) => Spelling::new(self.model, text)
                .map(|spelling| spelling.map_while(Result::ok).collect())
                .unwrap_or_default(),
            Input::Symbols(symbols) => symbols.clone(),
            Input::Features(_) | Input::Nothing => return Vec::new(),
        };
        let end = self.model.decode();
        let end = end.and_then(|decode| DecodeMeta::optional(decode.end_symbol));
        let numbers = symbols.into_iter().map(usize::from).chain(end);
        let name = |number: usize| match self.model.symbols().nth(number) {
            Some(name) => name.to_owned(),
            None => number.to_string(),
        };
        numbers.map(name).collect()
    }
}

fn greedy(session: &mut Session, input: &Input) -> Result<Sequence, DecodeError> {
    let mut decoder = Greedy::new(session)?;
    read(&mut decoder, input)?;
    rest(&mut decoder, Greedy::step)
}

/// The following tokens, each from `step`.
fn rest<'s, 'm, 'a>(
    decoder: &mut Greedy<'s, 'm, 'a>,
    mut step: impl FnMut(&mut Greedy<'s, 'm, 'a>) -> Result<Option<u16>, DecodeError>,
) -> Result<Sequence, DecodeError> {
    let mut tokens = Vec::new();
    while let Some(token) = step(decoder)? {
        tokens.push(token);
    }
    Ok(Sequence {
        tokens,
        score: nats(decoder.score()),
        ended: decoder.ended(),
    })
}

fn read(decoder: &mut Greedy, input: &Input) -> Result<(), DecodeError> {
    match input {
        Input::Text(text) => decoder.encode_text(text),
        Input::Symbols(symbols) => decoder.encode_symbols(symbols),
        Input::Nothing => decoder.restart(),
        Input::Features(steps) => match features_type(decoder.session())? {
            DType::F16 => decoder.encode(&halves(steps)),
            _ => decoder.encode(steps),
        },
    }
}

fn beam(
    session: &mut Session,
    input: &Input,
    width: usize,
    alpha: f32,
) -> Result<Vec<Sequence>, DecodeError> {
    type Widest<'s, 'm, 'a, 'b> = Beam<'s, 'm, 'a, 'b, MAX_CANDIDATES>;
    let features = match input {
        Input::Features(_) => features_type(session)?,
        _ => DType::I8,
    };
    let len = Widest::memory_len(&session.model(), width.min(MAX_CANDIDATES))?;
    let mut memory = AlignedBytes::zeroed(len);
    let mut beam = Widest::with_width(session, memory.as_mut_slice(), width)?;
    beam.set_length_normalization(alpha);
    match input {
        Input::Text(text) => beam.encode_text(text)?,
        Input::Symbols(symbols) => beam.encode_symbols(symbols)?,
        Input::Nothing => beam.restart()?,
        Input::Features(steps) if features == DType::F16 => beam.encode(&halves(steps))?,
        Input::Features(steps) => beam.encode(steps)?,
    }
    beam.decode()?;
    let sequence = |found: attn_runtime::seq2seq::Hypothesis| Sequence {
        tokens: found.tokens.to_vec(),
        score: nats(found.score),
        ended: found.ended,
    };
    Ok(beam.hypotheses().map(sequence).collect())
}

/// Element type of the encoder's input.
fn features_type(session: &Session) -> Result<DType, SessionError> {
    let decode = session.model().decode();
    let encode = decode.and_then(|decode| DecodeMeta::optional(decode.encode));
    let (Some(decode), Some(encode)) = (decode, encode) else {
        return Ok(DType::I8); // the decoder says what is missing
    };
    Ok(session.input_record(encode, decode.input as usize)?.dtype())
}

fn halves(steps: &[i8]) -> Vec<f16> {
    let scale = attn_runtime::audio::FEATURE_SCALE;
    let half = |&step: &i8| f16::from_f32(f32::from(step) * scale);
    steps.iter().map(half).collect()
}

fn row_of_weights(decoder: &Greedy) -> Result<Vec<f32>, DecodeError> {
    let real = |integers: &[i16]| integers.iter().map(|&w| f32::from(w) / 32767.0).collect();
    match decoder.weights::<i16>() {
        Ok(weights) => Ok(real(weights)),
        Err(DecodeError::Session(SessionError::WrongType { .. })) => {
            let weights = decoder.weights::<f16>()?;
            Ok(weights.iter().map(|w| w.to_f32()).collect())
        }
        Err(error) => Err(error),
    }
}

fn nats(score_q16: i32) -> f64 {
    f64::from(score_q16) / 65536.0
}
