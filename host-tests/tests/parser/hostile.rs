//! Files that somebody made to do harm, each for a kind: work without end, rows that no one writes, sums that wrap, checks
//! that take longer than the file.

use super::{bad_op, parse_and_run, parse_error};
use attn_lab::aligned::AlignedBytes;
use attn_runtime::format::{DType, MetaKey, OpKind, Storage};
use attn_runtime::kernels::int::dot::{packed_len, pairs_len};
use attn_runtime::ops::OpError;
use attn_runtime::{Limited, Limits, Model, ModelError, Operators};
use attn_test_support::running::with_file;
use attn_test_support::tiny_model::Param::{Bytes, Words};
use attn_test_support::tiny_model::{Builder, C, Int, RESCALE};

const NO_WINDOW: [u32; 2] = [0; 2];

fn pairs(pairs: &[[u32; 2]]) -> Vec<attn_test_support::tiny_model::Param> {
    pairs.iter().flatten().map(|&n| Int(n as i32)).collect()
}

/// A tensor `[side, side, channels]`.
fn image(b: &mut Builder, dtype: DType, side: u32, channels: usize) -> u16 {
    let id = b.tensor(Storage::Arena, dtype, (side * side) as usize, channels);
    let tensor = &mut b.tensors[usize::from(id)];
    tensor.rank = 3;
    tensor.dims = [side, side, channels as u32, 1, 1, 1];
    id
}

#[test]
fn windows_without_end_are_refused() {
    let (side, kernel) = (100, 1 << 20);
    let pool = |kind, extra: &[_]| {
        let mut b = Builder::new();
        let x = image(&mut b, DType::I8, side, 1);
        let y = image(&mut b, DType::I8, side, 1);
        let pad = [kernel - 1; 2];
        let window = pairs(&[[kernel; 2], [1; 2], pad, NO_WINDOW, NO_WINDOW]);
        b.op(kind, &[x], &[y], 0, &[&window[..], extra].concat());
        b.entry("run", 0, &[x], &[y]);
        parse_error(&b.file())
    };
    let refused = pool(OpKind::MaxPool2d, &[]);
    let expected = ModelError::TooMuchWork {
        what: Limited::Macs,
        found: u64::from(side * side) << 40,
        limit: 1 << 32,
    };
    assert_eq!(refused, expected);
    let refused = pool(OpKind::AveragePool2d, &RESCALE);
    assert_eq!(refused, bad_op(0, OpError::BadParams));
}

/// One Linear of 2^20 multiplications, as many times over as asked for.
fn heavy(times: usize) -> Vec<u8> {
    let (rows, k) = (1 << 10, 1 << 8);
    let mut b = Builder::new();
    let x = b.tensor(Storage::Arena, DType::I8, rows, k);
    let y = b.tensor(Storage::Arena, DType::I8, rows, C);
    b.linear(x, y, k);
    let op = b.ops[0];
    b.ops.resize(times, op);
    b.entry("run", 0, &[x], &[y]);
    b.file()
}

#[test]
fn the_caller_says_how_much_work_a_run_may_take() {
    let file = AlignedBytes::new(&heavy(3));
    let model = Model::parse(file.as_slice()).unwrap();
    let work = model.work(0).unwrap();
    assert_eq!(work.macs, 3 << 20);
    assert!(work.bytes >= 3 << 18, "{work:?}");
    assert_eq!(model.work(1), None);
    let parse = |change: fn(&mut Limits)| {
        let mut limits = Limits::default();
        change(&mut limits);
        Model::parse_with(file.as_slice(), Operators::all(), &limits).map(drop)
    };
    assert_eq!(parse(|limits| limits.macs = 3 << 20), Ok(()));
    let (what, found, limit) = (Limited::Macs, 3 << 20, (3 << 20) - 1);
    let refused = ModelError::TooMuchWork { what, found, limit };
    assert_eq!(parse(|limits| limits.macs = (3 << 20) - 1), Err(refused));
    let (what, found) = (Limited::BytesMoved, work.bytes);
    let refused = ModelError::TooMuchWork {
        what,
        found,
        limit: 9,
    };
    assert_eq!(parse(|limits| limits.bytes = 9), Err(refused));
    let (what, found) = (Limited::ArenaBytes, model.arena_len());
    let refused = ModelError::TooMany {
        what,
        found,
        limit: 9,
    };
    assert_eq!(parse(|limits| limits.arena = 9), Err(refused));
}

