//! Which values need 16 bits: measured with the runtime itself on calibration data.
//!
//! Starting with all values in int16, the search makes one group of values (see [`adjustable`]) int8 at a time and measures the error power
//! that this adds to the model's outputs, from that value on ([`super::rerun`]). Errors of different values are independent, so their powers
//! add up and predict the cost of any choice without more runs. Starting from int8, it then widens the worst groups while the gain is worth
//! it, and sees that the outputs come out as predicted.

use super::candidates::{Candidate, Candidates, ENOUGH_DB, ENOUGH_TO_DECODE_DB, picks, ratio_db};
use super::choices::{Choices, Group, adjustable, schemes};
use super::inputs::Inputs;
use super::rerun::{Recorded, Runner};
use super::steps::Memory;
use crate::bundle::float::Bundle;
use crate::calibrate::{Distribution, RangeMethod};
use crate::error::Result;
use crate::graph::{Graph, ValueId};
use crate::lower::{Form, Link, Part, Tables, lower};
use crate::program::Program;
use crate::progress::{Phase, Progress, Step};
use std::rc::Rc;

/// Limits on the samples per group, and inferences in the whole search. Deep models have many groups, so each can be measured roughly.
const SAMPLES: core::ops::RangeInclusive<usize> = 8..=48;
const RUNS: usize = 1000;
/// Neighbours are measured together in a model of more groups.
const MOST_GROUPS: usize = 256;
/// Whole ranges are taken where all of them together gain this in dB.
const FAR_LESS_DB: f64 = 3.0;
/// How often the outcome of a choice is measured, and the choice corrected.
const ROUNDS: usize = 3;

/// One value made int16, or the result of a layer whose weights have two parts.
#[derive(Clone, Debug)]
pub struct Widened {
    /// The value.
    pub value: ValueId,
    /// What 8 bits would cost here, in dB of the outputs' SQNR, for its whole group.
    pub gain_db: f64,
}

/// The models, and what calibration has seen of their values.
#[derive(Clone, Copy)]
pub struct Measure<'m, 'b> {
    /// The models in float.
    pub bundle: &'m Bundle<'b>,
    /// Values that pass between them.
    pub links: &'m [Link],
    /// Of all values of each model.
    pub distributions: &'m [Vec<Distribution>],
    /// Of the inputs of all weights.
    pub inputs: &'m [Rc<Inputs>],
    /// Weights that were rounded before.
    pub memory: &'m Rc<Memory>,
    /// Samples to measure on.
    pub samples: &'m [Recorded],
}

/// How weights are rounded.
#[derive(Clone, Copy)]
enum Weights {
    /// To nearest.
    Plain,
    /// Nearly as in the file.
    Rounded,
}

/// The models in integers, over samples.
pub(super) struct Trials<'m, 'b> {
    measure: Measure<'m, 'b>,
    graphs: Vec<Graph>,
    /// Tables of functions, made once for all choices.
    tables: Rc<Tables>,
}

impl<'m, 'b> Trials<'m, 'b> {
    pub(super) fn new(measure: Measure<'m, 'b>) -> Self {
        Self {
            graphs: measure.bundle.graphs_for_caller(),
            measure,
            tables: Rc::default(),
        }
    }

    /// The models quantized by `choices`, each to run over as many rows at once as in float.
    fn program(&self, choices: &[Choices], weights: Weights) -> Result<Program> {
        let Measure {
            bundle,
            links,
            distributions,
            ..
        } = self.measure;
        let schemes = schemes(&self.graphs, links, distributions, choices).into_iter();
        let rounded = schemes.zip(self.measure.inputs).map(|(scheme, inputs)| {
            let scheme = scheme.with_tables(self.tables.clone());
            match weights {
                Weights::Plain => scheme,
                Weights::Rounded => scheme
                    .compensated(inputs.clone())
                    .quick(self.measure.memory.clone()),
            }
        });
        let schemes: Vec<_> = rounded.collect();
        let part = |part: usize| Part {
            name: &bundle.names[part],
            graph: &self.graphs[part],
            scheme: &schemes[part],
            form: Form::Window,
        };
        let parts: Vec<Part> = (0..self.graphs.len()).map(part).collect();
        lower(&parts, links, bundle.max_length, false)
    }

    fn runner(&self) -> Runner<'_, '_> {
        Runner {
            bundle: self.measure.bundle,
            graphs: &self.graphs,
        }
    }

