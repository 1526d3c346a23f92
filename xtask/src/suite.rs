//! `cargo xtask suite`: ONNX's own operator tests (`host-tests/onnx_node_suite`) through `attn`. Fewer passes than the guide names, a panic or a run that
//! does not come back is an error.

use crate::{TaskResult, python};
use attn_lab::{model, workspace};
use std::path::Path;
use std::process::Command;

/// Arguments of the script, and how many tests pass at least, as docs/guide/convert.md says.
const RUNS: [(&[&str], &str); 3] = [
    (&["--dtype", "fp16"], "504"),
    (&["--dtype", "int8", "--floor", "25"], "504"),
    (&["--dtype", "fp16", "--live"], "479"),
];

/// Runs the suite three times: in half precision, in int8, and with every float input live.
pub fn run() -> TaskResult {
    let python = python::with("python", &["numpy", "onnx"])?;
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
