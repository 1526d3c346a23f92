//! Generated tables in docs/results: each is written between two marks of its page, and checked for staleness.

use crate::TaskResult;
use attn_lab::workspace;
use std::path::{Path, PathBuf};

/// Remainder rows (total minus the rest). Small relative changes elsewhere move them a lot, so they are not compared.
const RESTS: [&str; 2] = ["| framing", "| · ranking"];
/// Tolerance between machines: images contain paths of source files.
const TOLERANCE: f64 = 0.02;

/// The page of this name.
pub fn page(name: &str) -> PathBuf {
    workspace::root()
        .join("docs/results")
        .join(name)
        .with_extension("md")
}

/// `text` with `table` between the marks of this name.
pub fn with_table(text: &str, name: &str, table: &str) -> Result<String, String> {
    let (before, _, after) = place(text, name)?;
    Ok(format!("{before}\n{table}{after}"))
}

/// The text before, between and after the marks of this name; the marks belong to the first and last.
fn place<'t>(text: &'t str, name: &str) -> Result<(&'t str, &'t str, &'t str), String> {
    let [begin, end] = ["begin", "end"].map(|edge| format!("<!-- {name}:{edge} -->"));
    let found = text.find(&begin).and_then(|at| {
        let from = at + begin.len();
        let to = from + text[from..].find(&end)?;
        Some((&text[..from], &text[from..to], &text[to..]))
    });
    found.ok_or_else(|| format!("the page has no place for the table: {begin}, {end}"))
}

/// Writes `text` to the page at `path`, or checks that the page has the same text. `task` is the command that writes it.
pub fn update(path: &Path, text: &str, check: bool, task: &str) -> TaskResult {
    let written = std::fs::read_to_string(path).unwrap_or_default();
    if check {
        return if same(&written, text) {
            Ok(())
        } else {
            Err(stale(path, task).into())
        };
    }
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    let part = tempfile::NamedTempFile::new_in(folder)?;
    std::fs::write(part.path(), text)?;
    part.persist(path)?;
    println!("wrote {}", path.display());
    Ok(())
}

/// Checks that the page at `path` has every row of `rows` between the marks of this name.
pub fn check_rows(path: &Path, name: &str, rows: &str, task: &str) -> TaskResult {
    let text = std::fs::read_to_string(path)?;
    let (_, written, _) = place(&text, name)?;
    match missing(written, rows) {
        None => Ok(()),
        Some(row) => Err(format!("{}; measured now:\n{row}", stale(path, task)).into()),
    }
}

/// The first of `rows` that is not on the page.
fn missing<'r>(written: &str, rows: &'r str) -> Option<&'r str> {
    let known = |row: &&str| written.lines().any(|line| same(line, row));
    rows.lines().find(|row| !known(row))
}

fn stale(path: &Path, task: &str) -> String {
    format!("{} is stale: run `cargo xtask {task}`", path.display())
}

/// The same words, and numbers within the tolerance.
fn same(a: &str, b: &str) -> bool {
    let fields = |text: &str| -> Vec<String> {
        let rest = |line: &&str| RESTS.iter().any(|rest| line.starts_with(rest));
        let lines = text.lines().filter(|line| !rest(line));
        let cells = lines.flat_map(|line| line.split(['|', ';', ',']));
        cells.map(|cell| cell.trim().to_owned()).collect()
    };
    let number = |text: &str| text.replace([' ', '*'], "").parse::<f64>().ok();
    let (a, b) = (fields(a), fields(b));
    a.len() == b.len()
        && a.iter().zip(&b).all(|(a, b)| match (number(a), number(b)) {
            (Some(a), Some(b)) => (a - b).abs() <= TOLERANCE * a.max(b),
            // Sentences repeat the tables' numbers.
            _ => words(a) == words(b),
        })
}

fn words(text: &str) -> String {
    text.chars()
        .filter(|c| !c.is_ascii_digit() && *c != ' ')
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{missing, same, with_table};

    #[test]
    fn a_table_goes_to_its_place() {
        let text = "a <!-- x:begin -->old<!-- x:end --> b";
        let new = with_table(text, "x", "new\n").unwrap();
        assert_eq!(new, "a <!-- x:begin -->\nnew\n<!-- x:end --> b");
        assert!(with_table(text, "y", "").is_err());
    }

    #[test]
    fn small_differences_are_not_stale() {
        let table = |what: &str, bytes: u32, count: &str| {
            format!("| {what} | {bytes} |\nOne hop takes {count} of them; fine.\n")
        };
        let written = table("code", 50_000, "1 234");
        assert!(same(&written, &table("code", 50_100, "1 240")));
        assert!(!same(&written, &table("code", 60_000, "1 234")));
        assert!(!same(&written, &table("data", 50_000, "1 234")));
        assert!(!same(&written, ""));
    }

    #[test]
    fn a_row_that_is_not_there_is_found() {
        let written = "| a | 40.0 | 1 000 |\n| b | **20.1**, below 28 | 7 |\n";
        assert_eq!(missing(written, "| b | **20.2**, below 28 | 7 |"), None);
        let below = "| a | **20.0**, below 28 | 1 000 |";
        assert_eq!(missing(written, below), Some(below));
        let b = "| b | **24.1**, below 28 | 7 |";
        assert_eq!(missing(written, b), Some(b));
        let other = "| a | 41.5 | 1 000 |\n| c | 40.0 | 1 |";
        assert_eq!(missing(written, other), Some("| a | 41.5 | 1 000 |"));
    }
}
