//! What becomes of sums besides int8 over the whole range of the type. The bodies of `row` and `tile` have copies of what is frequent;
//! for the rest, and with joined weights for all of it, they jump here with their operands on the stack, and go on at the address
//! in r3 or r0.

use super::{define_clamp, enable_dsp};
use core::arch::naked_asm;

/// Four requantized sums of a row, r4 to r7; kind in lr.
///
/// # Safety
/// From a body of `row` alone, by a jump.
#[unsafe(naked)]
pub unsafe extern "C" fn row_others() {
    naked_asm!(
        enable_dsp!(),
        "cmp lr, #2",
        "beq 3f",
        "ldr r8, [sp, #48]", // min
        "ldr r9, [sp, #52]", // max
        define_clamp!(),
        "attn_clamp r4",
        "attn_clamp r5",
        "attn_clamp r6",
        "attn_clamp r7",
        ".purgem attn_clamp",
        "cmp lr, #4",
        "bne 9f",
        "ldr r0, [sp, #12]",
        "ldr r2, [sp, #16]",
        "strb r4, [r0]",
        "strb r5, [r0, #1]",
        "strb r6, [r0, #2]",
        "strb r7, [r0, #3]",
        "adds r0, r0, #4",
        "bx r3",
        "3:",
        "ssat r4, #16, r4",
        "ssat r5, #16, r5",
        "ssat r6, #16, r6",
        "ssat r7, #16, r7",
        "9:", // int16
        store_row_halves!(),
        "bx r3",
    )
}

/// Stores four sums of a row, r4 to r7, as int16; r0 and r2 are then the results to come, and their end.
macro_rules! store_row_halves {
    () => {
        "ldr r0, [sp, #12]
        ldr r2, [sp, #16]
        strh r4, [r0]
        strh r5, [r0, #2]
        strh r6, [r0, #4]
        strh r7, [r0, #6]
        adds r0, r0, #8"
    };
}
pub(super) use store_row_halves;

/// Stores two sums of each row of a tile, r2 to r7, as int16.
macro_rules! store_tile_halves {
    () => {
        "ldr r8, [sp, #12]
        ldr r9, [sp, #16]
        strh r2, [r8]
        strh r3, [r8, #2]
        add r10, r8, r9
        add r8, r8, #4
        strh r4, [r10]
        strh r5, [r10, #2]
        add r10, r10, r9
        str r8, [sp, #12]
        strh r6, [r10]
        strh r7, [r10, #2]"
    };
}
pub(super) use store_tile_halves;

/// Stores two words of each row of a tile, r2 to r7.
macro_rules! store_tile_words {
    () => {
        "ldr r8, [sp, #12]
        ldr r9, [sp, #16]
        str r2, [r8]
        str r3, [r8, #4]
        add r10, r8, r9
        add r8, r8, #8
        str r4, [r10]
        str r5, [r10, #4]
        add r10, r10, r9
        str r8, [sp, #12]
        str r6, [r10]
        str r7, [r10, #4]"
    };
}
pub(super) use store_tile_words;

/// Two requantized sums of each row of a tile, r2 to r7; kind in lr.
///
/// # Safety
/// From a body of `tile` alone, by a jump.
#[unsafe(naked)]
pub unsafe extern "C" fn tile_others() {
    naked_asm!(
        enable_dsp!(),
        "cmp lr, #2",
        "beq 3f",
        "cmp lr, #6",
        "beq.w {words}",
        "ldr r8, [sp, #48]", // min
        "ldr r9, [sp, #52]", // max
        define_clamp!(),
        "attn_clamp r2",
        "attn_clamp r3",
        "attn_clamp r4",
        "attn_clamp r5",
        "attn_clamp r6",
        "attn_clamp r7",
        ".purgem attn_clamp",
        "cmp lr, #4",
        "bne 9f",
        "ldr r8, [sp, #12]",
        "ldr r9, [sp, #16]",
        "strb r2, [r8]",
        "strb r3, [r8, #1]",
        "add r10, r8, r9",
        "add r8, r8, #2",
        "strb r4, [r10]",
        "strb r5, [r10, #1]",
        "add r10, r10, r9",
        "str r8, [sp, #12]",
        "strb r6, [r10]",
        "strb r7, [r10, #1]",
        "bx r0",
        "3:",
        "ssat r2, #16, r2",
        "ssat r3, #16, r3",
        "ssat r4, #16, r4",
        "ssat r5, #16, r5",
        "ssat r6, #16, r6",
        "ssat r7, #16, r7",
        "9:", // int16
        store_tile_halves!(),
        "bx r0",
        words = sym tile_words,
    )
}

/// Two words of each row of a tile, r2 to r7.
///
/// # Safety
/// From a body of `tile` alone, by a jump.
#[unsafe(naked)]
pub unsafe extern "C" fn tile_words() {
    naked_asm!(store_tile_words!(), "bx r0")
}
