//! The models of a bundle run together in float, by tract: an encoder once, then a step for each token.

use super::{Manifest, Token};
use crate::error::ConvertError;
use crate::files::{FileError, open_npz, read_array};
use crate::graph::{Graph, ValueId};
use crate::import::import;
use crate::reference::{Input, Reference, Values, to_f32};
use crate::rows;
use attn_runtime::format::RowRule;
use ndarray::{Array0, Array1, Array2, ArrayD, Axis, IxDyn, Slice};
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// One model, loaded for sequences of some length.
pub struct Loaded {
    /// What computes.
    pub reference: Reference,
    /// What it computes.
    pub graph: Graph,
}

/// A value of one of the models.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Number of the model.
    pub part: usize,
    /// ONNX name of the value.
    pub value: String,
}

/// A value that outlives a run.
#[derive(Clone, Debug)]
pub struct State {
    /// Its name in the manifest.
    pub name: String,
    /// Outputs that are kept.
    pub from: Vec<Place>,
    /// The input that takes them.
    pub to: Place,
}

/// All models of a bundle.
pub struct Bundle<'m> {
    /// The manifest.
    pub manifest: &'m Manifest,
    /// Names of the entry points, in order.
    pub names: Vec<String>,
    paths: Vec<PathBuf>,
    /// Values that outlive a run.
    pub states: Vec<State>,
    /// Number of the encoder.
    pub encode: Option<usize>,
    /// Number of the step.
    pub step: usize,
    /// Length of the longest sequence; 0 where none varies.
    pub max_length: usize,
    /// How the length of each model's own dynamic axis follows from that of the sequence.
    rules: Vec<RowRule>,
    loaded: HashMap<(usize, usize), Rc<Loaded>>,
}

