//! Padding masks of a bundle: finds the input, checks the manifest, and makes the mask for float runs.

use super::Manifest;
use super::float::{Bundle, Place, State};
use crate::error::ConvertError;
use crate::graph::{Graph, Op, ValueId, op};
use crate::graph::{padding, variable_length};
use crate::import::PaddingMask;
use crate::reference::{Input, input_names};
use attn_runtime::format::{NONE, RowRule};
use ndarray::{ArrayD, Axis, IxDyn, concatenate};
use std::collections::BTreeMap;
use std::path::PathBuf;

impl Manifest {
    /// The padding mask that the manifest names.
    ///
    /// # Errors
    /// [`ConvertError::Manifest`] for two masks, for a mask without an encoder or in `[state]`, and for `pad` without a mask.
    pub fn mask(&self) -> Result<Option<PaddingMask>, ConvertError> {
        let decode = &self.decode;
        let mask = match (&decode.mask, &decode.padding_mask) {
            (Some(_), Some(_)) => {
                return Err(
                    self.wrong("[decode] has a `mask` and a `padding_mask`: name one input")
                );
            }
            (Some(input), None) => (input, 1.0),
            (None, Some(input)) => (input, 0.0),
            (None, None) if decode.pad.is_some() => {
                return Err(self.wrong(
                    "[decode] `pad` is there, but no `mask` to tell padding from the sequence",
                ));
            }
            (None, None) => return Ok(None),
        };
        let (input, inside) = mask;
        if decode.encode.is_none() {
            return Err(self.wrong(format!(
                "[decode] mask `{input}`: without an `encode` there is no sequence that could be padded"
            )));
        }
        if decode.input.as_ref() == Some(input) || decode.token == *input {
            return Err(self.wrong(format!(
                "[decode] mask `{input}` is also named as `input` or `token`"
            )));
        }
        for (state, wiring) in &self.state {
            if self.split(&wiring.to)?.1 == input {
                return Err(self.wrong(format!(
                    "[state] {state}: mask `{input}` is wired in [state], but the runtime makes it from the length of the input"
                )));
            }
        }
        Ok(Some(PaddingMask {
            input: input.clone(),
            inside,
            outside: 1.0 - inside,
        }))
    }
}

