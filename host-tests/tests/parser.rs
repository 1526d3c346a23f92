//! Any bytes at all give a model or a typed error; whatever parses also runs. Never a panic, a hang, or a byte out
//! of bounds (all slices are checked, so those would be panics).

#[path = "parser/decode.rs"]
mod decode;
#[path = "parser/growth.rs"]
mod growth;
#[path = "parser/hostile.rs"]
mod hostile;
#[path = "parser/padding.rs"]
mod padding;

use attn_converter::calibrate::RangeMethod;
use attn_converter::lower::Form;
use attn_converter::pipeline::Mixed;
use attn_converter::quantize::Precision;
use attn_lab::aligned::AlignedBytes;
use attn_runtime::format::{DType, Encoding, OpKind, OpRecord, Storage, TensorRecord, checksum};
use attn_runtime::ops::OpError;
use attn_runtime::{Limited, Model, ModelError, Session, SessionError, TensorError, f16};
use attn_test_support::folder::{CALIBRATION, ONNX};
use attn_test_support::running::with_file;
use attn_test_support::systems::{convert_model, options};
use attn_test_support::tiny_model::{Builder, C, Int, sealed, tiny_model};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

const ENCODINGS: [Encoding; 3] = [Encoding::Int8, Encoding::Half, Encoding::Joined];

/// The tiny model in integers.
fn integers() -> Vec<u8> {
    tiny_model(Encoding::Int8)
}

/// Where the header says that a section is: tensors, ops, entries, meta, params, weights, strings.
fn section(file: &[u8], index: usize) -> usize {
    let at = 24 + 8 * index;
    u32::from_le_bytes(file[at..at + 4].try_into().unwrap()) as usize
}

fn parse_error(file: &[u8]) -> ModelError {
    let file = AlignedBytes::new(file);
    let parsed = Model::parse(file.as_slice()).map(drop);
    parsed.expect_err("the file is refused")
}

/// Seals `file`, parses it, and if it is a model runs every entry point twice on changing inputs.
fn parse_and_run(file: Vec<u8>) -> Result<(), ModelError> {
    let file = AlignedBytes::new(&sealed(file));
    let model = Model::parse(file.as_slice())?;
    for tensor in model.tensors() {
        model.name(tensor.name);
    }
    std::hint::black_box((model.labels().count(), model.audio(), model.spotter()));
    std::hint::black_box((model.symbols().count(), model.tokens().count()));
    std::hint::black_box((model.decode(), model.separator()));
    let mut arena = AlignedBytes::zeroed(model.arena_len());
    let mut session =
        Session::new(model, arena.as_mut_slice()).expect("the arena is as large as asked for");
    let mut fill = 0u8;
    for run in 0..2 {
        if run == 1 && model.max_length() > 0 {
            session
                .set_length(1)
                .expect("every sequence has a length from 1 on");
        }
        for entry in 0..model.entries().len() {
            for (index, id) in model.entries()[entry].inputs().enumerate() {
                let mut next = || {
                    fill = fill.wrapping_mul(29).wrapping_add(101);
                    fill as i8
                };
                let dtype = model.tensor(id).unwrap().dtype();
                let filled = match dtype {
                    DType::I8 => session.input(entry, index).map(|x| x.fill_with(next)),
                    DType::I16 => session
                        .input(entry, index)
                        .map(|x| x.fill_with(|| i16::from(next()) << 8)),
                    DType::F16 => session
                        .input(entry, index)
                        .map(|x| x.fill_with(|| f16::from_bits((next() as u16) << 8 | 0x55))),
                    DType::I32 => session
                        .input(entry, index)
                        .map(|x| x.fill_with(|| i32::from(next()) << 24)),
                };
                filled.expect("an input of the stated type");
            }
            session.run(entry).expect("an accepted model runs");
        }
        if run == 0 {
            session.reset();
        }
    }
    Ok(())
}

