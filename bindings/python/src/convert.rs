//! Conversion: what Python gives becomes a manifest and options.

use crate::errors::Failure;
use crate::file::File;
use crate::work::beside;
use attn_converter::bundle::{Audio, Manifest, Token, Vocabulary};
use attn_converter::calibrate::RangeMethod;
use attn_converter::emit::Metadata;
use attn_converter::lower::Form;
use attn_converter::pipeline::{self, Mixed, Options, Source};
use attn_converter::quality::Remedy;
use attn_converter::quantize::Precision;
use attn_converter::quantize::pinned::InputType;
use attn_converter::thresholds::{Threshold, chosen};
use attn_runtime::format::SpotterMeta;
use pyo3::prelude::*;
use std::path::PathBuf;

/// Names of the precisions in Python.
const PRECISIONS: [(&str, Precision); 3] = [
    ("int8", Precision::Int8),
    ("int16x8", Precision::Int16x8),
    ("fp16", Precision::Fp16),
];
/// Names of the ways to choose ranges.
const RANGES: [(&str, RangeMethod); 4] = [
    ("min-max", RangeMethod::MinMax),
    ("percentile", RangeMethod::Percentile),
    ("mse", RangeMethod::Mse),
    ("measured", RangeMethod::Measured),
];

/// A token by number or name.
#[derive(FromPyObject)]
pub enum Symbol {
    /// Its number.
    Number(u32),
    /// Its name.
    Name(String),
}

/// What is converted or compared with: a manifest's file, the keys of a manifest, or a single model. Files are relative to the current
/// folder, but for those of a manifest's file.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub struct Described {
    manifest: Option<PathBuf>,
    /// A manifest may name files outside its folder.
    outside: bool,
    /// JSON.
    keys: Option<String>,
    onnx: Option<PathBuf>,
    calibration: Option<PathBuf>,
    stream: bool,
    /// Inputs, and the outputs that they take in the next run.
    states: Vec<(String, String)>,
    max_length: Option<usize>,
    mask: Option<String>,
    padding_mask: Option<String>,
    pad: Option<Symbol>,
    symbols: Option<PathBuf>,
    audio_hop: Option<u32>,
}

/// How to convert.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub struct Settings {
    dtype: String,
    range: String,
    /// True for a search, false for int8 wherever possible, none for the usual.
    mixed: Option<bool>,
    /// `TYPE` or `INPUT=TYPE` each.
    input_dtype: Vec<String>,
    labels: Vec<String>,
    smoothing: Option<u32>,
    thresholds: Vec<String>,
    refractory: u32,
    background: Vec<String>,
}

impl Described {
    /// Its form as a single model.
    fn form(&self) -> Form {
        match self.stream {
            true => Form::Stream,
            false => Form::Window,
        }
    }

    /// The manifest.
    pub fn manifest(self) -> Result<Manifest, Failure> {
        if let Some(path) = &self.manifest {
            let manifest = Manifest::load(path)?;
            return match manifest.outside().filter(|_| !self.outside) {
                None => Ok(manifest),
                Some(named) => {
                    let (path, named) = (path.display(), named.display());
                    let reason = format!(
                        "{path} names {named}, which lies outside its folder: allow it if you trust it"
                    );
                    Err(Failure::setting("outside", reason))
                }
            };
        }
        if let Some(keys) = &self.keys {
            let wrong = |reason: &dyn ToString| Failure::setting("model", reason.to_string());
            let keys: serde_json::Value = serde_json::from_str(keys).map_err(|e| wrong(&e))?;
            let keys = toml::Table::try_from(keys).map_err(|e| wrong(&e))?;
            return Ok(Manifest::from_table("bundle", keys)?);
        }
        self.single()
    }

    /// The manifest of a single model.
    fn single(self) -> Result<Manifest, Failure> {
        let [onnx, calibration] = [&self.onnx, &self.calibration].map(|path| path.as_deref());
        let given = onnx.zip(calibration);
        let (onnx, calibration) =
            given.ok_or_else(|| Failure::setting("model", "neither a model nor a manifest"))?;
        // A model that keeps states runs step by step.
        let entry = match self.states.is_empty() {
            true => self.form().entry_name(),
            false => Form::Stream.entry_name(),
        };
        let mut manifest = Manifest::single(onnx, calibration, entry);
        for (input, output) in &self.states {
            manifest.keep(entry, input, output);
        }
        let names = self.symbols.map(|symbols| Vocabulary {
            symbols: Some(symbols),
            ..Vocabulary::default()
        });
        manifest.max_length = self.max_length;
        manifest.mask = self.mask;
        manifest.padding_mask = self.padding_mask;
        manifest.pad = self.pad.map(|symbol| match symbol {
            Symbol::Number(number) => Token::Number(number),
            Symbol::Name(name) => Token::Name(name),
        });
        manifest.vocabulary = names;
        manifest.audio = self.audio_hop.map(|hop| Audio { hop });
        Ok(manifest)
    }
}

