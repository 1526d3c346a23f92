//! Metadata of decoding that does not fit its model.

use super::{parse_and_run, section};
use attn_runtime::ModelError;
use attn_runtime::format::{Encoding, MetaKey, MetaRecord, NONE};
use attn_test_support::tiny_model::{C, sealed, tiny_model};
use zerocopy::FromBytes;

/// Byte in `file` of word `field` of the decoding metadata.
fn place(file: &[u8], field: usize) -> usize {
    let size = size_of::<MetaRecord>();
    let record = file[section(file, 3)..]
        .chunks_exact(size)
        .map(|bytes| MetaRecord::read_from_bytes(bytes).unwrap())
        .find(|record| record.key == MetaKey::Decode as u16)
        .expect("the tiny model decodes");
    section(file, 4) + record.offset as usize + 4 * field
}

fn with(field: usize, value: u32) -> Vec<u8> {
    let mut file = tiny_model(Encoding::Int8);
    let at = place(&file, field);
    file[at..at + 4].copy_from_slice(&value.to_le_bytes());
    sealed(file)
}

#[test]
fn each_field_that_does_not_fit_is_named() {
    let (entries, step) = (11, 5);
    let cases = [
        (0, entries, "encode"),
        (0, step, "encode"),
        (1, entries, "step"),
        (1, 0, "token"), // an entry point whose input is int8
        (2, 1, "input"),
        (3, 1, "token"),
        (4, 3, "logits"),
        (4, 1, "logits"), // the best tokens without their scores
        (5, 3, "scores"),
        (5, 2, "logits"), // scores beside logits
        (6, 3, "weights"),
        (7, 0, "tokens"),
        (7, 70_000, "tokens"),
        (7, C as u32 + 1, "tokens"),
        (8, C as u32, "start"),
        (9, C as u32, "end"),
        (10, 0, "max_tokens"),
        (10, 1 << 16, "max_tokens"),
        (11, 3, "hypothesis_len"),
        (11, 1 << 20, "hypothesis_len"),
        (12, C as u32, "end_symbol"),
        (14, C as u32, "pad"),
    ];
    for (at, value, field) in cases {
        let error = parse_and_run(with(at, value)).unwrap_err();
        assert_eq!(
            error,
            ModelError::BadDecode { field },
            "word {at} = {value}: {error}"
        );
        assert!(error.to_string().contains(field));
    }
    let error = parse_and_run(with(13, 1 << 20)).unwrap_err();
    assert_eq!(error, ModelError::BadString { offset: 1 << 20 });
}

#[test]
fn what_is_optional_may_be_missing() {
    for field in [0, 5, 6, 12, 14] {
        parse_and_run(with(field, NONE)).unwrap();
    }
}
