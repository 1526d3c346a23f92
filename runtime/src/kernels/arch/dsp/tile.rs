//! The inner loop on a tile of three rows, for two outputs at a time.
//!
//! Per group of four inputs (24 products): 8 loads in two bursts (10 cycles), 4 `SXTB16`, 12 `SMLAD`. Fourteen registers
//! allow this and no more: six sums, two words of weights and what they become, three words of rows, two pointers. The end
//! of the rows and everything else wait on the stack. Requantization is `LSL`, `SMMLAR`, which also adds the zero point,
//! and `SSAT` where the type is the limit.

use super::super::int::{Blocks, TileStore};
use super::finish::{store_tile_halves, store_tile_words, tile_others};
use super::{Kind, enable_dsp, joined};
use crate::kernels::int::dot::{LANES, ROWS};
use crate::kernels::int::joined::RECORD;
use core::arch::naked_asm;

/// Operands of a body, which copies them to the stack. Steps and distances count bytes.
#[repr(C)]
pub(super) struct Operands {
    /// The tile, before what the first pass leaves out of its [`PASS`] groups.
    rows: *const i16,
    rows_end: *const i16,
    /// Where the first pass starts, from the code of the first group.
    entry: usize,
    y: *mut u8,
    /// From a row of results to the next.
    stride: usize,
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
    /// Pairs of outputs to go.
    pairs: usize,
    /// From the end of a block's first pair back to the start of its second, and from there to the next block.
    back: [usize; 2],
    /// Behind the results of the first row.
    y_end: *const u8,
    /// As far before the first group as `rows`.
    weights: *const i8,
}

/// Groups of a pass, and bytes of the code of one: 24 instructions of one size.
pub(super) const PASS: usize = 8;
const GROUP: usize = 24 * 4;

/// See [`Blocks::run_tile`].
pub fn run_tile<const JOINED: bool>(blocks: &Blocks<JOINED>, store: TileStore, stride: usize) {
    // Code of a group of inputs, and bytes of weights that the pointer to them goes over meanwhile.
    let (group, step) = match JOINED {
        true => (joined::TILE_GROUP, RECORD * LANES),
        false => (GROUP, LANES * LANES),
    };
    let (limits, room) = ([blocks.min, blocks.max], store.room(stride));
    let mut of_rows = None;
    let (y, width, kind) = match store {
        TileStore::Sums(y) => (y.as_mut_ptr().cast::<u8>(), 4, Kind::Sums),
        TileStore::I8(y) => (y.as_mut_ptr().cast(), 1, blocks.int8()),
        TileStore::I16(y) => (y.as_mut_ptr().cast(), 2, Kind::int16(limits)),
        TileStore::Scaled(..) if JOINED => return,
        TileStore::Scaled(y, factors) => {
            of_rows = Some(factors);
            (y.as_mut_ptr().cast(), 2, Kind::Scaled)
        }
        TileStore::I32(y) => (y.as_mut_ptr().cast(), 4, Kind::I32),
    };
    let (bias, biases) = blocks.bias.place::<JOINED>();
    let (mut multipliers, factors) = blocks.multipliers.place::<JOINED>();
    let mut multiplier_step = blocks.multipliers.back();
    if let Some(factors) = &of_rows {
        (multipliers, multiplier_step) = (factors.as_ptr(), 0);
    }
    let groups = blocks.pairs.len() / (ROWS * LANES);
    let packed = blocks.weights.len().checked_div(blocks.tile_block_len());
    let count = packed.unwrap_or(0).min(biases).min(factors).min(room);
    if count == 0 {
        return;
    }
    let skipped = groups.wrapping_neg() % PASS;
    let operands = Operands {
        rows: blocks.pairs.as_ptr().wrapping_sub(skipped * ROWS * LANES),
        rows_end: blocks.pairs.as_ptr().wrapping_add(groups * ROWS * LANES),
        // With the bit that `BX` wants.
        entry: skipped * group + 1,
        y,
        stride: stride * width,
        bias,
        bias_step: blocks.bias.back(),
        multipliers,
        multiplier_step,
        addend: blocks.addend_of(kind),
        shift: blocks.shift_of(kind),
        kind,
        min: blocks.min,
        max: blocks.max,
        pairs: 2 * count,
        back: [
            // Records follow each other.
            skipped * step + if JOINED { 0 } else { groups * step - 2 * LANES },
            skipped * step + 2 * LANES,
        ],
        y_end: y.wrapping_add(count * LANES * width),
        weights: (blocks.weights.as_ptr()).wrapping_sub(skipped * step),
    };
    // SAFETY: there is at least one group and one block; weights, constants and rows of results hold `count` blocks by
    // the minimum above, or the step leads back where all blocks share four; `Scaled` has one multiplier for each row; the first pass skips the groups that
    // `rows` and `weights` begin too early by; constants are word-aligned by their type, and word loads of rows and weights
    // need no alignment; `y` is unique and its elements have `width` bytes, which `kind` stores.
    unsafe {
        match JOINED {
            true => joined::run_pairs(&operands),
            false => run_pairs(&operands),
        }
    };
}

