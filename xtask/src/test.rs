//! `cargo xtask test`: checks and tests, one after the other; counts them at the end. With `--all` also those that take long.

use crate::{TaskResult, cost, digests, probe, python, setup, suite, supply, systems};
use attn_lab::boards::{App, BOARDS};
use attn_lab::emulator::Core;
use attn_lab::images::{BENCH, IMAGES};
use attn_lab::model::Shipped;
use attn_lab::workspace;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

/// Crates that are made for others.
const PUBLISHED: &str =
    " -p attn-runtime -p attn-recordings -p attn-converter -p attn-app -p attn-lab -p attn-cli";

/// What passed and what did not.
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

    fn cargo(&mut self, what: &str, arguments: &str, variables: &[(&str, &str)]) {
        self.check(what, || {
            let status = cargo(arguments, variables).status()?;
            let failed = || format!("cargo {arguments} failed");
            status.success().then_some(()).ok_or_else(failed)?;
            Ok(())
        });
    }

    /// Runs `cargo test`, shows what it prints and adds up its results. Tests that take long are marked as ignored.
    fn tests(&mut self, all: bool) {
        println!("\n== tests");
        let mut arguments = String::from("test --workspace --no-fail-fast");
        if all {
            arguments += " -- --include-ignored";
            if !workspace::speech().join("manifest.csv").exists() {
                println!(
                    "no recordings in {}: not tested on them",
                    workspace::speech().display()
                );
                arguments += " --skip real_recordings";
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

/// Cargo with arguments that have no spaces.
fn cargo(arguments: &str, variables: &[(&str, &str)]) -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
    cargo
        .current_dir(workspace::root())
        .args(arguments.split(' '))
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

/// Runs the checks and tests, with `all` those that take long, too; the last line that it prints is `N passed, N failed`.
pub fn run(all: bool) -> TaskResult {
    let mut tally = Tally::default();
    tally.check("set-up", || Ok(setup::run()?));
    if all {
        tally.check("browser", || Ok(setup::browser()?));
        tally.check("generator", || Ok(setup::generator()?));
    }
    let clippy = "clippy --quiet --workspace --all-targets -- -D warnings";
    let doc = "doc --quiet --workspace --no-deps --document-private-items";
    let bare = "clippy --quiet -p attn-runtime --no-default-features -- -D warnings";
    tally.cargo("format", "fmt --all --check", &[]);
    tally.cargo("clippy", clippy, &[]);
    tally.cargo("documentation", doc, &[("RUSTDOCFLAGS", "-D warnings")]);
    tally.cargo("runtime without features", bare, &[]);
    for target in setup::TARGETS {
        // The sizes of the structs of C are checked, too.
        let build = "build --quiet -p attn-c --features fp16,signed --target";
        tally.cargo(
            &format!("runtime and C library for {target}"),
            &format!("{build} {target}"),
            &[],
        );
    }
    tally.cargo(
        "packages",
        &format!("package --quiet --allow-dirty --no-verify{PUBLISHED}"),
        &[],
    );
    clippy_boards(&mut tally, &Shipped::Keywords.path());
    tally.tests(all);
    tally.check("docs/results/cost.md", || cost::run(true));
    if all {
        tally.check("the oldest Rust for the runtime", oldest_rust);
        let publish = format!("publish --dry-run --quiet --allow-dirty{PUBLISHED}");
        tally.cargo("publishing", &publish, &[]);
        tally.check("licences and advisories", supply::deny);
        tally.check("Miri", probe::miri);
        tally.check("docs/results/systems.md", || systems::run(true));
        tally.check("digests", || digests::run(false));
        tally.check("ONNX's operator tests", suite::run);
        tally.check("Python package", python::run);
    }
    for failure in &tally.failed {
        println!("failed: {failure}");
    }
    println!("{} passed, {} failed", tally.passed, tally.failed.len());
    if !tally.failed.is_empty() {
        // Not an error to be printed: the count stays the last line.
        std::process::exit(1);
    }
    Ok(())
}

/// Checks that the runtime compiles with the `rust-version` that it states.
fn oldest_rust() -> TaskResult {
    let manifest = std::fs::read_to_string(workspace::root().join("runtime/Cargo.toml"))?;
    let stated = manifest
        .lines()
        .find_map(|line| line.strip_prefix("rust-version = "));
    let version = stated.ok_or("runtime/Cargo.toml states no rust-version")?;
    let version = version.trim_matches('"');
    let mut install = Command::new("rustup");
    install.args([
        "toolchain",
        "install",
        version,
        "--profile",
        "minimal",
        "--no-self-update",
    ]);
    if !install.status()?.success() {
        return Err(
            format!("`rustup toolchain install {version}` failed; is there a network?").into(),
        );
    }
    // Cargo of that version, and not the one that started this program.
    let mut check = Command::new("rustup");
    check
        .current_dir(workspace::root())
        .args([
            "run",
            version,
            "cargo",
            "check",
            "--quiet",
            "-p",
            "attn-runtime",
        ])
        .args(["--features", "dsp,fp16,signed", "--target-dir"])
        .arg(workspace::build_folder()?.join("oldest"))
        .env_remove("RUSTC")
        .env_remove("CARGO");
    match check.status()?.success() {
        true => Ok(()),
        false => Err(format!("attn-runtime does not compile with Rust {version}").into()),
    }
}

/// Lints what is built for chips: every application on every board, and the test images.
fn clippy_boards(tally: &mut Tally, model: &Path) {
    let model = model.display().to_string();
    let memory = Core::M4.memory().path.display().to_string();
    let mut lint = |package: &str, feature: &str, target: &str| {
        let what = format!("clippy of {package} with {feature} for {target}");
        let arguments = format!(
            "clippy --quiet -p {package} --bins --profile firmware --features {feature} --target {target} -- -D warnings"
        );
        let variables = [("ATTN_MODEL", &*model), ("ATTN_MEMORY", &*memory)];
        tally.cargo(&what, &arguments, &variables);
    };
    for board in BOARDS {
        for app in App::ALL {
            lint(board.name, app.name(), board.target);
        }
    }
    // The one board with a counter.
    lint("nano33ble", "profile", Core::M4.target());
    for [package, feature] in [IMAGES, BENCH] {
        for core in [Core::M4, Core::M33] {
            lint(package, feature, core.target());
        }
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
