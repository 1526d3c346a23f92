//! The table of boards, for code that builds, checks or runs images: one line for each folder under `firmware/boards/`.

use crate::error::{LabError, io};
use crate::workspace;
use std::ops::Range;
use std::path::PathBuf;

/// The boards. A new folder needs one line here.
pub const BOARDS: [Board; 3] = [
    Board::new("mps2-an386", "thumbv7em-none-eabihf"),
    Board::new("mps2-an505", "thumbv8m.main-none-eabihf"),
    Board::new("nano33ble", "thumbv7em-none-eabihf"),
];

/// A board.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Board {
    /// Its folder under `firmware/boards/`, the name of the package there, and the start of its images' names.
    pub name: &'static str,
    /// The compiler's name of the target.
    pub target: &'static str,
}

/// An application with an image for each board.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum App {
    /// Keyword spotting.
    Keyword,
    /// Decoding.
    Decode,
}

impl App {
    /// Every application.
    pub const ALL: [Self; 2] = [Self::Keyword, Self::Decode];

    /// The board's feature, and the end of the image's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Keyword => "keyword",
            Self::Decode => "decode",
        }
    }
}

impl Board {
    const fn new(name: &'static str, target: &'static str) -> Self {
        Self { name, target }
    }

    /// The folder.
    pub fn folder(&self) -> PathBuf {
        workspace::root().join("firmware/boards").join(self.name)
    }

    /// Its memory map.
    pub fn memory(&self) -> MemoryMap {
        MemoryMap::new(self.folder())
    }
}

/// A file `memory.x` for the linker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryMap {
    /// The file.
    pub path: PathBuf,
}

impl MemoryMap {
    /// The map in this folder.
    pub(crate) fn new(folder: PathBuf) -> Self {
        let path = folder.join("memory.x");
        Self { path }
    }

    /// Addresses of flash and of RAM.
    ///
    /// # Errors
    /// [`LabError::Io`], [`LabError::BadMap`].
    pub fn regions(&self) -> Result<[Range<u64>; 2], LabError> {
        let path = &self.path;
        let map = std::fs::read_to_string(path).map_err(io(path))?;
        let region = |name: &str| {
            let mut lines = map.lines();
            let line = lines.find(|line| line.trim_start().starts_with(name))?;
            let (_, values) = line.split_once("ORIGIN = 0x")?;
            let (origin, values) = values.split_once(',')?;
            let origin = u64::from_str_radix(origin.trim(), 16).ok()?;
            let len = length(values.split_once("LENGTH =")?.1.trim())?;
            Some(origin..origin + len)
        };
        let found = region("FLASH").zip(region("RAM"));
        found
            .map(<[Range<u64>; 2]>::from)
            .ok_or_else(|| LabError::BadMap(path.clone()))
    }

    /// Bytes of flash and of RAM.
    ///
    /// # Errors
    /// [`LabError::Io`], [`LabError::BadMap`].
    pub fn lengths(&self) -> Result<[u64; 2], LabError> {
        let regions = self.regions()?;
        Ok(regions.map(|region| region.end - region.start))
    }
}

/// Bytes of a length such as `960K`.
fn length(text: &str) -> Option<u64> {
    let (number, unit) = text.split_at(text.len().checked_sub(1)?);
    let shift = match unit {
        "K" => 10,
        "M" => 20,
        _ => return None,
    };
    Some(number.parse::<u64>().ok()? << shift)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::emulator::Core;

    #[test]
    fn every_folder_has_its_line() {
        let folder = workspace::root().join("firmware/boards");
        let entries = std::fs::read_dir(folder).unwrap().flatten();
        let boards = entries.filter(|entry| entry.path().join("Cargo.toml").exists());
        let mut found: Vec<_> = boards.map(|board| board.file_name()).collect();
        found.sort();
        assert_eq!(found, BOARDS.map(|board| board.name));
    }

    #[test]
    fn memory_maps_are_read() {
        let nano = BOARDS
            .iter()
            .find(|board| board.name == "nano33ble")
            .unwrap();
        assert_eq!(nano.memory().lengths().unwrap(), [960 << 10, 256 << 10]);
        assert!(BOARDS.iter().all(|board| board.memory().lengths().is_ok()));
    }

    /// Cargo reads its aliases and runners from a file that cannot refer to the table.
    #[test]
    fn cargo_s_settings_agree_with_the_table() {
        let text = std::fs::read_to_string(workspace::root().join(".cargo/config.toml")).unwrap();
        for (_, package) in text
            .match_indices("\"--package\", \"")
            .map(|(at, m)| text[at..].split_at(m.len()))
        {
            let name = package.split('"').next().unwrap();
            assert!(BOARDS.iter().any(|board| board.name == name), "{name}");
        }
        for core in [Core::M4, Core::M33] {
            let mut runners = text.split("[target.").skip(1);
            let runner = runners.find(|part| part.contains(core.target())).unwrap();
            assert!(runner.contains(core.board().unwrap().name), "{core:?}");
        }
    }
}