    /// Power of the errors of each sample.
    pub(super) fn errors(&self, choices: &[Choices]) -> Result<Vec<f64>> {
        let samples: Vec<&Recorded> = self.measure.samples.iter().collect();
        let program = self.program(choices, Weights::Rounded)?;
        let outputs = self.runner().outputs(&program, &samples, None)?;
        let pairs = outputs.iter().zip(&samples);
        Ok(pairs
            .map(|(got, sample)| power(got, &sample.exact))
            .collect())
    }

    /// Power of the errors of each sample when all groups are int8. Settles the way in which ranges are chosen: whole ranges, if they
    /// have far less error. Clipping shows here, since it takes the same off many values in a row.
    fn narrow(&self, choices: &mut [Choices]) -> Result<Vec<f64>> {
        let errors = self.errors(choices)?;
        // What listens all the time has the scale of features, and the ranges that its figures were measured with.
        let settled = |choice: &Choices| choice.range != RangeMethod::Measured || choice.audio;
        if choices.iter().any(settled) {
            return Ok(errors);
        }
        let mut whole = choices.to_vec();
        whole
            .iter_mut()
            .for_each(|choice| choice.range = RangeMethod::MinMax);
        let others = self.errors(&whole)?;
        let [power, other] = [&errors, &others].map(|errors| errors.iter().sum::<f64>());
        if ratio_db(power, other) < FAR_LESS_DB {
            return Ok(errors);
        }
        choices.clone_from_slice(&whole);
        Ok(others)
    }

    /// The groups with the power that each adds to the errors when it alone is int8, the largest first. Powers are of all samples; measured are `picks`, by number, with the number of samples that each stands for. `step` is called once
    /// before the first group and after each.
    fn candidates(
        &self,
        groups: Vec<(usize, Group)>,
        narrowest: &[Choices],
        picks: &[(usize, f64)],
        step: &dyn Fn(),
    ) -> Result<Candidates> {
        let mut widest = narrowest.to_vec();
        for (part, group) in &groups {
            widest[*part].wide.extend(&group.values);
        }
        let runner = self.runner();
        let samples: Vec<&Recorded> = (picks.iter())
            .map(|&(number, _)| &self.measure.samples[number])
            .collect();
        let weighted = |powers: &mut dyn Iterator<Item = f64>| -> f64 {
            powers.zip(picks).map(|(power, pick)| power * pick.1).sum()
        };
        let errors = |outputs: &[Vec<f32>]| {
            let pairs = outputs.iter().zip(&samples);
            weighted(&mut pairs.map(|(got, sample)| power(got, &sample.exact)))
        };
        let plain = self.program(&widest, Weights::Plain)?;
        let plain = errors(&runner.outputs(&plain, &samples, None)?);
        let widest_program = self.program(&widest, Weights::Rounded)?;
        let (base, exact) = runner.record(widest_program, &samples)?;
        let fixed = errors(&exact);
        step();
        let noise = |part: usize, group: &Group| -> Result<f64> {
            let mut narrower = widest.clone();
            let stays = &narrowest[part].wide;
            let wide = &mut narrower[part].wide;
            wide.retain(|id| stays.contains(id) || !group.values.contains(id));
            let program = self.program(&narrower, Weights::Rounded)?;
            let outputs = runner.outputs(&program, &samples, Some(&base))?;
            let added = outputs
                .iter()
                .zip(&exact)
                .map(|(got, base)| power(got, base));
            Ok(weighted(&mut { added }))
        };
        let mut all = Vec::new();
        for (part, group) in groups {
            let noise = noise(part, &group)?;
            step();
            all.push(Candidate { part, group, noise });
        }
        all.sort_by(|a, b| b.noise.total_cmp(&a.noise));
        Ok(Candidates {
            all,
            signal: self.signal(),
            fixed,
            plain,
            enough_db: self.enough_db(narrowest),
        })
    }

    /// What SQNR of the outputs is enough, if any is.
    fn enough_db(&self, choices: &[Choices]) -> Option<f64> {
        let listens = choices.iter().any(|choice| choice.audio);
        let decodes = self.measure.bundle.decoding.is_some();
        match (decodes, listens) {
            (true, _) => Some(ENOUGH_TO_DECODE_DB),
            (false, true) => None,
            (false, false) => Some(ENOUGH_DB),
        }
    }

