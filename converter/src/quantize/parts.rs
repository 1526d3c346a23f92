//! Which layers have weights of two parts, 16 bits together: where 8 bits cost the outputs more than they may.

use super::candidates::{LEAST_DB, ratio_db};
use super::choices::Choices;
use super::sensitivity::{Measure, Trials, Widened};
use crate::error::Result;
use crate::graph::{Graph, ValueId};
use crate::progress::{Phase, Progress, Step};
use attn_runtime::format::DType;

/// What two parts everywhere must gain at least in dB: else weights are not what costs.
const FAR_DB: f64 = 1.0;
/// Limits on the layers that are measured each by itself, and on inferences. Neighbours of a deep model are measured together.
const MOST_GROUPS: usize = 48;
const RUNS: usize = 1000;
const SAMPLES: core::ops::RangeInclusive<usize> = 8..=48;

/// Layers of one part of a bundle, neighbours.
struct Group {
    part: usize,
    results: Vec<ValueId>,
    /// Power of the error that is there with one part, and not with two.
    noise: f64,
}

/// Chooses layers until the outputs have `goal_db`, or no more helps, and gives them with what each is worth, by part.
///
/// # Errors
/// Those of lowering.
pub fn divide(
    measure: Measure,
    choices: &mut [Choices],
    goal_db: f64,
    progress: Progress,
) -> Result<Vec<Vec<Widened>>> {
    let mut divided = vec![Vec::new(); choices.len()];
    let mut groups = groups(&measure, choices);
    let count = (RUNS / groups.len().max(1)).clamp(*SAMPLES.start(), *SAMPLES.end());
    let samples = &measure.samples[..measure.samples.len().min(count)];
    let trials = Trials::new(Measure { samples, ..measure });
    let signal = trials.signal();
    let error = |choices: &[Choices]| -> Result<f64> { Ok(trials.errors(choices)?.iter().sum()) };
    let (one, plain) = (error(choices)?, choices.to_vec());
    if groups.is_empty() || ratio_db(signal, one) >= goal_db {
        return Ok(divided);
    }
    let with = |groups: &mut dyn Iterator<Item = &Group>| {
        let mut choices = plain.clone();
        groups.for_each(|group| choices[group.part].two_parts.extend(&group.results));
        choices
    };
    let two = error(&with(&mut groups.iter()))?;
    if ratio_db(one, two) < FAR_DB {
        return Ok(divided);
    }
    let total = groups.len();
    for at in 0..total {
        let others = groups.iter().enumerate().filter(|(other, _)| *other != at);
        let without = error(&with(&mut others.map(|(_, group)| group)))?;
        groups[at].noise = (without - two).max(0.0);
        progress(Step::of(Phase::Sensitivity, at + 1, total));
    }
    groups.sort_by(|a, b| b.noise.total_cmp(&a.noise));
    let mut left = two + groups.iter().map(|group| group.noise).sum::<f64>();
    for group in &groups {
        let gain_db = ratio_db(left, left - group.noise);
        if ratio_db(signal, left) >= goal_db || gain_db < LEAST_DB {
            break;
        }
        left -= group.noise;
        let results = group.results.iter();
        divided[group.part].extend(results.map(|&value| Widened { value, gain_db }));
        choices[group.part].two_parts.extend(&group.results);
    }
    Ok(divided)
}

/// The layers whose weights may have two parts: those with a result in int16.
fn groups(measure: &Measure, choices: &[Choices]) -> Vec<Group> {
    let graphs = &measure.bundle.graphs;
    let held = super::choices::schemes(graphs, measure.links, measure.distributions, choices);
    let results = |graph: &Graph, part: usize| -> Vec<ValueId> {
        let layers = graph.nodes.iter().filter(|node| node.op.affine().is_some());
        let results = layers.map(|node| node.output);
        let wide = results.filter(|&id| held[part].of(id).dtype == DType::I16);
        wide.collect()
    };
    let parts = graphs.iter().enumerate();
    let all: Vec<(usize, ValueId)> = parts
        .flat_map(|(part, graph)| results(graph, part).into_iter().map(move |id| (part, id)))
        .collect();
    let size = all.len().div_ceil(MOST_GROUPS).max(1);
    let neighbours = all.chunk_by(|a, b| a.0 == b.0);
    let groups = neighbours.flat_map(|part| part.chunks(size));
    groups
        .map(|group| Group {
            part: group[0].0,
            results: group.iter().map(|(_, id)| *id).collect(),
            noise: 0.0,
        })
        .collect()
}
