//! PushKeyValue: packs rows of keys `[n, key_heads * head_dim]` and values `[n, key_heads * value_dim]` (inputs 0 and 1) into an attention window.
//! Streaming: into the state tensors keys, values and ring (inputs 2 to 4), overwriting the oldest. Over a whole window: into
//! two outputs, from the first slot on. Integer: keys and values are both int8 or both int16. Half: both half.
//!
//! The shape of the window and the ring are here, too: [`super::attention`] reads what this operator writes.

use super::attention::{AttentionGeometry, AttentionParams};
use super::{OpError, OpView, Uses, arena, centred, magnitude, require, require_fits};
use crate::format::{DType, Storage, TensorRecord};
use crate::kernels::geometry::{MAX_HEADS, MAX_WIDTH, RING_LEN, Shape};
use crate::kernels::int::attention::{KeyValue, push_key, push_value};
use crate::kernels::int::dot::packed_len;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

impl AttentionGeometry {
    /// The shape of a window of at most `max_slots`.
    pub(super) fn shape(&self, max_slots: usize) -> Result<Shape, OpError> {
        let in_range = |n: u32, max: u32| (1..=max).contains(&n);
        let valid = in_range(self.heads, MAX_HEADS)
            && in_range(self.key_heads, self.heads)
            && self.heads.is_multiple_of(self.key_heads)
            && in_range(self.head_dim, MAX_WIDTH)
            && self.value_dim <= MAX_WIDTH
            && in_range(self.slots, max_slots as u32);
        require(valid, OpError::BadParams)?;
        Ok(Shape {
            heads: self.heads as usize,
            key_heads: self.key_heads as usize,
            head_dim: self.head_dim as usize,
            value_dim: match self.value_dim {
                0 => self.head_dim as usize,
                own => own as usize,
            },
            slots: self.slots as usize,
        })
    }
}

/// The ring of a streamed window: next slot, slots filled.
pub(super) fn check_ring(ring: &TensorRecord) -> Result<(), OpError> {
    let stored = ring.dtype() == DType::I32 && ring.storage() == Storage::State;
    require(stored, OpError::WrongStorage)?;
    let fits = ring.len() == RING_LEN && ring.zero_point == 0 && ring.rows_rule == 0;
    require(fits, OpError::WrongShape)
}

/// The two numbers of the ring in input `slot`, in range.
pub(super) fn ring(
    op: &OpView,
    slot: usize,
    shape: &Shape,
    arena: &mut [u8],
) -> Result<[usize; 2], OpError> {
    let [ring] = op.tensors(arena, [op.input(slot)?])?;
    let [next, filled] = arena::typed::<i32>(ring)? else {
        return Err(OpError::WrongShape);
    };
    let slots = shape.slots as i32;
    Ok([
        (*next).min(slots - 1).max(0) as usize,
        (*filled).min(slots).max(0) as usize,
    ])
}

/// `rows` must hold `heads` heads of `width` channels.
pub(super) fn check_width(heads: usize, width: usize, rows: &TensorRecord) -> Result<(), OpError> {
    let width = heads.checked_mul(width);
    require(width == Some(rows.channels()), OpError::WrongShape)
}

/// Packed keys and values, `lens` elements each; both int8 or both int16.
pub(super) fn check_window(
    op: &OpView,
    shape: &Shape,
    keys: &TensorRecord,
    values: &TensorRecord,
) -> Result<(), OpError> {
    check_types(keys, values)?;
    op.require_fixed(&[keys, values])?;
    let fits =
        keys.len() == shape.keys_len(packed_len) && values.len() == shape.values_len(packed_len);
    require(fits, OpError::WrongShape)
}

/// The scores of a head must fit 32 bits. Those of int16 keys are added in 64 and shifted.
pub(super) fn check_scores(
    query: &TensorRecord,
    keys: &TensorRecord,
    shape: &Shape,
    shift: u32,
) -> Result<(), OpError> {
    let product = u64::from(centred(query)) * u64::from(magnitude(keys));
    let score = product.saturating_mul(shape.head_dim as u64);
    let shift = if keys.dtype() == DType::I16 { shift } else { 0 };
    require_fits(score >> shift, 0)
}

fn check_types(keys: &TensorRecord, values: &TensorRecord) -> Result<(), OpError> {
    let known = matches!(keys.dtype(), DType::I8 | DType::I16);
    require(known && keys.dtype() == values.dtype(), OpError::WrongType)
}

/// The window that is written: keys and values.
fn window<'a>(op: &OpView<'a>) -> Result<[&'a TensorRecord; 2], OpError> {
    Ok(if op.input_count() == 2 {
        [op.output()?, op.output_at(1)?]
    } else {
        [op.input(2)?, op.input(3)?]
    })
}

/// Shapes and places of all tensors, whatever the types of keys and values.
fn check_rows(op: &OpView, shape: &Shape) -> Result<(), OpError> {
    let (key, value, [keys, values]) = (op.input(0)?, op.input(1)?, window(op)?);
    check_width(shape.key_heads, shape.head_dim, key)?;
    check_width(shape.key_heads, shape.value_dim, value)?;
    let fits = key.rows() == value.rows() && key.rows() <= shape.slots;
    require(fits, OpError::WrongShape)?;
    require(keys.dtype() == key.dtype(), OpError::WrongType)?;
    if op.input_count() == 2 {
        require(key.rows() == shape.slots, OpError::WrongShape)?;
        op.require_disjoint(&[key, keys, values])?;
        return op.require_disjoint(&[value, keys, values]);
    }
    let kept = keys.storage() == Storage::State && values.storage() == Storage::State;
    require(kept, OpError::WrongStorage)?;
    let ring = op.input(4)?;
    op.require_disjoint(&[key, keys, values, ring])?;
    op.require_disjoint(&[value, keys, values, ring])?;
    check_ring(ring)
}

