//! `attn features`: PCM to the features that a model is trained on and sees on the chip.

use super::{CommandResult, check_output};
use crate::shown::say;
use crate::sound;
use attn_converter::{features, files};
use attn_runtime::audio::FEATURE_SCALE;
use clap::Args;
use std::path::PathBuf;

/// Computes log-mel features exactly as the chip does.
#[derive(Args)]
pub struct Features {
    /// A recording (WAV or FLAC of any sampling rate and number of channels, `-` for standard input), or an .npz with an int16
    /// array `pcm` of shape [clips, samples] at 16 kHz.
    input: PathBuf,
    /// Where to write the .npz: `features`, int8 [clips, frames, 40], and `scale` (real = scale * feature).
    #[arg(short, long)]
    output: PathBuf,
    /// Samples between the starts of two frames.
    #[arg(long, default_value_t = 320)]
    hop: usize,
}

impl Features {
    pub fn run(&self) -> CommandResult {
        check_output(&self.output, [&self.input])?;
        let clips = if sound::is_stdin(&self.input) {
            features::clip(sound::read(&self.input)?)
        } else {
            features::read_clips(&self.input)?
        };
        let features = features::features(sound::name(&self.input), &clips, self.hop)?;
        files::write_npz(&self.output, |npz| {
            npz.add_array("features", &features)?;
            npz.add_array("scale", &ndarray::arr0(FEATURE_SCALE))
        })?;
        let (clips, frames, bands) = features.dim();
        say!(
            "{}: {clips} clip(s) of {frames} frames of {bands} features",
            self.output.display()
        );
        Ok(())
    }
}