#[test]
fn a_shorter_sequence_has_fewer_rows_and_the_same_ones() {
    with_file(&integers(), |session| {
        let words = session.model().entry("words").unwrap();
        let mut run = |length: usize, tokens: &[i32]| {
            session.set_length(length).unwrap();
            session.input(words, 0).unwrap().copy_from_slice(tokens);
            session.run(words).unwrap();
            session.output::<i16>(words, 0).unwrap().to_vec()
        };
        let all = run(4, &[2, 0, 1, 2]);
        assert_eq!(all.len(), 4 * C);
        assert_eq!(run(2, &[2, 0]), all[..2 * C]);
        let long = SessionError::LengthOutOfRange { length: 5, max: 4 };
        assert_eq!(session.set_length(5), Err(long));
        assert!(session.set_length(0).is_err());
    });
}

#[test]
fn the_tiny_models_have_every_operator_and_run() {
    for encoding in ENCODINGS {
        let file = tiny_model(encoding);
        with_file(&file, |session| {
            let model = session.model();
            for op in model.ops() {
                let x = op.inputs().next().and_then(|id| model.tensor(id));
                let narrow = x.is_some_and(|x| x.dtype() == DType::I8);
                let joins = op.kind().is_some_and(OpKind::joins) && narrow;
                let expected = match encoding {
                    Encoding::Joined if !joins => Encoding::Int8,
                    encoding => encoding,
                };
                assert_eq!(op.encoding, expected as u16);
            }
            for kind in OpKind::ALL {
                let of_kind = |op: &&OpRecord| op.kind() == Some(*kind);
                let all: Vec<&OpRecord> = model.ops().iter().filter(of_kind).collect();
                assert!(!all.is_empty(), "{kind:?} is missing");
                let joined = all.iter().any(|op| op.encoding == Encoding::Joined as u16);
                let wanted = encoding == Encoding::Joined && kind.joins();
                assert_eq!(joined, wanted, "{kind:?}");
            }
            assert!(model.labels().eq(["yes", "no", "noise", "unknown"]));
        });
        parse_and_run(file).unwrap();
    }
}

#[test]
fn every_truncation_is_an_error() {
    let file = integers();
    for len in 0..file.len() {
        let error = parse_error(&file[..len]);
        assert!(
            matches!(
                error,
                ModelError::TooShort { .. } | ModelError::WrongLength { .. }
            ),
            "{len}: {error}"
        );
        // As a truncated file with a checksum of its own.
        if len >= 16 {
            assert!(
                parse_and_run(file[..len].to_vec()).is_err(),
                "{len} bytes pass"
            );
        }
    }
}

#[test]
fn every_single_bit_flip_is_an_error() {
    let mut file = integers();
    for bit in 0..8 * file.len() {
        file[bit / 8] ^= 1 << (bit % 8);
        parse_error(&file);
        file[bit / 8] ^= 1 << (bit % 8);
    }
}

#[test]
fn no_single_bit_flip_with_a_new_checksum_does_harm() {
    for file in ENCODINGS.map(tiny_model) {
        let mut accepted = 0;
        for bit in 128..8 * file.len() {
            let mut flipped = file.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            accepted += usize::from(parse_and_run(flipped).is_ok());
        }
        // Weights and names can be anything, so many pass; structure cannot, so many do not.
        let some = file.len()..7 * file.len();
        assert!(some.contains(&accepted), "{accepted} accepted");
    }
}

/// A value that numbers in a file turn bad with.
fn nasty(file: &[u8]) -> impl Strategy<Value = u32> + use<> {
    let sections: Vec<u32> = (0..7).map(|i| section(file, i) as u32).collect();
    prop_oneof![
        0u32..70,
        any::<u32>(),
        (0u32..32).prop_map(|shift| 1 << shift),
        (0u32..16).prop_map(|less| u32::MAX - less),
        (0u32..16).prop_map(|less| 0x8000_0000 - less),
        prop::sample::select(sections),
        Just(file.len() as u32),
    ]
}

