//! ClearRows: the rows of a sequence stay, those of its padding become 0.0, in every type.

use super::{bad_op, parse_error};
use attn_runtime::f16;
use attn_runtime::format::{DType, OpKind, Storage};
use attn_runtime::ops::OpError;
use attn_test_support::running::with_file;
use attn_test_support::tiny_model::{Builder, C};

const ROWS: usize = 4;

/// A model of one ClearRows whose tensors `change` has changed.
fn cleared(dtype: DType, change: impl Fn(&mut Builder)) -> Vec<u8> {
    let mut b = Builder::new();
    let [x, y] = [(); 2].map(|()| b.tensor(Storage::Arena, dtype, ROWS, C));
    b.vary(&[x]);
    b.op(OpKind::ClearRows, &[x], &[y], 0, &[]);
    b.entry("run", 0, &[x], &[y]);
    b.length(ROWS);
    change(&mut b);
    b.file()
}

#[test]
fn rows_of_the_sequence_stay_and_padding_is_zero() {
    fn check<T: attn_runtime::Element + Copy + PartialEq + core::fmt::Debug>(some: T, zero: T) {
        with_file(&cleared(T::DTYPE, |_| {}), |session| {
            // Longest first: what it left must not shine through.
            for length in (1..=ROWS).rev() {
                session.set_length(length).unwrap();
                session.input::<T>(0, 0).unwrap().fill(some);
                session.run(0).unwrap();
                let got = session.output::<T>(0, 0).unwrap();
                let expected = [vec![some; length * C], vec![zero; (ROWS - length) * C]];
                assert_eq!(got, expected.concat(), "length {length}");
            }
        });
    }
    check(-100i8, -3);
    check(1234i16, 0);
    check(f16::from_f32(0.5), f16::from_f32(0.0));
}

#[test]
fn what_cannot_be_cleared_is_refused() {
    let refused = |change: &dyn Fn(&mut Builder), reason: OpError| {
        let error = parse_error(&cleared(DType::I8, change));
        assert_eq!(error, bad_op(0, reason));
    };
    let shape = OpError::WrongShape;
    refused(&|b| b.tensors[1].zero_point = 5, shape);
    refused(&|b| b.tensors[1].rows_rule = 1, shape);
    refused(&|b| b.tensors[1].dims[1] -= 1, shape);
    refused(&|b| b.tensors[1].dims[0] -= 1, shape);
    let i16_in_place_of_i8 = |b: &mut Builder| {
        let wide = b.tensor(Storage::Arena, DType::I16, ROWS, C);
        b.ops[0].outputs[0] = wide;
    };
    refused(&i16_in_place_of_i8, OpError::WrongType);
    let in_place = |b: &mut Builder| b.tensors[1].offset = b.tensors[0].offset;
    refused(&in_place, OpError::Overlap);
    refused(&|b| b.ops[0].params_len = u32::MAX, OpError::BadParams);
    refused(&|b| b.ops[0].inputs[1] = 0, OpError::MissingTensor);
}
