//! Any bytes at all give a model or a typed error; whatever parses also runs. Never a panic, a hang, or a byte out
//! of bounds (all slices are checked, so those would be panics).

#[path = "parser/decode.rs"]
mod decode;
#[path = "parser/growth.rs"]
mod growth;
#[path = "parser/half.rs"]
mod half;
#[path = "parser/padding.rs"]
mod padding;

use attn_converter::calibrate::RangeMethod;
use attn_converter::lower::Form;
use attn_converter::pipeline::{Mixed, Options, Source, convert};
use attn_converter::progress::silent;
use attn_converter::quantize::Precision;
use attn_lab::aligned::AlignedBytes;
use attn_runtime::format::{DType, LengthMeta, MetaKey, OpKind, RowRule, Storage, checksum};
use attn_runtime::ops::OpError;
use attn_runtime::{Limited, Model, ModelError, Session, SessionError, TensorError, f16};
use attn_test_support::tiny_model::{Builder, C, sealed, tiny_model};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use std::path::Path;
use zerocopy::IntoBytes;

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
                let filled = match model.tensor(id).unwrap().dtype() {
                    DType::I8 => session.input(entry, index).map(|x| x.fill_with(&mut next)),
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
    let file = AlignedBytes::new(&tiny_model());
    let model = Model::parse(file.as_slice()).unwrap();
    let mut arena = AlignedBytes::zeroed(model.arena_len());
    let mut session = Session::new(model, arena.as_mut_slice()).unwrap();
    let words = model.entry("words").unwrap();
    let mut run = |length: usize, tokens: &[i32]| {
        session.set_length(length).unwrap();
        session.input(words, 0).unwrap().copy_from_slice(tokens);
        session.run(words).unwrap();
        session.output::<i16>(words, 0).unwrap().to_vec()
    };
    let all = run(4, &[2, 0, 1, 2]);
    assert_eq!(all.len(), 4 * C);
    assert_eq!(run(2, &[2, 0]), all[..2 * C]);
    assert_eq!(
        session.set_length(5),
        Err(SessionError::LengthOutOfRange { length: 5, max: 4 })
    );
    assert!(session.set_length(0).is_err());
}

#[test]
fn the_tiny_model_has_every_operator_and_runs() {
    let file = tiny_model();
    let aligned = AlignedBytes::new(&file);
    let model = Model::parse(aligned.as_slice()).unwrap();
    for kind in OpKind::ALL {
        assert!(
            model.ops().iter().any(|op| op.kind() == Some(*kind)),
            "{kind:?} is missing"
        );
    }
    assert_eq!(
        model.labels().collect::<Vec<_>>(),
        ["yes", "no", "noise", "unknown"]
    );
    parse_and_run(file).unwrap();
}

#[test]
fn every_truncation_is_an_error() {
    let file = tiny_model();
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
    let mut file = tiny_model();
    for bit in 0..8 * file.len() {
        file[bit / 8] ^= 1 << (bit % 8);
        parse_error(&file);
        file[bit / 8] ^= 1 << (bit % 8);
    }
}

#[test]
fn no_single_bit_flip_with_a_new_checksum_does_harm() {
    let file = tiny_model();
    let mut accepted = 0;
    for bit in 128..8 * file.len() {
        let mut flipped = file.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        accepted += usize::from(parse_and_run(flipped).is_ok());
    }
    // Weights and names can be anything, so many pass; structure cannot, so many do not.
    assert!(
        accepted > file.len() && accepted < 7 * file.len(),
        "{accepted} accepted"
    );
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

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_replaced_numbers_do_harm(
        changes in prop::collection::vec((16usize..4096, 1usize..5, nasty(&tiny_model())), 1..5)
    ) {
        let mut file = tiny_model();
        // Mostly the records; the weights are most of the file and prove little.
        let records = section(&file, 5);
        for (at, width, value) in changes {
            let at = 16 + (at - 16) % (records - 20);
            file[at / width * width..][..width].copy_from_slice(&value.to_le_bytes()[..width]);
        }
        let _ = parse_and_run(file);
    }

    #[test]
    fn no_random_bytes_do_harm(mut bytes in prop::collection::vec(any::<u8>(), 0..400), header in any::<bool>()) {
        if header && bytes.len() >= 16 {
            bytes[..8].copy_from_slice(&tiny_model()[..8]);
            let _ = parse_and_run(bytes);
        } else {
            parse_error(&bytes);
        }
    }
}

/// A streamed keyword spotter as the converter writes it.
fn converted() -> Vec<u8> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let options = Options {
        form: Form::Stream,
        precision: Precision::Int8,
        range: RangeMethod::MinMax,
        mixed: Mixed::None,
        ..Options::default()
    };
    let source = Source::Model {
        onnx: &root.join("fixtures/kws_random_dynamo.onnx"),
        calibration: &root.join("../models/kws_calibration.npz"),
    };
    let conversion = convert(source, &options, &silent);
    conversion
        .expect("the fixture converts")
        .file
        .bytes()
        .to_vec()
}

