//! Attention and PushKeyValue in half precision: tensors as in the integer forms, but all float16 (the ring int32).

use super::super::attention::AttentionParams;
use super::decoding::check_weights;
use super::{ALL, OpError, OpView, arena, half, require, scratch};
use crate::f16;
use crate::format::{DType, Storage, TensorRecord};
use crate::kernels::half::LANES;
use crate::kernels::half::attention::{Filled, Shape, attend, push_key, push_value, write_weights};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Parameters of Attention and of PushKeyValue in half precision.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct AttentionHalfParams {
    /// Number of heads.
    pub heads: u32,
    /// Channels per head.
    pub head_dim: u32,
    /// Keys and values in the window.
    pub slots: u32,
    /// Factor on the scores times log2(e); finite. 0 in PushKeyValue.
    pub score_factor: f32,
    /// Which slots a query sees: one of [`AttentionParams::ALL`], [`AttentionParams::CAUSAL`] and
    /// [`AttentionParams::MASK`]. `ALL` in PushKeyValue.
    pub seen: u32,
    /// With `MASK`, u32 in the weights section, `ceil(slots / 32)` for each query: bit `slot % 32` of word `slot / 32` is
    /// set where it sees the slot.
    pub mask: u32,
    /// Number of the [`crate::format::RowRule`] that says how many slots of a window hold something; 0: all of them.
    /// 0 on a stream and in PushKeyValue.
    pub rows_rule: u32,
    /// Heads of keys and values, a divisor of `heads`; adjacent heads of queries share one.
    pub key_heads: u32,
}

/// Elements of a ring tensor: next slot to overwrite, number of slots filled.
const RING_LEN: usize = 2;
const MAX_HEADS: u32 = 64;
const MAX_WIDTH: u32 = 1 << 16;
const MAX_SLOTS: u32 = 1 << 16;

impl AttentionHalfParams {
    fn shape(&self) -> Result<Shape, OpError> {
        let in_range = |n: u32, max: u32| (1..=max).contains(&n);
        let valid = in_range(self.heads, MAX_HEADS)
            && in_range(self.key_heads, self.heads)
            && self.heads.is_multiple_of(self.key_heads)
            && in_range(self.head_dim, MAX_WIDTH)
            && in_range(self.slots, MAX_SLOTS)
            && self.score_factor.is_finite()
            && self.seen
                <= if ALL {
                    AttentionParams::MASK
                } else {
                    AttentionParams::CAUSAL
                };
        require(valid, OpError::BadParams)?;
        Ok(Shape {
            heads: self.heads as usize,
            key_heads: self.key_heads as usize,
            head_dim: self.head_dim as usize,
            slots: self.slots as usize,
        })
    }
}

impl AttentionHalfParams {
    /// The mask's words, if there is one.
    fn mask<'a>(&self, op: &OpView<'a>, rows: usize) -> Result<Option<&'a [u32]>, OpError> {
        if self.seen != AttentionParams::MASK || !ALL {
            return Ok(None);
        }
        let words = rows.checked_mul(mask_words(self.slots));
        op.weights(self.mask, words.ok_or(OpError::BadParams)?)
            .map(Some)
    }
}

/// Words of a mask for one query.
fn mask_words(slots: u32) -> usize {
    slots.div_ceil(32) as usize
}

fn check_window(shape: &Shape, keys: &TensorRecord, values: &TensorRecord) -> Result<(), OpError> {
    half(keys)?;
    half(values)?;
    let holds =
        |tensor: &TensorRecord, groups: usize| Some(tensor.len()) == groups.checked_mul(LANES);
    require(
        holds(keys, shape.keys_len()) && holds(values, shape.values_len()),
        OpError::WrongShape,
    )
}

fn check_ring(ring: &TensorRecord) -> Result<(), OpError> {
    require(ring.dtype() == DType::I32, OpError::WrongType)?;
    require(ring.storage() == Storage::State, OpError::WrongStorage)?;
    let fits = ring.len() == RING_LEN && ring.zero_point == 0;
    require(fits, OpError::WrongShape)
}