/// # Safety
/// The operands point to what [`Operands`] and [`run_tile`] say; there is at least one pair of outputs.
#[unsafe(naked)]
unsafe extern "C" fn run_pairs(operands: &Operands) {
    naked_asm!(
        enable_dsp!(),
        // A group: r0 rows, r1 weights, r2-r7 sums (two outputs of each row), r8 r9 weights, r10-r12 rows, lr a half of them.
        ".macro attn_tile_group at",
        "ldr.w r8, [r1, #16*\\at]",
        "ldr.w r9, [r1, #16*\\at+4]",
        "ldr.w r10, [r0, #24*\\at]",
        "ldr.w r11, [r0, #24*\\at+4]",
        "ldr.w r12, [r0, #24*\\at+8]",
        "sxtb16 lr, r8",
        "smlad r2, lr, r10, r2",
        "smlad r4, lr, r11, r4",
        "smlad r6, lr, r12, r6",
        "sxtb16 lr, r9",
        "smlad r3, lr, r10, r3",
        "smlad r5, lr, r11, r5",
        "smlad r7, lr, r12, r7",
        "sxtb16 r8, r8, ror #8",
        "sxtb16 r9, r9, ror #8",
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
        "mov r1, r9", // weights: r1 walks through all blocks
        "ldr r9, [sp, #8]",
        "adr.w r8, 5f",
        "add r8, r8, r9",
        "str r8, [sp, #8]",
        "1:",                // a pair of outputs
        "ldr r8, [sp, #20]", // bias
        "ldr r9, [sp, #8]",
        "ldr r0, [sp]",
        "ldm r8!, {{r2, r3}}",
        "str r8, [sp, #20]",
        "mov r4, r2",
        "mov r5, r3",
        "mov r6, r2",
        "mov r7, r3",
        "bx r9",
        ".p2align 2",
        "5:",
        "attn_tile_group 0",
        "attn_tile_group 1",
        "attn_tile_group 2",
        "attn_tile_group 3",
        "attn_tile_group 4",
        "attn_tile_group 5",
        "attn_tile_group 6",
        "attn_tile_group 7",
        ".purgem attn_tile_group",
        "ldr r8, [sp, #4]", // the end of the rows
        "adds r1, r1, #128",
        "adds r0, r0, #192",
        "cmp r0, r8",
        "bne.w 5b",
        "ldr r8, [sp, #28]",  // multipliers
        "ldr lr, [sp, #44]",  // kind
        "ldr r11, [sp, #40]", // left shift
        "ldr r12, [sp, #36]", // zero point
        "cmp lr, #1",
        "bne 7f",
        "ldm r8!, {{r9, r10}}",
        "str r8, [sp, #28]",
        ".macro attn_tile_scale sum, multiplier",
        "lsl \\sum, \\sum, r11",
        "smmlar \\sum, \\sum, \\multiplier, r12",
        ".endm",
        "attn_tile_scale r2, r9",
        "attn_tile_scale r3, r10",
        "attn_tile_scale r4, r9",
        "attn_tile_scale r5, r10",
        "attn_tile_scale r6, r9",
        "attn_tile_scale r7, r10",
        ".purgem attn_tile_scale",
        "ssat r2, #8, r2",
        "ssat r3, #8, r3",
        "ssat r4, #8, r4",
        "ssat r5, #8, r5",
        "ssat r6, #8, r6",
        "ssat r7, #8, r7",
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
        ".p2align 2",
        "6:", // to the next pair
        "ldr r8, [sp, #56]",
        "ldr r9, [sp, #60]",
        "subs r8, r8, #1",
        "str r8, [sp, #56]",
        "lsls r10, r8, #31",
        "it mi", // an odd number is left: the second pair of a block
        "submi r1, r1, r9",
        "bmi.w 1b",
        "ldr r9, [sp, #64]",
        "ldr r10, [sp, #20]",
        "ldr r11, [sp, #24]",
        "ldr r12, [sp, #28]",
        "ldr lr, [sp, #32]",
        "sub r1, r1, r9",
        "add r10, r10, r11",
        "add r12, r12, lr",
        "str r10, [sp, #20]",
        "str r12, [sp, #28]",
        "cmp r8, #0",
        "bne.w 1b",
        "add sp, sp, #80",
        "pop {{r4-r11, pc}}",
        "7:",
        "cmp lr, #0",
        "beq 4f",
        "lsl r2, r2, r11",
        "lsl r3, r3, r11",
        "lsl r4, r4, r11",
        "lsl r5, r5, r11",
        "lsl r6, r6, r11",
        "lsl r7, r7, r11",
        "cmp lr, #3",
        "beq 8f",
        "ldm r8!, {{r9, r10}}",
        "str r8, [sp, #28]",
        "smmlar r2, r2, r9, r12",
        "smmlar r3, r3, r10, r12",
        "smmlar r4, r4, r9, r12",
        "smmlar r5, r5, r10, r12",
        "smmlar r6, r6, r9, r12",
        "smmlar r7, r7, r10, r12",
        "cmp lr, #2",
        "beq 3f",
        "adr.w r0, 6b + 1", // where `finish` goes on
        "b.w {others}",
        "8:", // a multiplier for each row
        "ldm r8, {{r8-r10}}",
        "smmlar r2, r2, r8, r12",
        "smmlar r3, r3, r8, r12",
        "smmlar r4, r4, r9, r12",
        "smmlar r5, r5, r9, r12",
        "smmlar r6, r6, r10, r12",
        "smmlar r7, r7, r10, r12",
        "3:",
        "ssat r2, #16, r2",
        "ssat r3, #16, r3",
        "ssat r4, #16, r4",
        "ssat r5, #16, r5",
        "ssat r6, #16, r6",
        "ssat r7, #16, r7",
        store_tile_halves!(),
        "b.w 6b",
        "4:",
        store_tile_words!(),
        "b.w 6b",
        others = sym tile_others,
    )
}
