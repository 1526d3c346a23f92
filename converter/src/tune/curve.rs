//! Misses against false accepts: what each threshold of one label would do, with intervals.

use super::Lead;
use statrs::distribution::{Beta, ChiSquared, ContinuousCDF};
use std::ops::RangeInclusive;

/// Lowest and highest threshold that is chosen, as posteriors. Above it an average of Q15 posteriors has few steps left.
pub const LEAST: f64 = 0.05;
/// See [`LEAST`].
pub const HIGHEST: f64 = 0.9995;
const ONE_Q15: f64 = 32767.0;
/// Peaks from which the rate at higher thresholds is extrapolated.
const TAIL: usize = 16;
/// False accepts below which a threshold is extrapolated and not counted.
const COUNTED: f64 = 3.0;

/// What one label did on recordings that hold it and on recordings that do not.
#[derive(Clone, Debug, Default)]
pub struct Curve {
    /// Highest score in each recording of the keyword, Q15.
    hits: Vec<u16>,
    /// Scores of the peaks in recordings without it, highest first, Q15.
    peaks: Vec<u16>,
    /// Length of the recordings without it, in hours.
    hours: f64,
}

/// What one threshold would have done.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// The threshold, Q15.
    pub threshold_q15: u16,
    /// Events in recordings without the keyword.
    pub false_accepts: usize,
    /// Recordings of the keyword in which it was not heard.
    pub missed: usize,
}

impl Curve {
    /// Adds a recording of the keyword `label`.
    pub fn add_positive(&mut self, label: usize, leads: &[Option<Lead>]) {
        self.hits.push(own(label, leads).max().unwrap_or(0));
    }

    /// Adds a recording without the keyword, of `hours`. A peak within `refractory` hops of a higher one is not counted: there the
    /// spotter is silent.
    pub fn add_negative(
        &mut self,
        label: usize,
        leads: &[Option<Lead>],
        refractory: usize,
        hours: f64,
    ) {
        self.hours += hours;
        let scores: Vec<u16> = own(label, leads).collect();
        let mut order: Vec<usize> = (0..scores.len()).filter(|&hop| scores[hop] > 0).collect();
        order.sort_by_key(|&hop| (std::cmp::Reverse(scores[hop]), hop));
        let mut taken = vec![false; scores.len()];
        for hop in order {
            if !taken[hop] {
                self.peaks.push(scores[hop]);
                let end = (hop + refractory + 1).min(scores.len());
                taken[hop.saturating_sub(refractory)..end].fill(true);
            }
        }
        self.peaks.sort_unstable_by(|a, b| b.cmp(a));
    }

    /// Recordings of the keyword.
    pub fn positives(&self) -> usize {
        self.hits.len()
    }

    /// Length of the recordings without it, in hours.
    pub fn hours(&self) -> f64 {
        self.hours
    }

    /// What a threshold would have done.
    pub fn at(&self, threshold_q15: u16) -> Point {
        let below = |score: &&u16| **score < threshold_q15;
        Point {
            threshold_q15,
            false_accepts: self.peaks.partition_point(|&peak| peak >= threshold_q15),
            missed: self.hits.iter().filter(below).count(),
        }
    }

    /// Points of the curve from no false accept to `most` of them, one for every count at which the threshold changes.
    pub fn points(&self, most: usize) -> Vec<Point> {
        let none = self.peaks.first().map_or(0, |&peak| peak.saturating_add(1));
        let mut thresholds = vec![none.min(ONE_Q15 as u16)];
        thresholds.extend(self.peaks.iter().take(most));
        thresholds.dedup();
        thresholds.into_iter().map(|t| self.at(t)).collect()
    }

    /// The threshold, Q15, that gives `rate` false accepts an hour, and whether it is extrapolated: where the rate allows fewer than three in
    /// the hours there are, from the exponential tail of the highest peaks' log odds.
    pub fn threshold_for(&self, rate: f64) -> (u16, bool) {
        let allowed = rate * self.hours;
        let index = allowed as usize;
        let (value, extrapolated) = match self.peaks.get(index) {
            Some(&peak) if allowed >= COUNTED => (f64::from(peak) + 1.0, false),
            _ => (self.extrapolated(allowed) * ONE_Q15, allowed < COUNTED),
        };
        let bounds: RangeInclusive<f64> = LEAST * ONE_Q15..=HIGHEST * ONE_Q15;
        let value = value.clamp(*bounds.start(), *bounds.end());
        (value.ceil() as u16, extrapolated)
    }

    /// The posterior above which `allowed` peaks are to be expected.
    fn extrapolated(&self, allowed: f64) -> f64 {
        let odds = |peak: &u16| {
            let p = (f64::from(*peak) / ONE_Q15).clamp(1e-6, 1.0 - 1e-6);
            (p / (1.0 - p)).ln()
        };
        let tail: Vec<f64> = self.peaks.iter().take(TAIL).map(odds).collect();
        match tail.as_slice() {
            // Too few to see a tail: a little above the highest.
            [] => 0.0,
            [first, ..] if tail.len() < 4 => 1.0 / (1.0 + (-first).exp()) + 0.02,
            [above @ .., lowest] => {
                let mean = above.iter().map(|z| z - lowest).sum::<f64>() / above.len() as f64;
                let z = lowest + mean * (above.len() as f64 / allowed.max(1e-9)).ln();
                1.0 / (1.0 + (-z).exp())
            }
        }
    }
}

