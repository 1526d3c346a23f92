//! Models of 870 bytes that differ, and a policy that knows their versions without signatures.

use attn_runtime::format::{EntryRecord, Header, checksum};
use attn_runtime::{Limits, Model, ModelError, Operators};
use attn_slots::{Policy, Unsigned};
use std::fmt;
use zerocopy::FromBytes;

/// The tiny model, whose first entry point's name begins with a letter that is its version.
pub fn model(version: u8) -> Vec<u8> {
    assert!(version.is_ascii_lowercase());
    let mut file = include_bytes!("../../../runtime/tests/tiny.attn").to_vec();
    let (header, _) = Header::read_from_prefix(&file).unwrap();
    let entries = header.entries.offset as usize;
    let (first, _) = EntryRecord::read_from_prefix(&file[entries..]).unwrap();
    // The name's length is before it.
    file[(header.strings.offset + first.name) as usize + 2] = version;
    sealed(file)
}

/// The file with a checksum that fits.
pub fn sealed(mut file: Vec<u8>) -> Vec<u8> {
    let sum = checksum(&file);
    file[12..16].copy_from_slice(&sum.to_le_bytes());
    file
}

/// Accepts versions from the oldest on.
pub struct Versions;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    Model(ModelError),
    Older,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

/// Every model.
pub fn unsigned() -> Unsigned {
    Unsigned {
        operators: Operators::all(),
        limits: Limits::default(),
    }
}

impl Policy for Versions {
    type Refusal = Refusal;

    fn check<'f>(&self, file: &'f [u8], oldest: u32) -> Result<Model<'f>, Refusal> {
        let model = unsigned().check(file, oldest).map_err(Refusal::Model)?;
        let newer = self.version(&model) >= oldest;
        newer.then_some(model).ok_or(Refusal::Older)
    }

    fn version(&self, model: &Model<'_>) -> u32 {
        let name = model.name(model.entries()[0].name);
        name.as_bytes()[0].into()
    }
}