impl Settings {
    fn options(&self, form: Form) -> Result<Options, Failure> {
        Ok(Options {
            form,
            precision: of("dtype", &PRECISIONS, &self.dtype)?,
            range: of("range", &RANGES, &self.range)?,
            mixed: match self.mixed {
                None => Mixed::Usual,
                Some(true) => Mixed::Searched,
                Some(false) => Mixed::None,
            },
            inputs: self.inputs()?,
            metadata: self.metadata()?,
            ..Options::default()
        })
    }

    fn inputs(&self) -> Result<Vec<InputType>, Failure> {
        let read = self.input_dtype.iter().map(|text| text.parse());
        let all: Result<_, String> = read.collect();
        all.map_err(|reason| Failure::setting("input_dtype", reason))
    }

    fn metadata(&self) -> Result<Metadata, Failure> {
        let labels = self.labels.clone();
        let spotter = |smoothing_hops| -> Result<_, Failure> {
            let given = thresholds(&self.thresholds)?;
            let rule = SpotterMeta {
                smoothing_hops,
                refractory_hops: self.refractory,
            };
            Ok((rule, chosen(&given, &labels, &self.background)?))
        };
        let spotter = self.smoothing.map(spotter).transpose()?;
        Ok(Metadata {
            labels,
            spotter,
            ..Metadata::default()
        })
    }
}

/// Thresholds as they are written.
pub fn thresholds(given: &[String]) -> Result<Vec<Threshold>, Failure> {
    let read = given.iter().map(|text| text.parse::<Threshold>());
    Ok(read.collect::<Result<_, _>>()?)
}

/// What Python calls `name`.
fn of<T: Copy>(setting: &str, known: &[(&str, T)], name: &str) -> Result<T, Failure> {
    let found = known.iter().find(|(known, _)| *known == name);
    found.map(|(_, value)| *value).ok_or_else(|| {
        let known: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
        let reason = format!("`{name}` is none of {}", known.join(", "));
        Failure::setting(setting, reason)
    })
}

fn name_of<T: Copy + PartialEq>(known: &[(&'static str, T)], value: T) -> &'static str {
    let found = known.iter().find(|(_, known)| *known == value);
    found.map_or("", |(name, _)| name)
}

/// The argument of `attn.convert` that follows an advice.
fn remedy(remedy: Remedy) -> String {
    match remedy {
        Remedy::Precision(precision) => format!("dtype=\"{}\"", name_of(&PRECISIONS, precision)),
        Remedy::Range(range) => format!("range=\"{}\"", name_of(&RANGES, range)),
        Remedy::Samples => "more calibration samples".into(),
    }
}

/// Converts. Returns the file, the report as JSON, and warnings.
#[pyfunction]
pub fn convert(
    py: Python<'_>,
    source: Described,
    settings: Settings,
    progress: Option<&Bound<'_, PyAny>>,
) -> PyResult<(File, String, Vec<String>)> {
    beside(py, progress, move |progress| {
        let form = source.form();
        let manifest = source.manifest()?;
        if manifest.decode.is_some() && settings.smoothing.is_some() {
            let reason = "takes a single model, as keyword spotting does";
            return Err(Failure::setting("smoothing", reason));
        }
        let options = settings.options(form)?;
        let conversion = pipeline::convert(Source::Bundle(&manifest), &options, progress)?;
        let report = conversion.json(options.precision, &remedy).to_string();
        let mut warnings = conversion.quality.warnings(&remedy);
        let states = conversion.possible_states.iter();
        warnings.extend(states.map(|(input, output)| {
            format!(
                "input `{input}` and output `{output}` look like one state: states={{\"{input}\": \"{output}\"}} would keep it from run to run"
            )
        }));
        Ok((File::new(conversion.file), report, warnings))
    })
}
