//! Checks on the chip that the floating-point unit's body of half precision gives the same bits as the portable one:
//! conversions of every half and of many f32, the inner loop over random cases. Ends with status 0, or 1 after printing
//! the first case that differs. Then runs kernels, each as a region for the instruction counter.
//! `host-tests/tests/half.rs` starts it in the emulator.
#![no_std]
#![no_main]

use attn_emulated::bench::region;
use attn_images::Random;
use attn_runtime::f16;
use attn_runtime::kernels::arch::half::{Clamp, LANES, ROWS};
use attn_runtime::kernels::arch::{portable::half as portable, vfp};
use attn_runtime::kernels::geometry::Shape;
use attn_runtime::kernels::half::attention::{Filled, attend};
use attn_runtime::kernels::half::linear::{Matrix, linear};
use attn_runtime::kernels::half::packed_len;
use core::hint::black_box;
use core::panic::PanicInfo;
use semihosting::{println, process};
use static_cell::ConstStaticCell;

/// Longest row of the random cases.
const ROW: usize = 70;
const CASES: usize = 4000;

/// Any half but NaN.
fn half(random: &mut Random) -> f16 {
    let x = f16::from_bits(random.bits() as u16);
    if x.is_nan() { f16::INFINITY } else { x }
}

fn require(same: bool, what: &str, case: u32) {
    if !same {
        println!("{what}, case {case}: the bodies differ");
        process::exit(1);
    }
}

fn bits(row: &[f32; ROW]) -> [u32; ROW] {
    row.map(f32::to_bits)
}

/// Every half, in rows that start at a word and in between.
fn check_widening(random: &mut Random) {
    let mut next = 0u32;
    while next < 1 << 16 {
        let row: [f16; ROW] = core::array::from_fn(|i| f16::from_bits((next + i as u32) as u16));
        let start = random.below(4);
        let row = &row[start..start + random.below(ROW - start) + 1];
        let (mut expected, mut found) = ([1.0; ROW], [1.0; ROW]);
        portable::widen(row, &mut expected);
        vfp::widen(row, &mut found);
        require(bits(&expected) == bits(&found), "widen", next);
        next += row.len() as u32;
    }
}

fn check_narrowing(random: &mut Random) {
    let all = Clamp {
        min: f32::NEG_INFINITY,
        max: f32::INFINITY,
    };
    let relu = Clamp { min: 0.0, max: 6.0 };
    for case in 0..CASES {
        // Any bit pattern of f32, or one near a half: on it, half-way to the next, and one step off.
        let mut row = [0.0; ROW];
        for x in &mut row {
            let near =
                half(random).to_f32().to_bits() | [0, 0x1000, 0x1001, 0xfff][random.below(4)];
            *x = f32::from_bits([random.bits(), near][random.below(2)]);
        }
        let clamp = [all, Clamp::NONE, relu][case % 3];
        let (mut expected, mut found) = ([f16::ONE; ROW], [f16::ONE; ROW]);
        let end = random.below(ROW + 1);
        portable::narrow(&row[..end], clamp, &mut expected);
        vfp::narrow(&row[..end], clamp, &mut found);
        let same = expected.map(f16::to_bits) == found.map(f16::to_bits);
        require(same, "narrow", case as u32);
    }
}

fn check_products(random: &mut Random) {
    for case in 0..CASES {
        let finite = case % 4 != 0;
        let mut value = || match half(random) {
            x if finite && !x.is_finite() => f16::ONE,
            x => x,
        };
        let weights: [[f16; LANES]; ROW] = core::array::from_fn(|_| [(); LANES].map(|()| value()));
        let x: [f32; ROW] = core::array::from_fn(|_| value().to_f32() * 1.001);
        let start: [f32; LANES] = core::array::from_fn(|_| value().to_f32());
        let (k, inputs) = (random.below(ROW + 1), random.below(ROW + 1));
        let (mut expected, mut found) = (start, start);
        portable::dot4(&x[..k], &weights[..inputs], &mut expected);
        vfp::dot4(&x[..k], &weights[..inputs], &mut found);
        let same = expected.map(f32::to_bits) == found.map(f32::to_bits);
        require(same, "dot4", case as u32);
        let k = random.below(ROW / ROWS + 1);
        let skew = random.below(8) / 7;
        let rows: [f16; ROW + 2] = core::array::from_fn(|_| half(random));
        let rows = &rows[skew..skew + ROWS * k];
        let (mut expected, mut found) = ([[0.5; LANES]; ROWS], [[0.5; LANES]; ROWS]);
        portable::dot4_rows(rows, &weights[..k], &start, &mut expected);
        vfp::dot4_rows(rows, &weights[..k], &start, &mut found);
        let bits = |sums: [[f32; LANES]; ROWS]| sums.map(|sums| sums.map(f32::to_bits));
        // Of a NaN the bits are the chip's own.
        let numbers = finite && expected.as_flattened().iter().all(|sum| !sum.is_nan());
        let same = !numbers || bits(expected) == bits(found);
        require(same, "dot4_rows", case as u32);
    }
}

#[cortex_m_rt::entry]
fn main() -> ! {
    let mut random = Random::default();
    check_widening(&mut random);
    check_narrowing(&mut random);
    check_products(&mut random);
    println!("half precision: both bodies agree");
    measure(&mut random);
    process::exit(0)
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    println!("{info}");
    process::exit(1)
}

/// Operands of the measured kernels: any numbers, because the count does not depend on them.
#[repr(C, align(4))]
struct Memory {
    weights: [[f16; LANES]; packed_len(64, 64)],
    window: [[f16; LANES]; packed_len(100, 64)],
    x: [f16; 98 * 64],
    y: [f16; 98 * 64],
    wide: [f32; 256],
}

static MEMORY: ConstStaticCell<Memory> = ConstStaticCell::new(Memory {
    weights: [[f16::ZERO; LANES]; packed_len(64, 64)],
    window: [[f16::ZERO; LANES]; packed_len(100, 64)],
    x: [f16::ZERO; 98 * 64],
    y: [f16::ZERO; 98 * 64],
    wide: [0.0; 256],
});
const BIAS: [f32; 64] = [0.5; 64];

/// The shapes that `host-tests/tests/half.rs` names.
fn measure(random: &mut Random) {
    let memory = MEMORY.take();
    let mut small = || f16::from_bits(0x3400 ^ (random.bits() as u16 & 0x83ff));
    memory.weights.as_flattened_mut().fill_with(&mut small);
    memory.window.as_flattened_mut().fill_with(&mut small);
    memory.x.fill_with(&mut small);
    let matrix = Matrix {
        weights: &memory.weights,
        bias: &BIAS,
    };
    let (wide, y) = (&mut memory.wide, &mut memory.y);
    region("linear 98x64->64", || {
        let (x, y) = (black_box(&memory.x), black_box(&mut *y));
        linear(x, 64, &matrix, Clamp::NONE, wide, y);
    });
    let shape = Shape {
        heads: 1,
        key_heads: 1,
        head_dim: 64,
        value_dim: 64,
        slots: 98,
    };
    let keys = &memory.window[..shape.keys_len(packed_len)];
    let values = &memory.window[..shape.values_len(packed_len)];
    region("attention 98x64, one head", || {
        let contexts = black_box(&mut *y).chunks_exact_mut(64);
        for (query, context) in black_box(&memory.x).chunks_exact(64).zip(contexts) {
            let filled = Filled::first(98);
            attend(
                query,
                keys,
                values,
                &filled,
                None,
                &[],
                &shape,
                0.2,
                wide,
                context,
                &mut [],
            );
        }
    });
}
