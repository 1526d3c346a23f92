//! The command `attn` as the target: a mutated file of each kind that it reads. It must end by itself, soon, with status 0 or 1, and
//! no word of a library; anything else is a find.

use crate::random::Random;
use crate::{mutate, protobuf};
use attn_test_support::folder::fixture;
use std::fs;
use std::io::{self, Cursor, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use wait_timeout::ChildExt;
use zip::write::SimpleFileOptions;
use zip::{ZipArchive, ZipWriter};

/// Longest that a command may take for a small file.
const LONGEST: Duration = Duration::from_secs(60);
/// What no message of the command holds: words of libraries, and what it says of a panic.
const INSIDE: [&str; 6] = [
    "panicked",
    "does not expect",
    "unwrap",
    "RUST_BACKTRACE",
    "memory allocation of",
    "\u{1b}",
];

/// Kinds of files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A model.
    Onnx,
    /// Calibration data.
    Npz,
    /// A recording.
    Wav,
    /// The description of a bundle.
    Manifest,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Onnx, Self::Npz, Self::Wav, Self::Manifest];

    fn folders(self) -> Vec<String> {
        match self {
            Self::Onnx | Self::Npz => vec![fixture("cases")],
            Self::Manifest => vec![fixture("seq2seq")],
            Self::Wav => vec![concat!(env!("CARGO_MANIFEST_DIR"), "/corpus/wav").into()],
        }
    }

    fn extension(self) -> &'static str {
        match self {
            Self::Onnx => "onnx",
            Self::Npz => "npz",
            Self::Wav => "wav",
            Self::Manifest => "toml",
        }
    }
}

/// A file to mutate, with its data beside it where it is a model.
#[derive(Clone, Debug)]
pub struct Seed {
    path: PathBuf,
    bytes: Vec<u8>,
}

/// Files to start from, and where to run.
#[derive(Debug)]
pub struct Desktop {
    attn: PathBuf,
    folder: tempfile::TempDir,
    seeds: Vec<Seed>,
    kind: Kind,
}

impl Desktop {
    /// Starts from all fixtures of a kind; `attn` is the command.
    ///
    /// # Errors
    /// Those of the operating system; also if there is no such file.
    pub fn new(attn: &Path, kind: Kind) -> io::Result<Self> {
        let mut seeds = Vec::new();
        for folder in kind.folders() {
            for entry in fs::read_dir(folder)? {
                let path = entry?.path();
                let bytes = fs::metadata(&path)?.len();
                let fits = path.extension().is_some_and(|e| e == kind.extension());
                let data = match kind {
                    Kind::Onnx => path.with_extension("npz").exists(),
                    Kind::Npz => path.with_extension("onnx").exists(),
                    Kind::Wav | Kind::Manifest => true,
                };
                if fits && data && bytes < 1 << 18 {
                    let bytes = fs::read(&path)?;
                    seeds.push(Seed { path, bytes });
                }
            }
        }
        seeds.sort_by(|a, b| a.path.cmp(&b.path));
        if seeds.is_empty() {
            return Err(io::Error::other(format!("no files of {kind:?}")));
        }
        let folder = tempfile::tempdir()?;
        let attn = attn.into();
        Ok(Self {
            attn,
            folder,
            seeds,
            kind,
        })
    }

    /// Runs the command on one mutated file. A find comes with the file.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn once(&self, random: &mut Random) -> io::Result<Option<(String, Vec<u8>)>> {
        let seed = random.one_of(&self.seeds);
        let other = random.one_of(&self.seeds);
        let file = match self.kind {
            Kind::Onnx => protobuf::mutate(&seed.bytes, &other.bytes, random),
            Kind::Npz => npz(&seed.bytes, random),
            Kind::Wav => {
                let mut bytes = seed.bytes.clone();
                // The header is where the meaning is.
                let rest = bytes.split_off(bytes.len().min(64));
                mutate::bytes(&mut bytes, random);
                bytes.extend(rest);
                bytes
            }
            Kind::Manifest => {
                mutate::text(&String::from_utf8_lossy(&seed.bytes), random).into_bytes()
            }
        };
        let found = self.run(&seed.path, &file)?;
        Ok(found.map(|what| (format!("{}: {what}", seed.path.display()), file)))
    }

    fn run(&self, seed: &Path, file: &[u8]) -> io::Result<Option<String>> {
        let in_folder = |name: &str| self.folder.path().join(name);
        let (input, output) = (
            in_folder("input").with_extension(self.kind.extension()),
            "output",
        );
        fs::write(&input, file)?;
        let mut command = Command::new(&self.attn);
        match self.kind {
            Kind::Onnx => {
                let data = seed.with_extension("npz");
                command
                    .arg("convert")
                    .arg(&input)
                    .arg("--calibrate")
                    .arg(data);
            }
            Kind::Npz => {
                let model = seed.with_extension("onnx");
                command
                    .arg("convert")
                    .arg(model)
                    .arg("--calibrate")
                    .arg(&input);
            }
            Kind::Wav => drop(command.arg("features").arg(&input)),
            Kind::Manifest => {
                // Its paths are relative to it.
                let text = String::from_utf8_lossy(file);
                let folder = seed.parent().unwrap_or(Path::new("."));
                let text = text.replace("= \"", &format!("= \"{}/", folder.display()));
                fs::write(&input, text)?;
                command.arg("convert").arg(&input).arg("--outside");
            }
        }
        let errors = in_folder("errors");
        let mut child = command
            .arg("-o")
            .arg(in_folder(output))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(&errors)?)
            .spawn()?;
        let Some(status) = child.wait_timeout(LONGEST)? else {
            child.kill()?;
            child.wait()?;
            return Ok(Some(format!("longer than {LONGEST:?}")));
        };
        let said = String::from_utf8_lossy(&fs::read(&errors)?).into_owned();
        let inside = INSIDE.iter().find(|word| said.contains(**word));
        Ok(match (status.code(), inside) {
            (Some(0 | 1), None) => None,
            (code, _) => Some(format!("status {code:?}, {said}")),
        })
    }
}

/// Changes one array of an npz file, its header or its data; or the archive.
fn npz(bytes: &[u8], random: &mut Random) -> Vec<u8> {
    let raw = |random: &mut Random| {
        let mut bytes = bytes.to_vec();
        mutate::bytes(&mut bytes, random);
        bytes
    };
    if random.once_in(4) {
        return raw(random);
    }
    changed_array(bytes, random).unwrap_or_else(|_| raw(random))
}

fn changed_array(bytes: &[u8], random: &mut Random) -> zip::result::ZipResult<Vec<u8>> {
    let mut archive = ZipArchive::new(Cursor::new(bytes))?;
    let chosen = random.below(archive.len());
    let mut out = ZipWriter::new(Cursor::new(Vec::new()));
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index)?;
        let mut array = Vec::new();
        entry.read_to_end(&mut array)?;
        if index == chosen {
            // Magic, version and the length of the header, the header, the data.
            let header = array.len().min(128);
            let data = array.split_off(header);
            match random.below(3) {
                0 => mutate::bytes(&mut array, random),
                _ => {
                    let text = String::from_utf8_lossy(&array[10.min(header)..]).into_owned();
                    array.truncate(10);
                    array.extend(mutate::text(&text, random).into_bytes());
                }
            }
            array.extend(data);
        }
        out.start_file(entry.name(), SimpleFileOptions::default())?;
        out.write_all(&array)?;
    }
    Ok(out.finish()?.into_inner())
}
