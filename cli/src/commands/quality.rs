//! How the quality of a file is said: a line for each output, and warnings with the flags that help.

use crate::flags::remedy;
use crate::shown::{say, shown};
use attn_converter::compare::Clipped;
use attn_converter::quality::{Cause, Doubt, Quality, Remedy};
use serde_json::{Value, json};

/// A line for each output.
pub fn print(quality: &Quality) {
    for output in &quality.outputs {
        let agree = output.top_one.map_or_else(String::new, |top| {
            let (agree, all) = (top.agree, top.samples);
            format!(", highest element as in float {agree} of {all} times")
        });
        let (name, db, samples) = (&output.name, output.sqnr.db(), measured_on(quality));
        say!("{name}: SQNR {db:.1} dB{agree} ({samples})");
    }
}

/// Which samples the figures are of.
fn measured_on(quality: &Quality) -> String {
    let (samples, of) = (quality.samples, quality.of);
    match quality.held_back {
        true => format!("on {samples} of {of} samples, held back from calibration"),
        false => format!("measured on the calibration data itself, {samples} of {of} samples"),
    }
}

/// Warns of what is bad.
pub fn warn(quality: &Quality) {
    if let Some(doubt) = &quality.doubt {
        eprintln!("{}", shown(&told(doubt)));
    }
    warn_of_clipped(&quality.clipped, quality.samples);
}

/// Warns of values that leave the range in which the file holds them, on `samples` samples.
pub fn warn_of_clipped(clipped: &[Clipped], samples: usize) {
    for value in clipped {
        let why = match value.as_state {
            true => {
                "a recurrent state in integers is within ±1 unless calibration sees larger ones: calibrate with data like these"
            }
            false => "calibrate with data like these",
        };
        let ([low, high], [least, most]) = (value.held, value.seen);
        let name = shown(&value.name);
        eprintln!(
            "warning: {name} is {least:.4} to {most:.4} in float, the file holds {low:.4} to {high:.4}: {:.2} % of it is clipped, in {} of {samples} samples ({why})",
            100.0 * value.share,
            value.samples,
        );
    }
}

fn told(doubt: &Doubt) -> String {
    let lost = doubt.worst.as_ref().map_or_else(String::new, |loss| {
        let before = match loss.before_db.is_finite() {
            true => format!(" from {:.1}", loss.before_db),
            false => String::new(),
        };
        let (value, node, op) = (&loss.value, &loss.node, loss.op);
        let after = loss.after_db;
        format!("; most is lost at {value} ({op}, node {node}):{before} to {after:.1} dB")
    });
    let cause = match doubt.cause {
        Cause::Range => "; values beyond the range that calibration saw cost most",
        Cause::Activations => "; activations in 8 bits cost most",
        Cause::Weights => "; weights in 8 bits cost most",
        Cause::EqualSteps => {
            "; numbers of very different size cost most, which steps of equal size do not fit"
        }
        Cause::Unknown => "",
    };
    let tried = doubt.remedies.iter();
    let mut advice: Vec<String> = tried
        .map(|(what, gain)| format!("{} ({gain:+.1} dB)", remedy(*what)))
        .collect();
    let is_named = |(what, _): &(Remedy, f64)| *what == Remedy::Samples;
    if doubt.few_samples && !doubt.remedies.iter().any(is_named) {
        advice.push("more calibration samples".into());
    }
    let advice = match advice.is_empty() {
        true => String::new(),
        false => format!("; try {}", advice.join(", ")),
    };
    format!(
        "warning: {} has an SQNR of {:.1} dB, less than {:.0}{lost}{cause}{advice}",
        doubt.output, doubt.sqnr_db, doubt.floor_db
    )
}

/// The same as JSON.
pub fn as_json(quality: &Quality) -> Value {
    let outputs: Vec<Value> = quality.outputs.iter().map(|output| output.json()).collect();
    let clipped: Vec<Value> = quality.clipped.iter().map(Clipped::json).collect();
    let doubt = quality.doubt.as_ref().map(|doubt| {
        let worst = doubt.worst.as_ref().map(|loss| {
            json!({
                "value": loss.value, "node": loss.node, "operator": loss.op,
                "before_db": loss.before_db, "after_db": loss.after_db,
            })
        });
        let cause = match doubt.cause {
            Cause::Range => "range",
            Cause::Activations => "activations",
            Cause::Weights => "weights",
            Cause::EqualSteps => "equal_steps",
            Cause::Unknown => "unknown",
        };
        let tried = doubt.remedies.iter();
        let tried: Vec<Value> = tried
            .map(|(what, gain)| json!({"try": remedy(*what), "gain_db": gain}))
            .collect();
        json!({
            "output": doubt.output, "sqnr_db": doubt.sqnr_db, "floor_db": doubt.floor_db,
            "worst": worst, "cause": cause, "remedies": tried, "few_samples": doubt.few_samples,
        })
    });
    json!({"samples": quality.samples, "of": quality.of, "held_back": quality.held_back, "outputs": outputs, "clipped": clipped, "warning": doubt})
}
