//! Products of the integer inner loop with joined weights, see [`crate::kernels::int::joined`].

use crate::kernels::int::dot::{LANES, ROWS, Tiled};
use crate::kernels::int::joined::{RECORD, halves};

/// Bytes of a record's weights for four inputs.
const GROUP: usize = RECORD * LANES;

/// [`dot4`] of every row of a tile.
pub(in crate::kernels::arch) fn tile4(
    tile: &[Tiled],
    block: &[i8],
    accumulators: [i32; LANES],
) -> [[i32; LANES]; ROWS] {
    core::array::from_fn(|row| {
        let of_row = |group: &Tiled| group.map(|words| words[row]);
        dot4_of(tile.iter().map(of_row), block, accumulators)
    })
}

/// Adds to four accumulators the products of a prepared row with one block of joined weights.
pub(in crate::kernels::arch) fn dot4(
    row: &[i16],
    block: &[i8],
    accumulators: [i32; LANES],
) -> [i32; LANES] {
    let words = row.as_chunks::<2>().0.as_chunks::<2>().0;
    dot4_of(words.iter().copied(), block, accumulators)
}

#[inline(always)]
fn dot4_of(
    row: impl Iterator<Item = [[i16; 2]; 2]>,
    block: &[i8],
    mut sums: [i32; LANES],
) -> [i32; LANES] {
    let (first, second) = block.split_at(block.len() / 2);
    let records = first.as_chunks::<GROUP>().0.iter();
    let groups = records.zip(second.as_chunks::<GROUP>().0);
    for ([even, odd], (first, second)) in row.zip(groups) {
        let words = first.as_chunks().0.iter().chain(second.as_chunks().0);
        for (sum, &word) in sums.iter_mut().zip(words) {
            let (whole, low) = halves(word);
            for i in 0..2 {
                let products = i32::from(whole[i])
                    .wrapping_mul(even[i].into())
                    .wrapping_add(i32::from(low[i]) * i32::from(odd[i]));
                *sum = sum.wrapping_add(products);
            }
        }
    }
    sums
}
