//! Tables of functions over int16.

use super::points::{Point, fit};
use crate::function::Function;
use crate::quantize::Quant;
use std::cell::RefCell;
use std::rc::Rc;

/// An interpolated table is made so dense that no result is further off than this, in steps of the result …
const TABLE_ERROR: f64 = 4.0;
/// … and no denser than 4096 intervals.
const STEP_BITS: core::ops::RangeInclusive<u32> = 4..=9;

/// Where it needs points, no result between them is further off than this, if that can be.
const POINTS_ERROR: f64 = 1.0;
/// Most points beside a table.
const POINTS: usize = 512;

/// An interpolated table; see [`attn_runtime::kernels::int::elementwise::interpolate_pieces`].
#[derive(Debug)]
pub(super) struct Table {
    /// Results, one every `2^step_bits` inputs.
    pub entries: Vec<i16>,
    /// Bits of the distance of two entries.
    pub step_bits: u32,
    /// Inputs in between, with the results at the end of the line from below and at the start of that from above.
    pub points: Vec<[i16; 3]>,
}

/// Tables made so far, each with its function and how that is held: making one takes milliseconds.
#[derive(Debug, Default)]
pub struct Tables(RefCell<Vec<Made>>);

/// A function, how its input and result are held, and its table.
type Made = (Function, [Quant; 2], Rc<Table>);

impl Tables {
    /// [`interpolated`], made once.
    pub(super) fn interpolated(&self, function: &Function, from: Quant, to: Quant) -> Rc<Table> {
        let same = |(known, held, _): &&Made| *held == [from, to] && known == function;
        if let Some((_, _, table)) = self.0.borrow().iter().find(same) {
            return table.clone();
        }
        let table = Rc::new(interpolated(function, from, to));
        let made = (function.clone(), [from, to], table.clone());
        self.0.borrow_mut().push(made);
        table
    }
}

/// The sparsest table of `function` from int16 to int16 that is as exact as asked for; where none is, the smallest with points; or else
/// the densest.
fn interpolated(function: &Function, from: Quant, to: Quant) -> Table {
    let real = |q: i32| function.eval(f64::from(from.scale) * f64::from(q));
    let steps = |q: i32| {
        let (min, max) = to.limits();
        let value = real(q) / f64::from(to.scale);
        // Not a number: the function is not defined there, and nothing is expected.
        (!value.is_nan()).then(|| value.clamp(min.into(), max.into()))
    };
    let exact: Vec<Option<f64>> = (-32768..=32768).map(steps).collect();
    let table = |bits: u32, points: Vec<Point>| {
        let entries = exact.iter().step_by(1 << bits);
        let mut entries: Vec<i16> = entries.map(|x| x.unwrap_or(0.0).round() as i16).collect();
        let input = |at: usize| (at as i32 - 32768) as i16;
        // Where the last line ends there is no input: only the result at its end counts.
        let (last, points) = match points.split_last() {
            Some((&(at, below, _), before)) if at + 1 == exact.len() => (Some(below), before),
            _ => (None, &points[..]),
        };
        if let (Some(below), Some(entry)) = (last, entries.last_mut()) {
            *entry = below;
        }
        Table {
            entries,
            step_bits: bits,
            points: points
                .iter()
                .map(|&(at, below, above)| [input(at), below, above])
                .collect(),
        }
    };
    let with_points = |bits: u32, error: f64, most: usize| {
        let points = fit(&exact, 1 << bits, error, most)?;
        Some((bits, points))
    };
    let plain = STEP_BITS
        .rev()
        .find_map(|bits| with_points(bits, TABLE_ERROR, 0));
    let smallest = |error: f64| {
        let all = STEP_BITS.filter_map(|bits| with_points(bits, error, POINTS));
        all.min_by_key(|(bits, points)| (2 << (16 - bits)) + size_of_val(&points[..]))
    };
    let found = plain
        .or_else(|| smallest(POINTS_ERROR))
        .or_else(|| smallest(TABLE_ERROR));
    let (bits, points) = found.unwrap_or((*STEP_BITS.start(), Vec::new()));
    table(bits, points)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::function::{Binary, Unary};
    use attn_runtime::kernels::int::elementwise::{interpolate, interpolate_pieces};

    #[test]
    fn tables_of_functions_are_as_exact_as_they_say() {
        let of = |unary| Function::Input.then(unary);
        let silu = Function::Input.with(Binary::Mul, of(Unary::Sigmoid));
        let functions = [
            Function::gelu(),
            silu,
            of(Unary::Tanh),
            of(Unary::Sigmoid),
            of(Unary::Erf),
        ];
        for function in functions {
            for range in [0.5, 4.0, 16.0] {
                let from = Quant::int16(range);
                let largest = [-range, range]
                    .map(|x| function.eval(x.into()).abs())
                    .into_iter()
                    .fold(0.0, f64::max);
                let to = Quant::int16(largest as f32);
                let table = interpolated(&function, from, to);
                assert!(table.points.is_empty());
                let inputs: Vec<i16> = (i16::MIN..=i16::MAX).collect();
                let mut results = inputs.clone();
                interpolate(&table.entries, table.step_bits, &mut results);
                for (&x, y) in inputs.iter().zip(results) {
                    let real = function.eval(f64::from(from.scale) * f64::from(x));
                    let exact = (real / f64::from(to.scale)).clamp(-32768.0, 32767.0);
                    let error = (f64::from(y) - exact).abs();
                    let name = function.name();
                    assert!(error <= 4.5, "{name} over {range}: {y} for {exact} at {x}");
                }
            }
        }
    }
    #[test]
    fn jumps_and_corners_are_where_they_are() {
        let of = |unary| Function::Input.then(unary);
        let over = Function::Input.with(Binary::Greater, Function::Constant(0.3));
        let hat = Function::Constant(1.0).with(Binary::Sub, of(Unary::Abs));
        let saw = Function::Input.with(Binary::Sub, of(Unary::Floor));
        let functions = [
            (over, 1.0),
            (hat.then(Unary::Relu), 1.0),
            (saw, 1.0),
            (of(Unary::Round), 16.0),
            (of(Unary::Log), 90.0),
        ];
        for (function, largest) in functions {
            let (from, to) = (Quant::int16(16.0), Quant::int16(largest));
            let table = interpolated(&function, from, to);
            let inputs: Vec<i16> = (i16::MIN..=i16::MAX).collect();
            let mut results = inputs.clone();
            interpolate_pieces(&table.entries, &table.points, table.step_bits, &mut results);
            let mut far = 0;
            for (&x, y) in inputs.iter().zip(results) {
                let real = function.eval(f64::from(from.scale) * f64::from(x));
                let exact = (real / f64::from(to.scale)).clamp(-32768.0, 32767.0);
                far += usize::from((f64::from(y) - exact).abs() > 4.6);
            }
            assert_eq!(far, 0, "{function:?}: {} points", table.points.len());
        }
    }

    #[test]
    fn a_jump_behind_the_last_input_is_no_point() {
        // 1 is one step behind the largest input.
        let from = Quant {
            scale: 1.0 / 32768.0,
            ..Quant::int16(1.0)
        };
        let floor = Function::Input.then(Unary::Floor);
        let table = interpolated(&floor, from, Quant::int16(1.0));
        assert!(
            table.points.is_sorted_by(|a, b| a[0] < b[0]),
            "{:?}",
            table.points
        );
        let mut results = [-32768, -1, 0, 32767];
        interpolate_pieces(&table.entries, &table.points, table.step_bits, &mut results);
        assert_eq!(results.map(|y| y / 32000), [-1, -1, 0, 0]);
    }
}
