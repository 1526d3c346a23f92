//! Pictures: attention weights as a map, input from left to right, output from top to bottom.

use attn_converter::files::FileError;
use attn_converter::output::Output;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
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
/// Pixels of margin around the map, for names.
const MARGIN: i32 = 90;
/// Most and least pixels of a cell.
const CELL: (i32, i32) = (3, 40);
/// Widest map that cells are sized for.
const WIDTH: i32 = 1200;

/// Draws `weights`, `[token, row]` from 0 to 1, as a PNG file. `rows` and `tokens` are their names; rows without names (of
/// sound) are numbered.
///
/// # Errors
/// [`PlotError`].
pub fn alignment(
    path: &Path,
    weights: &[Vec<f32>],
    rows: &[String],
    tokens: &[String],
) -> Result<(), PlotError> {
    let columns = weights.iter().map(Vec::len).max().unwrap_or(0);
    if columns == 0 {
        return Err(PlotError::Empty);
    }
    let output = Output::new(path, [path; 0])?;
    // The library fails only if a font of this name is there already and broken.
    let _ = register_font(FONT, FontStyle::Normal, dejavu::sans::regular());
    let map = Map {
        weights,
        rows,
        tokens,
        columns,
    };
    let draw = |error: Box<dyn std::error::Error>| PlotError::Draw {
        path: path.into(),
        reason: error.to_string(),
    };
    output.write(".png", |file| map.draw(file.path()).map_err(draw))
}

struct Map<'w> {
    weights: &'w [Vec<f32>],
    rows: &'w [String],
    tokens: &'w [String],
    columns: usize,
}

impl Map<'_> {
    fn draw(&self, path: &Path) -> Result<(), Box<dyn std::error::Error>> {
        let cell = (WIDTH / self.columns as i32).clamp(CELL.0, CELL.1);
        let height = CELL.1;
        let size = (
            2 * MARGIN + cell * self.columns as i32,
            2 * MARGIN + height * self.weights.len() as i32,
        );
        let area = BitMapBackend::new(path, (size.0 as u32, size.1 as u32)).into_drawing_area();
        area.fill(&WHITE)?;
        let style = (FONT, 16).into_font().color(&BLACK);
        let centred = style.pos(Pos::new(HPos::Center, VPos::Bottom));
        let left = style.pos(Pos::new(HPos::Right, VPos::Center));
        for (y, row) in self.weights.iter().enumerate() {
            let top = MARGIN + y as i32 * height;
            for (x, &weight) in row.iter().enumerate() {
                let start = MARGIN + x as i32 * cell;
                let shade = 255 - (weight.clamp(0.0, 1.0) * 255.0) as u8;
                let colour = RGBColor(shade, shade, 128 + shade / 2).filled();
                let corners = [(start, top), (start + cell, top + height)];
                area.draw(&Rectangle::new(corners, colour))?;
            }
            let name = self.tokens.get(y).map_or("", String::as_str);
            area.draw(&Text::new(
                name,
                (MARGIN - 8, top + height / 2),
                left.clone(),
            ))?;
        }
        for x in 0..self.columns {
            let name = match self.rows.get(x) {
                Some(name) => name.clone(),
                None if self.rows.is_empty() && x % 10 == 0 => x.to_string(),
                None => continue,
            };
            let at = (MARGIN + x as i32 * cell + cell / 2, MARGIN - 8);
            area.draw(&Text::new(name, at, centred.clone()))?;
        }
        let frame = [(MARGIN, MARGIN), (size.0 - MARGIN, size.1 - MARGIN)];
        area.draw(&Rectangle::new(frame, BLACK))?;
        area.present()?;
        Ok(())
    }
}
