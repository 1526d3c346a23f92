//! Several models in one program: entry points that share weights and hand values to each other through state.
//!
//! A value that one entry point hands to another, and that nothing else changes, is shared: whatever the reader computes
//! from such values alone is computed by the writer, once, not at every run of the reader. Projections of an encoder's
//! output and packed keys and values come out that way whatever side of the export they stood on.

use super::{Form, Lowered, Lowering};
use crate::error::Result;
use crate::graph::{Graph, Op, ValueId};
use crate::program::{Place, Program, TensorId};
use crate::quantize::Scheme;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// One model of a bundle.
pub struct Part<'g> {
    /// Name of its entry point.
    pub name: &'g str,
    /// What it computes.
    pub graph: &'g Graph,
    /// How its values are held.
    pub scheme: &'g Scheme,
    /// Run over all its rows at once, or one row after the other.
    pub form: Form,
}

impl<'g> Part<'g> {
    /// A model that is alone; its entry point is called after the form.
    pub fn alone(graph: &'g Graph, scheme: &'g Scheme, form: Form) -> Self {
        Self {
            name: form.entry_name(),
            graph,
            scheme,
            form,
        }
    }
}

/// A value that outlives a run.
#[derive(Clone, Debug)]
pub struct Link {
    /// Name of the state.
    pub name: String,
    /// Part and output that it is written from.
    pub from: Vec<(usize, ValueId)>,
    /// Part and input that reads it.
    pub to: (usize, ValueId),
}

impl Link {
    /// Written by one other part, and read only by this one.
    pub fn is_shared(&self) -> bool {
        self.from.len() == 1 && self.from[0].0 != self.to.0
    }
}

/// What is there of each part before its own turn: results that earlier parts have computed for it.
#[derive(Clone, Default)]
struct Known {
    tensors: HashMap<ValueId, TensorId>,
    packed: HashMap<ValueId, super::attention::Window>,
}

/// Lowers all parts in order; each may take shared values from those before it, and those in [`Form::Stream`] can be streamed.
/// `max_length` is that of the longest sequence, 0
/// where none varies. If it `joins`, weights that int8 values meet are joined.
///
/// # Errors
/// [`ConvertError::Limit`](crate::error::ConvertError::Limit) where the runtime's limits are exceeded.
pub fn lower(parts: &[Part], links: &[Link], max_length: usize, joins: bool) -> Result<Program> {
    let mut program = Program::new(max_length);
    program.joins = joins;
    let states = add_states(&mut program, parts, links);
    let mut known = vec![Known::default(); parts.len()];
    for (number, part) in parts.iter().enumerate() {
        let first = program.ops.len();
        let mut lowering = Lowering::new(part.graph, part.scheme, part.form, program);
        let ahead = std::mem::take(&mut known[number]);
        (lowering.tensors, lowering.packed) = (ahead.tensors, ahead.packed);
        let written = links.iter().flat_map(|link| &link.from);
        let written = written.filter(|from| from.0 == number);
        lowering.kept = written.map(|from| from.1).collect();
        let given = lowering.bind_inputs(number, links, &states);
        lowering.remaining_nodes()?;
        lowering.write_states(number, links, &states)?;
        let tensors = lowering.tensors.clone();
        program = lowering.program;
        for reader in number + 1..parts.len() {
            program = ahead_of(reader, number, parts, links, &tensors, &mut known, program)?;
        }
        let mut closing = Lowering::new(part.graph, part.scheme, part.form, program);
        closing.tensors = tensors;
        closing.entry(part.name, first, &given)?;
        program = closing.program;
    }
    share(&mut program);
    Ok(program)
}

