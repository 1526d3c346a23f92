//! The decoding application on an emulated board: text, sound from a WAV file or a prompt in, tokens to the console.
//!
//! Command line: `greedy` or `beam`, then `text TEXT` or `wav FILE` (16 kHz, mono, 16-bit); or `greedy` or a number, the seed of
//! sampled tokens, then `prompt FILE` with a text to continue. Prints `token NAME` for each
//! token, `score MAGNITUDE` (log-probability in 2^-16 nats), `cut` if the limit on tokens ended the sequence, and
//! `stack BYTES`. Front end, encoder and every step are regions to be counted.

use crate::bench::{bench_begin, bench_end};
use crate::host::{self, Decimal, fail, open_recording};
use crate::stack;
use attn_app::decode::{DecodeApp, WIDTH};
use attn_app::trace;
use attn_runtime::audio::{FrontEnd, MEL_BANDS};
use attn_runtime::seq2seq::{Beam, DecodeError, Greedy, Sampling};
use attn_runtime::{Model, Progress};
use semihosting::process;
use static_cell::ConstStaticCell;
use zerocopy::IntoBytes;

/// Most frames of sound: more than ten seconds.
const MAX_FRAMES: usize = 512;
/// Samples read at a time.
const PIECE: usize = 512;
/// Most bytes of a text to continue.
const MAX_PROMPT: usize = 512;

static FEATURES: ConstStaticCell<[i8; MAX_FRAMES * MEL_BANDS]> =
    ConstStaticCell::new([0; MAX_FRAMES * MEL_BANDS]);

/// The input.
enum Input<'i> {
    Text(&'i str),
    Features(&'i [i8]),
    Prompt(&'i str),
}

impl Input<'_> {
    /// Reads it with a greedy decoder.
    fn read(&self, decoder: &mut Greedy<'_, '_, '_>) -> Result<(), DecodeError> {
        match self {
            Self::Text(text) => decoder.encode_text(text),
            Self::Features(features) => decoder.encode(features),
            Self::Prompt(text) => {
                decoder.restart()?;
                decoder.prompt_text(text)
            }
        }
    }
}

/// Runs `work` as a region of this name.
fn region<R>(name: &str, work: impl FnOnce() -> Result<R, DecodeError>) -> R {
    host::print(&["@region", name]);
    bench_begin();
    let result = work();
    bench_end();
    result.unwrap_or_else(|error| fail(reason(error)))
}

/// Usage errors.
fn reason(error: DecodeError) -> &'static str {
    match error {
        DecodeError::EmptyInput => "the input is empty",
        DecodeError::InputTooLong { .. } => "the input is longer than the model takes",
        DecodeError::UnknownText { .. } => {
            "the input has a character that is not in the vocabulary of the model"
        }
        DecodeError::NoSymbols => "the model does not read text",
        DecodeError::InputNeeded => "the model reads an input: give it `text` or `wav`",
        DecodeError::PromptTooLong { .. } => "the text leaves no room behind it",
        DecodeError::TooFewCandidates { .. } => {
            "a step hands out fewer tokens than the beam is wide"
        }
        DecodeError::Session(_) => "the model does not take this kind of input",
        _ => "the model cannot decode this",
    }
}

/// Decodes what the command line names with the embedded model, then ends the program.
// A call that does not return counts as cold: outside of `main`, nothing would be inlined here, and the application be copied.
#[inline(always)]
pub fn run() -> ! {
    let Ok(args) = host::command_line() else {
        fail("no command line");
    };
    let mut words = (&args).into_iter().map(|word| word.unwrap_or(""));
    let (mode, kind, value) = (words.next(), words.next(), words.next());
    let (Some(mode), Some(kind), Some(value)) = (mode, kind, value) else {
        fail(
            "the command line must be `greedy`, `beam` or a seed, then `text TEXT`, `wav FILE` or `prompt FILE`",
        );
    };
    let Ok(mut app) = DecodeApp::start() else {
        fail("the embedded model does not decode, or does not fit");
    };
    let model = app.model();
    let mut prompt = [0; MAX_PROMPT];
    let input = match kind {
        "prompt" => Input::Prompt(read_prompt(value, &mut prompt)),
        "text" => Input::Text(value),
        "wav" => Input::Features(listen(model, value)),
        _ => fail("neither `text`, `wav` nor `prompt`"),
    };
    match mode {
        "beam" => match app.beam() {
            Ok(decoder) => beam(decoder, &input),
            Err(error) => fail(reason(error)),
        },
        _ => match app.greedy() {
            Ok(decoder) if mode == "greedy" => greedy(decoder, &input, Greedy::step),
            Ok(decoder) => {
                let Ok(seed) = mode.parse() else {
                    fail("neither `greedy`, `beam` nor a seed");
                };
                let mut sampling = Sampling::new(trace::TEMPERATURE, seed);
                greedy(decoder, &input, |decoder| {
                    decoder.step_by::<{ trace::TOP }>(|best| sampling.pick(best))
                });
            }
            Err(error) => fail(reason(error)),
        },
    }
    host::print(&["stack", Decimal::new(stack::high_water() as u32).text()]);
    process::exit(0)
}

