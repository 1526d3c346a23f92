//! The body for single-precision floating-point units with half-precision conversion (Cortex-M4F, M7, M33).
//!
//! Per input and four outputs of the inner loop: half a load, 4 conversions, 4 `VMUL`, 4 `VADD`; with four rows at once a
//! quarter of the conversions of weights. `VMUL` and `VADD`
//! take one cycle each on a Cortex-M4 where `VMLA` (which rounds twice, too) takes three. Relies on the FPSCR as it is
//! after reset: IEEE half precision, subnormal numbers kept, rounding to nearest.

use super::half::{Clamp, LANES, ROWS, takes_rows};
use super::portable::half as portable;
use crate::f16;
use core::arch::naked_asm;

/// See [`super::half::widen`].
#[inline]
pub fn widen(row: &[f16], wide: &mut [f32]) {
    let count = row.len().min(wide.len());
    if count > 0 {
        // SAFETY: both have `count` elements, at least one, and `wide` is unique.
        unsafe { widen_row(row.as_ptr(), wide.as_mut_ptr(), count) };
    }
}

/// See [`super::half::narrow`].
#[inline]
pub fn narrow(wide: &[f32], clamp: Clamp, row: &mut [f16]) {
    let count = row.len().min(wide.len());
    if count > 0 {
        // SAFETY: both have `count` elements, at least one, and `row` is unique.
        unsafe { narrow_row(wide.as_ptr(), row.as_mut_ptr(), count, clamp.min, clamp.max) };
    }
}

/// See [`super::half::dot4`].
#[inline]
pub fn dot4(x: &[f32], weights: &[[f16; LANES]], sums: &mut [f32; LANES]) {
    let inputs = x.len().min(weights.len());
    if !(weights.as_ptr() as usize).is_multiple_of(4) {
        // VLDM needs whole words; a parsed model's tensors and weights always start at one.
        return portable::dot4(x, weights, sums);
    }
    // SAFETY: both have `inputs` elements; weights start at a word by the check above, the rest by its type; `sums` is
    // unique.
    unsafe { dot4_block(x.as_ptr(), weights.as_ptr(), inputs, sums) };
}

/// See [`super::half::dot4_rows`].
#[inline]
pub fn dot4_rows(
    x: &[f16],
    weights: &[[f16; LANES]],
    start: &[f32; LANES],
    sums: &mut [[f32; LANES]; ROWS],
) {
    let k = weights.len();
    let aligned = (weights.as_ptr() as usize).is_multiple_of(4);
    if !aligned || x.len() != ROWS * k || !takes_rows(x, k) {
        return portable::dot4_rows(x, weights, start, sums);
    }
    // SAFETY: there are four rows of `k` halves, an even number above 0, each at a word like the weights, by the checks above;
    // `sums` is unique.
    unsafe { dot4_four_rows(x.as_ptr(), weights.as_ptr(), k, start, sums) };
}

// The assembler does not know from rustc's target that there is a floating-point unit.
#[cfg(not(attn_armv8m))]
macro_rules! enable_fpu {
    () => {
        ".fpu fpv4-sp-d16"
    };
}
#[cfg(attn_armv8m)]
macro_rules! enable_fpu {
    () => {
        ".fpu fpv5-sp-d16"
    };
}

/// # Safety
/// `row` and `wide` point to `count` elements, at least one; the latter are written.
#[unsafe(naked)]
unsafe extern "C" fn widen_row(row: *const f16, wide: *mut f32, count: usize) {
    naked_asm!(
        enable_fpu!(),
        // One value at a time up to a word, eight at a time, then the rest.
        "tst r0, #2",
        "beq 2f",
        "1:",
        "ldrh r3, [r0], #2",
        "vmov s0, r3",
        "vcvtb.f32.f16 s0, s0",
        "vstmia r1!, {{s0}}",
        "subs r2, r2, #1",
        "beq 9f",
        "2:",
        "lsrs r3, r2, #3",
        "beq 1b", // fewer than eight are left, and at least one
        "3:",
        "vldmia r0!, {{s0-s3}}",
        "vcvtb.f32.f16 s4, s0",
        "vcvtt.f32.f16 s5, s0",
        "vcvtb.f32.f16 s6, s1",
        "vcvtt.f32.f16 s7, s1",
        "vcvtb.f32.f16 s8, s2",
        "vcvtt.f32.f16 s9, s2",
        "vcvtb.f32.f16 s10, s3",
        "vcvtt.f32.f16 s11, s3",
        "vstmia r1!, {{s4-s11}}",
        "subs r3, r3, #1",
        "bne 3b",
        "ands r2, r2, #7",
        "bne 1b",
        "9:",
        "bx lr",
    )
}

