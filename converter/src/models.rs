//! The models of one file, run together in float: a single one over a dataset, or those of a bundle over their sequences.

use crate::bundle::Manifest;
use crate::bundle::float::Bundle;
use crate::bundle::samples::Samples;
use crate::calibrate::{Elements, elements};
use crate::dataset::Dataset;
use crate::error::ConvertError;
use crate::graph::Graph;
use crate::graph::stream::Rows;
use crate::import::import;
use crate::lower::Link;
use crate::reference::Reference;
use std::path::Path;

/// Models that become the entry points of one file.
pub trait Models {
    /// The graph of each, in the order of their entry points.
    fn graphs(&self) -> &[Graph];

    /// Values that pass between them.
    fn links(&self) -> &[Link];

    /// Number of samples.
    fn samples(&self) -> usize;

    /// Number of runs of a part over all samples.
    fn runs(&self, part: usize) -> usize;

    /// Runs one sample. Calls back after each run with the number of the part and the elements of its values.
    ///
    /// # Errors
    /// [`ConvertError::Reference`].
    fn run(
        &mut self,
        sample: usize,
        seen: &mut dyn FnMut(usize, &[Elements]),
    ) -> Result<(), ConvertError>;
}

/// A single model.
pub struct Single {
    /// The model in float.
    pub reference: Reference,
    /// Its calibration data.
    pub data: Dataset,
    graphs: [Graph; 1],
}

impl Single {
    /// Loads a model and its calibration data.
    ///
    /// # Errors
    /// Those of loading and importing a model, and of [`Dataset::load`].
    pub fn load(onnx: &Path, calibration: &Path) -> Result<Self, ConvertError> {
        let reference = Reference::load(onnx)?;
        let graphs = [import(&reference)?];
        let data = Dataset::load(calibration, reference.inputs())?;
        Ok(Self {
            reference,
            data,
            graphs,
        })
    }
}

impl Models for Single {
    fn graphs(&self) -> &[Graph] {
        &self.graphs
    }

    fn links(&self) -> &[Link] {
        &[]
    }

    fn samples(&self) -> usize {
        self.data.len()
    }

    fn runs(&self, _part: usize) -> usize {
        self.data.len()
    }

    fn run(
        &mut self,
        sample: usize,
        seen: &mut dyn FnMut(usize, &[Elements]),
    ) -> Result<(), ConvertError> {
        let inputs = self.data.sample(sample);
        let inputs: Vec<_> = inputs.iter().map(|x| x.to_owned()).collect();
        let values = self.reference.run(&inputs)?;
        seen(0, &elements(&self.graphs[0], &values));
        Ok(())
    }
}

/// The models of a bundle.
pub struct Several<'m> {
    /// The models in float.
    pub bundle: Bundle<'m>,
    samples: Samples,
    links: Vec<Link>,
}

impl<'m> Several<'m> {
    /// Loads the models and calibration data of a manifest.
    ///
    /// # Errors
    /// Those of [`Bundle::load`] and [`Samples::load`].
    pub fn load(manifest: &'m Manifest) -> Result<Self, ConvertError> {
        let bundle = Bundle::load(manifest)?;
        let samples = Samples::load(&manifest.resolve(&manifest.calibrate), &bundle)?;
        let links = bundle.links()?;
        Ok(Self {
            bundle,
            samples,
            links,
        })
    }

    /// The step runs once for each token, not over all of them at once.
    fn steps_singly(&self, part: usize) -> bool {
        part == self.bundle.step && self.bundle.stream.is_none()
    }
}

impl Models for Several<'_> {
    fn graphs(&self) -> &[Graph] {
        &self.bundle.graphs
    }

    fn links(&self) -> &[Link] {
        &self.links
    }

    fn samples(&self) -> usize {
        self.samples.samples.len()
    }

    fn runs(&self, part: usize) -> usize {
        let tokens = self
            .samples
            .samples
            .iter()
            .map(|sample| sample.tokens.len());
        match self.steps_singly(part) {
            true => self.samples() * tokens.max().unwrap_or(1),
            false => self.samples(),
        }
    }

    fn run(
        &mut self,
        sample: usize,
        seen: &mut dyn FnMut(usize, &[Elements]),
    ) -> Result<(), ConvertError> {
        let (graphs, step) = (self.bundle.graphs.clone(), self.bundle.step);
        let rows = self.bundle.stream.clone();
        self.bundle
            .run(&self.samples.samples[sample], |part, values, tokens| {
                let mut all = elements(&graphs[part], values);
                if let Some(rows) = rows.as_ref().filter(|_| part == step) {
                    // Rows after the last token belong to no sequence.
                    let values = graphs[part].values.iter().zip(rows);
                    for (elements, (value, rows)) in all.iter_mut().zip(values) {
                        if *rows == Rows::Frames {
                            elements.values.truncate(tokens * value.channels());
                        }
                    }
                }
                seen(part, &all);
            })
    }
}
