//! Which values need 16 bits: measured with the runtime itself on calibration data.
//!
//! Starting with all values in int16, the search makes one group of values (see [`adjustable`]) int8 at a time and measures the error power
//! that this adds to the model's outputs: one run per group. Errors of different values are independent, so their powers add up and predict
//! the cost of any choice without more runs. Starting from int8, it then widens the worst groups while the gain is worth it.

use super::{Choices, Group, Scheme, adjustable};
use crate::calibrate::{Distribution, physical};
use crate::dataset::Dataset;
use crate::emit::{Metadata, emit};
use crate::error::ConvertError;
use crate::graph::{Graph, ValueId};
use crate::lower::{Form, lower};
use crate::plan::plan;
use crate::progress::{Phase, Progress, Step};
use crate::reference::Reference;
use crate::runner::{self, AlignedBytes, ModelFile};
use attn_runtime::Session;
use ndarray::ArrayD;

/// Gain in dB that is worth the bytes of an int16 tensor.
pub const WORTH_DB: f64 = 0.5;
/// Below this SQNR of the outputs, any gain is worth it, even slower operators: in a deep model no single value matters much.
pub const ENOUGH_DB: f64 = 32.0;
/// Limits on the samples per group, and inferences in the whole search. Deep models have many groups, so each can be measured roughly.
const SAMPLES: core::ops::RangeInclusive<usize> = 8..=48;
const RUNS: usize = 1000;

/// One value made int16.
#[derive(Clone, Debug)]
pub struct Widened {
    /// The value.
    pub value: ValueId,
    /// Gain in the outputs' SQNR in dB, for its whole group.
    pub gain_db: f64,
}

/// Samples with the outputs of the float model.
struct Measure<'m> {
    graph: &'m Graph,
    distributions: &'m [Distribution],
    inputs: Vec<Vec<ArrayD<f32>>>,
    /// All outputs of all samples.
    exact: Vec<f32>,
}

impl<'m> Measure<'m> {
    fn new(
        graph: &'m Graph,
        distributions: &'m [Distribution],
        reference: &Reference,
        data: &Dataset,
        samples: usize,
    ) -> Result<Self, ConvertError> {
        let mut measure = Self {
            graph,
            distributions,
            inputs: Vec::new(),
            exact: Vec::new(),
        };
        for index in data.spread(samples) {
            let inputs: Vec<_> = data.sample(index).iter().map(|x| x.to_owned()).collect();
            let values = reference.run(&inputs)?;
            for id in &graph.outputs {
                let output = physical(&graph.values[id.0], &values).unwrap_or_default();
                measure.exact.extend(output);
            }
            measure.inputs.push(inputs);
        }
        Ok(measure)
    }

    /// All outputs of all samples, from the model quantized by `choices`.
    fn outputs(&self, choices: &Choices) -> Result<Vec<f32>, ConvertError> {
        let scheme = Scheme::new(self.graph, self.distributions, choices);
        let program = lower(self.graph, &scheme, Form::Window)?;
        let bytes = emit(&program, &plan(&program), &Metadata::default())?;
        let file = ModelFile::new(&bytes).map_err(|source| ConvertError::Model {
            path: "(in memory)".into(),
            source,
        })?;
        let mut arena = AlignedBytes::zeroed(file.model().arena_len());
        let mut session = Session::new(file.model(), arena.as_mut_slice())?;
        let mut outputs = Vec::with_capacity(self.exact.len());
        for inputs in &self.inputs {
            for (index, input) in inputs.iter().enumerate() {
                runner::fill(&mut session, 0, index, input.iter())?;
            }
            session.run(0)?;
            for index in 0..self.graph.outputs.len() {
                outputs.extend(runner::output(&session, 0, index)?);
            }
        }
        Ok(outputs)
    }
}

fn power(a: &[f32], b: &[f32]) -> f64 {
    let square = |(&a, &b): (&f32, &f32)| (f64::from(a) - f64::from(b)).powi(2);
    // NaN and infinity in the float model are not counted.
    let squares = a.iter().zip(b).map(square);
    squares.filter(|square| square.is_finite()).sum()
}

