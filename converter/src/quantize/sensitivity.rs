//! Which values need 16 bits: measured with the runtime itself on calibration data.
//!
//! Starting with all values in int16, the search makes one group of values (see [`adjustable`]) int8 at a time and measures the error power
//! that this adds to the model's outputs: one run per group. Errors of different values are independent, so their powers add up and predict
//! the cost of any choice without more runs. Starting from int8, it then widens the worst groups while the gain is worth it.

use super::choices::{Choices, Group, adjustable, schemes};
use crate::bundle::float::Bundle;
use crate::bundle::run::Run;
use crate::bundle::samples::Samples;
use crate::calibrate::Distribution;
use crate::emit::{Metadata, emit};
use crate::error::{ConvertError, Result};
use crate::graph::ValueId;
use crate::lower::{Form, Link, Part, Tables, lower};
use crate::plan::plan;
use crate::progress::{Phase, Progress, Step};
use crate::runner::{self, AlignedBytes, ModelFile};
use attn_runtime::Session;
use std::rc::Rc;

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

/// The models, and what calibration has seen of their values.
pub struct Measure<'m, 'b> {
    /// The models in float.
    pub bundle: &'m mut Bundle<'b>,
    /// Values that pass between them.
    pub links: &'m [Link],
    /// Of all values of each model.
    pub distributions: &'m [Vec<Distribution>],
    /// Tables of functions, made once for all choices.
    pub tables: Rc<Tables>,
}

/// Samples as the models run over them, with all outputs that the caller sees.
struct Recorded {
    samples: Vec<(usize, Vec<Run>)>,
    exact: Vec<f32>,
}

impl Measure<'_, '_> {
    fn record(&mut self, samples: &Samples, count: usize) -> Result<Recorded> {
        let graphs = self.bundle.graphs_for_caller();
        let (mut exact, mut recorded) = (Vec::new(), Vec::new());
        for sample in samples.spread(count) {
            let mut runs = Vec::new();
            self.bundle.run(sample, |run, elements| {
                runs.push(run.clone());
                for id in &graphs[run.part].outputs {
                    exact.extend(&elements[id.0].values);
                }
                Ok(())
            })?;
            recorded.push((sample.length, runs));
        }
        Ok(Recorded {
            samples: recorded,
            exact,
        })
    }

