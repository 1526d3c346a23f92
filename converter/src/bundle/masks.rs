//! Padding masks of a bundle: finds the input, checks the manifest, and makes the mask for float runs.

use super::float::{Bundle, Place, State};
use super::{Manifest, Token};
use crate::error::Result;
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
    /// [`ConvertError::Manifest`](crate::error::ConvertError::Manifest) for two masks, for a mask without an encoder or in `[state]`, and for `pad` without a mask.
    pub fn mask(&self) -> Result<Option<PaddingMask>> {
        let place = if self.decode.is_some() {
            "[decode] "
        } else {
            ""
        };
        let wrong = |reason: String| Err(self.wrong(format!("{place}{reason}")));
        let (mask, padding_mask, pad) = self.padding();
        let (input, inside) = match (mask, padding_mask) {
            (Some(_), Some(_)) => {
                return wrong("has a `mask` and a `padding_mask`: name one input".into());
            }
            (Some(input), None) => (input, 1.0),
            (None, Some(input)) => (input, 0.0),
            (None, None) if pad.is_some() => {
                let reason = "`pad` is there, but no `mask` to tell padding from the sequence";
                return wrong(reason.into());
            }
            (None, None) => return Ok(None),
        };
        if let Some(decode) = &self.decode {
            if self.mask.is_some() || self.padding_mask.is_some() || self.pad.is_some() {
                return wrong("has the mask and its padding: move them there".into());
            }
            if decode.encode.is_none() {
                return wrong(format!(
                    "mask `{input}`: without an `encode` there is no sequence that could be padded"
                ));
            }
            if decode.input.as_ref() == Some(input) || decode.token == *input {
                return wrong(format!(
                    "mask `{input}` is also named as `input` or `token`"
                ));
            }
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

impl Manifest {
    /// The mask, the padding mask and the symbol of padding: in `[decode]`, or beside it where there is none.
    fn padding(&self) -> (Option<&String>, Option<&String>, Option<&Token>) {
        match &self.decode {
            Some(d) => (d.mask.as_ref(), d.padding_mask.as_ref(), d.pad.as_ref()),
            None => (
                self.mask.as_ref(),
                self.padding_mask.as_ref(),
                self.pad.as_ref(),
            ),
        }
    }
}

impl Bundle<'_> {
    /// Removes the mask from the inputs of part `number`, if it is among them, and checks that it fits the sequence.
    ///
    /// # Errors
    /// [`ConvertError::Manifest`](crate::error::ConvertError::Manifest) for a mask that is not one row as long as the longest sequence.
    pub(super) fn take_mask(&mut self, number: usize, inputs: &mut Vec<Input>) -> Result<()> {
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
    /// [`ConvertError::Manifest`](crate::error::ConvertError::Manifest); [`ConvertError::NotOnnx`](crate::error::ConvertError::NotOnnx).
    pub(super) fn find_mask(&self, paths: &[PathBuf]) -> Result<()> {
        let Some(mask) = &self.mask else {
            return Ok(());
        };
        for path in paths {
            if input_names(path)?.contains(&mask.input) {
                return Ok(());
            }
        }
        Err(self.manifest.wrong(format!(
            "no entry has an input `{}` that could be the mask",
            mask.input
        )))
    }

    /// Padding of the input after a shorter sequence, as in the file: a symbol, 0 for zeros, [`NONE`] for no padding.
    ///
    /// # Errors
    /// [`ConvertError::Manifest`](crate::error::ConvertError::Manifest) for a mask without a `pad`, or a `pad` that is not among the symbols.
    pub(super) fn pad(&self) -> Result<u32> {
        let (Some(_), Some(part)) = (&self.mask, self.first()) else {
            return Ok(NONE);
        };
        let all: Result<Vec<u32>, _> = self
            .given_inputs(part)
            .map(|input| self.pad_of(part, input))
            .collect();
        let all = all?;
        let symbols = all.iter().copied().filter(|&pad| pad != NONE);
        Ok(symbols.max().unwrap_or(NONE))
    }

    fn pad_of(&self, part: usize, input: &Input) -> Result<u32> {
        let wrong = |reason: String| Err(self.manifest.wrong(reason));
        let (_, _, pad) = self.manifest.padding();
        let (graph, name) = (&self.graphs[part], &input.name);
        let id = self
            .input(part, name)
            .ok_or_else(|| self.missing("input", part, name))?;
        let symbols = graph.tokens.contains(&id);
        if !symbols && pad.is_some() && self.decoding.is_some() {
            return wrong(format!(
                "`pad` is a symbol, but input `{name}` is none: its padding is zeros, leave `pad` out"
            ));
        }
        // An input of variable length is never padded.
        if input.dynamic.is_some() {
            return Ok(NONE);
        }
        let rows = graph.values[id.0].rows();
        if rows != self.max_length && self.decoding.is_none() {
            // It is beside the sequence.
            return Ok(NONE);
        }
        if rows != self.max_length {
            let mask = self.mask.as_ref().map_or("", |mask| &mask.input);
            return wrong(format!(
                "mask `{mask}` has {} elements, input `{name}` {rows} rows: both must be the same",
                self.max_length
            ));
        }
        if !symbols {
            return Ok(0);
        }
        let Some(pad) = pad else {
            let mask = self.mask.as_ref().map_or("", |mask| &mask.input);
            return wrong(format!(
                "mask `{mask}` but no `pad`: say which symbol fills input `{name}` behind a sequence"
            ));
        };
        let names = self.manifest.symbols()?;
        let number = self.manifest.number(pad, &names)?;
        let known = match names.len() {
            0 => table(graph).unwrap_or(usize::MAX),
            known => known,
        };
        if number as usize >= known {
            return wrong(format!("pad {number}: there are {known} symbols"));
        }
        Ok(number)
    }

    /// Removes computation on padding rows that no consumer reads, across all entry points.
    ///
    /// # Errors
    /// Those of [`variable_length::follow`] and of [`Self::pad`].
    pub(super) fn narrow(&mut self) -> Result<()> {
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

    /// True for an input of a part that has as many rows as the longest sequence.
    pub(super) fn is_sequence(&self, part: usize, input: &Input) -> bool {
        let rows = |id: ValueId| self.graphs[part].values[id.0].rows();
        self.input(part, &input.name).map(rows) == Some(self.max_length)
    }

    /// The mask for a sequence of `length`.
    pub(super) fn mask_for(&self, input: &Input, length: usize) -> Option<ArrayD<f32>> {
        let mask = self.mask.as_ref()?;
        (mask.input == input.name).then(|| mask.array(&input.shape, length))
    }

    /// A sequence with as many rows as input `name` of a part has: padding is put behind it.
    pub(super) fn padded(
        &self,
        part: usize,
        name: &str,
        sequence: &ArrayD<f32>,
    ) -> Result<ArrayD<f32>> {
        let rows = self
            .input(part, name)
            .map_or(0, |id| self.graphs[part].values[id.0].rows());
        let have = sequence.shape().first().copied().unwrap_or(0);
        if self.mask.is_none() || self.is_dynamic(part, name) || have >= rows {
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
    graph.nodes.iter().find_map(|node| {
        let Op::Embedding(op::Embedding { table }) = &node.op else {
            return None;
        };
        table.shape().first().copied()
    })
}
