//! The inner loop on one row, for four outputs at a time.
//!
//! Per group of four inputs (16 products): 6 loads in a burst (7 cycles), 8 `SXTB16`, 8 `SMLAD`. Requantization is `LSL`,
//! `SMMLAR`, which also adds the zero point, and `SSAT` where the type is the limit.

use super::super::int::{Blocks, Store};
use super::finish::{row_others, store_row_halves};
use super::{Kind, enable_dsp, joined};
use crate::kernels::int::dot::LANES;
use crate::kernels::int::joined::RECORD;
use core::arch::naked_asm;

/// Operands of a body, which copies them to the stack. Steps and distances count bytes.
#[repr(C)]
pub(super) struct Operands {
    /// The row, before what the first pass leaves out of its [`PASS`] groups.
    pairs: *const i16,
    passes: usize,
    /// Where the first pass starts, from the code of the first group.
    entry: usize,
    y: *mut u8,
    y_end: *const u8,
    bias: *const i32,
    /// From behind a block's constants to those of the next; likewise below.
    bias_step: isize,
    multipliers: *const i32,
    multiplier_step: isize,
    addend: i32,
    /// Of sums, to the left; of joined weights, of products to the right. 0 for what stays sums.
    shift: u32,
    kind: Kind,
    min: i32,
    max: i32,
    /// From the end of a block's weights back to where the next one's would start if its first pass were whole.
    back: usize,
    /// Bytes of a record of joined weights.
    record: usize,
    /// As far before the first group as `pairs`.
    weights: *const i8,
}

/// Groups of a pass, and bytes of the code of one: 22 instructions of one size.
pub(super) const PASS: usize = 8;
const GROUP: usize = 22 * 4;

/// See [`Blocks::run`].
pub fn run<const JOINED: bool>(blocks: &Blocks<JOINED>, store: Store) {
    // Code of a group of inputs, and bytes of weights that the pointer to them goes over meanwhile.
    let (group, step) = match JOINED {
        true => (joined::ROW_GROUP, RECORD * LANES),
        false => (GROUP, LANES * LANES),
    };
    let limits = [blocks.min, blocks.max];
    let (y, room, width, kind) = match store {
        Store::Sums(y) => (y.as_mut_ptr().cast::<u8>(), y.len(), 4, Kind::Sums),
        Store::I8(y) => (y.as_mut_ptr().cast(), y.len(), 1, blocks.int8()),
        Store::I16(y) => (y.as_mut_ptr().cast(), y.len(), 2, Kind::int16(limits)),
        Store::I32(y) => (y.as_mut_ptr().cast(), y.len(), 4, Kind::I32),
    };
    let (bias, biases) = blocks.bias.place::<JOINED>();
    let (multipliers, factors) = blocks.multipliers.place::<JOINED>();
    let groups = blocks.pairs.len() / LANES;
    let packed = blocks.weights.len().checked_div(blocks.block_len());
    let count = packed.unwrap_or(0).min(biases).min(factors).min(room);
    if count == 0 {
        return;
    }
    let skipped = groups.wrapping_neg() % PASS;
    let operands = Operands {
        pairs: blocks.pairs.as_ptr().wrapping_sub(skipped * LANES),
        passes: groups.div_ceil(PASS),
        // With the bit that `BX` wants.
        entry: skipped * group + 1,
        y,
        y_end: y.wrapping_add(count * LANES * width),
        bias,
        bias_step: blocks.bias.back(),
        multipliers,
        multiplier_step: blocks.multipliers.back(),
        addend: blocks.addend_of(kind),
        shift: blocks.shift_of(kind),
        kind,
        min: blocks.min,
        max: blocks.max,
        back: skipped * step,
        record: groups * step,
        weights: (blocks.weights.as_ptr()).wrapping_sub(skipped * step),
    };
    // SAFETY: there is at least one group and one block; weights, constants and results hold `count` blocks by the minimum
    // above, or the step leads back where all blocks share four; the first pass skips the groups that `pairs` and `weights`
    // begin too early by; constants are word-aligned by their type, and word loads of row and weights need no alignment;
    // `y` is unique and its elements have `width` bytes, which `kind` stores.
    unsafe {
        match JOINED {
            true => joined::run_blocks(&operands),
            false => run_blocks(&operands),
        }
    };
}

