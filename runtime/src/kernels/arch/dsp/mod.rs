//! The inner loop for Armv7E-M and Armv8-M with the DSP extension.
//!
//! Per group of four inputs and four outputs (16 products): 2 block loads, 8 `SXTB16`, 8 `SMLAD`. `SMLAD` adds with
//! wrap-around, as the portable body does (it also sets the sticky Q flag, which is never read). Requantization is
//! `LSL` and `SMMULR`.

pub mod taps;
mod wide;

pub use wide::run_wide;

use super::int::{Blocks, Constants, Store};
use super::portable::int as portable;
use crate::kernels::int::dot::LANES;
use core::arch::naked_asm;

/// Operands of [`run_blocks`], which advances them as it goes.
#[repr(C)]
struct Operands {
    pairs: *const i16,
    groups: usize,
    weights: *const i8,
    blocks: usize,
    bias: *const i32,
    bias_step: usize,
    multipliers: *const i32,
    multiplier_step: usize,
    y: *mut u8,
    left_shift: u32,
    zero_point: i32,
    min: i32,
    max: i32,
    /// 0: sums; else bytes per requantized result.
    width: usize,
}

/// See [`Blocks::run`].
pub fn run(blocks: &Blocks, store: Store) {
    let aligned = blocks.pairs.as_ptr() as usize | blocks.weights.as_ptr() as usize;
    let groups = blocks.pairs.len() / LANES;
    if !aligned.is_multiple_of(4) || groups == 0 || !blocks.pairs.len().is_multiple_of(LANES) {
        // LDM needs whole words; a parsed model's tensors and weights always start at one.
        return portable::run(blocks, store);
    }
    let (y, room, width) = match store {
        Store::Sums(y) => (y.as_mut_ptr().cast(), y.len(), 0),
        Store::I8(y) => (y.as_mut_ptr().cast(), y.len(), 1),
        Store::I16(y) => (y.as_mut_ptr().cast(), y.len(), 2),
        Store::I32(y) => (y.as_mut_ptr().cast(), y.len(), 4),
    };
    let constants = |constants: &Constants| match constants {
        Constants::Each(each) => (each.as_ptr(), size_of::<[i32; LANES]>(), each.len() / LANES),
        Constants::Same(four) => (four.as_ptr(), 0, usize::MAX),
    };
    let (bias, bias_step, biases) = constants(&blocks.bias);
    let (multipliers, multiplier_step, factors) = constants(&blocks.multipliers);
    let mut operands = Operands {
        pairs: blocks.pairs.as_ptr(),
        groups,
        weights: blocks.weights.as_ptr(),
        blocks: (blocks
            .weights
            .len()
            .checked_div(blocks.block_len())
            .unwrap_or(0))
        .min(biases)
        .min(factors)
        .min(room),
        bias,
        bias_step,
        multipliers,
        multiplier_step,
        y,
        left_shift: blocks.left_shift & 31,
        zero_point: blocks.zero_point,
        min: blocks.min,
        max: blocks.max,
        width,
    };
    if operands.blocks > 0 {
        // SAFETY: there is at least one group and one block; weights, constants and results hold `blocks` blocks by
        // the minimum above, with a step of 0 where there is one for all; pairs, weights, and by their type constants
        // are word-aligned; `y` is unique, and holds four elements of `width` bytes (0: words) for each block.
        unsafe { run_blocks(&mut operands) };
    }
}

// The assembler knows the DSP instructions of every Armv7E-M core. On Armv8-M they are an extension, which rustc's
// target lacks: name a core that has it.
#[cfg(not(attn_armv8m))]
macro_rules! enable_dsp {
    () => {
        ""
    };
}
#[cfg(attn_armv8m)]
macro_rules! enable_dsp {
    () => {
        ".cpu cortex-m33"
    };
}
use enable_dsp;