/// Places, widths in bytes and values; places wrap around in the records, for weights are most of a file and prove little.
type Changes = Vec<(usize, usize, u32)>;

fn changes(file: &[u8]) -> impl Strategy<Value = Changes> + use<> {
    prop::collection::vec((0usize..1 << 16, 1usize..5, nasty(file)), 1..5)
}

fn changed(mut file: Vec<u8>, changes: Changes) -> Vec<u8> {
    let records = section(&file, 5);
    for (at, width, value) in changes {
        let at = 16 + at % (records - 20);
        file[at / width * width..][..width].copy_from_slice(&value.to_le_bytes()[..width]);
    }
    file
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_replaced_numbers_do_harm(
        (file, changes) in prop::sample::select(&ENCODINGS[..]).prop_map(tiny_model).prop_flat_map(|file| {
            let changes = changes(&file);
            (Just(file), changes)
        })
    ) {
        let _ = parse_and_run(changed(file, changes));
    }

    #[test]
    fn no_random_bytes_do_harm(mut bytes in prop::collection::vec(any::<u8>(), 0..400), header in any::<bool>()) {
        if header && bytes.len() >= 16 {
            bytes[..8].copy_from_slice(&integers()[..8]);
            let _ = parse_and_run(bytes);
        } else {
            parse_error(&bytes);
        }
    }
}

/// A streamed keyword spotter as the converter writes it.
fn converted() -> Vec<u8> {
    let mut options = options(Precision::Int8, Form::Stream);
    (options.range, options.mixed) = (RangeMethod::MinMax, Mixed::None);
    let conversion = convert_model(ONNX, CALIBRATION, &options);
    conversion
        .expect("the fixture converts")
        .file
        .bytes()
        .to_vec()
}

#[test]
fn no_replaced_numbers_in_a_converted_file_do_harm() {
    let file = converted();
    let mut runner = TestRunner::deterministic();
    let changes = changes(&file);
    let mut refused = 0;
    for _ in 0..1500 {
        let changes = changes.new_tree(&mut runner).unwrap().current();
        refused += usize::from(parse_and_run(changed(file.clone(), changes)).is_err());
    }
    assert!(refused > 700, "{refused} refused");
    for len in (16..file.len()).step_by(997) {
        assert!(
            parse_and_run(file[..len].to_vec()).is_err(),
            "{len} bytes pass"
        );
    }
}

/// What is put where, and the error that comes of it.
type Damage<'d> = (usize, &'d [u8], ModelError);

fn bad_op(op: u16, reason: OpError) -> ModelError {
    ModelError::BadOp { op, reason }
}

fn bad_tensor(reason: TensorError) -> ModelError {
    ModelError::BadTensor { tensor: 0, reason }
}

fn check_damages(file: &[u8], damages: &[Damage]) {
    for (at, bytes, error) in damages {
        let mut file = file.to_vec();
        file[*at..at + bytes.len()].copy_from_slice(bytes);
        assert_eq!(parse_error(&sealed(file)), *error, "{bytes:?} at {at}");
    }
}

