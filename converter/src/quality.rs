//! How close a file comes to its models, measured on calibration data that was held back; where an output is bad, why, and what helps.
//!
//! The measured file is made like the finished one, but without those samples. It is made in less time, which costs it a little precision. Remedies are tried, not guessed: that file is made again with each, and runs on the same samples.

use crate::calibrate::RangeMethod;
use crate::compare::{self, Clipped, Comparison, Judge, Judged, Loss};
use crate::error::{ConvertError, Result};
use crate::graph::Graph;
use crate::lower::Form;
use crate::pipeline::{self, Calibrated, Loaded, Options, Seen};
use crate::progress::{Phase, Progress, Step};
use crate::quantize::Precision;
use crate::quantize::choices::{self, Choices};
use crate::runner::{AlignedBytes, ModelFile};
use attn_runtime::Session;

/// SQNR in dB below which an output is bad: in int8, and in a precision that should do better.
const FLOOR_DB: f64 = 25.0;
const FINE_FLOOR_DB: f64 = 40.0;
/// Limits on samples, and on inferences of a file.
const SAMPLES: usize = 32;
const RUNS: usize = 1000;
/// Gain in dB from which a remedy is named, and that shows a cause.
const GAIN_DB: f64 = 1.0;
const CAUSE_DB: f64 = 3.0;
/// Calibration with fewer samples is worth repeating with more.
const FEW: usize = 32;

/// How close a file comes to its models.
#[derive(Clone, Debug)]
pub struct Quality {
    /// Samples that it was measured on.
    pub samples: usize,
    /// How many there are in all.
    pub of: usize,
    /// The samples were held back: no range, rounding or width was chosen on them. Else calibration has seen them.
    pub held_back: bool,
    /// Every output of a model, or the logits of a bundle that decodes.
    pub outputs: Vec<Judged>,
    /// Values that leave the range in which the file holds them, where calibration does not choose it.
    pub clipped: Vec<Clipped>,
    /// The worst output, if it is bad.
    pub doubt: Option<Doubt>,
}

/// An output that is far from float.
#[derive(Clone, Debug)]
pub struct Doubt {
    /// Name of the output.
    pub output: String,
    /// Its SQNR.
    pub sqnr_db: f64,
    /// What it should have at least.
    pub floor_db: f64,
    /// Where most is lost.
    pub worst: Option<Loss>,
    /// What costs most.
    pub cause: Cause,
    /// What was tried and helps, by falling gain in dB.
    pub remedies: Vec<(Remedy, f64)>,
    /// There are few calibration samples; more may help, whether or not that was seen.
    pub few_samples: bool,
}

/// What costs an output its precision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// A value leaves the range in which it is held.
    Range,
    /// Activations in 8 bits.
    Activations,
    /// Weights in 8 bits.
    Weights,
    /// Steps of equal size, for numbers of very different size.
    EqualSteps,
    /// Nothing that was tried helps.
    Unknown,
}

/// What may help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// Weights and activations of this precision.
    Precision(Precision),
    /// Ranges chosen this way.
    Range(RangeMethod),
    /// Calibration data with more samples: the gain is what those that were held back bring for themselves.
    Samples,
}

/// A file under test: what it is made of, and how.
struct Trial<'t, 'm> {
    loaded: &'t mut Loaded<'m>,
    graphs: &'t [Graph],
    seen: &'t Calibrated,
    options: &'t Options,
    samples: usize,
}