/// # Safety
/// `wide` and `row` point to `count` elements, at least one; the latter are written.
#[unsafe(naked)]
unsafe extern "C" fn narrow_row(wide: *const f32, row: *mut f16, count: usize, min: f32, max: f32) {
    naked_asm!(
        enable_fpu!(),
        // The value in a register, limited.
        ".macro attn_clamp x",
        "vcmp.f32 \\x, s0",
        "vmrs APSR_nzcv, fpscr",
        "it le", // or unordered
        "vmovle.f32 \\x, s0",
        "vcmp.f32 \\x, s1",
        "vmrs APSR_nzcv, fpscr",
        "it pl",
        "vmovpl.f32 \\x, s1",
        ".endm",
        "lsrs r3, r2, #2",
        "beq 2f",
        "1:", // four values at a time
        "vldmia r0!, {{s2-s5}}",
        "attn_clamp s2",
        "attn_clamp s3",
        "attn_clamp s4",
        "attn_clamp s5",
        "vcvtb.f16.f32 s2, s2",
        "vcvtt.f16.f32 s2, s3",
        "vcvtb.f16.f32 s4, s4",
        "vcvtt.f16.f32 s4, s5",
        "vmov r12, s2",
        "str r12, [r1], #4",
        "vmov r12, s4",
        "str r12, [r1], #4",
        "subs r3, r3, #1",
        "bne 1b",
        "2:",
        "ands r2, r2, #3",
        "beq 4f",
        "3:",
        "vldmia r0!, {{s2}}",
        "attn_clamp s2",
        "vcvtb.f16.f32 s2, s2",
        "vmov r3, s2",
        "strh r3, [r1], #2",
        "subs r2, r2, #1",
        "bne 3b",
        "4:",
        ".purgem attn_clamp",
        "bx lr",
    )
}

/// # Safety
/// `x` and `weights` point to `inputs` elements, the latter at a multiple of 4.
#[unsafe(naked)]
unsafe extern "C" fn dot4_block(
    x: *const f32,
    weights: *const [f16; LANES],
    inputs: usize,
    sums: &mut [f32; LANES],
) {
    naked_asm!(
        enable_fpu!(),
        "vpush {{s16-s19}}",
        "vldmia r3, {{s16-s19}}",
        // Products of input `x` with the weights in two words, added to the four sums.
        ".macro attn_input x, w0, w1",
        "vcvtb.f32.f16 s12, \\w0",
        "vcvtt.f32.f16 s13, \\w0",
        "vcvtb.f32.f16 s14, \\w1",
        "vcvtt.f32.f16 s15, \\w1",
        "vmul.f32 s12, s12, \\x",
        "vmul.f32 s13, s13, \\x",
        "vmul.f32 s14, s14, \\x",
        "vmul.f32 s15, s15, \\x",
        "vadd.f32 s16, s16, s12",
        "vadd.f32 s17, s17, s13",
        "vadd.f32 s18, s18, s14",
        "vadd.f32 s19, s19, s15",
        ".endm",
        // What is over a multiple of four inputs comes first; the order of inputs stays.
        "ands r12, r2, #3",
        "beq 2f",
        "1:",
        "vldmia r0!, {{s0}}",
        "vldmia r1!, {{s4-s5}}",
        "attn_input s0, s4, s5",
        "subs r12, r12, #1",
        "bne 1b",
        "2:",
        "lsrs r2, r2, #2",
        "beq 4f",
        "3:",
        "vldmia r0!, {{s0-s3}}",
        "vldmia r1!, {{s4-s11}}",
        "attn_input s0, s4, s5",
        "attn_input s1, s6, s7",
        "attn_input s2, s8, s9",
        "attn_input s3, s10, s11",
        "subs r2, r2, #1",
        "bne 3b",
        "4:",
        ".purgem attn_input",
        "vstmia r3, {{s16-s19}}",
        "vpop {{s16-s19}}",
        "bx lr",
    )
}

