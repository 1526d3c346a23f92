//! Values beyond the range in which a file holds them: how many, and how far.
//!
//! The ranges come from calibration, or are fixed by what a value means (a recurrent state in integers is within ±1). In int8, ranges of
//! least error cut rare extremes on purpose: only what costs much more is reported.

use crate::quantize::{Quant, STATE};
use attn_runtime::format::DType;
use serde_json::json;

/// Clipping counts from this multiple of the power of rounding errors, and from these shares of the power of the values: 20 dB in int8,
/// 40 dB in types with resolution to spare.
const TIMES_ROUNDING: f64 = 4.0;
const SHARE: f64 = 1e-2;
const FINE_SHARE: f64 = 1e-4;
/// Elements this many steps beyond the range are still in it: 1.0 in Q15.
const SLACK: f32 = 2.0;

/// A value that leaves the range in which the file holds it.
#[derive(Clone, Debug, PartialEq)]
pub struct Clipped {
    /// Name of the value: the name of the ONNX tensor.
    pub name: String,
    /// Smallest and largest number that the file can hold there.
    pub held: [f32; 2],
    /// Smallest and largest seen in float.
    pub seen: [f32; 2],
    /// Share of the elements that are outside.
    pub share: f64,
    /// Samples with such elements.
    pub samples: usize,
    /// The range is that of a recurrent state in integers, and does not come from calibration.
    pub as_state: bool,
}

impl Clipped {
    /// The value as JSON.
    pub fn json(&self) -> serde_json::Value {
        json!({
            "value": self.name, "held": self.held, "seen": self.seen, "share": self.share,
            "samples": self.samples, "as_state": self.as_state,
        })
    }
}

/// What a value was in float, against the range in which it is held.
#[derive(Clone, Debug, Default)]
pub(super) struct Range {
    low: f32,
    high: f32,
    /// Real value of a step; 0 in half precision.
    step: f32,
    as_state: bool,
    /// Share of the power from which clipping counts.
    share: f64,
    seen: [f32; 2],
    elements: usize,
    outside: usize,
    /// Of the elements, and of what clipping cuts off.
    power: f64,
    cut: f64,
    samples: usize,
    newest: Option<usize>,
}

impl Range {
    /// The range of a tensor.
    pub fn of(quant: Quant) -> Self {
        let (min, max) = quant.limits();
        let half = quant.dtype == DType::F16;
        Self {
            low: quant.dequantize(min),
            high: quant.dequantize(max),
            as_state: quant == STATE,
            share: match quant.dtype {
                DType::I8 => SHARE,
                DType::I16 | DType::I32 | DType::F16 => FINE_SHARE,
            },
            step: if half { 0.0 } else { quant.scale },
            ..Self::default()
        }
    }

    /// Adds elements of sample number `sample`.
    pub fn add(&mut self, exact: &[f32], sample: usize) {
        let slack = SLACK * self.step;
        let before = self.outside;
        for &x in exact.iter().filter(|x| x.is_finite()) {
            self.seen = [self.seen[0].min(x), self.seen[1].max(x)];
            self.elements += 1;
            self.power += f64::from(x).powi(2);
            if x < self.low - slack || x > self.high + slack {
                self.outside += 1;
                self.cut += f64::from(x - x.clamp(self.low, self.high)).powi(2);
            }
        }
        if self.outside > before && self.newest != Some(sample) {
            self.samples += 1;
            self.newest = Some(sample);
        }
    }

    /// What has to be said about the value `name`.
    pub fn clipped(&self, name: &str) -> Option<Clipped> {
        let rounding = f64::from(self.step).powi(2) / 12.0 * self.elements as f64;
        let counts = self.cut > TIMES_ROUNDING * rounding && self.cut > self.share * self.power;
        counts.then(|| Clipped {
            name: name.into(),
            held: [self.low, self.high],
            seen: self.seen,
            share: self.outside as f64 / self.elements.max(1) as f64,
            samples: self.samples,
            as_state: self.as_state,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clipped(quant: Quant, samples: &[&[f32]]) -> Option<Clipped> {
        let mut range = Range::of(quant);
        let numbered = samples.iter().enumerate();
        numbered.for_each(|(number, sample)| range.add(sample, number));
        range.clipped("h")
    }

    #[test]
    fn what_leaves_the_range_is_counted_by_sample() {
        let found = clipped(STATE, &[&[0.5, -3.0], &[0.1, 1.0], &[2.0, 2.0]]).unwrap();
        assert_eq!((found.samples, found.seen), (2, [-3.0, 2.0]));
        assert_eq!((found.share, found.held[0]), (0.5, -1.0));
    }

    #[test]
    fn the_limit_itself_and_rare_small_excess_are_no_news() {
        assert_eq!(clipped(STATE, &[&[1.0, -1.0, f32::NAN]]), None);
        let eighth = Quant::int8((-16.0, 15.875));
        let mut rare = vec![8.0; 1000];
        rare[0] = 16.5;
        assert_eq!(clipped(eighth, &[&rare]), None);
        assert!(clipped(eighth, &[&[160.0, 8.0]]).is_some());
        assert_eq!(clipped(Quant::HALF, &[&[60000.0]]), None);
        assert!(clipped(Quant::HALF, &[&[70000.0]]).is_some());
    }
}
