//! Flags of `attn convert` that say what a `bundle.toml` says, key by key, under the same names. Reading manifests is in the
//! library.

use crate::flags::FlagError;
use attn_converter::bundle::Manifest;
use clap::Args;
use std::path::Path;
use toml::{Table, Value};

/// Stands for the manifest's file in messages.
const PLACE: &str = "command line";

/// A bundle of several models.
#[derive(Args)]
#[command(next_help_heading = "Bundles (docs/guide/sequences.md)")]
pub struct Bundle {
    /// An entry point and its ONNX file, in place of a model or manifest; once for each: `encode=enc.onnx`, `step=dec.onnx`.
    #[arg(long, value_name = "NAME=FILE", requires_all = ["calibrate", "token", "logits", "start", "end", "max_tokens"])]
    entry: Vec<String>,
    /// A value that outlives a run, who writes it and who reads it:
    /// `state=encode.state,step.state_next:step.state`.
    #[arg(long, value_name = "NAME=OUTPUT,OUTPUT:INPUT", requires = "entry")]
    state: Vec<String>,
    /// Names of output tokens or of input symbols, one in each line: `tokens=FILE`, `symbols=FILE`.
    #[arg(long, value_name = "KIND=FILE", requires = "entry")]
    vocab: Vec<String>,
    /// Name of the model.
    #[arg(long, requires = "entry", default_value = "bundle")]
    name: String,
    /// Length of the longest sequence, where an input has a dynamic axis.
    #[arg(long, value_name = "ROWS", requires = "entry")]
    max_length: Option<u32>,
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
    /// The input, of any entry point that has it, that is 1 in the sequence and 0 in its padding.
    #[arg(long, value_name = "INPUT", requires = "entry")]
    mask: Option<String>,
    /// The same, but 0 in the sequence and 1 in its padding.
    #[arg(
        long,
        value_name = "INPUT",
        requires = "entry",
        conflicts_with = "mask"
    )]
    padding_mask: Option<String>,
    /// Symbol that the padding is made of: its number, or its name.
    #[arg(long, value_name = "SYMBOL", requires = "entry")]
    pad: Option<String>,
    /// What stands between two tokens in a text.
    #[arg(long, value_name = "TEXT", requires = "vocab")]
    separator: Option<String>,
}

impl Bundle {
    /// The manifest that says the same. Files are relative to the folder in which the command runs.
    pub fn manifest(
        &self,
        calibrate: Option<&Path>,
        audio_hop: Option<u32>,
    ) -> Result<Manifest, Box<dyn std::error::Error>> {
        let entries = pairs("--entry", "NAME=FILE", &self.entry)?;
        let encode = match &self.encode {
            None if entries.contains_key("encode") => Some("encode".into()),
            encode => encode.clone(),
        };
        let decode = [
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
            ("mask", text(&self.mask)),
            ("padding_mask", text(&self.padding_mask)),
            ("pad", self.pad.as_deref().map(token)),
        ];
        let calibrate = calibrate.map(|path| Value::from(path.display().to_string()));
        let mut manifest = table([
            ("name", Some(Value::from(self.name.clone()))),
            ("calibrate", calibrate),
            ("max_length", self.max_length.map(Value::from)),
            ("entries", Some(entries.into())),
            ("state", Some(self.states()?.into())),
            ("decode", Some(table(decode).into())),
        ]);
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
        Ok(Manifest::from_table(PLACE, manifest)?)
    }

    /// The states, as the manifest has them.
    fn states(&self) -> Result<Table, FlagError> {
        let form = "NAME=OUTPUT,OUTPUT:INPUT";
        let mut states = Table::new();
        for (name, wiring) in pairs("--state", form, &self.state)? {
            let wiring = wiring.as_str().unwrap_or_default();
            let Some((from, to)) = wiring.split_once(':') else {
                return Err(FlagError::new(
                    "--state",
                    malformed(&format!("{name}={wiring}"), form),
                ));
            };
            let from = from.split(',').map(Value::from).collect::<Vec<_>>();
            let wiring = table([("from", Some(from.into())), ("to", Some(to.into()))]);
            states.insert(name, wiring.into());
        }
        Ok(states)
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
