//! A function of one variable as a table of parabolas.

use crate::function::Function;
use attn_runtime::kernels::half::MAX;
use attn_runtime::kernels::half::function::Parabola;

/// Largest error within the range of calibration, as a share of the largest value there.
const TOLERANCE: f64 = 1.0 / 16384.0;
/// The table reaches this many times as far as the values seen in calibration.
const HEADROOM: f64 = 2.0;
/// Where calibration says nothing about an input.
const DEFAULT_RANGE: (f64, f64) = (-8.0, 8.0);
/// Most parabolas on one side of 0.
const MAX_PARABOLAS: usize = 512;
/// Places between two knots where the error is measured.
const PROBES: usize = 8;

/// The operands of [`attn_runtime::kernels::half::function::Table`].
pub(super) struct Fitted {
    pub inverse_step: f32,
    pub negative: Vec<Parabola>,
    pub positive: Vec<Parabola>,
}

/// Parabolas through the function at knots and half-way between, with knots as far apart as [`TOLERANCE`] allows: a
/// power of two, so that corners at whole numbers are knots.
pub(super) fn fit(function: &Function, (low, high): (f32, f32)) -> Fitted {
    let (low, high) = match (low, high) {
        (0.0, 0.0) => DEFAULT_RANGE,
        (low, high) => (f64::from(low), f64::from(high)),
    };
    let f = |x: f64| finite(function.eval(x));
    let reach = |x: f64| (x.abs() * HEADROOM).clamp(1e-3, f64::from(MAX));
    let widest = reach(low).max(reach(high));
    let mut step = (widest / 8.0).log2().floor().exp2();
    loop {
        let side = |sign: f64, end: f64| side(&|x| f(sign * x), reach(end), step);
        let (negative, positive) = (side(-1.0, low), side(1.0, high));
        let close = within(&|x| f(-x), &negative, -low, step) && within(&f, &positive, high, step);
        let full = widest / step >= MAX_PARABOLAS as f64 / 2.0;
        if close || full {
            return Fitted {
                inverse_step: (1.0 / step) as f32,
                negative,
                positive,
            };
        }
        step /= 2.0;
    }
}

/// What no half can hold becomes the largest; what is undefined 0.
fn finite(y: f64) -> f64 {
    if y.is_nan() {
        0.0
    } else {
        y.clamp(-f64::from(MAX), f64::from(MAX))
    }
}

/// Parabolas of `f` from 0 to at least `reach`, and a line behind.
fn side(f: &dyn Fn(f64) -> f64, reach: f64, step: f64) -> Vec<Parabola> {
    let count = (reach / step).ceil().max(1.0) as usize;
    let mut parabolas: Vec<Parabola> = (0..count).map(|i| parabola(f, i, step)).collect();
    let (end, beyond) = (f(count as f64 * step), f((count + 1) as f64 * step));
    parabolas.push([end as f32, (beyond - end) as f32, 0.0]);
    parabolas
}

fn parabola(f: &dyn Fn(f64) -> f64, i: usize, step: f64) -> Parabola {
    let at = |u: f64| f((i as f64 + u) * step);
    // From inside: a function may jump at a knot.
    let (start, middle, end) = (at(1e-9), at(0.5), at(1.0 - 1e-9));
    let slope = 4.0 * middle - 3.0 * start - end;
    let curve = 2.0 * (start + end) - 4.0 * middle;
    [start as f32, slope as f32, curve as f32]
}

/// Whether the table is within [`TOLERANCE`] of `f` from 0 to `end`.
fn within(f: &dyn Fn(f64) -> f64, table: &[Parabola], end: f64, step: f64) -> bool {
    let count = (end / step).ceil().max(0.0) as usize;
    let (mut largest, mut worst) = (0f64, 0f64);
    for (i, [c0, c1, c2]) in table.iter().take(count).enumerate() {
        for probe in 0..PROBES {
            let u = (probe as f64 + 0.5) / PROBES as f64;
            let exact = f((i as f64 + u) * step);
            let fitted = f64::from(*c0) + u * (f64::from(*c1) + u * f64::from(*c2));
            largest = largest.max(exact.abs());
            worst = worst.max((fitted - exact).abs());
        }
    }
    worst <= TOLERANCE * largest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::function::Unary;
    use crate::sqnr::Sqnr;
    use attn_runtime::f16;
    use attn_runtime::kernels::half::function::{Table, apply};

    /// Normally distributed numbers (the sum of twelve uniform ones), as halves.
    fn normal(count: usize, deviation: f32) -> Vec<f16> {
        let mut state = 7u64;
        let mut uniform = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1u64 << 24) as f32
        };
        (0..count)
            .map(|_| f16::from_f32(deviation * ((0..12).map(|_| uniform()).sum::<f32>() - 6.0)))
            .collect()
    }

    /// SQNR in dB of the table that was made for `seen`, on `x`, and its length.
    fn db(function: &Function, seen: &[f16], x: &[f16]) -> (f64, usize) {
        let ends = seen.iter().fold((0f32, 0f32), |(low, high), x| {
            (low.min(x.to_f32()), high.max(x.to_f32()))
        });
        let fitted = fit(function, ends);
        let table = Table {
            inverse_step: fitted.inverse_step,
            negative: &fitted.negative,
            positive: &fitted.positive,
        };
        let mut y = x.to_vec();
        apply(&table, &mut y);
        let exact: Vec<f32> = x
            .iter()
            .map(|&x| function.eval(x.to_f64()) as f32)
            .collect();
        let got: Vec<f32> = y.iter().map(|y| y.to_f32()).collect();
        let mut sqnr = Sqnr::default();
        sqnr.add(&exact, &got);
        (sqnr.db(), fitted.negative.len() + fitted.positive.len())
    }

    #[test]
    fn every_known_function_keeps_60_db_on_what_was_seen_and_beyond() {
        let functions = [
            Function::Input.then(Unary::Relu),
            Function::Input.then(Unary::Sigmoid),
            Function::Input.then(Unary::Tanh),
            Function::Input.then(Unary::Erf),
            Function::Input.then(Unary::Softplus),
            Function::Input.then(Unary::Abs),
            Function::gelu(),
            Function::gelu_tanh(),
            Function::silu(),
            Function::hard_swish(),
            Function::hard_sigmoid(0.2, 0.5),
            Function::leaky_relu(0.01),
            Function::elu(1.0),
        ];
        for function in functions {
            for deviation in [0.1, 1.0, 4.0, 30.0] {
                let seen = normal(5000, deviation);
                let (db_seen, len) = db(&function, &seen, &seen);
                let (db_beyond, _) = db(&function, &seen, &normal(5000, 1.7 * deviation));
                println!(
                    "{function:?}, deviation {deviation}: {db_seen:.1} and {db_beyond:.1} dB, {len} parabolas"
                );
                assert!(
                    db_seen >= 60.0,
                    "{function:?}, deviation {deviation}: {db_seen:.1} dB"
                );
                assert!(
                    db_beyond >= 60.0,
                    "{function:?}, deviation {deviation}: {db_beyond:.1} dB beyond"
                );
                assert!(len <= 2 * MAX_PARABOLAS);
            }
        }
    }

    #[test]
    fn what_is_not_finite_stays_within_halves() {
        let inverse = Function::Constant(1.0).with(crate::function::Binary::Div, Function::Input);
        let fitted = fit(&inverse, (-1.0, 1.0));
        let all = fitted.negative.iter().chain(&fitted.positive).flatten();
        assert!(all.into_iter().all(|c| c.is_finite()));
    }
}
