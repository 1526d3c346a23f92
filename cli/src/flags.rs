//! What the library's settings and choices are called on the command line: the only place that knows.

use attn_converter::calibrate::RangeMethod;
use attn_converter::error::{ConvertError, Setting};
use attn_converter::quality::Remedy;
use attn_converter::quantize::Precision;
use attn_converter::spot::SpotError;
use attn_runtime::kws::SpotterError;
use clap::ValueEnum;
use thiserror::Error;

/// A flag that is missing or does not fit.
#[derive(Debug, Error)]
#[error("{flag}: {reason}")]
pub struct FlagError {
    /// The flag.
    pub flag: &'static str,
    /// What is wrong, and what would be right.
    pub reason: String,
}

impl FlagError {
    /// For one flag.
    pub fn new(flag: &'static str, reason: impl Into<String>) -> Self {
        let reason = reason.into();
        Self { flag, reason }
    }

    /// What the library says of the value of a flag.
    pub fn of<E: std::fmt::Display>(flag: &'static str) -> impl Fn(E) -> Self {
        move |error| Self::new(flag, error.to_string())
    }
}

/// The libraries' errors as the user of the command should read them.
pub fn explained(error: Box<dyn std::error::Error>) -> Box<dyn std::error::Error> {
    let error = match error.downcast::<SpotError>() {
        Ok(error) => match *error {
            SpotError::Spotter(error) => error.into(),
            other => other.into(),
        },
        Err(error) => error,
    };
    let error = match error.downcast::<SpotterError>() {
        Ok(error) => return remedied(*error).into(),
        Err(error) => error,
    };
    match error.downcast::<ConvertError>() {
        Ok(error) => match *error {
            ConvertError::Setting { setting, reason } => FlagError {
                flag: flag(setting),
                reason,
            }
            .into(),
            error @ ConvertError::DynamicShape { .. } => {
                format!("{error} (attn convert --max-length)").into()
            }
            other => other.into(),
        },
        Err(error) => error,
    }
}

/// What is wrong with a keyword spotter, and the flags of `attn convert` that mend it.
fn remedied(error: SpotterError) -> String {
    let flags = match error {
        SpotterError::NoAudio => "--audio-hop",
        SpotterError::NoSpotter => "--smoothing and --threshold",
        SpotterError::BadLabelCount { .. } => "--labels",
        SpotterError::BadSmoothing { .. } => "--smoothing",
        _ => return error.to_string(),
    };
    format!("{error} (attn convert {flags})")
}

fn flag(setting: Setting) -> &'static str {
    match setting {
        Setting::Stream => "--stream",
        Setting::Labels => "--labels",
        Setting::AudioHop => "--audio-hop",
        Setting::InputType => "--input-dtype",
    }
}

/// The flag of `attn convert` that follows an advice.
pub fn remedy(remedy: Remedy) -> &'static str {
    match remedy {
        Remedy::Precision(Precision::Int8) => "--dtype int8",
        Remedy::Precision(Precision::Int16x8) => "--dtype int16x8",
        Remedy::Precision(Precision::Fp16) => "--dtype fp16",
        Remedy::Range(RangeMethod::MinMax) => "--range min-max",
        Remedy::Range(RangeMethod::Percentile) => "--range percentile",
        Remedy::Range(RangeMethod::Mse) => "--range mse",
        Remedy::Range(RangeMethod::Measured) => "--range measured",
        Remedy::Samples => "more calibration samples",
    }
}

/// `--dtype`.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Dtype {
    /// int8 weights and activations, int16 where measured sensitivity asks for it.
    Int8,
    /// int8 weights, int16 activations throughout.
    #[value(alias = "int8x16")]
    Int16x8,
    /// IEEE half-precision weights and activations, for chips with a floating-point unit.
    Fp16,
}

impl From<Dtype> for Precision {
    fn from(dtype: Dtype) -> Self {
        match dtype {
            Dtype::Int8 => Self::Int8,
            Dtype::Int16x8 => Self::Int16x8,
            Dtype::Fp16 => Self::Fp16,
        }
    }
}

/// `--range`.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Range {
    /// Everything that was seen.
    MinMax,
    /// All but one in 10 000 at either end.
    Percentile,
    /// The range with the smallest mean squared error of rounding and clipping.
    Mse,
    /// The same, or everything that was seen if measurement finds that far better.
    Measured,
}

impl From<Range> for RangeMethod {
    fn from(range: Range) -> Self {
        match range {
            Range::MinMax => Self::MinMax,
            Range::Percentile => Self::Percentile,
            Range::Mse => Self::Mse,
            Range::Measured => Self::Measured,
        }
    }
}
