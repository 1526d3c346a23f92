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
    /// What each model computes, for the longest sequence.
    pub graphs: Vec<Graph>,
    /// Names of the inputs of each model, in the order of its graph's.
    inputs: Vec<Vec<Input>>,
    /// Names of the outputs of each model, in the order of its graph's.
    outputs: Vec<Vec<String>>,
    /// How the length of each model's own dynamic axis follows from that of the sequence.
    rules: Vec<RowRule>,
    loaded: HashMap<(usize, usize), Rc<Reference>>,
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
            graphs: Vec::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            rules: Vec::new(),
            loaded: HashMap::new(),
        };
        bundle.follow()?;
        Ok(bundle)
    }

    /// Loads every model for the longest sequence, and finds out how their dynamic axes hang together.
    fn follow(&mut self) -> Result<(), ConvertError> {
        let longest = self.manifest.max_length;
        for part in 0..self.paths.len() {
            // A model whose dynamic axis is that of a shared value has as many rows as its writer gave it.
            let mut rule = rows::ALL;
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
            let reference = Reference::load_for(&self.paths[part], length);
            let reference = reference.map_err(|error| self.needs_length(part, error))?;
            let mut graph = import(&reference)?;
            let varying = |(input, &id): (&Input, &ValueId)| input.dynamic.map(|_| (id, rule));
            let inputs: BTreeMap<ValueId, RowRule> = reference
                .inputs()
                .iter()
                .zip(&graph.inputs)
                .filter_map(varying)
                .collect();
            rows::follow(&mut graph, &inputs)?;
            if !inputs.is_empty() {
                self.max_length = longest.unwrap_or(0);
            }
            self.graphs.push(graph);
            self.inputs.push(reference.inputs().to_vec());
            let outputs = reference.graph().output.iter();
            self.outputs
                .push(outputs.map(|output| output.name.clone()).collect());
            self.loaded
                .insert((part, length.unwrap_or(0)), Rc::new(reference));
        }
        self.states.iter().try_for_each(|state| self.check(state))
    }

    /// A dynamic axis is no mistake in a bundle: it needs a greatest length.
    fn needs_length(&self, part: usize, error: ConvertError) -> ConvertError {
        match error {
            ConvertError::DynamicShape { input, .. } if self.manifest.max_length.is_none() => {
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

    /// The output of a model with this name.
    pub fn output(&self, part: usize, name: &str) -> Option<ValueId> {
        let at = self.outputs[part]
            .iter()
            .position(|output| output == name)?;
        self.graphs[part].outputs.get(at).copied()
    }

    /// An error for a name that is not there, with those that are.
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

    fn part(&mut self, part: usize, length: usize) -> Result<Rc<Reference>, ConvertError> {
        let length = match self.max_length {
            0 => self.manifest.max_length.unwrap_or(0),
            _ => self.rules[part].rows(length),
        };
        if let Some(loaded) = self.loaded.get(&(part, length)) {
            return Ok(loaded.clone());
        }
        let loaded = Rc::new(Reference::load_for(&self.paths[part], Some(length))?);
        self.loaded.insert((part, length), loaded.clone());
        Ok(loaded)
    }

    /// Both ends of a state must exist and be of one size.
    fn check(&self, state: &State) -> Result<(), ConvertError> {
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

    /// Runs the models over one sample and shows the number of the model and all values of each run.
    ///
    /// # Errors
    /// [`ConvertError::Reference`].
    pub fn run(
        &mut self,
        sample: &Sample,
        mut seen: impl FnMut(usize, &Values),
    ) -> Result<(), ConvertError> {
        let mut kept: Vec<Option<ArrayD<f32>>> = vec![None; self.states.len()];
        if let (Some(encode), Some(input)) = (self.encode, &sample.input) {
            let values =
                self.run_part(encode, sample.length, |_| Some(input.clone()), &mut kept)?;
            seen(encode, &values);
        }
        for &token in &sample.tokens {
            let token = |name: &str| {
                (name == self.manifest.decode.token)
                    .then(|| ArrayD::from_elem(IxDyn(&[1]), token as f32))
            };
            let step = self.step;
            let values = self.run_part(step, sample.length, token, &mut kept)?;
            seen(step, &values);
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
        let reference = self.part(part, length)?;
        let mut inputs = Vec::new();
        for input in reference.inputs() {
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
        let values = reference.run(&inputs)?;
        for (state, kept) in self.states.iter().zip(kept) {
            for from in state.from.iter().filter(|from| from.part == part) {
                *kept = values.get(&from.value).and_then(|tensor| to_f32(tensor));
            }
        }
        Ok(values)
    }
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
    pub fn load(path: &Path, bundle: &Bundle) -> Result<Self, ConvertError> {
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
        let input = bundle.inputs[encode]
            .iter()
            .find(|input| input.name == name);
        let input = input.ok_or_else(|| bundle.missing("input", encode, &name))?;
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
