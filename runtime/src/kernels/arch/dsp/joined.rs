//! The inner loops on joined weights: for one row four outputs at a time, from two records; for a tile of three rows two, from one.
//!
//! Per group of four inputs a row takes 6 loads in a burst (7 cycles), 8 `SMLAD` and 4 `SXTB16` for 16 products; a tile
//! 8 loads in two bursts (10 cycles), 12 `SMLAD` and 2 `SXTB16` for 24. Sums are 256 times as large as with plain
//! weights. `SMMLA` multiplies them and adds the zero point and half of a step, both 256 times as large too, and `SSAT` shifts to
//! the right.

use super::enable_dsp;
use super::finish::{row_others, tile_others, tile_words};
use super::{row, tile};
use core::arch::naked_asm;

/// Bytes of the code of a group: 18 and 22 instructions of one size.
pub(super) const ROW_GROUP: usize = 18 * 4;
pub(super) const TILE_GROUP: usize = 22 * 4;

/// # Safety
/// The operands point to what [`row::Operands`] and [`row::run`] say; there is at least one block.
#[unsafe(naked)]
pub(super) unsafe extern "C" fn run_blocks(operands: &row::Operands) {
    naked_asm!(
        enable_dsp!(),
        // A group: r0 row, r1 r3 records, r2 passes, r4-r7 sums, r8 r9 values, r10-r12 lr weights.
        ".macro attn_joined_row_group at",
        "ldr.w r8, [r0, #8*\\at]",
        "ldr.w r9, [r0, #8*\\at+4]",
        "ldr.w r10, [r1, #8*\\at]",
        "ldr.w r11, [r1, #8*\\at+4]",
        "ldr.w r12, [r3, #8*\\at]",
        "ldr.w lr, [r3, #8*\\at+4]",
        "smlad r4, r10, r8, r4",
        "smlad r5, r11, r8, r5",
        "smlad r6, r12, r8, r6",
        "smlad r7, lr, r8, r7",
        "sxtb16 r10, r10",
        "sxtb16 r11, r11",
        "sxtb16 r12, r12",
        "sxtb16 lr, lr",
        "smlad r4, r10, r9, r4",
        "smlad r5, r11, r9, r5",
        "smlad r6, r12, r9, r6",
        "smlad r7, lr, r9, r7",
        ".endm",
        "push {{r4-r11, lr}}",
        "sub sp, sp, #72",
        "ldm r0!, {{r1-r12}}",
        "stm sp, {{r1-r12}}",
        "ldm r0, {{r3-r7}}",
        "add r9, sp, #48",
        "stm r9, {{r3-r7}}",
        "mov r1, r7", // the first record of a block
        "ldr r9, [sp, #8]",
        "adr.w r8, 5f",
        "add r8, r8, r9",
        "str r8, [sp, #8]",
        "1:", // a block
        "ldr r8, [sp, #20]", // bias
        "ldr r9, [sp, #8]",
        "ldr r0, [sp]",
        "ldr r2, [sp, #4]",
        "ldr r3, [sp, #60]", // a record
        "2:",
        "ldm r8!, {{r4-r7}}",
        "add r3, r1, r3",
        "str r8, [sp, #20]",
        "bx r9",
        ".p2align 2",
        "5:",
        "attn_joined_row_group 0",
        "attn_joined_row_group 1",
        "attn_joined_row_group 2",
        "attn_joined_row_group 3",
        "attn_joined_row_group 4",
        "attn_joined_row_group 5",
        "attn_joined_row_group 6",
        "attn_joined_row_group 7",
        ".purgem attn_joined_row_group",
        "adds r0, r0, #64",
        "adds r1, r1, #64",
        "adds r3, r3, #64",
        "subs r2, r2, #1",
        "bne.w 5b",
        "ldr r0, [sp, #56]",  // back
        "ldr r1, [sp, #28]",  // multipliers
        "ldr r12, [sp, #36]", // addend
        "ldr lr, [sp, #44]",  // kind
        "ldm r1!, {{r8-r11}}",
        "str r1, [sp, #28]",
        "subs r1, r3, r0", // the second record ends where the next block starts
        "cmp lr, #1",
        "bne.w 7f",
        "smmla r4, r4, r8, r12",
        "smmla r5, r5, r9, r12",
        "smmla r6, r6, r10, r12",
        "smmla r7, r7, r11, r12",
        "ssat r4, #8, r4, asr #8",
        "ssat r5, #8, r5, asr #8",
        "ssat r6, #8, r6, asr #8",
        "ssat r7, #8, r7, asr #8",
        "ldr r10, [sp, #12]",
        "ldr r11, [sp, #16]",
        "ldr r8, [sp, #20]",
        "ldr r9, [sp, #8]",
        "ldr r0, [sp]",
        "ldr r2, [sp, #4]",
        "ldr r3, [sp, #60]",
        "strb r4, [r10]",
        "strb r5, [r10, #1]",
        "strb r6, [r10, #2]",
        "strb r7, [r10, #3]",
        "add r10, r10, #4",
        "cmp r10, r11",
        "str r10, [sp, #12]",
        "bne.w 2b",
        "add sp, sp, #72",
        "pop {{r4-r11, pc}}",
        ".p2align 2",
        "6:", // r0 and r2: the results to come, and their end
        "cmp r0, r2",
        "str r0, [sp, #12]",
        "bne.w 1b",
        "add sp, sp, #72",
        "pop {{r4-r11, pc}}",
        "7:",
        "cmp lr, #0",
        "beq 8f",
        "ldr r2, [sp, #40]", // right shift
        "smmla r4, r4, r8, r12",
        "smmla r5, r5, r9, r12",
        "smmla r6, r6, r10, r12",
        "smmla r7, r7, r11, r12",
        "asr r4, r4, r2",
        "asr r5, r5, r2",
        "asr r6, r6, r2",
        "asr r7, r7, r2",
        "cmp lr, #6",
        "beq 8f",
        "adr.w r3, 6b + 1", // where `finish` goes on
        "b.w {others}",
        "8:", // words
        "ldr r0, [sp, #12]",
        "ldr r2, [sp, #16]",
        "stm r0!, {{r4-r7}}",
        "b 6b",
        others = sym row_others,
    )
}

