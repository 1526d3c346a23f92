//! Quantization: from float ranges and weights to integers.
//!
//! [`Scheme`] says how every value is held, by [`choices`]; [`weights`] turns weight matrices into packed int8 with biases and
//! multipliers; [`inputs`], [`moments`] and [`rounding`] make rounded weights make up for each other's errors; [`sensitivity`] finds the values
//! that need 16 bits. The arithmetic is written down in `docs/reference/numerics.md`.

pub mod candidates;
pub mod choices;
pub mod cholesky;
pub mod exponents;
mod held;
pub mod inputs;
pub mod moments;
pub mod parts;
pub mod pinned;
pub mod rerun;
pub mod rounding;
pub mod sensitivity;
pub mod steps;
pub mod weights;

use crate::calibrate::Distribution;
use crate::graph::facts::{Held, Second, Step};
use crate::graph::{Graph, Node, ValueId};
use crate::lower::Tables;
use attn_runtime::audio::FEATURE_SCALE;
use attn_runtime::format::DType;
use choices::Choices;
use held::{cell_from, mean_of, narrow, wide};
pub use held::{cell_of, state_of};
use inputs::{Inputs, Side};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use steps::{Memory, Rounding};

/// Scale of a GRU's state and output: Q15.
const STATE_SCALE: f32 = 1.0 / 32768.0;
/// Scale of a softmax's probabilities: 32767 is 1.
const PROBABILITY_SCALE: f32 = 1.0 / 32767.0;
/// Range of an LSTM's cell without calibration data.
const CELL_LIMIT: f32 = 16.0;
/// Headroom of int16 values beyond the range seen in calibration; they have resolution to spare.
const INT16_HEADROOM: f32 = 2.0;

/// The arithmetic of a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// int8 weights and activations, int16 where measured sensitivity asks for it.
    #[default]
    Int8,
    /// int8 weights, int16 activations throughout.
    Int16x8,
    /// IEEE half-precision weights and activations, for chips with a floating-point unit.
    Fp16,
}

/// Type and scale of the state of a recurrent layer.
pub const STATE: Quant = Quant::scaled_int16(STATE_SCALE);

/// How a value is held in integers: `real = scale * (q - zero_point)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quant {
    /// Element type.
    pub dtype: DType,
    /// Real value of one step.
    pub scale: f32,
    /// The integer that represents 0.0.
    pub zero_point: i32,
}

impl Quant {
    /// int8 over `[low, high]`, which contains 0; asymmetric.
    pub fn int8((low, high): (f32, f32)) -> Self {
        let span = high - low;
        let scale = if span > 0.0 { span / 255.0 } else { 1.0 };
        let zero_point = (-128.0 - f64::from(low) / f64::from(scale))
            .round()
            .clamp(-128.0, 127.0);
        Self {
            dtype: DType::I8,
            scale,
            zero_point: zero_point as i32,
        }
    }

    /// int16 over `[-limit, limit]`.
    pub fn int16(limit: f32) -> Self {
        let scale = if limit > 0.0 { limit / 32767.0 } else { 1.0 };
        Self {
            dtype: DType::I16,
            scale,
            zero_point: 0,
        }
    }

    /// int16 with this real value of one step.
    pub const fn scaled_int16(scale: f32) -> Self {
        Self {
            dtype: DType::I16,
            scale,
            zero_point: 0,
        }
    }

    /// A counter, or the number of a token.
    pub const COUNTER: Self = Self {
        dtype: DType::I32,
        scale: 1.0,
        zero_point: 0,
    };

    /// Half precision: values without scale and zero point.
    pub const HALF: Self = Self {
        dtype: DType::F16,
        scale: 1.0,
        zero_point: 0,
    };

    /// Smallest and largest integer of the type.
    pub fn limits(&self) -> (i32, i32) {
        match self.dtype {
            DType::I8 => (i8::MIN.into(), i8::MAX.into()),
            DType::I16 => (i16::MIN.into(), i16::MAX.into()),
            DType::I32 => (i32::MIN, i32::MAX),
            DType::F16 => (-65504, 65504),
        }
    }

    /// Largest magnitude of `q`.
    pub fn magnitude(&self) -> i64 {
        -i64::from(self.limits().0)
    }

    /// The integer nearest to `x`; infinities give the type's limits.
    pub fn quantize(&self, x: f32) -> i32 {
        let (min, max) = self.limits();
        let q = (f64::from(x) / f64::from(self.scale)).round() + f64::from(self.zero_point);
        q.clamp(min.into(), max.into()) as i32
    }

    /// The real value of `q`.
    pub fn dequantize(&self, q: i32) -> f32 {
        (f64::from(self.scale) * f64::from(q.wrapping_sub(self.zero_point))) as f32
    }
}

/// How each value of a graph is held.
#[derive(Clone, Debug)]
pub struct Scheme {
    held: Vec<Quant>,
    narrow: Vec<Quant>,
    wide: BTreeSet<ValueId>,
    two_parts: BTreeSet<ValueId>,
    /// Of LSTMs, by their first results.
    cells: BTreeMap<ValueId, Quant>,
    /// For half precision, the range of every value in calibration.
    half: Option<Vec<(f32, f32)>>,
    fine: bool,
    /// Where weights are rounded in little time: what was rounded before.
    quick: Option<Rc<Memory>>,
    inputs: Rc<Inputs>,
    tables: Rc<Tables>,
}

