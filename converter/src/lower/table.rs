//! Tables of functions over int16.

use crate::function::Function;
use crate::quantize::Quant;
use std::cell::RefCell;
use std::rc::Rc;

/// An interpolated table is made so dense that no result is further off than this, in steps of the result …
const TABLE_ERROR: f64 = 4.0;
/// … and no denser than 4096 intervals.
const STEP_BITS: core::ops::RangeInclusive<u32> = 4..=9;

/// An interpolated table, and the bits of its step.
type Table = Rc<(Vec<i16>, u32)>;

/// Tables made so far, each with its function and how that is held: making one takes milliseconds.
#[derive(Debug, Default)]
pub struct Tables(RefCell<Vec<(Function, [Quant; 2], Table)>>);

impl Tables {
    /// [`interpolated`], made once.
    pub(super) fn interpolated(&self, function: &Function, from: Quant, to: Quant) -> Table {
        let same = |(known, held, _): &&(Function, [Quant; 2], Table)| {
            *held == [from, to] && known == function
        };
        if let Some((_, _, table)) = self.0.borrow().iter().find(same) {
            return table.clone();
        }
        let table = Rc::new(interpolated(function, from, to));
        let made = (function.clone(), [from, to], table.clone());
        self.0.borrow_mut().push(made);
        table
    }
}

/// The sparsest table of `function` from int16 to int16 that is as exact as asked for, or the densest; see
/// [`attn_runtime::kernels::int::elementwise::interpolate`].
fn interpolated(function: &Function, from: Quant, to: Quant) -> (Vec<i16>, u32) {
    let real = |q: i32| function.eval(f64::from(from.scale) * f64::from(q));
    let steps = |q: i32| {
        let (min, max) = to.limits();
        let value = real(q) / f64::from(to.scale);
        // Not a number: the function is not defined there, and nothing is expected.
        (!value.is_nan()).then(|| value.clamp(min.into(), max.into()))
    };
    let exact: Vec<Option<f64>> = (-32768..=32768).map(steps).collect();
    let table = |bits: u32| -> Vec<i16> {
        let entries = exact.iter().step_by(1 << bits);
        entries.map(|x| x.unwrap_or(0.0).round() as i16).collect()
    };
    let error = |bits: u32| {
        let table = table(bits);
        let one = |(at, exact): (usize, &Option<f64>)| {
            let (low, high) = (table[at >> bits], table[(at >> bits) + 1]);
            let part = (at % (1 << bits)) as f64 / f64::from(1 << bits);
            let value = f64::from(low) + part * (f64::from(high) - f64::from(low));
            exact.map_or(0.0, |exact| (value - exact).abs())
        };
        let inputs = exact.iter().enumerate().take(1 << 16);
        inputs.map(one).fold(0.0, f64::max)
    };
    let found = STEP_BITS.rev().find(|&bits| error(bits) <= TABLE_ERROR);
    let bits = found.unwrap_or(*STEP_BITS.start());
    (table(bits), bits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::function::{Binary, Unary};
    use attn_runtime::kernels::int::elementwise::interpolate;

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
                let (table, step_bits) = interpolated(&function, from, to);
                let inputs: Vec<i16> = (i16::MIN..=i16::MAX).collect();
                let mut results = inputs.clone();
                interpolate(&table, step_bits, &mut results);
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
}
