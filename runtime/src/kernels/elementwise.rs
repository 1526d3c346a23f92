//! Elementwise operators: tables, sums, changes of scale, joins.

use super::requantize::{Activation, requantize};

/// Replaces every value by its entry in a table; entry 0 belongs to -128.
pub fn lut(table: &[i8], values: &mut [i8]) {
    for value in values {
        let at = (i16::from(*value) + 128) as usize;
        *value = table.get(at).copied().unwrap_or(0);
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
        let centred = x.into().wrapping_sub(self.input_zero_point);
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

/// `y = a + b`, each element.
pub fn add<A: Activation, B: Activation, Y: Activation>(a: &[A], b: &[B], sum: &Sum, y: &mut [Y]) {
    let [(zero_a, factor_a), (zero_b, factor_b)] = sum.inputs;
    for (y, (&a, &b)) in y.iter_mut().zip(a.iter().zip(b)) {
        let term =
            |x: i32, zero: i32, factor: i32| i64::from(x.wrapping_sub(zero)) * i64::from(factor);
        let total = term(a.into(), zero_a, factor_a) + term(b.into(), zero_b, factor_b);
        let rounded = ((total + (1 << 15)) >> 16).clamp(-(1 << 24), 1 << 24) as i32;
        *y = Y::from_i32((rounded + sum.zero_point).max(sum.min).min(sum.max));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn rows_are_joined_side_by_side() {
        let by = Rescale {
            input_zero_point: 1,
            multiplier: 1 << 30,
            left_shift: 2,
            zero_point: 0,
            min: -128,
            max: 127,
        };
        let mut y = [0i8; 6];
        join(&[2i8, 3], 1, &by, &mut y, 3, 0);
        join(&[4i16, 5, 6, 7], 2, &by, &mut y, 3, 1);
        assert_eq!(y, [1, 3, 4, 2, 5, 6]);
    }
}
