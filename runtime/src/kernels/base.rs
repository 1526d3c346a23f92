//! Kernels of the base operators, for elements of either encoding where no arithmetic depends on it. They compute any model; the
//! operators that import recognises are faster.

/// Most axes of a copy.
pub const MAX_AXES: usize = 6;

/// Index in a table for an element that no input element is copied to.
pub const NO_ELEMENT: u32 = u32::MAX;

/// Which element of the input each element of the result is a copy of, row-major: `offset + sum(index[axis] * strides[axis])`.
#[derive(Clone, Copy, Debug)]
pub struct Strides {
    /// Sizes of the result's axes.
    pub dims: [u32; MAX_AXES],
    /// Elements of the input from one index to the next.
    pub strides: [i32; MAX_AXES],
    /// Element of the input for index 0 of all axes.
    pub offset: u32,
}

impl Strides {
    /// Number of elements of the result; `None` if that leaves 32 bits.
    pub fn len(&self) -> Option<usize> {
        let product = |len: u32, &dim: &u32| len.checked_mul(dim);
        Some(self.dims.iter().try_fold(1u32, product)? as usize)
    }

    /// True without any element.
    pub fn is_empty(&self) -> bool {
        self.dims.contains(&0)
    }

    /// True if every element is one of the first `len` of the input.
    pub fn within(&self, len: usize) -> bool {
        let (mut low, mut high) = (i64::from(self.offset), i64::from(self.offset));
        for (&dim, &stride) in self.dims.iter().zip(&self.strides) {
            let end = i64::from(dim.saturating_sub(1)).saturating_mul(i64::from(stride));
            low = low.saturating_add(end.min(0));
            high = high.saturating_add(end.max(0));
        }
        low >= 0 && high < len as i64
    }
}

/// Copies elements in an order that strides give.
pub fn copy_strided<T: Copy>(x: &[T], order: &Strides, y: &mut [T]) {
    let [.., inner] = order.dims;
    let [.., step] = order.strides;
    let (mut index, mut start) = ([0u32; MAX_AXES], order.offset);
    for row in y.chunks_mut((inner as usize).max(1)) {
        let mut at = start;
        for y in row {
            if let Some(&x) = x.get(at as usize) {
                *y = x;
            }
            at = at.wrapping_add_signed(step);
        }
        // The next row: the last axis but one counts first.
        let axes = index.iter_mut().zip(&order.dims).zip(&order.strides);
        for ((index, &dim), &stride) in axes.rev().skip(1) {
            *index = index.wrapping_add(1);
            start = start.wrapping_add_signed(stride);
            if *index < dim {
                break;
            }
            start = start.wrapping_sub(stride.wrapping_mul(dim as i32) as u32);
            *index = 0;
        }
    }
}

/// Copies elements in an order that a table gives; `fill` where it names none.
pub fn copy_indexed<T: Copy>(x: &[T], table: &[u32], fill: T, y: &mut [T]) {
    for (y, &at) in y.iter_mut().zip(table) {
        *y = x.get(at as usize).copied().unwrap_or(fill);
    }
}

/// Place of the largest element along the middle axis of `x: [outer, n, inner]`, the first of equals or the last; `y: [outer, inner]`.
pub fn arg_max<T: Copy + PartialOrd>(x: &[T], [n, inner]: [usize; 2], last: bool, y: &mut [i32]) {
    let inner = inner.max(1);
    let blocks = x.chunks_exact(n.saturating_mul(inner).max(1));
    for (x, y) in blocks.zip(y.chunks_exact_mut(inner)) {
        for (at, y) in y.iter_mut().enumerate() {
            let mut column = x.iter().skip(at).step_by(inner).enumerate();
            let Some((_, &first)) = column.next() else {
                continue;
            };
            let (mut largest, mut place) = (first, 0);
            for (i, &x) in column {
                if x > largest || (last && x == largest) {
                    (largest, place) = (x, i);
                }
            }
            *y = place as i32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    proptest! {
        /// Against the definition, element by element, for any sizes and strides that stay inside.
        #[test]
        fn strides_are_followed(
            dims in proptest::array::uniform6(1u32..4),
            strides in proptest::array::uniform6(-9i32..9),
        ) {
            let reach: u32 = dims.iter().zip(&strides).map(|(d, s)| (d - 1) * s.unsigned_abs()).sum();
            let order = Strides { dims, strides, offset: reach };
            let x: Vec<i16> = (0..=2 * reach as i16).collect();
            prop_assert!(order.within(x.len()));
            let mut y = std::vec![-1; order.len().unwrap()];
            copy_strided(&x, &order, &mut y);
            for (i, &y) in y.iter().enumerate() {
                let (mut rest, mut at) = (i as u32, order.offset as i32);
                for axis in (0..MAX_AXES).rev() {
                    at += (rest % dims[axis]) as i32 * strides[axis];
                    rest /= dims[axis];
                }
                prop_assert_eq!(i32::from(y), at);
            }
        }
    }

    #[test]
    fn the_largest_is_found_along_the_middle_axis() {
        let x: [i8; 6] = [3, -1, 3, 9, 2, 9];
        let run = |last| {
            let mut y = [-1; 2];
            arg_max(&x, [3, 2], last, &mut y);
            y
        };
        assert_eq!((run(false), run(true)), ([0, 1], [1, 2]));
    }

    #[test]
    fn an_index_that_names_no_element_fills() {
        let mut y = [9; 3];
        copy_indexed(&[1, 2, 3], &[2, NO_ELEMENT, 0], 7, &mut y);
        assert_eq!(y, [3, 7, 1]);
        let outside = Strides {
            dims: [1, 1, 1, 1, 2, 2],
            strides: [0, 0, 0, 0, 2, -1],
            offset: 0,
        };
        assert!(!outside.within(4));
    }
}
