//! The passes of a normalisation: 3 cycles a value for the sums, 21 for the results.

use super::super::norm::Row;
use super::super::portable::norm as portable;
use super::super::taps::Values;
use super::enable_dsp;
use crate::kernels::int::requantize::Activation;
use core::arch::naked_asm;

/// See [`crate::kernels::arch::norm::sums`].
pub fn sums<X: Activation>(x: &[X]) -> (i32, u64) {
    let mut sums = Sums::default();
    let rest = match X::values(x) {
        Values::I8(values) => {
            let (words, rest) = values.as_chunks::<4>();
            if !words.is_empty() {
                let range = words.as_ptr_range();
                // SAFETY: whole words lie between the two, which are not equal; word loads need no alignment.
                unsafe { sums_int8(range.start.cast(), range.end.cast(), &mut sums) };
            }
            rest.len()
        }
        Values::I16(values) => {
            let (words, rest) = values.as_chunks::<2>();
            if !words.is_empty() {
                let range = words.as_ptr_range();
                // SAFETY: the same.
                unsafe { sums_int16(range.start.cast(), range.end.cast(), &mut sums) };
            }
            rest.len()
        }
    };
    let (sum, squares) = portable::sums(x.get(x.len() - rest..).unwrap_or(&[]));
    (
        sums.sum.wrapping_add(sum),
        sums.squares.wrapping_add(squares),
    )
}

#[repr(C)]
#[derive(Default)]
struct Sums {
    squares: u64,
    sum: i32,
}

/// Operands of the loops.
#[repr(C)]
struct Operands {
    x: *const u8,
    y: *mut u8,
    multipliers: *const i32,
    bias: *const i32,
    /// Factor and minus the offset of the row, shifted by one less than its shift.
    factor: i32,
    minus_offset: i32,
    reciprocal: i32,
    /// What brings a bias to the place of products: a power of two.
    bias_factor: i32,
    /// From the high words of products to results.
    shift: u32,
    /// Half a result and the zero point, in high words.
    constant: i32,
    end: *const u8,
}

/// See [`Row::run`].
pub fn run<X: Activation, Y: Activation>(row: &Row, x: &[X], y: &mut [Y]) {
    let count = x
        .len()
        .min(y.len())
        .min(row.multipliers.len())
        .min(row.bias.len());
    let (Some(up), Some(down @ 1..=14)) = (
        row.shift.min(31).checked_sub(1),
        row.multiplier_bits.min(16).checked_sub(2),
    ) else {
        // Rows whose squares add up to 2^62, and multipliers of few bits.
        return portable::run(row, x, y);
    };
    let pairs = count / 2 * 2;
    let (Some((x_pairs, x_rest)), Some((y_pairs, y_rest))) =
        (x.split_at_checked(pairs), y.split_at_mut_checked(pairs))
    else {
        return;
    };
    if pairs > 0 {
        let (x_start, of_int8) = match X::values(x_pairs) {
            Values::I8(x) => (x.as_ptr().cast(), true),
            Values::I16(x) => (x.as_ptr().cast(), false),
        };
        let start = y_pairs.as_mut_ptr();
        let (body, low, high) = match (of_int8, size_of::<Y>() == 1) {
            (true, true) => (int8_int8 as Loop, -128, 127),
            (true, false) => (int8_int16 as Loop, -32768, 32767),
            (false, true) => (int16_int8 as Loop, -128, 127),
            (false, false) => (int16_int16 as Loop, -32768, 32767),
        };
        let operands = Operands {
            x: x_start,
            y: start.cast(),
            multipliers: row.multipliers.as_ptr(),
            bias: row.bias.as_ptr(),
            factor: row.factor << up,
            minus_offset: row.offset.wrapping_neg() << up,
            reciprocal: row.reciprocal,
            bias_factor: 1 << (down + 16),
            shift: down,
            constant: (1 << (down - 1)) + (row.zero_point << down),
            end: start.wrapping_add(pairs).cast_const().cast(),
        };
        // SAFETY: there are pairs of values and results, of the types of the body, and as many constants; `y` is unique.
        unsafe { body(&operands) };
        if row.min > low || row.max < high {
            for y in y_pairs {
                let value: i32 = (*y).into();
                *y = Y::from_i32(value.max(row.min).min(row.max));
            }
        }
    }
    let rest = Row {
        multipliers: row.multipliers.get(pairs..).unwrap_or(&[]),
        bias: row.bias.get(pairs..).unwrap_or(&[]),
        ..*row
    };
    portable::run(&rest, x_rest, y_rest);
}

