//! An `.attn` file in memory, and what can be done with it on the host.

use crate::convert::{Described, thresholds};
use crate::errors::refused;
use crate::work::{aside, beside};
use attn_converter::compare::compare_file;
use attn_converter::dataset::Mask;
use attn_converter::decode::{Chance, Decoder, Input, Search, Sequence, heard};
use attn_converter::files::write_bytes;
use attn_converter::outputs::{self, Output};
use attn_converter::pipeline::Source;
use attn_converter::runner::ModelFile;
use attn_converter::thresholds::{changed, of};
use attn_converter::{features as front_end, inspect, spot};
use attn_recordings::{Recording, RecordingError};
use attn_runtime::audio::FEATURE_SCALE;
use attn_runtime::seq2seq::text;
use numpy::{Element, PyArray3, PyReadonlyArray1, PyReadonlyArray2, ToPyArray};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What errors call samples that come from memory.
const SAMPLES: &str = "samples";

/// An `.attn` file that the runtime accepts.
#[pyclass(frozen, module = "attn._native")]
pub struct File(Arc<ModelFile>);

/// An output in Python: name, shape of a run's result, type in the file, elements `[sample, step, element]`.
type Named<'py> = (String, Vec<usize>, &'static str, Bound<'py, PyAny>);

/// A recording as Python gives it: a file, or 16 kHz mono samples.
#[derive(FromPyObject)]
pub enum Recorded<'py> {
    /// WAV or FLAC.
    File(PathBuf),
    /// int16.
    Samples(PyReadonlyArray1<'py, i16>),
}

impl Recorded<'_> {
    /// The same, free of Python.
    fn sound(&self) -> Sound {
        match self {
            Self::File(path) => Sound::File(path.clone()),
            Self::Samples(samples) => Sound::Samples(samples.as_array().to_vec()),
        }
    }
}

/// A recording.
enum Sound {
    File(PathBuf),
    Samples(Vec<i16>),
}

impl Sound {
    fn name(&self) -> PathBuf {
        match self {
            Self::File(path) => path.clone(),
            Self::Samples(_) => SAMPLES.into(),
        }
    }

    fn read(self) -> Result<Vec<i16>, RecordingError> {
        match self {
            Self::File(path) => attn_recordings::read(&path),
            Self::Samples(samples) => Ok(samples),
        }
    }

    fn pieces(self) -> Result<Pieces, RecordingError> {
        Ok(match self {
            Self::File(path) => Box::new(Recording::open(&path)?),
            Self::Samples(samples) => Box::new(std::iter::once(Ok(samples))),
        })
    }
}

type Pieces = Box<dyn Iterator<Item = Result<Vec<i16>, RecordingError>>>;

/// What is decoded.
#[derive(FromPyObject)]
pub enum Encoded {
    /// Symbols by number.
    Symbols(Vec<u16>),
    /// Text.
    Text(String),
}

impl File {
    pub fn new(file: ModelFile) -> Self {
        Self(Arc::new(file))
    }
}

#[pymethods]
impl File {
    /// Checks the bytes of a file, which errors call `name`.
    #[staticmethod]
    fn parse(py: Python<'_>, data: &[u8], name: &str) -> PyResult<Self> {
        let data = data.to_vec();
        aside(py, || {
            ModelFile::new(&data)
                .map(Self::new)
                .map_err(|error| refused(name, &error))
        })
    }

