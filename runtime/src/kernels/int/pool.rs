//! Pooling over images and over channels, and products with a gate: the parts of spatial and channel attention.

use super::elementwise::{Rescale, mul};
use super::requantize::Activation;
use crate::kernels::geometry::{Image, Window2d};

/// Channels whose means are summed together.
const CHANNELS: usize = 8;

/// The pixels under the kernel, padding left out.
fn under<'x, X: Activation>(
    x: &Image<'x, X>,
    window: &Window2d,
    [top, left]: [isize; 2],
) -> impl Iterator<Item = &'x [X]> + use<'x, X> {
    let (x, [height, width]) = (*x, window.kernel);
    let rows = (0..height).filter_map(move |down| x.row(top.wrapping_add(down as isize)));
    rows.flat_map(move |row| {
        (0..width).filter_map(move |right| x.pixel(row, left.wrapping_add(right as isize)))
    })
}

/// Largest value under the kernel, for every channel; padding does not count. `y: [rows, y_width, c]`, scaled as `x`.
pub fn max_pool2d<X: Activation + Ord>(
    x: &Image<X>,
    window: &Window2d,
    y: &mut [X],
    y_width: usize,
) {
    let c = x.channels.max(1);
    for (row, y) in y.chunks_exact_mut((y_width * c).max(1)).enumerate() {
        for (column, y) in y.chunks_exact_mut(c).enumerate() {
            let mut pixels = under(x, window, window.start(row, column));
            let first = pixels.next().unwrap_or(&[]);
            y.iter_mut().zip(first).for_each(|(y, &x)| *y = x);
            for pixel in pixels {
                y.iter_mut().zip(pixel).for_each(|(y, &x)| *y = x.max(*y));
            }
        }
    }
}

/// Mean of the pixels under the kernel, for every channel; padding counts as 0.0. `by` divides by the kernel's size; its
/// input zero point is the zero point of one value.
pub fn average_pool2d<X: Activation, Y: Activation>(
    x: &Image<X>,
    window: &Window2d,
    by: &Rescale,
    y: &mut [Y],
    y_width: usize,
) {
    let c = x.channels.max(1);
    for (row, y) in y.chunks_exact_mut((y_width * c).max(1)).enumerate() {
        for (column, y) in y.chunks_exact_mut(c).enumerate() {
            let start = window.start(row, column);
            for (block, y) in y.chunks_mut(CHANNELS).enumerate() {
                let (mut sums, mut pixels) = ([0i32; CHANNELS], 0i32);
                for pixel in under(x, window, start) {
                    let values = pixel.get(block * CHANNELS..).unwrap_or(&[]);
                    for (sum, &x) in sums.iter_mut().zip(values) {
                        *sum = sum.wrapping_add(x.into());
                    }
                    pixels = pixels.wrapping_add(1);
                }
                let zero = by.input_zero_point.wrapping_mul(pixels);
                for (y, &sum) in y.iter_mut().zip(&sums) {
                    *y = by.finish(sum.wrapping_sub(zero));
                }
            }
        }
    }
}

/// Mean of every row: `x: [rows, channels]`, `y: [rows]`; `by` divides by the number of channels; its input zero point
/// is the zero point of one value.
pub fn mean_channels<X: Activation, Y: Activation>(
    x: &[X],
    channels: usize,
    by: &Rescale,
    y: &mut [Y],
) {
    for (row, y) in x.chunks_exact(channels.max(1)).zip(y) {
        let sum = row.iter().fold(0i32, |sum, &x| sum.wrapping_add(x.into()));
        let zero = by.input_zero_point.wrapping_mul(channels as i32);
        *y = by.finish(sum.wrapping_sub(zero));
    }
}

/// Largest value of every row: `x: [rows, channels]`, `y: [rows]`, scaled as `x`.
pub fn max_channels<X: Activation>(x: &[X], channels: usize, y: &mut [X]) {
    for (row, y) in x.chunks_exact(channels.max(1)).zip(y) {
        let largest = row.iter().map(|&x| x.into()).max().unwrap_or(0);
        *y = X::from_i32(largest);
    }
}

