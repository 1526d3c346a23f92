//! Attention: softmax attention over a window of packed keys and values, see [`super::key_value`].
//!
//! Reads the query `[rows, heads * head_dim]` (input 0), packed keys and values (inputs 1 and 2) and, when streaming, the ring
//! (input 3). Over a whole window, input 3 may be biases, which are added to the scores: `[rows, heads * slots]`, the same for all
//! heads `[rows, slots]`, for all queries `[1, heads * slots]` or for both `[1, slots]`. The output is `[rows, heads * value_dim]`. A
//! second output over a whole window has the weights `[rows, heads * slots]`; those of a single query of one head may be `[slots, 1]`.
//!
//! Integer: the query is int8 or int16, the output int16 with 1/128 of the scale of int8 values or with that of int16 values,
//! the weights int16 (32767 is 1). Scratch int32: scores, then query and weights in pair order. Half: scratch f32 for query and
//! scores.

use super::additive::check_weights;
use super::arena::{self, Values, by_width};
use super::key_value::{check_ring, check_scores, check_width, check_window, ring};
use super::{OpError, OpView, Uses, require};
use crate::format::{DType, OpFacts, Storage, TensorRecord};
use crate::kernels::geometry::Shape;
use crate::kernels::int::attention::{MAX_SLOTS, Scaling, Seen};
use crate::kernels::int::dot::ROWS;
use core::mem::offset_of;
use window::{RowBiases, Visible, Window};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

mod window;

/// The window of Attention and of PushKeyValue and what queries see of it, in every encoding. PushKeyValue has 0 in `seen`,
/// `mask` and `rows_rule`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct AttentionGeometry {
    /// Number of heads.
    pub heads: u32,
    /// Heads of keys and values, a divisor of `heads`; adjacent heads of queries share one.
    pub key_heads: u32,
    /// Channels per head.
    pub head_dim: u32,
    /// Keys and values in the window.
    pub slots: u32,
    /// Which slots a query sees: [`Self::ALL`], [`Self::CAUSAL`] or [`Self::MASK`].
    pub seen: u32,
    /// With `MASK`, u32 in the weights section, `ceil(slots / 32)` for each query: bit `slot % 32` of word `slot / 32` is
    /// set where the query sees the slot. 0 otherwise.
    pub mask: u32,
    /// Number of the [`crate::format::RowRule`] that gives the filled slots of a window; 0: all of them. 0 on a stream.
    pub rows_rule: u32,
    /// Channels per head of values; 0: `head_dim`.
    pub value_dim: u32,
    /// 1: the fourth input is biases; otherwise 0.
    pub biased: u32,
}

/// Parameters of Attention and of PushKeyValue, which has 0 in all fields but the window.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct AttentionParams {
    /// From a score to the exponent of 2, Q32; see [`crate::kernels::int::softmax`].
    pub score_multiplier: u32,
    /// Zero point of int8 values; 0 for int16.
    pub value_zero_point: i32,
    /// Right shift of the scores of int16 keys, 0 to 31; 0 for int8.
    pub score_shift: u32,
    /// Shape and visibility.
    pub window: AttentionGeometry,
    /// From a bias to a score, times `2^bias_shift`; 0 without biases.
    pub bias_factor: i32,
    /// 0 to 31.
    pub bias_shift: u32,
}

impl AttentionParams {
    pub(super) fn shape(&self) -> Result<Shape, OpError> {
        let shifts = self.score_shift.max(self.bias_shift);
        require(shifts < u32::BITS, OpError::BadParams)?;
        self.window.shape(MAX_SLOTS)
    }
}

impl AttentionGeometry {
    /// Every query sees every slot.
    pub const ALL: u32 = 0;
    /// Of `rows` queries, query `i` sees the first `slots - rows + 1 + i` slots, which may be none.
    pub const CAUSAL: u32 = 1;
    /// The bits at `mask` say which.
    pub const MASK: u32 = 2;

