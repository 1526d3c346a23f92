//! Bundles: ONNX models, what passes between them, and a vocabulary become one file. A single model is a bundle of one.
//!
//! A manifest (`bundle.toml`) says which; [`Manifest`] reads it. [`float`] runs the models together in float on [`samples`]. Conversion
//! is in [`crate::pipeline`].

pub(crate) mod candidates;
pub mod float;
mod masks;
pub mod run;
pub mod samples;
mod states;
mod wiring;

use crate::error::{ConvertError, Result};
use crate::files::{FileError, read_names};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The contents of a `bundle.toml`. Paths in it are relative to the manifest.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Name of the model.
    pub name: String,
    /// Calibration data: an npz file; see [`samples::Samples`].
    pub calibrate: PathBuf,
    /// Length of the longest sequence, if an input has a dynamic axis or there is a mask.
    pub max_length: Option<usize>,
    /// ONNX file of each entry point, by name.
    pub entries: BTreeMap<String, PathBuf>,
    /// Values that are kept between runs, by name.
    #[serde(default)]
    pub state: BTreeMap<String, StateWiring>,
    /// Which entry points and tensors decode a sequence; none where the one entry point is run as it is.
    pub decode: Option<Decode>,
    /// The input that is 1 in the sequence and 0 in its padding; without `[decode]`.
    pub mask: Option<String>,
    /// The same with 0 in the sequence and 1 in its padding, like PyTorch's `key_padding_mask`.
    pub padding_mask: Option<String>,
    /// Symbol of the padding.
    pub pad: Option<Token>,
    /// Names of symbols and tokens.
    pub vocabulary: Option<Vocabulary>,
    /// The encoder's input is the audio front end's output.
    pub audio: Option<Audio>,
    #[serde(skip)]
    path: PathBuf,
    /// What its paths are relative to.
    #[serde(skip)]
    folder: PathBuf,
}

/// The writers and the reader of a state; values are named `entry.value`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StateWiring {
    /// Outputs that are kept.
    pub from: Vec<String>,
    /// The input that reads the kept value.
    pub to: String,
}

/// How a sequence is decoded.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decode {
    /// Entry point that runs once for each input; a language model has none.
    pub encode: Option<String>,
    /// Entry point that runs once for each token.
    pub step: String,
    /// The encoder's input.
    pub input: Option<String>,
    /// The step's input for the last token.
    pub token: String,
    /// The step's output that rates the next token.
    pub logits: String,
    /// The step's output with attention weights.
    pub weights: Option<String>,
    /// Token to start with.
    pub start: Token,
    /// Token that ends a sequence.
    pub end: Token,
    /// Most tokens of a sequence.
    pub max_tokens: u32,
    /// Top-k size: the step returns the k best tokens instead of logits. At least the width of any beam.
    pub candidates: Option<usize>,
    /// Symbol to append to every input.
    pub end_symbol: Option<Token>,
    /// Name of the mask input: 1 in the sequence, 0 in its padding. Any entry point may have it.
    pub mask: Option<String>,
    /// The same with 0 in the sequence and 1 in its padding, like PyTorch's `key_padding_mask`.
    pub padding_mask: Option<String>,
    /// Symbol of the padding.
    pub pad: Option<Token>,
}

/// A token or symbol, by name or by number.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum Token {
    /// Its number.
    Number(u32),
    /// Its name in the vocabulary.
    Name(String),
}

/// Names of symbols and tokens: text files with one name in each line, a line of a single space for the space.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vocabulary {
    /// Names of input symbols.
    pub symbols: Option<PathBuf>,
    /// Names of output tokens.
    pub tokens: Option<PathBuf>,
    /// Separator between two tokens in a text.
    #[serde(default)]
    pub separator: String,
}

/// The audio front end of a bundle.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Audio {
    /// Samples between two frames, at 16 kHz.
    pub hop: u32,
}

/// True if a relative path leaves the folder that it starts from, or is none.
pub(crate) fn leads_out(path: &Path) -> bool {
    use std::path::Component::{CurDir, Normal};
    path.components()
        .any(|part| !matches!(part, Normal(_) | CurDir))
}

impl Manifest {
    /// A bundle of one model, whose only entry point is called `entry`. Messages name the ONNX file; paths are relative to the current
    /// folder.
    pub fn single(onnx: &Path, calibrate: &Path, entry: &str) -> Self {
        Self {
            name: entry.into(),
            calibrate: calibrate.into(),
            entries: [(entry.into(), onnx.into())].into(),
            path: onnx.into(),
            ..Self::default()
        }
    }

    /// Keeps the value of an entry point's `output` for its `input` of the next run, under the input's name. Returns the output that is
    /// kept for that input already, if there is one.
    pub fn keep(&mut self, entry: &str, input: &str, output: &str) -> Option<String> {
        let wiring = StateWiring {
            from: vec![format!("{entry}.{output}")],
            to: format!("{entry}.{input}"),
        };
        let before = self.state.insert(input.into(), wiring)?;
        before.from.into_iter().next()
    }

