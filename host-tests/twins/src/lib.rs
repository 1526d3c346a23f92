//! Fixtures that share their weights with another file: the same model by PyTorch's other exporter, say. `NAME.twin` is committed and says how
//! `NAME` is put together from that file; `NAME` is made beside it when a test first asks for it, and git ignores it. `host-tests/fixtures/twins.py`
//! makes the twins. What the fixtures are is not known here.
#![forbid(unsafe_code)]

use flate2::{Crc, read::ZlibDecoder};
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use thiserror::Error;

/// What a twin begins with: the format's name and version.
const MAGIC: &[u8] = b"ATTNTWIN1";

/// Why a fixture cannot be made.
#[derive(Debug, Error)]
pub enum TwinError {
    /// A file cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The twin is no twin.
    #[error("{0}: not a twin: `python host-tests/fixtures/twins.py` makes it anew")]
    Damaged(PathBuf),
    /// What comes out is not what the twin was made from.
    #[error(
        "{path}: it does not fit {base}, which has changed: `python host-tests/fixtures/twins.py` makes it anew"
    )]
    OtherBase {
        /// The twin.
        path: PathBuf,
        /// What it is made from.
        base: PathBuf,
    },
}

fn io(path: &Path) -> impl Fn(std::io::Error) -> TwinError {
    move |source| TwinError::Io {
        path: path.to_owned(),
        source,
    }
}

/// The folder of the fixtures, in which every one of them is.
///
/// # Panics
/// If one cannot be made: a test without it would say nothing.
pub fn fixtures() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let folder = root().join("host-tests/fixtures");
        expand(&folder).unwrap_or_else(|error| panic!("{error}"));
        folder
    })
}

fn root() -> &'static Path {
    const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    Path::new(FOLDER)
}

/// Makes what the twins below `folder` stand for, where it is not there already.
fn expand(folder: &Path) -> Result<(), TwinError> {
    for entry in fs::read_dir(folder).map_err(io(folder))? {
        let path = entry.map_err(io(folder))?.path();
        if path.is_dir() {
            expand(&path)?;
        } else if path.extension().is_some_and(|end| end == "twin") {
            make(&path)?;
        }
    }
    Ok(())
}

/// A twin, as it is read.
struct Twin {
    /// Length of what it stands for, and its checksum.
    len: usize,
    sum: u32,
    /// What it is made from.
    base: PathBuf,
    /// Matrices of the base that are read by columns: offset, rows, columns.
    transposed: Vec<[usize; 3]>,
    /// Bytes of `own` that come next, then bytes to copy: offset and length.
    pieces: Vec<[usize; 3]>,
    own: Vec<u8>,
}

/// Takes numbers and bytes from the front.
struct Reader<'b>(&'b [u8]);

impl<'b> Reader<'b> {
    fn bytes(&mut self, count: usize) -> Option<&'b [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self) -> Option<usize> {
        let bytes = self.bytes(4)?.first_chunk()?;
        usize::try_from(u32::from_le_bytes(*bytes)).ok()
    }

    fn triples(&mut self) -> Option<Vec<[usize; 3]>> {
        let count = self.number()?;
        (0..count)
            .map(|_| Some([self.number()?, self.number()?, self.number()?]))
            .collect()
    }
}

impl Twin {
    fn read(file: &[u8]) -> Option<Self> {
        let mut all = Vec::new();
        let packed = file.strip_prefix(MAGIC)?;
        ZlibDecoder::new(packed).read_to_end(&mut all).ok()?;
        let mut reader = Reader(&all);
        let (len, sum, name) = (reader.number()?, reader.number()?, reader.number()?);
        let name = std::str::from_utf8(reader.bytes(name)?).ok()?;
        Some(Self {
            len,
            sum: sum as u32,
            base: root().join(name),
            transposed: reader.triples()?,
            pieces: reader.triples()?,
            own: reader.0.to_vec(),
        })
    }

