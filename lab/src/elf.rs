//! Reads firmware images: sizes, symbols.

use object::{Object, ObjectSection, ObjectSymbol, SectionKind};
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Why an image cannot be read.
#[derive(Debug, Error)]
#[error("{path}: {reason}")]
pub struct ElfError {
    /// The image.
    pub path: PathBuf,
    /// The error.
    pub reason: String,
}

/// Bytes of an image by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// Instructions and the vector table, in flash.
    pub code: u64,
    /// Constants and initial values, in flash.
    pub constants: u64,
    /// Static variables, in RAM.
    pub variables: u64,
}

/// A function or variable of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Symbol {
    /// Name as in the source.
    pub name: String,
    /// Address, without the Thumb bit.
    pub address: u64,
    /// Size in bytes.
    pub size: u64,
}

/// A firmware image.
#[derive(Debug)]
pub struct Image {
    /// Bytes by kind.
    pub sizes: Sizes,
    /// Named functions and variables, by address.
    pub symbols: Vec<Symbol>,
    /// Instructions: all sections of machine code, one after the other.
    pub code: Vec<u8>,
}

impl Image {
    /// Reads an image.
    ///
    /// # Errors
    /// [`ElfError`].
    pub fn read(path: &Path) -> Result<Self, ElfError> {
        let fail = |reason: String| ElfError {
            path: path.into(),
            reason,
        };
        let bytes = std::fs::read(path).map_err(|error| fail(error.to_string()))?;
        let file = object::File::parse(&*bytes).map_err(|error| fail(error.to_string()))?;
        let (mut sizes, mut code) = (Sizes::default(), Vec::new());
        for section in file.sections() {
            let len = section.size();
            match section.kind() {
                SectionKind::Text => {
                    sizes.code += len;
                    code.extend_from_slice(section.data().unwrap_or_default());
                }
                // cortex-m-rt's vector table is data to the linker.
                SectionKind::ReadOnlyData if section.name() == Ok(".vector_table") => {
                    sizes.code += len;
                }
                SectionKind::ReadOnlyData | SectionKind::ReadOnlyString => sizes.constants += len,
                SectionKind::Data => {
                    sizes.constants += len;
                    sizes.variables += len;
                }
                SectionKind::UninitializedData => sizes.variables += len,
                _ => {}
            }
        }
        let mut symbols: Vec<Symbol> = file
            .symbols()
            .filter(|symbol| symbol.is_definition() && symbol.size() > 0)
            .filter_map(|symbol| {
                Some(Symbol {
                    name: format!("{:#}", rustc_demangle::demangle(symbol.name().ok()?)),
                    address: symbol.address() & !1,
                    size: symbol.size(),
                })
            })
            .collect();
        symbols.sort_by_key(|symbol| symbol.address);
        Ok(Self {
            sizes,
            symbols,
            code,
        })
    }

    /// Address of the symbol of exactly this name.
    pub fn address(&self, name: &str) -> Option<u64> {
        let symbol = self.symbols.iter().find(|symbol| symbol.name == name)?;
        Some(symbol.address)
    }

    /// Names of the panicking functions that were linked.
    pub fn panics(&self) -> Vec<&str> {
        let names = self.symbols.iter().map(|symbol| symbol.name.as_str());
        names.filter(|name| name.contains("panicking::")).collect()
    }
}