/// # Safety
/// The operands point to what [`Operands`] and [`run`] say; `groups` and `blocks` are not 0.
#[unsafe(naked)]
unsafe extern "C" fn run_blocks(operands: &mut Operands) {
    naked_asm!(
        enable_dsp!(),
        "push {{r0, r4-r11, lr}}",
        "ldr r1, [r0, #8]", // weights: r1 walks through all blocks
        "1:",
        "ldr r12, [sp]",
        "ldrd r0, r2, [r12]",      // pairs, groups
        "ldrd r3, r8, [r12, #16]", // bias
        "ldm r3, {{r4-r7}}",       // the four sums
        "add r3, r3, r8",
        "str r3, [r12, #16]",
        "lsrs r2, r2, #1", // groups are taken in fours; what is over first
        "bcc 2f",
        ".macro attn_group",
        "ldm r0!, {{r8, r9}}", // x0 x2, x1 x3
        "ldm r1!, {{r10-r12, lr}}",
        "sxtb16 r3, r10, ror #8",
        "sxtb16 r10, r10",
        "smlad r4, r10, r8, r4",
        "smlad r4, r3, r9, r4",
        "sxtb16 r3, r11, ror #8",
        "sxtb16 r11, r11",
        "smlad r5, r11, r8, r5",
        "smlad r5, r3, r9, r5",
        "sxtb16 r3, r12, ror #8",
        "sxtb16 r12, r12",
        "smlad r6, r12, r8, r6",
        "smlad r6, r3, r9, r6",
        "sxtb16 r3, lr, ror #8",
        "sxtb16 lr, lr",
        "smlad r7, lr, r8, r7",
        "smlad r7, r3, r9, r7",
        ".endm",
        "attn_group",
        "2:",
        "lsrs r2, r2, #1",
        "bcc 7f",
        "attn_group",
        "attn_group",
        "7:",
        "cmp r2, #0",
        "beq 3f",
        "8:",
        "attn_group",
        "attn_group",
        "attn_group",
        "attn_group",
        "subs r2, r2, #1",
        "bne 8b",
        "3:",
        ".purgem attn_group",
        "ldr r12, [sp]",
        "ldr r0, [r12, #52]", // width
        "cmp r0, #0",
        "beq 5f",
        "ldrd r3, r2, [r12, #24]", // multipliers
        "ldm r3, {{r8-r11}}",
        "add r3, r3, r2",
        "str r3, [r12, #24]",
        "ldr r2, [r12, #36]", // left shift
        ".macro attn_scale sum, multiplier",
        "lsl \\sum, \\sum, r2",
        "smmulr \\sum, \\sum, \\multiplier",
        ".endm",
        "attn_scale r4, r8",
        "attn_scale r5, r9",
        "attn_scale r6, r10",
        "attn_scale r7, r11",
        ".purgem attn_scale",
        "cmp r0, #2",
        "bhi 5f",
        "ldr r8, [r12, #40]",      // zero point
        "ldrd r2, r3, [r12, #44]", // min, max
        ".macro attn_clamp value",
        "add \\value, \\value, r8",
        "cmp \\value, r2",
        "it lt",
        "movlt \\value, r2",
        "cmp \\value, r3",
        "it gt",
        "movgt \\value, r3",
        ".endm",
        "attn_clamp r4",
        "attn_clamp r5",
        "attn_clamp r6",
        "attn_clamp r7",
        ".purgem attn_clamp",
        "cmp r0, #2",
        "ldr r3, [r12, #32]", // y
        "beq 4f",
        "strb r4, [r3], #1",
        "strb r5, [r3], #1",
        "strb r6, [r3], #1",
        "strb r7, [r3], #1",
        "b 6f",
        "4:",
        "strh r4, [r3], #2",
        "strh r5, [r3], #2",
        "strh r6, [r3], #2",
        "strh r7, [r3], #2",
        "b 6f",
        "5:",
        "ldr r3, [r12, #32]",
        "stm r3!, {{r4-r7}}",
        "6:",
        "str r3, [r12, #32]",
        "ldr r2, [r12, #12]",
        "subs r2, r2, #1",
        "str r2, [r12, #12]",
        "bne 1b",
        "pop {{r0, r4-r11, pc}}",
    )
}