fn check_rows(heads: usize, shape: &Shape, rows: &TensorRecord) -> Result<(), OpError> {
    half(rows)?;
    let width = heads.checked_mul(shape.head_dim);
    require(width == Some(rows.channels()), OpError::WrongShape)
}

pub(super) fn check_push(op: &OpView) -> Result<(), OpError> {
    let shape = op.params::<AttentionHalfParams>()?.shape()?;
    let (key, value) = (op.input(0)?, op.input(1)?);
    check_rows(shape.key_heads, &shape, key)?;
    check_rows(shape.key_heads, &shape, value)?;
    require(
        key.rows() == value.rows() && key.rows() <= shape.slots,
        OpError::WrongShape,
    )?;
    if op.input_count() == 2 {
        let (keys, values) = (op.output()?, op.output_at(1)?);
        require(key.rows() == shape.slots, OpError::WrongShape)?;
        op.require_disjoint(&[key, keys, values])?;
        op.require_disjoint(&[value, keys, values])?;
        return check_window(&shape, keys, values);
    }
    let (keys, values, ring) = (op.input(2)?, op.input(3)?, op.input(4)?);
    let kept = keys.storage() == Storage::State && values.storage() == Storage::State;
    require(kept, OpError::WrongStorage)?;
    op.require_disjoint(&[key, keys, values, ring])?;
    op.require_disjoint(&[value, keys, values, ring])?;
    check_ring(ring)?;
    check_window(&shape, keys, values)
}

pub(super) fn run_push(op: &OpView, arena: &mut [u8]) -> Result<(), OpError> {
    let shape = op.params::<AttentionHalfParams>()?.shape()?;
    let streaming = op.input_count() > 2;
    let (keys, values, first) = if streaming {
        (op.input(2)?, op.input(3)?, advance(op, &shape, arena)?)
    } else {
        (op.output()?, op.output_at(1)?, 0)
    };
    let width = (shape.key_heads * shape.head_dim).max(1);
    let slots = (first..shape.slots).chain(0..first);
    // One tensor can be both key and value: each is borrowed by itself.
    let [key, keys] = op.tensors(arena, [op.input(0)?, keys])?;
    let keys = window(keys, streaming)?;
    for (slot, key) in (slots.clone()).zip(arena::typed::<f16>(key)?.chunks_exact(width)) {
        push_key(key, slot, &shape, keys);
    }
    let [value, values] = op.tensors(arena, [op.input(1)?, values])?;
    let values = window(values, streaming)?;
    for (slot, value) in slots.zip(arena::typed::<f16>(value)?.chunks_exact(width)) {
        push_value(value, slot, &shape, values);
    }
    Ok(())
}

/// Packed keys or values to be written: as they were left, or from zero.
fn window(bytes: &mut [u8], streaming: bool) -> Result<&mut [[f16; LANES]], OpError> {
    if !streaming {
        bytes.fill(0);
    }
    arena::typed(bytes)
}

