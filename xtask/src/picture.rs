//! `cargo xtask picture`: docs/guide/bench.png, the top of the page that `attn bench --report` writes.

use crate::{TaskResult, setup};
use attn_lab::browser::{self, Scheme};
use attn_lab::{model, workspace};
use std::process::Command;

/// What the guide shows: a model as a user has it, with its calibration data.
const ARGUMENTS: [&str; 5] = [
    "bench",
    "examples/motion/model/imu.onnx",
    "--calibrate",
    "examples/motion/model/cal.npz",
    "--report",
];
/// Pixels of the picture.
const SIZE: [u32; 2] = [1060, 1500];

/// Draws it.
pub fn run() -> TaskResult {
    setup::browser()?;
    let folder = tempfile::tempdir()?;
    let page = folder.path().join("motion.html");
    let mut attn = Command::new(model::command()?);
    attn.current_dir(workspace::root());
    attn.args(ARGUMENTS).arg(&page);
    if !attn.status()?.success() {
        return Err("attn bench failed".into());
    }
    let picture = workspace::root().join("docs/guide/bench.png");
    browser::picture(&page, Scheme::Light, SIZE, &picture)?;
    println!("wrote {}", picture.display());
    Ok(())
}