/// In each hop the score of a label, 0 where another leads.
fn own(label: usize, leads: &[Option<Lead>]) -> impl Iterator<Item = u16> {
    let score = move |lead: &Option<Lead>| match lead {
        Some(lead) if lead.label == label => lead.score_q15,
        _ => 0,
    };
    leads.iter().map(score)
}

/// The exact 95 % interval of a rate: of `count` events in one unit of time.
pub fn poisson(count: usize) -> (f64, f64) {
    let quantile = |degrees: usize, p: f64| {
        let distribution = ChiSquared::new(degrees as f64).expect("at least two degrees");
        distribution.inverse_cdf(p) / 2.0
    };
    let low = match count {
        0 => 0.0,
        count => quantile(2 * count, 0.025),
    };
    (low, quantile(2 * count + 2, 0.975))
}

/// The exact 95 % interval (Clopper-Pearson) of a share: `count` of `all`.
pub fn binomial(count: usize, all: usize) -> (f64, f64) {
    let quantile = |a: usize, b: usize, p: f64| {
        let distribution = Beta::new(a as f64, b as f64).expect("both at least one");
        distribution.inverse_cdf(p)
    };
    let low = match count {
        0 => 0.0,
        count => quantile(count, all - count + 1, 0.025),
    };
    let high = match all - count {
        0 => 1.0,
        left => quantile(count + 1, left, 0.975),
    };
    (low, high)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn led(scores: &[u16]) -> Vec<Option<Lead>> {
        let lead = |&score_q15: &u16| {
            Some(Lead {
                label: 0,
                score_q15,
            })
        };
        scores.iter().map(lead).collect()
    }

    #[test]
    fn a_peak_counts_once_at_every_threshold_below_it() {
        let mut curve = Curve::default();
        let mut scores = [0; 400];
        scores[100..130].fill(23_000);
        scores[300] = 30_000;
        curve.add_negative(0, &led(&scores), 50, 2.0);
        for (threshold, count) in [(30_001, 0), (30_000, 1), (23_001, 1), (23_000, 2), (1, 2)] {
            assert_eq!(curve.at(threshold).false_accepts, count, "{threshold}");
        }
        // What another label leads is none of its own.
        curve.add_negative(1, &led(&scores), 50, 1.0);
        assert_eq!(curve.at(1).false_accepts, 2);
        assert_eq!(curve.hours(), 3.0);
    }

    #[test]
    fn a_keyword_is_missed_above_its_highest_score() {
        let mut curve = Curve::default();
        for highest in [10_000, 20_000, 30_000] {
            curve.add_positive(0, &led(&[0, highest, 5]));
        }
        let missed = [10_000, 10_001, 20_001, 30_001].map(|t| curve.at(t).missed);
        assert_eq!(missed, [0, 1, 2, 3]);
    }

    /// Peaks of exponential log odds, as a tail has them.
    fn tailed(count: usize) -> Curve {
        let mut curve = Curve::default();
        for i in 0..count {
            let z = -2.0 - ((i as f64 + 0.5) / count as f64).ln();
            let score = (ONE_Q15 / (1.0 + (-z).exp())) as u16;
            curve.add_negative(0, &led(&[score]), 50, 0.1);
        }
        curve
    }

    #[test]
    fn a_threshold_allows_the_rate() {
        let curve = tailed(200);
        let (threshold, extrapolated) = curve.threshold_for(1.0);
        assert!(!extrapolated);
        assert_eq!(curve.at(threshold).false_accepts, 20);
        let (higher, extrapolated) = curve.threshold_for(0.05);
        assert!(extrapolated && higher > threshold);
        // One false accept in the 20 hours: extrapolated, and about right.
        assert!(curve.at(higher).false_accepts <= 3);
        let (highest, _) = curve.threshold_for(1e-12);
        assert_eq!(highest, (HIGHEST * ONE_Q15).ceil() as u16);
    }

    #[test]
    fn without_peaks_the_threshold_is_the_lowest() {
        let mut curve = Curve::default();
        curve.add_negative(0, &led(&[0; 100]), 50, 1.0);
        assert_eq!(
            curve.threshold_for(0.1),
            ((LEAST * ONE_Q15).ceil() as u16, true)
        );
    }

    #[test]
    fn intervals_are_those_of_the_tables() {
        let close = |a: f64, b: f64| (a - b).abs() < 1e-3;
        assert!(poisson(0).0 == 0.0 && close(poisson(0).1, 3.689));
        assert!(close(poisson(6).0, 2.202) && close(poisson(6).1, 13.059));
        assert!(close(binomial(39, 40).0, 0.868) && close(binomial(39, 40).1, 0.999));
        assert!(binomial(0, 10).0 == 0.0 && close(binomial(0, 10).1, 0.308));
        assert!(binomial(10, 10).1 == 1.0);
    }
}