    /// The mask's words, if there is one.
    fn mask<'a, const USES: u8>(
        &self,
        op: &OpView<'a>,
        shape: &Shape,
        rows: usize,
    ) -> Result<Option<&'a [u32]>, OpError> {
        if self.seen != AttentionGeometry::MASK || USES & Uses::EXTRAS == 0 {
            return Ok(None);
        }
        let words = rows.saturating_mul(shape.mask_words());
        op.weights(self.mask, words).map(Some)
    }

    /// What queries see of the first `filled` slots.
    fn visible<'a, const USES: u8>(
        &self,
        op: &OpView<'a>,
        shape: &Shape,
        filled: usize,
    ) -> Result<Visible<'a>, OpError> {
        let query = op.input(0)?;
        let causal = self.seen == AttentionGeometry::CAUSAL;
        let mask = self.mask::<USES>(op, shape, query.rows())?;
        Ok(Visible {
            filled,
            hidden: if causal {
                op.rows(query).saturating_sub(1)
            } else {
                0
            },
            mask: mask.map(|mask| (mask, shape.mask_words())),
        })
    }

    /// Shapes and places of all tensors, whatever their types; the window is checked by its encoding.
    fn check(&self, op: &OpView, shape: &Shape) -> Result<(), OpError> {
        let (query, keys, values, context) =
            (op.input(0)?, op.input(1)?, op.input(2)?, op.output()?);
        require(self.seen <= AttentionGeometry::MASK, OpError::BadParams)?;
        require(context.storage() == Storage::Arena, OpError::WrongStorage)?;
        check_width(shape.heads, shape.head_dim, query)?;
        check_width(shape.heads, shape.value_dim, context)?;
        require(query.rows() == context.rows(), OpError::WrongShape)?;
        self.mask::<{ Uses::ALL }>(op, shape, query.rows())?;
        let channels = shape.head_dim.saturating_add(shape.value_dim);
        let products = shape.heads.saturating_mul(channels);
        op.count_macs(query.rows(), products.saturating_mul(shape.slots));
        match op.input_count() {
            3 => {
                require(self.biased == 0, OpError::MissingTensor)?;
                op.check_rows_rule(self.rows_rule, shape.slots)?;
                op.require_disjoint(&[query, keys, values, context])?;
            }
            4 if self.biased != 0 => self.check_biases(op, shape)?,
            4 => {
                // The slots of a ring are in no order.
                let all = self.seen == AttentionGeometry::ALL && self.rows_rule == 0;
                require(all, OpError::BadParams)?;
                check_ring(op.input(3)?)?;
                op.require_disjoint(&[query, keys, values, op.input(3)?, context])?;
            }
            _ => return Err(OpError::MissingTensor),
        }
        let vary_with = |tensor: &TensorRecord, rule: u32| {
            let own = u32::from(tensor.rows_rule);
            require(own == 0 || own == rule, OpError::RowsDiffer)
        };
        vary_with(keys, self.rows_rule)?;
        vary_with(values, self.rows_rule)?;
        vary_with(query, context.rows_rule.into())?;
        let Ok(weights) = op.output_at(1) else {
            return Ok(());
        };
        let whole = op.input_count() == 3 || self.biased != 0;
        require(whole, OpError::WrongShape)?;
        if shape.heads == 1 && query.rows() == 1 {
            check_weights(op, shape.slots, self.rows_rule != 0)?;
            // A row of weights for each slot: those that are not in use are not written, and not read.
            let rule = u32::from(weights.rows_rule);
            require(rule == self.rows_rule, OpError::RowsDiffer)?;
        } else {
            vary_with(weights, context.rows_rule.into())?;
            let fits = weights.rows() == query.rows()
                && Some(weights.channels()) == shape.heads.checked_mul(shape.slots);
            require(fits && self.rows_rule == 0, OpError::WrongShape)?;
            let known = weights.dtype() == context.dtype();
            require(known, OpError::WrongType)?;
            require(weights.storage() == Storage::Arena, OpError::WrongStorage)?;
        }
        op.require_disjoint(&[query, keys, values, weights])
    }

    /// Biases for one query or all, of one head or all; no ring, and no rows that are left out.
    fn check_biases(&self, op: &OpView, shape: &Shape) -> Result<(), OpError> {
        let (query, keys, values, context) =
            (op.input(0)?, op.input(1)?, op.input(2)?, op.output()?);
        let biases = op.input(3)?;
        require(self.biased == 1, OpError::BadParams)?;
        require(self.rows_rule == 0, OpError::BadParams)?;
        let heads = [1, shape.heads].map(|heads| heads.checked_mul(shape.slots));
        let fits =
            [1, query.rows()].contains(&biases.rows()) && heads.contains(&Some(biases.channels()));
        require(fits, OpError::WrongShape)?;
        op.require_disjoint(&[query, keys, values, biases, context])
    }

    /// The biases, if there are any.
    fn biases<'a, const USES: u8>(
        &self,
        op: &OpView<'a>,
    ) -> Result<Option<&'a TensorRecord>, OpError> {
        match USES & Uses::EXTRAS != 0 && self.biased != 0 {
            true => op.input(3).map(Some),
            false => Ok(None),
        }
    }
}

/// The biases of query number `row`, of `width` elements for one query: all queries may have the same.
fn biases_of<B>(biases: &[B], width: usize, row: usize) -> &[B] {
    let start = if biases.len() > width { row * width } else { 0 };
    biases.get(start..start + width).unwrap_or(&[])
}

