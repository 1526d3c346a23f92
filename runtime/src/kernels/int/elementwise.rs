//! Elementwise operators: tables, sums, changes of scale, joins.

use super::requantize::{Activation, requantize};

/// Replaces every value by its entry in a table of 256; entry 0 belongs to -128.
pub fn lut(table: &[i8], values: &mut [i8]) {
    let Some(table) = table.first_chunk::<256>() else {
        return;
    };
    let entry = |from_lowest: u8| table[usize::from(from_lowest)];
    let (words, rest) = values.as_chunks_mut();
    for word in words {
        // Four values with the one load that they take on a chip.
        let bytes = u32::from_le_bytes(word.map(|x| x as u8)) ^ 0x8080_8080;
        *word = bytes.to_le_bytes().map(entry);
    }
    for value in rest {
        *value = entry(*value as u8 ^ 0x80);
    }
}

/// Applies a function that `table` gives at every `2^step_bits`-th input from -32768 on, with linear interpolation.
/// `table` has `2^(16 - step_bits) + 1` entries, the last one for 32768.
pub fn interpolate(table: &[i16], step_bits: u32, values: &mut [i16]) {
    let step_bits = step_bits & 15;
    for value in values {
        let from_lowest = (i32::from(*value) + 32768) as u32;
        let (at, rest) = (
            (from_lowest >> step_bits) as usize,
            from_lowest & ((1 << step_bits) - 1),
        );
        let Some(&[low, high]) = table.get(at..).and_then(|table| table.first_chunk()) else {
            continue;
        };
        let rise = (i32::from(high) - i32::from(low)) * rest as i32;
        let rounded = (rise + (1 << step_bits >> 1)) >> step_bits;
        *value = (i32::from(low) + rounded) as i16;
    }
}

/// The same for a function with corners and jumps between the table's inputs: `points` are further inputs in ascending order, each
/// with the result that lines from below end at and the result that lines from above start at.
pub fn interpolate_pieces(table: &[i16], points: &[[i16; 3]], step_bits: u32, values: &mut [i16]) {
    let step_bits = step_bits & 15;
    for value in values {
        let x = i32::from(*value);
        let at = ((x + 32768) >> step_bits) as usize;
        let Some(&[low, high]) = table.get(at..).and_then(|table| table.first_chunk()) else {
            continue;
        };
        let start = x & -(1 << step_bits);
        let (mut from, mut to) = ((start, low), (start + (1 << step_bits), high));
        let next = points.partition_point(|point| i32::from(point[0]) <= x);
        let before = next.checked_sub(1).and_then(|before| points.get(before));
        if let Some(&[place, _, result]) = before
            && i32::from(place) >= from.0
        {
            from = (place.into(), result);
        }
        if let Some(&[place, result, _]) = points.get(next)
            && i32::from(place) <= to.0
        {
            to = (place.into(), result);
        }
        let width = to.0 - from.0;
        let rise = (i32::from(to.1) - i32::from(from.1)) * (x - from.0);
        let rounded = (rise + width / 2).checked_div_euclid(width).unwrap_or(0);
        *value = (i32::from(from.1) + rounded) as i16;
    }
}

/// Change of scale: `zero_point + round((x - input_zero_point) * 2^left_shift * multiplier / 2^32)`, clamped.
#[derive(Clone, Copy, Debug)]
pub struct Rescale {
    /// Zero point of the input.
    pub input_zero_point: i32,
    /// `input scale / output scale * 2^(32 - left_shift)`.
    pub multiplier: i32,
    /// Left shift, 0 to 15: int16 values then stay within 32 bits.
    pub left_shift: u32,
    /// Zero point of the output.
    pub zero_point: i32,
    /// Smallest result.
    pub min: i32,
    /// Largest result.
    pub max: i32,
}

impl Rescale {
    #[inline(always)]
    fn apply<X: Activation, Y: Activation>(&self, x: X) -> Y {
        self.finish(x.into().wrapping_sub(self.input_zero_point))
    }

