//! Checks on the chip that the DSP bodies of the innermost loops give the same bits as the portable ones, over random cases
//! and extremes. Ends with status 0, or 1 after printing the first case that differs. `host-tests/tests/kernels.rs` starts
//! it in the emulator.
#![no_std]
#![no_main]

use attn_images::Random;
use attn_runtime::kernels::arch::exp::Exponent;
use attn_runtime::kernels::arch::int::{Blocks, Constants, Store, TileStore, WideBlocks};
use attn_runtime::kernels::arch::norm::Row;
use attn_runtime::kernels::arch::taps::Taps;
use attn_runtime::kernels::arch::{dsp, portable, portable::int as portable_int};
use attn_runtime::kernels::int::dot::{LANES, ROWS};
use attn_runtime::kernels::int::requantize::{Activation, Output};
use core::panic::PanicInfo;
use semihosting::{println, process};

/// Values of a case that are no row.
const VALUES: usize = 64;
/// Longest row, in values.
const MAX_ROW: usize = 208;
const MAX_BLOCKS: usize = 5;
const OUTPUTS: usize = MAX_BLOCKS * LANES;

/// A value of any size, or one of two `extremes`.
fn value(random: &mut Random, extremes: Option<[i32; 2]>) -> i32 {
    let size = random.bits() & 31;
    match extremes {
        Some([low, high]) => [low, high, 0, -1][random.below(4)],
        None => random.bits() as i32 >> size,
    }
}

/// Operands of all cases; a case takes a part of them. Rows and weights start at a word: elsewhere the DSP body leaves
/// the work to the portable one, and there would be nothing to compare.
#[repr(C, align(4))]
struct Data {
    pairs: [i16; MAX_ROW + 2],
    weights: [i8; MAX_ROW * OUTPUTS + 4],
    wide: [i16; MAX_ROW * OUTPUTS + 4],
    bias: [i32; OUTPUTS],
    multipliers: [i32; OUTPUTS],
}

impl Data {
    const EMPTY: Self = Self {
        pairs: [0; MAX_ROW + 2],
        weights: [0; MAX_ROW * OUTPUTS + 4],
        wide: [0; MAX_ROW * OUTPUTS + 4],
        bias: [0; OUTPUTS],
        multipliers: [0; OUTPUTS],
    };

    /// New data; each operand is random or consists of its type's extremes.
    fn fill(&mut self, random: &mut Random) {
        let kind = random.bits();
        let mut next = |bit: u32, low: i32, high: i32| {
            value(random, (kind >> bit & 1 == 1).then_some([low, high]))
        };
        let [low, high] = [i16::MIN, i16::MAX].map(i32::from);
        self.pairs.fill_with(|| next(0, low, high) as i16);
        self.weights.fill_with(|| next(1, -128, 127) as i8);
        self.wide.fill_with(|| next(4, low, high) as i16);
        self.bias.fill_with(|| next(2, i32::MIN, i32::MAX));
        self.multipliers.fill_with(|| next(3, i32::MIN, i32::MAX));
    }

    /// A case. Most rows are whole groups that start at a word, as the inner loop wants them, some are neither.
    fn case<const JOINED: bool>(&self, random: &mut Random) -> Blocks<'_, JOINED> {
        let mut row = LANES * random.below(MAX_ROW / LANES + 1);
        let (mut x_skew, mut w_skew) = (0, 0);
        if random.below(8) == 0 {
            (row, x_skew, w_skew) = (random.below(MAX_ROW + 1), random.below(2), random.below(4));
        }
        let weights = row * LANES * random.below(MAX_BLOCKS + 1);
        let (a, b) = (value(random, None), value(random, None));
        // Without one, joined weights have a body of their own.
        let shifted = !JOINED || random.below(2) == 0;
        Blocks {
            pairs: &self.pairs[x_skew..x_skew + row],
            weights: &self.weights[w_skew..w_skew + weights],
            bias: constants(&self.bias, random),
            multipliers: constants(&self.multipliers, random),
            left_shift: if shifted { random.bits() % 32 } else { 0 },
            zero_point: value(random, None),
            min: a.min(b),
            max: a.max(b),
        }
    }

    /// The same for int16 times int16.
    fn wide_case(&self, random: &mut Random) -> WideBlocks<'_> {
        let narrow = self.case::<false>(random);
        let (row, skew) = (narrow.pairs.len(), random.below(8) / 7);
        let weights = row * LANES * random.below(MAX_BLOCKS + 1);
        WideBlocks {
            pairs: narrow.pairs,
            weights: &self.wide[skew..skew + weights],
            shift: narrow.left_shift,
        }
    }

    /// The taps of a depthwise kernel, over the values `x`. Some operands are too short: then both bodies leave products out.
    fn taps<'w, X: Activation>(
        &'w self,
        x: &'w [X],
        zero: i32,
        random: &mut Random,
    ) -> Taps<'w, X> {
        let blocks = self.case::<false>(random);
        let mut steps = || [random.below(24), random.below(12)];
        let (x_steps, weight_steps) = (steps(), steps());
        Taps {
            x: &x[random.below(8)..x.len() - random.below(x.len() / 2)],
            weights: &self.weights[random.below(4)..],
            count: [random.below(6), random.below(12)],
            x_steps,
            weight_steps,
            zero,
            bias: &self.bias[..OUTPUTS - random.below(3)],
            output: Output {
                multipliers: &self.multipliers,
                left_shift: blocks.left_shift,
                zero_point: blocks.zero_point,
                min: blocks.min,
                max: blocks.max,
            },
        }
    }
}

