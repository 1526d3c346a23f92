//! For each label the share of missed words against false accepts an hour, with the Poisson interval of the rate as a band.

use super::{FONT, PlotError, drawn};
use attn_converter::tune::{Curve, Point, poisson};
use plotters::prelude::*;
use std::path::Path;

/// Pixels of one label's panel.
const PANEL: (u32, u32) = (360, 280);
/// Panels beside each other, at most.
const COLUMNS: usize = 3;
/// Points of a curve that are drawn, at most.
const POINTS: usize = 4000;
/// Per cent of missed words up to which a panel reaches, at least.
const LEAST_SHOWN: f64 = 20.0;
/// Steps of the thresholds above every false accept.
const SILENT: u32 = 100;

/// Draws a panel for each label with its curve and its threshold, Q15, which is marked.
///
/// # Errors
/// [`PlotError`].
pub fn misses(path: &Path, curves: &[(&str, &Curve, u16)]) -> Result<(), PlotError> {
    if curves.is_empty() {
        return Err(PlotError::Empty);
    }
    drawn(path, |file| {
        let columns = COLUMNS.min(curves.len());
        let rows = curves.len().div_ceil(columns);
        let size = (PANEL.0 * columns as u32, PANEL.1 * rows as u32);
        let area = BitMapBackend::new(file, size).into_drawing_area();
        area.fill(&WHITE)?;
        for (panel, (label, curve, threshold)) in
            area.split_evenly((rows, columns)).iter().zip(curves)
        {
            draw(panel, label, curve, *threshold)?;
        }
        area.present()?;
        Ok(())
    })
}

/// The curve, from the highest threshold on: above its points there is no false accept, and more is missed.
fn with_silence(curve: &Curve) -> Vec<Point> {
    let points = curve.points(POINTS);
    let lowest = points
        .first()
        .map_or(0, |point| u32::from(point.threshold_q15));
    let above = (1..=SILENT).rev();
    let above =
        above.map(|i| curve.at((lowest + (32767u32.saturating_sub(lowest)) * i / SILENT) as u16));
    above.chain(points.iter().copied()).collect()
}

type Panel<'p> = DrawingArea<BitMapBackend<'p>, plotters::coord::Shift>;

fn draw(
    panel: &Panel,
    label: &str,
    curve: &Curve,
    threshold: u16,
) -> Result<(), Box<dyn std::error::Error>> {
    let hours = curve.hours();
    let least = 0.25 / hours;
    let missed = |point: &Point| 100.0 * point.missed as f64 / curve.positives().max(1) as f64;
    let points = with_silence(curve);
    let chosen = curve.at(threshold);
    let highest = (1.5 * missed(&chosen)).clamp(LEAST_SHOWN, 100.0);
    let most = points.last().map_or(0, |point| point.false_accepts).max(4);
    let mut chart = ChartBuilder::on(panel)
        .caption(label, (FONT, 16))
        .margin(8)
        .x_label_area_size(34)
        .y_label_area_size(40)
        .build_cartesian_2d((least..2.0 * most as f64 / hours).log_scale(), 0.0..highest)?;
    chart
        .configure_mesh()
        .x_desc("false accepts an hour")
        .y_desc("missed, %")
        .label_style((FONT, 12))
        .light_line_style(TRANSPARENT)
        .draw()?;
    // A logarithm has no 0: no false accept is at the left edge.
    let rate = |count: f64| (count / hours).max(least);
    let side = |bound: fn((f64, f64)) -> f64| {
        points
            .iter()
            .map(move |point| (rate(bound(poisson(point.false_accepts))), missed(point)))
    };
    let band: Vec<_> = side(|(low, _)| low)
        .chain(side(|(_, high)| high).collect::<Vec<_>>().into_iter().rev())
        .collect();
    chart.draw_series([Polygon::new(band, BLUE.mix(0.15))])?;
    let line = points
        .iter()
        .map(|point| (rate(point.false_accepts as f64), missed(point)));
    chart.draw_series(LineSeries::new(line, &BLUE))?;
    let mark = (rate(chosen.false_accepts as f64), missed(&chosen));
    chart.draw_series([Circle::new(mark, 4, RED.filled())])?;
    Ok(())
}
