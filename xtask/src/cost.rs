//! `cargo xtask cost`: the cost table in the README, generated, and checked for staleness.

use crate::{TaskResult, demo};
use attn_host_tests::{recording, workspace};
use std::path::Path;

const BEGIN: &str = "<!-- cost:begin -->";
const REST: &str = "| framing";
const END: &str = "<!-- cost:end -->";
/// Numbers may differ by this much between machines: paths of source files end up in images.
const TOLERANCE: f64 = 0.02;

/// Measures and writes, or checks what is written.
pub fn run(check: bool) -> TaskResult {
    let pcm = recording::read(&workspace::demo_recording())?;
    let cost = demo::show(&pcm)?.cost;
    let table = cost.markdown();
    let readme = workspace::root().join("README.md");
    let text = std::fs::read_to_string(&readme)?;
    let parts = text.split_once(BEGIN).and_then(|(before, rest)| {
        let (_, after) = rest.split_once(END)?;
        Some((before, after))
    });
    let (before, after) = parts
        .ok_or("README.md has no place for the table: <!-- cost:begin -->, <!-- cost:end -->")?;
    update(
        &readme,
        &format!("{before}{BEGIN}\n{table}{END}{after}"),
        check,
    )?;
    match cost.exceeded().as_slice() {
        [] => Ok(()),
        over => Err(over.join("; ").into()),
    }
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
        // That row is what the other rows leave of the sum: its differences are theirs, and large beside it.
        let lines = text.lines().filter(|line| !line.starts_with(REST));
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
    use super::same;

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
