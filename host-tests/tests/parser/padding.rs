//! ClearRows: the rows of a sequence stay, those of its padding become 0.0, in every type.

use super::parse_error;
use attn_lab::aligned::AlignedBytes;
use attn_runtime::format::{DType, LengthMeta, MetaKey, OpKind, RowRule, Storage};
use attn_runtime::ops::OpError;
use attn_runtime::{Model, ModelError, Session, f16};
use attn_test_support::tiny_model::{Builder, C};
use zerocopy::IntoBytes;

const ROWS: usize = 4;

/// A model of one ClearRows whose tensors `change` has changed.
fn cleared(dtype: DType, change: impl Fn(&mut Builder)) -> Vec<u8> {
    let mut b = Builder::new();
    let [x, y] = [(); 2].map(|()| b.tensor(Storage::Arena, dtype, ROWS, C));
    b.tensors[usize::from(x)].rows_rule = 1;
    b.op(OpKind::ClearRows, &[x], &[y], None, &[0u8; 0]);
    b.entry("run", 0, &[x], &[y]);
    let (length, rule) = (
        LengthMeta { max: ROWS as u32 },
        RowRule { add: 0, divisor: 1 },
    );
    let payload = [length.as_bytes(), rule.as_bytes()].concat();
    b.meta(MetaKey::Length, 1, &payload);
    change(&mut b);
    b.file()
}

#[test]
fn rows_of_the_sequence_stay_and_padding_is_zero() {
    fn check<T: attn_runtime::Element + Copy + PartialEq + core::fmt::Debug>(some: T, zero: T) {
        let file = AlignedBytes::new(&cleared(T::DTYPE, |_| {}));
        let model = Model::parse(file.as_slice()).unwrap();
        let mut arena = AlignedBytes::zeroed(model.arena_len());
        let mut session = Session::new(model, arena.as_mut_slice()).unwrap();
        // Longest first: what it left must not shine through.
        for length in (1..=ROWS).rev() {
            session.set_length(length).unwrap();
            session.input::<T>(0, 0).unwrap().fill(some);
            session.run(0).unwrap();
            let got = session.output::<T>(0, 0).unwrap();
            let expected = [vec![some; length * C], vec![zero; (ROWS - length) * C]].concat();
            assert_eq!(got, expected, "length {length}");
        }
    }
    check(-100i8, -3);
    check(1234i16, 0);
    check(f16::from_f32(0.5), f16::from_f32(0.0));
}

#[test]
fn what_cannot_be_cleared_is_refused() {
    let refused = |change: &dyn Fn(&mut Builder), reason: OpError| {
        let error = parse_error(&cleared(DType::I8, change));
        assert_eq!(error, ModelError::BadOp { op: 0, reason });
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
