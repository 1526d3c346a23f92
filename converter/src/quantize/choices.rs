//! Which values have 8 bits and which 16: what may be chosen, and the schemes of all parts of a bundle that follow from a choice.

use super::{Quant, Scheme, cell_of, state_of};
use crate::calibrate::{Distribution, RangeMethod};
use crate::graph::facts::{Held, Rows};
use crate::graph::{Graph, Node, ValueId};
use crate::lower::Link;
use std::collections::{BTreeMap, BTreeSet};

/// The parameters of a scheme.
#[derive(Clone, Debug, Default)]
pub struct Choices {
    /// How int8 ranges are chosen.
    pub range: RangeMethod,
    /// The inputs are features of the audio front end, and have its scale.
    pub audio: bool,
    /// Values held in int16, by choice.
    pub wide: BTreeSet<ValueId>,
    /// Values that the search for widths leaves in int8.
    pub narrow: BTreeSet<ValueId>,
    /// Results of layers whose weights have two parts of 8 bits.
    pub two_parts: BTreeSet<ValueId>,
    /// Inputs that are held as what they are taken from; [`schemes`] finds them.
    pub given: BTreeMap<ValueId, Quant>,
}

/// Every value that may be held in int16: all except features of the audio front end.
pub fn all(graph: &Graph, audio: bool) -> BTreeSet<ValueId> {
    let features = |id: &ValueId| audio && graph.inputs.contains(id);
    (0..graph.values.len())
        .map(ValueId)
        .filter(|id| !features(id))
        .collect()
}

/// Values that are held in int8 or in int16 together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// The values.
    pub values: BTreeSet<ValueId>,
    /// True if int16 costs more than the bytes of a tensor: an attention over int16 keys and values takes up to twice the time, a function
    /// needs a larger table.
    pub costly: bool,
}

/// The groups of values whose width the search measures: single values, and values that must have one width (keys and values of an
/// attention, input and result of a function). With an audio front end, only single values: keyword spotters run on builds of the runtime
/// without those operators in int16.
pub fn adjustable(graph: &Graph, audio: bool) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for node in graph.nodes.iter().filter(|_| !audio) {
        let mut values: BTreeSet<ValueId> = match graph.facts(node).held {
            Held::Window => {
                let read = node.inputs[1..3].iter();
                read.flat_map(|&id| [Some(id), graph.whole_sequence(id)])
                    .flatten()
                    .collect()
            }
            Held::Table => [node.inputs[0], node.output].into(),
            Held::Free
            | Held::FreeBySums
            | Held::Plain
            | Held::AsInput
            | Held::State(_)
            | Held::Probability
            | Held::Mean
            | Held::Index => continue,
        };
        // Groups that share a value are one group.
        let (shared, others): (Vec<_>, _) =
            (groups.into_iter()).partition(|group| !group.values.is_disjoint(&values));
        shared
            .into_iter()
            .for_each(|group| values.extend(group.values));
        groups = others;
        groups.push(Group {
            values,
            costly: true,
        });
    }
    for value in single(graph, audio) {
        if !groups.iter().any(|group| group.values.contains(&value)) {
            groups.push(Group {
                values: [value].into(),
                costly: false,
            });
        }
    }
    groups
}

/// The values whose width is free, independently of others.
fn single(graph: &Graph, audio: bool) -> BTreeSet<ValueId> {
    let held = |node: &Node| graph.facts(node).held;
    let free = |node: &&Node| matches!(held(node), Held::Free | Held::FreeBySums);
    let produced = graph.nodes.iter().filter(free).map(|node| node.output);
    let inputs = graph.inputs.iter().copied();
    let inputs = inputs.filter(|input| !audio && !graph.tokens.contains(input));
    let mut values: BTreeSet<ValueId> = produced.chain(inputs).collect();
    for node in &graph.nodes {
        match held(node) {
            Held::Window => values.retain(|id| !node.inputs[1..3].contains(id)),
            Held::Table => values.retain(|id| !node.inputs.contains(id)),
            Held::Free
            | Held::FreeBySums
            | Held::Plain
            | Held::AsInput
            | Held::State(_)
            | Held::Probability
            | Held::Mean
            | Held::Index => {}
        }
    }
    values
}

/// Keys and values of attention, and the whole values that they are the sequence's rows of.
pub fn windows(graph: &Graph) -> BTreeSet<ValueId> {
    let windows = graph.nodes.iter();
    let windows = windows.filter(|node| graph.facts(node).held == Held::Window);
    let read = windows.flat_map(|node| node.inputs[1..3].iter().copied());
    let whole = |id| graph.whole_sequence(id).unwrap_or(id);
    read.flat_map(|id| [id, whole(id)]).collect()
}

/// How a state that a model updates is held: like the state of the recurrent layer that starts from it, else in int16.
pub fn state(graph: &Graph, input: ValueId, distributions: &[Distribution]) -> Option<Quant> {
    let rows = |node: &Node| graph.facts(node).rows;
    let selected = graph.nodes.iter().filter(|node| {
        node.inputs.first() == Some(&input) && matches!(rows(node), Rows::Select { .. })
    });
    let mut parts: Vec<ValueId> = selected.map(|node| node.output).collect();
    parts.push(input);
    let starts = |slot: usize| {
        graph.nodes.iter().find(|node| {
            let first = node.inputs.get(slot);
            matches!(rows(node), Rows::Recurrent { .. })
                && first.is_some_and(|id| parts.contains(id))
        })
    };
    match (starts(1), starts(2)) {
        (Some(layer), _) => Some(state_of(graph, layer, distributions)),
        (_, Some(_)) => Some(cell_of(&distributions[input.0])),
        _ => None,
    }
}

/// The schemes of all parts: an input that another part gives is held as its writer has it, and a state that a part changes itself as
/// [`state`] says.
pub fn schemes(
    graphs: &[Graph],
    links: &[Link],
    distributions: &[Vec<Distribution>],
    choices: &[Choices],
) -> Vec<Scheme> {
    let mut schemes: Vec<Scheme> = Vec::new();
    for (part, (graph, choice)) in graphs.iter().zip(choices).enumerate() {
        let (mut choice, seen) = (choice.clone(), &distributions[part]);
        for link in links.iter().filter(|link| link.to.0 == part) {
            let (writer, value) = link.from[0];
            let quant = match link.is_shared() {
                true => Some(schemes[writer].of(value)),
                false => state(graph, link.to.1, seen),
            };
            choice.given.extend(quant.map(|quant| (link.to.1, quant)));
        }
        schemes.push(Scheme::new(graph, seen, &choice));
    }
    schemes
}
