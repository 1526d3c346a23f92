//! Values in pair order, and as joined weights meet them.

use crate::kernels::int::dot::{LANES, ROWS, Tiled, tiled_mut};
use crate::kernels::int::joined::prepared;
use crate::kernels::int::requantize::Activation;

/// See [`crate::kernels::arch::pairs::fill`].
pub fn fill<X: Activation>(
    groups: &[[X; LANES]],
    offset: i32,
    pairs: &mut [i16],
    [rows, row]: [usize; 2],
) {
    let words = |group: &[X; LANES]| {
        let [a, b, c, d] = group.map(|x| x.into().wrapping_sub(offset) as i16);
        [[a, c], [b, d]]
    };
    fill_with(groups, pairs, [rows, row], words);
}

/// See [`crate::kernels::arch::pairs::fill_joined`].
pub fn fill_joined(groups: &[[i8; LANES]], pairs: &mut [i16], place: [usize; 2]) {
    fill_with(groups, pairs, place, |group| prepared(group.map(i16::from)));
}

fn fill_with<X>(
    groups: &[X],
    pairs: &mut [i16],
    [rows, row]: [usize; 2],
    words: impl Fn(&X) -> [[i16; 2]; 2],
) {
    match rows {
        1 => (tiled_mut::<1>(pairs).iter_mut().zip(groups))
            .for_each(|(place, group)| put_words(place, row, words(group))),
        ROWS => (tiled_mut::<ROWS>(pairs).iter_mut().zip(groups))
            .for_each(|(place, group)| put_words(place, row, words(group))),
        _ => {}
    }
}

/// Turns row `row` of `rows` interleaved ones in pair order into what joined weights meet.
pub fn turn(pairs: &mut [i16], [rows, row]: [usize; 2]) {
    for words in pairs
        .as_chunks_mut::<2>()
        .0
        .chunks_exact_mut(2 * rows.max(1))
    {
        let (even, odd) = words.split_at_mut(rows);
        if let (Some(&mut [a, c]), Some(odd)) = (even.get_mut(row), odd.get_mut(row)) {
            let [b, d] = *odd;
            [_, *odd] = prepared([a, b, c, d]);
        }
    }
}

/// Writes four values of one row.
#[inline(always)]
pub fn put<const R: usize>(place: &mut Tiled<R>, row: usize, [a, b, c, d]: [i16; LANES]) {
    put_words(place, row, [[a, c], [b, d]]);
}

#[inline(always)]
fn put_words<const R: usize>([even, odd]: &mut Tiled<R>, row: usize, words: [[i16; 2]; 2]) {
    if let (Some(even), Some(odd)) = (even.get_mut(row), odd.get_mut(row)) {
        [*even, *odd] = words;
    }
}
