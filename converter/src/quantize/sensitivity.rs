//! Which values need 16 bits: measured with the runtime itself on calibration data.
//!
//! Starting from int8 everywhere, each adjustable value is made int16 alone and the gain at the model's outputs
//! measured; then, best first, those that add at least [`WORTH_DB`] to what was won already are kept.

use super::{Choices, Scheme, adjustable};
use crate::calibrate::{Distribution, physical};
use crate::dataset::Dataset;
use crate::emit::{Metadata, emit};
use crate::error::ConvertError;
use crate::graph::{Graph, ValueId};
use crate::lower::{Form, lower};
use crate::plan::plan;
use crate::reference::Reference;
use crate::runner::{self, AlignedBytes, ModelFile};
use crate::sqnr::Sqnr;
use attn_runtime::Session;
use indicatif::ProgressBar;
use ndarray::ArrayD;

/// Gain in dB that is worth the bytes of an int16 tensor.
pub const WORTH_DB: f64 = 0.5;
/// Samples to measure on.
const SAMPLES: usize = 48;

/// One value made int16.
#[derive(Clone, Debug)]
pub struct Widened {
    /// The value.
    pub value: ValueId,
    /// What it added to the outputs' SQNR, in dB.
    pub gain_db: f64,
}

/// Samples with what the float model makes of them.
struct Measure<'m> {
    graph: &'m Graph,
    distributions: &'m [Distribution],
    inputs: Vec<Vec<ArrayD<f32>>>,
    exact: Vec<Vec<Vec<f32>>>,
}

impl<'m> Measure<'m> {
    fn new(
        graph: &'m Graph,
        distributions: &'m [Distribution],
        reference: &Reference,
        data: &Dataset,
    ) -> Result<Self, ConvertError> {
        let mut measure = Self {
            graph,
            distributions,
            inputs: Vec::new(),
            exact: Vec::new(),
        };
        for index in data.spread(SAMPLES) {
            let inputs: Vec<_> = data.sample(index).iter().map(|x| x.to_owned()).collect();
            let values = reference.run(&inputs)?;
            let outputs = graph
                .outputs
                .iter()
                .map(|id| physical(&graph.values[id.0], &values).unwrap_or_default());
            measure.exact.push(outputs.collect());
            measure.inputs.push(inputs);
        }
        Ok(measure)
    }

    /// SQNR in dB over all outputs of the model quantized by `choices`.
    fn db(&self, choices: &Choices) -> Result<f64, ConvertError> {
        let scheme = Scheme::new(self.graph, self.distributions, choices);
        let program = lower(self.graph, &scheme, Form::Window)?;
        let bytes = emit(&program, &plan(&program), &Metadata::default())?;
        let file = ModelFile::new(&bytes).map_err(|source| ConvertError::Model {
            path: "(in memory)".into(),
            source,
        })?;
        let mut arena = AlignedBytes::zeroed(file.model().arena_len());
        let mut session = Session::new(file.model(), arena.as_mut_slice())?;
        let mut sqnr = Sqnr::default();
        for (inputs, exact) in self.inputs.iter().zip(&self.exact) {
            for (index, input) in inputs.iter().enumerate() {
                runner::fill(&mut session, 0, index, input.iter())?;
            }
            session.run(0)?;
            for (index, exact) in exact.iter().enumerate() {
                sqnr.add(exact, &runner::output(&session, 0, index)?);
            }
        }
        Ok(sqnr.db())
    }
}

/// Finds the values to widen and adds them to `choices`.
///
/// # Errors
/// Those of lowering and of the float run.
pub fn widen(
    graph: &Graph,
    distributions: &[Distribution],
    reference: &Reference,
    data: &Dataset,
    choices: &mut Choices,
    progress: &ProgressBar,
) -> Result<Vec<Widened>, ConvertError> {
    let measure = Measure::new(graph, distributions, reference, data)?;
    let candidates = adjustable(graph, choices.audio);
    progress.set_length(2 * candidates.len() as u64);
    let mut best = measure.db(choices)?;
    let mut alone = Vec::new();
    for value in candidates {
        let mut wider = choices.clone();
        wider.wide.insert(value);
        alone.push((measure.db(&wider)?, value));
        progress.inc(1);
    }
    alone.sort_by(|a, b| b.0.total_cmp(&a.0));
    let mut widened = Vec::new();
    for (_, value) in alone {
        let mut wider = choices.clone();
        wider.wide.insert(value);
        let db = measure.db(&wider)?;
        if db >= best + WORTH_DB {
            widened.push(Widened {
                value,
                gain_db: db - best,
            });
            (*choices, best) = (wider, db);
        }
        progress.inc(1);
    }
    progress.finish_and_clear();
    Ok(widened)
}