    /// Reads a manifest.
    ///
    /// # Errors
    /// [`ConvertError::File`] if it cannot be read, [`ConvertError::Manifest`] if it is not valid.
    pub fn load(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|source| FileError::Io {
            path: path.into(),
            source,
        })?;
        let manifest: Self = toml::from_str(&text).map_err(|error| ConvertError::Manifest {
            path: path.into(),
            reason: error.to_string(),
        })?;
        Ok(Self {
            path: path.into(),
            folder: path.parent().map(Path::to_path_buf).unwrap_or_default(),
            ..manifest
        })
    }

    /// A manifest from these keys. Messages call it `name`; its paths are relative to the current folder.
    ///
    /// # Errors
    /// [`ConvertError::Manifest`] for unknown or missing keys.
    pub fn from_table(name: &str, keys: toml::Table) -> Result<Self> {
        let path = PathBuf::from(name);
        match keys.try_into::<Self>() {
            Ok(manifest) => Ok(Self { path, ..manifest }),
            Err(error) => Err(ConvertError::Manifest {
                path,
                reason: error.to_string(),
            }),
        }
    }

    /// Path of the manifest, or its name in messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A path of the manifest, resolved against the manifest's folder.
    pub fn resolve(&self, path: &Path) -> PathBuf {
        self.folder.join(path)
    }

    /// The first file that it names outside its own folder, links followed. A manifest that came from somebody else should name none.
    pub fn outside(&self) -> Option<PathBuf> {
        let folder = match self.folder.as_os_str().is_empty() {
            true => Path::new("."),
            false => &self.folder,
        };
        let folder = folder.canonicalize().ok()?;
        let leaves = |path: &PathBuf| match self.resolve(path).canonicalize() {
            Ok(real) => !real.starts_with(&folder),
            // An error names the file that is missing.
            Err(_) => leads_out(path),
        };
        self.named().find(|path| leaves(path)).cloned()
    }

    fn named(&self) -> impl Iterator<Item = &PathBuf> {
        let vocabulary = self.vocabulary.iter();
        let names = vocabulary.flat_map(|v| v.symbols.iter().chain(&v.tokens));
        self.entries.values().chain([&self.calibrate]).chain(names)
    }

    /// All files that it names, and itself.
    pub fn files(&self) -> Vec<PathBuf> {
        let others = self.named().map(|path| self.resolve(path));
        others.chain([self.path.clone()]).collect()
    }

    /// Names of the output tokens, by number.
    ///
    /// # Errors
    /// [`ConvertError::File`].
    pub fn tokens(&self) -> Result<Vec<String>> {
        self.names(|vocabulary| vocabulary.tokens.as_ref())
    }

    /// Names of the input symbols, by number.
    ///
    /// # Errors
    /// [`ConvertError::File`].
    pub fn symbols(&self) -> Result<Vec<String>> {
        self.names(|vocabulary| vocabulary.symbols.as_ref())
    }

    fn names(&self, kind: impl Fn(&Vocabulary) -> Option<&PathBuf>) -> Result<Vec<String>> {
        match self.vocabulary.as_ref().and_then(kind) {
            Some(names) => Ok(read_names(&self.resolve(names))?),
            None => Ok(Vec::new()),
        }
    }

    /// The number of a token among `names`.
    ///
    /// # Errors
    /// [`ConvertError::Manifest`] for an unknown name.
    pub fn number(&self, token: &Token, names: &[String]) -> Result<u32> {
        match token {
            Token::Number(number) => Ok(*number),
            Token::Name(name) => match names.iter().position(|known| known == name) {
                Some(number) => Ok(number as u32),
                None => Err(self.wrong(format!("`{name}` is not in the vocabulary"))),
            },
        }
    }

    /// An error in this manifest.
    pub fn wrong(&self, reason: impl Into<String>) -> ConvertError {
        ConvertError::Manifest {
            path: self.path.clone(),
            reason: reason.into(),
        }
    }

    /// The entry points, each after those whose values it reads.
    ///
    /// # Errors
    /// [`ConvertError::Manifest`] for a value that names no entry point.
    pub fn order(&self) -> Result<Vec<&str>> {
        let mut order: Vec<&str> = Vec::new();
        let mut before: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for state in self.state.values() {
            let (reader, _) = self.split(&state.to)?;
            for from in &state.from {
                let (writer, _) = self.split(from)?;
                if writer != reader {
                    before.entry(reader).or_default().push(writer);
                }
            }
        }
        while order.len() < self.entries.len() {
            let ready = self.entries.keys().map(String::as_str).find(|name| {
                let all = |writers: &Vec<&str>| writers.iter().all(|w| order.contains(w));
                !order.contains(name) && before.get(name).is_none_or(all)
            });
            match ready {
                Some(name) => order.push(name),
                None => {
                    return Err(self.wrong("entry points take values from each other in a circle"));
                }
            }
        }
        Ok(order)
    }

    /// `entry.value` as two names.
    ///
    /// # Errors
    /// [`ConvertError::Manifest`] if there is no such entry point.
    pub fn split<'n>(&'n self, name: &'n str) -> Result<(&'n str, &'n str)> {
        let found = name.split_once('.').and_then(|(entry, value)| {
            Some((self.entries.get_key_value(entry)?.0.as_str(), value))
        });
        found.ok_or_else(|| {
            let known: Vec<&str> = self.entries.keys().map(String::as_str).collect();
            self.wrong(format!(
                "`{name}` names no value of an entry point: write entry.value, with an entry of [entries]: {}",
                known.join(", ")
            ))
        })
    }
}
