//! Chromium without a window: what a page is once a browser has laid it out, and a picture of it.

use crate::error::{LabError, io};
use crate::tools;
use std::path::Path;
use std::process::{Command, Stdio};

/// The program.
pub const PROGRAM: &str = "chromium";

/// How the reader's system looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// Dark text on light.
    Light,
    /// Light text on dark.
    Dark,
}

/// The document of a page of this width, with what its scripts did, as HTML.
///
/// # Errors
/// [`LabError::Browser`].
pub fn document(page: &Path, scheme: Scheme, width: u32) -> Result<String, LabError> {
    run(page, scheme, [width, 900], &["--dump-dom"])
}

/// Draws the top of a page into a PNG file.
///
/// # Errors
/// [`LabError::Browser`].
pub fn picture(page: &Path, scheme: Scheme, size: [u32; 2], png: &Path) -> Result<(), LabError> {
    let to = format!("--screenshot={}", png.display());
    run(page, scheme, size, &[&to, "--hide-scrollbars"]).map(drop)
}

fn run(
    page: &Path,
    scheme: Scheme,
    [width, height]: [u32; 2],
    arguments: &[&str],
) -> Result<String, LabError> {
    let failed = |reason: String| LabError::Browser { reason };
    let folder = tempfile::tempdir().map_err(io("a temporary folder"))?;
    let program = tools::command(PROGRAM).ok_or_else(|| failed("it is not installed".into()))?;
    let mut browser = Command::new(program);
    // An empty profile; no sandbox, because tests run as root in containers, and nothing from a network.
    browser
        .args(["--headless", "--no-sandbox", "--disable-gpu"])
        .args(["--host-resolver-rules=MAP * ~NOTFOUND", "--no-first-run"])
        .arg(format!("--user-data-dir={}", folder.path().display()))
        .arg(format!("--window-size={width},{height}"));
    if scheme == Scheme::Dark {
        browser.arg("--blink-settings=preferredColorScheme=0");
    }
    let page = std::path::absolute(page).map_err(io(page))?;
    let output = browser
        .args(arguments)
        .arg(format!("file://{}", page.display()))
        .stdin(Stdio::null())
        .output()
        .map_err(|error| failed(error.to_string()))?;
    if !output.status.success() {
        return Err(failed(String::from_utf8_lossy(&output.stderr).into_owned()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
