//! Joined weights: two int8 weights in a halfword, so that one `SXTB16` serves four products in place of two.
//!
//! Of four inputs `x0 x1 x2 x3` and their weights `w0 w1 w2 w3` of one output, a word has the signed halfwords
//! `256 w0 + w1` and `256 w2 + w3`: as large as four bytes. The row is not in pair order but holds the words
//! `(x0, x2)` and `(256 x1 + 127 - x0, 256 x3 + 127 - x2)`, which fit 16 bits for every int8 input. With `h` for a halfword
//! and `b` for its low byte, sign-extended,
//!
//! ```text
//! h0 x0 + b0 (256 x1 + 127 - x0) = 256 (w0 x0 + w1 x1) + 127 w1
//! ```
//!
//! so all products of an output add up to 256 times the plain sum and 127 times the sum of `w1` and `w3`. That is known
//! when a model is converted: the bias in the file is [`bias`]. Sums are exact where the plain one stays below 2^23.
//!
//! Weights are stored in records of two outputs: for every four inputs, the word of the first and of the second. Inputs are
//! padded to a multiple of four, outputs too, so that a block of four outputs is two records.

use super::dot::LANES;

/// Outputs of a record.
pub const RECORD: usize = 2;
/// Bits by which sums are larger than plain ones.
pub const SHIFT: u32 = 8;
/// Largest left shift of a requantization: one bit less, because it is of products to the right and rounds.
pub const LEFT_MAX: u32 = SHIFT - 1;
/// Limit of the magnitude of plain sums.
pub const LIMIT: i64 = 1 << (31 - SHIFT);
/// What the prepared values have above the products, per odd weight.
const SURPLUS: i32 = 127;

/// Index of the word with the weights of output `o` for inputs `4 group` to `4 group + 3`, in bytes, among joined weights of
/// `k` inputs.
pub const fn joined_index(o: usize, group: usize, k: usize) -> usize {
    let record = o / RECORD * RECORD * k.next_multiple_of(LANES);
    record + (group * RECORD + o % RECORD) * LANES
}

/// The word of four weights, each from -127 to 127.
pub const fn joined([w0, w1, w2, w3]: [i8; LANES]) -> [i8; LANES] {
    // The low byte's sign is borrowed from the high one.
    let borrowed = [
        w0.wrapping_sub((w1 < 0) as i8),
        w2.wrapping_sub((w3 < 0) as i8),
    ];
    [w1, borrowed[0], w3, borrowed[1]]
}

/// The bias that goes with joined weights, whose odd ones add up to `odd`.
pub const fn bias(plain: i32, odd: i32) -> i32 {
    (plain << SHIFT).wrapping_sub(odd.wrapping_mul(SURPLUS))
}

/// What a bias stands for, in steps of 1/256 of the plain one: the inverse of [`bias`].
pub const fn plain_bias(bias: i32, odd: i32) -> i32 {
    bias.wrapping_add(odd.wrapping_mul(SURPLUS))
}

/// Four values as the loop reads them: `x0 x2`, then what the odd ones become.
#[inline(always)]
pub const fn prepared([a, b, c, d]: [i16; LANES]) -> [[i16; 2]; 2] {
    [[a, c], [odd(a, b), odd(c, d)]]
}

#[inline(always)]
const fn odd(even: i16, odd: i16) -> i16 {
    (odd << SHIFT)
        .wrapping_add(SURPLUS as i16)
        .wrapping_sub(even)
}

/// The halfwords of a word of weights, and their low bytes.
#[inline(always)]
pub const fn halves([a, b, c, d]: [i8; LANES]) -> ([i16; 2], [i8; 2]) {
    let low = i16::from_le_bytes([a as u8, b as u8]);
    let high = i16::from_le_bytes([c as u8, d as u8]);
    ([low, high], [a, c])
}

