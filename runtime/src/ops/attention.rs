//! Attention and PushKeyValue: softmax attention over a window of packed keys and values.
//!
//! PushKeyValue packs rows of keys and values `[n, key_heads * head_dim]`, both int8 or both int16 (inputs 0 and 1).
//! Streaming: into the state tensors keys, values and ring (inputs 2 to 4), overwriting the oldest. Over a whole window:
//! into two outputs, from the first slot on.
//!
//! Attention reads the query `[rows, heads * head_dim]` int8 or int16 (input 0), packed keys and values (inputs 1
//! and 2) and, when streaming, the ring (input 3). Its output `[rows, heads * head_dim]` is int16 with 1/128 of the
//! scale of int8 values or with that of int16 values. A second output, for a single query of one head over a whole
//! window, has its weights `[slots, 1]` int16 (32767 is 1). Scratch is int32: scores, then query and weights in pair order.

use super::arena::{self, Values};
use super::{ALL, OpError, OpView, require};
use crate::format::{DType, Storage, TensorRecord};
use crate::kernels::additive::normalize;
use crate::kernels::attention::{
    KeyValue, MAX_SLOTS, Scaling, Seen, Shape, attend, push_key, push_value,
};
use crate::kernels::dot::{pair_index, pairs_len};
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
    /// Keys and values in the window, at most [`MAX_SLOTS`].
    pub slots: u32,
    /// From a score to the exponent of 2, Q32; see [`crate::kernels::softmax`]. 0 in PushKeyValue.
    pub score_multiplier: u32,
    /// Zero point of int8 values; 0 for int16 and in PushKeyValue.
    pub value_zero_point: i32,
    /// Right shift of the scores of int16 keys, 0 to 31; 0 for int8 and in PushKeyValue.
    pub score_shift: u32,
    /// Which slots a query sees: one of [`AttentionParams::ALL`], [`AttentionParams::CAUSAL`] and
    /// [`AttentionParams::MASK`].
    pub seen: u32,
    /// With `MASK`, u32 in the weights section, `ceil(slots / 32)` for each query: bit `slot % 32` of word `slot / 32` is
    /// set where the query sees the slot. 0 otherwise.
    pub mask: u32,
    /// Number of the [`crate::format::RowRule`] that says how many slots of a window hold something; 0: all of them.
    /// 0 on a stream and in PushKeyValue.
    pub rows_rule: u32,
    /// Heads of keys and values, a divisor of `heads`; adjacent heads of queries share one.
    pub key_heads: u32,
}

/// Elements of a ring tensor: next slot to overwrite, number of slots filled.
const RING_LEN: usize = 2;
const MAX_WIDTH: u32 = 1 << 16;

impl AttentionParams {
    /// Every query sees every slot.
    pub const ALL: u32 = 0;
    /// Of `rows` queries, query `i` sees the first `slots - rows + 1 + i` slots, which may be none.
    pub const CAUSAL: u32 = 1;
    /// The bits at `mask` say which.
    pub const MASK: u32 = 2;

    /// The mask's words, if there is one.
    fn mask<'a>(&self, op: &OpView<'a>, rows: usize) -> Result<Option<&'a [u32]>, OpError> {
        if self.seen != Self::MASK || !ALL {
            return Ok(None);
        }
        let words = rows.saturating_mul((self.slots as usize).div_ceil(u32::BITS as usize));
        op.weights(self.mask, words).map(Some)
    }

    fn shape(&self) -> Result<Shape, OpError> {
        let in_range = |n: u32, max: u32| (1..=max).contains(&n);
        let valid = in_range(self.heads, 64)
            && in_range(self.key_heads, self.heads)
            && self.heads.is_multiple_of(self.key_heads)
            && in_range(self.head_dim, MAX_WIDTH)
            && in_range(self.slots, MAX_SLOTS as u32)
            && self.score_shift < u32::BITS
            && self.seen <= if ALL { Self::MASK } else { Self::CAUSAL };
        require(valid, OpError::BadParams)?;
        Ok(Shape {
            heads: self.heads as usize,
            key_heads: self.key_heads as usize,
            head_dim: self.head_dim as usize,
            slots: self.slots as usize,
        })
    }
}

fn check_window(shape: &Shape, keys: &TensorRecord, values: &TensorRecord) -> Result<(), OpError> {
    check_types(keys, values)?;
    require(
        keys.len() == shape.keys_len() && values.len() == shape.values_len(),
        OpError::WrongShape,
    )
}

