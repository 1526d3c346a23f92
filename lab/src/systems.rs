//! The tables of docs/results/systems.md: the cost of one run of a model on the chip, and rows of figures as Markdown.
//! `examples/systems.rs` of the host tests lists the systems and measures their fidelity to PyTorch.

use crate::cost::group;
use crate::emulator::{Core, Emulator, Region};
use crate::error::LabError;
use crate::{runner, table};
use std::path::Path;

/// Counts the last run of `model` (a `.attn` file) over `inputs` on the emulated M4. `inputs` has the bytes of all inputs of entry point 0,
/// run after run.
///
/// # Errors
/// [`LabError`].
pub fn count(model: &Path, inputs: &[u8]) -> Result<Region, LabError> {
    let arguments = ["run", "model.attn", "inputs", "outputs"];
    let emulator = Emulator::new(Core::M4).counting();
    let mut ran = runner::run(&emulator, &arguments, model, &[("inputs", inputs)])?;
    ran.regions
        .pop()
        .ok_or_else(|| LabError::NoRuns(model.into()))
}

/// Figures of a system in one precision, for the worse of the two exporters' files.
#[derive(Clone, Debug, PartialEq)]
pub struct Figures {
    /// SQNR against PyTorch's own outputs, dB.
    pub db: f64,
    /// Smallest accepted SQNR, dB.
    pub floor: f64,
    /// Other figures, in the order of the table's columns: bytes, or instructions in thousands.
    pub others: Vec<String>,
}

/// A row of a table: a system in several precisions; without figures where a file does not convert.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Description of the system.
    pub title: String,
    /// For each precision of the table.
    pub cells: Vec<Option<Figures>>,
}

/// A table: for each precision the SQNR and columns of these names.
#[derive(Clone, Debug, PartialEq)]
pub struct Systems {
    /// Names of the precisions.
    pub precisions: Vec<&'static str>,
    /// Names of the columns of each precision, after the SQNR.
    pub columns: Vec<&'static str>,
    /// The systems.
    pub rows: Vec<Row>,
}

impl Systems {
    /// The table as Markdown. An SQNR below its floor is marked.
    pub fn markdown(&self) -> String {
        let headings = self.precisions.iter().flat_map(|precision| {
            let others = self.columns.iter().map(|column| (*column).into());
            [format!("{precision}: dB")].into_iter().chain(others)
        });
        let rows = self.rows.iter().map(|row| {
            let cells = row.cells.iter().flat_map(|cell| self.cells(cell.as_ref()));
            [row.title.clone()].into_iter().chain(cells).collect()
        });
        let table = table::Figures {
            heading: ["system".into()].into_iter().chain(headings).collect(),
            rows: rows.collect(),
        };
        table.markdown()
    }

    fn cells(&self, figures: Option<&Figures>) -> Vec<String> {
        let Some(figures) = figures else {
            let mut cells = vec![String::new(); self.columns.len()];
            cells.insert(0, "not converted".into());
            return cells;
        };
        let db = if figures.db >= figures.floor {
            format!("{:.1}", figures.db)
        } else {
            format!("**{:.1}**, below {:.0}", figures.db, figures.floor)
        };
        [db].into_iter().chain(figures.others.clone()).collect()
    }
}

/// Instructions in thousands, with at least three significant digits if there are any.
pub fn thousands(instructions: u64) -> String {
    let k = instructions as f64 / 1000.0;
    match instructions {
        0..10_000 => format!("{k:.2}"),
        10_000..100_000 => format!("{k:.1}"),
        _ => group((instructions + 500) / 1000),
    }
}

/// A number of bytes.
pub fn bytes(count: usize) -> String {
    group(count as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_below_its_floor_is_marked_and_one_without_a_file_is_not_hidden() {
        let figures = |db| {
            let others = vec![bytes(5120), thousands(1_234_567)];
            Some(Figures {
                db,
                floor: 28.0,
                others,
            })
        };
        let table = Systems {
            precisions: vec!["int8", "fp16"],
            columns: vec!["arena", "M4"],
            rows: vec![
                Row {
                    title: "a".into(),
                    cells: vec![figures(28.04), figures(27.96)],
                },
                Row {
                    title: "b".into(),
                    cells: vec![None, figures(60.0)],
                },
            ],
        };
        let expected = "\
            | system | int8: dB | arena | M4 | fp16: dB | arena | M4 |\n\
            |---|---:|---:|---:|---:|---:|---:|\n\
            | a | 28.0 | 5 120 | 1 235 | **28.0**, below 28 | 5 120 | 1 235 |\n\
            | b | not converted |  |  | 60.0 | 5 120 | 1 235 |\n";
        assert_eq!(table.markdown(), expected);
    }

    #[test]
    fn thousands_keep_three_digits() {
        let counts = [999, 1_403, 44_644, 168_211, 1_127_499];
        let expected = ["1.00", "1.40", "44.6", "168", "1 127"];
        assert_eq!(counts.map(thousands), expected);
    }
}