pub(super) fn check(op: &OpView) -> Result<(), OpError> {
    let params = op.params::<AttentionParams>()?;
    let shape = params.shape()?;
    params.window.check(op, &shape)?;
    let (query, keys, values, context) = (op.input(0)?, op.input(1)?, op.input(2)?, op.output()?);
    let known = query.dtype() != DType::I32 && context.dtype() == DType::I16;
    require(known, OpError::WrongType)?;
    check_window(op, &shape, keys, values)?;
    check_scores(query, keys, &shape, params.score_shift)?;
    let zero_points = if keys.dtype() == DType::I8 {
        -128..=127
    } else {
        0..=0
    };
    let in_range = zero_points.contains(&params.value_zero_point);
    require(in_range, OpError::BadParams)?;
    if let Some(biases) = params.window.biases::<{ Uses::ALL }>(op)? {
        require(biases.dtype() != DType::I32, OpError::WrongType)?;
    }
    op.scratch(DType::I32, scratch_len(&shape)).map(drop)
}

/// int32 elements of scratch for a query: scores, and half as many as there are int16 in pair order. With as much for each row
/// of a tile, int8 keys meet the queries of a tile at once.
fn scratch_len(shape: &Shape) -> usize {
    shape.scores_len() + shape.pairs_len() / 2
}

/// Beyond the plain form: queries for a tile, int16 keys and values, a mask, biases, weights that are given away.
pub(super) const fn has_extras(op: &OpFacts) -> bool {
    let mask = AttentionGeometry::MASK;
    op.rows >= ROWS
        || matches!(op.inputs[1], Some(DType::I16))
        || op.outputs[1].is_some()
        || op.param(offset_of!(AttentionParams, window.seen)) == mask
        || op.param(offset_of!(AttentionParams, window.biased)) != 0
}

pub(super) fn run<const USES: u8>(op: &OpView, arena: &mut [u8]) -> Result<(), OpError> {
    let params = op.params::<AttentionParams>()?;
    let shape = params.shape()?;
    let biases = params.window.biases::<USES>(op)?;
    let filled = match op.input_count() {
        4 if biases.is_none() => ring(op, 3, &shape, arena)?[1],
        _ => op.active(params.window.rows_rule, shape.slots),
    };
    let (query, context) = (op.input(0)?, op.output()?);
    let scratch = op.scratch(DType::I32, scratch_len(&shape))?;
    let scaling = Scaling {
        score_multiplier: params.score_multiplier,
        score_shift: params.score_shift,
        query_zero_point: query.zero_point,
        value_zero_point: params.value_zero_point,
    };
    let (keys, values) = (op.input(1)?, op.input(2)?);
    let records = [query, keys, values, context, scratch];
    let (mains, [bias_bytes, weights]) = with_extras::<USES>(op, arena, records, biases)?;
    let [query_bytes, keys, values, context, scratch_bytes] = mains;
    let biases = match biases {
        Some(record) => Some(RowBiases::new(&params, record, bias_bytes)?),
        None => None,
    };
    let mut window = Window {
        keys,
        values,
        visible: params.window.visible::<USES>(op, &shape, filled)?,
        biases,
        weights: match weights.is_empty() {
            true => &mut [],
            false => arena::typed(weights)?,
        },
        shape,
        scaling,
    };
    let context = arena::typed::<i16>(context)?;
    let query = arena::values(query_bytes, query)?;
    if op.input(1)?.dtype() == DType::I16 && USES & Uses::EXTRAS != 0 {
        by_width!(USES; query => window.attend::<i16, _, USES>(query, 0, scratch_bytes, context)?);
    } else {
        by_width!(USES; query => {
            let done = match USES & Uses::ROWS {
                0 => 0,
                _ => window.attend_tiles::<_, USES>(query, scratch_bytes, context)?,
            };
            window.attend::<i8, _, USES>(query, done, scratch_bytes, context)?;
        });
    }
    Ok(())
}

/// The bytes of an attention's tensors, of its biases and of its weights, where it has them.
#[allow(clippy::type_complexity)] // two arrays of slices
fn with_extras<'t, const USES: u8>(
    op: &OpView,
    arena: &'t mut [u8],
    [query, keys, values, context, scratch]: [&TensorRecord; 5],
    biases: Option<&TensorRecord>,
) -> Result<([&'t mut [u8]; 5], [&'t mut [u8]; 2]), OpError> {
    if USES & Uses::EXTRAS == 0 {
        let mains = op.tensors(arena, [query, keys, values, context, scratch])?;
        return Ok((mains, [&mut [], &mut []]));
    }
    let mains = [query, keys, values, context, scratch].map(Some);
    let [query, keys, values, context, scratch] = mains;
    let weights = op.output_at(1).ok();
    let all = [query, keys, values, context, scratch, biases, weights];
    let [query, keys, values, context, scratch, biases, weights] = op.some_tensors(arena, all)?;
    Ok(([query, keys, values, context, scratch], [biases, weights]))
}