/// Keys and values are both int8 or both int16.
fn check_types(keys: &TensorRecord, values: &TensorRecord) -> Result<(), OpError> {
    let known = keys.dtype() == DType::I8 || (ALL && keys.dtype() == DType::I16);
    require(known && keys.dtype() == values.dtype(), OpError::WrongType)
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

fn row_width(heads: usize, shape: &Shape, rows: &TensorRecord) -> Result<(), OpError> {
    require(
        rows.channels() == heads * shape.head_dim,
        OpError::WrongShape,
    )
}

pub(super) fn check_push(op: &OpView) -> Result<(), OpError> {
    let shape = op.params::<AttentionParams>()?.shape()?;
    let (key, value) = (op.input(0)?, op.input(1)?);
    check_types(key, value)?;
    row_width(shape.key_heads, &shape, key)?;
    row_width(shape.key_heads, &shape, value)?;
    require(
        key.rows() == value.rows() && key.rows() <= shape.slots,
        OpError::WrongShape,
    )?;
    if op.input_count() == 2 {
        let (keys, values) = (op.output()?, op.output_at(1)?);
        require(key.rows() == shape.slots, OpError::WrongShape)?;
        op.require_disjoint(&[key, keys, values])?;
        op.require_disjoint(&[value, keys, values])?;
        require(keys.dtype() == key.dtype(), OpError::WrongType)?;
        return check_window(&shape, keys, values);
    }
    let (keys, values, ring) = (op.input(2)?, op.input(3)?, op.input(4)?);
    let kept = keys.storage() == Storage::State && values.storage() == Storage::State;
    require(kept, OpError::WrongStorage)?;
    op.require_disjoint(&[key, keys, values, ring])?;
    op.require_disjoint(&[value, keys, values, ring])?;
    check_ring(ring)?;
    require(keys.dtype() == key.dtype(), OpError::WrongType)?;
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
    if keys.dtype() == DType::I16 && ALL {
        push::<i16>(op, &shape, first, [keys, values], arena)
    } else {
        push::<i8>(op, &shape, first, [keys, values], arena)
    }
}

/// Packs the rows of both inputs, from slot `first` on and around.
fn push<K: KeyValue + FromBytes + IntoBytes + Immutable + KnownLayout>(
    op: &OpView,
    shape: &Shape,
    first: usize,
    [keys, values]: [&TensorRecord; 2],
    arena: &mut [u8],
) -> Result<(), OpError> {
    let width = (shape.key_heads * shape.head_dim).max(1);
    let slots = (first..shape.slots).chain(0..first);
    // One tensor can be both key and value: each is borrowed by itself.
    let [key, keys] = op.tensors(arena, [op.input(0)?, keys])?;
    let keys = arena::typed::<K>(keys)?;
    for (slot, key) in (slots.clone()).zip(arena::typed::<K>(key)?.chunks_exact(width)) {
        push_key(key, slot, shape, keys);
    }
    let [value, values] = op.tensors(arena, [op.input(1)?, values])?;
    let values = arena::typed::<K>(values)?;
    for (slot, value) in slots.zip(arena::typed::<K>(value)?.chunks_exact(width)) {
        push_value(value, slot, shape, values);
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
    let used = (*filled).min(shape.slots as i32).max(0) as usize;
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
    row_width(shape.heads, &shape, query)?;
    row_width(shape.heads, &shape, context)?;
    require(query.rows() == context.rows(), OpError::WrongShape)?;
    check_window(&shape, keys, values)?;
    let zero_point_of_int16 = keys.dtype() == DType::I8 || params.value_zero_point == 0;
    require(zero_point_of_int16, OpError::BadParams)?;
    params.mask(op, query.rows())?;
    match op.input_count() {
        3 => {
            op.check_rows_rule(params.rows_rule, shape.slots)?;
            op.require_disjoint(&[query, keys, values, context])?;
        }
        4 => {
            // The slots of a ring are in no order.
            let all = params.seen == AttentionParams::ALL;
            require(all && params.rows_rule == 0, OpError::BadParams)?;
            check_ring(op.input(3)?)?;
            op.require_disjoint(&[query, keys, values, op.input(3)?, context])?;
        }
        _ => return Err(OpError::MissingTensor),
    }
    check_weights(op, &shape)?;
    op.scratch(DType::I32, scratch_len(&shape)).map(drop)
}

/// The weights, a second output, are those of one query of one head.
fn check_weights(op: &OpView, shape: &Shape) -> Result<(), OpError> {
    let Ok(weights) = op.output_at(1) else {
        return Ok(());
    };
    let (query, keys, values) = (op.input(0)?, op.input(1)?, op.input(2)?);
    require(
        ALL && weights.dtype() == DType::I16 && op.input_count() == 3,
        OpError::WrongType,
    )?;
    let single = shape.heads == 1 && query.rows() == 1;
    require(
        single && weights.rows() == shape.slots && weights.channels() == 1,
        OpError::WrongShape,
    )?;
    require(weights.storage() == Storage::Arena, OpError::WrongStorage)?;
    op.require_disjoint(&[query, keys, values, weights])
}

/// Hands out the weights that the last row left in the scratch, normalised.
fn write_weights(
    op: &OpView,
    shape: &Shape,
    scratch: &TensorRecord,
    arena: &mut [u8],
) -> Result<(), OpError> {
    let Ok(weights) = op.output_at(1) else {
        return Ok(());
    };
    let [scratch, weights] = op.tensors(arena, [scratch, weights])?;
    let pairs = arena::typed::<i16>(scratch)?;
    let at = 2 * shape.scores_len() + pairs_len(shape.head_dim);
    let pairs = pairs.get(at..).ok_or(OpError::ScratchTooSmall)?;
    let weights = arena::typed::<i16>(weights)?;
    for (slot, weight) in weights.iter_mut().enumerate() {
        *weight = pairs.get(pair_index(slot)).copied().unwrap_or(0);
    }
    let total = weights.iter().map(|&w| u32::from(w as u16)).sum();
    normalize(weights, total);
    Ok(())
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
        score_shift: params.score_shift,
        query_zero_point: query.zero_point,
        value_zero_point: params.value_zero_point,
    };
    let [query_bytes, keys, values, context, scratch_bytes] =
        op.tensors(arena, [query, op.input(1)?, op.input(2)?, context, scratch])?;
    let visible = Visible {
        filled,
        hidden: if params.seen == AttentionParams::CAUSAL {
            op.rows(query).saturating_sub(1)
        } else {
            0
        },
        mask: params.mask(op, query.rows())?,
    };
    let context = arena::typed::<i16>(context)?;
    let query = arena::values(query_bytes, query)?;
    if op.input(1)?.dtype() == DType::I16 && ALL {
        let window: Packed<i16> = Packed::of(keys, values, visible, shape, scaling)?;
        window.attend(query, scratch_bytes, context)?;
    } else {
        let window: Packed<i8> = Packed::of(keys, values, visible, shape, scaling)?;
        window.attend(query, scratch_bytes, context)?;
    }
    if ALL {
        write_weights(op, &shape, scratch, arena)?;
    }
    Ok(())
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
    Ok(filled.min(shape.slots as i32).max(0) as usize)
}

/// Which slots the queries see.
#[derive(Clone, Copy)]
struct Visible<'a> {
    /// The first slots, which hold something.
    filled: usize,
    /// Of those, the last ones, that the first query does not see; each further query sees one more.
    hidden: usize,
    /// Bits of all queries, one after the other.
    mask: Option<&'a [u32]>,
}

