//! Operators of the tiny model that work on int16 where others have int8.

use super::{Builder, C, WINDOW, attention_params, geometry};
use attn_runtime::format::{DType, OpKind, Storage};
use attn_runtime::kernels::int::dot::packed_len;
use attn_runtime::ops::{AttentionGeometry, AttentionParams, WideLutParams};

/// Attention over int16 keys and values, and a function of the result. A mask hides some keys; one query sees none.
pub fn wide(b: &mut Builder) {
    use DType::{I16, I32};
    use Storage::Arena;
    let rows = WINDOW.slots;
    let x = b.tensor(Arena, I16, rows, C);
    let keys = b.tensor(Arena, I16, 1, WINDOW.keys_len(packed_len));
    let values = b.tensor(Arena, I16, 1, WINDOW.values_len(packed_len));
    let first = b.ops.len();
    b.op(
        OpKind::PushKeyValue,
        &[x, x],
        &[keys, values],
        None,
        &attention_params(0),
    );
    let context = b.tensor(Arena, I16, rows, C);
    let scratch_len = WINDOW.scores_len() + WINDOW.pairs_len().div_ceil(2);
    let scratch = b.tensor(Arena, I32, 1, scratch_len);
    let mask = b.words(1, 0b011);
    b.words(1, 0);
    b.words(1, 0b111);
    let params = AttentionParams {
        value_zero_point: 0,
        score_shift: 9,
        window: AttentionGeometry {
            mask,
            ..geometry(&WINDOW, AttentionGeometry::MASK)
        },
        ..attention_params(1 << 20)
    };
    b.op(
        OpKind::Attention,
        &[x, keys, values],
        &[context],
        Some(scratch),
        &params,
    );
    let lut = WideLutParams {
        table: b.words(9, 0x1234_8765),
        step_bits: 12,
    };
    b.op(OpKind::Lut, &[context], &[context], None, &lut);
    b.entry("wide", first, &[x], &[context]);
}
