//! The plan: a place in the arena for every tensor, found offline.
//!
//! State comes first and keeps its bytes. After it, tensors that are never needed at the same time share bytes. The placement
//! is greedy, largest first, each at the lowest offset that is free while the tensor is needed (Pisarchyk and Lee,
//! "Efficient memory management for deep neural net inference", 2020); two orders are tried and the smaller kept.

use crate::program::{Place, Program, TensorId};
use core::ops::RangeInclusive;

/// Alignment of tensors: whole words.
const ALIGN: usize = 4;
/// Alignment of the end of the state, and of the arena's length.
const SECTION_ALIGN: usize = 16;

/// Places of all tensors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Byte offset of each tensor.
    pub offsets: Vec<usize>,
    /// Length of the arena.
    pub arena_len: usize,
    /// Bytes at its start that hold state.
    pub state_len: usize,
    /// Of those, bytes at the start that are not [`Place::Shared`].
    pub own_state_len: usize,
}

/// Finds a place for every tensor of `program`.
pub fn plan(program: &Program) -> Plan {
    let mut offsets = vec![0; program.tensors.len()];
    let mut state_len = 0;
    let mut own_state_len = 0;
    for place in [Place::State, Place::Shared] {
        for (id, tensor) in program.tensors.iter().enumerate() {
            if tensor.place == place {
                offsets[id] = state_len;
                state_len = (state_len + tensor.byte_len()).next_multiple_of(ALIGN);
            }
        }
        if place == Place::State {
            own_state_len = state_len;
        }
    }
    let state_len = state_len.next_multiple_of(SECTION_ALIGN);
    let needed = needed(program);
    let mut by_size: Vec<TensorId> = (0..program.tensors.len())
        .filter(|&id| needed[id].is_some())
        .collect();
    by_size.sort_by_key(|&id| core::cmp::Reverse(program.tensors[id].byte_len()));
    let mut by_time = by_size.clone();
    by_time.sort_by_key(|&id| needed[id].as_ref().map(|span| *span.start()));
    let plans =
        [by_size, by_time].map(|order| place(program, &needed, &order, &offsets, state_len));
    let [first, second] = plans;
    let mut best = if second.arena_len < first.arena_len {
        second
    } else {
        first
    };
    for id in 0..program.tensors.len() {
        let (base, offset) = program.base(id);
        best.offsets[id] = best.offsets[base] + offset;
    }
    best.own_state_len = own_state_len;
    best
}

/// For each tensor with its own place in the arena, the operators during which its bytes must be kept. The entry's inputs are written
/// before the first operator, its outputs read after the last.
fn needed(program: &Program) -> Vec<Option<RangeInclusive<usize>>> {
    let mut spans: Vec<Option<RangeInclusive<usize>>> = vec![None; program.tensors.len()];
    let mut touch = |id: TensorId, at: usize| {
        let (base, _) = program.base(id);
        if program.tensors[base].place == Place::Arena {
            let span = spans[base].get_or_insert(at..=at);
            *span = *span.start().min(&at)..=*span.end().max(&at);
        }
    };
    for entry in &program.entries {
        entry
            .inputs
            .iter()
            .for_each(|&id| touch(id, entry.ops.start));
        for (at, op) in program
            .ops
            .iter()
            .enumerate()
            .take(entry.ops.end)
            .skip(entry.ops.start)
        {
            for &id in op.inputs.iter().chain(&op.outputs).chain(&op.scratch) {
                touch(id, at);
            }
        }
        entry
            .outputs
            .iter()
            .for_each(|&id| touch(id, entry.ops.end));
    }
    spans
}

fn place(
    program: &Program,
    needed: &[Option<RangeInclusive<usize>>],
    order: &[TensorId],
    state: &[usize],
    state_len: usize,
) -> Plan {
    let mut offsets = state.to_vec();
    let mut placed: Vec<TensorId> = Vec::new();
    let mut arena_len = state_len;
    for &id in order {
        let Some(span) = &needed[id] else { continue };
        let len = program.tensors[id].byte_len();
        let at_once = |other: &&TensorId| {
            needed[**other]
                .as_ref()
                .is_some_and(|o| o.start() <= span.end() && span.start() <= o.end())
        };
        let mut taken: Vec<(usize, usize)> = placed
            .iter()
            .filter(at_once)
            .map(|&other| {
                (
                    offsets[other],
                    offsets[other] + program.tensors[other].byte_len(),
                )
            })
            .collect();
        taken.sort_unstable();
        let mut at = state_len;
        for (start, end) in taken {
            if start >= at + len {
                break;
            }
            at = at.max(end.next_multiple_of(ALIGN));
        }
        offsets[id] = at;
        arena_len = arena_len.max(at + len);
        placed.push(id);
    }
    Plan {
        offsets,
        arena_len: arena_len.next_multiple_of(SECTION_ALIGN),
        state_len,
        own_state_len: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::program::{Entry, Operator};
    use crate::quantize::Quant;
    use attn_runtime::format::{Encoding, OpKind};

    /// A chain of operators over tensors of the given sizes.
    fn chain(sizes: &[usize]) -> Program {
        let mut program = Program::default();
        let quant = Quant::int8((-1.0, 1.0));
        let ids: Vec<_> = sizes
            .iter()
            .map(|&n| program.tensor("t", &[n], quant, Place::Arena))
            .collect();
        for pair in ids.windows(2) {
            program.ops.push(Operator {
                name: "op".into(),
                kind: OpKind::Linear,
                encoding: Encoding::Int8,
                inputs: vec![pair[0]],
                outputs: vec![pair[1]],
                scratch: None,
                params: vec![],
            });
        }
        let entry = Entry {
            name: "run".into(),
            ops: 0..program.ops.len(),
            inputs: vec![ids[0]],
            outputs: vec![*ids.last().unwrap()],
            input_names: vec![],
            output_names: vec![],
        };
        program.entries.push(entry);
        program
    }

    #[test]
    fn a_chain_needs_its_two_largest_neighbours() {
        let plan = plan(&chain(&[100, 40, 200, 60, 100]));
        assert_eq!(plan.arena_len, (200usize + 60).next_multiple_of(16));
    }

    #[test]
    fn what_is_needed_together_stands_apart() {
        let program = chain(&[96, 96, 32, 96, 64, 4]);
        let plan = plan(&program);
        for op in &program.ops {
            let (a, b) = (op.inputs[0], op.outputs[0]);
            let end = |id: usize| plan.offsets[id] + program.tensors[id].byte_len();
            assert!(end(a) <= plan.offsets[b] || end(b) <= plan.offsets[a]);
        }
    }

    #[test]
    fn state_stands_first_and_views_inside_their_base() {
        let mut program = chain(&[16, 16]);
        let quant = Quant::int8((-1.0, 1.0));
        let state = program.tensor("state", &[20], quant, Place::State);
        let view = program.tensor(
            "view",
            &[4],
            quant,
            Place::Within {
                tensor: 1,
                offset: 8,
            },
        );
        let plan = plan(&program);
        assert_eq!((plan.offsets[state], plan.state_len), (0, 32));
        assert_eq!(plan.offsets[view], plan.offsets[1] + 8);
    }
}