fn constants<'c>(all: &'c [i32; OUTPUTS], random: &mut Random) -> Constants<'c> {
    match random.below(4) {
        0 => Constants::Same([all[0], all[1], all[2], all[3]]),
        1 => Constants::Each(&all[..random.below(OUTPUTS + 1)]),
        _ => Constants::Each(all),
    }
}

/// Runs both bodies into buffers with the same old contents, so both must leave the same bytes unchanged.
fn bodies_agree<Y: Copy + PartialEq, const JOINED: bool>(
    blocks: &Blocks<JOINED>,
    old: Y,
    room: usize,
    store: impl Fn(&mut [[Y; LANES]]) -> Store<'_>,
) -> bool {
    let (mut expected, mut found) = ([[old; LANES]; MAX_BLOCKS], [[old; LANES]; MAX_BLOCKS]);
    portable_int::run(blocks, store(&mut expected[..room]));
    dsp::run(blocks, store(&mut found[..room]));
    expected == found
}

/// The same for a tile, whose rows are what a case has.
fn tiles_agree<const JOINED: bool>(data: &Data, random: &mut Random, case: usize) -> bool {
    let mut blocks = data.case::<JOINED>(random);
    limit(&mut blocks, random);
    let row = blocks.pairs.len() / (ROWS * LANES) * LANES;
    let tile = Blocks {
        pairs: &blocks.pairs[..blocks.pairs.len().min(ROWS * row + random.below(2))],
        ..blocks
    };
    let (stride, room) = (random.below(OUTPUTS), random.below(ROWS * OUTPUTS));
    let factors = [0; ROWS].map(|_| value(random, None));
    fn agree<Y: Copy + PartialEq, const JOINED: bool>(
        (tile, stride): (&Blocks<JOINED>, usize),
        (old, room): (Y, usize),
        store: impl Fn(&mut [Y]) -> TileStore<'_>,
    ) -> bool {
        let (mut expected, mut found) = ([old; ROWS * OUTPUTS], [old; ROWS * OUTPUTS]);
        portable_int::run_tile(tile, store(&mut expected[..room]), stride);
        dsp::run_tile(tile, store(&mut found[..room]), stride);
        expected == found
    }
    let with = (&tile, stride);
    match case % 5 {
        0 => agree(with, (0x55i8, room), |y| TileStore::I8(y)),
        1 => agree(with, (0x55i16, room), |y| TileStore::I16(y)),
        2 => agree(with, (0x55i16, room), |y| TileStore::Scaled(y, factors)),
        3 => agree(with, (0x55i32, room), |y| TileStore::I32(y)),
        _ => agree(with, (0x55i32, room), |y| TileStore::Sums(y)),
    }
}

/// The same for values in pair order, alone or in a tile.
fn pairs_agree<X: Activation>(x: &[X], random: &mut Random) -> bool {
    let groups = x[random.below(4)..].as_chunks().0;
    let groups = &groups[..random.below(groups.len() + 1)];
    let rows = [1, ROWS][random.below(2)];
    let (offset, row) = (value(random, None), random.below(rows + 1));
    let (mut expected, mut found) = ([7; MAX_ROW], [7; MAX_ROW]);
    let room = random.below(MAX_ROW);
    portable::pairs::fill(groups, offset, &mut expected[..room], [rows, row]);
    dsp::pairs::fill(groups, offset, &mut found[..room], [rows, row]);
    expected == found
}

