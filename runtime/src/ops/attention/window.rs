//! A window of integers as its bytes, and the queries that meet it: tiles of them, or one by one.

use super::{AttentionParams, biases_of};
use crate::format::TensorRecord;
use crate::kernels::arch::int::TILES;
use crate::kernels::geometry::Shape;
use crate::kernels::int::attention::tile::{Packed, Scratch, attend_tile};
use crate::kernels::int::attention::{Bias, Biases, KeyValue, Scaling, Seen, attend};
use crate::kernels::int::dot::ROWS;
use crate::kernels::int::requantize::Activation;
use crate::ops::arena::{self, Values};
use crate::ops::{OpError, Uses};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Which slots the queries see.
pub(super) struct Visible<'a> {
    /// The first slots, which hold something.
    pub filled: usize,
    /// Of those, the last ones, that the first query does not see; each further query sees one more.
    pub hidden: usize,
    /// Bits of all queries, so many words each.
    pub mask: Option<(&'a [u32], usize)>,
}

impl<'a> Visible<'a> {
    pub fn to(&self, row: usize) -> Seen<'a> {
        let bits = |(mask, words): (&'a [u32], usize)| {
            mask.get(row * words..(row + 1) * words).unwrap_or(&[])
        };
        Seen {
            first: (self.filled).saturating_sub(self.hidden.saturating_sub(row)),
            bits: self.mask.map(bits),
        }
    }
}

/// Biases of all queries in integers.
pub(super) struct RowBiases<'t> {
    values: Values<'t>,
    width: usize,
    zero_point: i32,
    factor: i32,
    shift: u32,
}

impl<'t> RowBiases<'t> {
    pub fn new(
        params: &AttentionParams,
        record: &TensorRecord,
        bytes: &'t mut [u8],
    ) -> Result<Self, OpError> {
        Ok(Self {
            values: arena::values(bytes, record)?,
            width: record.channels(),
            zero_point: record.zero_point,
            factor: params.bias_factor,
            shift: params.bias_shift,
        })
    }

    fn of(&self, row: usize) -> Bias<'_> {
        let biases = match &self.values {
            Values::I8(biases) => Biases::I8(biases_of(biases, self.width, row)),
            Values::I16(biases) => Biases::I16(biases_of(biases, self.width, row)),
        };
        Bias {
            biases,
            zero_point: self.zero_point,
            factor: self.factor,
            shift: self.shift,
        }
    }
}

/// Keys and values as bytes, and how they are seen.
pub(super) struct Window<'t> {
    pub keys: &'t [u8],
    pub values: &'t [u8],
    pub visible: Visible<'t>,
    pub biases: Option<RowBiases<'t>>,
    pub weights: &'t mut [i16],
    pub shape: Shape,
    pub scaling: Scaling,
}

impl Window<'_> {
    /// Elements of a query and of a context.
    fn widths(&self) -> [usize; 2] {
        let shape = &self.shape;
        [shape.head_dim, shape.value_dim].map(|dim| (shape.heads * dim).max(1))
    }

    /// What query `row` sees and adds.
    fn of<const USES: u8>(&self, row: usize) -> (Seen<'_>, Option<Bias<'_>>) {
        let extras = USES & Uses::EXTRAS != 0;
        let biases = self.biases.as_ref().filter(|_| extras);
        let seen = self.visible.to(row);
        // Known to the compiler: the code for masks is then not linked.
        let bits = seen.bits.filter(|_| extras);
        let seen = Seen { bits, ..seen };
        (seen, biases.map(|biases| biases.of(row)))
    }

    /// The places of the weights of `rows` queries from `row` on. A sequence may be shorter than the window.
    fn weights_of<'w, const USES: u8>(
        &self,
        weights: &'w mut [i16],
        row: usize,
        rows: usize,
    ) -> &'w mut [i16] {
        let len = self.shape.heads * self.shape.slots;
        let end = weights.len().min((row + rows) * len);
        let weights = weights.get_mut(row * len..end);
        weights
            .filter(|_| USES & Uses::EXTRAS != 0)
            .unwrap_or_default()
    }

    /// Takes as many queries over int8 keys as make whole tiles, and says how many.
    pub fn attend_tiles<Q: Activation, const USES: u8>(
        &mut self,
        query: &[Q],
        scratch: &mut [u8],
        context: &mut [i16],
    ) -> Result<usize, OpError> {
        let [width, context_width] = self.widths();
        let rows = query.len() / width;
        let scores = ROWS * self.shape.scores_len() * size_of::<i32>();
        let pairs = ROWS * self.shape.pairs_len() * size_of::<i16>();
        // Weights that are given away may be fewer than the queries' in a window that is not full.
        let given = self.weights.len() / (self.shape.heads * self.shape.slots).max(1);
        let whole = self.weights.is_empty() || given >= rows;
        if !TILES
            || USES & Uses::EXTRAS == 0
            || rows < ROWS
            || scratch.len() < scores + pairs
            || !whole
        {
            return Ok(0);
        }
        let Some((scores, pairs)) = scratch.split_at_mut_checked(scores) else {
            return Ok(0);
        };
        let mut scratch = Scratch {
            scores: arena::typed(scores)?,
            pairs: arena::typed(pairs)?,
        };
        let all_weights = core::mem::take(&mut self.weights);
        let packed = Packed {
            keys: arena::typed_ref(self.keys)?,
            values: arena::typed_ref(self.values)?,
            shape: &self.shape,
            scaling: &self.scaling,
        };
        let tiles = query.chunks_exact(ROWS * width);
        let contexts = context.chunks_exact_mut(ROWS * context_width);
        let mut row = 0;
        for (query, context) in tiles.zip(contexts) {
            let weights = self.weights_of::<USES>(all_weights, row, ROWS);
            let each = |i: usize| self.of::<USES>(row + i);
            attend_tile(query, &packed, &each, &mut scratch, context, weights);
            row += ROWS;
        }
        self.weights = all_weights;
        Ok(row)
    }

    /// Takes the queries from number `done` on, one by one.
    pub fn attend<K, Q, const USES: u8>(
        mut self,
        query: &[Q],
        done: usize,
        scratch: &mut [u8],
        context: &mut [i16],
    ) -> Result<(), OpError>
    where
        K: KeyValue + FromBytes + IntoBytes + Immutable + KnownLayout,
        Q: Activation,
    {
        let (keys, values) = (
            arena::typed_ref::<K>(self.keys)?,
            arena::typed_ref(self.values)?,
        );
        let scores = self.shape.scores_len() * size_of::<i32>();
        let (scores, pairs) = scratch
            .split_at_mut_checked(scores)
            .ok_or(OpError::ScratchTooSmall)?;
        let (scores, pairs) = (arena::typed(scores)?, arena::typed(pairs)?);
        let [width, context_width] = self.widths();
        let contexts = context.chunks_exact_mut(context_width);
        let all_weights = core::mem::take(&mut self.weights);
        for (row, (query, context)) in query
            .chunks_exact(width)
            .zip(contexts)
            .enumerate()
            .skip(done)
        {
            let (seen, bias) = self.of::<USES>(row);
            let weights = self.weights_of::<USES>(all_weights, row, 1);
            let (shape, scaling) = (&self.shape, &self.scaling);
            attend(
                query, keys, values, seen, bias, shape, scaling, scores, pairs, context, weights,
            );
        }
        Ok(())
    }
}
