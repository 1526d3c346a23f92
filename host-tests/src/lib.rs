//! The Rust snippets of the documentation as doctests: each compiles. Tests are in `tests/`, what several crates' tests share in `support/`.

/// Declares a page whose snippets are compiled.
macro_rules! page {
    ($name:ident, $path:literal) => {
        #[cfg(doctest)]
        #[doc = include_str!($path)]
        struct $name;
    };
}

page!(Readme, "../../README.md");
page!(Sequences, "../../docs/guide/sequences.md");
page!(Safety, "../../docs/reference/safety.md");

#[cfg(test)]
mod tests {
    use attn_lab::workspace;
    use std::path::{Path, PathBuf};

    /// Markdown below a folder, built and fetched things aside.
    fn pages(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in folder.read_dir().unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() && name != "target" && !name.starts_with('.') {
                pages(&path, found);
            } else if name.ends_with(".md") {
                found.push(path);
            }
        }
    }

    /// Links between files of the repository, `[text](path)` outside of code, lead somewhere.
    #[test]
    fn links_of_the_documentation_lead_to_files() {
        let mut found = Vec::new();
        pages(workspace::root(), &mut found);
        assert!(found.len() > 20, "{found:?}");
        let mut dead = Vec::new();
        for page in &found {
            let text = std::fs::read_to_string(page).unwrap();
            let prose: String = text.split("```").step_by(2).collect();
            for link in prose.split("](").skip(1) {
                let Some((target, _)) = link.split_once(')') else {
                    continue;
                };
                let file = target.split('#').next().unwrap();
                let outside = target.contains("://") || file.is_empty();
                if !outside && !page.with_file_name(file).exists() {
                    dead.push(format!("{}: {target}", page.display()));
                }
            }
        }
        assert!(dead.is_empty(), "{dead:#?}");
    }

    /// A page with a snippet of Rust is one of those above, so that its snippets are compiled.
    #[test]
    fn every_page_with_rust_is_compiled() {
        let this = include_str!("lib.rs");
        let mut found = Vec::new();
        pages(workspace::root(), &mut found);
        for page in found {
            let text = std::fs::read_to_string(&page).unwrap();
            let path = page.strip_prefix(workspace::root()).unwrap();
            // README files of crates are doctests of their own crates.
            let own = ["runtime", "converter"]
                .iter()
                .any(|name| path.starts_with(name));
            if text.contains("```rust") && !own {
                let named = format!("../../{}\"", path.display());
                assert!(this.contains(&named), "{} is not compiled", path.display());
            }
            assert!(!text.contains("```rust,ignore"), "{}", path.display());
        }
    }
}
