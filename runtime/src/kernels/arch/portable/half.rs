//! The definition, in plain Rust.

use crate::f16;
use crate::kernels::arch::half::{Clamp, LANES, ROWS};

/// See [`crate::kernels::arch::half::widen`].
pub fn widen(row: &[f16], wide: &mut [f32]) {
    for (slot, &x) in wide.iter_mut().zip(row) {
        *slot = x.to_f32();
    }
}

/// See [`crate::kernels::arch::half::narrow`].
pub fn narrow(wide: &[f32], clamp: Clamp, row: &mut [f16]) {
    for (slot, &x) in row.iter_mut().zip(wide) {
        *slot = clamp.apply(x);
    }
}

impl Clamp {
    /// One value of [`crate::kernels::arch::half::narrow`].
    #[inline(always)]
    pub fn apply(self, x: f32) -> f16 {
        let x = if x > self.min { x } else { self.min };
        let x = if x < self.max { x } else { self.max };
        f16::from_f32(x)
    }
}

/// See [`crate::kernels::arch::half::dot4`].
pub fn dot4(x: &[f32], weights: &[[f16; LANES]], sums: &mut [f32; LANES]) {
    let mut totals = *sums;
    for (&x, weights) in x.iter().zip(weights) {
        for (sum, &weight) in totals.iter_mut().zip(weights) {
            *sum += x * weight.to_f32();
        }
    }
    *sums = totals;
}

/// See [`crate::kernels::arch::half::dot4_rows`].
pub fn dot4_rows(
    x: &[f16],
    weights: &[[f16; LANES]],
    start: &[f32; LANES],
    sums: &mut [[f32; LANES]; ROWS],
) {
    for (sums, x) in sums.iter_mut().zip(x.chunks_exact(weights.len().max(1))) {
        *sums = *start;
        for (x, weights) in x.iter().zip(weights) {
            for (sum, &weight) in sums.iter_mut().zip(weights) {
                *sum += x.to_f32() * weight.to_f32();
            }
        }
    }
}
