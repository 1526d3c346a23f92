//! What CMSIS-NN takes on the emulated Cortex-M4, built from sources that the user has: nothing of it is in this repository. Beside it what
//! has been published of the same networks on silicon.

use crate::cost::group;
use crate::emulator::{Core, Emulator, Flash, Region};
use crate::error::{LabError, io};
use crate::table::Figures;
use crate::workspace;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use thiserror::Error;

const PROGRAM: &str = include_str!("../peers/cmsis_nn.c");
const LINKER: &str = include_str!("../peers/peers.ld");
const COMPILER: &str = "arm-none-eabi-gcc";
const FLAGS: [&str; 11] = [
    "-O3",
    "-mcpu=cortex-m4",
    "-mthumb",
    "-mfpu=fpv4-sp-d16",
    "-mfloat-abi=hard",
    "-ffunction-sections",
    "-fdata-sections",
    "-nostartfiles",
    "-Wl,--gc-sections",
    "-Wl,-T,peers.ld",
    "cmsis_nn.c",
];

/// Wait states of the STM32L4R5 at 120 MHz, and bytes of a line of its flash.
const L4R5: (u32, u32) = (5, 16);

/// Networks of MLPerf Tiny with CMSIS-NN's kernels (microTVM, round 1.1, Krai; closed division): inferences a second on a NUCLEO-L4R5ZI
/// (Cortex-M4, 120 MHz) and on an nRF5340-DK (Cortex-M33, 128 MHz). <https://github.com/mlcommons/tiny_results_v1.1>
const PUBLISHED: [(&str, [f64; 2]); 4] = [
    ("anomaly detection", [116.212, 159.020]),
    ("image classification", [2.567, 3.146]),
    ("keyword spotting", [10.019, 13.074]),
    ("person detection", [3.324, 4.286]),
];
const CLOCKS: [f64; 2] = [120e6, 128e6];

/// Why there is no program with CMSIS-NN.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PeersError {
    /// The folder is not CMSIS-NN's.
    #[error(
        "{0}: no Include/arm_nnfunctions.h: name a checkout of https://github.com/ARM-software/CMSIS-NN"
    )]
    NoSources(PathBuf),
    /// The compiler cannot be started.
    #[error("no {COMPILER}: install gcc-arm-none-eabi with newlib: {0}")]
    NoCompiler(std::io::Error),
    /// The compiler refused.
    #[error("{COMPILER} cannot build CMSIS-NN:\n{0}")]
    Failed(String),
}

/// Counts of CMSIS-NN, without wait states and with those of a board.
#[derive(Clone, Debug)]
pub struct Peers {
    kernels: Vec<[Region; 2]>,
    networks: Vec<[Region; 2]>,
}

/// Builds CMSIS-NN from `sources` and counts its kernels and networks.
///
/// # Errors
/// [`LabError::Peers`]; those of the emulator.
pub fn measure(sources: &Path) -> Result<Peers, LabError> {
    let folder = tempfile::tempdir().map_err(io("a temporary folder"))?;
    let image = build(sources, folder.path())?;
    let [flash, _] = Core::M4.memory().regions()?;
    let emulator = Emulator::new(Core::M4).counting();
    let (wait_states, line) = L4R5;
    let waiting = emulator.clone().waiting_for(Flash {
        range: flash,
        line,
        wait_states,
    });
    let [fast, slow] = [emulator, waiting].map(|e| e.run(&image, &[], folder.path()));
    let pairs = fast?.regions.into_iter().zip(slow?.regions);
    let published = |region: &Region| PUBLISHED.iter().any(|(name, _)| *name == region.name);
    let (networks, kernels) = pairs
        .map(<[Region; 2]>::from)
        .partition(|[r, _]| published(r));
    Ok(Peers { kernels, networks })
}

