//! Test image for the emulated cores: runs any model on inputs from the computer and returns the results.
//!
//! Command lines:
//! - `features HOP IN OUT`: 16-bit PCM to int8 features;
//! - `run MODEL IN OUT`, `trace MODEL IN OUT`: runs entry point 0 once per input in IN (the bytes of all its inputs),
//!   without reset in between; writes the outputs, or every operator's outputs and the state; each run of `run` is a
//!   counted region;
//! - `decode MODEL IN OUT`: decodes each input in IN (the number of its elements and the elements, 16 bits each) and writes
//!   the output of `trace::decode`;
//! - `steps MODEL LENGTH IN TOKENS`: counts every operator of the encoder, on the bytes of one input of that length (0: of
//!   a model of fixed shape), and of the steps along a sequence of tokens (16 bits each);
//! - `parse FILE`: counts the parsing of a file, which need not be a model;
//! - `signed FILE KEY OLDEST`: the same for a signed model;
//! - `bench MODEL PCM WARM_UP`: counts instructions of the front end and of every operator for the hops of PCM after
//!   the first WARM_UP.
#![no_std]
#![no_main]

use attn_app::trace;
use attn_emulated::bench::region;
use attn_emulated::host;
use attn_runtime::audio::{FrontEnd, MEL_BANDS};
use attn_runtime::format::{DType, DecodeMeta};
use attn_runtime::{
    Aligned, Limits, Model, Operators, Progress, Session, SessionError, Trust, f16,
};
use core::fmt::Display;
use core::panic::PanicInfo;
use cortex_m_rt::entry;
use semihosting::fs::File;
use semihosting::io::{Read, Write};
use semihosting::{println, process};
use static_cell::ConstStaticCell;
use zerocopy::IntoBytes;

const MODEL_LEN: usize = 2 << 20;
const ARENA_LEN: usize = 512 << 10;
const BEAM_LEN: usize = 64 << 10;
/// Most elements of an input, and most tokens of a sequence.
const SEQUENCE_LEN: usize = 512;
const PIECE: usize = 4096;

static MODEL: ConstStaticCell<Aligned<[u8; MODEL_LEN]>> =
    ConstStaticCell::new(Aligned([0; MODEL_LEN]));
static BEAM: ConstStaticCell<Aligned<[u8; BEAM_LEN]>> =
    ConstStaticCell::new(Aligned([0; BEAM_LEN]));
static ARENA: ConstStaticCell<Aligned<[u8; ARENA_LEN]>> =
    ConstStaticCell::new(Aligned([0; ARENA_LEN]));

/// Prints the error and ends the program with status 1.
fn fail(what: &str, why: impl Display) -> ! {
    println!("error: {what}: {why}");
    process::exit(1)
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    fail("panic", info)
}

#[entry]
fn main() -> ! {
    let args = host::command_line().unwrap_or_else(|error| fail("command line", error));
    let mut args = (&args).into_iter().map(|arg| arg.unwrap_or(""));
    let mut next = || {
        args.next()
            .unwrap_or_else(|| fail("command line", "too short"))
    };
    match next() {
        "features" => features(number(next()), next(), next()),
        "run" => run(next(), next(), next(), false),
        "trace" => run(next(), next(), next(), true),
        "decode" => decode(next(), next(), next()),
        "steps" => steps(next(), number(next()), next(), next()),
        "bench" => bench(next(), next(), number(next())),
        "parse" => parse(next()),
        "signed" => signed(next(), next(), number(next()) as u32),
        other => fail(other, "no such mode"),
    }
    process::exit(0)
}

fn number(text: &str) -> usize {
    text.parse().unwrap_or_else(|error| fail(text, error))
}

fn load(path: &str) -> Session<'static, 'static> {
    let file = read_all(path, &mut MODEL.take().0);
    let model = Model::parse(file).unwrap_or_else(|error| fail(path, error));
    Session::new(model, &mut ARENA.take().0).unwrap_or_else(|error| fail(path, error))
}

/// Parses a file, whether it is a model or not, and prints which.
fn parse(path: &str) {
    let file = read_all(path, &mut MODEL.take().0);
    match region("parse", || Model::parse(file)) {
        Ok(_) => println!("parsed"),
        Err(error) => println!("refused: {}", error),
    }
}

