//! Copy: the elements of a tensor in another order, some of them more than once or not at all. The input has any shape; the output
//! the same type and zero point. Any encoding, no scratch.

use super::{OpError, OpView, require};
use crate::format::DType;
use crate::kernels::base::{MAX_AXES, NO_ELEMENT, Strides, copy_indexed, copy_strided};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Parameters of Copy.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct CopyParams {
    /// 0: in an order that strides give. 1: by a table.
    pub by_table: u32,
    /// By strides: the input's element for index 0. By a table: where that is in the weights section, one u32 for each element of the
    /// output, [`NO_ELEMENT`] for 0.0.
    pub start: u32,
    /// Sizes of the output's axes, row-major; 1 where there are fewer.
    pub dims: [u32; MAX_AXES],
    /// Elements of the input from one index to the next.
    pub strides: [i32; MAX_AXES],
}

impl CopyParams {
    fn order(&self) -> Strides {
        Strides {
            dims: self.dims,
            strides: self.strides,
            offset: self.start,
        }
    }
}

pub(super) fn check(op: &OpView) -> Result<(), OpError> {
    let (x, y) = (op.input(0)?, op.output()?);
    require(op.input_count() == 1, OpError::MissingTensor)?;
    let types = x.dtype() == y.dtype() && x.dtype() != DType::I32;
    require(types && x.zero_point == y.zero_point, OpError::WrongType)?;
    require(x.rows_rule == 0 && y.rows_rule == 0, OpError::WrongShape)?;
    op.require_disjoint(&[x, y])?;
    let params = op.params::<CopyParams>()?;
    require(params.by_table <= 1, OpError::BadParams)?;
    if params.by_table == 0 {
        let order = params.order();
        let fits = order.len() == Some(y.len()) && order.within(x.len());
        return require(fits, OpError::WrongShape);
    }
    let table = op.weights::<u32>(params.start, y.len())?;
    op.examine(size_of_val(table))?;
    let known = |&at: &u32| at == NO_ELEMENT || (at as usize) < x.len();
    require(table.iter().all(known), OpError::BadParams)
}

pub(super) fn run(op: &OpView, arena: &mut [u8]) -> Result<(), OpError> {
    let (x, y) = (op.input(0)?, op.output()?);
    let params = op.params::<CopyParams>()?;
    let table = match params.by_table {
        0 => None,
        _ => Some(op.weights::<u32>(params.start, y.len())?),
    };
    if x.dtype() == DType::I8 {
        let [x, values] = op.typed::<i8, 2>(arena, [x, y])?;
        copy(x, &params, table, y.zero_point as i8, values);
    } else {
        // int16 and half have the zero point 0, in two bytes.
        let [x, values] = op.typed::<u16, 2>(arena, [x, y])?;
        copy(x, &params, table, 0, values);
    }
    Ok(())
}

fn copy<T: Copy>(x: &[T], params: &CopyParams, table: Option<&[u32]>, fill: T, y: &mut [T]) {
    match table {
        Some(table) => copy_indexed(x, table, fill, y),
        None => copy_strided(x, &params.order(), y),
    }
}

#[cfg(attn_half)]
pub(super) mod half {
    pub(in crate::ops) use super::{check, run};
}