impl<'m> Bundle<'m> {
    /// Loads the models of a manifest for the longest sequence.
    ///
    /// # Errors
    /// Those of loading and importing each model; [`ConvertError::Manifest`] for names that are not there.
    pub fn load(manifest: &'m Manifest) -> Result<Self, ConvertError> {
        let names: Vec<String> = manifest.order()?.into_iter().map(String::from).collect();
        let number = |name: &str| {
            let found = names.iter().position(|known| known == name);
            found.ok_or_else(|| {
                manifest.wrong(format!(
                    "[decode] names entry `{name}`, which [entries] does not have"
                ))
            })
        };
        let step = number(&manifest.decode.step)?;
        let encode = manifest.decode.encode.as_deref().map(number).transpose()?;
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
                .collect::<Result<Vec<_>, ConvertError>>()?;
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
            encode,
            step,
            max_length: 0,
            rules: Vec::new(),
            loaded: HashMap::new(),
        };
        bundle.follow()?;
        Ok(bundle)
    }

    /// Finds out how the dynamic axes of the models hang together.
    fn follow(&mut self) -> Result<(), ConvertError> {
        let longest = self.manifest.max_length;
        for part in 0..self.paths.len() {
            // A model whose dynamic axis is that of a shared value has as many rows as its writer gave it.
            let writer = |state: &&State| {
                state.to.part == part && state.from.iter().all(|from| from.part < part)
            };
            let shared: Vec<State> = self.states.iter().filter(writer).cloned().collect();
            let mut rule = rows::ALL;
            for state in &shared {
                let from = &state.from[0];
                let length = self.own_length(from.part, longest.unwrap_or(0));
                let graph = &self.part(from.part, length)?.graph;
                let value = find(graph, &graph.outputs, &from.value);
                if let Some(&found) = value.and_then(|id| graph.varying.get(&id)) {
                    rule = found;
                }
            }
            self.rules.push(rule);
            let length = longest.map(|longest| rule.rows(longest));
            let loaded = self.load_part(part, length)?;
            if loaded
                .reference
                .inputs()
                .iter()
                .any(|input| input.dynamic.is_some())
            {
                self.max_length = longest.unwrap_or(0);
            }
            self.loaded
                .insert((part, length.unwrap_or(0)), Rc::new(loaded));
        }
        for state in &self.states {
            self.check(state)?;
        }
        Ok(())
    }

    fn load_part(&self, part: usize, length: Option<usize>) -> Result<Loaded, ConvertError> {
        let reference = Reference::load_for(&self.paths[part], length)?;
        let mut graph = import(&reference)?;
        let rule = self.rules[part];
        let varying = |(input, &id): (&Input, &ValueId)| input.dynamic.map(|_| (id, rule));
        let inputs: BTreeMap<ValueId, RowRule> = reference
            .inputs()
            .iter()
            .zip(&graph.inputs)
            .filter_map(varying)
            .collect();
        rows::follow(&mut graph, &inputs)?;
        Ok(Loaded { reference, graph })
    }

    /// Length of the own dynamic axis of a model for a sequence of `length`.
    fn own_length(&self, part: usize, length: usize) -> usize {
        self.rules[part].rows(length)
    }

    fn part(&mut self, part: usize, own_length: usize) -> Result<Rc<Loaded>, ConvertError> {
        if let Some(loaded) = self.loaded.get(&(part, own_length)) {
            return Ok(loaded.clone());
        }
        let loaded = Rc::new(self.load_part(part, Some(own_length))?);
        self.loaded.insert((part, own_length), loaded.clone());
        Ok(loaded)
    }

    /// Model number `part` as it is for the longest sequence.
    ///
    /// # Errors
    /// Those of loading.
    pub fn longest(&mut self, part: usize) -> Result<Rc<Loaded>, ConvertError> {
        let longest = self
            .manifest
            .max_length
            .map_or(0, |longest| self.own_length(part, longest));
        self.part(part, longest)
    }

    /// Both ends of a state must exist and be of one size.
    fn check(&self, state: &State) -> Result<(), ConvertError> {
        let longest = |part: usize| {
            let length = self
                .manifest
                .max_length
                .map_or(0, |longest| self.own_length(part, longest));
            &self.loaded[&(part, length)].graph
        };
        let wrong = |reason: String| {
            Err(self
                .manifest
                .wrong(format!("[state] {}: {reason}", state.name)))
        };
        let graph = longest(state.to.part);
        let entry = |part: usize| &self.names[part];
        let Some(to) = find(graph, &graph.inputs, &state.to.value) else {
            let names = listed(graph, &graph.inputs);
            return wrong(format!(
                "`{}` has no input `{}`; its inputs: {names}",
                entry(state.to.part),
                state.to.value
            ));
        };
        let size = graph.values[to.0].dims.clone();
        if state.from.is_empty() {
            return wrong("nothing writes it: name an output in `from`".into());
        }
        for from in &state.from {
            let graph = longest(from.part);
            let Some(value) = find(graph, &graph.outputs, &from.value) else {
                let names = listed(graph, &graph.outputs);
                return wrong(format!(
                    "`{}` has no output `{}`; its outputs: {names}",
                    entry(from.part),
                    from.value
                ));
            };
            let dims = &graph.values[value.0].dims;
            if dims.iter().product::<usize>() != size.iter().product::<usize>() {
                return wrong(format!(
                    "`{}.{}` is {dims:?}, `{}.{}` takes {size:?}: encoder and step must agree",
                    entry(from.part),
                    from.value,
                    entry(state.to.part),
                    state.to.value
                ));
            }
        }
        Ok(())
    }

    /// Runs the models over one sample and shows the values of each run: the number of the model, the model as loaded for
    /// the sample's length, and all its values.
    ///
    /// # Errors
    /// [`ConvertError::Reference`].
    pub fn run(
        &mut self,
        sample: &Sample,
        mut seen: impl FnMut(usize, &Loaded, &Values),
    ) -> Result<(), ConvertError> {
        let mut kept: Vec<Option<ArrayD<f32>>> = vec![None; self.states.len()];
        if let (Some(encode), Some(input)) = (self.encode, &sample.input) {
            let values =
                self.run_part(encode, sample.length, |_| Some(input.clone()), &mut kept)?;
            let loaded = self.part(encode, self.own_length(encode, sample.length))?;
            seen(encode, &loaded, &values);
        }
        for &token in &sample.tokens {
            let token = |name: &str| {
                (name == self.manifest.decode.token)
                    .then(|| ArrayD::from_elem(IxDyn(&[1]), token as f32))
            };
            let step = self.step;
            let values = self.run_part(step, sample.length, token, &mut kept)?;
            let loaded = self.part(step, self.own_length(step, sample.length))?;
            seen(step, &loaded, &values);
        }
        Ok(())
    }

    fn run_part(
        &mut self,
        part: usize,
        length: usize,
        given: impl Fn(&str) -> Option<ArrayD<f32>>,
        kept: &mut [Option<ArrayD<f32>>],
    ) -> Result<Values, ConvertError> {
        let length = if self.max_length == 0 {
            0
        } else {
            self.own_length(part, length)
        };
        let loaded = self.part(part, length)?;
        let mut inputs = Vec::new();
        for input in loaded.reference.inputs() {
            let state = self
                .states
                .iter()
                .position(|state| state.to.part == part && state.to.value == input.name);
            let array = match state {
                // Before anything was written a state is zero.
                Some(at) => Some(
                    kept[at]
                        .clone()
                        .unwrap_or_else(|| ArrayD::zeros(input.shape.as_slice())),
                ),
                None => given(&input.name),
            };
            let array = array.ok_or_else(|| {
                self.manifest.wrong(format!(
                    "input `{}` of entry `{}` is given by nobody: wire it in [state] or name it in [decode]",
                    input.name, self.names[part]
                ))
            })?;
            inputs.push(array);
        }
        let values = loaded.reference.run(&inputs)?;
        for (state, kept) in self.states.iter().zip(kept) {
            for from in state.from.iter().filter(|from| from.part == part) {
                *kept = values.get(&from.value).and_then(|tensor| to_f32(tensor));
            }
        }
        Ok(values)
    }
}

