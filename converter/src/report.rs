//! What is said of a conversion: warnings in words, and JSON. A caller names remedies as its user knows them; how lines are shown is the
//! caller's, too.

use crate::compare::Clipped;
use crate::estimate::estimate;
use crate::pipeline::Conversion;
use crate::quality::{Cause, Doubt, Quality, Remedy};
use crate::quantize::Precision;
use crate::quantize::sensitivity::Widened;
use serde_json::{Value, json};

/// The user's name for a remedy: a flag, or an argument.
pub type Named<'n> = &'n dyn Fn(Remedy) -> String;

impl Quality {
    /// What a user should know: a sentence for what is bad, and for each value that leaves its range.
    pub fn warnings(&self, remedy: Named) -> Vec<String> {
        let doubt = self.doubt.iter().map(|doubt| doubt.told(remedy));
        let clipped = self.clipped.iter().map(|value| value.told(self.samples));
        doubt.chain(clipped).collect()
    }

    /// The measurement as JSON.
    pub fn json(&self, remedy: Named) -> Value {
        let outputs: Vec<Value> = self.outputs.iter().map(|output| output.json()).collect();
        let clipped: Vec<Value> = self.clipped.iter().map(Clipped::json).collect();
        let doubt = self.doubt.as_ref().map(|doubt| doubt.json(remedy));
        json!({"samples": self.samples, "of": self.of, "held_back": self.held_back, "outputs": outputs, "clipped": clipped, "warning": doubt})
    }
}

impl Doubt {
    fn json(&self, remedy: Named) -> Value {
        let worst = self.worst.as_ref().map(|loss| {
            json!({
                "value": loss.value, "node": loss.node, "operator": loss.op,
                "before_db": loss.before_db, "after_db": loss.after_db,
            })
        });
        let cause = match self.cause {
            Cause::Range => "range",
            Cause::Activations => "activations",
            Cause::Weights => "weights",
            Cause::EqualSteps => "equal_steps",
            Cause::Unknown => "unknown",
        };
        let tried = self.remedies.iter();
        let tried: Vec<Value> = tried
            .map(|(what, gain)| json!({"try": remedy(*what), "gain_db": gain}))
            .collect();
        json!({
            "output": self.output, "sqnr_db": self.sqnr_db, "floor_db": self.floor_db,
            "worst": worst, "cause": cause, "remedies": tried, "few_samples": self.few_samples,
        })
    }

    /// Which output is bad, where most is lost, what costs most, and what helps.
    pub fn told(&self, remedy: Named) -> String {
        let lost = self.worst.as_ref().map_or_else(String::new, |loss| {
            let before = match loss.before_db.is_finite() {
                true => format!(" from {:.1}", loss.before_db),
                false => String::new(),
            };
            let (value, node, op) = (&loss.value, &loss.node, loss.op);
            let after = loss.after_db;
            format!("; most is lost at {value} ({op}, node {node}):{before} to {after:.1} dB")
        });
        let cause = match self.cause {
            Cause::Range => "; values beyond the range that calibration saw cost most",
            Cause::Activations => "; activations in 8 bits cost most",
            Cause::Weights => "; weights in 8 bits cost most",
            Cause::EqualSteps => {
                "; numbers of very different size cost most, which steps of equal size do not fit"
            }
            Cause::Unknown => "",
        };
        let tried = self.remedies.iter();
        let mut advice: Vec<String> = tried
            .map(|(what, gain)| format!("{} ({gain:+.1} dB)", remedy(*what)))
            .collect();
        let is_named = |(what, _): &(Remedy, f64)| *what == Remedy::Samples;
        if self.few_samples && !self.remedies.iter().any(is_named) {
            advice.push(remedy(Remedy::Samples));
        }
        let advice = match advice.is_empty() {
            true => String::new(),
            false => format!("; try {}", advice.join(", ")),
        };
        format!(
            "{} has an SQNR of {:.1} dB, less than {:.0}{lost}{cause}{advice}",
            self.output, self.sqnr_db, self.floor_db
        )
    }
}

impl Clipped {
    /// How far the value leaves its range, on `samples` samples, and what helps.
    pub fn told(&self, samples: usize) -> String {
        let why = match self.as_state {
            true => {
                "a recurrent state in integers is within ±1 unless calibration sees larger ones: calibrate with data like these"
            }
            false => "calibrate with data like these",
        };
        let ([low, high], [least, most]) = (self.held, self.seen);
        format!(
            "{} is {least:.4} to {most:.4} in float, the file holds {low:.4} to {high:.4}: {:.2} % of it is clipped, in {} of {samples} samples ({why})",
            self.name,
            100.0 * self.share,
            self.samples,
        )
    }
}

impl Conversion {
    /// Names of values in `chosen`, one list for each graph, with their gain in dB.
    pub fn named<'c>(&'c self, chosen: &'c [Vec<Widened>]) -> Vec<(&'c str, f64)> {
        let parts = chosen.iter().zip(&self.graphs);
        let named = parts.flat_map(|(chosen, graph)| {
            let name = |of: &Widened| (graph.values[of.value.0].name.as_str(), of.gain_db);
            chosen.iter().map(name)
        });
        named.collect()
    }

    /// The conversion as JSON: sizes in bytes, quality, what was chosen, an estimate of the cost.
    pub fn json(&self, precision: Precision, remedy: Named) -> Value {
        let model = self.file.model();
        let entries = model.entries().iter().map(|entry| model.name(entry.name));
        let half = precision == Precision::Fp16;
        let estimates: Vec<_> = (self.graphs.iter())
            .map(|graph| estimate(graph, half))
            .collect();
        let cycles: u64 = estimates.iter().map(|estimate| estimate.cycles).sum();
        let fallbacks = estimates.iter().flat_map(|e| &e.fallbacks);
        let [widened, two_parts] = [&self.widened, &self.two_parts].map(|chosen| -> Vec<_> {
            let one = |(name, gain)| json!({"value": name, "gain_db": gain});
            self.named(chosen).into_iter().map(one).collect()
        });
        json!({
            "bytes": self.file.bytes().len(), "weights": model.weights_len(),
            "arena": model.arena_len(), "state": model.state_len(), "operators": model.ops().len(),
            "quality": self.quality.json(remedy),
            "entries": entries.collect::<Vec<_>>(), "int16": widened, "weights_of_two_parts": two_parts, "batch": self.batch,
            "possible_states": self.possible_states,
            "estimated_cycles": cycles,
            "base_operators": fallbacks.map(|f| json!({"node": f.node, "operator": f.operator, "cycles": f.cycles})).collect::<Vec<_>>(),
        })
    }
}