#[test]
fn each_broken_rule_has_its_error() {
    use ModelError::*;
    use OpError::*;
    use TensorError::*;
    for encoding in ENCODINGS {
        let file = tiny_model(encoding);
        let [tensors, ops, entries, meta] = [0, 1, 2, 3].map(|i| section(&file, i));
        let word = u32::to_le_bytes;
        let other = u8::from(encoding != Encoding::Half);
        let (what, offset) = (Limited::ArenaBytes, tensors as u32);
        let [found, limit] = [1 << 29, 1 << 28];
        check_damages(
            &file,
            &[
                (0, b"a", BadMagic),
                (4, &[3], UnsupportedVersion { found: 3 }),
                (6, &[1], UnknownFlags { found: 1 }),
                (16, &word(1 << 29), TooMany { what, found, limit }),
                (24, &word(8), BadSection { offset: 8 }),
                (28, &word(u32::MAX), BadSection { offset }),
                (tensors, &[9], bad_tensor(UnknownCode)),
                (tensors + 2, &[0], bad_tensor(BadShape)),
                (tensors + 3, &[1], bad_tensor(BadRowRule)),
                (tensors + 28, &word(2), bad_tensor(OutOfArena)),
                (
                    tensors + 32,
                    &f32::NAN.to_le_bytes(),
                    bad_tensor(BadQuantization),
                ),
                (tensors + 36, &word(200), bad_tensor(BadQuantization)),
                (tensors + 40, &word(0x10000), BadString { offset: 0x10000 }),
                (ops, &[99], bad_op(0, UnknownKind)),
                (ops + 2, &[200], bad_op(0, MissingTensor)),
                (ops + 18, &[9], bad_op(0, UnknownEncoding)),
                (ops + 18, &[other], bad_op(0, WrongEncoding)),
                // It has no weights that could be joined.
                (ops + 18, &[2], bad_op(0, WrongEncoding)),
                (ops + 24, &word(u32::MAX - 3), bad_op(0, BadParams)),
                (entries + 8, &word(0), BadEntry { entry: 0 }),
                (entries + 8, &word(1000), BadEntry { entry: 0 }),
                (entries + 108 + 4, &word(0), BadEntry { entry: 1 }),
                (meta + 8, &word(12), BadMeta { record: 0 }),
                // The first operator reads what the caller fills in; without inputs of the entry no one does.
                (entries + 12, &[0xff; 2], StaleRead { op: 0, tensor: 8 }),
            ],
        );
        assert_eq!(parse_error(&file[..79]), TooShort { len: 79 });
        let aligned = AlignedBytes::new(&[&[0; 4], &file[..]].concat());
        let shifted = Model::parse(&aligned.as_slice()[4..]);
        assert_eq!(shifted.unwrap_err(), Misaligned);
        let (stated, actual) = (file.len() as u32, file.len() + 1);
        let appended = [&file[..], &[0]].concat();
        assert_eq!(parse_error(&appended), WrongLength { stated, actual });
        let mut damaged = file.clone();
        damaged[100] ^= 1;
        let (stated, actual) = (checksum(&file), checksum(&damaged));
        assert_eq!(parse_error(&damaged), BadChecksum { stated, actual });
    }
}

#[test]
fn rules_of_half_precision_have_their_errors() {
    let file = tiny_model(Encoding::Half);
    let [tensors, ops, params] = [0, 1, 4].map(|i| section(&file, i));
    // Operator 1 is Conv1d; behind the offsets of weights and bias its parameters have limits.
    let conv = params + u32::from_le_bytes(file[ops + 32 + 24..][..4].try_into().unwrap()) as usize;
    for limit in [f32::NAN, f32::NEG_INFINITY, -65505.0, 7e4] {
        let refused = bad_op(1, OpError::BadParams);
        check_damages(&file, &[(conv + 8, &limit.to_le_bytes(), refused)]);
    }
    let scale = tensors + core::mem::offset_of!(TensorRecord, scale);
    let unscaled = bad_tensor(TensorError::BadQuantization);
    let linear = (OpKind::Linear as u16).to_le_bytes();
    check_damages(
        &file,
        &[
            (scale, &0.5f32.to_le_bytes(), unscaled),
            // A half among integers, and an integer among halves.
            (tensors, &[DType::I16 as u8], bad_op(0, OpError::WrongType)),
            // The three rows of a history are not the one of a result.
            (ops + 32, &linear, bad_op(1, OpError::WrongShape)),
        ],
    );
}

