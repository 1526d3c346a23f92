//! Drawing tokens by chance, as language models write: a temperature, and random numbers that a seed fixes.

use crate::kernels::int::softmax::{ScoreMultiplier, exp_weight, score_multiplier};

/// One of the best tokens for the next place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Candidate {
    /// The token.
    pub token: u16,
    /// Its log-probability, Q16 nats.
    pub score: i32,
}

/// Draws among candidates with probabilities `softmax(score / temperature)`; for [`super::Greedy::step_by`].
///
/// The same seed draws the same tokens on every target: all of it is integers, and the generator is xorshift32 (Marsaglia,
/// "Xorshift RNGs", 2003).
#[derive(Clone, Copy, Debug)]
pub struct Sampling {
    multiplier: ScoreMultiplier,
    random: u32,
}

impl Sampling {
    /// Low temperatures keep to the best tokens, high ones make all alike; held to 0.01 to 100. 1 is what the model says.
    pub fn new(temperature: f32, seed: u32) -> Self {
        let temperature = temperature.clamp(0.01, 100.0);
        Self {
            multiplier: score_multiplier(1.0 / (65536.0 * temperature)),
            random: seed.max(1),
        }
    }

    /// Number of the one that is drawn; 0 of none.
    pub fn pick(&mut self, candidates: &[Candidate]) -> usize {
        let best = candidates.iter().map(|candidate| candidate.score).max();
        let multiplier = self.multiplier;
        let weights = candidates.iter().map(|candidate| {
            let below = best.unwrap_or(0).saturating_sub(candidate.score);
            u64::from(exp_weight(below.unsigned_abs(), multiplier).unsigned_abs())
        });
        let total: u64 = weights.clone().fold(0, u64::saturating_add);
        let mut left = u64::from(self.draw()).saturating_mul(total) >> 32;
        for (at, weight) in weights.enumerate() {
            match left.checked_sub(weight) {
                Some(rest) => left = rest,
                None => return at,
            }
        }
        0
    }

    fn draw(&mut self) -> u32 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 17;
        self.random ^= self.random << 5;
        self.random
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How often each of three tokens with probabilities 0.6, 0.3 and 0.1 is drawn.
    fn counts(sampling: &mut Sampling) -> [u32; 3] {
        let mut token = 0;
        let candidates = [-33_480, -78_904, -150_902].map(|score| {
            token += 1;
            Candidate { token, score }
        });
        let mut counts = [0; 3];
        for _ in 0..30_000 {
            counts[sampling.pick(&candidates)] += 1;
        }
        counts
    }

    #[test]
    fn tokens_come_as_often_as_the_model_says() {
        let got = counts(&mut Sampling::new(1.0, 7));
        for (count, expected) in got.into_iter().zip([18_000, 9_000, 3_000]) {
            assert!(count.abs_diff(expected) < 400, "{got:?}");
        }
    }

    #[test]
    fn temperature_sharpens_and_flattens() {
        let cold = counts(&mut Sampling::new(0.01, 7));
        assert_eq!(cold, [30_000, 0, 0]);
        let hot = counts(&mut Sampling::new(100.0, 7));
        assert!(
            hot.iter().all(|count| count.abs_diff(10_000) < 600),
            "{hot:?}"
        );
    }

    #[test]
    fn nothing_to_draw_from_is_no_panic() {
        assert_eq!(Sampling::new(f32::NAN, 0).pick(&[]), 0);
    }
}