/// Computes for part `reader` what it makes of the values of part `writer`, held in `tensors`, alone.
fn ahead_of(
    reader: usize,
    writer: usize,
    parts: &[Part],
    links: &[Link],
    tensors: &HashMap<ValueId, TensorId>,
    known: &mut [Known],
    program: Program,
) -> Result<Program> {
    let part = &parts[reader];
    let mut ahead = Lowering::new(part.graph, part.scheme, Form::Window, program);
    ahead.tensors = known[reader].tensors.clone();
    ahead.packed = known[reader].packed.clone();
    let shared = links.iter().filter(|link| link.is_shared());
    for link in shared.filter(|link| link.to.0 == reader && link.from[0].0 == writer) {
        ahead.tensors.insert(link.to.1, tensors[&link.from[0].1]);
    }
    ahead.shared_nodes()?;
    known[reader] = Known {
        tensors: ahead.tensors,
        packed: ahead.packed,
    };
    Ok(ahead.program)
}

/// The tensors of values that a part changes itself, by the number of their link.
fn add_states(program: &mut Program, parts: &[Part], links: &[Link]) -> BTreeMap<usize, TensorId> {
    let own = links
        .iter()
        .enumerate()
        .filter(|(_, link)| !link.is_shared());
    own.map(|(at, link)| {
        let part = &parts[link.to.0];
        let dims = &part.graph.values[link.to.1.0].dims;
        let quant = part.scheme.of(link.to.1);
        (at, program.tensor(&link.name, dims, quant, Place::State))
    })
    .collect()
}

/// Tensors that are written by one entry point and read by another must outlive the first one's run.
fn share(program: &mut Program) {
    let mut crossing = BTreeSet::new();
    for entry in &program.entries {
        let base = |id: &TensorId| program.base(*id).0;
        let mut here: BTreeSet<TensorId> = entry.inputs.iter().map(base).collect();
        for op in &program.ops[entry.ops.clone()] {
            crossing.extend(op.inputs.iter().map(base).filter(|id| !here.contains(id)));
            here.extend(op.outputs.iter().map(base));
        }
        crossing.extend(
            entry
                .outputs
                .iter()
                .map(base)
                .filter(|id| !here.contains(id)),
        );
    }
    for id in crossing {
        if program.tensors[id].place == Place::Arena {
            program.tensors[id].place = Place::Shared;
        }
    }
}

impl Lowering<'_> {
    /// Binds the inputs of part `number`; gives those that the caller fills.
    fn bind_inputs(
        &mut self,
        number: usize,
        links: &[Link],
        states: &BTreeMap<usize, TensorId>,
    ) -> Vec<ValueId> {
        let mut given = Vec::new();
        for &input in &self.graph.inputs {
            let link = links.iter().position(|link| link.to == (number, input));
            match link.map(|at| states.get(&at)) {
                Some(Some(&state)) => {
                    self.tensors.insert(input, state);
                }
                // Shared: bound when its writer was lowered.
                Some(None) => {}
                None => {
                    self.add_value(input);
                    given.push(input);
                }
            }
        }
        given
    }

    /// Lowers what no earlier part has computed.
    fn remaining_nodes(&mut self) -> Lowered {
        let graph = self.graph;
        for node in &graph.nodes {
            if !self.tensors.contains_key(&node.output) {
                self.node(node)?;
            }
        }
        Ok(())
    }

    /// Copies what part `number` leaves behind into the states that it writes.
    fn write_states(
        &mut self,
        number: usize,
        links: &[Link],
        states: &BTreeMap<usize, TensorId>,
    ) -> Lowered {
        for (at, &state) in states {
            let link = &links[*at];
            for &(_, value) in link.from.iter().filter(|from| from.0 == number) {
                let name = format!("{}.{}", link.name, self.graph.values[value.0].name);
                self.requantize(self.tensor(value), state, Some(&name))?;
            }
        }
        Ok(())
    }

    /// Lowers the nodes whose inputs are all there, and packs keys and values that are.
    fn shared_nodes(&mut self) -> Lowered {
        let graph = self.graph;
        for node in &graph.nodes {
            let there = |ids: &[ValueId]| {
                !ids.is_empty() && ids.iter().all(|id| self.tensors.contains_key(id))
            };
            if self.tensors.contains_key(&node.output) {
                continue;
            }
            if there(&node.inputs) {
                self.node(node)?;
            } else if let Op::Attention(op) = &node.op
                && there(&node.inputs[1..])
                && !self.packed.contains_key(&node.output)
            {
                self.pack(node, op)?;
            }
        }
        Ok(())
    }
}