/// Softmax over varying rows, then a rescaling of its result; `change` changes the file's records.
fn varying(change: impl Fn(&mut Builder)) -> Vec<u8> {
    let mut b = Builder::new();
    let x = b.tensor(Storage::Arena, DType::I8, 4, 4);
    let [y, z] = [(); 2].map(|()| b.tensor(Storage::Arena, DType::I16, 4, 4));
    b.vary(&[x, y, z]);
    let alias = b.tensors[usize::from(y)];
    b.tensors.push(alias);
    b.op(OpKind::Softmax, &[x], &[y], 0, &[Int(1)]);
    b.op(OpKind::Requantize, &[3], &[z], 0, &RESCALE);
    b.entry("run", 0, &[x], &[z]);
    b.length(4);
    change(&mut b);
    b.file()
}

#[test]
fn rows_in_use_are_written_before_they_are_read() {
    parse_and_run(varying(|_| {})).unwrap();
    // Another record over the same bytes has all rows.
    let all = |b: &mut Builder| (b.tensors[3].rows_rule, b.tensors[2].rows_rule) = (0, 0);
    let stale = ModelError::StaleRead { op: 1, tensor: 3 };
    assert_eq!(parse_error(&varying(all)), stale);
    // So does the result of an operator whose input has fewer.
    let result = |b: &mut Builder| b.tensors[1].rows_rule = 0;
    assert_eq!(
        parse_error(&varying(result)),
        bad_op(0, OpError::RowsDiffer)
    );
    // Fewer rows from further on may be others than those that are written.
    let later = |b: &mut Builder| {
        (b.tensors[3].dims[0], b.tensors[3].offset) = (2, b.tensors[1].offset + 16);
        (b.tensors[3].rows_rule, b.tensors[2].rows_rule) = (0, 0);
        b.tensors[2].dims[0] = 2;
    };
    assert_eq!(parse_error(&varying(later)), stale);
    // The first row is there at every length.
    parse_and_run(varying(|b| {
        (b.tensors[3].dims[0], b.tensors[3].rows_rule) = (1, 0);
        (b.tensors[2].dims[0], b.tensors[2].rows_rule) = (1, 0);
    }))
    .unwrap();
    // What the caller fills in varies, too.
    let input = |b: &mut Builder| b.ops[1].inputs[0] = 4;
    let given = varying(|b| {
        let mut alias = b.tensors[0];
        alias.rows_rule = 0;
        b.tensors.push(alias);
        b.tensors[2].rows_rule = 0;
        input(b);
    });
    let stale = ModelError::StaleRead { op: 1, tensor: 4 };
    assert_eq!(parse_error(&given), stale);
}

#[test]
fn what_must_be_there_in_full_has_no_row_rule() {
    let gru = |vary: fn(&mut Builder, [u16; 3])| {
        let mut b = Builder::new();
        let h = b.tensor(Storage::State, DType::I16, 4, 1);
        let x = b.tensor(Storage::Arena, DType::I8, 4, 4);
        let y = b.tensor(Storage::Arena, DType::I16, 4, 4);
        let side = [Bytes(3 * 16), Words(12, 5), Words(12, 1 << 20), Int(0)];
        let params = [&side[..], &side, &[Int(0), Int(0)]].concat();
        b.op(OpKind::Gru, &[x, h], &[y], 8, &params);
        b.entry("run", 0, &[x], &[y]);
        b.length(4);
        vary(&mut b, [x, y, h]);
        b.file()
    };
    parse_and_run(gru(|b, [x, y, _]| b.vary(&[x, y]))).unwrap();
    let refused = bad_op(0, OpError::RowsDiffer);
    assert_eq!(parse_error(&gru(|b, all| b.vary(&all))), refused);
}

