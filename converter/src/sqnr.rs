//! Signal to quantization noise ratio (SQNR) of integers against the float reference.

use std::ops::AddAssign;

/// Power of a signal and of its error, summed over any number of elements.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sqnr {
    signal: f64,
    noise: f64,
}

impl Sqnr {
    /// Adds elements, exact and quantized.
    pub fn add(&mut self, exact: &[f32], quantized: &[f32]) {
        // The float model gives NaN for a softmax over no keys, and infinity for what a mask hides.
        let pairs = exact.iter().zip(quantized).filter(|(x, _)| x.is_finite());
        for (&x, &q) in pairs {
            self.signal += f64::from(x).powi(2);
            self.noise += (f64::from(x) - f64::from(q)).powi(2);
        }
    }

    /// Power of the error as a share of the signal's.
    pub fn share(&self) -> f64 {
        self.noise / self.signal
    }

    /// The ratio in dB; infinite without an error.
    pub fn db(&self) -> f64 {
        10.0 * (self.signal / self.noise).log10()
    }
}

impl AddAssign for Sqnr {
    fn add_assign(&mut self, other: Self) {
        self.signal += other.signal;
        self.noise += other.noise;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenth_of_the_amplitude_is_20_db() {
        let mut sqnr = Sqnr::default();
        sqnr.add(&[1.0, -1.0], &[0.9, -1.1]);
        assert!((sqnr.db() - 20.0).abs() < 1e-4);
    }
}