/// The same for int8 values as joined weights meet them.
fn joined_pairs_agree(x: &[i8], random: &mut Random) -> bool {
    let groups = x[random.below(4)..].as_chunks().0;
    let groups = &groups[..random.below(groups.len() + 1)];
    let rows = [1, ROWS][random.below(2)];
    let place = [rows, random.below(rows + 1)];
    let (mut expected, mut found) = ([7; MAX_ROW], [7; MAX_ROW]);
    let room = random.below(MAX_ROW);
    portable::pairs::fill_joined(groups, &mut expected[..room], place);
    dsp::pairs::fill_joined(groups, &mut found[..room], place);
    expected == found
}

/// The same for weights of a softmax, in pair order and in order.
fn exp_agree<X: Activation>(scores: &[i32], x: &[X], random: &mut Random) -> bool {
    let by = Exponent {
        max: value(random, None),
        multiplier: value(random, None) as u32,
    };
    let rows = [1, ROWS][random.below(2)];
    let place = [rows, random.below(rows + 1)];
    let room = random.below(MAX_ROW);
    let (mut expected, mut found) = ([7; MAX_ROW], [7; MAX_ROW]);
    let scores = scores[random.below(OUTPUTS)..].as_chunks().0;
    let sum = portable::exp::in_pairs(&by, scores, &mut expected[..room], place);
    let agree = sum == dsp::exp::in_pairs(&by, scores, &mut found[..room], place);
    let (x, least) = (&x[random.below(x.len())..], value(random, None));
    let greatest = portable::exp::greatest(x, least);
    let greatest_sum = portable::exp::greatest(scores.as_flattened(), least);
    let agree = agree
        && greatest == dsp::exp::greatest(x, least)
        && greatest_sum == dsp::exp::greatest_sum(scores.as_flattened(), least);
    let (mut weights, sum) = (
        found.map(|w| w & i16::MAX),
        random.bits() >> random.below(32) | 1,
    );
    let mut shares = weights;
    portable::exp::normalize(&mut weights[..room], sum);
    dsp::exp::normalize(&mut shares[..room], sum);
    let agree = agree && weights == shares;
    let x = x.as_chunks().0;
    let [expected_y, found_y] = [&mut expected, &mut found].map(|y| y[room..].as_chunks_mut().0);
    let sum = portable::exp::in_order(&by, x, expected_y);
    let agree = agree && sum == dsp::exp::in_order(&by, x, found_y);
    agree && expected == found
}

/// The same for the passes of a normalisation.
fn norms_agree<X: Activation>(x: &[X], data: &Data, random: &mut Random) -> bool {
    fn agree<X: Activation, Y: Activation + PartialEq>(row: &Row, x: &[X]) -> bool {
        let (mut expected, mut found) = ([Y::from_i32(7); 32], [Y::from_i32(7); 32]);
        portable::norm::run(row, x, &mut expected);
        dsp::norm::run(row, x, &mut found);
        expected == found
    }
    let x = &x[random.below(x.len())..];
    let x = &x[..random.below(x.len() + 1)];
    let (factor, offset) = (random.below(1024) as i32, value(random, None) >> 6);
    // As large a shift as leaves every value 33 bits.
    let d = |x: &X| (Into::<i32>::into(*x) * factor).wrapping_sub(offset);
    let largest = x.iter().map(|x| d(x).unsigned_abs()).max().unwrap_or(0);
    let (a, b) = (value(random, None), value(random, None));
    let row = Row {
        factor,
        offset,
        reciprocal: value(random, None) & i32::MAX,
        shift: largest.leading_zeros().min(random.bits() & 31),
        multipliers: &data.multipliers[random.below(4)..],
        multiplier_bits: random.bits() % 17,
        bias: &data.bias[random.below(4)..],
        zero_point: random.below(256) as i32 - 128,
        min: i32::from(i8::MIN),
        max: i32::from(i8::MAX),
    };
    let wide = Row {
        min: a.min(b).max(i16::MIN.into()).min(i16::MAX.into()),
        max: a.max(b).min(i16::MAX.into()).max(i16::MIN.into()),
        ..row
    };
    portable::norm::sums(x) == dsp::norm::sums(x)
        && agree::<X, i8>(&row, x)
        && agree::<X, i16>(&wide, x)
}

/// The same for the taps of a depthwise kernel, over `channels` of them.
fn taps_agree<X: Activation, Y: Activation + PartialEq>(taps: &Taps<X>, channels: usize) -> bool {
    let (mut expected, mut found) = ([Y::from_i32(0x55); OUTPUTS], [Y::from_i32(0x55); OUTPUTS]);
    portable::taps::run(taps, &mut expected[..channels]);
    dsp::taps::run(taps, &mut found[..channels]);
    expected == found
}

/// Operands and random numbers of all cases.
struct Cases {
    data: Data,
    random: Random,
    count: usize,
}

