//! The decision rule: logits of every hop in, decisions out. It does not depend on the source of the logits.

use super::{HISTORY_LEN, MAX_LABELS, NEVER, SpotterError};
use crate::kernels::int::softmax::{ScoreMultiplier, probabilities_q15, score_multiplier};

const ONE_Q15: u16 = 32767;

/// A label that fired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Decision {
    /// Number of the label.
    pub label: usize,
    /// Averaged posterior, Q15: 0 to 32767.
    pub confidence_q15: u16,
}

/// Turns the logits of every hop into decisions.
///
/// ```
/// use attn_runtime::kws::{Decoder, NEVER};
///
/// // Two labels, the second is background; averaged over 2 hops, quiet for 3 hops after a decision.
/// let mut decoder = Decoder::new(&[16384, NEVER], 2, 3, 1.0 / 8.0)?;
/// assert_eq!(decoder.push(&[127i8, -128]), None); // average 0.5 - 1/65536
/// assert_eq!(decoder.push(&[127i8, -128]).map(|d| d.label), Some(0));
/// assert_eq!(decoder.push(&[127i8, -128]), None); // refractory
/// # Ok::<(), attn_runtime::kws::SpotterError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Decoder {
    multiplier: ScoreMultiplier,
    thresholds_q15: [u16; MAX_LABELS],
    /// Sums over the smoothing hops.
    sums_q15: [u32; MAX_LABELS],
    /// Posteriors of the smoothing hops: a ring of rows `[hops, labels]`.
    history_q15: [i16; HISTORY_LEN],
    labels: usize,
    hops: usize,
    /// Row of the ring to be replaced next.
    oldest: usize,
    refractory_hops: u32,
    /// Hops that are left in which nothing fires.
    quiet: u32,
}

impl Decoder {
    /// A decoder for one label per threshold (Q15; above 32767 it never fires) and logits of real value
    /// `scale * logit`. Averages over `smoothing_hops`; fires nothing for `refractory_hops` after a decision.
    ///
    /// # Errors
    /// [`SpotterError::BadLabelCount`], [`SpotterError::BadSmoothing`].
    pub fn new(
        thresholds_q15: &[u16],
        smoothing_hops: usize,
        refractory_hops: u32,
        scale: f32,
    ) -> Result<Self, SpotterError> {
        let labels = thresholds_q15.len();
        let mut thresholds = [NEVER; MAX_LABELS];
        thresholds
            .get_mut(..labels)
            .filter(|slots| !slots.is_empty())
            .ok_or(SpotterError::BadLabelCount { labels })?
            .copy_from_slice(thresholds_q15);
        let kept = smoothing_hops.checked_mul(labels);
        if !kept.is_some_and(|kept| (1..=HISTORY_LEN).contains(&kept)) {
            return Err(SpotterError::BadSmoothing {
                hops: smoothing_hops,
                labels,
            });
        }
        Ok(Self {
            multiplier: score_multiplier(scale),
            thresholds_q15: thresholds,
            sums_q15: [0; MAX_LABELS],
            history_q15: [0; HISTORY_LEN],
            labels,
            hops: smoothing_hops,
            oldest: 0,
            refractory_hops,
            quiet: 0,
        })
    }

    /// Sets the threshold of a label, from the next hop on: Q15, 0 to 32767; [`NEVER`] makes it one that never fires. What was heard
    /// before stays in the averages.
    ///
    /// # Errors
    /// [`SpotterError::NoSuchLabel`].
    pub fn set_threshold(&mut self, label: usize, threshold_q15: u16) -> Result<(), SpotterError> {
        let labels = self.labels;
        let used = self.thresholds_q15.get_mut(..labels).unwrap_or(&mut []);
        let slot = used.get_mut(label);
        *slot.ok_or(SpotterError::NoSuchLabel { label, labels })? = threshold_q15;
        Ok(())
    }

    /// The thresholds, Q15, label by label.
    pub fn thresholds_q15(&self) -> &[u16] {
        self.thresholds_q15.get(..self.labels).unwrap_or(&[])
    }

    /// Forgets all hops.
    pub fn reset(&mut self) {
        self.sums_q15.fill(0);
        self.history_q15.fill(0);
        self.oldest = 0;
        self.quiet = 0;
    }

    /// Takes the logits `[labels]` of one hop. Missing logits count as posterior 0, surplus ones are left out.
    pub fn push<L: Copy + Into<i32>>(&mut self, logits: &[L]) -> Option<Decision> {
        let logits = logits.get(..self.labels).unwrap_or(logits);
        let mut posteriors_q15 = [0i16; MAX_LABELS];
        let used = posteriors_q15.get_mut(..logits.len())?;
        probabilities_q15(logits, self.multiplier, used);
        let start = self.oldest * self.labels;
        let row = self.history_q15.get_mut(start..start + self.labels)?;
        for ((sum, old), new) in self.sums_q15.iter_mut().zip(row).zip(posteriors_q15) {
            *sum = *sum + new as u32 - *old as u32;
            *old = new;
        }
        self.oldest = (self.oldest + 1) % self.hops.max(1);
        self.decide()
    }

    /// The averaged posteriors, Q15, label by label.
    pub fn averages_q15(&self) -> impl ExactSizeIterator<Item = u16> {
        let hops = self.hops.max(1) as u32;
        self.sums_q15
            .iter()
            .take(self.labels)
            .map(move |sum| (sum / hops) as u16)
    }

    fn decide(&mut self) -> Option<Decision> {
        if self.quiet > 0 {
            self.quiet -= 1;
            return None;
        }
        let hops = self.hops.max(1) as u32;
        let keywords = self.sums_q15.iter().zip(self.thresholds_q15).enumerate();
        // Of equal sums the first counts.
        let (label, (&sum, threshold)) = keywords
            .take(self.labels)
            .filter(|(_, (_, threshold))| *threshold <= ONE_Q15)
            .reduce(|best, next| if next.1.0 > best.1.0 { next } else { best })?;
        if sum < u32::from(threshold) * hops {
            return None;
        }
        self.quiet = self.refractory_hops;
        Some(Decision {
            label,
            confidence_q15: (sum / hops) as u16,
        })
    }
}
