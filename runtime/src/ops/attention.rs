//! Attention and PushKeyValue: softmax attention over a window of packed keys and values.
//!
//! PushKeyValue packs rows of keys and values `[n, heads * head_dim]` int8 (inputs 0 and 1). Streaming: into the
//! state tensors keys, values and ring (inputs 2 to 4), overwriting the oldest. Over a whole window: into two
//! outputs, from the first slot on.
//!
//! Attention reads the query `[rows, heads * head_dim]` int8 or int16 (input 0), packed keys and values (inputs 1
//! and 2) and, when streaming, the ring (input 3). Its output `[rows, heads * head_dim]` is int16 with 1/128 of the
//! values' scale. Scratch is int32: scores, then query and weights in pair order.

use super::arena::{self, Values};
use super::{OpError, OpView, require};
use crate::format::{DType, Storage, TensorRecord};
use crate::kernels::attention::{Scaling, Shape, attend, push_key, push_value};
use crate::kernels::requantize::Activation;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Parameters of Attention and of PushKeyValue.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct AttentionParams {
    /// Number of heads.
    pub heads: u32,
    /// Channels per head.
    pub head_dim: u32,
    /// Keys and values in the window, at most 511.
    pub slots: u32,
    /// From a score to the exponent of 2, Q32; see [`crate::kernels::softmax`]. 0 in PushKeyValue.
    pub score_multiplier: u32,
    /// Zero point of the values. 0 in PushKeyValue.
    pub value_zero_point: i32,
    /// 1: of `rows` queries, query `i` sees the first `slots - rows + 1 + i` slots; 0: all see all. 0 in PushKeyValue.
    pub causal: u32,
    /// Number of the [`crate::format::RowRule`] that says how many slots of a window hold something; 0: all of them.
    /// 0 on a stream and in PushKeyValue.
    pub rows_rule: u32,
}

/// Elements of a ring tensor: next slot to overwrite, number of slots filled.
const RING_LEN: usize = 2;
const MAX_SLOTS: u32 = 511;
const MAX_WIDTH: u32 = 1 << 16;

impl AttentionParams {
    fn shape(&self) -> Result<Shape, OpError> {
        let in_range = |n: u32, max: u32| (1..=max).contains(&n);
        let valid = in_range(self.heads, 64)
            && in_range(self.head_dim, MAX_WIDTH)
            && in_range(self.slots, MAX_SLOTS)
            && self.causal <= 1;
        require(valid, OpError::BadParams)?;
        Ok(Shape {
            heads: self.heads as usize,
            head_dim: self.head_dim as usize,
            slots: self.slots as usize,
        })
    }
}

fn check_window(shape: &Shape, keys: &TensorRecord, values: &TensorRecord) -> Result<(), OpError> {
    require(
        keys.dtype() == DType::I8 && values.dtype() == DType::I8,
        OpError::WrongType,
    )?;
    require(
        keys.len() == shape.keys_len() && values.len() == shape.values_len(),
        OpError::WrongShape,
    )
}

fn check_ring(ring: &TensorRecord) -> Result<(), OpError> {
    require(
        ring.dtype() == DType::I32 && ring.storage() == Storage::State,
        OpError::WrongStorage,
    )?;
    require(
        ring.len() == RING_LEN && ring.zero_point == 0,
        OpError::WrongShape,
    )
}

fn row_width(shape: &Shape, rows: &TensorRecord) -> Result<(), OpError> {
    require(
        rows.channels() == shape.heads * shape.head_dim,
        OpError::WrongShape,
    )
}

pub(super) fn check_push(op: &OpView) -> Result<(), OpError> {
    let shape = op.params::<AttentionParams>()?.shape()?;
    let (key, value) = (op.input(0)?, op.input(1)?);
    require(
        key.dtype() == DType::I8 && value.dtype() == DType::I8,
        OpError::WrongType,
    )?;
    row_width(&shape, key)?;
    row_width(&shape, value)?;
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
    let shape = op.params::<AttentionParams>()?.shape()?;
    let streaming = op.input_count() > 2;
    let (keys, values) = if streaming {
        (op.input(2)?, op.input(3)?)
    } else {
        (op.output()?, op.output_at(1)?)
    };
    let first = if streaming {
        advance(op, &shape, arena)?
    } else {
        let [keys, values] = op.tensors(arena, [keys, values])?;
        keys.fill(0);
        values.fill(0);
        0
    };
    let width = shape.heads * shape.head_dim;
    let slots = (first..shape.slots).chain(0..first);
    // One tensor can be both key and value: each is borrowed by itself.
    let [key, keys] = op.tensors(arena, [op.input(0)?, keys])?;
    let keys = arena::typed::<i8>(keys)?;
    for (slot, key) in (slots.clone()).zip(arena::typed::<i8>(key)?.chunks_exact(width)) {
        push_key(key, slot, &shape, keys);
    }
    let [value, values] = op.tensors(arena, [op.input(1)?, values])?;
    let values = arena::typed::<i8>(values)?;
    for (slot, value) in slots.zip(arena::typed::<i8>(value)?.chunks_exact(width)) {
        push_value(value, slot, &shape, values);
    }
    Ok(())
}

