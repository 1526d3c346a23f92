//! Firmware images, built with Cargo.

use crate::boards::{App, BOARDS, Board};
use crate::emulator::Core;
use crate::{tools, workspace};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use thiserror::Error;

/// Package of the test images, and the feature that they need.
pub const IMAGES: [&str; 2] = ["attn-images", "chip"];
/// Package of the images around a user's model, and the feature that they need.
pub const BENCH: [&str; 2] = ["attn-bench", "model"];

/// The profile of what is flashed.
const PROFILE: &str = "firmware";

/// Why an image cannot be built.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BuildError {
    /// Cargo cannot be started.
    #[error("cannot start cargo: {0}")]
    NoCargo(std::io::Error),
    /// The build failed.
    #[error(
        "building {bin} failed (is its target installed? `cargo xtask setup` sees to that):\n{log}"
    )]
    Failed {
        /// The image.
        bin: String,
        /// The compiler's error.
        log: String,
    },
}

/// An image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Image<'m> {
    /// A board's image of an application, with this model in it.
    App(Board, App, &'m Path),
    /// The test image for an emulated core.
    Runner(Core),
    /// Compares the DSP bodies of the innermost loops with the portable ones.
    KernelCheck(Core),
    /// Compares half precision on the floating-point unit with the portable body.
    HalfCheck(Core),
    /// The public functions of the runtime and of the slots and nothing else: no panic may be linked.
    Panics,
    /// Marks what each operator of this model executes on a core.
    Measured(Core, &'m Path),
    /// The smallest program around this model.
    Smallest(Core, &'m Path),
    /// Receives signed models into two slots.
    Update(Core),
}

impl<'m> Image<'m> {
    /// Keyword spotting on the emulated Cortex-M4, with this model in it.
    pub fn keyword(model: &'m Path) -> Self {
        Self::App(BOARDS[0], App::Keyword, model)
    }

    /// Decoding on the emulated Cortex-M4, with this model in it.
    pub fn decode(model: &'m Path) -> Self {
        Self::App(BOARDS[0], App::Decode, model)
    }

    fn bin(&self) -> String {
        match self {
            Self::App(board, app, _) => return format!("{}-{}", board.name, app.name()),
            Self::Runner(_) => "emu_runner",
            Self::KernelCheck(_) => "kernel_check",
            Self::HalfCheck(_) => "half_check",
            Self::Panics => "no_panic",
            Self::Measured(..) => "measured",
            Self::Smallest(..) => "smallest",
            Self::Update(_) => "update",
        }
        .into()
    }

    /// Package and feature.
    fn package(&self) -> [&'static str; 2] {
        match self {
            Self::App(board, app, _) => [board.name, app.name()],
            Self::Measured(..) | Self::Smallest(..) => BENCH,
            _ => IMAGES,
        }
    }

    fn target(&self) -> &'static str {
        match self {
            Self::App(board, ..) => board.target,
            Self::Runner(core)
            | Self::KernelCheck(core)
            | Self::HalfCheck(core)
            | Self::Update(core)
            | Self::Measured(core, _)
            | Self::Smallest(core, _) => core.target(),
            Self::Panics => Core::M4.target(),
        }
    }

    /// Builds the image and returns its path. Test images are requested before each of their many runs; Cargo builds each only
    /// once.
    ///
    /// # Errors
    /// [`BuildError`], with the compiler's message.
    pub fn build(&self) -> Result<PathBuf, BuildError> {
        static RUNNERS: Mutex<BTreeMap<&str, PathBuf>> = Mutex::new(BTreeMap::new());
        let Self::Runner(core) = self else {
            return self.compile(false, PROFILE, &[]);
        };
        // A panic elsewhere does not damage the map.
        let mut runners = RUNNERS.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(path) = runners.get(core.target()) {
            return Ok(path.clone());
        }
        let path = self.compile(false, PROFILE, &[])?;
        runners.insert(core.target(), path.clone());
        Ok(path)
    }

    /// [`Self::build`] with the sizes of frames noted, for [`crate::stack::bound`]. The code is the same.
    ///
    /// # Errors
    /// [`BuildError`], with the compiler's message.
    pub fn build_bounded(&self) -> Result<PathBuf, BuildError> {
        // The option is one of nightly compilers. A profile of its own keeps both builds.
        let variables = [
            ("RUSTC_BOOTSTRAP", "1"),
            ("RUSTFLAGS", "-Zemit-stack-sizes"),
        ];
        self.compile(false, "bounded", &variables)
    }

    /// [`Self::build`] with Cargo's progress and messages on the terminal.
    ///
    /// # Errors
    /// [`BuildError`], without the compiler's message.
    pub fn build_aloud(&self) -> Result<PathBuf, BuildError> {
        self.compile(true, PROFILE, &[])
    }

    fn compile(
        &self,
        aloud: bool,
        profile: &str,
        variables: &[(&str, &str)],
    ) -> Result<PathBuf, BuildError> {
        let [package, feature] = self.package();
        let mut cargo = Command::new(tools::cargo());
        cargo
            .current_dir(workspace::root())
            .args(["build", "--profile", profile, "-p", package])
            .args(["--bin", &self.bin(), "--features", feature])
            .args(["--target", self.target()])
            .args(["--message-format", "json-render-diagnostics"])
            .envs(variables.iter().copied())
            .stdin(Stdio::null());
        if aloud {
            cargo.stderr(Stdio::inherit());
        } else {
            cargo.arg("--quiet");
        }
        if let Self::App(_, _, model) = self {
            cargo.env("ATTN_MODEL", model);
        }
        if let Self::Measured(core, model) | Self::Smallest(core, model) = self {
            cargo.env("ATTN_MODEL", model);
            cargo.env("ATTN_MEMORY", core.memory().path);
        }
        let output = cargo.output().map_err(BuildError::NoCargo)?;
        let failed = || BuildError::Failed {
            bin: self.bin(),
            log: String::from_utf8_lossy(&output.stderr).into_owned(),
        };
        if !output.status.success() {
            return Err(failed());
        }
        executable(&output.stdout).ok_or_else(failed)
    }
}

/// The last executable in Cargo's messages.
pub(crate) fn executable(messages: &[u8]) -> Option<PathBuf> {
    let lines = messages.split(|&byte| byte == b'\n');
    let mut paths = lines.filter_map(|line| {
        let message: serde_json::Value = serde_json::from_slice(line).ok()?;
        Some(PathBuf::from(message.get("executable")?.as_str()?))
    });
    paths.next_back()
}
