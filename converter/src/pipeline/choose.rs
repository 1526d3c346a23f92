//! The choices of a conversion: the width and range of every value, and which layers have weights of two parts.

use super::{Calibrated, Loaded, Mixed, Options};
use crate::bundle::float::Bundle;
use crate::error::Result;
use crate::progress::Progress;
use crate::quantize::Precision;
use crate::quantize::choices::{self, Choices};
use crate::quantize::exponents;
use crate::quantize::inputs::Inputs;
use crate::quantize::parts::divide;
use crate::quantize::sensitivity::{Measure, Widened, widen};
use std::rc::Rc;

/// SQNR in dB below which layers may get weights of two parts.
const INT8_DB: f64 = 30.0;
const INT16_DB: f64 = 47.0;

/// What is chosen for every part, and what measurement has given 16 bits.
pub(super) struct Chosen {
    pub choices: Vec<Choices>,
    pub widened: Vec<Vec<Widened>>,
    pub two_parts: Vec<Vec<Widened>>,
}

/// Decides the width and range of every value.
pub(super) fn choose(
    loaded: &Loaded,
    seen: &Calibrated,
    options: &Options,
    progress: Progress,
) -> Result<Chosen> {
    let Loaded { bundle, links, .. } = loaded;
    let mut choices = Vec::new();
    for (part, graph) in bundle.graphs.iter().enumerate() {
        let mut choice = Choices {
            range: options.range,
            audio: bundle.hears(part, &options.metadata),
            ..Choices::default()
        };
        let all = choices::all(graph, choice.audio);
        choice.wide = match (options.precision, options.mixed) {
            (Precision::Int16x8 | Precision::Fp16, _) => all,
            (Precision::Int8, Mixed::Usual) if bundle.decoding.is_some() => {
                let windows = choices::windows(graph);
                all.difference(&windows).copied().collect()
            }
            (Precision::Int8, _) => choice.wide,
        };
        if bundle.keeps_states() {
            // An error in a state is there at every later step.
            let ends = links
                .iter()
                .flat_map(|link| link.from.iter().chain([&link.to]));
            choice.wide.extend(ends.map(|(_, value)| *value));
        }
        let (seen, precision) = (&seen.all.distributions[part], options.precision);
        let needed = exponents::needs_int16(bundle.onnx(part), graph, seen, precision)?;
        choice.wide.extend(&needed);
        let pinned = loaded.pinned.iter().filter(|pinned| pinned.part == part);
        for pinned in pinned {
            pinned.hold(graph, &needed, &mut choice)?;
        }
        choices.push(choice);
    }
    let known = seen.known();
    if options.precision != Precision::Fp16 {
        let inputs = seen.all.inputs.iter();
        let others = seen.part.iter().flat_map(|part| &part.inputs);
        let inputs: Vec<Rc<Inputs>> = inputs.chain(others).cloned().collect();
        Inputs::compare_roundings(&inputs, progress);
    }
    let measure = Measure {
        bundle,
        links,
        distributions: &known.distributions,
        inputs: &known.inputs,
        memory: &known.memory,
        samples: &seen.recorded,
    };
    let mut widened = Vec::new();
    if options.precision == Precision::Int8 && options.mixed != Mixed::None {
        widened = widen(measure, &mut choices, progress)?;
    }
    let mut two_parts = Vec::new();
    if let Some(goal_db) = goal_of_weights(bundle, options) {
        two_parts = divide(measure, &mut choices, goal_db, progress)?;
    }
    Ok(Chosen {
        choices,
        widened,
        two_parts,
    })
}

/// The SQNR in dB of the outputs below which weights may get two parts. A model that listens keeps its figures, and the weights of one
/// that decodes are most of its time.
pub(crate) fn goal_of_weights(bundle: &Bundle, options: &Options) -> Option<f64> {
    let plain = options.metadata.audio.is_none() && bundle.decoding.is_none();
    match options.precision {
        Precision::Int8 if options.mixed != Mixed::None => plain.then_some(INT8_DB),
        Precision::Int16x8 => plain.then_some(INT16_DB),
        Precision::Int8 | Precision::Fp16 => None,
    }
}
