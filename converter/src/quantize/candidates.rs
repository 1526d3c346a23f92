//! The groups that the search for widths has measured, and the choice among them.

use super::choices::{Choices, Group};

/// Gain in dB that is worth the bytes of an int16 tensor.
pub const WORTH_DB: f64 = 0.5;
/// The same for a model that listens all the time, which has few values, all of them small.
pub const LISTENING_DB: f64 = 0.3;
/// Below this SQNR of the outputs, less is worth it, even slower operators: in a deep model no single value matters much.
pub const ENOUGH_DB: f64 = 35.0;
/// The same for a model that decodes: each token follows from those before it.
pub const ENOUGH_TO_DECODE_DB: f64 = 38.0;
/// For less, nothing is widened.
pub const LEAST_DB: f64 = 0.1;

/// Power of a signal in dB above that of its errors.
pub fn ratio_db(signal: f64, noise: f64) -> f64 {
    10.0 * (signal / noise.max(f64::MIN_POSITIVE)).log10()
}

/// Which of the samples are measured, and the number of samples that each stands for. A sample that amplifies errors is likely to be among
/// them: few samples make up most of the errors of a deep model.
pub fn picks(errors: &[f64], count: usize) -> Vec<(usize, f64)> {
    let total: f64 = errors.iter().sum();
    let few = errors.len() <= 2 * count;
    if few || total <= 0.0 || !total.is_finite() {
        let len = errors.len();
        let count = if few { len } else { count };
        let each = (0..count).map(|i| (i * len / count, len as f64 / count as f64));
        return each.filter(|(number, _)| *number < len).collect();
    }
    let step = total / count as f64;
    let (mut sum, mut picked) = (0.0, 0);
    let mut picks = Vec::new();
    for (number, &error) in errors.iter().enumerate() {
        sum += error;
        let reached = (sum / step + 0.5).floor().min(count as f64) as usize;
        if reached > picked {
            picks.push((number, (reached - picked) as f64 * step / error));
            picked = reached;
        }
    }
    picks
}

/// A group, with the error power that int8 adds to the outputs.
pub struct Candidate {
    /// Number of the part.
    pub part: usize,
    /// Its values.
    pub group: Group,
    /// The power.
    pub noise: f64,
}

/// All groups, by falling noise, and the power of the outputs.
pub struct Candidates {
    /// The groups.
    pub all: Vec<Candidate>,
    /// Power of the exact outputs.
    pub signal: f64,
    /// Power of the errors that always stay,
    pub fixed: f64,
    /// and that would if weights were rounded to nearest.
    pub plain: f64,
    /// What SQNR of the outputs is enough; none in a model that listens all the time: only what is worth it is widened there.
    pub enough_db: Option<f64>,
}

impl Candidates {
    /// The choices with the groups of these candidates widened.
    pub fn with(&self, choices: &[Choices], chosen: &[usize]) -> Vec<Choices> {
        let mut wide = choices.to_vec();
        for candidate in chosen.iter().map(|&at| &self.all[at]) {
            wide[candidate.part].wide.extend(&candidate.group.values);
        }
        wide
    }

    /// Power of the errors that stay when these are widened.
    pub fn left(&self, chosen: &[usize]) -> f64 {
        let all = self.all.iter().enumerate();
        let narrow = all.filter(|(at, _)| !chosen.contains(at));
        self.fixed + narrow.map(|(_, candidate)| candidate.noise).sum::<f64>()
    }

