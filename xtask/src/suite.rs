//! `cargo xtask suite`: ONNX's own operator tests (`host-tests/onnx_node_suite`) through `attn`. Fewer passes than the guide names, a panic or a run that
//! does not come back is an error.

use crate::TaskResult;
use attn_lab::{model, tools, workspace};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Arguments of the script, and how many tests pass at least, as docs/guide/convert.md says.
const RUNS: [(&[&str], &str); 3] = [
    (&["--dtype", "fp16"], "496"),
    (&["--dtype", "int8", "--floor", "25"], "496"),
    (&["--dtype", "fp16", "--live"], "467"),
];
/// Python with onnx and numpy; the variable names another one.
const PYTHON: &str = "python3";
const VARIABLE: &str = "ATTN_PYTHON";

/// Runs the suite three times: in half precision, in int8, and with every float input live.
pub fn run() -> TaskResult {
    let python = python()?;
    let (attn, work) = (model::command()?, tempfile::tempdir()?);
    let script = workspace::root().join("host-tests/onnx_node_suite/suite.py");
    for (arguments, least) in RUNS {
        let status = Command::new(&python)
            .arg(&script)
            .arg("--attn")
            .arg::<&Path>(&attn)
            .args(arguments)
            .args(["--least", least])
            .arg(work.path())
            .status()?;
        if !status.success() {
            return Err(
                format!("fewer than {least} tests pass with {}", arguments.join(" ")).into(),
            );
        }
    }
    Ok(())
}

/// A Python with onnx and numpy: the one that the variable names, the one on the search path, or an environment in the build folder, which
/// is made for it.
fn python() -> Result<PathBuf, Box<dyn std::error::Error>> {
    let own = tools::folder("python").join("bin/python");
    let named = std::env::var_os(VARIABLE).map_or(PYTHON.into(), PathBuf::from);
    let known = [named.clone(), own.clone()];
    if let Some(python) = known.into_iter().find(|python| has_onnx(python)) {
        return Ok(python);
    }
    println!(
        "installing onnx and numpy into {}",
        tools::folder("python").display()
    );
    let done = |command: &mut Command| command.status().is_ok_and(|status| status.success());
    let made =
        done(
            Command::new(&named)
                .args(["-m", "venv"])
                .arg(tools::folder("python")),
        ) && done(Command::new(&own).args(["-m", "pip", "install", "--quiet", "onnx", "numpy"]));
    match made && has_onnx(&own) {
        true => Ok(own),
        false => Err(format!(
            "onnx and numpy cannot be installed: `pip install onnx numpy`, and name that Python in {VARIABLE}"
        )
        .into()),
    }
}

fn has_onnx(python: &Path) -> bool {
    let mut command = Command::new(python);
    command.args(["-c", "import numpy, onnx"]);
    let status = command.stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}