    fn data<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.0.bytes())
    }

    /// Writes the file, whole or not at all.
    fn save(&self, py: Python<'_>, path: PathBuf) -> PyResult<()> {
        aside(py, || Ok(write_bytes(&path, self.0.bytes())?))
    }

    fn inspect(&self, py: Python<'_>) -> PyResult<String> {
        aside(py, || Ok(inspect::json(&self.0).to_string()))
    }

    /// Runs over the samples of an npz file.
    #[pyo3(signature = (inputs, mask, padding_mask, quantized, progress))]
    fn run<'py>(
        &self,
        py: Python<'py>,
        inputs: PathBuf,
        mask: Option<String>,
        padding_mask: Option<String>,
        quantized: bool,
        progress: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Vec<Named<'py>>> {
        let file = Arc::clone(&self.0);
        let of = move || (inputs, Hidden { mask, padding_mask });
        match quantized {
            false => {
                let found = beside(py, progress, move |progress| {
                    let (inputs, hidden) = of();
                    Ok(outputs::reals(&file, &inputs, hidden.mask(), progress)?)
                })?;
                Ok(found.iter().map(|output| named(py, output)).collect())
            }
            true => {
                let found = beside(py, progress, move |progress| {
                    let (inputs, hidden) = of();
                    Ok(outputs::integers(&file, &inputs, hidden.mask(), progress)?)
                })?;
                Ok(found.iter().map(|output| named(py, output)).collect())
            }
        }
    }

    /// Compares with the float models; returns the result as JSON, and warnings.
    fn compare(
        &self,
        py: Python<'_>,
        source: Described,
        name: PathBuf,
        progress: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<(String, Vec<String>)> {
        let file = Arc::clone(&self.0);
        beside(py, progress, move |progress| {
            let manifest = source.manifest()?;
            let result = compare_file(Source::Bundle(&manifest), &file, &name, progress)?;
            let clipped = result.clipped();
            let warnings = clipped.iter().map(|value| value.told(result.samples));
            Ok((result.json().to_string(), warnings.collect()))
        })
    }

    /// Keywords, and the highest score of each label, as JSON.
    fn spot(&self, py: Python<'_>, sound: Recorded, threshold: Vec<String>) -> PyResult<String> {
        let (file, sound) = (Arc::clone(&self.0), sound.sound());
        beside(py, None, move |_| {
            let model = file.model();
            let labels: Vec<&str> = model.labels().collect();
            let present: Vec<u16> = of(model).map(|(_, value)| value).collect();
            let values = changed(&thresholds(&threshold)?, &labels, &present)?;
            let report = spot::listen(
                model,
                &values,
                attn_converter::spot::Noted {
                    highest: true,
                    scores: false,
                },
                sound.pieces()?,
                |_| {},
            )?;
            Ok(report.json(&labels).to_string())
        })
    }

    /// The sequences found, best first, as JSON. With nothing to decode the model makes a sequence of its own.
    #[pyo3(signature = (input, sound, beam, alpha))]
    fn decode(
        &self,
        py: Python<'_>,
        input: Option<Encoded>,
        sound: Option<Recorded>,
        beam: Option<usize>,
        alpha: f32,
    ) -> PyResult<String> {
        let file = Arc::clone(&self.0);
        let sound = sound.map(|sound| sound.sound());
        beside(py, None, move |_| {
            let model = file.model();
            let input = match (input, sound) {
                (Some(Encoded::Text(text)), _) => Input::Text(text),
                (Some(Encoded::Symbols(symbols)), _) => Input::Symbols(symbols),
                (None, Some(sound)) => heard(model, &sound.name(), || sound.read())?,
                (None, None) => Input::Nothing,
            };
            let search = beam.map_or(Search::Greedy, |width| Search::Beam { width, alpha });
            let found = Decoder::new(model).decode(&input, search)?;
            let found: Vec<Value> = found.iter().map(|found| sequence(&file, found)).collect();
            Ok(Value::from(found).to_string())
        })
    }

    /// The continuation of a text, as JSON; by chance with temperature, number of best tokens and seed.
    fn generate(
        &self,
        py: Python<'_>,
        prompt: String,
        chance: Option<(f32, usize, u32)>,
    ) -> PyResult<String> {
        let file = Arc::clone(&self.0);
        beside(py, None, move |_| {
            let chance = chance.map(|(temperature, top, seed)| Chance {
                temperature,
                top,
                seed,
            });
            let found = Decoder::new(file.model()).write(&prompt, chance)?;
            Ok(sequence(&file, &found).to_string())
        })
    }
}

/// Names of arrays that say what is padding.
struct Hidden {
    mask: Option<String>,
    padding_mask: Option<String>,
}

impl Hidden {
    fn mask(&self) -> Option<Mask<'_>> {
        let of = |name, inside| Mask { name, inside };
        let mask = self.mask.as_deref().map(|name| of(name, 1.0));
        mask.or_else(|| self.padding_mask.as_deref().map(|name| of(name, 0.0)))
    }
}

fn named<'py, T: Element>(py: Python<'py>, output: &Output<T>) -> Named<'py> {
    let array: Bound<'py, PyArray3<T>> = output.values.to_pyarray(py);
    (
        output.name.clone(),
        output.shape.clone(),
        output.dtype.name(),
        array.into_any(),
    )
}

fn sequence(file: &ModelFile, found: &Sequence) -> Value {
    let model = file.model();
    let name = |token: u16| match model.token_name(token) {
        Some(name) => name.to_owned(),
        None => token.to_string(),
    };
    let names = found.tokens.iter().map(|&token| name(token));
    json!({
        "tokens": names.collect::<Vec<_>>(), "numbers": found.tokens,
        "text": text(model, &found.tokens).to_string(), "score": found.score, "ended": found.ended,
    })
}

/// Features of the chip's front end: int8 `[clip, frame, band]`, and the real value of a step.
#[pyfunction]
pub fn features<'py>(
    py: Python<'py>,
    sound: Clips<'py>,
    hop: usize,
) -> PyResult<(Bound<'py, PyArray3<i8>>, f32)> {
    let (name, clips) = match sound {
        Clips::File(path) => {
            let clips = aside(py, || Ok(front_end::read_clips(&path)?))?;
            (path, clips)
        }
        Clips::Samples(samples) => (SAMPLES.into(), samples.as_array().to_owned()),
    };
    let found = aside(py, || {
        let name: &Path = &name;
        Ok(front_end::features(name, &clips, hop)?)
    })?;
    Ok((found.to_pyarray(py), FEATURE_SCALE))
}

/// Clips: a recording or an npz file, or int16 samples `[clip, sample]`.
#[derive(FromPyObject)]
pub enum Clips<'py> {
    /// WAV, FLAC, or npz with an array `pcm`.
    File(PathBuf),
    /// 16 kHz mono.
    Samples(PyReadonlyArray2<'py, i16>),
}
