//! States of a model that is alone: inputs that read what outputs left behind in the run before. Checks what is asked for, and finds what
//! could be asked for.

use super::float::{Bundle, State};
use crate::error::{ConvertError, Result, StateFault};
use crate::graph::{ValueId, op};
use crate::reference::Input;
use std::collections::HashSet;

/// Words that exporters put to the name of a state that comes in, and of one that goes out.
const BEFORE: &[&str] = &["past", "in", "input", "prev", "previous", "last", "old"];
const AFTER: &[&str] = &["present", "out", "output", "next", "new", "updated"];
/// What they end in instead: `h0` becomes `hn`.
const FIRST: char = '0';
const LAST: char = 'n';

impl Bundle<'_> {
    /// True for a model that is alone and keeps states: it runs step by step.
    pub fn keeps_states(&self) -> bool {
        self.decoding.is_none() && !self.states.is_empty()
    }

    /// Checks the states of a model that is alone, and has each of them written in the order in which it is read.
    ///
    /// # Errors
    /// [`ConvertError::State`].
    pub(super) fn check_states(&mut self) -> Result<()> {
        if !self.keeps_states() {
            return Ok(());
        }
        let (mut read, mut written) = (HashSet::new(), HashSet::new());
        for at in 0..self.states.len() {
            let state = self.states[at].clone();
            let fault = |fault| Err(state_error(&state, fault));
            let [from] = &state.from[..] else {
                return fault(StateFault::Writers(state.from.len()));
            };
            if !read.insert(state.to.value.clone()) {
                return fault(StateFault::ReadTwice(state.to.value.clone()));
            }
            if !written.insert(from.value.clone()) {
                return fault(StateFault::WrittenTwice(from.value.clone()));
            }
            let Some(to) = self.input(0, &state.to.value) else {
                let known = self.inputs[0]
                    .iter()
                    .map(|input| input.name.clone())
                    .collect();
                return fault(StateFault::NoInput(state.to.value.clone(), known));
            };
            let Some(from) = self.output(0, &from.value) else {
                return fault(StateFault::NoOutput(
                    from.value.clone(),
                    self.outputs[0].clone(),
                ));
            };
            self.check_ends(&state, to, from)?;
            self.in_order_of(to, from, at);
        }
        let first = state_error(&self.states[0], StateFault::NothingLeft("output"));
        if self.outputs[0].iter().all(|name| written.contains(name)) {
            return Err(first);
        }
        if self.inputs[0]
            .iter()
            .all(|input| read.contains(&input.name))
        {
            return Err(state_error(
                &self.states[0],
                StateFault::NothingLeft("input"),
            ));
        }
        if self.mask.is_some() || self.max_length > 0 {
            return Err(state_error(&self.states[0], StateFault::Varies));
        }
        Ok(())
    }

    /// Both ends must hold quantities of one type, in one shape.
    fn check_ends(&self, state: &State, to: ValueId, from: ValueId) -> Result<()> {
        let reference = self.reference(0);
        let (name, writer) = (&state.to.value, &state.from[0].value);
        let fact = |name| reference.fact(name).unwrap_or_default();
        let ((read, read_type), (written, written_type)) = (fact(name), fact(writer));
        let fault = |fault| Err(state_error(state, fault));
        let values = &self.graphs[0].values;
        if read != written || values[to.0].len() != values[from.0].len() {
            return fault(StateFault::Shape(
                writer.clone(),
                written,
                name.clone(),
                read,
            ));
        }
        if self.graphs[0].tokens.contains(&to) {
            return fault(StateFault::Token(name.clone()));
        }
        if read_type != written_type {
            return fault(StateFault::Type(
                writer.clone(),
                written_type,
                name.clone(),
                read_type,
            ));
        }
        Ok(())
    }

    /// Images are channels last, other tensors are in the order of ONNX: where the ends of state `at` differ in that, elements move.
    fn in_order_of(&mut self, to: ValueId, from: ValueId, at: usize) {
        let graph = &mut self.graphs[0];
        let place = |dims: &[usize], at: usize| match *dims {
            [height, width, channels] => {
                let pixels = height * width;
                at % pixels * channels + at / pixels
            }
            _ => at,
        };
        let (read, written) = (
            graph.values[to.0].dims.clone(),
            graph.values[from.0].dims.clone(),
        );
        if (read.len() == 3) == (written.len() == 3) {
            return;
        }
        let mut index = vec![0; graph.values[to.0].len()];
        for at in 0..index.len() {
            index[place(&read, at)] = place(&written, at) as u32;
        }
        let name = format!("{}.kept", self.states[at].name);
        let moved = graph.add_inner(&name, op::Copy { index }.into(), vec![from], &read);
        self.moved
            .insert(self.states[at].from[0].value.clone(), moved);
    }

    /// Inputs and outputs of a model that is alone whose names and shapes say that one could be kept for the other.
    pub fn possible_states(&self) -> Vec<(String, String)> {
        if self.decoding.is_some() || !self.states.is_empty() || self.names.len() != 1 {
            return Vec::new();
        }
        let reference = self.reference(0);
        let partner = |input: &Input| {
            let fits = |output: &&String| {
                let shape = reference.fact(output).map(|fact| fact.0);
                shape.as_ref() == Some(&input.shape) && is_pair(&input.name, output)
            };
            let mut fitting = self.outputs[0].iter().filter(fits);
            match (fitting.next(), fitting.next()) {
                (Some(output), None) => Some((input.name.clone(), output.clone())),
                _ => None,
            }
        };
        let inputs = self.inputs[0].iter().filter(|input| !input.integer);
        let pairs: Vec<_> = inputs.filter_map(partner).collect();
        // A caller gives and gets something.
        let rest = pairs.len() < self.inputs[0].len().min(self.outputs[0].len());
        if rest { pairs } else { Vec::new() }
    }
}

fn state_error(state: &State, fault: StateFault) -> ConvertError {
    ConvertError::State {
        state: state.name.clone(),
        fault: Box::new(fault),
    }
}

/// True for names that differ only in what tells a state that comes in from the same one that goes out.
fn is_pair(input: &str, output: &str) -> bool {
    let [before, after] = [stem(input, BEFORE), stem(output, AFTER)];
    let plain = before == after && !before.is_empty();
    let cut = |name: &str, end: char| name.to_lowercase().trim_end_matches(end).to_owned();
    let short = [cut(input, FIRST), input.to_lowercase()];
    plain || short.contains(&cut(output, LAST)) && input != output
}

/// A name without these words: `past_key_values.0.key` and `present.0.key` have one.
fn stem(name: &str, words: &[&str]) -> Vec<String> {
    let name = name.to_lowercase().replace("key_values", "");
    let parts = name.split(['_', '.', '/', ':', '-']);
    let parts = parts.filter(|part| !part.is_empty() && !words.contains(part));
    parts.map(String::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_by_the_conventions_of_exporters_pair() {
        let pairs = [
            ("past_key_values.0.key", "present.0.key"),
            ("past_key", "present_key"),
            ("past_v", "present_v"),
            ("h_in", "h_out"),
            ("h0", "hn"),
            ("state", "stateN"),
            ("state", "new_state"),
            ("cache_3", "next_cache_3"),
            ("prev_h", "h"),
        ];
        for (before, after) in pairs {
            assert!(is_pair(before, after), "{before}, {after}");
        }
        let others = [
            ("past_key", "present_value"),
            ("h_in", "c_out"),
            ("past.0.key", "present.1.key"),
            ("x", "y"),
            ("input", "output"),
        ];
        for (before, after) in others {
            assert!(!is_pair(before, after), "{before}, {after}");
        }
    }
}