/// One Linear with int16 inputs, `k` weights of 127 for each of 4 outputs.
fn sums(k: usize, bias: i32, left_shift: i32) -> Vec<u8> {
    let mut b = Builder::new();
    let x = b.tensor(Storage::Arena, DType::I16, 1, k);
    let y = b.tensor(Storage::Arena, DType::I16, 1, 4);
    let weights = vec![127u8; packed_len(4, k)];
    let weights = Int(b.weights(weights) as i32);
    let (bias, scales) = (Words(4, bias), Words(4, i32::MAX));
    let limits = [Int(left_shift), Int(-32768), Int(32767)];
    let params = [&[weights, bias, scales][..], &limits].concat();
    b.op(OpKind::Linear, &[x], &[y], pairs_len(k), &params);
    b.entry("run", 0, &[x], &[y]);
    b.file()
}

#[test]
fn sums_that_may_wrap_are_refused() {
    let refused = bad_op(0, OpError::MayOverflow);
    let largest = |k: usize| i32::MAX - (k * 127 * 32768) as i32;
    for (k, bias, shift) in [
        (4, i32::MAX, 0),
        (4, i32::MIN, 0),
        (4, largest(4) + 1, 0),
        (520, 0, 0),
        (16384, 0, 0),
        (260, 0, 1),
        (4, 0, 8),
    ] {
        assert_eq!(parse_error(&sums(k, bias, shift)), refused, "{k} {bias}");
    }
    for (k, bias, shift) in [
        (4, largest(4), 0),
        (4, -largest(4), 0),
        (508, 0, 0),
        (256, 0, 0),
    ] {
        with_file(&sums(k, bias, shift), |session| {
            session.input::<i16>(0, 0).unwrap().fill(i16::MIN);
            session.run(0).unwrap();
            let exact = i64::from(bias) - (k * 127 * 32768) as i64;
            let exact = ((exact * i64::from(i32::MAX) + (1 << 31)) >> 32).clamp(-32768, 32767);
            assert_eq!(session.output::<i16>(0, 0).unwrap(), [exact as i16; 4]);
        });
    }
}

#[test]
fn products_of_activations_that_may_wrap_are_refused() {
    let model = |kind, inputs: [DType; 2], shift: i32| {
        let mut b = Builder::new();
        let [x, f] = inputs.map(|dtype| b.tensor(Storage::Arena, dtype, 2, 4));
        let y = b.tensor(Storage::Arena, DType::I8, 2, 4);
        let rescale = [Int(1 << 28), Int(shift), Int(-128), Int(127)];
        b.op(kind, &[x, f], &[y], 0, &rescale);
        b.entry("run", 0, &[x, f], &[y]);
        b.file()
    };
    let (i8, i16) = (DType::I8, DType::I16);
    parse_and_run(model(OpKind::Mul, [i16, i16], 0)).unwrap();
    parse_and_run(model(OpKind::Mul, [i8, i16], 8)).unwrap();
    for (inputs, shift) in [([i16, i16], 1), ([i8, i16], 9)] {
        let refused = bad_op(0, OpError::MayOverflow);
        assert_eq!(parse_error(&model(OpKind::Mul, inputs, shift)), refused);
    }
}

#[test]
fn only_a_table_works_in_place() {
    let model = |second: bool| {
        let mut b = Builder::new();
        let x = b.tensor(Storage::Arena, DType::I8, 1, C);
        let y = b.tensor(Storage::Arena, DType::I8, 1, C);
        match second {
            false => b.op(OpKind::Lut, &[x], &[x], 0, &[Bytes(256)]),
            true => b.op(OpKind::Requantize, &[x], &[x], 0, &RESCALE),
        }
        b.op(OpKind::Requantize, &[x], &[y], 0, &RESCALE);
        b.entry("run", 0, &[x], &[y]);
        b.file()
    };
    parse_and_run(model(false)).unwrap();
    assert_eq!(parse_error(&model(true)), bad_op(0, OpError::Overlap));
}

