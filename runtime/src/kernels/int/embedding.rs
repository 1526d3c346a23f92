//! Rows of a table of weights, by number.

use super::requantize::{Activation, requantize};

/// A table of int8 weights in flash, each row with a scale of its own.
#[derive(Clone, Copy, Debug)]
pub struct Table<'w> {
    /// `[tokens, channels]`
    pub rows: &'w [i8],
    /// Elements of a row.
    pub channels: usize,
    /// From a row's steps to the result's, `[tokens]`; see [`requantize`].
    pub multipliers: &'w [i32],
    /// Common left shift, 0 to 31.
    pub left_shift: u32,
    /// Integer that represents 0.0 in the result.
    pub zero_point: i32,
    /// Smallest result.
    pub min: i32,
    /// Largest result.
    pub max: i32,
}

/// The rows of `tokens: [n]` one after the other, `y: [n, channels]`. A number outside the table gives zeros.
pub fn look_up<Y: Activation>(tokens: &[i32], table: &Table, y: &mut [Y]) {
    let channels = table.channels.max(1);
    for (&token, y) in tokens.iter().zip(y.chunks_exact_mut(channels)) {
        let token = usize::try_from(token).unwrap_or(usize::MAX);
        let row = token
            .checked_mul(channels)
            .and_then(|at| table.rows.get(at..)?.get(..channels));
        let multiplier = table.multipliers.get(token).copied().unwrap_or(0);
        let Some(row) = row else {
            y.fill(Y::from_i32(table.zero_point));
            continue;
        };
        for (y, &w) in y.iter_mut().zip(row) {
            let value = requantize(w.into(), multiplier, table.left_shift);
            let value = value.wrapping_add(table.zero_point);
            *y = Y::from_i32(value.max(table.min).min(table.max));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_have_their_own_scales_and_unknown_tokens_give_zero() {
        let table = Table {
            rows: &[1, -2, 100, 50],
            channels: 2,
            multipliers: &[1 << 30, 1 << 29],
            left_shift: 4, // factors 4 and 2
            zero_point: -1,
            min: -128,
            max: 127,
        };
        let mut y = [0i8; 8];
        look_up(&[1, 0, 2, -7], &table, &mut y);
        assert_eq!(y, [127, 99, 3, -9, -1, -1, -1, -1]);
    }
}
