//! The memory of a beam: the states of its hypotheses, and which token followed which.

use super::DecodeError;
use crate::format::{DecodeMeta, beam_memory};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// A token of a hypothesis and the hypothesis, one step earlier, that it follows.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Node {
    token: u16,
    parent: u16,
}

/// Bytes of memory for `width` hypotheses.
pub(super) fn memory_len(meta: &DecodeMeta, width: usize) -> usize {
    beam_memory(meta.hypothesis_len, meta.max_tokens, width)
}

/// A caller's bytes, cut into what a beam keeps.
#[derive(Debug)]
pub(super) struct Memory<'b> {
    /// `[width, hypothesis_len]`.
    states: &'b mut [u8],
    hypothesis_len: usize,
    /// `[max_tokens, width]`: tokens of all hypotheses, step by step. Never overwritten during a search.
    nodes: &'b mut [Node],
    width: usize,
    /// `[width, max_tokens]`: the sequences that were found.
    tokens: &'b mut [u16],
    max_tokens: usize,
}

impl<'b> Memory<'b> {
    pub(super) fn new(
        meta: &DecodeMeta,
        width: usize,
        memory: &'b mut [u8],
    ) -> Result<Self, DecodeError> {
        let (needed, given) = (memory_len(meta, width), memory.len());
        let (hypothesis_len, max_tokens) = (meta.hypothesis_len as usize, meta.max_tokens as usize);
        let small = DecodeError::MemoryTooSmall { needed, given };
        if !(memory.as_ptr() as usize).is_multiple_of(4) {
            return Err(DecodeError::MemoryMisaligned);
        }
        let memory = memory.get_mut(..needed).ok_or(small)?;
        let (states, rest) = memory
            .split_at_mut_checked(width.saturating_mul(hypothesis_len))
            .ok_or(small)?;
        let count = width.saturating_mul(max_tokens);
        let (nodes, rest) = <[Node]>::mut_from_prefix_with_elems(rest, count).map_err(|_| small)?;
        let (tokens, _) = <[u16]>::mut_from_prefix_with_elems(rest, count).map_err(|_| small)?;
        Ok(Self {
            states,
            hypothesis_len,
            nodes,
            width,
            tokens,
            max_tokens,
        })
    }

    fn state(&mut self, slot: usize) -> &mut [u8] {
        let start = slot.saturating_mul(self.hypothesis_len);
        let state = self.states.get_mut(start..).unwrap_or_default();
        let len = self.hypothesis_len.min(state.len());
        state.get_mut(..len).unwrap_or_default()
    }

    /// Keeps `state` in place `slot`.
    pub(super) fn store(&mut self, slot: usize, state: &[u8]) {
        copy(state, self.state(slot));
    }

    /// Gives the state in place `slot` back.
    pub(super) fn load(&mut self, slot: usize, state: &mut [u8]) {
        copy(self.state(slot), state);
    }

    /// Notes that at `step` (from 0) hypothesis `at` follows `parent` with `token`.
    pub(super) fn note(&mut self, step: usize, at: usize, token: u16, parent: usize) {
        if let Some(node) = self.nodes.get_mut(step * self.width + at) {
            *node = Node {
                token,
                parent: parent as u16,
            };
        }
    }

    /// Writes the first `len` tokens of a hypothesis as sequence number `rank`; the hypothesis had number `at` after them.
    pub(super) fn write_out(&mut self, rank: usize, len: usize, mut at: usize) {
        let sequence = self.tokens.get_mut(rank * self.max_tokens..);
        let sequence = sequence.and_then(|tokens| tokens.get_mut(..len));
        for (step, token) in sequence.unwrap_or_default().iter_mut().enumerate().rev() {
            if let Some(node) = self.nodes.get(step * self.width + at) {
                (*token, at) = (node.token, node.parent.into());
            }
        }
    }

    /// The `len` tokens of the sequence written out as number `rank`.
    pub(super) fn tokens(&self, rank: usize, len: usize) -> &[u16] {
        let sequence = self.tokens.get(rank * self.max_tokens..);
        sequence
            .and_then(|tokens| tokens.get(..len))
            .unwrap_or_default()
    }
}

fn copy(from: &[u8], to: &mut [u8]) {
    if from.len() == to.len() {
        to.copy_from_slice(from);
    }
}