/// The four weights of a word. Those of even inputs may be 128 in a file that no converter wrote.
pub const fn apart(word: [i8; LANES]) -> [i32; LANES] {
    let ([g, h], [b, d]) = halves(word);
    let (b, d) = (b as i32, d as i32);
    [(g as i32 - b) >> SHIFT, b, (h as i32 - d) >> SHIFT, d]
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::kernels::geometry::{Image, Window2d};
    use crate::kernels::int::conv::conv1d;
    use crate::kernels::int::conv2d::conv2d;
    use crate::kernels::int::dot::tests::pack;
    use crate::kernels::int::dot::{ROWS, packed_len, pairs_len};
    use crate::kernels::int::linear::{Matrix, linear};
    use crate::kernels::int::requantize::Output;
    use crate::kernels::testing::window1d;
    use proptest::prelude::*;
    use std::vec;
    use std::vec::Vec;

    /// Weights of a matrix and its biases, joined.
    pub fn join(weights: &[Vec<i8>], biases: &[i32], k: usize) -> (Vec<i8>, Vec<i32>) {
        let mut packed = vec![0; packed_len(weights.len(), k)];
        let mut all = biases.to_vec();
        for (o, row) in weights.iter().enumerate() {
            let mut row = row.clone();
            row.resize(pairs_len(k), 0);
            for (group, &four) in row.as_chunks().0.iter().enumerate() {
                let at = joined_index(o, group, k);
                packed[at..at + LANES].copy_from_slice(&joined(four));
            }
            let odd: i32 = row.iter().skip(1).step_by(2).map(|&w| i32::from(w)).sum();
            all[o] = bias(biases[o], odd);
        }
        (packed, all)
    }

    fn weight() -> impl Strategy<Value = i8> {
        prop_oneof![-127i8..=127, Just(-127), Just(127)]
    }

    fn value() -> impl Strategy<Value = i8> {
        prop_oneof![any::<i8>(), Just(i8::MIN), Just(i8::MAX)]
    }

    /// Weights, biases and values; left shift, zero point and whether results are limited.
    type Case = (Vec<Vec<i8>>, Vec<i32>, Vec<i8>, (u32, i32, bool));

    fn case(k: usize, out: usize, values: usize) -> impl Strategy<Value = Case> {
        (
            proptest::collection::vec(proptest::collection::vec(weight(), k), out),
            proptest::collection::vec(-(1i32 << 20)..1 << 20, out),
            proptest::collection::vec(value(), values),
            (0u32..=LEFT_MAX, -9i32..9, any::<bool>()),
        )
    }

    /// What `layer` gives with packed weights and with joined ones.
    fn both(
        (weights, biases, _, (left_shift, zero_point, limited)): &Case,
        len: usize,
        packed_layer: impl Fn(&Matrix<false>, &Output, &mut [i8]),
        joined_layer: impl Fn(&Matrix<true>, &Output, &mut [i8]),
    ) -> [Vec<i8>; 2] {
        let (k, out) = (weights[0].len(), weights.len());
        let multipliers: Vec<i32> = (0..out as i32)
            .map(|o| (o + 1) << (18 - left_shift))
            .collect();
        let (min, max) = if *limited { (-50, 90) } else { (-128, 127) };
        let output = Output {
            multipliers: &multipliers,
            left_shift: *left_shift,
            zero_point: *zero_point,
            min,
            max,
        };
        let [mut packed_y, mut joined_y] = [vec![99; len], vec![99; len]];
        let matrix = Matrix {
            weights: &pack(weights, k),
            bias: biases,
        };
        packed_layer(&matrix, &output, &mut packed_y);
        let (weights, bias) = join(weights, biases, k);
        let matrix = Matrix {
            weights: &weights,
            bias: &bias,
        };
        joined_layer(&matrix, &output, &mut joined_y);
        [packed_y, joined_y]
    }

    #[test]
    fn a_word_holds_its_weights() {
        for a in -127..=127i8 {
            for b in -127..=127i8 {
                let four = [a, b, b, a];
                assert_eq!(apart(joined(four)), four.map(i32::from));
                let ([half, _], _) = halves(joined(four));
                assert_eq!(i32::from(half), 256 * i32::from(a) + i32::from(b));
            }
        }
        assert_eq!(apart([-1, 127, 0, -128]), [128, -1, -128, 0]);
        assert_eq!(plain_bias(bias(-77, 1234), 1234), -77 * 256);
    }

    proptest! {
        #[test]
        fn rows_and_tiles_give_what_packed_weights_give(
            (rows, k, case) in (1usize..9, 1usize..75, 1usize..11)
                .prop_flat_map(|(rows, k, out)| (Just(rows), Just(k), case(k, out, rows * k)))
        ) {
            let [packed, joined] = both(
                &case,
                rows * case.0.len(),
                |matrix, output, y| {
                    let mut scratch = vec![77; ROWS * pairs_len(k)];
                    linear::<_, _, true, false>(&case.2, k, matrix, output, &mut scratch, y);
                },
                |matrix, output, y| {
                    let mut scratch = vec![77; ROWS * pairs_len(k)];
                    linear::<_, _, true, true>(&case.2, k, matrix, output, &mut scratch, y);
                },
            );
            prop_assert_eq!(packed, joined);
        }

        #[test]
        fn convolutions_over_time_give_what_packed_weights_give(
            (c, [kernel, stride, dilation, pad], case) in (1usize..9, 1usize..4, 1usize..3, 1usize..3, 0usize..3, 1usize..6)
                .prop_flat_map(|(c, kernel, stride, dilation, pad, out)| {
                    (Just(c), Just([kernel, stride, dilation, pad]), case(kernel * c, out, 9 * c))
                })
        ) {
            let window = window1d([kernel, stride, dilation, pad], -5);
            let positions = (9 + pad - (kernel - 1) * dilation - 1) / stride + 1;
            let [packed, joined] = both(
                &case,
                positions * case.0.len(),
                |matrix, output, y| {
                    let mut scratch = vec![77; ROWS * pairs_len(kernel * c)];
                    conv1d::<_, _, true, false>(&case.2, c, &window, matrix, output, &mut scratch, y);
                },
                |matrix, output, y| {
                    let mut scratch = vec![77; ROWS * pairs_len(kernel * c)];
                    conv1d::<_, _, true, true>(&case.2, c, &window, matrix, output, &mut scratch, y);
                },
            );
            prop_assert_eq!(packed, joined);
        }

        #[test]
        fn convolutions_over_images_give_what_packed_weights_give(
            (c, window, case) in (1usize..6, [1usize..4, 1..4], [1usize..3, 1..3], [0usize..2, 0..2], 1usize..6)
                .prop_flat_map(|(c, kernel, dilation, pad, out)| {
                    let window = Window2d { kernel, stride: [1; 2], dilation, pad, pad_value: -5 };
                    (Just(c), Just(window), case(window.span(c), out, 7 * 6 * c))
                })
        ) {
            let steps = |axis: usize, size: usize| {
                size + 2 * window.pad[axis] - (window.kernel[axis] - 1) * window.dilation[axis]
            };
            let (rows, columns) = (steps(0, 7), steps(1, 6));
            let image = Image { values: &case.2, width: 6, channels: c };
            let [packed, joined] = both(
                &case,
                rows * columns * case.0.len(),
                |matrix, output, y| {
                    let mut scratch = vec![77; window.scratch_len(c, ROWS)];
                    conv2d(&image, &window, matrix, output, &mut scratch, y, columns);
                },
                |matrix, output, y| {
                    let mut scratch = vec![77; window.scratch_len(c, ROWS)];
                    conv2d(&image, &window, matrix, output, &mut scratch, y, columns);
                },
            );
            prop_assert_eq!(packed, joined);
        }
    }
}
