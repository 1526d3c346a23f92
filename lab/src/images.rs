//! Firmware images, built with Cargo.

use crate::emulator::Core;
use crate::workspace;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use thiserror::Error;

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
        bin: &'static str,
        /// What the compiler says.
        log: String,
    },
}

/// An image that the firmware crate has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Image<'m> {
    /// The application on the emulated Cortex-M4, with this model in it.
    QemuM4(&'m Path),
    /// The application on the Arduino Nano 33 BLE Sense, with this model in it.
    Nano33Ble(&'m Path),
    /// The decoding application on the emulated Cortex-M4, with this model in it.
    QemuDecode(&'m Path),
    /// The decoding application on the Arduino Nano 33 BLE Sense, with this model in it.
    Nano33BleDecode(&'m Path),
    /// The test image for an emulated core.
    Runner(Core),
    /// The image that compares the DSP body of the inner loop with the portable one.
    KernelCheck(Core),
    /// The image that compares half precision on the floating-point unit with the portable body.
    HalfCheck(Core),
    /// The runtime's public functions and nothing else, with this model: no panic may be linked.
    Panics(&'m Path),
}

impl Image<'_> {
    fn bin(&self) -> &'static str {
        match self {
            Self::QemuM4(_) => "qemu_m4",
            Self::Nano33Ble(_) => "nano33ble",
            Self::QemuDecode(_) => "qemu_decode",
            Self::Nano33BleDecode(_) => "nano33ble_decode",
            Self::Runner(_) => "emu_runner",
            Self::KernelCheck(_) => "kernel_check",
            Self::HalfCheck(_) => "half_check",
            Self::Panics(_) => "no_panic",
        }
    }

    fn features(&self) -> &'static str {
        match self {
            Self::QemuM4(_) => "qemu,spotter",
            Self::Panics(_) => "qemu,spotter,all-operators,fp16",
            Self::Nano33Ble(_) => "nano33ble",
            Self::QemuDecode(_) => "qemu,decoder",
            Self::Nano33BleDecode(_) => "nano33ble_decode",
            Self::Runner(core) | Self::KernelCheck(core) | Self::HalfCheck(core) => match core {
                Core::M4 | Core::M7 => "qemu,all-operators,fp16",
                Core::M33 => "an505,all-operators,fp16",
            },
        }
    }

    fn target(&self) -> &'static str {
        match self {
            Self::Runner(core) | Self::KernelCheck(core) | Self::HalfCheck(core) => core.target(),
            Self::QemuM4(_)
            | Self::Nano33Ble(_)
            | Self::QemuDecode(_)
            | Self::Nano33BleDecode(_)
            | Self::Panics(_) => Core::M4.target(),
        }
    }

    fn model(&self) -> Option<&Path> {
        match self {
            Self::QemuM4(model)
            | Self::Nano33Ble(model)
            | Self::QemuDecode(model)
            | Self::Nano33BleDecode(model)
            | Self::Panics(model) => Some(model),
            Self::Runner(_) | Self::KernelCheck(_) | Self::HalfCheck(_) => None,
        }
    }

    /// Builds the image and returns where it is. Test images are asked for before each of their many runs: Cargo sees to each
    /// once.
    ///
    /// # Errors
    /// [`BuildError`], with the compiler's words.
    pub fn build(&self) -> Result<PathBuf, BuildError> {
        static RUNNERS: Mutex<BTreeMap<&str, PathBuf>> = Mutex::new(BTreeMap::new());
        let Self::Runner(core) = self else {
            return self.compile();
        };
        // A panic elsewhere leaves the map whole.
        let mut runners = RUNNERS.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(path) = runners.get(core.target()) {
            return Ok(path.clone());
        }
        let path = self.compile()?;
        runners.insert(core.target(), path.clone());
        Ok(path)
    }

    fn compile(&self) -> Result<PathBuf, BuildError> {
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
        cargo
            .current_dir(workspace::root())
            .args([
                "build",
                "--quiet",
                "--profile",
                "firmware",
                "-p",
                "attn-firmware",
            ])
            .args(["--bin", self.bin(), "--features", self.features()])
            .args(["--target", self.target()])
            .args(["--message-format", "json-render-diagnostics"])
            .stdin(Stdio::null());
        if let Self::KernelCheck(_) | Self::HalfCheck(_) = self {
            // Generic kernels are compiled with the image: as the runtime is, not for size.
            cargo.args(["--config", "profile.firmware.opt-level=3"]);
        }
        if let Some(model) = self.model() {
            cargo.env("ATTN_MODEL", model);
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

/// The last executable that Cargo says it built.
pub(crate) fn executable(messages: &[u8]) -> Option<PathBuf> {
    let lines = messages.split(|&byte| byte == b'\n');
    lines
        .filter_map(|line| serde_json::from_slice::<Message>(line).ok()?.executable)
        .next_back()
}

/// What of Cargo's messages is of interest.
#[derive(Deserialize)]
struct Message {
    executable: Option<PathBuf>,
}