impl Scheme {
    /// Decides for every value.
    pub fn new(graph: &Graph, distributions: &[Distribution], choices: &Choices) -> Self {
        let narrow: Vec<Quant> = distributions.iter().map(|d| narrow(d, choices)).collect();
        let mut scheme = Self {
            held: narrow.clone(),
            narrow,
            wide: choices.wide.clone(),
            two_parts: choices.two_parts.clone(),
            cells: BTreeMap::new(),
            half: None,
            fine: false,
            quick: None,
            inputs: Rc::default(),
            tables: Rc::default(),
        };
        for &id in &choices.wide {
            scheme.held[id.0] = wide(&distributions[id.0]);
        }
        if choices.audio {
            let features = Quant {
                dtype: DType::I8,
                scale: FEATURE_SCALE,
                zero_point: 0,
            };
            graph
                .inputs
                .iter()
                .for_each(|input| scheme.held[input.0] = features);
        }
        for token in &graph.tokens {
            scheme.held[token.0] = Quant::COUNTER;
        }
        for (input, &quant) in &choices.given {
            scheme.held[input.0] = quant;
        }
        for node in &graph.nodes {
            scheme.hold(graph, node, distributions);
        }
        scheme
    }

    /// Decides how the results of a node are held, from how its inputs are.
    fn hold(&mut self, graph: &Graph, node: &Node, distributions: &[Distribution]) {
        let facts = graph.facts(node);
        let fixed = match facts.held {
            Held::Free => {
                self.coarsen(graph, node);
                None
            }
            Held::Plain => None,
            Held::FreeBySums => {
                let weights = node.inputs[0];
                if let Some(values) = graph.constant(weights) {
                    // Their sum has 15 bits, so sums of products with int16 fit in 32.
                    let channels = graph.values[weights.0].channels();
                    let sum = |row: &[f32]| row.iter().map(|w| w.abs()).sum::<f32>();
                    let limit = values.chunks(channels).map(sum).fold(0.0, f32::max);
                    self.held[weights.0] = Quant::int16(limit);
                }
                None
            }
            Held::AsInput => Some(self.of(node.inputs[0])),
            Held::State(_) => Some(state_of(graph, node, distributions)),
            Held::Probability => Some(Quant::scaled_int16(PROBABILITY_SCALE)),
            // A table maps int8 to int8 or int16 to int16.
            Held::Table if self.all_int16(&node.inputs) => None,
            Held::Table => Some(self.narrow[node.output.0]),
            Held::Window if self.all_int16(&node.inputs[1..3]) => Some(self.of(node.inputs[2])),
            Held::Window => Some(mean_of(self.int8_of(node.inputs[2]))),
            Held::Mean => Some(mean_of(self.of(node.inputs[2]))),
            Held::Index => Some(Quant::COUNTER),
        };
        if let Some(fixed) = fixed {
            self.held[node.output.0] = fixed;
        }
        if let Held::State(_) = facts.held {
            self.hold_first(graph, node, 1, self.of(node.output));
        }
        let second = match facts.second {
            Second::None => return,
            Second::Cell => {
                let cell = cell_from(node, distributions);
                self.cells.insert(node.output, cell);
                self.hold_first(graph, node, 2, cell);
                cell
            }
            Second::Weights => Quant::scaled_int16(PROBABILITY_SCALE),
        };
        if let Some(id) = node.second {
            self.held[id.0] = second;
        }
    }

    /// A constant from which a recurrent layer starts is held as the layer holds it.
    fn hold_first(&mut self, graph: &Graph, layer: &Node, slot: usize, quant: Quant) {
        let first = layer.inputs.get(slot);
        if let Some(first) = first.filter(|&&id| graph.constant(id).is_some()) {
            self.held[first.0] = quant;
        }
    }

    /// A result that hardly varied in calibration gets a scale that its operator can make of its inputs.
    fn coarsen(&mut self, graph: &Graph, node: &Node) {
        let held = |id: &ValueId| self.of(*id);
        let step = |quant: Quant| Step {
            scale: quant.scale.into(),
            largest: (quant.magnitude() + i64::from(quant.zero_point.abs())) as f64,
        };
        let inputs: Vec<Step> = node.inputs.iter().map(held).map(step).collect();
        let len = |id: ValueId| graph.values[id.0].len().max(1);
        let n = node
            .inputs
            .first()
            .map_or(1, |&x| len(x) / len(node.output));
        let finest = node.op.finest(&inputs, n.max(1)) as f32;
        for quants in [&mut self.held, &mut self.narrow] {
            let quant = &mut quants[node.output.0];
            quant.scale = quant.scale.max(finest);
        }
    }