/// Moves the ring on by the rows that are pushed; gives the slot of the first.
fn advance(op: &OpView, shape: &Shape, arena: &mut [u8]) -> Result<usize, OpError> {
    let rows = op.rows(op.input(0)?);
    let [ring] = op.tensors(arena, [op.input(4)?])?;
    let [next, filled] = arena::typed::<i32>(ring)? else {
        return Err(OpError::WrongShape);
    };
    let first = (*next as usize).min(shape.slots - 1);
    *next = ((first + rows) % shape.slots) as i32;
    let used = (*filled).clamp(0, shape.slots as i32) as usize;
    *filled = (used + rows).min(shape.slots) as i32;
    Ok(first)
}

pub(super) fn check(op: &OpView) -> Result<(), OpError> {
    let params = op.params::<AttentionParams>()?;
    let shape = params.shape()?;
    let (query, keys, values, context) = (op.input(0)?, op.input(1)?, op.input(2)?, op.output()?);
    require(
        query.dtype() != DType::I32 && context.dtype() == DType::I16,
        OpError::WrongType,
    )?;
    require(context.storage() == Storage::Arena, OpError::WrongStorage)?;
    require(
        (-128..=127).contains(&params.value_zero_point),
        OpError::BadParams,
    )?;
    row_width(&shape, query)?;
    row_width(&shape, context)?;
    require(query.rows() == context.rows(), OpError::WrongShape)?;
    check_window(&shape, keys, values)?;
    match op.input_count() {
        3 => {
            op.check_rows_rule(params.rows_rule, shape.slots)?;
            let ordered = params.causal == 0 || query.rows() <= shape.slots;
            require(ordered, OpError::WrongShape)?;
            op.require_disjoint(&[query, keys, values, context])?;
        }
        4 => {
            // The slots of a ring are in no order.
            require(
                params.causal == 0 && params.rows_rule == 0,
                OpError::BadParams,
            )?;
            check_ring(op.input(3)?)?;
            op.require_disjoint(&[query, keys, values, op.input(3)?, context])?;
        }
        _ => return Err(OpError::MissingTensor),
    }
    op.scratch(DType::I32, scratch_len(&shape)).map(drop)
}

/// int32 elements of scratch: scores, and half as many as there are int16 in pair order.
fn scratch_len(shape: &Shape) -> usize {
    shape.scores_len() + shape.pairs_len() / 2
}

pub(super) fn run(op: &OpView, arena: &mut [u8]) -> Result<(), OpError> {
    let params = op.params::<AttentionParams>()?;
    let shape = params.shape()?;
    let filled = filled(op, params, &shape, arena)?;
    let (query, context) = (op.input(0)?, op.output()?);
    let scratch = op.scratch(DType::I32, scratch_len(&shape))?;
    let scaling = Scaling {
        score_multiplier: params.score_multiplier,
        query_zero_point: query.zero_point,
        value_zero_point: params.value_zero_point,
    };
    let [query_bytes, keys, values, context, scratch] =
        op.tensors(arena, [query, op.input(1)?, op.input(2)?, context, scratch])?;
    let window = Packed {
        keys: arena::typed(keys)?,
        values: arena::typed(values)?,
        filled,
        hidden: if params.causal == 1 {
            op.rows(query).saturating_sub(1)
        } else {
            0
        },
        shape,
        scaling,
    };
    let context = arena::typed::<i16>(context)?;
    match arena::values(query_bytes, query)? {
        Values::I8(query) => rows(query, &window, scratch, context),
        Values::I16(query) => rows(query, &window, scratch, context),
    }
}

/// Number of slots that hold a key and a value.
fn filled(
    op: &OpView,
    params: &AttentionParams,
    shape: &Shape,
    arena: &mut [u8],
) -> Result<usize, OpError> {
    if op.input_count() == 3 {
        return Ok(op.active(params.rows_rule, shape.slots));
    }
    let [ring] = op.tensors(arena, [op.input(3)?])?;
    let filled = arena::typed::<i32>(ring)?.get(1).copied().unwrap_or(0);
    Ok(filled.clamp(0, shape.slots as i32) as usize)
}

struct Packed<'t> {
    keys: &'t [i8],
    values: &'t [i8],
    filled: usize,
    /// Slots, the last ones, that the first query does not see; each further query sees one more.
    hidden: usize,
    shape: Shape,
    scaling: Scaling,
}

fn rows<Q: Activation>(
    query: &[Q],
    window: &Packed,
    scratch: &mut [u8],
    context: &mut [i16],
) -> Result<(), OpError> {
    let Packed {
        keys,
        values,
        filled,
        hidden,
        shape,
        scaling,
    } = window;
    let (scores, pairs) = scratch
        .split_at_mut_checked(shape.scores_len() * size_of::<i32>())
        .ok_or(OpError::ScratchTooSmall)?;
    let (scores, pairs) = (arena::typed::<i32>(scores)?, arena::typed::<i16>(pairs)?);
    let width = (shape.heads * shape.head_dim).max(1);
    let rows = query
        .chunks_exact(width)
        .zip(context.chunks_exact_mut(width));
    for (row, (query, context)) in rows.enumerate() {
        let seen = filled.saturating_sub(hidden.saturating_sub(row));
        attend(
            query, keys, values, seen, shape, scaling, scores, pairs, context,
        );
    }
    Ok(())
}