/// Measures a file made by these choices, and tries what could be better if that is bad.
///
/// # Errors
/// Those of lowering, of the float run and of a session.
pub(crate) fn measure(
    loaded: &mut Loaded,
    seen: &Calibrated,
    chosen: &[Choices],
    options: &Options,
    progress: Progress,
) -> Result<Quality> {
    let graphs = loaded.graphs();
    let samples = count(loaded, options);
    let mut trial = Trial {
        loaded,
        graphs: &graphs,
        seen,
        options,
        samples,
    };
    let file = trial.file(options.precision, chosen, seen.known())?;
    let (comparison, losses) = trial.run(&file)?;
    // What calibration has seen is clipped on purpose.
    let mut clipped = comparison.clipped();
    clipped.retain(|value| value.as_state || options.precision == Precision::Fp16);
    let floor_db = match options.precision {
        Precision::Int8 => FLOOR_DB,
        Precision::Int16x8 | Precision::Fp16 => FINE_FLOOR_DB,
    };
    let bad = comparison.judged.iter().zip(losses);
    let bad = bad.filter(|(output, _)| output.sqnr.db() < floor_db && output.sqnr.db().is_finite());
    let worst = bad.min_by(|a, b| a.0.sqnr.db().total_cmp(&b.0.sqnr.db()));
    // Layers could have weights of two parts, and that was not enough.
    let weights_are_open = pipeline::goal_of_weights(&trial.loaded.bundle, options).is_none();
    let doubt = worst.map(|(output, worst)| {
        let gains = trial.gains(output, chosen, progress);
        let cut = |loss: &Loss| clipped.iter().any(|c| c.name == loss.value);
        Doubt {
            output: output.name.clone(),
            sqnr_db: output.sqnr.db(),
            floor_db,
            cause: cause(&gains, worst.as_ref().is_some_and(cut), weights_are_open),
            worst,
            remedies: gains,
            few_samples: trial.loaded.samples.samples.len() < FEW,
        }
    });
    progress(Step::of(Phase::Quality, 1, 1));
    let all = loaded.samples.samples.len();
    Ok(Quality {
        samples: comparison.samples,
        of: all,
        held_back: loaded.samples.split().any(),
        outputs: comparison.judged,
        clipped,
        doubt,
    })
}

/// How many samples are measured: few of long sequences that run row by row.
fn count(loaded: &Loaded, options: &Options) -> usize {
    let bundle = &loaded.bundle;
    let rows = |(part, graph): (usize, &Graph)| match loaded.form(part, options) {
        Form::Stream => graph
            .inputs
            .first()
            .map_or(1, |id| graph.values[id.0].rows()),
        Form::Window => 1,
    };
    let rows = bundle.graphs.iter().enumerate().map(rows).max();
    let tokens = loaded.samples.samples.iter().map(|s| s.tokens.len()).max();
    let runs = rows.unwrap_or(1).max(tokens.unwrap_or(1)).max(1);
    (RUNS / runs).clamp(1, SAMPLES)
}

impl Trial<'_, '_> {
    /// Compares a file with its models; also says where each output loses most.
    fn run(&mut self, file: &ModelFile) -> Result<(Comparison, Vec<Option<Loss>>)> {
        let parts = 0..self.graphs.len();
        let rows = parts.map(|part| {
            let form = self.loaded.form(part, self.options);
            match self.options.forget_past {
                true => Ok(None),
                false => compare::rows(&self.loaded.bundle, part, form),
            }
        });
        let rows = rows.collect::<Result<Vec<_>>>()?;
        let (bundle, samples) = (&mut self.loaded.bundle, &self.loaded.samples);
        let judge = Judge::new(bundle, self.graphs, file.model(), rows);
        let mut judge = judge.ok_or_else(|| ConvertError::OtherModel {
            path: bundle.manifest.path().into(),
        })?;
        let mut arena = AlignedBytes::zeroed(file.model().arena_len());
        let mut session = Session::new(file.model(), arena.as_mut_slice())?;
        for (number, at) in samples.split().held_back(self.samples).enumerate() {
            judge.add(bundle, &mut session, &samples.samples[at], number)?;
        }
        let losses = judge.losses();
        Ok((judge.comparison(samples.labelled), losses))
    }

