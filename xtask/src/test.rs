//! `cargo xtask test`: checks and tests, one after the other; counts them at the end. With `--all` also those that take long.

use crate::{TaskResult, cost, demo, digests, setup, systems};
use attn_lab::boards::{App, BOARDS};
use attn_lab::emulator::Core;
use attn_lab::images::IMAGES;
use attn_lab::workspace;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

/// Counts of passed and failed checks.
#[derive(Default)]
struct Tally {
    passed: usize,
    failed: Vec<String>,
}

impl Tally {
    /// Runs one check.
    fn check(&mut self, what: &str, run: impl FnOnce() -> TaskResult) {
        println!("\n== {what}");
        match run() {
            Ok(()) => self.passed += 1,
            Err(error) => {
                println!("error: {error}");
                self.failed.push(what.into());
            }
        }
    }

    fn cargo(&mut self, what: &str, arguments: &[&str], variables: &[(&str, &str)]) {
        self.check(what, || {
            let status = cargo(arguments, variables).status()?;
            let failed = || format!("cargo {} failed", arguments.join(" "));
            status.success().then_some(()).ok_or_else(failed)?;
            Ok(())
        });
    }

    /// Runs `cargo test`, shows what it prints and adds up its results. Tests that take long are marked as ignored.
    fn tests(&mut self, all: bool) {
        println!("\n== tests");
        let mut arguments = vec!["test", "--workspace", "--no-fail-fast"];
        if all {
            arguments.extend(["--", "--include-ignored"]);
            if !workspace::speech().join("manifest.csv").exists() {
                println!(
                    "no recordings in {}: not tested on them",
                    workspace::speech().display()
                );
                arguments.extend(["--skip", "real_recordings"]);
            }
        }
        let child = cargo(&arguments, &[]).stdout(Stdio::piped()).spawn();
        let Ok(mut child) = child else {
            return self.failed.push("cargo test does not start".into());
        };
        let lines = child
            .stdout
            .take()
            .into_iter()
            .flat_map(|out| BufReader::new(out).lines());
        let mut failed = 0;
        for line in lines.map_while(Result::ok) {
            println!("{line}");
            if let Some(counts) = results(&line) {
                self.passed += counts.0;
                failed += counts.1;
            } else if line.ends_with("... FAILED") {
                self.failed.push(line);
            }
        }
        let ended_well = child.wait().is_ok_and(|status| status.success());
        if !ended_well && failed == 0 {
            self.failed.push("cargo test".into());
        }
    }
}

fn cargo(arguments: &[&str], variables: &[(&str, &str)]) -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
    cargo
        .current_dir(workspace::root())
        .args(arguments)
        .envs(variables.iter().copied())
        .stdin(Stdio::null());
    cargo
}

/// Passed and failed, of a line `test result: ok. 7 passed; 0 failed; ...`.
fn results(line: &str) -> Option<(usize, usize)> {
    let (_, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let count = |word: &str| {
        let part = counts.split("; ").find(|part| part.ends_with(word))?;
        part.split(' ').next()?.parse().ok()
    };
    Some((count(" passed")?, count(" failed")?))
}

const DENY: [&str; 3] = ["--", "-D", "warnings"];

/// Runs the checks and tests, with `all` also the long ones. The last line that it prints is `N passed, N failed`.
pub fn run(all: bool) -> TaskResult {
    let mut tally = Tally::default();
    tally.check("set-up", || Ok(setup::run()?));
    tally.cargo("format", &["fmt", "--all", "--check"], &[]);
    let clippy = ["clippy", "--quiet", "--workspace", "--all-targets"];
    tally.cargo("clippy", &[&clippy[..], &DENY].concat(), &[]);
    let doc = [
        "doc",
        "--quiet",
        "--workspace",
        "--no-deps",
        "--document-private-items",
    ];
    tally.cargo("documentation", &doc, &[("RUSTDOCFLAGS", "-D warnings")]);
    let bare = [
        "clippy",
        "--quiet",
        "-p",
        "attn-runtime",
        "--no-default-features",
    ];
    tally.cargo(
        "runtime without features",
        &[&bare[..], &DENY].concat(),
        &[],
    );
    for target in setup::TARGETS {
        let build = [
            "build",
            "--quiet",
            "-p",
            "attn-runtime",
            "--features",
            "dsp,fp16",
            "--target",
        ];
        let what = format!("runtime for {target}");
        tally.cargo(&what, &[&build[..], &[target]].concat(), &[]);
    }
    let mut model = None;
    tally.check("model", || {
        model = Some(demo::model()?.path);
        Ok(())
    });
    if let Some(model) = model {
        clippy_boards(&mut tally, &model);
    }
    tally.tests(all);
    tally.check("docs/results/cost.md", || cost::run(true));
    if all {
        tally.check("docs/results/systems.md", || systems::run(true));
        tally.check("digests", || digests::run(false));
    }
    for failure in &tally.failed {
        println!("failed: {failure}");
    }
    println!("{} passed, {} failed", tally.passed, tally.failed.len());
    if !tally.failed.is_empty() {
        // Prints no error, so that the count stays the last line.
        std::process::exit(1);
    }
    Ok(())
}

/// Lints the code for chips: every application on every board, and the test images.
fn clippy_boards(tally: &mut Tally, model: &Path) {
    let model = model.display().to_string();
    let mut lint = |package: &str, feature: &str, target: &str| {
        let clippy = [
            "clippy",
            "--quiet",
            "-p",
            package,
            "--bins",
            "--profile",
            "firmware",
        ];
        let built = ["--features", feature, "--target", target];
        let what = format!("clippy of {package} with {feature} for {target}");
        let arguments = [&clippy[..], &built, &DENY].concat();
        tally.cargo(&what, &arguments, &[("ATTN_MODEL", &model)]);
    };
    for board in BOARDS {
        for app in App::ALL {
            lint(board.name, app.name(), board.target);
        }
    }
    let [package, feature] = IMAGES;
    for core in [Core::M4, Core::M33] {
        lint(package, feature, core.board().target);
    }
}

#[cfg(test)]
mod tests {
    use super::results;

    #[test]
    fn results_of_cargo_test_are_read() {
        let line = "test result: FAILED. 6 passed; 1 failed; 0 ignored; 0 measured; 25 filtered out; finished in 0.09s";
        assert_eq!(results(line), Some((6, 1)));
        assert_eq!(results("test kws::tests::x ... ok"), None);
    }
}
