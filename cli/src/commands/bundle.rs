//! Flags of `attn convert` that say what a `bundle.toml` says, key by key, under the same names. Reading manifests is in the
//! library.

use crate::flags::FlagError;
use attn_converter::bundle::Manifest;
use attn_converter::lower::Form;
use clap::Args;
use std::path::Path;
use toml::{Table, Value};

/// Stands for the manifest's file in messages.
const PLACE: &str = "command line";

/// A bundle of several models; some of it is for a single model, too.
#[derive(Args)]
#[command(next_help_heading = "Bundles (docs/guide/sequences.md)")]
pub struct Bundle {
    /// An entry point and its ONNX file, in place of a model or manifest; once for each: `encode=enc.onnx`, `step=dec.onnx`.
    #[arg(long, value_name = "NAME=FILE", requires_all = ["calibrate", "token", "logits", "start", "end", "max_tokens"])]
    entry: Vec<String>,
    /// Names of output tokens or of input symbols, one in each line: `tokens=FILE`, `symbols=FILE`.
    #[arg(long, value_name = "KIND=FILE")]
    vocab: Vec<String>,
    /// Name of the model.
    #[arg(long, requires = "entry", default_value = "bundle")]
    name: String,
    /// Entry point that runs once for each input [default: encode, if there is one].
    #[arg(long, value_name = "ENTRY", requires = "entry")]
    encode: Option<String>,
    /// Entry point that runs once for each token.
    #[arg(long, value_name = "ENTRY", requires = "entry", default_value = "step")]
    step: String,
    /// The encoder's input.
    #[arg(long, requires = "entry")]
    input: Option<String>,
    /// The step's input for the last token.
    #[arg(long, value_name = "INPUT", requires = "entry")]
    token: Option<String>,
    /// The step's output that rates the next token.
    #[arg(long, value_name = "OUTPUT", requires = "entry")]
    logits: Option<String>,
    /// The step's output with attention weights.
    #[arg(long, value_name = "OUTPUT", requires = "entry")]
    weights: Option<String>,
    /// Token to start with: its number, or its name in the vocabulary.
    #[arg(long, value_name = "TOKEN", requires = "entry")]
    start: Option<String>,
    /// Token that ends a sequence.
    #[arg(long, value_name = "TOKEN", requires = "entry")]
    end: Option<String>,
    /// Most tokens of a sequence.
    #[arg(long, value_name = "COUNT", requires = "entry")]
    max_tokens: Option<u32>,
    /// Have the step hand out so many best tokens in place of a row of logits.
    #[arg(long, value_name = "COUNT", requires = "entry")]
    candidates: Option<u32>,
    /// Symbol to put behind every input: its number, or its name.
    #[arg(long, value_name = "SYMBOL", requires = "entry")]
    end_symbol: Option<String>,
    /// What stands between two tokens in a text.
    #[arg(long, value_name = "TEXT", requires = "vocab")]
    separator: Option<String>,
    #[command(flatten)]
    sequence: Sequence,
}

/// Sequences of variable length, their padding, and what is kept from step to step.
#[derive(Args)]
pub struct Sequence {
    /// What a model keeps from one run to the next: input and output, as `h_in=h_out,past_k=present_k`. It then runs step by step over
    /// sequences. In a bundle a value that outlives a run, who writes it and who reads it: `state=encode.state,step.next:step.state`.
    #[arg(long, value_name = "INPUT=OUTPUT,…")]
    state: Vec<String>,
    /// Length of the longest sequence, where an input has a dynamic axis.
    #[arg(long, value_name = "ROWS")]
    max_length: Option<u32>,
    /// The input that is 1 in the sequence and 0 in its padding; in a bundle of any entry point that has it.
    #[arg(long, value_name = "INPUT")]
    mask: Option<String>,
    /// The same, but 0 in the sequence and 1 in its padding.
    #[arg(long, value_name = "INPUT", conflicts_with = "mask")]
    padding_mask: Option<String>,
    /// Symbol that the padding is made of: its number, or its name.
    #[arg(long, value_name = "SYMBOL")]
    pad: Option<String>,
}

impl Sequence {
    /// Flags that are given and that a manifest says itself.
    pub fn given(&self) -> Option<&'static str> {
        let flags = [
            ("--max-length", self.max_length.is_some()),
            ("--mask", self.mask.is_some()),
            ("--padding-mask", self.padding_mask.is_some()),
            ("--pad", self.pad.is_some()),
            ("--state", !self.state.is_empty()),
        ];
        let mut given = flags.into_iter().filter(|(_, given)| *given);
        given.next().map(|(flag, _)| flag)
    }

    fn padding(&self) -> Table {
        table([
            ("mask", text(&self.mask)),
            ("padding_mask", text(&self.padding_mask)),
            ("pad", self.pad.as_deref().map(token)),
        ])
    }

    /// The manifest of a single model, which runs frame by frame if it is a `stream`.
    pub fn single(&self, stream: bool, onnx: &Path, calibrate: &Path) -> Result<Table, FlagError> {
        let form = match stream || !self.state.is_empty() {
            true => Form::Stream,
            false => Form::Window,
        };
        let entry = form.entry_name();
        let mut manifest = self.common("model", calibrate);
        let entries = table([(entry, Some(path(onnx)))]);
        manifest.insert("entries".into(), entries.into());
        manifest.insert("state".into(), self.pairs_of(entry)?.into());
        manifest.extend(self.padding());
        Ok(manifest)
    }

    /// The states of a single model, as the manifest has them: each is called after its input.
    fn pairs_of(&self, entry: &str) -> Result<Table, FlagError> {
        let listed = self.state.iter().flat_map(|text| text.split(','));
        let listed: Vec<String> = listed.map(String::from).collect();
        let mut states = Table::new();
        for (input, output) in pairs("--state", "INPUT=OUTPUT", &listed)? {
            let named = |value: &str| format!("{entry}.{value}");
            let from = vec![Value::from(named(output.as_str().unwrap_or_default()))];
            let to = Value::from(named(&input));
            let wiring = table([("from", Some(from.into())), ("to", Some(to))]);
            states.insert(input, wiring.into());
        }
        Ok(states)
    }

    /// The states of a bundle, as the manifest has them.
    fn states(&self) -> Result<Table, FlagError> {
        let form = "NAME=OUTPUT,OUTPUT:INPUT";
        let mut states = Table::new();
        for (name, wiring) in pairs("--state", form, &self.state)? {
            let wiring = wiring.as_str().unwrap_or_default();
            let Some((from, to)) = wiring.split_once(':') else {
                let given = format!("{name}={wiring}");
                return Err(FlagError::new("--state", malformed(&given, form)));
            };
            let from = from.split(',').map(Value::from).collect::<Vec<_>>();
            let wiring = table([("from", Some(from.into())), ("to", Some(to.into()))]);
            states.insert(name, wiring.into());
        }
        Ok(states)
    }

    fn common(&self, name: &str, calibrate: &Path) -> Table {
        table([
            ("name", Some(Value::from(name))),
            ("calibrate", Some(path(calibrate))),
            ("max_length", self.max_length.map(Value::from)),
        ])
    }
}

