//! Pair order by `SXTAB16` and `PKH`, and what joined weights meet by `SXTB16` and `EOR`: about two cycles a value.

use super::super::taps::Values;
use super::enable_dsp;
use crate::kernels::int::dot::{LANES, ROWS};
use crate::kernels::int::requantize::Activation;
use core::arch::naked_asm;

/// See [`crate::kernels::arch::pairs::fill`].
pub fn fill<X: Activation>(
    groups: &[[X; LANES]],
    offset: i32,
    pairs: &mut [i16],
    [rows, row]: [usize; 2],
) {
    let (x, narrow) = match X::values(groups.as_flattened()) {
        Values::I8(x) => (x.as_ptr().cast(), true),
        Values::I16(x) => (x.as_ptr().cast(), false),
    };
    let (body, room) = match (rows, narrow) {
        (1, true) => (narrow_alone as Loop, pairs.len() / LANES),
        (1, false) => (wide_alone as Loop, pairs.len() / LANES),
        (ROWS, true) => (narrow_of_tile as Loop, pairs.len() / (ROWS * LANES)),
        (ROWS, false) => (wide_of_tile as Loop, pairs.len() / (ROWS * LANES)),
        _ => return,
    };
    let count = groups.len().min(room);
    if count == 0 || row >= rows {
        return;
    }
    let minus = u32::from(offset.wrapping_neg() as u16);
    // A word of each row, then again.
    let start = pairs.as_mut_ptr().cast::<u32>().wrapping_add(row);
    // SAFETY: `count` groups of `X` lie at `groups` and `count` of all rows at `pairs`, which is unique; a row has the words
    // at `row` and `rows + row` of each; word loads and stores need no alignment.
    unsafe { body(x, count, start, minus << 16 | minus) };
}

/// See [`crate::kernels::arch::pairs::fill_joined`].
pub fn fill_joined(groups: &[[i8; LANES]], pairs: &mut [i16], [rows, row]: [usize; 2]) {
    let (body, room) = match rows {
        1 => (joined_alone as Loop, pairs.len() / LANES),
        ROWS => (joined_of_tile as Loop, pairs.len() / (ROWS * LANES)),
        _ => return,
    };
    let count = groups.len().min(room);
    if count == 0 || row >= rows {
        return;
    }
    let start = pairs.as_mut_ptr().cast::<u32>().wrapping_add(row);
    // SAFETY: as in `fill`.
    unsafe { body(groups.as_ptr().cast(), count, start, 0) };
}

type Loop = unsafe extern "C" fn(*const u8, usize, *mut u32, u32);

/// Defines the loop for one type of values and number of rows: the loads of four and of eight values, and what becomes of
/// two of their words.
macro_rules! loops {
    ($name:ident, $rows:literal, $four:literal, $load:literal, $split:literal) => {
        /// # Safety
        /// `count` groups at `x` and at `pairs`, not 0; see [`fill`].
        #[unsafe(naked)]
        unsafe extern "C" fn $name(x: *const u8, count: usize, pairs: *mut u32, minus: u32) {
            naked_asm!(
                enable_dsp!(),
                concat!(".macro attn_load_four\n", $load, "\n.endm"),
                concat!(".macro attn_split x, more\n", $split, "\n.endm"),
                "push {{r4-r7, lr}}",
                "lsrs r1, r1, #1",
                "bcc 2f",
                concat!("ldr r4, [r0], #4\n", $four),
                "attn_split r4, r5",
                "str r6, [r2], #{half}",
                "str r4, [r2], #{half}",
                "cmp r1, #0",
                "2:",
                "beq 4f",
                "3:",
                "attn_load_four",
                "attn_split r4, r5",
                "str r6, [r2]",
                "str r4, [r2, #{half}]",
                "attn_split r7, r12",
                "str r6, [r2, #{step}]",
                "str r7, [r2, #{last}]",
                "add.w r2, r2, #{both}",
                "subs r1, r1, #1",
                "bne 3b",
                "4:",
                ".purgem attn_load_four",
                ".purgem attn_split",
                "pop {{r4-r7, pc}}",
                half = const 4 * $rows,
                step = const 8 * $rows,
                last = const 12 * $rows,
                both = const 16 * $rows,
            )
        }
    };
}

macro_rules! both {
    ($narrow:ident, $wide:ident, $rows:literal) => {
        loops!(
            $narrow,
            $rows,
            "",
            "ldr r4, [r0]\nldr r7, [r0, #4]\nadds r0, r0, #8",
            "sxtab16 r6, r3, \\x\nsxtab16 \\x, r3, \\x, ror #8"
        );
        loops!(
            $wide,
            $rows,
            "ldr r5, [r0], #4",
            "ldr r4, [r0]\nldr r5, [r0, #4]\nldr r7, [r0, #8]\nldr r12, [r0, #12]\nadds r0, r0, #16",
            "pkhbt r6, \\x, \\more, lsl #16\npkhtb \\x, \\more, \\x, asr #16\nsadd16 r6, r6, r3\nsadd16 \\x, \\x, r3"
        );
    };
}

// The odd word is the word of values with the lower byte of each half inverted but for the sign: 127 - x.
macro_rules! joined {
    ($name:ident, $rows:literal) => {
        loops!(
            $name,
            $rows,
            "",
            "ldr r4, [r0]\nldr r7, [r0, #4]\nadds r0, r0, #8",
            "sxtb16 r6, \\x\neor \\x, \\x, #0x007f007f"
        );
    };
}

joined!(joined_alone, 1);
joined!(joined_of_tile, 3);
both!(narrow_alone, wide_alone, 1);
both!(narrow_of_tile, wide_of_tile, 3);