fn find(graph: &Graph, among: &[ValueId], name: &str) -> Option<ValueId> {
    let named = |id: &&ValueId| {
        graph.values[id.0]
            .source
            .as_ref()
            .is_some_and(|source| source.onnx == name)
    };
    among.iter().find(named).copied()
}

fn listed(graph: &Graph, among: &[ValueId]) -> String {
    let names: Vec<&str> = among
        .iter()
        .map(|id| graph.values[id.0].name.as_str())
        .collect();
    names.join(", ")
}

/// The value of `among` that stands for the ONNX value `name`.
///
/// # Errors
/// [`ConvertError::Manifest`] when there is none.
pub fn named(
    manifest: &Manifest,
    graph: &Graph,
    among: &[ValueId],
    name: &str,
) -> Result<ValueId, ConvertError> {
    find(graph, among, name).ok_or_else(|| {
        manifest.wrong(format!(
            "there is no `{name}` among {}",
            listed(graph, among)
        ))
    })
}

/// One sequence with the tokens to be fed to the step.
#[derive(Clone, Debug)]
pub struct Sample {
    /// The encoder's input: tokens `[length]` or rows `[length, …]`.
    pub input: Option<ArrayD<f32>>,
    /// Length of the sequence.
    pub length: usize,
    /// Tokens, the start token first.
    pub tokens: Vec<u32>,
}

/// Sequences of an npz file: an array `INPUT` `[samples, longest, …]` (int64 for symbols, padded with -1; float32 or int8 with
/// `scale`), `INPUT_len` `[samples]` with their lengths (all as long as the array without it), and `tokens`
/// `[samples, most]` int64, padded with -1, that are fed to the step one by one.
pub struct Samples {
    /// The sequences.
    pub samples: Vec<Sample>,
}

