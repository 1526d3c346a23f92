//! MatMul: a product of two activations, matrix by matrix: `a: [batch, m, k]` and `b: [batch, k, n]` give `[batch, m, n]`, each tensor of any
//! shape with as many elements. Scratch holds a row of `a` and a strip of `b`: int16, or f32 for half precision.

use super::arena::{self, Values, by_width};
use super::rescale::RequantizeParams;
use super::{OpError, OpView, centred, require};
use crate::format::DType;
use crate::kernels::int::elementwise::Rescale;
use crate::kernels::int::matmul::{matmul, scratch_len};
use crate::kernels::int::requantize::Activation;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Sizes of the product, for any encoding.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct MatMulGeometry {
    /// Number of products.
    pub batch: u32,
    /// Rows of `a` and of the result.
    pub m: u32,
    /// Columns of `a`, rows of `b`.
    pub k: u32,
    /// Columns of `b` and of the result.
    pub n: u32,
}

/// Parameters of MatMul. The multiplier is the product of both input scales / output scale * 2^(32 + shift - left_shift).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct MatMulParams {
    /// Change of scale.
    pub by: RequantizeParams,
    /// Right shift of the sums, 0 to 31.
    pub shift: u32,
    /// Sizes.
    pub sizes: MatMulGeometry,
}

impl MatMulGeometry {
    fn check(&self, op: &OpView) -> Result<(), OpError> {
        let len = |a: u32, b: u32| {
            let rows = self
                .batch
                .checked_mul(a)
                .and_then(|rows| rows.checked_mul(b));
            rows.map(|len| len as usize)
        };
        let (a, b, y) = (op.input(0)?, op.input(1)?, op.output()?);
        let fits = len(self.m, self.k) == Some(a.len())
            && len(self.k, self.n) == Some(b.len())
            && len(self.m, self.n) == Some(y.len());
        let fixed = [a, b, y].iter().all(|tensor| tensor.rows_rule == 0);
        require(
            fits && fixed && self.k > 0 && self.n > 0,
            OpError::WrongShape,
        )?;
        require(op.input_count() == 2, OpError::MissingTensor)?;
        op.count_macs(y.len(), self.k as usize);
        op.require_disjoint(&[a, b, y])
    }

    /// int16 scratch of the integer arm.
    fn scratch_len(&self) -> usize {
        scratch_len(self.k as usize, self.n as usize)
    }

    /// Calls `product` with the matrices of each product: `a: [m, k]`, `b: [k, n]` and `y: [m, n]`.
    fn each<A, B, Y>(
        &self,
        (a, b): (&[A], &[B]),
        y: &mut [Y],
        mut product: impl FnMut(&[A], &[B], &mut [Y]),
    ) {
        let [m, k, n] = [self.m, self.k, self.n].map(|size| size as usize);
        let mut a = a.chunks_exact((m * k).max(1));
        let mut b = b.chunks_exact((k * n).max(1));
        for y in y.chunks_exact_mut((m * n).max(1)) {
            // A zip would divide by both lengths, where the compiler no longer knows that they are not 0.
            if let (Some(a), Some(b)) = (a.next(), b.next()) {
                product(a, b, y);
            }
        }
    }
}

pub(super) fn check(op: &OpView) -> Result<(), OpError> {
    let params = op.params::<MatMulParams>()?;
    params.sizes.check(op)?;
    for tensor in [op.input(0)?, op.input(1)?, op.output()?] {
        require(tensor.dtype() != DType::I32, OpError::WrongType)?;
    }
    require(params.shift <= 31, OpError::BadParams)?;
    op.scratch(DType::I16, params.sizes.scratch_len())?;
    let [a, b] = [op.input(0)?, op.input(1)?].map(|tensor| u64::from(centred(tensor)));
    let sum = (a * b).saturating_mul(params.sizes.k.into()) >> params.shift;
    params.by.check_sum(op.output()?, 1, sum)
}

pub(super) fn run(op: &OpView, arena: &mut [u8]) -> Result<(), OpError> {
    let (a, b, y) = (op.input(0)?, op.input(1)?, op.output()?);
    let params = op.params::<MatMulParams>()?;
    let (by, zero_point) = (params.by.rescale(b, y), a.zero_point);
    let len = params.sizes.scratch_len();
    let scratch = op.scratch(DType::I16, len)?;
    let [a_bytes, b_bytes, y_bytes, scratch] = op.tensors(arena, [a, b, y, scratch])?;
    let scratch = arena::first(scratch, len)?;
    let (a, b) = (arena::values(a_bytes, a)?, arena::values(b_bytes, b)?);
    let y = arena::values(y_bytes, y)?;
    by_width!(a, b, y => products((a, zero_point), b, &params, &by, scratch, y));
    Ok(())
}

fn products<A: Activation, B: Activation, Y: Activation>(
    (a, zero_point): (&[A], i32),
    b: &[B],
    params: &MatMulParams,
    by: &Rescale,
    scratch: &mut [i16],
    y: &mut [Y],
) {
    let sizes = [params.sizes.k as usize, params.sizes.n as usize];
    params.sizes.each((a, b), y, |a, b, y| {
        matmul((a, zero_point), b, sizes, params.shift, by, scratch, y);
    });
}

#[cfg(attn_half)]
pub(super) mod half {
    use super::super::activations::half::{check_tensors, scratch};
    use super::*;
    use crate::f16;
    use crate::kernels::half::LANES;
    use crate::kernels::half::matmul::{matmul, strip_len};

    /// f32 scratch: a row of `a`, then a strip of `b` as halves.
    fn scratch_len(sizes: &MatMulGeometry) -> usize {
        let (k, n) = (sizes.k as usize, sizes.n as usize);
        strip_len(k, n).saturating_mul(LANES / 2).saturating_add(k)
    }

    pub(in crate::ops) fn check(op: &OpView) -> Result<(), OpError> {
        check_tensors(op, 2)?;
        let sizes = op.params::<MatMulGeometry>()?;
        sizes.check(op)?;
        scratch(op, scratch_len(&sizes)).map(drop)
    }

    pub(in crate::ops) fn run(op: &OpView, arena: &mut [u8]) -> Result<(), OpError> {
        let (a, b, y) = (op.input(0)?, op.input(1)?, op.output()?);
        let sizes = op.params::<MatMulGeometry>()?;
        let (k, len) = (sizes.k as usize, scratch_len(&sizes));
        let [a, b, y, scratch] = op.tensors(arena, [a, b, y, scratch(op, len)?])?;
        let wide = arena::first::<f32>(scratch, len)?;
        let Some((wide, strip)) = wide.split_at_mut_checked(k) else {
            return Err(OpError::ScratchTooSmall);
        };
        let packed = arena::typed::<f16>(strip.as_mut_bytes())?.as_chunks_mut().0;
        let (a, b): (&[f16], &[f16]) = (arena::typed(a)?, arena::typed(b)?);
        sizes.each((a, b), arena::typed(y)?, |a, b, y| {
            matmul(a, b, sizes.n as usize, wide, packed, y);
        });
        Ok(())
    }
}
