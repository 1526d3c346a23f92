//! `cargo xtask cost`: the cost tables in the README, generated, and checked for staleness.

use crate::{TaskResult, decode, demo};
use attn_host_tests::{recording, workspace};
use std::path::Path;

/// Names of the tables' places in the README.
const SPOTTING: &str = "cost";
const DECODING: &str = "decoding-cost";
/// Rows that hold what the other rows leave of the sum: their differences are those of the others, and large beside them.
const RESTS: [&str; 2] = ["| framing", "| · ranking"];
/// Numbers may differ by this much between machines: paths of source files end up in images.
const TOLERANCE: f64 = 0.02;

/// Measures and writes, or checks what is written.
pub fn run(check: bool) -> TaskResult {
    let pcm = recording::read(&workspace::demo_recording())?;
    let cost = demo::show(&pcm)?.cost;
    let word = decode::pronounce(decode::WORD)?.markdown();
    let readme = workspace::root().join("README.md");
    let text = std::fs::read_to_string(&readme)?;
    let text = with_table(&text, SPOTTING, &cost.markdown())?;
    let text = with_table(&text, DECODING, &word)?;
    update(&readme, &text, check)?;
    match cost.exceeded().as_slice() {
        [] => Ok(()),
        over => Err(over.join("; ").into()),
    }
}

/// `text` with `table` in the place of this name.
fn with_table(text: &str, name: &str, table: &str) -> Result<String, String> {
    let [begin, end] = ["begin", "end"].map(|edge| format!("<!-- {name}:{edge} -->"));
    let parts = text.split_once(&begin).and_then(|(before, rest)| {
        let (_, after) = rest.split_once(&end)?;
        Some((before, after))
    });
    let (before, after) =
        parts.ok_or_else(|| format!("README.md has no place for the table: {begin}, {end}"))?;
    Ok(format!("{before}{begin}\n{table}{end}{after}"))
}

fn update(path: &Path, text: &str, check: bool) -> TaskResult {
    let written = std::fs::read_to_string(path).unwrap_or_default();
    if check {
        return if same(&written, text) {
            Ok(())
        } else {
            Err(format!("{} is stale: run `cargo xtask cost`", path.display()).into())
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

/// The same words, and numbers within the tolerance.
fn same(a: &str, b: &str) -> bool {
    let fields = |text: &str| -> Vec<String> {
        let rest = |line: &&str| RESTS.iter().any(|rest| line.starts_with(rest));
        let lines = text.lines().filter(|line| !rest(line));
        let cells = lines.flat_map(|line| line.split(['|', ';', ',']));
        cells.map(|cell| cell.trim().to_owned()).collect()
    };
    let number = |text: &str| text.replace(' ', "").parse::<f64>().ok();
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
    use super::{same, with_table};

    #[test]
    fn a_table_goes_to_its_place() {
        let text = "a <!-- x:begin -->old<!-- x:end --> b";
        let new = with_table(text, "x", "new\n").unwrap();
        assert_eq!(new, "a <!-- x:begin -->\nnew\n<!-- x:end --> b");
        assert!(with_table(text, "y", "").is_err());
    }

    #[test]
    fn small_differences_are_not_stale() {
        let table = "| code | 50 000 |\nOne hop takes 1 234 of them; fine.\n";
        assert!(same(
            table,
            "| code | 50 100 |\nOne hop takes 1 240 of them; fine.\n"
        ));
        assert!(!same(
            table,
            "| code | 60 000 |\nOne hop takes 1 234 of them; fine.\n"
        ));
        assert!(!same(
            table,
            "| data | 50 000 |\nOne hop takes 1 234 of them; fine.\n"
        ));
        assert!(!same(table, ""));
    }
}