    /// What it stands for; `None` if it does not come out.
    fn made(&self, base: &[u8]) -> Option<Vec<u8>> {
        let mut source = base.to_vec();
        for &[offset, rows, columns] in &self.transposed {
            let elements = base.get(offset..)?.get(..4 * rows * columns)?;
            let elements = elements.as_chunks::<4>().0;
            for column in 0..columns {
                for row in 0..rows {
                    source.extend(elements[row * columns + column]);
                }
            }
        }
        let (mut made, mut own) = (Vec::with_capacity(self.len), Reader(&self.own));
        for &[literal, offset, count] in &self.pieces {
            made.extend(own.bytes(literal)?);
            made.extend(source.get(offset..)?.get(..count)?);
        }
        self.is(&made).then_some(made)
    }

    fn is(&self, made: &[u8]) -> bool {
        let mut sum = Crc::new();
        sum.update(made);
        made.len() == self.len && sum.sum() == self.sum
    }
}

/// Makes what one twin stands for, beside it.
fn make(path: &Path) -> Result<(), TwinError> {
    let file = fs::read(path).map_err(io(path))?;
    let twin = Twin::read(&file).ok_or_else(|| TwinError::Damaged(path.into()))?;
    let target = path.with_extension("");
    if fs::read(&target).is_ok_and(|found| twin.is(&found)) {
        return Ok(());
    }
    // The base may be a twin itself.
    let mut of_base = twin.base.clone().into_os_string();
    of_base.push(".twin");
    if Path::new(&of_base).is_file() {
        make(Path::new(&of_base))?;
    }
    let base = match twin.base.is_file() {
        true => fs::read(&twin.base).map_err(io(&twin.base))?,
        // Made from nothing: its base is the root.
        false if twin.base.is_dir() => Vec::new(),
        false => return Err(io(&twin.base)(std::io::ErrorKind::NotFound.into())),
    };
    let made = twin.made(&base).ok_or_else(|| TwinError::OtherBase {
        path: path.into(),
        base: twin.base.clone(),
    })?;
    // Another test may be at the same file: whoever comes last puts the same bytes there.
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut whole = tempfile::NamedTempFile::new_in(folder).map_err(io(folder))?;
    whole.write_all(&made).map_err(io(&target))?;
    whole
        .persist(&target)
        .map_err(|error| io(&target)(error.error))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_twin_is_made_and_counts_in_the_size_of_the_fixtures() {
        fn committed(folder: &Path) -> (u64, usize) {
            let entries = fs::read_dir(folder)
                .unwrap()
                .map(|entry| entry.unwrap().path());
            entries.fold((0, 0), |(bytes, twins), path| {
                let twin = PathBuf::from(format!("{}.twin", path.display()));
                if path.is_dir() {
                    let (more, others) = committed(&path);
                    return (bytes + more, twins + others);
                }
                let is_made = twin.exists();
                let len = if is_made {
                    0
                } else {
                    path.metadata().unwrap().len()
                };
                (bytes + len, twins + usize::from(is_made))
            })
        }
        let (bytes, twins) = committed(fixtures());
        assert!(twins >= 90, "{twins} twins");
        assert!(
            bytes <= 6_000_000,
            "{bytes} bytes of fixtures are committed"
        );
    }

    #[test]
    fn a_twin_that_does_not_fit_is_an_error_and_leaves_no_file() {
        let work = tempfile::tempdir().unwrap();
        let twins = fixtures().join("trained/kwt_torchscript.onnx.twin");
        let good = fs::read(&twins).unwrap();
        let path = work.path().join("a.onnx.twin");
        for (bytes, damaged) in [
            (&good[..], false),
            (&good[..good.len() / 2], true),
            (b"", true),
        ] {
            fs::write(&path, bytes).unwrap();
            let made = make(&path);
            assert_eq!(matches!(made, Err(TwinError::Damaged(_))), damaged);
            assert_eq!(path.with_extension("").exists(), !damaged);
            let _ = fs::remove_file(path.with_extension(""));
        }
        let mut twin = Twin::read(&good).unwrap();
        twin.sum ^= 1;
        assert!(twin.made(&fs::read(&twin.base).unwrap()).is_none());
        assert!(twin.made(b"another file").is_none());
    }
}