    /// The result for a sum or product that is centred already.
    #[inline(always)]
    pub(super) fn finish<Y: Activation>(&self, centred: i32) -> Y {
        let value =
            requantize(centred, self.multiplier, self.left_shift).wrapping_add(self.zero_point);
        Y::from_i32(value.max(self.min).min(self.max))
    }
}

/// Changes scale, zero point or width of every value.
pub fn rescale<X: Activation, Y: Activation>(x: &[X], by: &Rescale, y: &mut [Y]) {
    for (y, &x) in y.iter_mut().zip(x) {
        *y = by.apply(x);
    }
}

/// Copies rows of `channels` values into every row of `y: [rows, row_len]` from channel `at` on, rescaled.
pub fn join<X: Activation, Y: Activation>(
    x: &[X],
    channels: usize,
    by: &Rescale,
    y: &mut [Y],
    row_len: usize,
    at: usize,
) {
    for (x, y) in x
        .chunks_exact(channels.max(1))
        .zip(y.chunks_exact_mut(row_len.max(1)))
    {
        rescale(x, by, y.get_mut(at..).unwrap_or(&mut []));
    }
}

/// How two tensors of different scales are added: one sum in 64 bits, one rounding.
#[derive(Clone, Copy, Debug)]
pub struct Sum {
    /// Zero point and factor (input scale / output scale * 2^16) of each input.
    pub inputs: [(i32, i32); 2],
    /// Zero point of the output.
    pub zero_point: i32,
    /// Smallest result: the type's limit or a fused activation's.
    pub min: i32,
    /// Largest result.
    pub max: i32,
}

impl Sum {
    /// Half a step, the zero points and nothing else, in Q16, if no sum leaves 32 bits.
    fn narrow<A, B>(&self) -> Option<i32> {
        let [(zero_a, factor_a), (zero_b, factor_b)] = self.inputs;
        let product = |a: i32, b: i32| i64::from(a) * i64::from(b);
        let centre = product(zero_a, factor_a) + product(zero_b, factor_b);
        let start = (i64::from(self.zero_point) << 16) + (1 << 15) - centre;
        let largest = |size: usize, factor: i32| i64::from(factor.unsigned_abs()) << (8 * size - 1);
        let products = largest(size_of::<A>(), factor_a) + largest(size_of::<B>(), factor_b);
        let fits = start.abs() + products <= i64::from(i32::MAX);
        fits.then_some(start as i32)
    }
}

/// `y = a + b`, each element.
pub fn add<A: Activation, B: Activation, Y: Activation>(a: &[A], b: &[B], sum: &Sum, y: &mut [Y]) {
    let [(zero_a, factor_a), (zero_b, factor_b)] = sum.inputs;
    if let Some(start) = sum.narrow::<A, B>() {
        for (y, (&a, &b)) in y.iter_mut().zip(a.iter().zip(b)) {
            let partial = start.wrapping_add(a.into().wrapping_mul(factor_a));
            let total = partial.wrapping_add(b.into().wrapping_mul(factor_b));
            *y = Y::from_i32((total >> 16).max(sum.min).min(sum.max));
        }
        return;
    }
    for (y, (&a, &b)) in y.iter_mut().zip(a.iter().zip(b)) {
        let term =
            |x: i32, zero: i32, factor: i32| i64::from(x.wrapping_sub(zero)) * i64::from(factor);
        let total = term(a.into(), zero_a, factor_a) + term(b.into(), zero_b, factor_b);
        let rounded = ((total + (1 << 15)) >> 16).clamp(-(1 << 24), 1 << 24) as i32;
        *y = Y::from_i32((rounded + sum.zero_point).max(sum.min).min(sum.max));
    }
}

/// `y = a * b`, each element; `by` scales the product of the centred values, and its input zero point is not used.
pub fn mul<A: Activation, B: Activation, Y: Activation>(
    (a, zero_a): (&[A], i32),
    (b, zero_b): (&[B], i32),
    by: &Rescale,
    y: &mut [Y],
) {
    for (y, (&a, &b)) in y.iter_mut().zip(a.iter().zip(b)) {
        let product = a
            .into()
            .wrapping_sub(zero_a)
            .wrapping_mul(b.into().wrapping_sub(zero_b));
        *y = by.finish(product);
    }
}