struct Packed<'t, K> {
    keys: &'t [K],
    values: &'t [K],
    visible: Visible<'t>,
    shape: Shape,
    scaling: Scaling,
}

impl<'t, K: KeyValue + FromBytes + IntoBytes + Immutable + KnownLayout> Packed<'t, K> {
    fn of(
        keys: &'t mut [u8],
        values: &'t mut [u8],
        visible: Visible<'t>,
        shape: Shape,
        scaling: Scaling,
    ) -> Result<Self, OpError> {
        Ok(Self {
            keys: arena::typed(keys)?,
            values: arena::typed(values)?,
            visible,
            shape,
            scaling,
        })
    }

    fn attend(
        &self,
        query: Values,
        scratch: &mut [u8],
        context: &mut [i16],
    ) -> Result<(), OpError> {
        match query {
            Values::I8(query) => self.rows(query, scratch, context),
            Values::I16(query) => self.rows(query, scratch, context),
        }
    }

    fn rows<Q: Activation>(
        &self,
        query: &[Q],
        scratch: &mut [u8],
        context: &mut [i16],
    ) -> Result<(), OpError> {
        let (shape, visible) = (&self.shape, &self.visible);
        let (scores, pairs) = scratch
            .split_at_mut_checked(shape.scores_len() * size_of::<i32>())
            .ok_or(OpError::ScratchTooSmall)?;
        let (scores, pairs) = (arena::typed::<i32>(scores)?, arena::typed::<i16>(pairs)?);
        let width = (shape.heads * shape.head_dim).max(1);
        let words = shape.slots.div_ceil(u32::BITS as usize);
        let rows = query
            .chunks_exact(width)
            .zip(context.chunks_exact_mut(width));
        for (row, (query, context)) in rows.enumerate() {
            let bits = |mask: &'t [u32]| mask.get(row * words..(row + 1) * words).unwrap_or(&[]);
            let seen = Seen {
                first: (visible.filled).saturating_sub(visible.hidden.saturating_sub(row)),
                bits: visible.mask.map(bits),
            };
            attend(
                query,
                self.keys,
                self.values,
                seen,
                shape,
                &self.scaling,
                scores,
                pairs,
                context,
            );
        }
        Ok(())
    }
}
