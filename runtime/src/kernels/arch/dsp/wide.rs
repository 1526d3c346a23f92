//! The inner loop on int16 times int16: per group of four inputs and four outputs (16 products) 9 loads and 8 `SMLALD`,
//! which add in 64 bits.

use super::super::int::WideBlocks;
use super::super::portable::int as portable;
use super::enable_dsp;
use crate::kernels::int::dot::LANES;
use core::arch::naked_asm;

/// Operands of [`run_blocks`], which advances them as it goes.
#[repr(C)]
struct Operands {
    pairs: *const i16,
    groups: usize,
    weights: *const i16,
    blocks: usize,
    y: *mut [i32; LANES],
    shift: u32,
}

/// See [`WideBlocks::run`].
pub fn run_wide(blocks: &WideBlocks, y: &mut [[i32; LANES]]) {
    let aligned = blocks.pairs.as_ptr() as usize | blocks.weights.as_ptr() as usize;
    let groups = blocks.pairs.len() / LANES;
    if !aligned.is_multiple_of(4) || groups == 0 || !blocks.pairs.len().is_multiple_of(LANES) {
        // LDM needs whole words; a parsed model's tensors always start at one.
        return portable::run_wide(blocks, y);
    }
    let block_len = blocks.pairs.len() * LANES;
    let whole = blocks.weights.len().checked_div(block_len).unwrap_or(0);
    let mut operands = Operands {
        pairs: blocks.pairs.as_ptr(),
        groups,
        weights: blocks.weights.as_ptr(),
        blocks: whole.min(y.len()),
        y: y.as_mut_ptr(),
        shift: blocks.shift & 31,
    };
    if operands.blocks > 0 {
        // SAFETY: there is at least one group and one block; weights and results hold `blocks` blocks by the minimum
        // above; pairs and weights are word-aligned, and `y` is by its type and unique.
        unsafe { run_blocks(&mut operands) };
    }
}

/// # Safety
/// The operands point to what [`Operands`] and [`run_wide`] say; `groups` and `blocks` are not 0, `shift` is below 32.
#[unsafe(naked)]
unsafe extern "C" fn run_blocks(operands: &mut Operands) {
    naked_asm!(
        enable_dsp!(),
        "push {{r0, r4-r11, lr}}",
        "ldr r1, [r0, #8]", // weights: r1 walks through all blocks
        "1:",
        "ldr r12, [sp]",
        "ldrd r0, r2, [r12]", // pairs, groups
        "movs r4, #0",        // the four sums, low and high words
        "movs r5, #0",
        "movs r6, #0",
        "movs r7, #0",
        "mov r8, r4",
        "mov r9, r4",
        "mov r10, r4",
        "mov r11, r4",
        ".macro attn_wide_group",
        "ldm r0!, {{r12, lr}}", // x0 x2, x1 x3
        "ldr r3, [r1], #4",
        "smlald r4, r5, r3, r12",
        "ldr r3, [r1], #4",
        "smlald r4, r5, r3, lr",
        "ldr r3, [r1], #4",
        "smlald r6, r7, r3, r12",
        "ldr r3, [r1], #4",
        "smlald r6, r7, r3, lr",
        "ldr r3, [r1], #4",
        "smlald r8, r9, r3, r12",
        "ldr r3, [r1], #4",
        "smlald r8, r9, r3, lr",
        "ldr r3, [r1], #4",
        "smlald r10, r11, r3, r12",
        "ldr r3, [r1], #4",
        "smlald r10, r11, r3, lr",
        ".endm",
        "lsrs r2, r2, #1", // groups are taken in twos; what is over first
        "bcc 2f",
        "attn_wide_group",
        "2:",
        "cmp r2, #0",
        "beq 4f",
        "3:",
        "attn_wide_group",
        "attn_wide_group",
        "subs r2, r2, #1",
        "bne 3b",
        "4:",
        ".purgem attn_wide_group",
        "ldr r12, [sp]",
        "ldrd r3, r2, [r12, #16]", // y, shift
        "rsb lr, r2, #32",         // a shift by 32 gives 0
        ".macro attn_wide_shift low, high",
        "lsr \\low, \\low, r2",
        "lsl \\high, \\high, lr",
        "orr \\low, \\low, \\high",
        ".endm",
        "attn_wide_shift r4, r5",
        "attn_wide_shift r6, r7",
        "attn_wide_shift r8, r9",
        "attn_wide_shift r10, r11",
        ".purgem attn_wide_shift",
        "stm r3!, {{r4, r6, r8, r10}}",
        "str r3, [r12, #16]",
        "ldr r2, [r12, #12]",
        "subs r2, r2, #1",
        "str r2, [r12, #12]",
        "bne 1b",
        "pop {{r0, r4-r11, pc}}",
    )
}