/// Every row of `x: [rows, channels]` times `gate: [channels]`; `by` as for [`mul`].
pub fn gate_channels<X: Activation, G: Activation, Y: Activation>(
    (x, zero): (&[X], i32),
    (gate, gate_zero): (&[G], i32),
    by: &Rescale,
    y: &mut [Y],
) {
    let channels = gate.len().max(1);
    for (x, y) in x.chunks_exact(channels).zip(y.chunks_exact_mut(channels)) {
        mul((x, zero), (gate, gate_zero), by, y);
    }
}

/// Every row of `x: [rows, channels]` times its own element of `gate: [rows]`; `by` as for [`mul`].
pub fn gate_rows<X: Activation, G: Activation, Y: Activation>(
    (x, zero): (&[X], i32),
    (gate, gate_zero): (&[G], i32),
    channels: usize,
    by: &Rescale,
    y: &mut [Y],
) {
    let channels = channels.max(1);
    let rows = x.chunks_exact(channels).zip(y.chunks_exact_mut(channels));
    for ((x, y), &gate) in rows.zip(gate) {
        let gate = gate.into().wrapping_sub(gate_zero);
        for (y, &x) in y.iter_mut().zip(x) {
            *y = by.finish(x.into().wrapping_sub(zero).wrapping_mul(gate));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::testing::{rescale, window2d};

    const WINDOW: Window2d = window2d([2, 2], [2, 1], [0, 1], -7);
    /// Two rows of three pixels of two channels.
    const X: [i8; 12] = [1, -10, 2, -20, 3, -30, 4, -40, 5, -50, 6, -60];
    const IMAGE: Image<i8> = Image {
        values: &X,
        width: 3,
        channels: 2,
    };

    fn by(multiplier: i32, input_zero_point: i32) -> Rescale {
        rescale(input_zero_point, multiplier, 2, 1)
    }

    #[test]
    fn padding_is_never_the_largest_value() {
        let mut y = [0i8; 8];
        max_pool2d(&IMAGE, &WINDOW, &mut y, 4);
        assert_eq!(y, [4, -10, 5, -10, 6, -20, 6, -30]);
    }

    #[test]
    fn padding_counts_as_zero_in_an_average() {
        let mut y = [0i16; 8];
        // A quarter of the sum of x + 10, plus the zero point.
        average_pool2d(&IMAGE, &WINDOW, &by(1 << 28, -10), &mut y, 4);
        let quarter = |sum: i16| (sum + 2).div_euclid(4) + 1;
        assert_eq!(y, [25, -30, 52, -80, 56, -120, 29, -70].map(quarter));
    }

    #[test]
    fn rows_are_pooled_over_channels() {
        let (mut mean, mut top) = ([0i8; 4], [0i8; 4]);
        let x = [10i8, 20, 33, -5, -5, -5, 7, 8, 9, 0, 0, 0];
        mean_channels(&x, 3, &by(((1u64 << 30) / 3) as i32, 2), &mut mean);
        max_channels(&x, 3, &mut top);
        assert_eq!((mean, top), ([20, -6, 7, -1], [33, -5, 9, 0]));
    }

    #[test]
    fn a_gate_is_one_factor_for_a_channel_or_a_row() {
        let x = [2i8, 3, 4, 5, 6, 7];
        let (mut channels, mut rows) = ([0i16; 6], [0i16; 6]);
        gate_channels((&x, 1), (&[4i16, -8], 0), &by(1 << 29, 0), &mut channels);
        gate_rows((&x, 1), (&[5i8, 1, 3], 1), 2, &by(1 << 29, 0), &mut rows);
        assert_eq!(channels, [3, -7, 7, -15, 11, -23]);
        assert_eq!(rows, [3, 5, 1, 1, 6, 7]);
    }
}
