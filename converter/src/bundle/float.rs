//! The models of a bundle run together in float, by tract: a single model or an encoder once, then a step for each token.

use super::{Decode, Manifest};
use crate::error::{ConvertError, Result};
use crate::fuse::fuse;
use crate::graph::equalize;
use crate::graph::stream::{self, Rows};
use crate::graph::variable_length;
use crate::graph::{Graph, Node, ValueId, float};
use crate::import::{PaddingMask, import_masked};
use crate::reference::{Input, Reference};
use crate::shapes::LengthOf;
use attn_runtime::format::RowRule;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::rc::Rc;
use tract_onnx::pb;

/// A value of one of the models.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Number of the model.
    pub part: usize,
    /// ONNX name of the value.
    pub value: String,
}

/// A value that is kept between runs.
#[derive(Clone, Debug)]
pub struct State {
    /// Its name in the manifest.
    pub name: String,
    /// Outputs that are kept.
    pub from: Vec<Place>,
    /// The input that reads them.
    pub to: Place,
}

impl State {
    /// Written by one model and read by another, which does not change it.
    pub fn is_shared(&self) -> bool {
        self.from.len() == 1 && self.from[0].part != self.to.part
    }
}

/// The parts of a bundle that decode a sequence.
pub struct Decoding<'m> {
    /// What the manifest says.
    pub keys: &'m Decode,
    /// Number of the encoder.
    pub encode: Option<usize>,
    /// Number of the step.
    pub step: usize,
    /// For a step that was exported over a whole sequence of tokens: how every value relates to the tokens. Such a step is lowered
    /// as a stream.
    pub stream: Option<Vec<Rows>>,
}

/// All models of a bundle.
pub struct Bundle<'m> {
    /// The manifest.
    pub manifest: &'m Manifest,
    /// Names of the entry points, in order.
    pub names: Vec<String>,
    paths: Vec<PathBuf>,
    /// Values that are kept between runs.
    pub states: Vec<State>,
    /// How a sequence is decoded; none where there is one model, which is run as it is.
    pub decoding: Option<Decoding<'m>>,
    /// Length of the longest sequence; 0 where none varies.
    pub max_length: usize,
    /// The padding mask.
    pub(super) mask: Option<PaddingMask>,
    /// What each model computes, for the longest sequence.
    pub graphs: Vec<Graph>,
    /// Names of the inputs of each model, in the order of its graph's.
    pub(super) inputs: Vec<Vec<Input>>,
    /// Names of the outputs of each model, in the order of its graph's.
    pub(super) outputs: Vec<Vec<String>>,
    /// Row rule of each model's dynamic axis: its length, from the length of the sequence.
    pub(super) rules: Vec<RowRule>,
    /// Of outputs that are kept in another order: the value in that order.
    pub(super) moved: HashMap<String, ValueId>,
    loaded: HashMap<(usize, usize), Rc<Reference>>,
}

