//! The library is called from Rust, C and Python: its errors name no flag of a command.

use std::path::Path;

/// Lines below `folder` that write `--` before a letter outside a comment.
fn flags(folder: &Path, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).expect("a source folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            flags(&path, found);
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("a source file");
        for line in text.lines() {
            let code = line.split("//").next().unwrap_or("");
            let named = |rest: &str| rest.starts_with(|c: char| c.is_ascii_lowercase());
            if code.split("--").skip(1).any(named) {
                found.push(format!("{}: {}", path.display(), line.trim()));
            }
        }
    }
}

#[test]
fn errors_name_no_command_line_flags() {
    let mut found = Vec::new();
    flags(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
        &mut found,
    );
    assert!(found.is_empty(), "{found:#?}");
}
