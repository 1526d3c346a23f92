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
page!(Typed, "../../docs/guide/typed.md");
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

    /// The table of docs/one-inference.md is that of the shipped spotter.
    #[test]
    fn one_inference_is_that_of_the_shipped_spotter() {
        let file = std::fs::read(workspace::root().join("models/kws.attn")).unwrap();
        let aligned = attn_converter::runner::ModelFile::new(&file).unwrap();
        let model = aligned.model();
        let shapes = |ids: &mut dyn Iterator<Item = usize>| {
            let tensors = ids.filter_map(|id| model.tensor(id));
            let all: Vec<_> = tensors
                .map(|tensor| format!("{} {:?}", tensor.dtype().name(), tensor.shape()))
                .collect();
            match all.is_empty() {
                true => " |".to_owned(),
                false => format!(" {} |", all.join(", ")),
            }
        };
        let rows: String = model
            .ops()
            .iter()
            .map(|op| {
                let kind = op.kind().unwrap().name();
                let (reads, writes) = (shapes(&mut op.inputs()), shapes(&mut op.outputs()));
                format!("| {kind} |{reads}{writes}\n")
            })
            .collect();
        let page = include_str!("../../docs/one-inference.md");
        let (_, table) = page.split_once("|---|---|---|\n").unwrap();
        let (table, _) = table.split_once("<!-- operators:end -->").unwrap();
        assert_eq!(table, rows, "write these rows into the page:\n{rows}");
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
        let this = [
            include_str!("lib.rs"),
            include_str!("../../slots/src/lib.rs"),
        ]
        .concat();
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