impl Cases {
    /// Ends the program at the first of `count` cases in which the bodies differ.
    fn check(
        &mut self,
        what: &str,
        count: usize,
        agree: impl Fn(&Data, &mut Random, usize) -> bool,
    ) {
        for case in 0..count {
            if case % 8 == 0 {
                self.data.fill(&mut self.random);
            }
            if !agree(&self.data, &mut self.random, case) {
                println!("{what}, case {case}: the DSP body differs from the portable one");
                process::exit(1);
            }
        }
        self.count += count;
    }
}

/// A row with blocks of weights.
fn rows_agree<const JOINED: bool>(data: &Data, random: &mut Random, case: usize) -> bool {
    let mut blocks = data.case::<JOINED>(random);
    limit(&mut blocks, random);
    let room = random.below(MAX_BLOCKS + 1);
    match case % 4 {
        0 => bodies_agree(&blocks, 0x55i8, room, |y| Store::I8(y)),
        1 => bodies_agree(&blocks, 0x55i16, room, |y| Store::I16(y)),
        2 => bodies_agree(&blocks, 0x55i32, room, |y| Store::I32(y)),
        _ => bodies_agree(&blocks, 0x55i32, room, |y| Store::Sums(y)),
    }
}

/// Sometimes the limits of a type in place of others.
fn limit<const JOINED: bool>(blocks: &mut Blocks<JOINED>, random: &mut Random) {
    match random.below(4) {
        0 => (blocks.min, blocks.max) = (i8::MIN.into(), i8::MAX.into()),
        1 => (blocks.min, blocks.max) = (i16::MIN.into(), i16::MAX.into()),
        _ => {}
    }
}

fn wide_agree(data: &Data, random: &mut Random, _: usize) -> bool {
    let (blocks, room) = (data.wide_case(random), random.below(MAX_BLOCKS + 1));
    let mut expected = [[0x55; LANES]; MAX_BLOCKS];
    let mut found = expected;
    portable_int::run_wide(&blocks, &mut expected[..room]);
    dsp::run_wide(&blocks, &mut found[..room]);
    expected == found
}

fn all_taps_agree(data: &Data, random: &mut Random, case: usize) -> bool {
    let (channels, zero) = (random.below(OUTPUTS), random.below(256) as i32 - 128);
    let narrow: [i8; MAX_ROW] = core::array::from_fn(|i| data.pairs[i] as i8);
    let narrow = data.taps(&narrow, zero, random);
    let wide = data.taps(&data.pairs, zero * (case as i32 & 1), random);
    match case % 4 {
        0 => taps_agree::<_, i8>(&narrow, channels),
        1 => taps_agree::<_, i16>(&narrow, channels),
        2 => taps_agree::<_, i8>(&wide, channels),
        _ => taps_agree::<_, i16>(&wide, channels),
    }
}

#[cortex_m_rt::entry]
fn main() -> ! {
    let mut cases = Cases {
        data: Data::EMPTY,
        random: Random::default(),
        count: 0,
    };
    let data = &cases.data;
    let starts = [
        data.pairs.as_ptr() as usize,
        data.weights.as_ptr() as usize,
        data.wide.as_ptr() as usize,
    ];
    assert!(starts.iter().all(|start| start.is_multiple_of(4)));
    let narrow = |data: &Data| -> [i8; VALUES] { core::array::from_fn(|i| data.pairs[i] as i8) };
    cases.check("rows", 6000, rows_agree::<false>);
    cases.check("joined rows", 3000, rows_agree::<true>);
    cases.check("int16 rows", 2000, wide_agree);
    cases.check("taps", 2000, all_taps_agree);
    cases.check("tiles", 3000, tiles_agree::<false>);
    cases.check("joined tiles", 3000, tiles_agree::<true>);
    cases.check("pairs", 1500, |data, random, case| match case % 3 {
        1 => joined_pairs_agree(&narrow(data), random),
        0 => pairs_agree(&narrow(data), random),
        _ => pairs_agree(&data.pairs[..VALUES], random),
    });
    cases.check("softmax", 1000, |data, random, case| match case % 2 {
        0 => exp_agree(&data.bias, &narrow(data), random),
        _ => exp_agree(&data.bias, &data.pairs[..VALUES], random),
    });
    cases.check("normalisation", 1000, |data, random, case| match case % 2 {
        0 => norms_agree(&narrow(data), data, random),
        _ => norms_agree(&data.pairs[..VALUES], data, random),
    });
    let count = cases.count;
    println!("{count} cases: the DSP bodies equal the portable ones");
    process::exit(0)
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    println!("{info}");
    process::exit(1)
}