impl Samples {
    /// Reads the sequences for a bundle.
    ///
    /// # Errors
    /// [`ConvertError::File`], [`ConvertError::Data`].
    pub fn load(path: &Path, bundle: &mut Bundle) -> Result<Self, ConvertError> {
        let tokens: Array2<i64> = read_array(path, "tokens")?;
        let mut samples: Vec<Sample> = tokens
            .outer_iter()
            .map(|row| Sample {
                input: None,
                length: 0,
                tokens: row
                    .iter()
                    .take_while(|&&token| token >= 0)
                    .map(|&token| token as u32)
                    .collect(),
            })
            .collect();
        let wrong = |array: &str, reason: String| ConvertError::Data {
            path: path.into(),
            array: array.into(),
            reason,
        };
        if samples.is_empty() {
            return Err(wrong("tokens", "it holds no samples".into()));
        }
        let (Some(encode), Some(name)) = (bundle.encode, bundle.manifest.decode.input.clone())
        else {
            return Ok(Self { samples });
        };
        let loaded = bundle.longest(encode)?;
        let input = loaded
            .reference
            .inputs()
            .iter()
            .find(|input| input.name == name);
        let input = input.ok_or_else(|| {
            bundle.manifest.wrong(format!(
                "[decode] input `{name}` is no input of the encoder"
            ))
        })?;
        let array = read_sequences(path, input)?;
        let lengths = lengths(path, &name, &array)?;
        if array.shape()[0] != samples.len() || lengths.len() != samples.len() {
            return Err(wrong(
                &name,
                format!(
                    "{} samples, `tokens` has {}",
                    array.shape()[0],
                    samples.len()
                ),
            ));
        }
        for ((sample, sequence), length) in samples.iter_mut().zip(array.outer_iter()).zip(lengths)
        {
            let longest = sequence.shape()[0];
            if length == 0
                || length > longest
                || (bundle.max_length > 0 && length > bundle.max_length)
            {
                return Err(wrong(
                    &format!("{name}_len"),
                    format!(
                        "a length of {length}; sequences have 1 to {}",
                        longest.min(bundle.max_length.max(1))
                    ),
                ));
            }
            sample.length = length;
            let kept = if bundle.max_length > 0 {
                length
            } else {
                longest
            };
            let sequence = sequence.slice_axis(Axis(0), Slice::from(..kept));
            if sequence
                .iter()
                .any(|x| !x.is_finite() || (input.integer && *x < 0.0))
            {
                return Err(wrong(
                    &name,
                    "a sequence holds NaN, or padding before its end".into(),
                ));
            }
            sample.input = Some(sequence.to_owned());
        }
        Ok(Self { samples })
    }
}

fn read_sequences(path: &Path, input: &Input) -> Result<ArrayD<f32>, ConvertError> {
    if input.integer {
        return Ok(read_array::<i64, IxDyn>(path, &input.name)?.mapv(|token| token as f32));
    }
    match read_array::<f32, IxDyn>(path, &input.name) {
        Err(FileError::WrongArray { .. }) => {
            let quantized = read_array::<i8, IxDyn>(path, &input.name)?;
            let scale: Array0<f32> = read_array(path, "scale")?;
            Ok(quantized.mapv(|q| f32::from(q) * scale[()]))
        }
        other => Ok(other?),
    }
}

fn lengths(path: &Path, name: &str, array: &ArrayD<f32>) -> Result<Vec<usize>, ConvertError> {
    let (_, names) = open_npz(path)?;
    let name = format!("{name}_len");
    if !names.contains(&name) {
        let all = array.shape().get(1).copied().unwrap_or(0);
        return Ok(vec![all; array.shape()[0]]);
    }
    let lengths: Array1<i64> = read_array(path, &name)?;
    Ok(lengths
        .iter()
        .map(|&length| usize::try_from(length).unwrap_or(0))
        .collect())
}

impl Token {
    /// For messages.
    pub fn label(&self) -> String {
        match self {
            Token::Number(number) => number.to_string(),
            Token::Name(name) => name.clone(),
        }
    }
}
