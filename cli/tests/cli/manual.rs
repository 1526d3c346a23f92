//! Completions and manual pages.

use crate::{done, refused};

/// Subcommands, as `attn --help` lists them.
fn subcommands() -> Vec<String> {
    let help = done(&["--help"]);
    let (_, list) = help.split_once("Commands:\n").unwrap();
    let lines = list.lines().take_while(|line| !line.is_empty());
    let names = lines.filter_map(|line| line.split_whitespace().next());
    names
        .filter(|name| *name != "help")
        .map(String::from)
        .collect()
}

#[test]
fn completions_know_every_subcommand_and_flag() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let text = done(&["completions", shell]);
        for name in subcommands() {
            assert!(text.contains(&name), "{shell}: {name}");
        }
        assert!(text.contains("calibrate"), "{shell}");
    }
    refused(&["completions", "csh"], &["csh", "bash, elvish"]);
}

#[test]
fn every_subcommand_has_a_manual_page() {
    let names = subcommands();
    assert!(names.len() > 12, "{names:?}");
    let whole = done(&["man"]);
    for name in names {
        assert!(whole.contains(&name), "{name}");
        let page = done(&["man", &name]);
        assert!(page.contains(&format!(".TH attn-{name} 1")), "{page}");
        assert!(page.contains(".SH SYNOPSIS"), "{page}");
    }
    refused(
        &["man", "convrt"],
        &["\"convrt\" is no subcommand", "convert, inspect"],
    );
}