/// The ring's two numbers, in range.
fn ring(op: &OpView, slot: usize, shape: &Shape, arena: &mut [u8]) -> Result<[usize; 2], OpError> {
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

/// Moves the ring on by the rows that are pushed; gives the slot of the first.
fn advance(op: &OpView, shape: &Shape, arena: &mut [u8]) -> Result<usize, OpError> {
    let rows = op.rows(op.input(0)?);
    let [first, filled] = ring(op, 4, shape, arena)?;
    let [bytes] = op.tensors(arena, [op.input(4)?])?;
    let moved = [
        (first + rows) % shape.slots.max(1),
        (filled + rows).min(shape.slots),
    ];
    for (slot, n) in arena::typed::<i32>(bytes)?.iter_mut().zip(moved) {
        *slot = n as i32;
    }
    Ok(first)
}

pub(super) fn check(op: &OpView) -> Result<(), OpError> {
    let params = op.params::<AttentionHalfParams>()?;
    let shape = params.shape()?;
    let (query, keys, values, context) = (op.input(0)?, op.input(1)?, op.input(2)?, op.output()?);
    require(context.storage() == Storage::Arena, OpError::WrongStorage)?;
    check_rows(shape.heads, &shape, query)?;
    check_rows(shape.heads, &shape, context)?;
    require(query.rows() == context.rows(), OpError::WrongShape)?;
    check_window(&shape, keys, values)?;
    match op.input_count() {
        3 => {
            op.check_rows_rule(params.rows_rule, shape.slots)?;
            let ordered = params.seen != AttentionParams::CAUSAL || query.rows() <= shape.slots;
            params.mask(op, query.rows())?;
            require(ordered, OpError::WrongShape)?;
            op.require_disjoint(&[query, keys, values, context])?;
        }
        4 => {
            // All queries of a stream see all that is filled.
            let all = params.seen == AttentionParams::ALL && params.rows_rule == 0;
            require(all, OpError::BadParams)?;
            check_ring(op.input(3)?)?;
            op.require_disjoint(&[query, keys, values, op.input(3)?, context])?;
        }
        _ => return Err(OpError::MissingTensor),
    }
    if let Ok(weights) = op.output_at(1) {
        // Those of one query of one head over a whole window.
        let single = shape.heads == 1 && query.rows() == 1 && op.input_count() == 3;
        require(ALL && single, OpError::WrongShape)?;
        check_weights(weights, shape.slots)?;
        op.require_disjoint(&[query, keys, values, weights])?;
    }
    scratch(op, shape.scratch_len()).map(drop)
}

pub(super) fn run(op: &OpView, arena: &mut [u8]) -> Result<(), OpError> {
    let params = op.params::<AttentionHalfParams>()?;
    let shape = params.shape()?;
    let (query, context) = (op.input(0)?, op.output()?);
    let mask = params.mask(op, query.rows())?;
    // Slots, the last ones, that the first query does not see; each further query sees one more.
    let hidden = if params.seen == AttentionParams::CAUSAL {
        op.rows(query).saturating_sub(1)
    } else {
        0
    };
    let filled = op.active(params.rows_rule, shape.slots);
    let of_ring = match op.input_count() {
        4 => Some(ring(op, 3, &shape, arena)?),
        _ => None,
    };
    let wide = scratch(op, shape.scratch_len())?;
    let [query, keys, values, context, wide_bytes] =
        op.tensors(arena, [query, op.input(1)?, op.input(2)?, context, wide])?;
    let (keys, values) = (
        arena::typed::<[f16; LANES]>(keys)?,
        arena::typed::<[f16; LANES]>(values)?,
    );
    let floats = arena::first::<f32>(wide_bytes, shape.scratch_len())?;
    let width = (shape.heads * shape.head_dim).max(1);
    let mut contexts = arena::typed::<f16>(context)?.chunks_exact_mut(width);
    let queries = arena::typed::<f16>(query)?.chunks_exact(width);
    for (row, query) in queries.enumerate() {
        let Some(context) = contexts.next() else {
            break;
        };
        let seen = match of_ring {
            Some([next, filled]) => Filled::ring(next, filled, shape.slots),
            None => Filled::first(filled.saturating_sub(hidden.saturating_sub(row))),
        };
        let words = mask_words(params.slots);
        let bits = mask.map(|mask| mask.get(row * words..(row + 1) * words).unwrap_or(&[]));
        attend(
            query,
            keys,
            values,
            &seen,
            bits,
            &shape,
            params.score_factor,
            floats,
            context,
        );
    }
    let Ok(weights) = op.output_at(1) else {
        return Ok(());
    };
    // The last row, which is the only one here, left its weights in the scratch.
    let [weights, wide] = op.tensors(arena, [weights, wide])?;
    let (weights, wide) = (arena::typed::<f16>(weights)?, arena::typed::<f32>(wide)?);
    let shares = wide.get_mut(shape.head_dim..).unwrap_or_default();
    write_weights(shares, filled, weights);
    Ok(())
}
