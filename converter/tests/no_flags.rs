//! The library speaks no command line: what a setting is called there is the command's business (`cli/src/flags.rs`).

use std::path::Path;

/// Places in string literals of a file, comments left out, that look like a flag.
fn flags(path: &Path, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(path).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            flags(&path, found);
        } else if path.extension().is_some_and(|end| end == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            let code = text
                .lines()
                .filter(|line| !line.trim_start().starts_with("//"));
            let is_flag = |word: &str| {
                word.strip_prefix("--")
                    .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_lowercase()))
            };
            let words = |line: &str| line.split([' ', '"', '`', '(', ',']).any(is_flag);
            let lines = code.filter(|line| words(line));
            found.extend(lines.map(|line| format!("{}: {}", path.display(), line.trim())));
        }
    }
}

#[test]
fn no_flag_is_named_in_the_converter() {
    let mut found = Vec::new();
    flags(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
        &mut found,
    );
    assert!(found.is_empty(), "{}", found.join("\n"));
}
