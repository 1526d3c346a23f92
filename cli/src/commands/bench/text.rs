//! The figures as tables for the terminal.

use super::Subject;
use super::figures::{Entry, Figures, Row};
use crate::commands::table;
use crate::shown::say;
use attn_lab::cost::group;
use comfy_table::{CellAlignment, Table};

/// Functions that are listed; the others are one row.
const FUNCTIONS: usize = 20;

/// Prints all of them.
pub fn print(subject: &Subject, figures: &Figures) {
    let core = figures.setting.core.name();
    say!("{} on a {core}", subject.name);
    for entry in &figures.entries {
        say!("\nentry point {}", entry.name);
        say!("{}", operators(entry));
        if !entry.functions.is_empty() {
            say!("{}", functions(entry));
        }
        say!("{}", run(figures, entry));
    }
    say!("\n{}", flash(figures));
    say!("{}", ram(figures));
    if let Some(parse) = figures.parse {
        let milliseconds = figures.milliseconds(parse.cycles);
        say!(
            "start: the file is checked once, {} cycles ({milliseconds:.1} ms)",
            group(parse.cycles)
        );
    }
    say!("{}", figures.source());
}

/// A run in a sentence.
fn run(figures: &Figures, entry: &Entry) -> String {
    let counted = entry.instructions.map_or_else(String::new, |instructions| {
        format!("{} instructions, ", group(instructions))
    });
    let mhz = figures.setting.clock / 1e6;
    let [least, most] = figures.spread(entry.cycles);
    let milliseconds = |cycles| figures.milliseconds(cycles);
    format!(
        "a run: {counted}{} cycles, {:.2} ms at {mhz} MHz (silicon {:.2} to {:.2} ms); {} MACs",
        group(entry.cycles),
        milliseconds(entry.cycles),
        milliseconds(least),
        milliseconds(most),
        group(entry.macs()),
    )
}

fn flash(figures: &Figures) -> String {
    let memory = &figures.memory;
    let code = memory.code.map_or_else(String::new, |[code, tables]| {
        format!(
            "; the smallest program around it {} of code and {} of tables",
            group(code),
            group(tables)
        )
    });
    format!(
        "flash: model {} bytes, of which weights {}{code}",
        group(memory.model),
        group(memory.weights)
    )
}

fn ram(figures: &Figures) -> String {
    let memory = &figures.memory;
    let peak = figures.entries.iter().map(Entry::peak).max();
    let stack = memory
        .stack
        .map_or_else(String::new, |bytes| format!("; stack {}", group(bytes)));
    format!(
        "RAM: arena {} bytes, of which state {}, in use at once {}{stack}",
        group(memory.arena),
        group(memory.state),
        group(peak.unwrap_or(0))
    )
}

/// Cells of an operator, the same on a page.
pub fn cells(entry: &Entry, row: &Row) -> [String; 8] {
    let operator = &row.operator;
    [
        operator.kind.to_owned(),
        operator.name.clone(),
        group(operator.macs),
        row.instructions.map_or_else(String::new, group),
        group(row.cycles),
        row.macs_per_cycle()
            .map_or_else(String::new, |rate| format!("{rate:.2}")),
        format!("{:.1} %", 100.0 * entry.share(row)),
        group(operator.bytes),
    ]
}

/// Their heading.
pub const HEADING: [&str; 8] = [
    "operator",
    "name",
    "MACs",
    "instructions",
    "cycles",
    "MAC/cycle",
    "share",
    "bytes",
];

fn operators(entry: &Entry) -> Table {
    let mut table = table(&HEADING);
    table.add_rows(entry.rows.iter().map(|row| cells(entry, row)));
    right(&mut table, 2);
    table
}

/// Cells of the functions, those beyond the first as one.
pub fn function_cells(entry: &Entry) -> Vec<[String; 4]> {
    let all: u64 = entry.functions.iter().map(|f| f.count.cycles).sum();
    let cells = |name: &str, instructions: u64, cycles: u64| {
        let share = 100.0 * cycles as f64 / all.max(1) as f64;
        [
            name.to_owned(),
            group(instructions),
            group(cycles),
            format!("{share:.1} %"),
        ]
    };
    let (first, others) = entry
        .functions
        .split_at(FUNCTIONS.min(entry.functions.len()));
    let mut rows: Vec<_> = first
        .iter()
        .map(|f| cells(&f.name, f.count.instructions, f.count.cycles))
        .collect();
    if !others.is_empty() {
        let sum = |of: fn(&attn_lab::bench::Function) -> u64| others.iter().map(of).sum();
        rows.push(cells(
            &format!("{} others", others.len()),
            sum(|f| f.count.instructions),
            sum(|f| f.count.cycles),
        ));
    }
    rows
}

fn functions(entry: &Entry) -> Table {
    let mut table = table(&["function", "instructions", "cycles", "share"]);
    table.add_rows(function_cells(entry));
    right(&mut table, 1);
    table
}

/// Aligns the columns from number `first` on as figures.
fn right(table: &mut Table, first: usize) {
    for column in table.column_iter_mut().skip(first) {
        column.set_cell_alignment(CellAlignment::Right);
    }
}