/// Finds the values to widen and adds them to `choices`.
///
/// # Errors
/// Those of lowering and of the float run.
pub fn widen(
    graph: &Graph,
    distributions: &[Distribution],
    reference: &Reference,
    data: &Dataset,
    choices: &mut Choices,
    progress: Progress,
) -> Result<Vec<Widened>, ConvertError> {
    let groups = adjustable(graph, choices.audio);
    let samples = (RUNS / groups.len().max(1)).clamp(*SAMPLES.start(), *SAMPLES.end());
    let measure = Measure::new(graph, distributions, reference, data, samples)?;
    let total = groups.len() + 1;
    let step = |done| {
        progress(Step {
            phase: Phase::Sensitivity,
            done,
            total,
        })
    };
    let mut widest = choices.clone();
    let values = groups.iter().flat_map(|group| &group.values);
    widest.wide.extend(values);
    let base = measure.outputs(&widest)?;
    step(1);
    let mut candidates = Vec::new();
    for (number, group) in groups.into_iter().enumerate() {
        let mut narrower = widest.clone();
        narrower.wide.retain(|id| !group.values.contains(id));
        let noise = power(&measure.outputs(&narrower)?, &base);
        candidates.push(Candidate { group, noise });
        step(number + 2);
    }
    let signal = power(&measure.exact, &vec![0.0; measure.exact.len()]);
    let chosen = choose(candidates, signal, power(&measure.exact, &base));
    let widened = chosen.into_iter().flat_map(|(group, gain_db)| {
        (group.values.into_iter()).map(move |value| Widened { value, gain_db })
    });
    let widened: Vec<_> = widened.collect();
    choices.wide.extend(widened.iter().map(|wide| wide.value));
    Ok(widened)
}

/// A group, with the error power that int8 adds to the outputs.
struct Candidate {
    group: Group,
    noise: f64,
}

/// The groups to widen with their gains in dB, in the order of choice. `fixed` is the error that remains.
fn choose(mut candidates: Vec<Candidate>, signal: f64, fixed: f64) -> Vec<(Group, f64)> {
    candidates.sort_by(|a, b| b.noise.total_cmp(&a.noise));
    let mut chosen = Vec::new();
    loop {
        let noise = fixed + candidates.iter().map(|c| c.noise).sum::<f64>();
        let gain =
            |c: &Candidate| 10.0 * (noise / (noise - c.noise).max(f64::MIN_POSITIVE)).log10();
        let enough = 10.0 * (signal / noise).log10() >= ENOUGH_DB;
        let worth = |c: &Candidate| match enough {
            true => !c.group.costly && gain(c) >= WORTH_DB,
            false => c.noise > 0.0,
        };
        let Some(at) = candidates.iter().position(worth) else {
            return chosen;
        };
        let gain_db = gain(&candidates[at]);
        chosen.push((candidates.remove(at).group, gain_db));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidates(noises: &[(f64, bool)]) -> Vec<Candidate> {
        let candidate = |(id, &(noise, costly)): (usize, &(f64, bool))| Candidate {
            group: Group {
                values: [ValueId(id)].into(),
                costly,
            },
            noise,
        };
        noises.iter().enumerate().map(candidate).collect()
    }

    fn ids(chosen: &[(Group, f64)]) -> Vec<usize> {
        let first = |(group, _): &(Group, f64)| group.values.first().map_or(0, |id| id.0);
        chosen.iter().map(first).collect()
    }

    #[test]
    fn what_adds_little_stays_in_int8() {
        let noises = [(0.3, false), (9.0, false), (0.1, false), (0.9, true)];
        let chosen = choose(candidates(&noises), 1e6, 1.0);
        // 9 of 11.3 are 6.9 dB, then 0.3 of 2.3 are 0.6 dB, 0.1 of 2 only 0.2 dB. The costly group is not widened without need.
        assert_eq!(ids(&chosen), [1, 0]);
        assert!((chosen[0].1 - 6.92).abs() < 0.01, "{}", chosen[0].1);
        assert_eq!(ids(&choose(candidates(&noises), 3e3, 1.0)), [1, 3, 0]);
    }

    #[test]
    fn many_small_errors_are_taken_off_until_it_is_enough() {
        let small = [(1.0, false); 200];
        assert_eq!(choose(candidates(&small), 1e6, 10.0).len(), 0);
        // 32 dB below 1e5 are 63.1: of 210, 147 have to go.
        assert_eq!(choose(candidates(&small), 1e5, 10.0).len(), 147);
    }
}