impl<'m> Bundle<'m> {
    /// Loads the models of a manifest for the longest sequence.
    ///
    /// # Errors
    /// Errors from loading and importing each model; [`ConvertError::Manifest`] for unknown names.
    pub fn load(manifest: &'m Manifest) -> Result<Self> {
        let names: Vec<String> = manifest.order()?.into_iter().map(String::from).collect();
        let number = |name: &str| {
            let found = names.iter().position(|known| known == name);
            found.ok_or_else(|| {
                manifest.wrong(format!(
                    "[decode] names entry `{name}`, which [entries] does not have"
                ))
            })
        };
        let decoding = |keys: &'m Decode| -> Result<_> {
            Ok(Decoding {
                keys,
                encode: keys.encode.as_deref().map(number).transpose()?,
                step: number(&keys.step)?,
                stream: None,
            })
        };
        let decoding = manifest.decode.as_ref().map(decoding).transpose()?;
        let place = |name: &str| {
            let (entry, value) = manifest.split(name)?;
            Ok(Place {
                part: number(entry)?,
                value: value.into(),
            })
        };
        let mut states = Vec::new();
        for (name, wiring) in &manifest.state {
            let from = wiring
                .from
                .iter()
                .map(|name| place(name))
                .collect::<Result<Vec<_>>>()?;
            states.push(State {
                name: name.clone(),
                from,
                to: place(&wiring.to)?,
            });
        }
        let paths = names
            .iter()
            .map(|name| manifest.resolve(&manifest.entries[name]))
            .collect();
        let mut bundle = Self {
            manifest,
            names,
            paths,
            states,
            decoding,
            max_length: 0,
            mask: manifest.mask()?,
            graphs: Vec::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            rules: Vec::new(),
            moved: HashMap::new(),
            loaded: HashMap::new(),
        };
        bundle.find_mask(&bundle.paths)?;
        bundle.follow()?;
        Ok(bundle)
    }

    /// Loads every model for the longest sequence, and finds the row rule of each dynamic axis.
    fn follow(&mut self) -> Result<()> {
        let longest = self.manifest.max_length;
        for part in 0..self.paths.len() {
            // A dynamic axis of a shared value has the length that its writer gives it.
            let mut rule = variable_length::ALL;
            for state in self.states.iter().filter(|state| state.to.part == part) {
                for from in state.from.iter().filter(|from| from.part < part) {
                    let graph = &self.graphs[from.part];
                    let value = self.output(from.part, &from.value);
                    if let Some(&found) = value.and_then(|id| graph.varying.get(&id)) {
                        rule = found;
                    }
                }
            }
            self.rules.push(rule);
            let length = longest.map(|longest| rule.rows(longest));
            let reference = self.load_part(part, length);
            let reference = reference.map_err(|error| self.needs_length(part, error))?;
            let mut own_inputs = reference.inputs().to_vec();
            self.take_mask(part, &mut own_inputs)?;
            let mut graph = import_masked(&reference, self.mask.as_ref())?;
            fuse(&mut graph);
            self.check_seen(part, &graph)?;
            let varying = |(input, &id): (&Input, &ValueId)| {
                let varies = input.dynamic.is_some() && !self.is_token(part, &input.name);
                varies.then_some((id, rule))
            };
            let inputs: BTreeMap<ValueId, RowRule> = own_inputs
                .iter()
                .zip(&graph.inputs)
                .filter_map(varying)
                .collect();
            variable_length::follow(&mut graph, &inputs)?;
            if !inputs.is_empty() {
                self.max_length = longest.unwrap_or(0);
            }
            self.graphs.push(graph);
            self.inputs.push(own_inputs);
            let outputs = reference.graph().output.iter();
            self.outputs
                .push(outputs.map(|output| output.name.clone()).collect());
            self.loaded
                .insert((part, length.unwrap_or(0)), Rc::new(reference));
        }
        self.narrow()?;
        match self.keeps_states() {
            true => self.check_states()?,
            false => self.states.iter().try_for_each(|state| self.check(state))?,
        }
        (0..self.names.len()).try_for_each(|part| self.check_given(part))?;
        self.follow_tokens()
    }

    /// Checks that calibration sees every value: as an ONNX tensor, or computed besides.
    fn check_seen(&self, part: usize, graph: &Graph) -> Result<()> {
        let unseen = |node: &&Node| {
            graph.values[node.output.0].source.is_none() && !float::computes(&node.op)
        };
        match graph.nodes.iter().find(unseen) {
            None => Ok(()),
            Some(node) => Err(ConvertError::Unexpected {
                path: self.paths[part].clone(),
                reason: format!(
                    "no value of the float run is the result of node `{}`",
                    node.name
                ),
            }),
        }
    }

    /// Equalises the channels of all models, for files in integers.
    pub fn equalize(&mut self) {
        self.graphs.iter_mut().for_each(equalize::equalize);
    }

    /// The ONNX graph of a part.
    pub fn onnx(&self, part: usize) -> &pb::GraphProto {
        let loaded = self.loaded.iter().find(|(key, _)| key.0 == part);
        loaded.expect("every part is loaded").1.graph()
    }

    /// The part that runs once for each sample: the encoder, or a model that is alone.
    pub fn first(&self) -> Option<usize> {
        match &self.decoding {
            Some(decoding) => decoding.encode,
            None => Some(0),
        }
    }

    /// The step's number, if this part is one, and how it is decoded.
    pub fn as_step(&self, part: usize) -> Option<&Decoding<'m>> {
        self.decoding
            .as_ref()
            .filter(|decoding| decoding.step == part)
    }

    /// The inputs of a part that no state and no mask gives.
    pub(super) fn given_inputs(&self, part: usize) -> impl Iterator<Item = &Input> {
        let wired = move |input: &&Input| {
            let states = self.states.iter();
            !states
                .map(|s| &s.to)
                .any(|to| to.part == part && to.value == input.name)
        };
        self.inputs[part].iter().filter(wired)
    }

    /// The caller gives an encoder its input and a step its token, and no other input may be left without a value.
    fn check_given(&self, part: usize) -> Result<()> {
        let entry = &self.names[part];
        let given = match &self.decoding {
            Some(decoding) if part == decoding.step => Some(&decoding.keys.token),
            Some(decoding) if Some(part) == decoding.encode => decoding.keys.input.as_ref(),
            Some(_) => {
                return Err(self.manifest.wrong(format!(
                    "[entries] `{entry}` is neither `encode` nor `step` of [decode]: it would never run"
                )));
            }
            None if self.names.len() == 1 => return Ok(()),
            None => {
                return Err(self
                    .manifest
                    .wrong("several entry points need [decode] to say when each runs"));
            }
        };
        if let Some(name) = given.filter(|name| self.input(part, name).is_none()) {
            return Err(self.missing("input", part, name));
        }
        let mut others = self.given_inputs(part);
        match others.find(|input| given != Some(&input.name)) {
            Some(input) => Err(self.manifest.wrong(format!(
                "input `{}` of entry `{entry}` has no source: wire it in [state] or name it in [decode]",
                input.name
            ))),
            None => Ok(()),
        }
    }

    /// Checks that a step over a whole sequence of tokens can run token by token.
    fn follow_tokens(&mut self) -> Result<()> {
        let Some(Decoding {
            keys: decode, step, ..
        }) = self.decoding
        else {
            return Ok(());
        };
        let token = self.input(step, &decode.token);
        let token = token.ok_or_else(|| self.missing("input", step, &decode.token))?;
        let logits = self.output(step, &decode.logits);
        let logits = logits.ok_or_else(|| self.missing("output", step, &decode.logits))?;
        let longest = self.graphs[step].values[token.0].rows();
        if longest <= 1 {
            return Ok(());
        }
        let wrong = |reason: String| Err(self.manifest.wrong(reason));
        if (decode.max_tokens as usize) > longest {
            return wrong(format!(
                "[decode] max_tokens = {}, but the step was exported for {longest} tokens: at most {longest}",
                decode.max_tokens
            ));
        }
        if let Some(state) = self.states.iter().find(|state| !state.is_shared()) {
            return wrong(format!(
                "[state] {}: a step over a whole sequence of tokens keeps its past itself: wire nothing from the step to itself",
                state.name
            ));
        }
        let shared = self.states.iter().filter(|state| state.to.part == step);
        let shared = shared.filter_map(|state| self.input(step, &state.to.value));
        let rows = stream::follow(&self.graphs[step], &shared.collect())?;
        if rows[logits.0] != Rows::Frames || self.graphs[step].values[logits.0].rows() != longest {
            return wrong(format!(
                "output `{}` must have a row of logits for each of the {longest} tokens",
                decode.logits
            ));
        }
        if let Some(decoding) = &mut self.decoding {
            decoding.stream = Some(rows);
        }
        Ok(())
    }

    /// True for the input that takes the token, or all tokens.
    pub(super) fn is_token(&self, part: usize, input: &str) -> bool {
        self.as_step(part)
            .is_some_and(|decoding| decoding.keys.token == input)
    }

    /// Loads a model for sequences of `length`.
    fn load_part(&self, part: usize, length: Option<usize>) -> Result<Reference> {
        let length_of = |input: &str| match self.as_step(part) {
            Some(decoding) if decoding.keys.token == input => {
                Some(decoding.keys.max_tokens as usize)
            }
            _ => length,
        };
        let varies = self.decoding.is_some() || self.manifest.max_length.is_some();
        let length_of = varies.then_some(&length_of as LengthOf);
        Reference::load_with(&self.paths[part], length_of)
    }

    /// In a bundle a dynamic axis is allowed, and needs a greatest length.
    fn needs_length(&self, part: usize, error: ConvertError) -> ConvertError {
        match error {
            ConvertError::DynamicShape { input, .. }
                if self.manifest.max_length.is_none() && self.decoding.is_some() =>
            {
                self.manifest.wrong(format!(
                    "input `{input}` of entry `{}` has an axis of variable length: say `max_length = …`",
                    self.names[part]
                ))
            }
            other => other,
        }
    }

    /// The input of a model with this name.
    pub fn input(&self, part: usize, name: &str) -> Option<ValueId> {
        let at = self.inputs[part]
            .iter()
            .position(|input| input.name == name)?;
        self.graphs[part].inputs.get(at).copied()
    }

    /// The inputs of a model, with their names.
    pub fn named_inputs(&self, part: usize) -> impl Iterator<Item = (&str, ValueId)> {
        let names = self.inputs[part].iter().map(|input| input.name.as_str());
        names.zip(self.graphs[part].inputs.iter().copied())
    }

    /// True when the input of a model with this name has an axis of variable length.
    pub(super) fn is_dynamic(&self, part: usize, name: &str) -> bool {
        let named = |input: &&Input| input.name == name;
        let input = self.inputs[part].iter().find(named);
        input.is_some_and(|input| input.dynamic.is_some())
    }

    /// The output of a model with this name.
    pub fn output(&self, part: usize, name: &str) -> Option<ValueId> {
        let at = self.outputs[part]
            .iter()
            .position(|output| output == name)?;
        self.graphs[part].outputs.get(at).copied()
    }

    /// An error for an unknown name, which lists the known ones.
    pub fn missing(&self, what: &str, part: usize, name: &str) -> ConvertError {
        let names: Vec<&str> = match what {
            "input" => self.inputs[part]
                .iter()
                .map(|input| input.name.as_str())
                .collect(),
            _ => self.outputs[part].iter().map(String::as_str).collect(),
        };
        self.manifest.wrong(format!(
            "entry `{}` has no {what} `{name}`; it has {}",
            self.names[part],
            names.join(", ")
        ))
    }

    /// Names of the symbolic batch axes of all models, which were taken as 1.
    pub fn batch(&self) -> Vec<String> {
        let all = self.loaded.values().flat_map(|model| model.batch());
        let names: BTreeSet<&String> = all.collect();
        names.into_iter().cloned().collect()
    }

    /// A model as it was loaded first.
    pub(super) fn reference(&self, part: usize) -> &Reference {
        let mut loaded = self.loaded.iter();
        let found = loaded.find(|(key, _)| key.0 == part);
        found
            .map(|(_, reference)| &**reference)
            .expect("every part is loaded")
    }

    pub(super) fn part(&mut self, part: usize, length: usize) -> Result<Rc<Reference>> {
        // Without an axis of variable length, one loaded model serves all sequences.
        let mut loaded = self.loaded.iter().filter(|(key, _)| key.0 == part);
        if let Some((_, fixed)) = loaded.next()
            && fixed.inputs().iter().all(|input| input.dynamic.is_none())
        {
            return Ok(fixed.clone());
        }
        let length = match self.max_length {
            0 => self.manifest.max_length.unwrap_or(0),
            _ => self.rules[part].rows(length),
        };
        if let Some(loaded) = self.loaded.get(&(part, length)) {
            return Ok(loaded.clone());
        }
        let loaded = Rc::new(self.load_part(part, Some(length))?);
        self.loaded.insert((part, length), loaded.clone());
        Ok(loaded)
    }

    /// Both ends of a state must exist and have the same size.
    fn check(&self, state: &State) -> Result<()> {
        let to = &state.to;
        let reader = self.input(to.part, &to.value);
        let reader = reader.ok_or_else(|| self.missing("input", to.part, &to.value))?;
        let size = &self.graphs[to.part].values[reader.0].dims;
        if state.from.is_empty() {
            let reason = format!(
                "[state] {}: nothing writes it: name an output in `from`",
                state.name
            );
            return Err(self.manifest.wrong(reason));
        }
        for from in &state.from {
            let value = self.output(from.part, &from.value);
            let value = value.ok_or_else(|| self.missing("output", from.part, &from.value))?;
            let dims = &self.graphs[from.part].values[value.0].dims;
            if dims.iter().product::<usize>() != size.iter().product::<usize>() {
                return Err(self.manifest.wrong(format!(
                    "[state] {}: `{}.{}` is {dims:?}, `{}.{}` takes {size:?}: they must be of one size",
                    state.name, self.names[from.part], from.value, self.names[to.part], to.value
                )));
            }
        }
        Ok(())
    }
}