pub(super) fn check(op: &OpView) -> Result<(), OpError> {
    let shape = op.params::<AttentionParams>()?.shape()?;
    check_types(op.input(0)?, op.input(1)?)?;
    check_rows(op, &shape)?;
    let [keys, values] = window(op)?;
    check_window(op, &shape, keys, values)
}

/// The slot of the first row that is pushed. A ring moves on; a whole window is cleared.
fn begin(op: &OpView, shape: &Shape, arena: &mut [u8]) -> Result<usize, OpError> {
    if op.input_count() == 2 {
        let [keys, values] = op.tensors(arena, window(op)?)?;
        keys.fill(0);
        values.fill(0);
        return Ok(0);
    }
    let rows = op.rows(op.input(0)?);
    let [first, filled] = ring(op, 4, shape, arena)?;
    let [bytes] = op.tensors(arena, [op.input(4)?])?;
    let [next, count] = arena::typed::<i32>(bytes)? else {
        return Err(OpError::WrongShape);
    };
    *next = ((first + rows) % shape.slots.max(1)) as i32;
    *count = (filled + rows).min(shape.slots) as i32;
    Ok(first)
}

pub(super) fn run<const USES: u8>(op: &OpView, arena: &mut [u8]) -> Result<(), OpError> {
    let shape = op.params::<AttentionParams>()?.shape()?;
    let first = begin(op, &shape, arena)?;
    match op.input(0)?.dtype() {
        DType::I8 if USES & Uses::X8 != 0 => push::<i8>(op, &shape, first, arena),
        DType::I16 if USES & Uses::X16 != 0 => push::<i16>(op, &shape, first, arena),
        _ => Err(OpError::NotLinked),
    }
}

/// Packs the rows of both inputs, from slot `first` on and around.
fn push<K: KeyValue + FromBytes + IntoBytes + Immutable + KnownLayout>(
    op: &OpView,
    shape: &Shape,
    first: usize,
    arena: &mut [u8],
) -> Result<(), OpError> {
    let [keys, values] = window(op)?;
    let (key, value) = (op.input(0)?, op.input(1)?);
    pack::<K, K>(op, [key, keys], shape, first, arena, push_key)?;
    pack::<K, K>(op, [value, values], shape, first, arena, push_value)
}

/// Hands the rows of one tensor to `push`, with their slots in the other. One tensor can be both key and value: each is
/// borrowed by itself.
fn pack<R, W>(
    op: &OpView,
    [rows, window]: [&TensorRecord; 2],
    shape: &Shape,
    first: usize,
    arena: &mut [u8],
    push: impl Fn(&[R], usize, &Shape, &mut [W]),
) -> Result<(), OpError>
where
    R: FromBytes + IntoBytes + Immutable + KnownLayout,
    W: FromBytes + IntoBytes + Immutable + KnownLayout,
{
    let width = rows.channels().max(1);
    let [rows, window] = op.tensors(arena, [rows, window])?;
    let (rows, window) = (arena::typed::<R>(rows)?, arena::typed(window)?);
    let slots = (first..shape.slots).chain(0..first);
    for (slot, row) in slots.zip(rows.chunks_exact(width)) {
        push(row, slot, shape, window);
    }
    Ok(())
}

#[cfg(attn_half)]
pub(super) mod half {
    use super::super::activations::half::check_half;
    use super::super::attention::half::AttentionHalfParams;
    use super::*;
    use crate::f16;
    use crate::kernels::half::attention::{push_key, push_value};
    use crate::kernels::half::{LANES, packed_len};

    pub(in crate::ops) fn check_window(
        op: &OpView,
        shape: &Shape,
        keys: &TensorRecord,
        values: &TensorRecord,
    ) -> Result<(), OpError> {
        check_half(keys)?;
        check_half(values)?;
        let holds =
            |tensor: &TensorRecord, groups: usize| Some(tensor.len()) == groups.checked_mul(LANES);
        op.require_fixed(&[keys, values])?;
        let fits =
            holds(keys, shape.keys_len(packed_len)) && holds(values, shape.values_len(packed_len));
        require(fits, OpError::WrongShape)
    }

    pub(in crate::ops) fn check(op: &OpView) -> Result<(), OpError> {
        let shape = op.params::<AttentionHalfParams>()?.shape()?;
        check_half(op.input(1)?)?;
        check_rows(op, &shape)?;
        let [keys, values] = window(op)?;
        check_window(op, &shape, keys, values)
    }

    pub(in crate::ops) fn run(op: &OpView, arena: &mut [u8]) -> Result<(), OpError> {
        let shape = op.params::<AttentionHalfParams>()?.shape()?;
        let (first, [keys, values]) = (begin(op, &shape, arena)?, window(op)?);
        let (key, value) = (op.input(0)?, op.input(1)?);
        pack::<f16, _>(op, [key, keys], &shape, first, arena, push_key)?;
        pack::<f16, _>(op, [value, values], &shape, first, arena, push_value)
    }
}
