//! Flags that say how a model is converted, for every command that converts one.

use super::bundle::Bundle;
use super::load_manifest;
use crate::flags::{Dtype, FlagError, Range};
use attn_converter::bundle::Manifest;
use attn_converter::emit::Metadata;
use attn_converter::lower::Form;
use attn_converter::pipeline::{Mixed, Options};
use attn_converter::quantize::Precision;
use attn_converter::quantize::pinned::InputType;
use clap::Args;
use std::path::{Path, PathBuf};

/// How to convert.
#[derive(Args)]
pub struct Recipe {
    /// Calibration data: an .npz with one array per model input, [samples, ...], float32 (or int8 with `scale`). A manifest
    /// names its own.
    #[arg(long, value_name = "NPZ")]
    calibrate: Option<PathBuf>,
    /// Let a manifest name files outside its folder.
    #[arg(long)]
    outside: bool,
    /// Convert to a step that takes one frame at a time and keeps the past in state tensors.
    #[arg(long)]
    stream: bool,
    /// Weights and activations of the file [default: int8].
    #[arg(long, value_enum)]
    dtype: Option<Dtype>,
    /// Element type that inputs shall have: int8, int16 or float16, or `INPUT=TYPE` for one. Several are separated by commas. Without this,
    /// measurement chooses, and may choose otherwise after another training.
    #[arg(long, value_name = "TYPE", value_delimiter = ',')]
    input_dtype: Vec<InputType>,
    /// How the range of an int8 value is chosen from the calibration data [default: measured].
    #[arg(long, value_enum)]
    range: Option<Range>,
    /// With int8: hold values in int16 where measurement finds that worth it. A single model is converted so; of one that decodes, all
    /// but keys and values are int16 without this.
    #[arg(long, conflicts_with = "no_mixed")]
    mixed: bool,
    /// With int8: hold every value that can be int8 in int8, whatever it costs.
    #[arg(long)]
    no_mixed: bool,
    /// The model takes features of the audio front end, computed every this many samples (16 kHz).
    #[arg(long, value_name = "SAMPLES")]
    audio_hop: Option<u32>,
    #[command(flatten)]
    bundle: Bundle,
}

/// Whether a file is a manifest, by its name.
pub fn is_manifest(path: &Path) -> bool {
    path.extension().is_some_and(|end| end == "toml")
}

impl Recipe {
    /// What is converted: a manifest's file, or what the flags say in its place.
    pub fn manifest(&self, model: Option<&Path>) -> Result<Manifest, Box<dyn std::error::Error>> {
        if let Some(path) = model.filter(|path| is_manifest(path)) {
            let given = self.bundle.given();
            let given = given.or(self.calibrate.as_ref().map(|_| "--calibrate"));
            return match given.or(self.audio_hop.map(|_| "--audio-hop")) {
                Some(flag) => Err(FlagError::new(flag, "a manifest says this itself").into()),
                None => load_manifest(path, self.outside),
            };
        }
        let Some(calibration) = &self.calibrate else {
            let reason = "name an .npz file with samples of the model's inputs";
            return Err(FlagError::new("--calibrate", reason).into());
        };
        self.calibrated(model, calibration)
    }

    /// The same for models that are calibrated with these data.
    pub fn calibrated(
        &self,
        model: Option<&Path>,
        calibration: &Path,
    ) -> Result<Manifest, Box<dyn std::error::Error>> {
        let model = model.map(|path| (self.stream, path));
        self.bundle.manifest(model, calibration, self.audio_hop)
    }

    /// The pipeline's options.
    pub fn options(&self, metadata: Metadata) -> Options {
        Options {
            form: match self.stream {
                true => Form::Stream,
                false => Form::Window,
            },
            precision: self.precision(),
            range: self.range.unwrap_or(Range::Measured).into(),
            mixed: match (self.mixed, self.no_mixed) {
                (true, _) => Mixed::Searched,
                (_, true) => Mixed::None,
                _ => Mixed::Usual,
            },
            inputs: self.input_dtype.clone(),
            metadata,
            ..Options::default()
        }
    }

    /// The arithmetic of the file.
    pub fn precision(&self) -> Precision {
        self.dtype.unwrap_or(Dtype::Int8).into()
    }

    /// Whether calibration data are given.
    pub fn is_calibrated(&self) -> bool {
        self.calibrate.is_some()
    }

    /// A flag that is given: for a file that is converted already.
    pub fn given(&self) -> Option<&'static str> {
        let flags = [
            ("--calibrate", self.calibrate.is_some()),
            ("--outside", self.outside),
            ("--stream", self.stream),
            ("--dtype", self.dtype.is_some()),
            ("--input-dtype", !self.input_dtype.is_empty()),
            ("--range", self.range.is_some()),
            ("--mixed", self.mixed),
            ("--no-mixed", self.no_mixed),
            ("--audio-hop", self.audio_hop.is_some()),
        ];
        let mut given = flags.into_iter().filter(|(_, given)| *given);
        let given = given.next().map(|(flag, _)| flag);
        given.or(self.bundle.given())
    }

    /// A flag that is given and that noise in the place of calibration data does not know.
    pub fn needs_data(&self) -> Option<&'static str> {
        self.bundle.given()
    }
}
