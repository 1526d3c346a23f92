//! The format can grow: versions, features, encodings, longer and shorter parameters, dimensions, names.

use super::{bad_op, bad_tensor, parse_and_run, parse_error};
use attn_runtime::format::{DType, OpKind, Storage};
use attn_runtime::ops::OpError;
use attn_runtime::{ModelError, TensorError};
use attn_test_support::running::with_file;
use attn_test_support::tiny_model::{Builder, Int, Param, RESCALE};

/// A file with one Requantize, changed.
fn requantize(params: &[Param], change: impl FnOnce(&mut Builder)) -> Vec<u8> {
    let mut b = Builder::new();
    let [x, y] = [(); 2].map(|()| b.tensor(Storage::Arena, DType::I8, 4, 16));
    b.op(OpKind::Requantize, &[x], &[y], 0, params);
    b.entry("run", 0, &[x], &[y]);
    change(&mut b);
    b.file()
}

#[test]
fn a_file_of_version_1_is_to_be_converted_again() {
    let error = parse_error(include_bytes!("../../../runtime/tests/version1.attn"));
    assert_eq!(error, ModelError::UnsupportedVersion { found: 1 });
    let text = error.to_string();
    assert!(text.ends_with("convert the model again"), "{text}");
}

#[test]
fn an_incompatible_feature_is_named_by_its_number() {
    let error = ModelError::UnknownFlags { found: 1 << 5 };
    assert!(error.to_string().contains("feature 5 "), "{error}");
}

#[test]
fn parameters_may_be_longer_than_a_runtime_knows_if_the_rest_is_0() {
    let newer = bad_op(0, OpError::NewerParams);
    let grown = |rest: [i32; 2]| requantize(&[&RESCALE[..], &rest.map(Int)].concat(), |_| ());
    assert_eq!(parse_and_run(grown([0, 0])), Ok(()));
    assert_eq!(parse_and_run(grown([0, 1])), Err(newer));
}

#[test]
fn parameters_that_an_older_file_does_not_have_are_0() {
    // Without its last field this operator's greatest result is 0: the file is valid.
    let shorter = requantize(&RESCALE[..3], |_| ());
    assert_eq!(parse_and_run(shorter), Ok(()));
}

#[test]
fn tensors_have_up_to_six_dimensions() {
    let shaped = |rank: u8, dims: [u32; 6]| {
        parse_and_run(requantize(&RESCALE, |b| {
            (b.tensors[0].rank, b.tensors[0].dims) = (rank, dims);
        }))
    };
    let bad = bad_tensor(TensorError::BadShape);
    assert_eq!(shaped(6, [2; 6]), Ok(()));
    assert_eq!(shaped(7, [2; 6]), Err(bad));
    assert_eq!(shaped(5, [2; 6]), Err(bad));
}

#[test]
fn an_entry_point_names_its_inputs_and_outputs() {
    let file = requantize(&RESCALE, |b| {
        b.entries[0].output_names[0] = b.name("logits");
    });
    with_file(&file, |session| {
        let model = session.model();
        let (entry, tensors) = (&model.entries()[0], model.tensors());
        assert!(model.output_names(entry).eq(["logits"]));
        let own = model.name(tensors[0].name);
        assert!(model.input_names(entry).eq([own]));
    });
}
