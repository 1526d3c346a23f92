//! Thresholds of a keyword spotter as people write them: `0.6`, `LABEL=0.75`, `LABEL=never`. Finding them from recordings is in
//! [`crate::tune`].

use attn_runtime::Model;
use attn_runtime::kws::NEVER;
use std::str::FromStr;
use thiserror::Error;

const ONE_Q15: f64 = 32767.0;

/// Why thresholds do not fit a model's labels.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ThresholdError {
    /// What is no threshold.
    #[error(
        "`{0}` is no probability: give a number from 0 to 1, as 0.6 or LABEL=0.6, or LABEL=never"
    )]
    NoProbability(String),
    /// A label that the model does not have, and those that it has.
    #[error("no label `{0}`; there are {known}", known = .1.join(", "))]
    UnknownLabel(String, Vec<String>),
    /// A label without a threshold.
    #[error("nothing is said of `{0}`: give a number for all labels, as 0.6")]
    NothingSaid(String),
}

/// A threshold for one label, or for every label that is reported.
#[derive(Clone, Debug, PartialEq)]
pub struct Threshold {
    /// The label; `None` for all.
    label: Option<String>,
    /// Q15, or [`NEVER`].
    value_q15: u16,
}

impl FromStr for Threshold {
    type Err = ThresholdError;

    fn from_str(text: &str) -> Result<Self, ThresholdError> {
        let (label, value) = match text.rsplit_once('=') {
            Some((label, value)) => (Some(label.to_owned()), value),
            None => (None, text),
        };
        let value_q15 = match value {
            "never" if label.is_some() => NEVER,
            _ => {
                let number = value.parse::<f64>().ok();
                let number = number.filter(|number| (0.0..=1.0).contains(number));
                let wrong = || ThresholdError::NoProbability(value.to_owned());
                (number.ok_or_else(wrong)? * ONE_Q15).round() as u16
            }
        };
        Ok(Self { label, value_q15 })
    }
}

/// `thresholds_q15`, one for each of `labels`, changed by what is given. A value without a label counts for all that are reported, and for
/// one label what is said last.
///
/// # Errors
/// [`ThresholdError::UnknownLabel`].
pub fn changed(
    given: &[Threshold],
    labels: &[&str],
    thresholds_q15: &[u16],
) -> Result<Vec<u16>, ThresholdError> {
    let mut changed = thresholds_q15.to_vec();
    for threshold in given {
        let Some(label) = &threshold.label else {
            let reported = changed.iter_mut().filter(|value| is_reported(**value));
            reported.for_each(|value| *value = threshold.value_q15);
            continue;
        };
        let known = labels.iter().position(|known| known == label);
        let slot = known.and_then(|label| changed.get_mut(label));
        let unknown = || {
            let known = labels.iter().map(|&known| known.to_owned());
            ThresholdError::UnknownLabel(label.clone(), known.collect())
        };
        *slot.ok_or_else(unknown)? = threshold.value_q15;
    }
    Ok(changed)
}

/// One threshold for each label, Q15: [`NEVER`] for those of `background`, for the others what is given.
///
/// # Errors
/// [`ThresholdError`] for a label that is not there, or of which nothing is said.
pub fn chosen(
    given: &[Threshold],
    labels: &[String],
    background: &[String],
) -> Result<Vec<u16>, ThresholdError> {
    let said = |label: &String| {
        let of = |threshold: &Threshold| threshold.label.as_ref().is_none_or(|of| of == label);
        background.contains(label) || given.iter().any(of)
    };
    if let Some(label) = labels.iter().find(|label| !said(label)) {
        return Err(ThresholdError::NothingSaid(label.clone()));
    }
    let start = |label: &String| if background.contains(label) { NEVER } else { 0 };
    let start: Vec<u16> = labels.iter().map(start).collect();
    let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
    changed(given, &labels, &start)
}

/// Whether a label with this threshold can be reported.
pub fn is_reported(threshold_q15: u16) -> bool {
    f64::from(threshold_q15) <= ONE_Q15
}

/// A threshold as people read it.
pub fn shown(threshold_q15: u16) -> String {
    match is_reported(threshold_q15) {
        true => format!("{:.3}", f64::from(threshold_q15) / ONE_Q15),
        false => "never".into(),
    }
}

/// A threshold as a number; `None` for a label that is not reported.
pub fn number(threshold_q15: u16) -> Option<f64> {
    is_reported(threshold_q15).then(|| f64::from(threshold_q15) / ONE_Q15)
}

/// Each label with its threshold, of a model that has them.
pub fn of(model: Model<'_>) -> impl Iterator<Item = (&str, u16)> {
    let thresholds = model
        .spotter()
        .map_or(&[][..], |(_, thresholds)| thresholds);
    model.labels().zip(thresholds.iter().copied())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(texts: &[&str]) -> Vec<Threshold> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn a_value_counts_for_all_that_are_reported_and_the_last_word_for_a_label() {
        let labels = ["yes", "no", "noise"];
        let given = |texts: &[&str]| changed(&read(texts), &labels, &[100, 200, NEVER]);
        assert_eq!(given(&["1"]).unwrap(), [32767, 32767, NEVER]);
        assert_eq!(given(&["0.5", "no=0"]).unwrap(), [16384, 0, NEVER]);
        assert_eq!(given(&["yes=never", "1"]).unwrap(), [NEVER, 32767, NEVER]);
        assert_eq!(given(&["noise=1"]).unwrap(), [100, 200, 32767]);
        let error = given(&["maybe=1"]).unwrap_err().to_string();
        assert!(error.contains("`maybe`") && error.contains("yes, no, noise"));
    }

    #[test]
    fn every_label_that_is_no_background_needs_a_threshold() {
        let labels = ["yes", "no", "noise"].map(str::to_owned);
        let given = |texts: &[&str]| chosen(&read(texts), &labels, &labels[2..]);
        assert_eq!(given(&["0.5", "no=1"]).unwrap(), [16384, 32767, NEVER]);
        assert_eq!(given(&["yes=1", "no=0"]).unwrap(), [32767, 0, NEVER]);
        let error = given(&["no=1"]).unwrap_err().to_string();
        assert!(error.contains("`yes`"), "{error}");
    }

    #[test]
    fn what_is_no_threshold_is_refused() {
        for text in ["", "1.1", "-0.1", "nan", "never", "yes=", "yes=no"] {
            assert!(text.parse::<Threshold>().is_err(), "{text}");
        }
        // A label may hold the sign.
        assert_eq!(read(&["a=b=1"])[0].label.as_deref(), Some("a=b"));
    }
}