    /// The groups to widen. Errors are `scale` times what was measured.
    pub fn choose(&self, scale: f64) -> Vec<usize> {
        let mut chosen: Vec<usize> = Vec::new();
        loop {
            let left = self.left(&chosen);
            // Compensated rounding fits the samples of calibration best. What is worth it beside plain rounding is so on others.
            let beside = left - self.fixed + self.fixed.max(self.plain);
            let gain = |noise: f64| ratio_db(beside, beside - noise);
            let db = ratio_db(self.signal, left * scale);
            let enough = self.enough_db.is_none_or(|enough| db >= enough);
            let worth_db = self.enough_db.map_or(LISTENING_DB, |_| WORTH_DB);
            let worth = |at: &usize| match enough {
                true => !self.all[*at].group.costly && gain(self.all[*at].noise) >= worth_db,
                false => self.all[*at].noise > 0.0,
            };
            let mut open = (0..self.all.len()).filter(|at| !chosen.contains(at));
            match open.find(worth) {
                Some(at) => chosen.push(at),
                None => break,
            }
        }
        // What gains next to nothing beside the others is for nothing.
        while let Some(&last) = chosen.iter().max() {
            let left = self.left(&chosen);
            if ratio_db(left + self.all[last].noise, left) >= LEAST_DB {
                break;
            }
            chosen.retain(|&at| at != last);
        }
        chosen
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::ValueId;

    fn candidates(noises: &[(f64, bool)], signal: f64, fixed: f64) -> Candidates {
        let candidate = |(id, &(noise, costly)): (usize, &(f64, bool))| Candidate {
            part: 0,
            group: Group {
                values: [ValueId(id)].into(),
                costly,
            },
            noise,
        };
        let mut all: Vec<Candidate> = noises.iter().enumerate().map(candidate).collect();
        all.sort_by(|a, b| b.noise.total_cmp(&a.noise));
        Candidates {
            all,
            signal,
            fixed,
            plain: fixed,
            enough_db: Some(ENOUGH_DB),
        }
    }

    fn ids(candidates: &Candidates) -> Vec<usize> {
        let chosen = candidates.choose(1.0).into_iter();
        let first = |at: usize| candidates.all[at].group.values.first().map_or(0, |id| id.0);
        chosen.map(first).collect()
    }

    #[test]
    fn what_adds_little_stays_in_int8() {
        let noises = [(0.3, false), (9.0, false), (0.1, false), (0.9, true)];
        // 9 of 11.3 are 6.9 dB, then 0.3 of 2.3 are 0.6 dB, 0.1 of 2 only 0.2 dB. The costly group is not widened without need.
        assert_eq!(ids(&candidates(&noises, 1e6, 1.0)), [1, 0]);
        // 35 dB below 5500 are 1.74.
        assert_eq!(ids(&candidates(&noises, 5500.0, 1.0)), [1, 3, 0]);
    }

    #[test]
    fn weights_rounded_to_nearest_count_beside_what_is_enough() {
        let mut all = candidates(&[(9.0, false), (0.3, false)], 1e6, 0.1);
        assert_eq!(ids(&all), [0, 1]);
        all.plain = 5.0;
        assert_eq!(ids(&all), [0]);
        // 9 dB are not enough, but for what listens all the time only 0.3 dB count.
        all.signal = 80.0;
        assert_eq!(ids(&all), [0, 1]);
        all.enough_db = None;
        assert_eq!(ids(&all), [0]);
    }

    #[test]
    fn many_small_errors_are_taken_off_until_it_is_enough() {
        let small = [(1.0, false); 200];
        assert_eq!(ids(&candidates(&small, 1e6, 10.0)).len(), 0);
        // 35 dB below 1.2e5 are 37.9: of 210, 173 have to go.
        assert_eq!(ids(&candidates(&small, 1.2e5, 10.0)).len(), 173);
    }

    #[test]
    fn nothing_is_widened_for_less_than_a_tenth_of_a_decibel() {
        // 35 dB below 2.5e5 are 79. There one more of the small errors is 0.05 dB.
        let mut noises = vec![(1.0, false); 200];
        noises.push((100.0, false));
        assert_eq!(ids(&candidates(&noises, 2.5e5, 10.0)), [200]);
        let all = candidates(&noises, 1.2e5, 10.0);
        let chosen = all.choose(1.0);
        let left = all.left(&chosen);
        let gains = chosen
            .iter()
            .map(|&at| ratio_db(left + all.all[at].noise, left));
        assert!(chosen.len() > 100 && gains.into_iter().all(|gain| gain >= LEAST_DB));
    }

    #[test]
    fn what_is_measured_stands_for_all_samples() {
        let mut errors = vec![1.0; 60];
        errors[17] = 200.0;
        errors[40] = 50.0;
        let picks = picks(&errors, 8);
        let numbers: Vec<usize> = picks.iter().map(|pick| pick.0).collect();
        assert!(picks.len() <= 8 && numbers.contains(&17) && numbers.contains(&40));
        let sum: f64 = picks.iter().map(|&(at, weight)| weight * errors[at]).sum();
        assert!((sum - errors.iter().sum::<f64>()).abs() < 1e-9, "{sum}");
        for errors in [vec![3.0, 0.0, 1.0], vec![0.0; 5], vec![f64::NAN; 5]] {
            let picks = super::picks(&errors, 8);
            assert!(
                picks
                    .iter()
                    .enumerate()
                    .all(|(at, &pick)| pick == (at, 1.0))
            );
            assert_eq!(picks.len(), errors.len());
        }
    }
}