fn build(sources: &Path, folder: &Path) -> Result<PathBuf, LabError> {
    let include = sources.join("Include");
    if !include.join("arm_nnfunctions.h").is_file() {
        return Err(PeersError::NoSources(sources.into()).into());
    }
    for (name, text) in [("cmsis_nn.c", PROGRAM), ("peers.ld", LINKER)] {
        let path = folder.join(name);
        std::fs::write(&path, text).map_err(io(path))?;
    }
    let mut files = Vec::new();
    c_files(&sources.join("Source"), &mut files)?;
    let absolute = |path: &Path| std::path::absolute(path).map_err(io(path));
    let files = files.iter().map(|file| absolute(file));
    let files = files.collect::<Result<Vec<_>, _>>()?;
    let image = folder.join("peers");
    let output = Command::new(COMPILER)
        .current_dir(folder)
        .args(FLAGS)
        .arg("-I")
        .arg(absolute(&include)?)
        .args(files)
        .arg("-o")
        .arg(&image)
        .output()
        .map_err(PeersError::NoCompiler)?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(PeersError::Failed(said).into());
    }
    Ok(image)
}

/// The C files below a folder, without those for floating point and for Python.
fn c_files(folder: &Path, found: &mut Vec<PathBuf>) -> Result<(), LabError> {
    let entries = std::fs::read_dir(folder).map_err(io(folder))?;
    for entry in entries {
        let path = entry.map_err(io(folder))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.is_dir() && name != "Bindings" {
            c_files(&path, found)?;
        } else if name.ends_with(".c") && !name.contains("f16") && !name.contains("f32") {
            found.push(path);
        }
    }
    found.sort();
    Ok(())
}

/// Counts in `host-tests/fixtures/cycles.txt`: estimated cycles by name.
fn ours() -> Result<BTreeMap<String, u64>, LabError> {
    let path = workspace::root().join("host-tests/fixtures/cycles.txt");
    let text = std::fs::read_to_string(&path).map_err(io(&path))?;
    let line = |line: &str| {
        let mut fields = line.split('\t');
        Some((fields.next()?.to_owned(), fields.nth(1)?.parse().ok()?))
    };
    Ok(text.lines().filter_map(line).collect())
}

impl Peers {
    /// Kernels beside attn's, as Markdown.
    ///
    /// # Errors
    /// [`LabError::Io`] without the list of attn's counts.
    pub fn kernels(&self) -> Result<String, LabError> {
        let ours = ours()?;
        let rows = self.kernels.iter().map(|[region, _]| {
            let own = ours.get(&region.name).copied();
            let ratio = own.map(|own| region.cycles as f64 / own as f64);
            [
                region.name.clone(),
                group(region.instructions),
                group(region.cycles),
                own.map_or_else(String::new, group),
                ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}")),
            ]
        });
        let heading = [
            "kernel",
            "CMSIS-NN, instructions",
            "cycles",
            "attn, cycles",
            "ratio",
        ];
        Ok(Figures::new(heading, rows.collect()).markdown())
    }

    /// Networks beside silicon, as Markdown.
    pub fn networks(&self) -> String {
        let rows = self.networks.iter().map(|[fast, slow]| {
            let published = PUBLISHED.iter().find(|(name, _)| *name == fast.name);
            let rates = published.map_or([f64::NAN; 2], |(_, rates)| *rates);
            let [m4, m33] = [0, 1].map(|i| CLOCKS[i] / rates[i]);
            let ratio =
                |silicon: f64, region: &Region| format!("{:.2}", silicon / region.cycles as f64);
            [
                fast.name.clone(),
                group(fast.cycles),
                group(slow.cycles),
                group(m4 as u64),
                ratio(m4, fast),
                ratio(m4, slow),
                group(m33 as u64),
                ratio(m33, fast),
            ]
        });
        let heading = [
            "network",
            "estimate",
            "with 5 wait states, no cache",
            "silicon, Cortex-M4",
            "silicon over estimate",
            "over that with wait states",
            "silicon, Cortex-M33",
            "over estimate",
        ];
        Figures::new(heading, rows.collect()).markdown()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_without_the_sources_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let error = measure(folder.path()).unwrap_err().to_string();
        assert!(error.contains("name a checkout"), "{error}");
    }

    #[test]
    fn every_kernel_has_its_like_in_the_list() {
        let ours = ours().unwrap();
        let names = PROGRAM.lines().filter_map(|line| {
            let name = line.trim().strip_prefix("COUNT(\"")?.split('"').next()?;
            (!PUBLISHED.iter().any(|(network, _)| *network == name)).then_some(name)
        });
        let names: Vec<&str> = names.collect();
        assert!(names.len() >= 13);
        for name in names {
            assert!(ours.contains_key(name), "{name}");
        }
    }
}
