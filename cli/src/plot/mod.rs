//! Pictures, as PNG files.

mod alignment;
mod misses;
mod scores;

pub use alignment::alignment;
pub use misses::misses;
pub use scores::{Scores, scores};

use attn_converter::files::FileError;
use attn_converter::output::Output;
use plotters::style::{FontStyle, register_font};
use std::path::Path;
use thiserror::Error;

/// Why there is no picture.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PlotError {
    /// There is nothing to draw.
    #[error("nothing to plot: the sequence has no tokens, or the input no rows")]
    Empty,
    /// The drawing library or the file system gave up.
    #[error("{path}: cannot draw the picture: {reason}")]
    Draw {
        /// The picture.
        path: std::path::PathBuf,
        /// What was said.
        reason: String,
    },
    /// It cannot be written.
    #[error(transparent)]
    File(#[from] FileError),
}

const FONT: &str = "sans-serif";

/// Writes a picture that `draw` draws into a file.
fn drawn(
    path: &Path,
    draw: impl FnOnce(&Path) -> Result<(), Box<dyn std::error::Error>>,
) -> Result<(), PlotError> {
    let output = Output::new(path, [path; 0])?;
    // The library fails only if a font of this name is there already and broken.
    let _ = register_font(FONT, FontStyle::Normal, dejavu::sans::regular());
    let failed = |error: Box<dyn std::error::Error>| PlotError::Draw {
        path: path.into(),
        reason: error.to_string(),
    };
    output.write(".png", |file| draw(file.path()).map_err(failed))
}
