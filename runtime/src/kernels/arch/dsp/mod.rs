//! The inner loop for Armv7E-M and Armv8-M with the DSP extension.
//!
//! Per group of four inputs and four outputs (16 products): 2 block loads, 8 `SXTB16`, 8 `SMLAD`. `SMLAD` adds with
//! wrap-around, as the portable body does (it also sets the sticky Q flag, which nobody reads).

use crate::kernels::dot::LANES;
use core::arch::naked_asm;

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

/// See [`crate::kernels::dot::dot4`]. Groups that either slice lacks are left out.
pub fn dot4(pairs: &[i16], block: &[i8], mut accumulators: [i32; LANES]) -> [i32; LANES] {
    let groups = (pairs.len() / LANES).min(block.len() / (LANES * LANES));
    let aligned = (pairs.as_ptr() as usize | block.as_ptr() as usize).is_multiple_of(4);
    if !aligned {
        // LDM needs whole words; a parsed model's tensors and weights always start at one.
        return crate::kernels::arch::portable::dot4(pairs, block, accumulators);
    }
    if groups > 0 {
        // SAFETY: `groups` groups of 4 int16 and of 16 int8 lie inside the slices, both pointers are word-aligned
        // as checked above, and the accumulators are four words that nobody else refers to.
        unsafe { dot4_groups(pairs.as_ptr(), block.as_ptr(), groups, &mut accumulators) };
    }
    accumulators
}

/// # Safety
/// `pairs` points to `4 * groups` int16 and `block` to `16 * groups` int8, both word-aligned; `groups > 0`.
#[unsafe(naked)]
unsafe extern "C" fn dot4_groups(
    pairs: *const i16,
    block: *const i8,
    groups: usize,
    sums: &mut [i32; LANES],
) {
    naked_asm!(
        enable_dsp!(),
        "push {{r3-r11, lr}}",
        "ldm r3, {{r4-r7}}",
        "lsrs r2, r2, #1",
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
        "cmp r2, #0",
        "beq 3f",
        "2:",
        "attn_group",
        "attn_group",
        "subs r2, r2, #1",
        "bne 2b",
        "3:",
        ".purgem attn_group",
        "pop {{r3}}",
        "stm r3, {{r4-r7}}",
        "pop {{r4-r11, pc}}",
    )
}