    /// The file of this precision, by what was seen.
    fn file(&self, precision: Precision, chosen: &[Choices], seen: &Seen) -> Result<ModelFile> {
        let schemes = pipeline::schemes(self.loaded, seen, chosen, precision);
        let schemes = seen.quick(schemes);
        let (program, mut metadata) = pipeline::write(self.loaded, &schemes, self.options)?;
        pipeline::finish(self.loaded.bundle.manifest, &program, &mut metadata)
    }

    /// The SQNR in dB of an output in a file of this precision; `None` where there can be none.
    fn with(
        &mut self,
        precision: Precision,
        chosen: &[Choices],
        seen: &Seen,
        output: &str,
    ) -> Option<f64> {
        let file = self.file(precision, chosen, seen).ok()?;
        let (comparison, _) = self.run(&file).ok()?;
        let judged = comparison.judged.iter().find(|o| o.name == output);
        Some(judged?.sqnr.db())
    }

    /// What helps, by falling gain in dB.
    fn gains(
        &mut self,
        output: &Judged,
        chosen: &[Choices],
        progress: Progress,
    ) -> Vec<(Remedy, f64)> {
        let tried = tried(self.options, self.loaded.samples.split().any());
        let total = tried.len() + 1;
        let mut gains = Vec::new();
        for (done, remedy) in tried.into_iter().enumerate() {
            let (mut precision, mut choices) = (self.options.precision, chosen.to_vec());
            let mut seen = self.seen.known();
            for (choice, graph) in choices.iter_mut().zip(&self.loaded.bundle.graphs) {
                match remedy {
                    Remedy::Range(range) => choice.range = range,
                    Remedy::Precision(_) => choice.wide = choices::all(graph, choice.audio),
                    Remedy::Samples => {}
                }
            }
            match remedy {
                Remedy::Precision(other) => precision = other,
                Remedy::Samples => seen = self.seen.whole(),
                Remedy::Range(_) => {}
            }
            let db = self.with(precision, &choices, seen, &output.name);
            gains.extend(db.map(|db| (remedy, db - output.sqnr.db())));
            progress(Step::of(Phase::Quality, done + 1, total));
        }
        gains.retain(|(_, gain)| *gain >= GAIN_DB);
        gains.sort_by(|a, b| b.1.total_cmp(&a.1));
        gains
    }
}

/// What is tried for a file that was made with these options, with all samples or without those held back.
fn tried(options: &Options, held_back: bool) -> Vec<Remedy> {
    use RangeMethod::{MinMax, Mse, Percentile};
    let half = Remedy::Precision(Precision::Fp16);
    let ranges = [MinMax, Percentile, Mse].into_iter();
    let ranges = ranges.filter(|range| *range != options.range);
    let samples = held_back.then_some(Remedy::Samples);
    match options.precision {
        Precision::Int8 => [Remedy::Precision(Precision::Int16x8), half]
            .into_iter()
            .chain(ranges.map(Remedy::Range))
            .chain(samples)
            .collect(),
        Precision::Int16x8 => [half].into_iter().chain(samples).collect(),
        Precision::Fp16 => Vec::new(),
    }
}

/// What costs most, from what helps.
fn cause(gains: &[(Remedy, f64)], cut: bool, weights_are_open: bool) -> Cause {
    let gain = |wanted| {
        let found = gains.iter().find(|(remedy, _)| *remedy == wanted);
        found.map_or(0.0, |(_, gain)| *gain)
    };
    let [wide, half] = [Precision::Int16x8, Precision::Fp16].map(Remedy::Precision);
    match (gain(wide), gain(half)) {
        _ if cut || gain(Remedy::Samples) >= CAUSE_DB => Cause::Range,
        (wide, _) if wide >= CAUSE_DB => Cause::Activations,
        (_, half) if half >= CAUSE_DB && weights_are_open => Cause::Weights,
        (_, half) if half >= CAUSE_DB => Cause::EqualSteps,
        _ => Cause::Unknown,
    }
}