fn greedy<'s, 'm, 'a>(
    mut decoder: Greedy<'s, 'm, 'a>,
    input: &Input<'_>,
    mut step: impl FnMut(&mut Greedy<'s, 'm, 'a>) -> Result<Option<u16>, DecodeError>,
) {
    region("encode", || input.read(&mut decoder));
    while let Some(token) = region("step", || step(&mut decoder)) {
        print_token(decoder.model(), token);
    }
    print_end(decoder.score(), decoder.ended());
}

fn beam(mut decoder: Beam<'_, '_, '_, '_, WIDTH>, input: &Input<'_>) {
    region("encode", || match input {
        Input::Text(text) => decoder.encode_text(text),
        Input::Features(features) => decoder.encode(features),
        Input::Prompt(_) => fail("a text is continued greedily, or by chance"),
    });
    while region("step", || decoder.step()) == Progress::More {}
    if let Some(best) = decoder.hypotheses().next() {
        let tokens = best.tokens.iter();
        tokens.for_each(|&token| print_token(decoder.model(), token));
        print_end(best.score, best.ended);
    }
}

fn print_token(model: Model<'_>, token: u16) {
    let number = Decimal::new(token.into());
    host::print(&["token", model.token_name(token).unwrap_or(number.text())]);
}

fn print_end(score: i32, ended: bool) {
    if !ended {
        host::print(&["cut"]);
    }
    host::print(&["score", Decimal::new(score.unsigned_abs()).text()]);
}

/// A text file.
fn read_prompt<'b>(path: &str, buffer: &'b mut [u8]) -> &'b str {
    let Ok(mut file) = host::open(path) else {
        fail("the text cannot be read");
    };
    let len = host::read_full(&mut file, buffer).unwrap_or(0);
    match buffer.get(..len).map(core::str::from_utf8) {
        Some(Ok(text)) if len < MAX_PROMPT => text,
        Some(Ok(_)) => fail("the text is longer than this program has room for"),
        _ => fail("the text is not UTF-8"),
    }
}

/// Features of a recording.
fn listen(model: Model<'_>, path: &str) -> &'static [i8] {
    let Some(audio) = model.audio() else {
        fail("the model does not listen: give it `text`");
    };
    let Ok(mut front_end) = FrontEnd::new(audio.hop as usize) else {
        fail("the model was made for another front end");
    };
    let Some((mut file, mut left)) = open_recording(path) else {
        fail("the WAV file cannot be read");
    };
    let features = FEATURES.take();
    let mut frames = features.chunks_exact_mut(MEL_BANDS);
    let (mut pcm, mut count) = ([0i16; PIECE], 0);
    while left > 0 {
        let piece = left.min(PIECE);
        let (pcm, _) = pcm.split_at_mut(piece);
        if !matches!(host::read_full(&mut file, pcm.as_mut_bytes()), Ok(len) if len == 2 * piece) {
            fail("the recording is shorter than its header says");
        }
        left -= piece;
        let mut full = false;
        region("front end", || {
            front_end.push(pcm, |frame| match frames.next() {
                Some(slot) => {
                    slot.copy_from_slice(frame);
                    count += 1;
                }
                None => full = true,
            });
            Ok(())
        });
        if full {
            fail("the recording is longer than this program has room for");
        }
    }
    features.get(..count * MEL_BANDS).unwrap_or_default()
}
