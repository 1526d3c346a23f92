//! The definition of the inner loop, in plain Rust.

use crate::kernels::dot::LANES;

/// See [`crate::kernels::dot::dot4`]. Groups that either slice lacks are left out.
pub fn dot4(pairs: &[i16], block: &[i8], mut accumulators: [i32; LANES]) -> [i32; LANES] {
    for (x, weights) in pairs
        .chunks_exact(LANES)
        .zip(block.chunks_exact(LANES * LANES))
    {
        let &[x0, x2, x1, x3] = x else { continue };
        for (sum, w) in accumulators.iter_mut().zip(weights.chunks_exact(LANES)) {
            let &[w0, w1, w2, w3] = w else { continue };
            let product = |w: i8, x: i16| i32::from(w) * i32::from(x);
            let group = product(w0, x0)
                .wrapping_add(product(w1, x1))
                .wrapping_add(product(w2, x2))
                .wrapping_add(product(w3, x3));
            *sum = sum.wrapping_add(group);
        }
    }
    accumulators
}