    /// Everything in half precision, except numbers of tokens.
    pub fn half(graph: &Graph, distributions: &[Distribution]) -> Self {
        let mut all = vec![Quant::HALF; distributions.len()];
        for token in &graph.tokens {
            all[token.0] = Quant::COUNTER;
        }
        for node in &graph.nodes {
            let held = graph.facts(node).held;
            let token = node
                .inputs
                .first()
                .is_some_and(|x| all[x.0] == Quant::COUNTER);
            if held == Held::Index || (held == Held::AsInput && token) {
                all[node.output.0] = Quant::COUNTER;
            }
        }
        let ranges = distributions.iter().map(|d| (d.min, d.max)).collect();
        Self {
            held: all.clone(),
            narrow: all,
            wide: BTreeSet::new(),
            two_parts: BTreeSet::new(),
            cells: BTreeMap::new(),
            half: Some(ranges),
            fine: false,
            quick: None,
            inputs: Rc::default(),
            tables: Rc::default(),
        }
    }

    /// True when values are held in half precision.
    pub fn is_half(&self) -> bool {
        self.half.is_some()
    }

    /// The range of a value in calibration, in a scheme of half precision; it contains 0.
    pub fn half_range(&self, value: ValueId) -> (f32, f32) {
        let ranges = self.half.as_deref().unwrap_or_default();
        ranges.get(value.0).copied().unwrap_or((0.0, 0.0))
    }

    /// The same with the best scale for every row of weights. Finding them takes time, so only the final file uses it.
    pub fn fine(self) -> Self {
        Self { fine: true, ..self }
    }

    /// The same as [`Scheme::fine`], and the errors of weights compensate each other on these `inputs`.
    pub fn compensated(self, inputs: Rc<Inputs>) -> Self {
        let fine = true;
        Self {
            fine,
            inputs,
            ..self
        }
    }

    /// The same with less time for the rounding of weights, and a little more error: for files that are only measured.
    pub fn quick(self, memory: Rc<Memory>) -> Self {
        let quick = Some(memory);
        Self { quick, ..self }
    }

    /// The same, with these tables of functions at hand: schemes of one search share most of them.
    pub fn with_tables(self, tables: Rc<Tables>) -> Self {
        Self { tables, ..self }
    }

    /// The tables of functions that lowering has made.
    pub fn tables(&self) -> &Tables {
        &self.tables
    }

    /// How the matrix on one side of a node is rounded.
    pub fn rounding(&self, graph: &Graph, node: &Node, side: Side) -> Rounding<'_> {
        let moments = self.inputs.of(graph, node, side);
        let compensation = moments.and_then(|moments| moments.compensation());
        match (compensation, &self.quick) {
            (Some(compensation), Some(memory)) => Rounding::Quick(Some(compensation), memory),
            (Some(compensation), None) => Rounding::Compensated(compensation),
            (None, _) => self.uncompensated(),
        }
    }

    /// How weights are rounded whose inputs are not known.
    pub fn uncompensated(&self) -> Rounding<'_> {
        match &self.quick {
            Some(memory) => Rounding::Quick(None, memory),
            None if self.fine => Rounding::BestScale,
            None => Rounding::Nearest,
        }
    }

    /// How a value is held.
    pub fn of(&self, value: ValueId) -> Quant {
        self.held[value.0]
    }

    /// True if all `values` are held in int16 by choice: keys and values, or a function's input and result. For these, int16 costs more
    /// than memory.
    pub fn all_int16(&self, values: &[ValueId]) -> bool {
        let chosen = |id: &ValueId| self.wide.contains(id) && self.of(*id).dtype == DType::I16;
        values.iter().all(chosen)
    }

    /// True for the result of a layer whose weights have two parts of 8 bits.
    pub fn has_two_parts(&self, value: ValueId) -> bool {
        self.two_parts.contains(&value)
    }

    /// How an attention's window holds keys or values: unchanged if both are `wide`, else in int8.
    pub fn of_window(&self, value: ValueId, wide: bool) -> Quant {
        match wide {
            true => self.of(value),
            false => self.int8_of(value),
        }
    }

    /// How the cell of an LSTM is held.
    pub fn cell(&self, node: &Node) -> Quant {
        let known = self.cells.get(&node.output).copied();
        known.unwrap_or(Quant::int16(CELL_LIMIT))
    }

    /// How a value is held for an operator that takes only int8: unchanged, or as an int8 copy.
    pub fn int8_of(&self, value: ValueId) -> Quant {
        let held = self.held[value.0];
        if held.dtype == DType::I8 {
            held
        } else {
            self.narrow[value.0]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_is_exact_and_the_range_is_covered() {
        for range in [(-1.0, 3.0), (0.0, 6.0), (-2.5, 0.0), (0.0, 0.0)] {
            let quant = Quant::int8(range);
            assert_eq!(quant.dequantize(quant.zero_point), 0.0);
            for x in [range.0, range.1] {
                let error = (quant.dequantize(quant.quantize(x)) - x).abs();
                assert!(error <= quant.scale * 0.5001, "{x} is off by {error}");
            }
        }
        assert_eq!(Quant::int16(1.0).quantize(f32::NEG_INFINITY), -32768);
    }
}