#[test]
fn no_replaced_numbers_in_a_converted_file_do_harm() {
    let file = converted();
    let records = section(&file, 5);
    let mut runner = TestRunner::deterministic();
    let change = (16..records - 4, 1usize..5, nasty(&file));
    let changes = prop::collection::vec(change, 1..4);
    let mut refused = 0;
    for _ in 0..1500 {
        let mut file = file.clone();
        for (at, width, value) in changes.new_tree(&mut runner).unwrap().current() {
            file[at / width * width..][..width].copy_from_slice(&value.to_le_bytes()[..width]);
        }
        refused += usize::from(parse_and_run(file).is_err());
    }
    assert!(refused > 700, "{refused} refused");
    for len in (16..file.len()).step_by(997) {
        assert!(
            parse_and_run(file[..len].to_vec()).is_err(),
            "{len} bytes pass"
        );
    }
}

#[test]
fn each_broken_rule_has_its_error() {
    let broken = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut file = tiny_model();
        change(&mut file);
        parse_error(&sealed(file))
    };
    let put = |at: usize, value: u32| {
        move |file: &mut Vec<u8>| file[at..at + 4].copy_from_slice(&value.to_le_bytes())
    };
    let file = tiny_model();
    let [tensors, ops, entries, meta] = [0, 1, 2, 3].map(|i| section(&file, i));
    let bad_tensor = |reason| ModelError::BadTensor { tensor: 0, reason };
    let bad_op = |op, reason| ModelError::BadOp { op, reason };

    assert_eq!(parse_error(&file[..79]), ModelError::TooShort { len: 79 });
    assert_eq!(broken(&|file| file[0] = b'a'), ModelError::BadMagic);
    assert_eq!(
        broken(&|file| file[4] = 3),
        ModelError::UnsupportedVersion { found: 3 }
    );
    assert_eq!(
        broken(&|file| file[6] = 1),
        ModelError::UnknownFlags { found: 1 }
    );
    assert_eq!(broken(&put(24, 8)), ModelError::BadSection { offset: 8 });
    assert_eq!(
        broken(&put(28, u32::MAX)),
        ModelError::BadSection {
            offset: tensors as u32
        }
    );
    assert_eq!(
        broken(&put(tensors + 40, 0x10000)),
        ModelError::BadString { offset: 0x10000 }
    );
    assert_eq!(
        broken(&|file| file[tensors] = 9),
        bad_tensor(TensorError::UnknownCode)
    );
    assert_eq!(
        broken(&|file| file[tensors + 2] = 0),
        bad_tensor(TensorError::BadShape)
    );
    assert_eq!(
        broken(&put(tensors + 28, 2)),
        bad_tensor(TensorError::OutOfArena)
    );
    assert_eq!(
        broken(&put(tensors + 32, f32::NAN.to_bits())),
        bad_tensor(TensorError::BadQuantization)
    );
    assert_eq!(
        broken(&put(tensors + 36, 200)),
        bad_tensor(TensorError::BadQuantization)
    );
    assert_eq!(
        broken(&|file| file[tensors + 3] = 1),
        bad_tensor(TensorError::BadRowRule)
    );
    assert_eq!(
        broken(&|file| file[ops] = 99),
        bad_op(0, OpError::UnknownKind)
    );
    assert_eq!(
        broken(&|file| file[ops + 2] = 200),
        bad_op(0, OpError::MissingTensor)
    );
    assert_eq!(
        broken(&|file| file[ops + 18] = 9),
        bad_op(0, OpError::UnknownEncoding)
    );
    assert_eq!(
        broken(&|file| file[ops + 18] = 1),
        bad_op(0, OpError::WrongEncoding)
    );
    assert_eq!(
        broken(&put(ops + 24, u32::MAX - 3)),
        bad_op(0, OpError::BadParams)
    );
    assert_eq!(
        broken(&put(entries + 8, 0)),
        ModelError::BadEntry { entry: 0 }
    );
    assert_eq!(
        broken(&put(entries + 8, 1000)),
        ModelError::BadEntry { entry: 0 }
    );
    assert_eq!(
        broken(&put(entries + 108 + 4, 0)),
        ModelError::BadEntry { entry: 1 }
    );
    assert_eq!(
        broken(&put(meta + 8, 12)),
        ModelError::BadMeta { record: 0 }
    );
    // The first operator reads what the caller fills in; without inputs of the entry no one does.
    assert_eq!(
        broken(&|file| file[entries + 12..entries + 14].fill(0xff)),
        ModelError::StaleRead { op: 0, tensor: 6 }
    );
    let arena = |what, found, limit| ModelError::TooMany { what, found, limit };
    assert_eq!(
        broken(&put(16, 1 << 29)),
        arena(Limited::ArenaBytes, 1 << 29, 1 << 28)
    );

    let aligned = AlignedBytes::new(&[&[0; 4], &file[..]].concat());
    assert_eq!(
        Model::parse(&aligned.as_slice()[4..]).unwrap_err(),
        ModelError::Misaligned
    );
    let mut appended = file.clone();
    appended.push(0);
    assert_eq!(
        parse_error(&appended),
        ModelError::WrongLength {
            stated: file.len() as u32,
            actual: file.len() + 1
        }
    );
    let mut damaged = file.clone();
    damaged[100] ^= 1;
    let (stated, actual) = (checksum(&file), checksum(&damaged));
    assert_eq!(
        parse_error(&damaged),
        ModelError::BadChecksum { stated, actual }
    );
}

