//! Runs of a bundle over one sample: what each part is given, and its values in float.

use super::float::{Bundle, Decoding};
use super::samples::Sample;
use crate::calibrate::{Elements, elements};
use crate::error::Result;
use crate::graph::ValueId;
use crate::graph::stream::Rows;
use crate::reference::{Values, to_f32};
use ndarray::{Array1, ArrayD, Axis};

/// One run of one part.
#[derive(Clone, Debug)]
pub struct Run {
    /// Number of the part.
    pub part: usize,
    /// What the caller gives, by name of the input.
    pub given: Vec<(String, ArrayD<f32>)>,
    /// Number of tokens that it is over; 0 for a part that is no step.
    pub tokens: usize,
}

impl Bundle<'_> {
    /// The runs over one sample, in order.
    ///
    /// # Errors
    /// [`ConvertError::Manifest`](crate::error::ConvertError::Manifest) for a mask without a symbol of padding.
    pub fn runs(&self, sample: &Sample) -> Result<Vec<Run>> {
        let mut runs = Vec::new();
        if self.keeps_states() {
            return Ok((0..sample.steps)
                .map(|step| step_of(sample, step))
                .collect());
        }
        if let Some(part) = self.first() {
            let given = sample
                .inputs
                .iter()
                .map(|(name, array)| Ok((name.clone(), self.padded(part, name, array)?)));
            runs.push(Run {
                part,
                given: given.collect::<Result<_>>()?,
                tokens: 0,
            });
        }
        let Some(decoding) = &self.decoding else {
            return Ok(runs);
        };
        let tokens: Vec<f32> = sample.tokens.iter().map(|&token| token as f32).collect();
        // All tokens in one run, or one run for each.
        let at_once = match &decoding.stream {
            Some(_) => tokens.len(),
            None => 1,
        };
        for tokens in tokens.chunks(at_once.max(1)) {
            // Tokens do not see later tokens, so the value of the padding does not matter.
            let filled = tokens.iter().chain(tokens.last().into_iter().cycle());
            let input = filled.take(self.token_rows()).copied();
            let input = input.collect::<Array1<f32>>().into_dyn();
            runs.push(Run {
                part: decoding.step,
                given: vec![(decoding.keys.token.clone(), input)],
                tokens: tokens.len(),
            });
        }
        Ok(runs)
    }

    /// Tokens in one float run of the step.
    pub fn token_rows(&self) -> usize {
        let rows = |decoding: &Decoding| {
            let token = self.input(decoding.step, &decoding.keys.token)?;
            Some(self.graphs[decoding.step].values[token.0].rows())
        };
        self.decoding.as_ref().and_then(rows).unwrap_or(1)
    }

    /// Runs the models over one sample in float and shows each run with the elements of all values; rows behind the last token are of no
    /// sequence, and left out.
    ///
    /// # Errors
    /// [`ConvertError::Reference`](crate::error::ConvertError::Reference); those of `seen`.
    pub fn run(
        &mut self,
        sample: &Sample,
        mut seen: impl FnMut(&Run, &[Elements]) -> Result<()>,
    ) -> Result<()> {
        let mut kept: Vec<Option<ArrayD<f32>>> = vec![None; self.states.len()];
        for run in self.runs(sample)? {
            let values = self.run_part(&run, sample.length, &mut kept)?;
            let mut all = elements(&self.graphs[run.part], &values);
            for (id, elements) in all.iter_mut().enumerate() {
                let len = self.elements_of(&run, ValueId(id), elements.values.len());
                elements.values.truncate(len);
            }
            seen(&run, &all)?;
        }
        Ok(())
    }

    /// How many of the `len` elements of a value belong to the tokens of a run.
    pub fn elements_of(&self, run: &Run, id: ValueId, len: usize) -> usize {
        let rows = self.as_step(run.part).and_then(|d| d.stream.as_ref());
        match rows.map(|rows| rows[id.0]) {
            Some(Rows::Frames) => run.tokens * self.graphs[run.part].values[id.0].channels(),
            _ => len,
        }
    }

    fn run_part(
        &mut self,
        run: &Run,
        length: usize,
        kept: &mut [Option<ArrayD<f32>>],
    ) -> Result<Values> {
        let part = run.part;
        let reference = self.part(part, length)?;
        let mut inputs = Vec::new();
        for input in reference.inputs() {
            let mut states = self.states.iter();
            let state = states.position(|s| s.to.part == part && s.to.value == input.name);
            let given = run.given.iter().find(|(name, _)| *name == input.name);
            inputs.push(match (self.mask_for(input, length), state, given) {
                (Some(mask), _, _) => mask,
                (None, None, Some((_, array))) => array.clone(),
                // The initial state is zero.
                (None, state, _) => {
                    let kept = state.and_then(|at| kept[at].clone());
                    kept.unwrap_or_else(|| ArrayD::zeros(input.shape.as_slice()))
                }
            });
        }
        let values = reference.run(&inputs)?;
        for (state, kept) in self.states.iter().zip(kept) {
            for from in state.from.iter().filter(|from| from.part == part) {
                *kept = values.get(&from.value).and_then(|tensor| to_f32(tensor));
            }
        }
        Ok(values)
    }
}

/// The run over one step of a model that keeps states.
fn step_of(sample: &Sample, step: usize) -> Run {
    let inputs = sample.inputs.iter();
    let at = |array: &ArrayD<f32>| array.index_axis(Axis(0), step).to_owned();
    Run {
        part: 0,
        given: inputs
            .map(|(name, array)| (name.clone(), at(array)))
            .collect(),
        tokens: 0,
    }
}
