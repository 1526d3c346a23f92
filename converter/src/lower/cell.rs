//! Recurrent layers of any cell.

use super::curves::{Fitted, fit};
use super::matrix::rows;
use super::recurrent::{Connected, Q16, Run, SHORT_Q16, cell_scale};
use super::{Lower, Lowered, Lowering};
use crate::error::Result;
use crate::graph::{Node, op};
use crate::quantize::Quant;
use attn_runtime::format::{DType, OpKind};
use attn_runtime::kernels::geometry::Cell;
use attn_runtime::kernels::int::dot::pairs_len;
use attn_runtime::ops::{
    CellScale, CurveHalfParams, CurveParams, RecurrentHalfParams, RecurrentParams,
};
use ndarray::ArrayD;
use zerocopy::IntoBytes;

/// How far activations may be off: in integers, and in half precision.
const TOLERANCES: [f64; 2] = [1.0 / 8192.0, 1.0 / 32768.0];
/// The scale of a cell that is not there.
const UNUSED: CellScale = CellScale {
    multiplier: 0,
    left_shift: 0,
};
/// No peepholes.
const NONE: u32 = u32::MAX;

impl Lowering<'_> {
    fn any_cell(
        &mut self,
        node: &Node,
        layer: &op::Recurrent,
    ) -> Result<(Run, Vec<u8>, Connected)> {
        let run = self.run(node, &layer.weights);
        let apart = (layer.cell == Cell::GruResetBefore).then_some(2);
        let (weights, mut bound) = self.weights_of(node, &layer.weights, &run, apart)?;
        let (sides, _) = self.sides(node, &weights, &run, false)?;
        let (mut scales, mut farthest) = ([UNUSED; 2], 0.0);
        let connected = if layer.cell.is_lstm() {
            let held = self.cell_held(node);
            let connected = self.with_cell(node, &run, held)?;
            scales = [
                cell_scale(node, held, Q16)?,
                cell_scale(node, SHORT_Q16, held)?,
            ];
            farthest = f64::from(held.scale) * f64::from(i16::MAX);
            let largest = layer.peepholes.iter().fold(0f32, |max, p| max.max(p.abs()));
            bound += farthest * f64::from(largest);
            connected
        } else {
            self.with_state(node, &run)?
        };
        let curves = self.curves(layer, [bound, bound, farthest]);
        let peepholes: Vec<i32> = layer.peepholes.iter().map(|&p| Q16.quantize(p)).collect();
        let params = RecurrentParams {
            input: sides[0],
            recurrent: sides[1],
            cell: layer.cell as u32,
            state_bits: (-run.state.scale.log2()).round() as u32,
            peepholes: match peepholes.is_empty() {
                true => NONE,
                false => self.program.weights(&peepholes),
            },
            curves: curves.map(|curve| self.curve(&curve)),
            cell_in: scales[0],
            cell_out: scales[1],
            run: run.geometry,
        };
        Ok((run, params.as_bytes().to_vec(), connected))
    }

    fn any_half_cell(
        &mut self,
        node: &Node,
        layer: &op::Recurrent,
    ) -> Result<(Run, Vec<u8>, Connected)> {
        let run = self.run(node, &layer.weights);
        let [input, recurrent] = self.half_sides(node, &layer.weights, run.hidden)?;
        let largest = |value| {
            let (low, high) = self.scheme.half_range(value);
            f64::from(high.max(-low))
        };
        let sum = |matrix: &ArrayD<f32>, factor: f64| {
            let sums = rows(matrix).into_iter();
            let sums = sums.map(|row| row.iter().map(|w| f64::from(w.abs())).sum::<f64>());
            sums.fold(0.0, f64::max) * factor
        };
        let weights = &layer.weights;
        let biases = weights.bias_w.iter().zip(&weights.bias_r);
        let bias = biases.fold(0.0, |max, (w, r)| f64::max(max, (w.abs() + r.abs()).into()));
        // Beyond, the curves go on straight.
        let state = largest(node.output).max(node.inputs.get(1).map_or(0.0, |&h| largest(h)));
        let bound = bias + sum(&weights.w, largest(node.inputs[0])) + sum(&weights.r, state);
        let cell = node.second.map_or(0.0, largest).max(16.0);
        let connected = match layer.cell.is_lstm() {
            true => self.with_cell(node, &run, Quant::HALF)?,
            false => self.with_state(node, &run)?,
        };
        let curves = self.curves(layer, [bound, bound, cell]);
        let params = RecurrentHalfParams {
            input,
            recurrent,
            cell: layer.cell as u32,
            peepholes: match layer.peepholes.is_empty() {
                true => NONE,
                false => self.program.weights(&layer.peepholes),
            },
            curves: curves.map(|curve| self.half_curve(&curve)),
            run: run.geometry,
        };
        Ok((run, params.as_bytes().to_vec(), connected))
    }

    /// The curves of all activations; those that the cell does not use are as the first.
    fn curves(&self, layer: &op::Recurrent, bounds: [f64; 3]) -> [Fitted; 3] {
        let tolerance = TOLERANCES[usize::from(self.scheme.is_half())];
        let used = match layer.cell {
            Cell::Rnn => 1,
            Cell::GruResetBefore | Cell::GruResetAfter => 2,
            Cell::Lstm | Cell::LstmCoupled => 3,
        };
        std::array::from_fn(|i| {
            let at = if i < used { i } else { 0 };
            let clip = layer.clip.filter(|_| at < 2);
            fit(&layer.activations[at], bounds[at], clip, tolerance)
        })
    }

    fn curve(&mut self, fitted: &Fitted) -> CurveParams {
        let table: Vec<i32> = fitted
            .table
            .iter()
            .map(|&y| Q16.quantize(y as f32))
            .collect();
        let slope = |slope: f64| (slope * f64::from(1 << 24)).round() as i32;
        CurveParams {
            table: self.program.weights(&table),
            low: fitted.ends[0],
            high: fitted.ends[1],
            step_bits: fitted.step_bits,
            slope_below: slope(fitted.slopes[0]),
            slope_above: slope(fitted.slopes[1]),
        }
    }

    fn half_curve(&mut self, fitted: &Fitted) -> CurveHalfParams {
        let table: Vec<f32> = fitted.table.iter().map(|&y| y as f32).collect();
        let [low, high] = fitted.ends.map(|end| end as f32 * Q16.scale);
        CurveHalfParams {
            table: self.program.weights(&table),
            entries: table.len() as u32,
            low,
            high,
            inverse_step: (16.0 - fitted.step_bits as f32).exp2(),
            slope_below: fitted.slopes[0] as f32,
            slope_above: fitted.slopes[1] as f32,
        }
    }
}

impl Lower for op::Recurrent {
    fn lower(&self, to: &mut Lowering, node: &Node) -> Lowered {
        let (run, params, (inputs, outputs)) = match to.scheme.is_half() {
            true => to.any_half_cell(node, self)?,
            false => to.any_cell(node, self)?,
        };
        let (k, hidden) = (to.channels(node.inputs[0]), run.hidden);
        let cells = if self.cell.is_lstm() { hidden } else { 0 };
        let before = self.cell == Cell::GruResetBefore;
        let scratch = match to.scheme.is_half() {
            true => {
                let reset = if before { hidden } else { 0 };
                to.f32_scratch(node, k + hidden + cells + reset)
            }
            false => {
                let units = if before { 3 } else { 2 } * pairs_len(hidden);
                let len = cells + (pairs_len(k) + units) / 2;
                Some(to.program.scratch(&node.name, DType::I32, len))
            }
        };
        to.op(
            &node.name,
            OpKind::Recurrent,
            inputs,
            outputs,
            scratch,
            &*params,
        )
    }
}