#[test]
fn an_arena_that_is_too_small_or_misaligned_is_refused() {
    let file = AlignedBytes::new(&tiny_model());
    let model = Model::parse(file.as_slice()).unwrap();
    let needed = model.arena_len();
    let mut arena = AlignedBytes::zeroed(needed + 16);
    let mut refused = |range: core::ops::Range<usize>| {
        Session::new(model, &mut arena.as_mut_slice()[range])
            .map(drop)
            .unwrap_err()
    };
    assert_eq!(
        refused(0..needed - 1),
        SessionError::ArenaTooSmall {
            needed,
            given: needed - 1
        }
    );
    assert_eq!(refused(4..needed + 4), SessionError::ArenaMisaligned);
}

/// `count` operators that all read the entry point's input, so that looking for its writer goes back to the start.
fn long_model(count: usize) -> Vec<u8> {
    let mut builder = Builder::new();
    let x = builder.tensor(Storage::Arena, DType::I8, 1, 4);
    let y = builder.tensor(Storage::Arena, DType::I16, 1, 4);
    for _ in 0..count {
        builder.op(OpKind::Softmax, &[x], &[y], None, &1u32);
    }
    builder.entry("run", 0, &[x], &[y]);
    builder.file()
}

#[test]
fn parsing_takes_bounded_work() {
    parse_and_run(long_model(2048)).unwrap();
    let too_many = ModelError::TooMany {
        what: Limited::Ops,
        found: 60_000,
        limit: 2048,
    };
    assert_eq!(parse_error(&long_model(60_000)), too_many);

    // As many entry points as there is room for, all over the same operators.
    let mut builder = Builder::new();
    let x = builder.tensor(Storage::Arena, DType::I8, 1, 4);
    let y = builder.tensor(Storage::Arena, DType::I16, 1, 4);
    for _ in 0..2048 {
        builder.op(OpKind::Softmax, &[x], &[y], None, &1u32);
    }
    for _ in 0..60_000 {
        builder.entry("run", 0, &[x], &[y]);
    }
    assert_eq!(
        parse_error(&builder.file()),
        ModelError::BadEntry { entry: 1 }
    );

    // State that many tensors share is reset once for each of them.
    let mut builder = Builder::new();
    let state = builder.tensor(Storage::State, DType::I8, 1000, 1000);
    let record = builder.tensors[usize::from(state)];
    builder.tensors.extend(std::iter::repeat_n(record, 60_000));
    assert!(matches!(
        parse_error(&builder.file()),
        ModelError::TooMany {
            what: Limited::StateBytes,
            ..
        }
    ));

    // Names are checked for each record that points to them.
    let mut builder = Builder::new();
    builder.tensor(Storage::Arena, DType::I8, 1, 4);
    let offset = builder.name(&"x".repeat(1025));
    builder.tensors[0].name = offset;
    assert_eq!(
        parse_error(&builder.file()),
        ModelError::BadString { offset }
    );
}

#[test]
fn scratch_does_not_shrink_with_the_sequence() {
    let mut builder = Builder::new();
    let x = builder.tensor(Storage::Arena, DType::I8, 1, C);
    let y = builder.tensor(Storage::Arena, DType::I8, 1, C);
    builder.linear(x, y, C);
    builder.entry("run", 0, &[x], &[y]);
    let (length, rule) = (LengthMeta { max: 4 }, RowRule { add: 0, divisor: 1 });
    let payload = [length.as_bytes(), rule.as_bytes()].concat();
    builder.meta(MetaKey::Length, 1, &payload);
    let scratch = builder.tensor(Storage::Arena, DType::I16, 4, C);
    builder.tensors[usize::from(scratch)].rows_rule = 1;
    builder.ops[0].scratch = scratch;
    let refused = ModelError::BadOp {
        op: 0,
        reason: OpError::ScratchTooSmall,
    };
    assert_eq!(parse_error(&builder.file()), refused);
}