impl Bundle<'_> {
    /// Removes the mask from the inputs of part `number`, if it is among them, and checks that it fits the sequence.
    ///
    /// # Errors
    /// [`ConvertError::Manifest`] for a mask that is not one row as long as the longest sequence.
    pub(super) fn take_mask(
        &mut self,
        number: usize,
        inputs: &mut Vec<Input>,
    ) -> Result<(), ConvertError> {
        let Some(mask) = &self.mask else {
            return Ok(());
        };
        let Some(at) = inputs.iter().position(|input| input.name == mask.input) else {
            return Ok(());
        };
        let input = inputs.remove(at);
        let rows: usize = input.shape.iter().product();
        let which = format!("mask `{}` of entry `{}`", input.name, self.names[number]);
        if !input.shape.contains(&rows) {
            return Err(self.manifest.wrong(format!(
                "{which} is {:?}: it must be one row, [1, length]",
                input.shape
            )));
        }
        if input.dynamic.is_some() {
            return Ok(());
        }
        let longest = self.manifest.max_length.unwrap_or(match self.max_length {
            0 => rows,
            longest => longest,
        });
        if rows != longest {
            return Err(self.manifest.wrong(format!(
                "{which} has {rows} elements, the longest sequence {longest}: both must be the same"
            )));
        }
        self.max_length = rows;
        Ok(())
    }

    /// Checks that the mask is an input of some part.
    ///
    /// # Errors
    /// [`ConvertError::Manifest`]; [`ConvertError::NotOnnx`].
    pub(super) fn find_mask(&self, paths: &[PathBuf]) -> Result<(), ConvertError> {
        let Some(mask) = &self.mask else {
            return Ok(());
        };
        for path in paths {
            if input_names(path)?.contains(&mask.input) {
                return Ok(());
            }
        }
        Err(self.manifest.wrong(format!(
            "[decode] no entry has an input `{}` that could be the mask",
            mask.input
        )))
    }

    /// Padding of the input after a shorter sequence, as in the file: a symbol, 0 for zeros, [`NONE`] for no padding.
    ///
    /// # Errors
    /// [`ConvertError::Manifest`] for a mask without a `pad`, or a `pad` that is not among the symbols.
    pub(super) fn pad(&self) -> Result<u32, ConvertError> {
        let wrong = |reason: String| Err(self.manifest.wrong(reason));
        let decode = &self.manifest.decode;
        let (Some(mask), Some(encode), Some(name)) = (&self.mask, self.encode, &decode.input)
        else {
            return Ok(NONE);
        };
        let graph = &self.graphs[encode];
        let input = self
            .input(encode, name)
            .ok_or_else(|| self.missing("input", encode, name))?;
        let symbols = graph.tokens.contains(&input);
        if !symbols && decode.pad.is_some() {
            return wrong(format!(
                "[decode] `pad` is a symbol, but input `{name}` is none: its padding is zeros, leave `pad` out"
            ));
        }
        // An input of variable length is never padded.
        if self.is_dynamic(encode, name) {
            return Ok(NONE);
        }
        let rows = graph.values[input.0].rows();
        if rows != self.max_length {
            return wrong(format!(
                "mask `{}` has {} elements, input `{name}` {rows} rows: both must be the same",
                mask.input, self.max_length
            ));
        }
        if !symbols {
            return Ok(0);
        }
        let Some(pad) = &decode.pad else {
            return wrong(format!(
                "[decode] has mask `{}` but no `pad`: say which symbol sentences were padded with",
                mask.input
            ));
        };
        let names = self.manifest.symbols()?;
        let number = self.manifest.number(pad, &names)?;
        let known = match names.len() {
            0 => table(graph).unwrap_or(usize::MAX),
            known => known,
        };
        if number as usize >= known {
            return wrong(format!("[decode] pad {number}: there are {known} symbols"));
        }
        Ok(number)
    }

    /// Removes computation on padding rows that no consumer reads, across all entry points.
    ///
    /// # Errors
    /// Those of [`variable_length::follow`] and of [`Self::pad`].
    pub(super) fn narrow(&mut self) -> Result<(), ConvertError> {
        if self.mask.is_none() {
            return Ok(());
        }
        self.pad()?;
        for part in (0..self.graphs.len()).rev() {
            self.narrow_results(part);
            padding::eliminate(&mut self.graphs[part]);
        }
        for part in 0..self.graphs.len() {
            let varying = self.varying_inputs(part);
            variable_length::follow(&mut self.graphs[part], &varying)?;
            padding::write_out_causal(&mut self.graphs[part]);
        }
        Ok(())
    }

    /// Reduces the outputs of a part to the sequence's rows where later parts read only those.
    fn narrow_results(&mut self, part: usize) {
        for at in 0..self.outputs[part].len() {
            let from = Place {
                part,
                value: self.outputs[part][at].clone(),
            };
            let mut readers = self
                .states
                .iter()
                .filter(|s| s.from.contains(&from))
                .peekable();
            if readers.peek().is_some() && readers.all(|state| self.reads_in_part(state)) {
                let graph = &mut self.graphs[part];
                graph.outputs[at] = graph.add_sequence(graph.outputs[at]);
            }
        }
    }

    /// True for a state of which a later part reads only the sequence's rows.
    fn reads_in_part(&self, state: &State) -> bool {
        let (to, [from]) = (&state.to, &state.from[..]) else {
            return false;
        };
        let reader = self.input(to.part, &to.value);
        let in_part = padding::inputs_in_part(&self.graphs[to.part]);
        from.part < to.part && reader.is_some_and(|id| in_part.contains(&id))
    }

    /// The inputs of a part whose rows follow the sequence, with their row rules.
    fn varying_inputs(&self, part: usize) -> BTreeMap<ValueId, RowRule> {
        let graph = &self.graphs[part];
        let mut varying = BTreeMap::new();
        for (input, &id) in self.inputs[part].iter().zip(&graph.inputs) {
            let to = Place {
                part,
                value: input.name.clone(),
            };
            let given = |state: &&State| state.to == to;
            // Dynamic inputs; inputs from the caller of which only the sequence's rows are read; states that vary at their source.
            let rule = match self.states.iter().find(given).map(|state| &state.from[..]) {
                _ if self.is_token(part, &input.name) => None,
                _ if input.dynamic.is_some() => Some(self.rules[part]),
                None => padding::inputs_in_part(graph)
                    .contains(&id)
                    .then_some(variable_length::ALL),
                Some([from]) if from.part < part => {
                    let value = self.output(from.part, &from.value);
                    value.and_then(|id| self.graphs[from.part].varying.get(&id).copied())
                }
                Some(_) => None,
            };
            varying.extend(rule.map(|rule| (id, rule)));
        }
        varying
    }

    /// The mask for a sequence of `length`.
    pub(super) fn mask_for(&self, input: &Input, length: usize) -> Option<ArrayD<f32>> {
        let mask = self.mask.as_ref()?;
        (mask.input == input.name).then(|| mask.array(&input.shape, length))
    }

    /// The sequence, padded at its end to the rows of `input` of part `number`.
    pub(super) fn padded(
        &self,
        number: usize,
        input: &Input,
        sequence: &ArrayD<f32>,
    ) -> Result<ArrayD<f32>, ConvertError> {
        let rows = self
            .input(number, &input.name)
            .map_or(0, |id| self.graphs[number].values[id.0].rows());
        let have = sequence.shape().first().copied().unwrap_or(0);
        if self.mask.is_none() || input.dynamic.is_some() || have >= rows {
            return Ok(sequence.clone());
        }
        let mut shape = sequence.shape().to_vec();
        shape[0] = rows - have;
        let pad = match self.pad()? {
            NONE => 0.0,
            pad => pad as f32,
        };
        let padding = ArrayD::from_elem(IxDyn(&shape), pad);
        Ok(concatenate(Axis(0), &[sequence.view(), padding.view()]).expect("rows of one width"))
    }
}

/// Rows of the embedding table of the symbols.
fn table(graph: &Graph) -> Option<usize> {
    graph.nodes.iter().find_map(|node| match &node.op {
        Op::Embedding(op::Embedding { table }) => table.shape().first().copied(),
        _ => None,
    })
}