/// How a constant tensor is added: one sum in 64 bits, one rounding.
#[derive(Clone, Copy, Debug)]
pub struct ConstantSum<'w> {
    /// Zero point of the input.
    pub input_zero_point: i32,
    /// Input scale / output scale * 2^16.
    pub factor: i32,
    /// The constant / output scale * 2^16, one for each element.
    pub constant: &'w [i32],
    /// Zero point of the output.
    pub zero_point: i32,
    /// Smallest result: the type's limit or a fused activation's.
    pub min: i32,
    /// Largest result.
    pub max: i32,
}

/// `y = x + constant`, each element.
pub fn add_constant<X: Activation, Y: Activation>(x: &[X], sum: &ConstantSum, y: &mut [Y]) {
    for ((y, &x), &constant) in y.iter_mut().zip(x).zip(sum.constant) {
        let centred = x.into().wrapping_sub(sum.input_zero_point);
        let total = i64::from(centred) * i64::from(sum.factor) + i64::from(constant);
        let rounded = ((total + (1 << 15)) >> 16).clamp(-(1 << 24), 1 << 24) as i32;
        *y = Y::from_i32((rounded + sum.zero_point).max(sum.min).min(sum.max));
    }
}

/// Mean over rows: `x: [rows, channels]`, `y: [channels]`; `by` divides by the number of rows; its input zero point
/// is the zero point of one row.
pub fn mean_rows<X: Activation, Y: Activation>(x: &[X], by: &Rescale, y: &mut [Y]) {
    let channels = y.len().max(1);
    let rows = (x.len() / channels) as i32;
    for (channel, y) in y.iter_mut().enumerate() {
        let sum = x
            .iter()
            .skip(channel)
            .step_by(channels)
            .fold(0i32, |sum, &x| sum.wrapping_add(x.into()));
        let centred = sum.wrapping_sub(by.input_zero_point.wrapping_mul(rows));
        *y = by.finish(centred);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::testing::rescale as rescale_by;

    #[test]
    fn a_table_covers_all_values() {
        let table: std::vec::Vec<i8> = (-128i16..128)
            .map(|x| (-x).clamp(-128, 127) as i8)
            .collect();
        let mut values = [-128, -1, 0, 127];
        lut(&table, &mut values);
        assert_eq!(values, [127, 1, 0, -127]);
    }

    #[test]
    fn a_table_of_int16_is_interpolated() {
        for step_bits in [0, 1, 6, 9, 15] {
            let entry = |i: i32| (((i << step_bits) - 32768) / 4) as i16;
            let table: std::vec::Vec<i16> = (0..=1 << (16 - step_bits)).map(entry).collect();
            let exact: std::vec::Vec<i16> = (i16::MIN..=i16::MAX).collect();
            let mut values = exact.clone();
            interpolate(&table, step_bits, &mut values);
            for (got, x) in values.iter().zip(exact) {
                let exact = f64::from(x) / 4.0;
                let error = (f64::from(*got) - exact).abs();
                assert!(error <= 1.0, "{got} for {exact}, step {step_bits}");
            }
        }
    }

    #[test]
    fn lines_end_at_points_and_begin_anew() {
        // A jump from 100 to -100 at 10, a corner at 200; the table is 0 but for its points.
        let table = [0i16; 129];
        let points = [[10, 100, -100], [200, 50, 50]];
        let mut values = [0, 5, 9, 10, 105, 200, 201, 512, -1];
        interpolate_pieces(&table, &points, 9, &mut values);
        assert_eq!(values, [0, 50, 90, -100, -25, 50, 50, 0, 0]);
    }

    #[test]
    fn without_points_pieces_are_the_table() {
        for step_bits in [0, 4, 9, 15] {
            let entry = |i: i32| i.wrapping_mul(i).wrapping_mul(37) as i16;
            let table: std::vec::Vec<i16> = (0..=1 << (16 - step_bits)).map(entry).collect();
            let mut values: std::vec::Vec<i16> = (i16::MIN..=i16::MAX).collect();
            let mut same = values.clone();
            interpolate(&table, step_bits, &mut values);
            interpolate_pieces(&table, &[], step_bits, &mut same);
            assert!(values == same, "{step_bits}");
        }
    }

    #[test]
    fn sums_of_different_scales_round_once() {
        // a at scale 0.5, b at scale 0.25, result at scale 1
        let sum = Sum {
            inputs: [(1, 1 << 15), (-2, 1 << 14)],
            zero_point: 10,
            min: -128,
            max: 127,
        };
        let mut y = [0i8; 3];
        add(&[1i8, 2, 127], &[-2i16, -1, 1000], &sum, &mut y);
        // 0; 0.5 + 0.25 = 0.75; 63 + 250.5 saturates
        assert_eq!(y, [10, 11, 127]);
    }

    #[test]
    fn sums_of_32_bits_are_those_of_64() {
        for (factors, zero_point) in [([70_000, -40_001], 3), ([1 << 22, 99], -128), ([0, 1], 0)] {
            let sum = Sum {
                inputs: [(-5, factors[0]), (127, factors[1])],
                zero_point,
                min: -128,
                max: 127,
            };
            assert!(sum.narrow::<i8, i8>().is_some());
            let all: std::vec::Vec<i8> = (i8::MIN..=i8::MAX).collect();
            for b in [-128i8, -1, 77, 127] {
                let mut y = std::vec![0i8; all.len()];
                add(&all, &std::vec![b; all.len()], &sum, &mut y);
                for (&a, y) in all.iter().zip(y) {
                    let total = (i64::from(a) + 5) * i64::from(factors[0])
                        + (i64::from(b) - 127) * i64::from(factors[1]);
                    let exact = ((total + (1 << 15)) >> 16) + i64::from(zero_point);
                    assert_eq!(i64::from(y), exact.clamp(-128, 127));
                }
            }
        }
        let wide = Sum {
            inputs: [(0, i32::MAX), (0, 1)],
            zero_point: 0,
            min: -128,
            max: 127,
        };
        assert_eq!(wide.narrow::<i8, i8>(), None);
    }

    #[test]
    fn rows_are_joined_side_by_side() {
        let by = rescale_by(1, 1 << 30, 2, 0);
        let mut y = [0i8; 6];
        join(&[2i8, 3], 1, &by, &mut y, 3, 0);
        join(&[4i16, 5, 6, 7], 2, &by, &mut y, 3, 1);
        assert_eq!(y, [1, 3, 4, 2, 5, 6]);
    }

    #[test]
    fn a_constant_is_added_with_one_rounding() {
        let sum = ConstantSum {
            input_zero_point: 1,
            factor: 1 << 15,
            constant: &[1 << 15, -(3 << 16)],
            zero_point: 10,
            min: -128,
            max: 127,
        };
        let mut y = [0i8; 2];
        add_constant(&[2i8, -7], &sum, &mut y);
        // 0.5 + 0.5, -4 - 3
        assert_eq!(y, [11, 3]);
    }

    #[test]
    fn the_mean_is_taken_of_every_channel() {
        let by = rescale_by(-1, i32::MAX / 2 + 1, 0, 5);
        let mut y = [0i8; 2];
        // a factor of 1/4 over two rows: half of the mean
        mean_rows(&[9i16, -1, 13, -41], &by, &mut y);
        assert_eq!(y, [6 + 5, -10 + 5]);
    }

    #[test]
    fn products_are_those_of_the_centred_values() {
        let by = rescale_by(0, 1 << 30, 0, 3);
        let mut y = [0i8; 3];
        // (2 * -6 / 4, -9 * 7 / 4, saturated) + 3
        mul((&[3i8, -8, 127], 1), (&[-6i16, 7, 32767], 0), &by, &mut y);
        assert_eq!(y, [0, -13, 127]);
    }
}