/// # Safety
/// The operands point to what [`Operands`] and [`run`] say; there is at least one block.
#[unsafe(naked)]
unsafe extern "C" fn run_blocks(operands: &Operands) {
    naked_asm!(
        enable_dsp!(),
        // A group: r0 row, r1 weights, r2 passes, r4-r7 sums, r8 r9 values, r10-r12 lr weights, r3 a half of them.
        ".macro attn_row_group at",
        "ldr.w r8, [r0, #8*\\at]",
        "ldr.w r9, [r0, #8*\\at+4]",
        "ldr.w r10, [r1, #16*\\at]",
        "ldr.w r11, [r1, #16*\\at+4]",
        "ldr.w r12, [r1, #16*\\at+8]",
        "ldr.w lr, [r1, #16*\\at+12]",
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
        "push {{r4-r11, lr}}",
        "sub sp, sp, #72",
        "ldm r0!, {{r1-r12}}",
        "stm sp, {{r1-r12}}",
        "ldm r0, {{r3-r7}}",
        "add r9, sp, #48",
        "stm r9, {{r3-r7}}",
        "mov r1, r7", // weights: r1 walks through all blocks
        "ldr r9, [sp, #8]",
        "adr.w r8, 5f",
        "add r8, r8, r9",
        "str r8, [sp, #8]",
        "1:",                // a block
        "ldr r3, [sp, #20]", // bias
        "ldr r12, [sp, #24]",
        "ldr r0, [sp]",
        "ldr r2, [sp, #4]",
        "ldr lr, [sp, #8]",
        "ldm r3!, {{r4-r7}}",
        "add r3, r3, r12",
        "str r3, [sp, #20]",
        "bx lr",
        ".p2align 2",
        "5:",
        "attn_row_group 0",
        "attn_row_group 1",
        "attn_row_group 2",
        "attn_row_group 3",
        "attn_row_group 4",
        "attn_row_group 5",
        "attn_row_group 6",
        "attn_row_group 7",
        ".purgem attn_row_group",
        "adds r0, r0, #64",
        "adds r1, r1, #128",
        "subs r2, r2, #1",
        "bne.w 5b",
        "ldr r0, [sp, #56]",  // back
        "ldr r3, [sp, #28]",  // multipliers
        "ldr r2, [sp, #40]",  // left shift
        "ldr r12, [sp, #36]", // zero point
        "ldr lr, [sp, #44]",  // kind
        "subs r1, r1, r0",
        "cmp lr, #0",
        "beq.w 8f",
        "ldr r0, [sp, #32]",
        "ldm r3!, {{r8-r11}}",
        "add r3, r3, r0",
        "str r3, [sp, #28]",
        "lsl r4, r4, r2",
        "lsl r5, r5, r2",
        "lsl r6, r6, r2",
        "lsl r7, r7, r2",
        "smmlar r4, r4, r8, r12",
        "smmlar r5, r5, r9, r12",
        "smmlar r6, r6, r10, r12",
        "smmlar r7, r7, r11, r12",
        "cmp lr, #1",
        "bne.w 9f",
        "ssat r4, #8, r4",
        "ssat r5, #8, r5",
        "ssat r6, #8, r6",
        "ssat r7, #8, r7",
        "ldr r0, [sp, #12]",
        "ldr r2, [sp, #16]",
        "strb r4, [r0]",
        "strb r5, [r0, #1]",
        "strb r6, [r0, #2]",
        "strb r7, [r0, #3]",
        "adds r0, r0, #4",
        ".p2align 2",
        "6:", // r0 and r2: the results to come, and their end
        "cmp r0, r2",
        "str r0, [sp, #12]",
        "bne.w 1b",
        "add sp, sp, #72",
        "pop {{r4-r11, pc}}",
        "9:",
        "cmp lr, #6",
        "beq 8f",
        "cmp lr, #2",
        "bne 4f",
        "ssat r4, #16, r4",
        "ssat r5, #16, r5",
        "ssat r6, #16, r6",
        "ssat r7, #16, r7",
        store_row_halves!(),
        "b 6b",
        "4:",
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