type Loop = unsafe extern "C" fn(&Operands);

/// Defines the loop for one type of values and one of results: their instructions and sizes.
macro_rules! loops {
    ($name:ident, $load:literal, $x_size:literal, $store:literal, $y_size:literal, $bits:literal) => {
        /// # Safety
        /// The operands point to what [`Operands`] says; `end` is not `y`, and whole pairs behind it.
        #[unsafe(naked)]
        unsafe extern "C" fn $name(operands: &Operands) {
            naked_asm!(
                enable_dsp!(),
                // r0 x, r1 y, r2 multipliers, r3 bias, r4 factor, r5 -offset, r6 reciprocal, r7 bias factor, r8 shift,
                // r9 constant; r10 unit, r12 multiplier, lr:r11 product.
                ".macro attn_norm at",
                concat!($load, " r12, [r0, #", $x_size, "*\\at]"),
                "mov r11, #0x40000000",
                "mov r10, #0",
                "mla r12, r12, r4, r5",
                "smlal r11, r10, r12, r6",
                "ldr r12, [r2, #4*\\at]",
                "ldr lr, [r3, #4*\\at]",
                "lsl r10, r10, #1",
                "orr r10, r10, r11, lsr #31",
                "smull r11, lr, lr, r7",
                "smlal r11, lr, r10, r12",
                "add lr, lr, r9",
                "asr lr, lr, r8",
                concat!("ssat lr, #", $bits, ", lr"),
                concat!($store, " lr, [r1], #", $y_size),
                ".endm",
                "push {{r4-r11, lr}}",
                "ldr r10, [r0, #40]",
                "push {{r10}}",
                "ldm r0, {{r0-r9}}",
                "1:",
                "attn_norm 0",
                "attn_norm 1",
                ".purgem attn_norm",
                "ldr r12, [sp]",
                concat!("add r0, r0, #2*", $x_size),
                "add r2, r2, #8",
                "add r3, r3, #8",
                "cmp r1, r12",
                "bne 1b",
                "add sp, sp, #4",
                "pop {{r4-r11, pc}}",
            )
        }
    };
}

loops!(int8_int8, "ldrsb", "1", "strb", "1", "8");
loops!(int8_int16, "ldrsb", "1", "strh", "2", "16");
loops!(int16_int8, "ldrsh", "2", "strb", "1", "8");
loops!(int16_int16, "ldrsh", "2", "strh", "2", "16");

/// # Safety
/// Whole words lie between `start` and `end`, which are not equal. Squares fit 32 bits up to 2^17 values.
#[unsafe(naked)]
unsafe extern "C" fn sums_int8(start: *const u32, end: *const u32, sums: &mut Sums) {
    naked_asm!(
        enable_dsp!(),
        "push {{r4-r7}}",
        "movs r3, #0",
        "movs r4, #0",
        "mov r12, #0x00010001",
        "1:",
        "ldr r5, [r0], #4",
        "sxtb16 r6, r5, ror #8",
        "sxtb16 r5, r5",
        "smlad r3, r5, r5, r3",
        "smlad r4, r5, r12, r4",
        "smlad r3, r6, r6, r3",
        "smlad r4, r6, r12, r4",
        "cmp r0, r1",
        "bne 1b",
        "movs r5, #0",
        "str r3, [r2]",
        "str r5, [r2, #4]",
        "str r4, [r2, #8]",
        "pop {{r4-r7}}",
        "bx lr",
    )
}

/// # Safety
/// Whole words lie between `start` and `end`, which are not equal.
#[unsafe(naked)]
unsafe extern "C" fn sums_int16(start: *const u32, end: *const u32, sums: &mut Sums) {
    naked_asm!(
        enable_dsp!(),
        "push {{r4-r7}}",
        "movs r3, #0",
        "movs r4, #0",
        "movs r5, #0",
        "mov r12, #0x00010001",
        "1:",
        "ldr r6, [r0], #4",
        "smlald r3, r5, r6, r6",
        "smlad r4, r6, r12, r4",
        "cmp r0, r1",
        "bne 1b",
        "str r3, [r2]",
        "str r5, [r2, #4]",
        "str r4, [r2, #8]",
        "pop {{r4-r7}}",
        "bx lr",
    )
}
