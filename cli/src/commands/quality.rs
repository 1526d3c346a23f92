//! How the quality of a file is said: a line for each output, and warnings with the flags that help.

use crate::flags::remedy;
use crate::shown::{say, shown};
use attn_converter::compare::Clipped;
use attn_converter::quality::Quality;

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
    warn_of(quality.warnings(&|what| remedy(what).into()));
}

/// Warns of values that leave the range in which the file holds them, on `samples` samples.
pub fn warn_of_clipped(clipped: &[Clipped], samples: usize) {
    warn_of(clipped.iter().map(|value| value.told(samples)));
}

fn warn_of(warnings: impl IntoIterator<Item = String>) {
    for warning in warnings {
        eprintln!("warning: {}", shown(&warning));
    }
}