#[cfg(attn_half)]
pub(super) mod half {
    use super::super::activations::half::{check_half, scratch};
    use super::super::key_value::half::check_window;
    use super::*;
    use crate::f16;
    use crate::kernels::half::LANES;
    use crate::kernels::half::attention::{Filled, MAX_SLOTS, attend};

    /// Parameters of Attention and of PushKeyValue in half precision.
    #[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
    #[repr(C)]
    pub struct AttentionHalfParams {
        /// Factor on the scores times log2(e); finite.
        pub score_factor: f32,
        /// Shape and visibility.
        pub window: AttentionGeometry,
    }

    impl AttentionHalfParams {
        pub(in crate::ops) fn shape(&self) -> Result<Shape, OpError> {
            require(self.score_factor.is_finite(), OpError::BadParams)?;
            self.window.shape(MAX_SLOTS)
        }
    }

    pub(in crate::ops) fn check(op: &OpView) -> Result<(), OpError> {
        let params = op.params::<AttentionHalfParams>()?;
        let shape = params.shape()?;
        params.window.check(op, &shape)?;
        let (query, keys, values, context) =
            (op.input(0)?, op.input(1)?, op.input(2)?, op.output()?);
        check_half(query)?;
        check_half(context)?;
        if let Some(biases) = params.window.biases::<{ Uses::ALL }>(op)? {
            check_half(biases)?;
        }
        check_window(op, &shape, keys, values)?;
        let ordered =
            params.window.seen != AttentionGeometry::CAUSAL || query.rows() <= shape.slots;
        require(ordered, OpError::WrongShape)?;
        scratch(op, shape.scratch_len()).map(drop)
    }

    pub(in crate::ops) fn run(op: &OpView, arena: &mut [u8]) -> Result<(), OpError> {
        let params = op.params::<AttentionHalfParams>()?;
        let shape = params.shape()?;
        let (query, context) = (op.input(0)?, op.output()?);
        let filled = op.active(params.window.rows_rule, shape.slots);
        let visible = params.window.visible::<{ Uses::ALL }>(op, &shape, filled)?;
        let biases = params.window.biases::<{ Uses::ALL }>(op)?;
        let of_ring = match op.input_count() {
            4 if biases.is_none() => Some(ring(op, 3, &shape, arena)?),
            _ => None,
        };
        let wide = scratch(op, shape.scratch_len())?;
        let (keys, values) = (op.input(1)?, op.input(2)?);
        let records = [query, keys, values, context, wide];
        let (mains, extras) = with_extras::<{ Uses::ALL }>(op, arena, records, biases)?;
        let [query, keys, values, context, wide_bytes] = mains;
        let [halves, weights] = arena::try_map(extras, |bytes| match bytes.is_empty() {
            true => Ok(&mut [][..]),
            false => arena::typed::<f16>(bytes),
        })?;
        let bias_width = biases.map_or(0, |record| record.channels());
        let (keys, values) = (
            arena::typed::<[f16; LANES]>(keys)?,
            arena::typed::<[f16; LANES]>(values)?,
        );
        let floats = arena::first::<f32>(wide_bytes, shape.scratch_len())?;
        let width = (shape.heads * shape.head_dim).max(1);
        let queries = arena::typed::<f16>(query)?.chunks_exact(width);
        let value_width = (shape.heads * shape.value_dim).max(1);
        let mut contexts = arena::typed::<f16>(context)?.chunks_exact_mut(value_width);
        let factor = params.score_factor;
        for (row, query) in queries.enumerate() {
            // Not zipped: that would divide by the length of a row, which the compiler does not know to be above 0.
            let Some(context) = contexts.next() else {
                break;
            };
            let Seen { first, bits } = visible.to(row);
            let seen = match of_ring {
                Some([next, filled]) => Filled::ring(next, filled, shape.slots),
                None => Filled::first(first),
            };
            let biases = biases_of(halves, bias_width, row);
            let len = shape.heads * shape.slots;
            let end = weights.len().min((row + 1) * len);
            let weights = weights.get_mut(row * len..end).unwrap_or_default();
            attend(
                query, keys, values, &seen, bits, biases, &shape, factor, floats, context, weights,
            );
        }
        Ok(())
    }
}
