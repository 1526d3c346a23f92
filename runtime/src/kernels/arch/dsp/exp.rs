//! Weights of a softmax: 18 cycles each. `UMULL` makes the exponent, whose integer part is the high word; `SMULWB`
//! interpolates; a shift by the integer part and `USAT` round.

use super::super::exp::Exponent;
use super::super::taps::Values;
use super::enable_dsp;
use crate::kernels::int::dot::{LANES, ROWS};
use crate::kernels::int::requantize::Activation;
use crate::kernels::int::tables::EXP2_Q15;
use core::arch::naked_asm;

const STEPS: usize = EXP2_Q15.len() - 1;

/// `2^-(i / 32)` in Q30; and how much less the next is, in Q28, of which `SMULWB` takes a 2^16th.
#[repr(C)]
struct Steps {
    value: [u32; STEPS],
    fall: [u32; STEPS],
}

static TABLE: Steps = {
    let (mut value, mut fall) = ([0; STEPS], [0; STEPS]);
    let mut i = 0;
    while i < STEPS {
        value[i] = (EXP2_Q15[i] as u32) << 15;
        fall[i] = (EXP2_Q15[i] - EXP2_Q15[i + 1]) as u32 * (1 << 13);
        i += 1;
    }
    Steps { value, fall }
};

/// Operands of the loops.
#[repr(C)]
struct Operands {
    scores: *const u8,
    end: *const u8,
    max: i32,
    multiplier: u32,
    table: *const Steps,
    falls: *const [u32; STEPS],
    y: *mut u32,
    /// Bytes from the word of even values to that of odd ones.
    half: usize,
}

/// See [`Exponent::in_pairs`].
pub fn in_pairs(
    by: &Exponent,
    scores: &[[i32; LANES]],
    pairs: &mut [i16],
    [rows, row]: [usize; 2],
) -> u32 {
    if row >= rows || ![1, ROWS].contains(&rows) {
        return 0;
    }
    let room = match rows {
        1 => pairs.len() / LANES,
        _ => pairs.len() / (ROWS * LANES),
    };
    let scores = scores.get(..room).unwrap_or(scores).as_ptr_range();
    let y = pairs.as_mut_ptr().cast::<u32>().wrapping_add(row);
    let operands = operands(by, scores.start.cast(), scores.end.cast(), y, rows);
    // SAFETY: `pairs` is unique and has a group for each of the scores; a row has the words at `row` and `rows + row` of
    // each; word stores need no alignment.
    unsafe { of_sums(&operands) }
}

/// See [`Exponent::in_order`].
pub fn in_order<X: Activation>(
    by: &Exponent,
    scores: &[[X; LANES]],
    y: &mut [[i16; LANES]],
) -> u32 {
    let scores = scores.get(..y.len()).unwrap_or(scores);
    let (start, body) = match X::values(scores.as_flattened()) {
        Values::I8(x) => (x.as_ptr().cast(), of_int8 as Loop),
        Values::I16(x) => (x.as_ptr().cast(), of_int16 as Loop),
    };
    let end = scores.as_ptr_range().end.cast();
    let operands = operands(by, start, end, y.as_mut_ptr().cast(), 1);
    // SAFETY: `y` is unique and has a group for each of the scores, which have the type of the body; word stores need no
    // alignment.
    unsafe { body(&operands) }
}

/// See [`crate::kernels::arch::exp::greatest`].
pub fn greatest<X: Activation>(values: &[X], least: i32) -> i32 {
    let lanes = match X::values(values) {
        Values::I8(x) => {
            let (words, rest) = x.as_chunks::<4>();
            let range = words.as_ptr_range();
            let start = u32::from_ne_bytes([i8::MIN as u8; 4]);
            // SAFETY: whole words lie between the two; word loads need no alignment.
            let max = unsafe { greatest_int8(range.start.cast(), range.end.cast(), start) };
            let max = max
                .to_ne_bytes()
                .into_iter()
                .fold(i8::MIN, |max, x| max.max(x as i8));
            rest.iter().fold(max, |max, &x| max.max(x)).into()
        }
        Values::I16(x) => {
            let (words, rest) = x.as_chunks::<2>();
            let range = words.as_ptr_range();
            let start = u32::from(i16::MIN as u16) * 0x1_0001;
            // SAFETY: the same.
            let max = unsafe { greatest_int16(range.start.cast(), range.end.cast(), start) };
            let max = (max as i16).max((max >> 16) as i16);
            rest.iter().fold(max, |max, &x| max.max(x)).into()
        }
    };
    match values.is_empty() {
        true => least,
        false => least.max(lanes),
    }
}

/// See [`crate::kernels::arch::exp::greatest_sum`].
pub fn greatest_sum(values: &[i32], least: i32) -> i32 {
    let (groups, rest) = values.as_chunks::<LANES>();
    let range = groups.as_ptr_range();
    let least = rest.iter().fold(least, |max, &x| max.max(x));
    // SAFETY: whole groups of words lie between the two.
    unsafe { greatest_int32(range.start.cast(), range.end.cast(), least) }
}

/// See [`crate::kernels::arch::exp::normalize`].
pub fn normalize(weights: &mut [i16], sum: u32) {
    let (words, rest) = weights.as_chunks_mut::<2>();
    if sum > 0 && !words.is_empty() {
        let range = words.as_mut_ptr_range();
        // SAFETY: whole words lie between the two, which are not equal; they need no alignment; `weights` is unique.
        unsafe { shares(range.start.cast(), range.end.cast(), sum, u32::MAX / sum) };
    }
    super::super::portable::exp::normalize(rest, sum);
}

