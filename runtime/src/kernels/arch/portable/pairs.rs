//! Values in pair order.

use crate::kernels::int::dot::{LANES, ROWS, Tiled, tiled_mut};
use crate::kernels::int::requantize::Activation;

/// See [`crate::kernels::arch::pairs::fill`].
pub fn fill<X: Activation>(
    groups: &[[X; LANES]],
    offset: i32,
    pairs: &mut [i16],
    [rows, row]: [usize; 2],
) {
    let values = |group: &[X; LANES]| group.map(|x| x.into().wrapping_sub(offset) as i16);
    match rows {
        1 => (tiled_mut::<1>(pairs).iter_mut().zip(groups))
            .for_each(|(place, group)| put(place, row, values(group))),
        ROWS => (tiled_mut::<ROWS>(pairs).iter_mut().zip(groups))
            .for_each(|(place, group)| put(place, row, values(group))),
        _ => {}
    }
}

/// Writes four values of one row.
#[inline(always)]
pub fn put<const R: usize>([even, odd]: &mut Tiled<R>, row: usize, [a, b, c, d]: [i16; LANES]) {
    if let (Some(even), Some(odd)) = (even.get_mut(row), odd.get_mut(row)) {
        (*even, *odd) = ([a, c], [b, d]);
    }
}