/// Parses a file that must be signed with a key as the model `tiny`, of a version or a newer one, and prints whether it is.
fn signed(path: &str, key: &str, oldest: u32) {
    let file = read_all(path, &mut MODEL.take().0);
    let mut public = [0; 32];
    read_all(key, &mut public);
    let trust = Trust {
        key: &public,
        model: *b"tiny\0\0\0\0\0\0\0\0\0\0\0\0",
        oldest,
    };
    let limits = Limits::default();
    match region("signed", || {
        Model::parse_signed(file, &trust, Operators::all(), &limits)
    }) {
        Ok(_) => println!("parsed"),
        Err(error) => println!("refused: {}", error),
    }
}

fn open(path: &str) -> File {
    host::open(path).unwrap_or_else(|error| fail(path, error))
}

fn create(path: &str) -> File {
    host::create(path).unwrap_or_else(|error| fail(path, error))
}

/// Reads a whole file into the start of `buffer` and returns that part.
fn read_all<'b>(path: &str, buffer: &'b mut [u8]) -> &'b [u8] {
    let mut file = open(path);
    let len = host::read_full(&mut file, buffer).unwrap_or_else(|error| fail(path, error));
    if matches!(file.read(&mut [0]), Ok(1)) {
        fail(path, "longer than this program's buffer");
    }
    &buffer[..len]
}

/// Ends the program after an error of the session.
fn stop<T>(error: SessionError) -> T {
    fail("session", error)
}

fn write(file: &mut File, bytes: &[u8]) {
    if let Err(error) = file.write_all(bytes) {
        fail("output", error);
    }
}

/// Reads the samples of a file of raw 16-bit PCM, piece by piece.
fn for_each_piece(path: &str, mut each: impl FnMut(&[i16])) {
    let mut file = open(path);
    let mut pcm = [0i16; PIECE / 2];
    loop {
        match host::read_full(&mut file, pcm.as_mut_bytes()) {
            Ok(0) => break,
            Ok(len) => each(&pcm[..len / 2]),
            Err(error) => fail(path, error),
        }
    }
}

fn features(hop: usize, from: &str, to: &str) {
    let mut front_end = FrontEnd::new(hop).unwrap_or_else(|error| fail("hop", error));
    let mut file = create(to);
    for_each_piece(from, |pcm| {
        front_end.push(pcm, |features| write(&mut file, features.as_bytes()));
    });
}

fn run(model: &str, from: &str, to: &str, traced: bool) {
    let mut session = load(model);
    let (mut inputs, mut outputs) = (open(from), create(to));
    while fill_inputs(&mut session, &mut inputs) {
        if traced {
            trace::run(&mut session, 0, |_, bytes| write(&mut outputs, bytes)).unwrap_or_else(stop);
            continue;
        }
        region("run", || session.run(0)).unwrap_or_else(stop);
        let ids = session.model().entries().iter().take(1);
        for id in ids.flat_map(|entry| entry.outputs()) {
            write(&mut outputs, session.tensor_bytes(id).unwrap_or(&[]));
        }
    }
}

/// Fills the inputs of entry point 0; false at the end of the file.
fn fill_inputs(session: &mut Session<'_, '_>, file: &mut File) -> bool {
    let count = session
        .model()
        .entries()
        .first()
        .map_or(0, |entry| entry.inputs().count());
    for index in 0..count {
        if !fill_input(session, 0, index, file) {
            if index == 0 {
                return false;
            }
            fail("input", "the file ends between two inputs of a run");
        }
    }
    count > 0
}

/// Fills one input; false at the end of the file.
fn fill_input(session: &mut Session<'_, '_>, entry: usize, index: usize, file: &mut File) -> bool {
    let record = session.input_record(entry, index).unwrap_or_else(stop);
    let bytes = match record.dtype() {
        DType::I8 => session
            .input::<i8>(entry, index)
            .map(IntoBytes::as_mut_bytes),
        DType::I16 => session
            .input::<i16>(entry, index)
            .map(IntoBytes::as_mut_bytes),
        DType::F16 => session
            .input::<f16>(entry, index)
            .map(IntoBytes::as_mut_bytes),
        DType::I32 => session
            .input::<i32>(entry, index)
            .map(IntoBytes::as_mut_bytes),
    }
    .unwrap_or_else(stop);
    let wanted = bytes.len();
    match host::read_full(file, bytes) {
        Ok(0) => false,
        Ok(len) if len == wanted => true,
        Ok(_) => fail("input", "the file ends within an input"),
        Err(error) => fail("input", error),
    }
}

