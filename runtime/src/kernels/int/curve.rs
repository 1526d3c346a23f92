//! Functions of a recurrent layer's pre-activations: a table between two places, straight lines beyond them. Q16 to Q16.

/// A function of one number.
#[derive(Clone, Copy, Debug)]
pub struct Curve<'w> {
    /// Results at `low` and every `2^step_bits` further on; the last is that of a place at or beyond `high`.
    pub table: &'w [i32],
    /// Where the table begins.
    pub low: i32,
    /// Where it ends, at least `low`.
    pub high: i32,
    /// Bits of the distance of two results, at most 16.
    pub step_bits: u32,
    /// Q24: what a step adds below `low`, and above `high`.
    pub slopes: [i32; 2],
}

impl Curve<'_> {
    /// Results in the table of a function between two places.
    pub const fn entries(low: i32, high: i32, step_bits: u32) -> usize {
        ((high.wrapping_sub(low) as u32) >> step_bits) as usize + 2
    }

    /// The function's value: linear between the table's, rounded once; beyond the table its end and a rounded product; saturates.
    #[inline]
    pub fn at(&self, x: i32) -> i32 {
        let inside = x.max(self.low).min(self.high);
        let place = inside.wrapping_sub(self.low) as u32;
        let (unit, interval) = (1u32 << self.step_bits, (place >> self.step_bits) as usize);
        let pair = self
            .table
            .get(interval..)
            .and_then(|rest| rest.first_chunk());
        let [first, second] = pair.map_or([0; 2], |pair| pair.map(i64::from));
        let part = i64::from(place & (unit - 1));
        let mut y = first + (((second - first) * part + i64::from(unit >> 1)) >> self.step_bits);
        if x != inside {
            let [below, above] = self.slopes;
            let slope = if x < inside { below } else { above };
            let beyond = i64::from(x) - i64::from(inside);
            y += (beyond * i64::from(slope) + (1 << 23)) >> 24;
        }
        saturated(y)
    }
}

/// The nearest number of 32 bits.
#[inline]
pub(super) fn saturated(x: i64) -> i32 {
    x.clamp(i32::MIN.into(), i32::MAX.into()) as i32
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::vec::Vec;

    /// The table of `f` on `[low, high]`, for [`curve`].
    pub fn table(f: fn(f64) -> f64, [low, high]: [f64; 2]) -> Vec<i32> {
        let count = Curve::entries(0, ((high - low) * 65536.0) as i32, BITS);
        let place = |i: usize| low + i as f64 * f64::from(1 << BITS) / 65536.0;
        let value = |i: usize| (f(place(i)) * 65536.0).round() as i32;
        (0..count).map(value).collect()
    }

    /// Results 1/32 apart, constant beyond or with these slopes.
    pub fn curve(table: &[i32], ends: [f64; 2], slopes: [f64; 2]) -> Curve<'_> {
        let [low, high] = ends.map(|x| (x * 65536.0) as i32);
        Curve {
            table,
            low,
            high,
            step_bits: BITS,
            slopes: slopes.map(|x| (x * f64::from(1 << 24)) as i32),
        }
    }

    const BITS: u32 = 11;

    #[test]
    fn a_curve_is_its_table_and_goes_on_straight() {
        let ends = [-2.0, 3.0];
        let square = table(|x| x * x, ends);
        let curve = curve(&square, ends, [-4.0, 6.0]);
        for at in (-8 << 16..9 << 16).step_by(777) {
            let x = f64::from(at) / 65536.0;
            let inside = x.clamp(-2.0, 3.0);
            let slope = if x < 0.0 { -4.0 } else { 6.0 };
            let exact = inside * inside + (x - inside) * slope;
            let error = (f64::from(curve.at(at)) / 65536.0 - exact).abs();
            assert!(error < 3e-4, "at {x}: off by {error}");
        }
        assert_eq!(curve.at(i32::MAX), i32::MAX);
        assert_eq!(curve.at(i32::MIN), i32::MAX);
    }

    #[test]
    fn a_corner_and_a_jump_are_exact() {
        let relu = Curve {
            table: &[0, 0],
            low: 0,
            high: 0,
            step_bits: 0,
            slopes: [0, 1 << 24],
        };
        let jump = Curve {
            table: &[0, 65537, 65537],
            low: 65536,
            high: 65537,
            ..relu
        };
        for x in [-100_000, -1, 0, 1, 65535, 65536, 65537, 65538, 1 << 30] {
            assert_eq!(relu.at(x), x.max(0));
            assert_eq!(jump.at(x), if x > 65536 { x } else { 0 });
        }
    }
}
