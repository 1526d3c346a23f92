//! Attention weights as a map, input from left to right, output from top to bottom.

use super::{FONT, PlotError, drawn};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use std::path::Path;

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
    let map = Map {
        weights,
        rows,
        tokens,
        columns,
    };
    drawn(path, |file| map.draw(file))
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
