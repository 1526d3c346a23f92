//! Lut: a function of one value, through a table; input and output have the same length. Integer: int8 to int8 through 256
//! entries, or int16 to int16 through an interpolated table. Half: parabolas between equally spaced knots. May run in place.

use super::activations::check_activations;
use super::{OpError, OpView, Uses, arena, in_place, require};
use crate::format::DType;
use crate::kernels::int::elementwise::{interpolate, interpolate_pieces, lut};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

const TABLE_LEN: usize = 256;

/// Parameters of Lut from int8 to int8.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct LutParams {
    /// int8 `[256]` in the weights section; entry 0 is the result for -128.
    pub table: u32,
}

/// Parameters of Lut from int16 to int16.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct WideLutParams {
    /// int16 `[2^(16 - step_bits) + 1]` in the weights section: the results for -32768, `2^step_bits` more and so on, the
    /// last for 32768. Between them results are interpolated linearly.
    pub table: u32,
    /// 0 to 15.
    pub step_bits: u32,
    /// int16 `[point_count, 3]` in the weights section: an input, in ascending order, the result that the line from below ends at, and
    /// the result that the line from above starts at.
    pub points: u32,
    /// Number of points; 0 for a function that the table gives well enough.
    pub point_count: u32,
}

/// A function over int16.
struct WideTable<'a> {
    table: &'a [i16],
    step_bits: u32,
    points: &'a [[i16; 3]],
}

pub(super) fn check(op: &OpView) -> Result<(), OpError> {
    let [x, y] = check_activations(op)?;
    require(x.dtype() == y.dtype(), OpError::WrongType)?;
    require(
        x.len() == y.len() && op.input_count() == 1,
        OpError::WrongShape,
    )?;
    if x.dtype() == DType::I16 {
        let points = wide_table(op)?.points;
        op.examine(size_of_val(points))?;
        return require(points.is_sorted_by(|a, b| a[0] < b[0]), OpError::BadParams);
    }
    op.weights::<i8>(op.params::<LutParams>()?.table, TABLE_LEN)
        .map(drop)
}

/// The function of a Lut over int16.
fn wide_table<'a>(op: &OpView<'a>) -> Result<WideTable<'a>, OpError> {
    let params = op.params::<WideLutParams>()?;
    require(params.step_bits < 16, OpError::BadParams)?;
    let entries = (1usize << (16 - params.step_bits)) + 1;
    let points = match params.point_count {
        0 => &[],
        count => op.weights(params.points, count as usize)?,
    };
    Ok(WideTable {
        table: op.weights(params.table, entries)?,
        step_bits: params.step_bits,
        points,
    })
}

/// The output, which holds a copy of the input.
fn copied<'t>(op: &OpView, arena: &'t mut [u8]) -> Result<&'t mut [u8], OpError> {
    let (x, y) = (op.input(0)?, op.output()?);
    if !in_place(x, y) {
        let [x, y] = op.tensors(arena, [x, y])?;
        arena::copy(x, y);
    }
    let [bytes] = op.tensors(arena, [y])?;
    Ok(bytes)
}

pub(super) fn run<const USES: u8>(op: &OpView, arena: &mut [u8]) -> Result<(), OpError> {
    let bytes = copied(op, arena)?;
    if op.output()?.dtype() == DType::I16 && USES & Uses::Y16 != 0 {
        let WideTable {
            table,
            step_bits,
            points,
        } = wide_table(op)?;
        match points {
            [] => interpolate(table, step_bits, arena::typed(bytes)?),
            points => interpolate_pieces(table, points, step_bits, arena::typed(bytes)?),
        }
    } else {
        let table = op.weights::<i8>(op.params::<LutParams>()?.table, TABLE_LEN)?;
        lut(table, arena::typed(bytes)?);
    }
    Ok(())
}

#[cfg(attn_half)]
pub(super) mod half {
    use super::super::activations::half::check_halves;
    use super::*;
    use crate::kernels::half::function::{Knots, Table, apply};

    /// Parameters of Lut in half precision: a function as parabolas between equally spaced knots, see
    /// [`crate::kernels::half::function::Table`].
    #[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
    #[repr(C)]
    pub struct LutHalfParams {
        /// f32 `[negative + positive, 3]` in the weights section: from 0 downwards, then from 0 upwards.
        pub table: u32,
        /// Parabolas below 0, 1 to 2^16.
        pub negative: u32,
        /// Parabolas above 0, 1 to 2^16.
        pub positive: u32,
        /// 1 / the second knot, which is the distance of knots where they are equally spaced: finite, above 0.
        pub inverse_step: f32,
        /// 0: knots are equally spaced. 1 to 24: they are so in every octave, `2^(octave_bits - 1)` of them.
        pub octave_bits: u32,
    }

    const MAX_PARABOLAS: u32 = 1 << 16;

    impl LutHalfParams {
        fn table<'a>(&self, op: &OpView<'a>) -> Result<Table<'a>, OpError> {
            let in_range = |n: u32| (1..=MAX_PARABOLAS).contains(&n);
            let valid =
                in_range(self.negative) && in_range(self.positive) && self.octave_bits <= 24;
            let scaled = self.inverse_step.is_finite() && self.inverse_step > 0.0;
            require(valid && scaled, OpError::BadParams)?;
            let count = (self.negative + self.positive) as usize;
            let (negative, positive) = op
                .weights(self.table, count)?
                .split_at_checked(self.negative as usize)
                .ok_or(OpError::BadParams)?;
            let inverse_step = self.inverse_step;
            let knots = match 24u32.checked_sub(self.octave_bits) {
                None | Some(24) => Knots::Equal { inverse_step },
                Some(shift) => Knots::Octaves {
                    shift,
                    first: (1.0 / inverse_step).to_bits() >> shift,
                    inverse_step,
                },
            };
            Ok(Table {
                knots,
                negative,
                positive,
            })
        }
    }

    pub(in crate::ops) fn check(op: &OpView) -> Result<(), OpError> {
        let [x, y] = check_halves(op)?;
        require(
            x.len() == y.len() && op.input_count() == 1,
            OpError::WrongShape,
        )?;
        op.params::<LutHalfParams>()?.table(op).map(drop)
    }

    pub(in crate::ops) fn run(op: &OpView, arena: &mut [u8]) -> Result<(), OpError> {
        let table = op.params::<LutHalfParams>()?.table(op)?;
        apply(&table, arena::typed(copied(op, arena)?)?);
        Ok(())
    }
}
