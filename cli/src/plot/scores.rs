//! Scores of a spotter over time: a panel for each label, with its threshold and what was reported.

use super::{FONT, PlotError, drawn};
use plotters::prelude::*;
use std::path::Path;

/// Pixels of one label's panel.
const PANEL: (u32, u32) = (1000, 130);

/// The scores of a label.
pub struct Scores<'s> {
    /// Its name.
    pub label: &'s str,
    /// Its threshold, 0 to 1.
    pub threshold: f64,
    /// Averaged posterior of each hop, 0 to 1.
    pub scores: Vec<f64>,
    /// Seconds at which it was reported.
    pub reported: Vec<f64>,
}

/// Draws the scores of labels, of which one follows the other every `hop` seconds.
///
/// # Errors
/// [`PlotError`].
pub fn scores(path: &Path, labels: &[Scores], hop: f64) -> Result<(), PlotError> {
    let hops = labels.iter().map(|label| label.scores.len()).max();
    let seconds = hops.unwrap_or(0) as f64 * hop;
    if seconds == 0.0 {
        return Err(PlotError::Empty);
    }
    drawn(path, |file| {
        let size = (PANEL.0, PANEL.1 * labels.len() as u32);
        let area = BitMapBackend::new(file, size).into_drawing_area();
        area.fill(&WHITE)?;
        for (panel, label) in area.split_evenly((labels.len(), 1)).iter().zip(labels) {
            let mut chart = ChartBuilder::on(panel)
                .caption(label.label, (FONT, 15))
                .margin(6)
                .x_label_area_size(18)
                .y_label_area_size(36)
                .build_cartesian_2d(0.0..seconds, 0.0..1.0)?;
            chart
                .configure_mesh()
                .disable_mesh()
                .y_labels(3)
                .label_style((FONT, 11))
                .draw()?;
            let threshold = [(0.0, label.threshold), (seconds, label.threshold)];
            chart.draw_series(LineSeries::new(threshold, &RED))?;
            let line = label.scores.iter().enumerate();
            let line = line.map(|(at, score)| ((at + 1) as f64 * hop, *score));
            chart.draw_series(LineSeries::new(line, &BLUE))?;
            let marks = label.reported.iter();
            let marks = marks.map(|at| TriangleMarker::new((*at, 0.93), 6, RED.filled()));
            chart.draw_series(marks)?;
        }
        area.present()?;
        Ok(())
    })
}
