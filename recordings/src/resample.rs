//! Any sampling rate to that of the front end, in pieces as they come.

use attn_runtime::audio::SAMPLE_RATE;
use rubato::audioadapter_buffers::owned::InterleavedOwned;
use rubato::{Fft, FixedSync, Resampler as _};

/// Samples that the resampler takes at a time, about.
const CHUNK: usize = 1024;

/// Converts mono samples to 16 kHz. What comes out has no delay, and `ceil(n * 16000 / rate)` samples for `n`.
pub struct Resampler {
    fft: Fft<f64>,
    /// Samples that are no whole chunk yet.
    waiting: Vec<f64>,
    taken: u64,
    given: u64,
    /// Samples of the filter's delay that have not come out.
    delay: usize,
    rate: u32,
}

impl Resampler {
    /// From `rate` samples per second.
    ///
    /// # Errors
    /// The resampler's, in words.
    pub fn new(rate: u32) -> Result<Self, String> {
        let fft = Fft::new(
            rate as usize,
            SAMPLE_RATE as usize,
            CHUNK,
            1,
            FixedSync::Both,
        )
        .map_err(|error| error.to_string())?;
        let delay = fft.output_delay();
        Ok(Self {
            fft,
            waiting: Vec::new(),
            taken: 0,
            given: 0,
            delay,
            rate,
        })
    }

    /// What `samples` complete.
    ///
    /// # Errors
    /// The resampler's, in words.
    pub fn push(&mut self, samples: &[f64]) -> Result<Vec<f64>, String> {
        self.taken += samples.len() as u64;
        self.waiting.extend_from_slice(samples);
        let mut out = Vec::new();
        while self.waiting.len() >= self.fft.input_frames_next() {
            let rest = self.waiting.split_off(self.fft.input_frames_next());
            let chunk = std::mem::replace(&mut self.waiting, rest);
            self.convert(chunk, &mut out)?;
        }
        self.given += out.len() as u64;
        Ok(out)
    }

    /// The rest, after the last sample.
    ///
    /// # Errors
    /// The resampler's, in words.
    pub fn finish(&mut self) -> Result<Vec<f64>, String> {
        let all = (self.taken * u64::from(SAMPLE_RATE)).div_ceil(u64::from(self.rate));
        let left = (all - self.given) as usize;
        let mut out = Vec::new();
        while out.len() < left {
            let mut chunk = std::mem::take(&mut self.waiting);
            chunk.resize(self.fft.input_frames_next(), 0.0);
            self.convert(chunk, &mut out)?;
        }
        out.truncate(left);
        Ok(out)
    }

    /// Converts one whole chunk, and leaves out the delay at the start.
    fn convert(&mut self, chunk: Vec<f64>, out: &mut Vec<f64>) -> Result<(), String> {
        let frames = chunk.len();
        let input =
            InterleavedOwned::new_from(chunk, 1, frames).map_err(|error| error.to_string())?;
        let converted = self
            .fft
            .process(&input, None)
            .map_err(|error| error.to_string())?
            .take_data();
        let late = self.delay.min(converted.len());
        self.delay -= late;
        out.extend_from_slice(&converted[late..]);
        Ok(())
    }
}
