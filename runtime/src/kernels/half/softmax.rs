//! Softmax over rows.

use super::function::exp2;
use super::{Clamp, Sum, chunks, narrow};
use crate::f16;
use core::f32::consts::LOG2_E;

/// The greatest of the values; the lowest f32 if there is none.
#[inline]
pub fn greatest(values: &[f32]) -> f32 {
    let greater = |greatest, &x| if x > greatest { x } else { greatest };
    values.iter().fold(f32::MIN, greater)
}

/// Probabilities of one row: `2^((x - greatest) * log2(e))` over their sum. The exponentials are computed twice, so that
/// they need no place.
pub fn softmax(x: &[f16], y: &mut [f16]) {
    let mut top = f32::MIN;
    chunks(x, |_, x| {
        let here = greatest(x);
        top = if here > top { here } else { top };
    });
    let mut sum = Sum::default();
    chunks(x, |_, x| {
        x.iter_mut().for_each(|x| *x = exp2((*x - top) * LOG2_E));
        sum.add(x);
    });
    let reciprocal = 1.0 / sum.total();
    chunks(x, |at, x| {
        for x in x.iter_mut() {
            *x = exp2((*x - top) * LOG2_E) * reciprocal;
        }
        narrow(x, Clamp::NONE, y.get_mut(at..).unwrap_or_default());
    });
}

#[cfg(test)]
mod tests {
    use super::super::linear::tests::halves;
    use super::*;
    use crate::kernels::testing::log_softmax;
    use proptest::prelude::*;
    use std::vec;
    use std::vec::Vec;

    proptest! {
        #[test]
        fn probabilities_are_close_to_double_precision(x in (1usize..60).prop_flat_map(halves), scale in 0u32..6) {
            let x: Vec<f16> = x.iter().map(|&x| f16::from_f32(x.to_f32() * f32::from(1u8 << scale))).collect();
            let mut y = vec![f16::ZERO; x.len()];
            softmax(&x, &mut y);
            for (y, exact) in y.iter().zip(log_softmax(x.iter().map(|&x| x.into()))) {
                let exact = exact.exp();
                prop_assert!((f64::from(*y) - exact).abs() <= exact * 6e-4 + 3e-8, "{} for {}", y, exact);
            }
        }
    }
}
