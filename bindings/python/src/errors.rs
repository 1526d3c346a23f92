//! The library's errors as Python's exceptions, with their fields. The classes are in `python/attn/_errors.py`.

use attn_converter::decode::HearError;
use attn_converter::error::{ConvertError, Setting};
use attn_converter::features::FeatureError;
use attn_converter::files::{FileError, NpzError};
use attn_converter::spot::SpotError;
use attn_converter::thresholds::ThresholdError;
use attn_recordings::RecordingError;
use attn_runtime::ModelError;
use attn_runtime::kws::SpotterError;
use attn_runtime::seq2seq::DecodeError;
use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::io;
use std::path::{Path, PathBuf};

/// Why a call fails, ready to cross into Python from any thread.
#[derive(Debug, Default)]
pub struct Failure {
    /// Name of the class in `_errors.py`.
    class: &'static str,
    /// The library's name of the error.
    kind: &'static str,
    message: String,
    about: Box<About>,
}

/// What a failure is about.
#[derive(Debug, Default)]
struct About {
    file: Option<PathBuf>,
    node: Option<String>,
    tensor: Option<String>,
    setting: Option<String>,
    /// For what the operating system refuses.
    system: Option<(i32, String)>,
}

/// Class of what a conversion refuses.
const CONVERT: &str = "ConvertError";
/// Class of arrays and recordings that do not fit.
const DATA: &str = "DataError";
/// Class of files that are no models of attn's.
const MODEL: &str = "ModelError";
/// Class of what can't be decoded.
const DECODE: &str = "DecodeError";
/// Class of all others.
const ERROR: &str = "Error";

impl Failure {
    fn new(class: &'static str, kind: &'static str, error: &impl ToString) -> Self {
        let message = error.to_string();
        Self {
            class,
            kind,
            message,
            ..Self::default()
        }
    }

    /// An argument that does not fit.
    pub fn setting(setting: &str, reason: impl ToString) -> Self {
        let message = format!("{setting}: {}", reason.to_string());
        let mut failure = Self::new(CONVERT, "Setting", &message);
        failure.about.setting = Some(setting.into());
        failure
    }

    /// What the library does not expect.
    pub fn unexpected(reason: &str) -> Self {
        let message = format!(
            "attn came upon something that it does not expect ({reason}): please report it"
        );
        Self::new(ERROR, "Unexpected", &message)
    }

    fn file(mut self, path: &Path) -> Self {
        self.about.file = Some(path.into());
        self
    }

    fn node(mut self, node: &str) -> Self {
        self.about.node = Some(node.into());
        self
    }

    fn tensor(mut self, tensor: &str) -> Self {
        self.about.tensor = Some(tensor.into());
        self
    }

    fn io(path: &Path, source: &io::Error) -> Self {
        let system = source.raw_os_error().unwrap_or_default();
        let mut failure = Self::new(ERROR, "Io", source).file(path);
        // Python adds number and file by itself.
        failure.about.system = Some((system, reason(source)));
        failure
    }

    /// The exception.
    pub fn raise(self, py: Python<'_>) -> PyErr {
        let About {
            file,
            node,
            tensor,
            setting,
            system,
        } = *self.about;
        let file = file.map(|path| path.display().to_string());
        if let Some((number, reason)) = system {
            return PyOSError::new_err((number, reason, file));
        }
        let class = || {
            let class = py.import("attn._errors")?.getattr(self.class)?;
            let fields = PyDict::new(py);
            fields.set_item("kind", self.kind)?;
            fields.set_item("file", file)?;
            fields.set_item("node", node)?;
            fields.set_item("tensor", tensor)?;
            fields.set_item("setting", setting)?;
            class.call((self.message,), Some(&fields))
        };
        class().map_or_else(|error| error, PyErr::from_value)
    }
}

/// What the system says, without the number that Rust puts behind it.
fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    let end = text.find(" (os error").unwrap_or(text.len());
    text[..end].to_owned()
}

