//! The runtime as the target: parses a file and, if it is a model, does everything that a user does with one, twice, in memory filled
//! with different bytes. A panic, an error of an accepted model or a result that depends on those bytes is a find.

use attn_runtime::format::{DType, OpKind};
use attn_runtime::kws::KeywordSpotter;
use attn_runtime::seq2seq::{Beam, Greedy};
use attn_runtime::{Limits, Model, Operators, Progress, Session, f16};
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::memory::Exact;
use crate::random::Random;

/// Most arena of a model that is run.
const ARENA: usize = 1 << 16;
/// Most multiply-accumulates and bytes of a run.
const WORK: u64 = 1 << 22;

/// What became of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Refused, with the error's text.
    Refused(String),
    /// Accepted and run; the kinds of its operators.
    Ran(Vec<OpKind>),
    /// Something that must not happen.
    Find(String),
}

/// Parses and runs `file`, with inputs that `seed` determines.
pub fn check(file: &[u8], seed: u64) -> Outcome {
    let outcome = catch_unwind(AssertUnwindSafe(|| try_file(file, seed)));
    outcome.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        Outcome::Find(format!("panic: {}", text.unwrap_or("?")))
    })
}

fn try_file(file: &[u8], seed: u64) -> Outcome {
    let file = Exact::new(file);
    let mut limits = Limits::default();
    (limits.macs, limits.bytes, limits.arena) = (WORK, WORK, ARENA);
    let model = match Model::parse_with(file.as_slice(), Operators::all(), &limits) {
        Ok(model) => model,
        Err(error) => return Outcome::Refused(error.to_string()),
    };
    names(model);
    let [one, other] = [0x00, 0xa5].map(|fill| drive(model, fill, seed));
    if one != other {
        return Outcome::Find("the result depends on what was in memory before".into());
    }
    Outcome::Ran(model.ops().iter().filter_map(|op| op.kind()).collect())
}

/// Everything that names something.
fn names(model: Model) {
    let records = model.tensors().iter().map(|tensor| tensor.name);
    let records = records.chain(model.ops().iter().map(|op| op.name));
    let len: usize = records.map(|name| model.name(name).len()).sum();
    let lists = [
        model.labels().count(),
        model.symbols().count(),
        model.tokens().count(),
    ];
    std::hint::black_box((
        len,
        lists,
        model.audio(),
        model.spotter(),
        model.separator(),
    ));
    std::hint::black_box((model.token_name(3), model.entry("run"), model.work(0)));
}

/// All that a user does with a model; the results.
fn drive(model: Model, fill: u8, seed: u64) -> Vec<u8> {
    let mut random = Random(seed);
    let mut log = Vec::new();
    let mut arena = Exact::filled(model.arena_len(), fill);
    let mut session = Session::new(model, arena.as_mut_slice()).expect("an arena as asked for");
    for round in 0..3 {
        if round > 0 && model.max_length() > 0 {
            let length = [1, 1 + random.below(model.max_length())][round - 1];
            session.set_length(length).expect("a length in range");
        }
        for entry in 0..model.entries().len() {
            fill_inputs(&mut session, entry, &mut random);
            if round == 1 {
                session.start(entry).expect("an entry point");
                while session.run_ops(1).expect("a run in slices") == Progress::More {}
            } else {
                session.run(entry).expect("a run");
            }
            outputs(&session, entry, &mut log);
        }
        if round == 1 {
            session.reset();
        }
    }
    decode(&mut session, &mut random, &mut log);
    arena.as_mut_slice().fill(fill);
    spot(model, arena.as_mut_slice(), &mut random, &mut log);
    log
}

/// Fills inputs with numbers of one of five kinds: any, the limits, zeros.
fn fill_inputs(session: &mut Session, entry: usize, random: &mut Random) {
    let model = session.model();
    for (index, id) in model.entries()[entry].inputs().enumerate() {
        let kind = random.below(5);
        let mut next = || match kind {
            0 | 1 => random.number() as i32,
            2 => i32::MAX,
            3 => i32::MIN,
            _ => 0,
        };
        let dtype = model.tensor(id).map(|tensor| tensor.dtype());
        match dtype.expect("a tensor") {
            DType::I8 => input::<i8>(session, entry, index, || (next() >> 24) as i8),
            DType::I16 => input::<i16>(session, entry, index, || (next() >> 16) as i16),
            DType::I32 => input::<i32>(session, entry, index, || next() >> 28),
            DType::F16 => {
                input::<f16>(session, entry, index, || {
                    f16::from_bits((next() >> 16) as u16)
                });
            }
        }
    }
}

fn input<T: attn_runtime::Element>(
    session: &mut Session,
    entry: usize,
    index: usize,
    next: impl FnMut() -> T,
) {
    let input = session.input::<T>(entry, index);
    input.expect("an input of its type").fill_with(next);
}

fn outputs(session: &Session, entry: usize, log: &mut Vec<u8>) {
    for id in session.model().entries()[entry].outputs() {
        log.extend(session.tensor_bytes(id).expect("an output"));
    }
}

/// Greedy decoding, then a beam.
fn decode(session: &mut Session, random: &mut Random, log: &mut Vec<u8>) {
    let model = session.model();
    let Some(meta) = model.decode() else { return };
    let speaks = meta.encode == attn_runtime::format::NONE;
    let text: String = model.symbols().take(4).collect();
    let count = 1 + random.below(model.max_length().clamp(1, 64));
    let known = model.symbols().len().max(1);
    let symbols: Vec<u16> = (0..count).map(|_| random.below(known) as u16).collect();
    let written = random.once_in(2);
    if let Ok(mut greedy) = Greedy::new(session) {
        let begun = match (speaks, written) {
            (true, _) => greedy.restart(),
            (false, true) => greedy.encode_text(&text),
            (false, false) => greedy.encode_symbols(&symbols),
        };
        if begun.is_ok() {
            while let Ok(Some(token)) = greedy.step() {
                log.extend(token.to_le_bytes());
                if log.len() > 1 << 16 {
                    break;
                }
            }
        }
    }
    session.reset();
    let Some(len) = Beam::<4>::memory_len(&model, 4)
        .ok()
        .filter(|len| *len <= ARENA)
    else {
        return;
    };
    let mut memory = Exact::filled(len, 0);
    if let Ok(mut beam) = Beam::<4>::new(session, memory.as_mut_slice()) {
        beam.set_length_normalization(*random.one_of(&[0.7, 0.0, f32::NAN]));
        let begun = match (speaks, written) {
            (true, _) => beam.restart(),
            (false, true) => beam.encode_text(&text),
            (false, false) => beam.encode_symbols(&symbols),
        };
        for _ in 0..12 {
            if begun.is_err() || !matches!(beam.step(), Ok(Progress::More)) {
                break;
            }
        }
        for found in beam.hypotheses() {
            log.extend(found.score.to_le_bytes());
            found
                .tokens
                .iter()
                .for_each(|token| log.extend(token.to_le_bytes()));
        }
    }
}

fn spot(model: Model, arena: &mut [u8], random: &mut Random, log: &mut Vec<u8>) {
    let Ok(mut spotter) = KeywordSpotter::new(model, arena) else {
        return;
    };
    let pcm: Vec<i16> = (0..1600).map(|_| random.number() as i16).collect();
    for piece in [&pcm[..], &[], &pcm[..1], &pcm[..700]] {
        let heard = spotter.push(piece, |event| log.extend(event.label_index.to_le_bytes()));
        heard.expect("a spotter that takes samples");
    }
    spotter.reset();
}