    /// Power of the exact outputs.
    pub(super) fn signal(&self) -> f64 {
        let samples = self.measure.samples.iter();
        let square = |x: &f32| f64::from(*x).powi(2);
        let squares = samples.flat_map(|sample| sample.exact.iter().map(square));
        squares.filter(|square| square.is_finite()).sum()
    }
}

/// Power of a difference.
fn power(a: &[f32], b: &[f32]) -> f64 {
    let square = |(&a, &b): (&f32, &f32)| (f64::from(a) - f64::from(b)).powi(2);
    // NaN and infinity in the float model are not counted.
    let squares = a.iter().zip(b).map(square);
    squares.filter(|square| square.is_finite()).sum()
}

/// Finds the values to widen, adds them to the `choices` of their part, and gives them with what each is worth, by part.
///
/// # Errors
/// Those of lowering.
pub fn widen(
    measure: Measure,
    choices: &mut [Choices],
    progress: Progress,
) -> Result<Vec<Vec<Widened>>> {
    let groups = groups(&measure, choices);
    let trials = Trials::new(measure);
    let total = groups.len() + 2 + ROUNDS;
    let done = std::cell::Cell::new(0);
    let step = || {
        done.set(done.get() + 1);
        progress(Step::of(Phase::Sensitivity, done.get(), total));
    };
    let samples = trials.measure.samples;
    let count = (RUNS / groups.len().max(1)).clamp(*SAMPLES.start(), *SAMPLES.end());
    let errors = trials
        .narrow(choices)
        .unwrap_or_else(|_| vec![1.0; samples.len()]);
    let picks = picks(&errors, count);
    step();
    let candidates = trials.candidates(groups, choices, &picks, &step)?;
    let mut chosen = candidates.choose(1.0);
    for _ in 0..ROUNDS {
        let errors = trials.errors(&candidates.with(choices, &chosen))?;
        step();
        let (errors, predicted) = (errors.iter().sum(), candidates.left(&chosen));
        let db = ratio_db(candidates.signal, errors);
        if candidates.enough_db.is_none_or(|enough| db >= enough) || predicted <= 0.0 {
            break;
        }
        let more = candidates.choose(errors / predicted);
        if more.len() <= chosen.len() {
            break;
        }
        chosen = more;
    }
    progress(Step::of(Phase::Sensitivity, total, total));
    let noise = candidates.left(&chosen);
    let mut widened = vec![Vec::new(); choices.len()];
    for candidate in chosen.iter().map(|&at| &candidates.all[at]) {
        let gain_db = ratio_db(noise + candidate.noise, noise);
        let values = candidate.group.values.iter();
        let values = values.filter(|id| !choices[candidate.part].wide.contains(id));
        widened[candidate.part].extend(values.map(|&value| Widened { value, gain_db }));
    }
    let wide = candidates.with(choices, &chosen);
    choices.clone_from_slice(&wide);
    Ok(widened)
}

/// The groups whose width is open, by part.
fn groups(measure: &Measure, choices: &[Choices]) -> Vec<(usize, Group)> {
    let mut groups: Vec<(usize, Group)> = Vec::new();
    for (part, (graph, choice)) in measure.bundle.graphs.iter().zip(choices).enumerate() {
        let inputs = measure.links.iter().map(|link| link.to);
        let inputs: Vec<_> = inputs.filter(|to| to.0 == part).map(|to| to.1).collect();
        let mut own = adjustable(graph, choice.audio);
        // What another part gives is held as that has it.
        own.retain(|group| !group.values.iter().all(|id| inputs.contains(id)));
        own.retain(|group| !group.values.iter().all(|id| choice.wide.contains(id)));
        own.retain(|group| group.values.is_disjoint(&choice.narrow));
        groups.extend(own.into_iter().map(|group| (part, group)));
    }
    joined(groups)
}

/// At most about [`MOST_GROUPS`]: neighbours of one part that cost alike are one group.
fn joined(groups: Vec<(usize, Group)>) -> Vec<(usize, Group)> {
    let size = groups.len().div_ceil(MOST_GROUPS).max(1);
    let mut all: Vec<(usize, Group, usize)> = Vec::new();
    for (part, group) in groups {
        match all.last_mut() {
            Some((of, last, count))
                if *of == part && last.costly == group.costly && *count < size =>
            {
                last.values.extend(group.values);
                *count += 1;
            }
            _ => all.push((part, group, 1)),
        }
    }
    all.into_iter()
        .map(|(part, group, _)| (part, group))
        .collect()
}