/// Defines a loop over words: what it does with one in r3, and the greatest so far in r2.
macro_rules! greatest {
    ($name:ident, $word:ty, $load:literal, $raise:literal) => {
        /// # Safety
        /// Whole loads lie between `start` and `end`.
        #[unsafe(naked)]
        unsafe extern "C" fn $name(start: *const u32, end: *const u32, least: $word) -> $word {
            naked_asm!(
                enable_dsp!(),
                "cmp r0, r1",
                "it eq",
                "moveq r0, r2",
                "beq 2f",
                "push {{r4-r6}}",
                "1:",
                $load,
                $raise,
                "cmp r0, r1",
                "bne 1b",
                "mov r0, r2",
                "pop {{r4-r6}}",
                "2:",
                "bx lr",
            )
        }
    };
}

greatest!(
    greatest_int8,
    u32,
    "ldr r3, [r0], #4",
    "ssub8 r12, r3, r2\nsel r2, r3, r2"
);
greatest!(
    greatest_int16,
    u32,
    "ldr r3, [r0], #4",
    "ssub16 r12, r3, r2\nsel r2, r3, r2"
);
greatest!(
    greatest_int32,
    i32,
    "ldm r0!, {{r3-r6}}",
    "cmp r3, r2\nit gt\nmovgt r2, r3\ncmp r4, r2\nit gt\nmovgt r2, r4\ncmp r5, r2\nit gt\nmovgt r2, r5\ncmp r6, r2\nit gt\nmovgt r2, r6"
);

/// Divides by multiplying with `inverse`, which is `2^32 / sum` rounded down, at most by 1: the quotient is then at most 1 too
/// small.
///
/// # Safety
/// Whole words lie between `start` and `end`, which are not equal.
#[unsafe(naked)]
unsafe extern "C" fn shares(start: *mut u32, end: *mut u32, sum: u32, inverse: u32) {
    naked_asm!(
        enable_dsp!(),
        "push {{r4-r10, lr}}",
        "lsr r4, r2, #1",
        "movw r5, #32767",
        "1:",
        "ldr r7, [r0]",
        "uxth r6, r7",
        "lsr r7, r7, #16",
        "mla r6, r6, r5, r4",
        "mla r7, r7, r5, r4",
        "umull r12, r8, r6, r3",
        "umull r12, r9, r7, r3",
        "mls r6, r8, r2, r6",
        "mls r7, r9, r2, r7",
        "cmp r6, r2",
        "it hs",
        "addhs r8, r8, #1",
        "cmp r7, r2",
        "it hs",
        "addhs r9, r9, #1",
        "pkhbt r8, r8, r9, lsl #16",
        "str r8, [r0], #4",
        "cmp r0, r1",
        "bne 1b",
        "pop {{r4-r10, pc}}",
    )
}

type Loop = unsafe extern "C" fn(&Operands) -> u32;

fn operands(
    by: &Exponent,
    scores: *const u8,
    end: *const u8,
    y: *mut u32,
    rows: usize,
) -> Operands {
    Operands {
        scores,
        end,
        max: by.max,
        multiplier: by.multiplier,
        table: &TABLE,
        falls: &TABLE.fall,
        y,
        half: rows * size_of::<u32>(),
    }
}

/// Defines the loop for one type of scores: its load, and the elements of four that go into the two words of results.
macro_rules! loops {
    ($name:ident, $load:literal, $size:literal, $second:literal, $third:literal) => {
        /// # Safety
        /// The operands point to what [`Operands`] says.
        #[unsafe(naked)]
        unsafe extern "C" fn $name(operands: &Operands) -> u32 {
            naked_asm!(
                enable_dsp!(),
                // r0 score, r1 end, r2 max, r3 multiplier, r4 r5 tables, r6 y, r7 sum, r8 r9 exponent, r11 weight.
                ".macro attn_exp at",
                concat!($load, " r8, [r0, #", $size, "*\\at]"),
                "sub r8, r2, r8",
                "umull r8, r9, r8, r3",
                "lsr r10, r8, #27",
                "ubfx r8, r8, #16, #11",
                "ldr r11, [r4, r10, lsl #2]",
                "ldr r12, [r5, r10, lsl #2]",
                "smulwb r12, r12, r8",
                "cmp r9, #16",
                "sub r11, r11, r12, lsl #7",
                "it hs",
                "movhs r11, #0",
                "lsr r11, r11, r9",
                "add r11, r11, #0x4000",
                "usat r11, #15, r11, asr #15",
                "add r7, r7, r11",
                ".endm",
                "push {{r4-r11, lr}}",
                "ldr r7, [r0, #28]", // half
                "push {{r7}}",
                "ldm r0, {{r0-r6}}",
                "movs r7, #0",
                "cmp r0, r1",
                "beq 2f",
                "1:",
                "attn_exp 0",
                "mov lr, r11",
                concat!("attn_exp ", $second),
                "pkhbt lr, lr, r11, lsl #16",
                "str lr, [r6]",
                concat!("attn_exp ", $third),
                "mov lr, r11",
                "attn_exp 3",
                "ldr r8, [sp]",
                "pkhbt lr, lr, r11, lsl #16",
                concat!("adds r0, r0, #4*", $size),
                "cmp r0, r1",
                "str lr, [r6, r8]",
                "add r6, r6, r8, lsl #1",
                "bne 1b",
                "2:",
                ".purgem attn_exp",
                "mov r0, r7",
                "add sp, sp, #4",
                "pop {{r4-r11, pc}}",
            )
        }
    };
}

loops!(of_sums, "ldr", "4", "2", "1");
loops!(of_int8, "ldrsb", "1", "1", "2");
loops!(of_int16, "ldrsh", "2", "1", "2");