fn bench(model: &str, pcm: &str, warm_up: usize) {
    let mut session = load(model);
    let Some(audio) = session.model().audio() else {
        fail(model, "not a model of audio");
    };
    let hop = audio.hop as usize;
    let mut front_end = FrontEnd::new(hop).unwrap_or_else(|error| fail("hop", error));
    let mut hops = 0;
    let mut file = open(pcm);
    let mut samples = [0i16; 512];
    loop {
        let piece = &mut samples[..front_end.samples_to_next_frame()];
        let wanted = 2 * piece.len();
        match host::read_full(&mut file, piece.as_mut_bytes()) {
            Ok(len) if len == wanted => {}
            Ok(_) => break,
            Err(error) => fail(pcm, error),
        }
        let measured = hops >= warm_up;
        let frame = if measured {
            region("front end", || front_end.push_frame(piece))
        } else {
            front_end.push_frame(piece)
        };
        let Some((features, _)) = frame else { continue };
        step(&mut session, &features, measured);
        hops += 1;
    }
}

fn step(session: &mut Session<'_, '_>, features: &[i8; MEL_BANDS], measured: bool) {
    session
        .input::<i8>(0, 0)
        .unwrap_or_else(stop)
        .copy_from_slice(features);
    if !measured {
        return session.run(0).unwrap_or_else(stop);
    }
    run_ops(session, 0, "");
}

/// Runs an entry point with one region for each operator.
fn run_ops(session: &mut Session<'_, '_>, entry: usize, before: &str) {
    let model = session.model();
    session.start(entry).unwrap_or_else(stop);
    let ops = model.entries().get(entry).map(|entry| entry.ops());
    for op in ops
        .into_iter()
        .flatten()
        .filter_map(|id| model.ops().get(id))
    {
        let kind = op.kind().map_or("?", |kind| kind.name());
        let name = model.name(op.name);
        let progress = region(format_args!("{before}{kind} {name}"), || session.run_ops(1));
        if progress.unwrap_or_else(stop) == Progress::Done {
            break;
        }
    }
}

fn decode(model: &str, from: &str, to: &str) {
    let mut session = load(model);
    let memory = &mut BEAM.take().0;
    let (mut inputs, mut outputs) = (open(from), create(to));
    let mut elements = [0u16; SEQUENCE_LEN];
    loop {
        let mut count = 0u16;
        match host::read_full(&mut inputs, count.as_mut_bytes()) {
            Ok(0) => break,
            Ok(_) => {}
            Err(error) => fail(from, error),
        }
        let Some(elements) = elements.get_mut(..count.into()) else {
            fail(from, "longer than this program's buffer");
        };
        if let Err(error) = host::read_full(&mut inputs, elements.as_mut_bytes()) {
            fail(from, error);
        }
        let write = |bytes: &[u8]| write(&mut outputs, bytes);
        trace::decode(&mut session, memory, elements, write)
            .unwrap_or_else(|error| fail("decode", error));
    }
}

fn steps(model: &str, length: usize, input: &str, tokens: &str) {
    let mut session = load(model);
    let Some(meta) = session.model().decode() else {
        fail(model, "not a model that decodes");
    };
    if length > 0 {
        session.set_length(length).unwrap_or_else(stop);
    }
    if let Some(encode) = DecodeMeta::optional(meta.encode) {
        fill_input(&mut session, encode, meta.input as usize, &mut open(input));
        run_ops(&mut session, encode, "encode ");
    }
    let mut buffer = [0u16; SEQUENCE_LEN];
    let len = host::read_full(&mut open(tokens), buffer.as_mut_bytes())
        .unwrap_or_else(|error| fail(tokens, error));
    let (step, index) = (meta.step as usize, meta.token as usize);
    for &token in &buffer[..len / 2] {
        let slots = session.input::<i32>(step, index).unwrap_or_else(stop);
        slots.fill(token.into());
        run_ops(&mut session, step, "step ");
    }
}
