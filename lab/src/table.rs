//! Tables of figures: for the terminal, and as Markdown for docs/results.

use comfy_table::{CellAlignment, Table, presets};

/// A table whose first column says what the others count.
pub(crate) struct Figures {
    /// Names of the columns.
    pub heading: Vec<String>,
    /// The rows.
    pub rows: Vec<Vec<String>>,
}

impl Figures {
    pub fn new<const N: usize>(heading: [&str; N], rows: Vec<[String; N]>) -> Self {
        Self {
            heading: heading.map(str::to_owned).into(),
            rows: rows.into_iter().map(Vec::from).collect(),
        }
    }

    /// For the terminal.
    pub fn table(&self) -> Table {
        let mut table = bordered(&self.heading);
        table.add_rows(&self.rows);
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        table
    }

    pub fn markdown(&self) -> String {
        let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
        let marks = "|---:".repeat(self.heading.len() - 1);
        let rows: String = self.rows.iter().map(|row| line(row)).collect();
        format!("{}|---{marks}|\n{rows}", line(&self.heading))
    }
}

/// An empty table for the terminal.
pub(crate) fn bordered<T: ToString>(heading: impl IntoIterator<Item = T>) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_BORDERS_ONLY);
    table.set_header(heading.into_iter().map(|name| name.to_string()));
    table
}