    /// All outputs of all samples from the models quantized by `choices`, each run over as many rows at once as in float.
    fn outputs(&self, recorded: &Recorded, choices: &[Choices]) -> Result<Vec<f32>> {
        let graphs = self.bundle.graphs_for_caller();
        let schemes = schemes(&graphs, self.links, self.distributions, choices);
        let schemes = schemes.into_iter();
        let schemes: Vec<_> =
            (schemes.map(|scheme| scheme.with_tables(self.tables.clone()))).collect();
        let part = |part: usize| Part {
            name: &self.bundle.names[part],
            graph: &graphs[part],
            scheme: &schemes[part],
            form: Form::Window,
        };
        let parts: Vec<Part> = (0..graphs.len()).map(part).collect();
        let program = lower(&parts, self.links, self.bundle.max_length)?;
        let bytes = emit(&program, &plan(&program), &Metadata::default())?;
        let file = ModelFile::new(&bytes).map_err(|source| ConvertError::Model {
            path: self.bundle.manifest.path().into(),
            source,
        })?;
        let mut arena = AlignedBytes::zeroed(file.model().arena_len());
        let mut session = Session::new(file.model(), arena.as_mut_slice())?;
        let mut outputs = Vec::with_capacity(recorded.exact.len());
        for (length, runs) in &recorded.samples {
            session.reset();
            if self.bundle.max_length > 0 {
                session.set_length(*length)?;
            }
            for run in runs {
                runner::give(&mut session, run.part, &run.given)?;
                session.run(run.part)?;
                for (index, id) in graphs[run.part].outputs.iter().enumerate() {
                    let mut values = runner::output(&session, run.part, index)?;
                    values.truncate(self.bundle.elements_of(run, *id, values.len()));
                    outputs.extend(values);
                }
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

/// Finds the values to widen, adds them to the `choices` of their part, and gives them with what each is worth, by part.
///
/// # Errors
/// Those of lowering and of the float run.
pub fn widen(
    mut measure: Measure,
    samples: &Samples,
    choices: &mut [Choices],
    progress: Progress,
) -> Result<Vec<Vec<Widened>>> {
    let mut groups: Vec<(usize, Group)> = Vec::new();
    for (part, (graph, choice)) in measure.bundle.graphs.iter().zip(&*choices).enumerate() {
        let inputs = measure.links.iter().map(|link| link.to);
        let inputs: Vec<_> = inputs.filter(|to| to.0 == part).map(|to| to.1).collect();
        let mut own = adjustable(graph, choice.audio);
        // What another part gives is held as that has it.
        own.retain(|group| !group.values.iter().all(|id| inputs.contains(id)));
        groups.extend(own.into_iter().map(|group| (part, group)));
    }
    let count = (RUNS / groups.len().max(1)).clamp(*SAMPLES.start(), *SAMPLES.end());
    let recorded = measure.record(samples, count)?;
    let total = groups.len() + 1;
    let step = |done| progress(Step::of(Phase::Sensitivity, done, total));
    let mut widest = choices.to_vec();
    for (part, group) in &groups {
        widest[*part].wide.extend(&group.values);
    }
    let base = measure.outputs(&recorded, &widest)?;
    step(1);
    let mut candidates = Vec::new();
    for (number, (part, group)) in groups.into_iter().enumerate() {
        let mut narrower = widest.clone();
        let wide = &mut narrower[part].wide;
        wide.retain(|id| !group.values.contains(id));
        let noise = power(&measure.outputs(&recorded, &narrower)?, &base);
        candidates.push(Candidate { part, group, noise });
        step(number + 2);
    }
    let exact = &recorded.exact;
    let signal = power(exact, &vec![0.0; exact.len()]);
    let mut widened = vec![Vec::new(); choices.len()];
    for (part, group, gain_db) in choose(candidates, signal, power(exact, &base)) {
        choices[part].wide.extend(&group.values);
        let values = group.values.into_iter();
        widened[part].extend(values.map(|value| Widened { value, gain_db }));
    }
    Ok(widened)
}

/// A group, with the error power that int8 adds to the outputs.
struct Candidate {
    part: usize,
    group: Group,
    noise: f64,
}

/// The groups to widen with their parts and gains in dB, in the order of choice. `fixed` is the error that stays.
fn choose(mut candidates: Vec<Candidate>, signal: f64, fixed: f64) -> Vec<(usize, Group, f64)> {
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
        let Candidate { part, group, .. } = candidates.remove(at);
        chosen.push((part, group, gain_db));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidates(noises: &[(f64, bool)]) -> Vec<Candidate> {
        let candidate = |(id, &(noise, costly)): (usize, &(f64, bool))| Candidate {
            part: 0,
            group: Group {
                values: [ValueId(id)].into(),
                costly,
            },
            noise,
        };
        noises.iter().enumerate().map(candidate).collect()
    }

    fn ids(chosen: &[(usize, Group, f64)]) -> Vec<usize> {
        let first = |(_, group, _): &(usize, Group, f64)| group.values.first().map_or(0, |id| id.0);
        chosen.iter().map(first).collect()
    }

    #[test]
    fn what_adds_little_stays_in_int8() {
        let noises = [(0.3, false), (9.0, false), (0.1, false), (0.9, true)];
        let chosen = choose(candidates(&noises), 1e6, 1.0);
        // 9 of 11.3 are 6.9 dB, then 0.3 of 2.3 are 0.6 dB, 0.1 of 2 only 0.2 dB. The costly group is not widened without need.
        assert_eq!(ids(&chosen), [1, 0]);
        assert!((chosen[0].2 - 6.92).abs() < 0.01, "{}", chosen[0].2);
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
