//! Sum, largest or smallest of the elements along one axis.

use super::elementwise::Rescale;
use super::requantize::{Activation, requantize};

/// What is made of the elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reduction {
    /// Their sum, times a factor.
    Sum,
    /// The largest.
    Max,
    /// The smallest.
    Min,
}

/// `x: [outer, n, inner]` to `y: [outer, inner]`. A sum is that of the elements without their zero point.
pub fn reduce<X: Activation, Y: Activation>(
    x: &[X],
    kind: Reduction,
    [n, inner]: [usize; 2],
    by: &Rescale,
    y: &mut [Y],
) {
    let inner = inner.max(1);
    let blocks = x.chunks_exact((n * inner).max(1));
    for (x, y) in blocks.zip(y.chunks_exact_mut(inner)) {
        for (at, y) in y.iter_mut().enumerate() {
            let column = || x.iter().skip(at).step_by(inner).map(|&x| x.into());
            let value: i32 = match kind {
                Reduction::Max => column().max().unwrap_or(0),
                Reduction::Min => column().min().unwrap_or(0),
                Reduction::Sum => {
                    let add =
                        |sum: i32, x: i32| sum.wrapping_add(x.wrapping_sub(by.input_zero_point));
                    let sum = column().fold(0, add);
                    let value = requantize(sum, by.multiplier, by.left_shift);
                    value.wrapping_add(by.zero_point).max(by.min).min(by.max)
                }
            };
            *y = Y::from_i32(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::testing::rescale;

    #[test]
    fn the_middle_axis_is_reduced() {
        let x: [i8; 12] = [1, 9, 2, 8, 3, 7, -1, -9, -2, -8, -3, -7];
        let by = Rescale {
            min: -128,
            max: 127,
            ..rescale(1, i32::MAX, 1, 0)
        };
        let run = |kind| {
            let mut y = [0i8; 4];
            reduce(&x, kind, [3, 2], &by, &mut y);
            y
        };
        assert_eq!(run(Reduction::Max), [3, 9, -1, -7]);
        assert_eq!(run(Reduction::Min), [1, 7, -3, -9]);
        // The multiplier is all but 1.
        assert_eq!(run(Reduction::Sum), [3, 21, -9, -27]);
    }
}