impl Bundle {
    /// A flag that is given and that a manifest says itself.
    pub fn given(&self) -> Option<&'static str> {
        let vocab = (!self.vocab.is_empty()).then_some("--vocab");
        self.sequence.given().or(vocab)
    }

    /// The manifest that says the same: of a single `model`, which runs frame by frame if that is true, or of the entry points of the flags.
    /// Files are relative to the folder in which the command runs.
    pub fn manifest(
        &self,
        model: Option<(bool, &Path)>,
        calibrate: &Path,
        audio_hop: Option<u32>,
    ) -> Result<Manifest, Box<dyn std::error::Error>> {
        let mut place = PLACE.to_owned();
        let mut manifest = match model {
            Some((stream, onnx)) => {
                place = onnx.display().to_string();
                self.sequence.single(stream, onnx, calibrate)?
            }
            None => {
                let entries = pairs("--entry", "NAME=FILE", &self.entry)?;
                let mut decode = self.decode(entries.contains_key("encode"));
                decode.extend(self.sequence.padding());
                let mut manifest = self.sequence.common(&self.name, calibrate);
                manifest.insert("entries".into(), entries.into());
                manifest.insert("state".into(), self.sequence.states()?.into());
                manifest.insert("decode".into(), decode.into());
                manifest
            }
        };
        if !self.vocab.is_empty() {
            let mut vocabulary = pairs("--vocab", "KIND=FILE", &self.vocab)?;
            if let Some(kind) = vocabulary
                .keys()
                .find(|kind| !["tokens", "symbols"].contains(&kind.as_str()))
            {
                let reason =
                    format!("`{kind}` is no kind of vocabulary: write tokens=FILE or symbols=FILE");
                return Err(FlagError::new("--vocab", reason).into());
            }
            vocabulary.extend(table([("separator", text(&self.separator))]));
            manifest.insert("vocabulary".into(), vocabulary.into());
        }
        if let Some(hop) = audio_hop {
            manifest.insert("audio".into(), table([("hop", Some(hop.into()))]).into());
        }
        Ok(Manifest::from_table(&place, manifest)?)
    }

    /// How sequences are decoded, as the manifest has it.
    fn decode(&self, has_encode: bool) -> Table {
        let encode = match &self.encode {
            None if has_encode => Some("encode".into()),
            encode => encode.clone(),
        };
        table([
            ("encode", encode.map(Value::from)),
            ("step", Some(Value::from(self.step.clone()))),
            ("input", text(&self.input)),
            ("token", text(&self.token)),
            ("logits", text(&self.logits)),
            ("weights", text(&self.weights)),
            ("start", self.start.as_deref().map(token)),
            ("end", self.end.as_deref().map(token)),
            ("max_tokens", self.max_tokens.map(Value::from)),
            ("candidates", self.candidates.map(Value::from)),
            ("end_symbol", self.end_symbol.as_deref().map(token)),
        ])
    }
}

/// `NAME=TEXT` of every value of a flag; no name twice.
fn pairs(flag: &'static str, form: &str, given: &[String]) -> Result<Table, FlagError> {
    let mut pairs = Table::new();
    for text in given {
        let pair = text.split_once('=');
        let pair = pair.filter(|(name, value)| !name.is_empty() && !value.is_empty());
        let Some((name, value)) = pair else {
            return Err(FlagError::new(flag, malformed(text, form)));
        };
        if pairs.insert(name.into(), value.into()).is_some() {
            return Err(FlagError::new(flag, format!("`{name}` is given twice")));
        }
    }
    Ok(pairs)
}

fn table<const N: usize>(values: [(&str, Option<Value>); N]) -> Table {
    let given = values.into_iter();
    given
        .filter_map(|(key, value)| Some((key.to_owned(), value?)))
        .collect()
}

fn path(path: &Path) -> Value {
    Value::from(path.display().to_string())
}

fn text(value: &Option<String>) -> Option<Value> {
    value.clone().map(Value::from)
}

/// A token by number, if it is one, or by name.
fn token(text: &str) -> Value {
    text.parse::<u32>().map_or(text.into(), Value::from)
}

fn malformed(given: &str, form: &str) -> String {
    format!("`{given}` is not understood: write {form}")
}
