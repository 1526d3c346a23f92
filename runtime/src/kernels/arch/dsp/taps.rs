//! The inner loop of depthwise convolutions, four channels at a time: per tap one load of inputs (two of int16), one of
//! weights, `SXTAB16` that widens and subtracts the zero point, and four `SMLAxy`, which add with wrap-around.

use super::super::portable::taps as portable;
use super::super::taps::{Taps, Values};
use super::{define_clamp, enable_dsp};
use crate::kernels::arch::int::Store;
use crate::kernels::int::dot::LANES;
use crate::kernels::int::requantize::Activation;
use core::arch::naked_asm;

/// Operands of the loops, which advance them as they go. Steps count bytes.
#[repr(C)]
struct Operands {
    x: *const u8,
    weights: *const i8,
    x_step: usize,
    weight_step: usize,
    rows: usize,
    /// Passes through four taps for a row, the first of them maybe from its middle.
    passes: usize,
    /// Where a row's first pass starts: [`entry`] of the taps that it leaves out.
    entry: usize,
    /// From behind the last tap of a row to the first of the next.
    x_skip: usize,
    weight_skip: usize,
    bias: *const i32,
    multipliers: *const i32,
    y: *mut u8,
    blocks: usize,
    /// `-zero` in both halves.
    minus_zero: u32,
    left_shift: u32,
    zero_point: i32,
    min: i32,
    max: i32,
    /// Bytes of a result.
    width: usize,
    /// Rows to go.
    rest: usize,
}

/// Bytes of the code of one tap: twelve instructions of one size.
const TAP: usize = 12 * 4;

/// Distance from the first of four taps to a later one, with the bit that `BX` wants.
const fn entry(skipped: usize) -> usize {
    skipped * TAP + 1
}

/// See [`Taps::run`].
pub fn run<X: Activation, Y: Activation>(taps: &Taps<X>, y: &mut [Y]) {
    let done = whole_blocks(taps, y.as_chunks_mut().0).unwrap_or(0);
    let rest = y.len() - done;
    if rest == 0 {
        return;
    }
    // The last channels are those of a block that ends with them; what it has in common with another comes out the same.
    let last = y.len().wrapping_sub(LANES);
    let last_block = y.get_mut(last..).filter(|_| rest < LANES);
    if let Some(y) = last_block
        && whole_blocks(&taps.from(last), y.as_chunks_mut().0).is_some()
    {
        return;
    }
    if let Some(y) = y.get_mut(done..) {
        portable::run(&taps.from(done), y);
    }
}

/// Computes the channels of whole blocks of four and says how many; `None` if the operands are none that the loops take.
fn whole_blocks<X: Activation, Y: Activation>(
    taps: &Taps<X>,
    y: &mut [[Y; LANES]],
) -> Option<usize> {
    let constants = taps.bias.len().min(taps.output.multipliers.len()) / LANES;
    let blocks = y.len().min(constants);
    let [rows, columns] = taps.count;
    // The last element that is read, of `x` and of weights.
    let end = |[down, right]: [usize; 2]| {
        let last = (rows.checked_sub(1)?.checked_mul(down)?)
            .checked_add(columns.checked_sub(1)?.checked_mul(right)?)?;
        last.checked_add(blocks * LANES)
    };
    if blocks == 0
        || end(taps.x_steps)? > taps.x.len()
        || end(taps.weight_steps)? > taps.weights.len()
    {
        return None;
    }
    let (x, bytes) = match X::values(taps.x) {
        Values::I8(x) => (x.as_ptr().cast(), 1),
        Values::I16(x) if taps.zero == 0 => (x.as_ptr().cast(), 2),
        Values::I16(_) => return None,
    };
    let zero = i8::try_from(taps.zero).ok()?;
    let minus_zero = u32::from((-i16::from(zero)) as u16);
    let (y, width) = match Y::store(y) {
        Store::I8(y) => (y.as_mut_ptr().cast(), 1),
        Store::I16(y) => (y.as_mut_ptr().cast(), 2),
        Store::Sums(_) | Store::I32(_) => return None,
    };
    let skip = |[down, right]: [usize; 2]| down.wrapping_sub(columns.wrapping_mul(right));
    let mut operands = Operands {
        x,
        weights: taps.weights.as_ptr(),
        x_step: taps.x_steps[1] * bytes,
        weight_step: taps.weight_steps[1],
        rows,
        passes: columns.div_ceil(LANES),
        entry: entry(columns.wrapping_neg() % LANES),
        x_skip: skip(taps.x_steps).wrapping_mul(bytes),
        weight_skip: skip(taps.weight_steps),
        bias: taps.bias.as_ptr(),
        multipliers: taps.output.multipliers.as_ptr(),
        y,
        blocks,
        minus_zero: minus_zero << 16 | minus_zero,
        left_shift: taps.output.left_shift & 31,
        zero_point: taps.output.zero_point,
        min: taps.output.min,
        max: taps.output.max,
        width,
        rest: 0,
    };
    // SAFETY: there is at least one block, row and tap; all taps of all blocks lie in `x` and `weights` by the check
    // above, whose word loads need no alignment; constants hold `blocks` blocks and are word-aligned by their type; `y`
    // is unique and holds four elements of `width` bytes for each block; inputs have `bytes` bytes.
    unsafe {
        match bytes {
            1 => narrow(&mut operands),
            _ => wide(&mut operands),
        }
    }
    Some(blocks * LANES)
}

