//! Base operators: Copy, MatMul, Reduce, ArgMax.

use super::{Lower, Lowered, Lowering, limit};
use crate::graph::op::Reduction;
use crate::graph::{Node, op};
use crate::program::TensorId;
use crate::quantize::weights::{mean, multiplied};
use attn_runtime::format::{DType, OpKind};
use attn_runtime::kernels::base::{MAX_AXES, NO_ELEMENT};
use attn_runtime::kernels::half::LANES;
use attn_runtime::kernels::half::matmul::strip_len;
use attn_runtime::kernels::int::matmul::scratch_len;
use attn_runtime::ops::{
    CopyParams, MatMulGeometry, MatMulParams, ReduceGeometry, ReduceHalfParams, ReduceParams,
};

/// Sizes and strides of up to six axes that walk through these places, if there are any.
fn strides(index: &[u32]) -> Option<([u32; MAX_AXES], [i32; MAX_AXES])> {
    let (mut dims, mut strides) = ([1u32; MAX_AXES], [0i32; MAX_AXES]);
    let at = |i: usize| i64::from(index[i]);
    if index.is_empty() || index.contains(&NO_ELEMENT) {
        return None;
    }
    // From the last axis on: an axis ends where the step to the next element changes.
    let mut inner = 1;
    for axis in (0..MAX_AXES).rev() {
        if inner == index.len() {
            break;
        }
        let step = at(inner) - at(0);
        let blocks = index.len() / inner;
        let same = (1..blocks).take_while(|&i| at(i * inner) - at((i - 1) * inner) == step);
        // The longest run that divides the rest.
        let run = 1 + same.count();
        let dim = (1..=run).rev().find(|dim| blocks.is_multiple_of(*dim))?;
        let fits = (0..inner * dim).all(|i| at(i) == at(i % inner) + (i / inner) as i64 * step);
        if dim == 1 || !fits {
            return None;
        }
        (dims[axis], strides[axis]) = (dim as u32, i32::try_from(step).ok()?);
        inner *= dim;
    }
    let place = |mut i: usize| {
        let mut place = at(0);
        for axis in (0..MAX_AXES).rev() {
            place += (i % dims[axis] as usize) as i64 * i64::from(strides[axis]);
            i /= dims[axis] as usize;
        }
        place
    };
    let whole = inner == index.len() && (0..index.len()).all(|i| place(i) == at(i));
    whole.then_some((dims, strides))
}

impl Lower for op::Copy {
    fn lower(&self, to: &mut Lowering, node: &Node) -> Lowered {
        let ends = to.ends(node);
        let params = match strides(&self.index) {
            Some((dims, strides)) => CopyParams {
                by_table: 0,
                start: self.index[0],
                dims,
                strides,
            },
            None => CopyParams {
                by_table: 1,
                start: to.program.weights(&self.index),
                dims: [0; MAX_AXES],
                strides: [0; MAX_AXES],
            },
        };
        to.unary(node, OpKind::Copy, ends, None, &params)
    }
}

impl Lower for op::MatMul {
    fn lower(&self, to: &mut Lowering, node: &Node) -> Lowered {
        let (inputs, y) = (to.pair(node)?, to.add_value(node.output));
        let size = |size: usize| size as u32;
        let sizes = MatMulGeometry {
            batch: size(self.batch),
            m: size(self.m),
            k: size(self.k),
            n: size(self.n),
        };
        if to.scheme.is_half() {
            let strip = strip_len(self.k, self.n) * LANES / 2;
            let scratch = to.f32_scratch(node, self.k + strip);
            return to.op(&node.name, OpKind::MatMul, inputs, vec![y], scratch, &sizes);
        }
        to.live_product(node, inputs, y, sizes)
    }
}

impl Lowering<'_> {
    /// A product of two activations in integers, with sums of 64 bits.
    pub(super) fn live_product(
        &mut self,
        node: &Node,
        inputs: Vec<TensorId>,
        y: TensorId,
        sizes: MatMulGeometry,
    ) -> Lowered {
        let held = [inputs[0], inputs[1], y].map(|tensor| self.quant(tensor));
        let (k, n) = (sizes.k as usize, sizes.n as usize);
        let (factor, shift) = multiplied(&node.name, held, k)?;
        let by = self.by(y, factor);
        let params = MatMulParams { by, shift, sizes };
        let scratch = Some(
            self.program
                .scratch(&node.name, DType::I16, scratch_len(k, n)),
        );
        self.op(
            &node.name,
            OpKind::MatMul,
            inputs,
            vec![y],
            scratch,
            &params,
        )
    }
}

impl Lower for op::Reduce {
    fn lower(&self, to: &mut Lowering, node: &Node) -> Lowered {
        const MOST: usize = 1 << 15;
        if self.n > MOST {
            let reason = format!("{} elements become one; at most {MOST}", self.n);
            return Err(limit(node, reason));
        }
        let [x, y] = to.ends(node);
        let (kind, divisor) = match self.by {
            Reduction::Sum => (0, 1),
            Reduction::Mean => (0, self.n),
            Reduction::Max => (1, 1),
            Reduction::Min => (2, 1),
        };
        let over = ReduceGeometry {
            kind,
            n: self.n as u32,
            inner: 1,
        };
        if to.scheme.is_half() {
            let factor = 1.0 / divisor as f32;
            let params = ReduceHalfParams { factor, over };
            return to.unary(node, OpKind::Reduce, [x, y], None, &params);
        }
        let factor = match kind {
            // The accumulator has `n` elements in it, whatever it is divided by.
            0 => mean(
                &node.name,
                to.quant(x),
                self.n,
                to.quant(y).scale * (divisor as f32 / self.n as f32),
            )?,
            _ => (0, 0),
        };
        let params = ReduceParams {
            by: to.by(y, factor),
            over,
        };
        to.unary(node, OpKind::Reduce, [x, y], None, &params)
    }
}

impl Lower for op::ArgMax {
    fn lower(&self, to: &mut Lowering, node: &Node) -> Lowered {
        let ends = to.ends(node);
        let over = ReduceGeometry {
            kind: self.last.into(),
            n: self.n as u32,
            inner: 1,
        };
        to.unary(node, OpKind::ArgMax, ends, None, &over)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_found_where_there_are_any() {
        let transposed: Vec<u32> = (0..12).map(|i| i % 3 * 4 + i / 3).collect();
        let (dims, steps) = strides(&transposed).unwrap();
        assert_eq!((&dims[4..], &steps[4..]), (&[4, 3][..], &[1, 4][..]));
        let backwards: Vec<u32> = (0..5).rev().collect();
        assert_eq!(strides(&backwards).unwrap().1[5], -1);
        let repeated: Vec<u32> = (0..12).map(|i| i / 4).collect();
        assert_eq!(strides(&repeated).unwrap().1[4..], [1, 0]);
        assert!(strides(&[0, 1, 3]).is_none());
        assert!(strides(&[0, NO_ELEMENT]).is_none());
        assert!(strides(&[7]).is_some());
    }
}