/// An output that is named but never written would count as written.
#[test]
fn an_operator_has_no_more_outputs_than_it_writes() {
    let model = |surplus: bool| {
        let mut b = Builder::new();
        let [x, y, z, last] = [(); 4].map(|()| b.tensor(Storage::Arena, DType::I8, 1, C));
        let outputs = [y, z];
        b.op(
            OpKind::Requantize,
            &[x],
            &outputs[..1 + usize::from(surplus)],
            0,
            &RESCALE,
        );
        b.op(
            OpKind::Requantize,
            &[if surplus { z } else { y }],
            &[last],
            0,
            &RESCALE,
        );
        b.entry("run", 0, &[x], &[last]);
        b.file()
    };
    parse_and_run(model(false)).unwrap();
    assert_eq!(parse_error(&model(true)), bad_op(0, OpError::SurplusOutput));
}

#[test]
fn a_known_key_of_metadata_comes_once() {
    let file = |times, key| {
        let mut b = Builder::new();
        let x = b.tensor(Storage::Arena, DType::I8, 1, 4);
        let y = b.tensor(Storage::Arena, DType::I16, 1, 4);
        b.op(OpKind::Softmax, &[x], &[y], 0, &[Int(1)]);
        b.entry("run", 0, &[x], &[y]);
        for _ in 0..times {
            b.meta(key, 0, &[]);
        }
        b.file()
    };
    parse_and_run(file(1, MetaKey::Labels)).unwrap();
    let twice = ModelError::BadMeta { record: 1 };
    assert_eq!(parse_error(&file(2, MetaKey::Labels)), twice);
    let (what, found, limit) = (Limited::Metadata, 65, 64);
    let refused = ModelError::TooMany { what, found, limit };
    assert_eq!(parse_error(&file(65, MetaKey::Labels)), refused);
}

#[test]
fn what_many_records_share_is_not_checked_for_each() {
    let mut b = Builder::new();
    let x = b.tensor(Storage::Arena, DType::I8, 1, 4);
    let y = b.tensor(Storage::Arena, DType::I16, 1, 4);
    b.op(OpKind::Softmax, &[x], &[y], 0, &[Int(1)]);
    b.entry("run", 0, &[x], &[y]);
    let name = b.name(&"é".repeat(512));
    let mut named = b.tensors[0];
    named.name = name;
    b.tensors.extend(std::iter::repeat_n(named, 1000));
    assert_eq!(parse_error(&b.file()), ModelError::NamesTooLong);

    // One set of weights for many layers is proved once; many for each of many layers are not.
    parse_and_run(heavy(60)).unwrap();
    let mut b = Builder::new();
    let x = b.tensor(Storage::Arena, DType::I16, 1, 64);
    let y = b.tensor(Storage::Arena, DType::I8, 1, C);
    b.linear(x, y, 64);
    let (op, end) = (b.ops[0], b.weights.len() as i32);
    for at in 0..200 {
        // Each has a bias of its own: the same one from another place.
        let bias = b.weights([0; 4 * C]);
        let weights = [Int(0), Int(bias as i32), Int(end - 4 * C as i32)];
        let rest = [Int(0), Int(-128), Int(127)];
        b.op(OpKind::Linear, &[x], &[y], 0, &[weights, rest].concat());
        b.ops[at + 1].scratch = op.scratch;
    }
    b.entry("run", 0, &[x], &[y]);
    let error = parse_error(&b.file());
    let reason = OpError::TooMuchToCheck;
    assert!(
        matches!(error, ModelError::BadOp { reason: found, .. } if found == reason),
        "{error}"
    );
}