/// # Safety
/// The operands point to what [`tile::Operands`] and [`tile::run_tile`] say; there is at least one pair of outputs.
#[unsafe(naked)]
pub(super) unsafe extern "C" fn run_pairs(operands: &tile::Operands) {
    naked_asm!(
        enable_dsp!(),
        // A group: r0 rows, r1 weights, r2-r7 sums (two outputs of each row), r8 r9 weights, r10-r12 values; lr the end.
        ".macro attn_joined_tile_group at",
        "ldr.w r8, [r1, #8*\\at]",
        "ldr.w r9, [r1, #8*\\at+4]",
        "ldr.w r10, [r0, #24*\\at]",
        "ldr.w r11, [r0, #24*\\at+4]",
        "ldr.w r12, [r0, #24*\\at+8]",
        "smlad r2, r8, r10, r2",
        "smlad r3, r9, r10, r3",
        "smlad r4, r8, r11, r4",
        "smlad r5, r9, r11, r5",
        "smlad r6, r8, r12, r6",
        "smlad r7, r9, r12, r7",
        "sxtb16 r8, r8",
        "sxtb16 r9, r9",
        "ldr.w r10, [r0, #24*\\at+12]",
        "ldr.w r11, [r0, #24*\\at+16]",
        "ldr.w r12, [r0, #24*\\at+20]",
        "smlad r2, r8, r10, r2",
        "smlad r3, r9, r10, r3",
        "smlad r4, r8, r11, r4",
        "smlad r5, r9, r11, r5",
        "smlad r6, r8, r12, r6",
        "smlad r7, r9, r12, r7",
        ".endm",
        "push {{r4-r11, lr}}",
        "sub sp, sp, #80",
        "ldm r0!, {{r1-r12}}",
        "stm sp, {{r1-r12}}",
        "ldm r0, {{r3-r9}}",
        "add r10, sp, #48",
        "stm r10, {{r3-r9}}",
        "mov r1, r9", // weights: r1 walks through all records
        "ldr r9, [sp, #8]",
        "adr.w r8, 5f",
        "add r8, r8, r9",
        "str r8, [sp, #8]",
        "1:", // a pair of outputs
        "ldr r11, [sp, #20]", // bias
        "ldr r12, [sp, #8]",
        "ldr r0, [sp]",
        "ldr lr, [sp, #4]", // the end of the rows
        "2:",
        "ldm r11!, {{r2, r3}}",
        "str r11, [sp, #20]",
        "mov r4, r2",
        "mov r5, r3",
        "mov r6, r2",
        "mov r7, r3",
        "bx r12",
        ".p2align 2",
        "5:",
        "attn_joined_tile_group 0",
        "attn_joined_tile_group 1",
        "attn_joined_tile_group 2",
        "attn_joined_tile_group 3",
        "attn_joined_tile_group 4",
        "attn_joined_tile_group 5",
        "attn_joined_tile_group 6",
        "attn_joined_tile_group 7",
        ".purgem attn_joined_tile_group",
        "adds r1, r1, #64",
        "adds r0, r0, #192",
        "cmp r0, lr",
        "bne.w 5b",
        "ldr r8, [sp, #28]",  // multipliers
        "ldr r0, [sp, #60]",  // back
        "ldr r12, [sp, #36]", // addend
        "ldr lr, [sp, #44]",  // kind
        "subs r1, r1, r0",
        "cmp lr, #1",
        "bne.w 7f",
        "ldm r8!, {{r9, r10}}",
        "str r8, [sp, #28]",
        "smmla r2, r2, r9, r12",
        "smmla r3, r3, r10, r12",
        "smmla r4, r4, r9, r12",
        "smmla r5, r5, r10, r12",
        "smmla r6, r6, r9, r12",
        "smmla r7, r7, r10, r12",
        "ssat r2, #8, r2, asr #8",
        "ssat r3, #8, r3, asr #8",
        "ssat r4, #8, r4, asr #8",
        "ssat r5, #8, r5, asr #8",
        "ssat r6, #8, r6, asr #8",
        "ssat r7, #8, r7, asr #8",
        "ldr r8, [sp, #12]",  // results
        "ldr r9, [sp, #16]",  // from a row of them to the next
        "ldr r10, [sp, #68]", // their end
        "ldr r11, [sp, #20]", // and what the next pair begins with
        "ldr r12, [sp, #8]",
        "ldr r0, [sp]",
        "ldr lr, [sp, #4]",
        "strb r2, [r8]",
        "strb r3, [r8, #1]",
        "add r2, r8, r9",
        "add r8, r8, #2",
        "strb r4, [r2]",
        "strb r5, [r2, #1]",
        "add r2, r2, r9",
        "str r8, [sp, #12]",
        "strb r6, [r2]",
        "strb r7, [r2, #1]",
        "cmp r8, r10",
        "bne.w 2b",
        "add sp, sp, #80",
        "pop {{r4-r11, pc}}",
        ".p2align 2",
        "6:",
        "ldr r8, [sp, #12]",
        "ldr r10, [sp, #68]",
        "cmp r8, r10",
        "bne.w 1b",
        "add sp, sp, #80",
        "pop {{r4-r11, pc}}",
        "7:",
        "adr.w r0, 6b + 1", // where `finish` goes on
        "cmp lr, #0",
        "beq.w {words}",
        "ldr r11, [sp, #40]", // right shift
        "ldm r8!, {{r9, r10}}",
        "str r8, [sp, #28]",
        "smmla r2, r2, r9, r12",
        "smmla r3, r3, r10, r12",
        "smmla r4, r4, r9, r12",
        "smmla r5, r5, r10, r12",
        "smmla r6, r6, r9, r12",
        "smmla r7, r7, r10, r12",
        "asr r2, r2, r11",
        "asr r3, r3, r11",
        "asr r4, r4, r11",
        "asr r5, r5, r11",
        "asr r6, r6, r11",
        "asr r7, r7, r11",
        "b.w {others}",
        words = sym tile_words,
        others = sym tile_others,
    )
}