/// Defines the loops for one type of inputs: the instructions of a tap except for its two steps, and the bytes of four inputs.
macro_rules! loops {
    ($name:ident, $advance:literal, $($tap:literal),*) => {
        /// # Safety
        /// The operands point to what [`Operands`] and [`whole_blocks`] say; no count is 0.
        #[unsafe(naked)]
        unsafe extern "C" fn $name(operands: &mut Operands) {
            naked_asm!(
                enable_dsp!(),
                ".macro attn_tap",
                $($tap,)*
                "add.w r0, r0, r2",
                "add.w r1, r1, r12",
                ".endm",
                "push {{r0, r4-r11, lr}}",
                "1:", // a block of four channels
                "ldr r10, [sp]",
                "ldm r10, {{r0-r3}}", // x, weights, their steps
                "mov r12, r3",
                "ldr r3, [r10, #36]", // bias
                "ldm r3!, {{r4-r7}}", // the four sums
                "str r3, [r10, #36]",
                concat!("add r8, r0, #", $advance),
                "add r9, r1, #4",
                "strd r8, r9, [r10]", // the next block
                "ldr lr, [r10, #52]", // -zero
                "ldr r3, [r10, #16]", // rows
                "ldrd r8, r9, [r10, #20]", // passes, entry
                "cmp r8, #1",
                "it eq",
                "cmpeq r9, #{three}",
                "bne 4f",
                "2:", // rows of three taps
                "attn_tap", "attn_tap", "attn_tap",
                "subs r3, r3, #1",
                "beq 7f",
                "ldr r10, [sp]",
                "ldrd r8, r9, [r10, #28]",
                "add r0, r0, r8",
                "add r1, r1, r9",
                "b 2b",
                "4:", // rows of any number of taps
                "str r3, [r10, #76]",
                "ldrd r3, r9, [r10, #20]",
                "adr.w r8, 5f",
                "add r8, r8, r9",
                "bx r8",
                ".p2align 2",
                "5:",
                "attn_tap", "attn_tap", "attn_tap", "attn_tap",
                "subs r3, r3, #1",
                "bne 5b",
                "ldr r10, [sp]",
                "ldr r3, [r10, #76]",
                "subs r3, r3, #1",
                "beq 7f",
                "ldrd r8, r9, [r10, #28]",
                "add r0, r0, r8",
                "add r1, r1, r9",
                "b 4b",
                "7:",
                ".purgem attn_tap",
                "ldr r10, [sp]",
                "ldr r3, [r10, #40]", // multipliers
                "ldm r3!, {{r8, r9, r11, r12}}",
                "str r3, [r10, #40]",
                "ldrd r2, r3, [r10, #56]", // left shift, zero point
                ".macro attn_scale sum, multiplier",
                "lsl \\sum, \\sum, r2",
                "smmulr \\sum, \\sum, \\multiplier",
                "add \\sum, \\sum, r3",
                ".endm",
                "attn_scale r4, r8",
                "attn_scale r5, r9",
                "attn_scale r6, r11",
                "attn_scale r7, r12",
                ".purgem attn_scale",
                "ldr r3, [r10, #44]", // y
                "ldrd r8, r9, [r10, #64]", // min, max
                "ldr r11, [r10, #72]", // width
                define_clamp!(),
                "attn_clamp r4",
                "attn_clamp r5",
                "attn_clamp r6",
                "attn_clamp r7",
                ".purgem attn_clamp",
                "cmp r11, #2",
                "beq 8f",
                "strb r4, [r3], #1",
                "strb r5, [r3], #1",
                "strb r6, [r3], #1",
                "strb r7, [r3], #1",
                "9:",
                "str r3, [r10, #44]",
                "ldr r3, [r10, #48]", // blocks
                "subs r3, r3, #1",
                "str r3, [r10, #48]",
                "bne 1b",
                "pop {{r0, r4-r11, pc}}",
                "8:",
                "strh r4, [r3], #2",
                "strh r5, [r3], #2",
                "strh r6, [r3], #2",
                "strh r7, [r3], #2",
                "b 9b",
                three = const entry(1),
            )
        }
    };
}

loops!(
    narrow,
    "4",
    "ldr.w r8, [r0]",
    "ldr.w r10, [r1]",
    "sxtab16 r9, lr, r8, ror #8",
    "sxtab16 r8, lr, r8",
    "sxtb16 r11, r10, ror #8",
    "sxtb16 r10, r10",
    "smlabb r4, r8, r10, r4",
    "smlabb r5, r9, r11, r5",
    "smlatt r6, r8, r10, r6",
    "smlatt r7, r9, r11, r7"
);

loops!(
    wide,
    "8",
    "ldr.w r8, [r0]",
    "ldr.w r9, [r0, #4]",
    "ldr.w r10, [r1]",
    "sxtb16 r11, r10, ror #8",
    "sxtb16 r10, r10",
    "smlabb r4, r8, r10, r4",
    "smlatb r5, r8, r11, r5",
    "smlabt r6, r9, r10, r6",
    "smlatt r7, r9, r11, r7",
    "nop.w"
);
