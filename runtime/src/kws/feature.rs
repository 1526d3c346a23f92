//! Features of one hop in, a decision out: the network with the decision rule, whatever made the features.

use super::{Decision, Decoder, MAX_LABELS, SpotterError};
use crate::format::{DType, EntryRecord, TensorRecord};
use crate::model::Model;
use crate::session::{Session, SessionError};

/// A keyword spotter for a front end of your own. [`super::KeywordSpotter`] is this one behind the front end of [`crate::audio`].
#[derive(Debug)]
pub struct FeatureSpotter<'m, 'a> {
    pub(super) session: Session<'m, 'a>,
    decoder: Decoder,
    /// Entry point of one hop.
    entry: usize,
}

impl<'m, 'a> FeatureSpotter<'m, 'a> {
    /// Puts a streaming model into `arena` (see [`Session::new`]). The model has an entry point with one int8 input, of any length, and
    /// one int8 or int16 logit per label.
    ///
    /// # Errors
    /// [`SpotterError`]: the model lacks what a spotter needs, or does not fit the arena.
    pub fn new(model: Model<'m>, arena: &'a mut [u8]) -> Result<Self, SpotterError> {
        Self::for_input(model, arena, |_| true)
    }

    /// The same with an input for which `accepts` holds.
    pub(super) fn for_input(
        model: Model<'m>,
        arena: &'a mut [u8],
        accepts: fn(&TensorRecord) -> bool,
    ) -> Result<Self, SpotterError> {
        let (spotter, thresholds) = model.spotter().ok_or(SpotterError::NoSpotter)?;
        let labels = model.labels().len();
        if labels != thresholds.len() {
            return Err(SpotterError::BadThresholdCount {
                labels,
                thresholds: thresholds.len(),
            });
        }
        if labels > MAX_LABELS {
            return Err(SpotterError::BadLabelCount { labels });
        }
        let (entry, scale) =
            step_entry(&model, labels, accepts).ok_or(SpotterError::NoSuitableEntry)?;
        let smoothing = spotter.smoothing_hops as usize;
        Ok(Self {
            session: Session::new(model, arena)?,
            decoder: Decoder::new(thresholds, smoothing, spotter.refractory_hops, scale)?,
            entry,
        })
    }

    /// Takes the features of one hop, in the steps of the model's input, and reports the keyword that they complete.
    ///
    /// # Errors
    /// [`SpotterError::BadFeatureCount`] for another number than the model takes.
    pub fn push_features(&mut self, features: &[i8]) -> Result<Option<Decision>, SpotterError> {
        let needed = self.session.input::<i8>(self.entry, 0)?.len();
        if features.len() != needed {
            return Err(SpotterError::BadFeatureCount {
                needed,
                given: features.len(),
            });
        }
        Ok(self.take(features.iter().copied())?)
    }

    /// Takes as many features as the model has inputs.
    pub(super) fn take(
        &mut self,
        features: impl IntoIterator<Item = i8>,
    ) -> Result<Option<Decision>, SessionError> {
        self.begin(features)?;
        self.session.run_ops(usize::MAX)?;
        self.decide()
    }

    /// Takes as many features as the model has inputs and begins the run of their hop.
    pub(super) fn begin(
        &mut self,
        features: impl IntoIterator<Item = i8>,
    ) -> Result<(), SessionError> {
        let input = self.session.input::<i8>(self.entry, 0)?;
        let pairs = input.iter_mut().zip(features);
        pairs.for_each(|(slot, x)| *slot = x);
        self.session.start(self.entry)
    }

    /// What the decision rule makes of the hop that was run.
    pub(super) fn decide(&mut self) -> Result<Option<Decision>, SessionError> {
        let logits = self.session.output_record(self.entry, 0)?;
        Ok(match logits.dtype() {
            DType::I16 => self
                .decoder
                .push(self.session.output::<i16>(self.entry, 0)?),
            _ => self.decoder.push(self.session.output::<i8>(self.entry, 0)?),
        })
    }

    /// Sets the threshold of a label, as [`Decoder::set_threshold`].
    ///
    /// # Errors
    /// [`SpotterError::NoSuchLabel`].
    pub fn set_threshold(&mut self, label: usize, threshold_q15: u16) -> Result<(), SpotterError> {
        self.decoder.set_threshold(label, threshold_q15)
    }

    /// Forgets everything that was heard.
    pub fn reset(&mut self) {
        self.session.reset();
        self.decoder.reset();
    }

    /// Read access to the decision rule with its averages.
    pub fn decoder(&self) -> &Decoder {
        &self.decoder
    }

    /// The model.
    pub fn model(&self) -> Model<'m> {
        self.session.model()
    }
}

/// The first entry point that maps one accepted input to one logit per label, and the scale of its logits.
fn step_entry(
    model: &Model<'_>,
    labels: usize,
    accepts: fn(&TensorRecord) -> bool,
) -> Option<(usize, f32)> {
    let scale = |entry: &EntryRecord| {
        let (mut inputs, mut outputs) = (entry.inputs(), entry.outputs());
        let (input, output) = (
            model.tensor(inputs.next()?)?,
            model.tensor(outputs.next()?)?,
        );
        let alone = inputs.next().is_none() && outputs.next().is_none();
        let features = input.dtype() == DType::I8 && accepts(input);
        let logits = matches!(output.dtype(), DType::I8 | DType::I16) && output.len() == labels;
        (alone && features && logits).then_some(output.scale)
    };
    let mut entries = model.entries().iter().enumerate();
    entries.find_map(|(id, entry)| Some((id, scale(entry)?)))
}