#[test]
fn rules_of_joined_weights_have_their_errors() {
    let file = tiny_model(Encoding::Joined);
    let [ops, params, weights] = [1, 4, 5].map(|i| section(&file, i));
    let get = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().unwrap());
    // Operator 1 is Conv1d: offsets of weights, biases and multipliers, then the left shift.
    let conv = params + get(ops + 32 + 24) as usize;
    let bias = weights + get(conv + 4) as usize;
    let overflow = bad_op(1, OpError::MayOverflow);
    check_damages(
        &file,
        &[
            (
                conv + 12,
                &8u32.to_le_bytes(),
                bad_op(1, OpError::BadParams),
            ),
            (bias, &i32::MAX.to_le_bytes(), overflow),
            (bias, &i32::MIN.to_le_bytes(), overflow),
        ],
    );
    let mut packed = file.clone();
    packed[ops + 32 + 18] = Encoding::Int8 as u8;
    assert!(parse_and_run(packed).is_ok());
}

#[test]
fn an_arena_that_is_too_small_or_misaligned_is_refused() {
    let file = AlignedBytes::new(&integers());
    let model = Model::parse(file.as_slice()).unwrap();
    let needed = model.arena_len();
    let mut arena = AlignedBytes::zeroed(needed + 16);
    let mut refused = |range: core::ops::Range<usize>| {
        let session = Session::new(model, &mut arena.as_mut_slice()[range]);
        session.map(drop).unwrap_err()
    };
    let given = needed - 1;
    let small = SessionError::ArenaTooSmall { needed, given };
    assert_eq!(refused(0..given), small);
    assert_eq!(refused(4..needed + 4), SessionError::ArenaMisaligned);
}

/// `count` operators that all read the entry points' input, so that looking for its writer goes back to the start.
fn long_model(count: usize, entries: usize) -> Vec<u8> {
    let mut builder = Builder::new();
    let x = builder.tensor(Storage::Arena, DType::I8, 1, 4);
    let y = builder.tensor(Storage::Arena, DType::I16, 1, 4);
    for _ in 0..count {
        builder.op(OpKind::Softmax, &[x], &[y], 0, &[Int(1)]);
    }
    for _ in 0..entries {
        builder.entry("run", 0, &[x], &[y]);
    }
    builder.file()
}

#[test]
fn parsing_takes_bounded_work() {
    parse_and_run(long_model(2048, 1)).unwrap();
    let too_many = ModelError::TooMany {
        what: Limited::Ops,
        found: 60_000,
        limit: 2048,
    };
    assert_eq!(parse_error(&long_model(60_000, 1)), too_many);

    // As many entry points as there is room for, all over the same operators.
    let twice = ModelError::BadEntry { entry: 1 };
    assert_eq!(parse_error(&long_model(2048, 60_000)), twice);

    // State that many tensors share is reset once for each of them.
    let mut builder = Builder::new();
    let state = builder.tensor(Storage::State, DType::I8, 1000, 1000);
    let record = builder.tensors[usize::from(state)];
    builder.tensors.extend(std::iter::repeat_n(record, 60_000));
    let what = Limited::StateBytes;
    let error = parse_error(&builder.file());
    assert!(matches!(error, ModelError::TooMany { what: found, .. } if found == what));

    // Names are checked for each record that points to them.
    let mut builder = Builder::new();
    builder.tensor(Storage::Arena, DType::I8, 1, 4);
    let offset = builder.name(&"x".repeat(1025));
    builder.tensors[0].name = offset;
    let refused = ModelError::BadString { offset };
    assert_eq!(parse_error(&builder.file()), refused);
}

#[test]
fn scratch_does_not_shrink_with_the_sequence() {
    let mut builder = Builder::new();
    let [x, y] = [(); 2].map(|_| builder.tensor(Storage::Arena, DType::I8, 1, C));
    builder.linear(x, y, C);
    builder.entry("run", 0, &[x], &[y]);
    builder.length(4);
    let scratch = builder.tensor(Storage::Arena, DType::I16, 4, C);
    builder.vary(&[scratch]);
    builder.ops[0].scratch = scratch;
    let refused = bad_op(0, OpError::ScratchTooSmall);
    assert_eq!(parse_error(&builder.file()), refused);
}