/// # Safety
/// `x` points to four rows of `k` halves, an even number above 0, `weights` to `k` groups, both at a multiple of 4.
#[unsafe(naked)]
unsafe extern "C" fn dot4_four_rows(
    x: *const f16,
    weights: *const [f16; LANES],
    k: usize,
    start: &[f32; LANES],
    sums: &mut [[f32; LANES]; ROWS],
) {
    naked_asm!(
        enable_fpu!(),
        "push {{r4-r6, lr}}",
        "vpush {{s16-s31}}",
        "vldmia r3, {{s16-s19}}",
        "vmov.f32 s20, s16",
        "vmov.f32 s21, s17",
        "vmov.f32 s22, s18",
        "vmov.f32 s23, s19",
        "vmov.f32 s24, s16",
        "vmov.f32 s25, s17",
        "vmov.f32 s26, s18",
        "vmov.f32 s27, s19",
        "vmov.f32 s28, s16",
        "vmov.f32 s29, s17",
        "vmov.f32 s30, s18",
        "vmov.f32 s31, s19",
        "ldr r3, [sp, #80]", // the sums, behind what was pushed
        "add r4, r0, r2, lsl #1",
        "add r5, r4, r2, lsl #1",
        "add r6, r5, r2, lsl #1",
        // One input of each row, in one half of s0 to s3, times its weights in two words. A conversion stands where the
        // instruction after it does not need it.
        ".macro attn_inputs half, w0, w1",
        "vcvt\\half\\().f32.f16 s12, s0",
        "vcvtb.f32.f16 s8, \\w0",
        "vcvtt.f32.f16 s9, \\w0",
        "vcvtb.f32.f16 s10, \\w1",
        "vcvtt.f32.f16 s11, \\w1",
        "vmul.f32 s13, s8, s12",
        "vmul.f32 s14, s9, s12",
        "vmul.f32 s15, s10, s12",
        "vmul.f32 s12, s11, s12",
        "vadd.f32 s16, s16, s13",
        "vcvt\\half\\().f32.f16 s13, s1",
        "vadd.f32 s17, s17, s14",
        "vadd.f32 s18, s18, s15",
        "vadd.f32 s19, s19, s12",
        "vmul.f32 s12, s8, s13",
        "vmul.f32 s14, s9, s13",
        "vmul.f32 s15, s10, s13",
        "vmul.f32 s13, s11, s13",
        "vadd.f32 s20, s20, s12",
        "vcvt\\half\\().f32.f16 s12, s2",
        "vadd.f32 s21, s21, s14",
        "vadd.f32 s22, s22, s15",
        "vadd.f32 s23, s23, s13",
        "vmul.f32 s13, s8, s12",
        "vmul.f32 s14, s9, s12",
        "vmul.f32 s15, s10, s12",
        "vmul.f32 s12, s11, s12",
        "vadd.f32 s24, s24, s13",
        "vcvt\\half\\().f32.f16 s13, s3",
        "vadd.f32 s25, s25, s14",
        "vadd.f32 s26, s26, s15",
        "vadd.f32 s27, s27, s12",
        "vmul.f32 s12, s8, s13",
        "vmul.f32 s14, s9, s13",
        "vmul.f32 s15, s10, s13",
        "vmul.f32 s13, s11, s13",
        "vadd.f32 s28, s28, s12",
        "vadd.f32 s29, s29, s14",
        "vadd.f32 s30, s30, s15",
        "vadd.f32 s31, s31, s13",
        ".endm",
        ".macro attn_two_inputs",
        "vldmia r1!, {{s4-s7}}",
        "vldmia r0!, {{s0}}",
        "vldmia r4!, {{s1}}",
        "vldmia r5!, {{s2}}",
        "vldmia r6!, {{s3}}",
        "attn_inputs b, s4, s5",
        "attn_inputs t, s6, s7",
        ".endm",
        "tst r2, #2",
        "beq 1f",
        "attn_two_inputs",
        "subs r2, r2, #2",
        "beq 2f",
        "1:",
        "attn_two_inputs",
        "attn_two_inputs",
        "subs r2, r2, #4",
        "bne 1b",
        "2:",
        ".purgem attn_two_inputs",
        ".purgem attn_inputs",
        "vstmia r3, {{s16-s31}}",
        "vpop {{s16-s31}}",
        "pop {{r4-r6, pc}}",
    )
}