impl From<ConvertError> for Failure {
    fn from(error: ConvertError) -> Self {
        use ConvertError as E;
        let of = |kind| Self::new(CONVERT, kind, &error);
        match &error {
            E::NotOnnx { path, .. } => of("NotOnnx").file(path),
            E::DynamicShape { input, .. } => of("DynamicShape").tensor(input),
            E::BadWeights { node, tensor } => of("BadWeights").node(node).tensor(tensor),
            E::BadGraph { node, .. } => of("BadGraph").node(node),
            E::NewOpset { .. } => of("NewOpset"),
            E::BadTensor { tensor, .. } => of("BadTensor").tensor(tensor),
            E::UnsupportedOp { node, .. } => of("UnsupportedOp").node(node),
            E::UnsupportedForm { node, .. } => of("UnsupportedForm").node(node),
            E::UnsupportedAttribute { node, .. } => of("UnsupportedAttribute").node(node),
            E::Reference { path, .. } => of("Reference").file(path),
            E::Unexpected { path, .. } => of("Unexpected").file(path),
            E::Data { path, array, .. } => Self::new(DATA, "Data", &error).file(path).tensor(array),
            E::Limit { node, .. } => of("Limit").node(node),
            E::NotStreamable { node, .. } => of("NotStreamable").node(node),
            E::Setting { setting, reason } => {
                let name = match setting {
                    Setting::InputType => "input_dtype".to_owned(),
                    other => other.to_string().replace(' ', "_"),
                };
                Self::setting(&name, reason)
            }
            E::State { state, .. } => of("State").tensor(state),
            E::OtherModel { path } => of("OtherModel").file(path),
            E::Model { path, .. } => Self::new(MODEL, "Model", &error).file(path),
            E::NoIntegers { output } => Self::new(DATA, "NoIntegers", &error).tensor(output),
            E::Session(_) => Self::new(ERROR, "Session", &error),
            E::Manifest { path, .. } => of("Manifest").file(path),
            E::File(_) | E::Npz(_) | E::Features(_) => match error {
                E::File(error) => error.into(),
                E::Npz(error) => error.into(),
                E::Features(error) => error.into(),
                error => Self::new(CONVERT, "Other", &error),
            },
            _ => of("Other"),
        }
    }
}

impl From<FileError> for Failure {
    fn from(error: FileError) -> Self {
        let of = |kind| Self::new(ERROR, kind, &error);
        match &error {
            FileError::Io { path, source } => Self::io(path, source),
            FileError::NotRegular { path } => of("NotRegular").file(path),
            FileError::NoFolder { path } => of("NoFolder").file(path),
            FileError::IsInput { path } => of("IsInput").file(path),
            FileError::EmptyName { path, .. } => of("EmptyName").file(path),
            FileError::Npz(_) => match error {
                FileError::Npz(error) => error.into(),
                error => Self::new(ERROR, "File", &error),
            },
            _ => of("File"),
        }
    }
}

impl From<NpzError> for Failure {
    fn from(error: NpzError) -> Self {
        let of = |kind| Self::new(DATA, kind, &error);
        match &error {
            NpzError::NotNpz { path, .. } => of("NotNpz").file(path),
            NpzError::NoArray { path, name, .. } => of("NoArray").file(path).tensor(name),
            NpzError::Damaged { path, name, .. } => of("Damaged").file(path).tensor(name),
            NpzError::WrongArray { path, name, .. } => of("WrongArray").file(path).tensor(name),
            _ => of("Npz"),
        }
    }
}

impl From<FeatureError> for Failure {
    fn from(error: FeatureError) -> Self {
        match error {
            FeatureError::Recording(error) => error.into(),
            FeatureError::File(error) => error.into(),
            FeatureError::TooShort { ref path, .. } => {
                Self::new(DATA, "TooShort", &error).file(path)
            }
            FeatureError::Hop(error) => Self::setting("hop", error),
            error => Self::new(DATA, "Features", &error),
        }
    }
}

impl From<RecordingError> for Failure {
    fn from(error: RecordingError) -> Self {
        match &error {
            RecordingError::Io { path, source } => Self::io(path, source),
            _ => Self::new(DATA, "Recording", &error),
        }
    }
}

impl From<HearError> for Failure {
    fn from(error: HearError) -> Self {
        match error {
            HearError::Features(error) => error.into(),
            error => Self::new(DECODE, "Hear", &error),
        }
    }
}

impl From<DecodeError> for Failure {
    fn from(error: DecodeError) -> Self {
        Self::new(DECODE, "Decode", &error)
    }
}

impl From<SpotError> for Failure {
    fn from(error: SpotError) -> Self {
        match error {
            SpotError::Recording(error) => error.into(),
            SpotError::Spotter(error) => error.into(),
            error => Self::new(ERROR, "Session", &error),
        }
    }
}

impl From<SpotterError> for Failure {
    fn from(error: SpotterError) -> Self {
        Self::new(MODEL, "Spotter", &error)
    }
}

impl From<ThresholdError> for Failure {
    fn from(error: ThresholdError) -> Self {
        Self::setting("threshold", error)
    }
}

/// A file that is refused, which errors call `name`.
pub fn refused(name: &str, error: &ModelError) -> Failure {
    Failure::new(MODEL, "Model", &format!("{name}: {error}")).file(Path::new(name))
}
