//! Windows that move on: the oldest values leave, the others move to the front.

/// Moves all values but the first `count` to the front; what they leave free keeps its values.
pub fn drop_first<T: Copy>(mut values: &mut [T], count: usize) {
    // In blocks that do not overlap: the library's function for overlapping ones is 1.6 KB of flash.
    while count > 0
        && let Some((to, from)) = core::mem::take(&mut values).split_at_mut_checked(count)
    {
        let moved = count.min(from.len());
        if let (Some(to), Some(from)) = (to.get_mut(..moved), from.get(..moved)) {
            to.copy_from_slice(from);
        }
        values = from;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn values_move_to_the_front_in_order(
            mut values in proptest::collection::vec(any::<i16>(), 0..40),
            count in 0usize..45,
        ) {
            let mut moved = values.clone();
            if let Some(kept) = values.len().checked_sub(count) {
                moved.copy_within(count.., 0);
                prop_assert_eq!(kept + count, values.len());
            }
            drop_first(&mut values, count);
            prop_assert_eq!(values, moved);
        }
    }
}
