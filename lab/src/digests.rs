//! Digests of what every shipped model and every fixture computes: a net under changes that must not change a byte.
//!
//! Each ONNX file and each bundle under `models/` and `host-tests/fixtures/` is converted by the `attn` command in every precision,
//! as a window and, where it can be one, as a stream. Each file then runs on this computer over inputs that are the same every time.
//! The list of digests is committed; [`compare`] says what differs from it. Whether the emulated cores give the same bytes as this
//! computer is the business of [`crate::identity`].

use crate::aligned::AlignedBytes;
use crate::workspace;
use attn_runtime::format::DType;
use attn_runtime::{Model, Session, SessionError, f16};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;

/// A task's result: the text says what is wrong.
type Outcome<T> = Result<T, String>;

/// How a file is converted: the name in the list, and the arguments of `attn convert`.
const PRECISIONS: [(&str, &[&str]); 3] = [
    ("int8", &["--dtype", "int8"]),
    ("int16x8", &["--dtype", "int16x8"]),
    ("fp16", &["--dtype", "fp16"]),
];
/// Runs of one entry point without a reset: enough for rings to wrap in small streams.
const RUNS: usize = 24;
/// Token numbers in the inputs are below this: every vocabulary has as many.
const TOKENS: u64 = 8;

/// The committed list.
pub fn list() -> PathBuf {
    workspace::root().join("host-tests/fixtures/digests.txt")
}

/// One conversion to be run.
struct Job {
    /// Its name in the list.
    name: String,
    /// Arguments of `attn convert`, without the output.
    arguments: Vec<String>,
}

/// Converts and runs everything with the command at `attn`: for each conversion its digest. Whether a model can be streamed is for
/// the converter to say: one that cannot has no line.
///
/// # Errors
/// What cannot be converted or run, by name.
pub fn measure(attn: &Path) -> Outcome<BTreeMap<String, u64>> {
    let jobs = Mutex::new(jobs()?);
    let take = || jobs.lock().ok()?.pop();
    let work = || {
        let jobs = std::iter::from_fn(take);
        let done = jobs.map(|job| (digest(attn, &job), job.name));
        done.collect::<Vec<_>>()
    };
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let done = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        let joined = workers.into_iter().map(|worker| worker.join());
        joined.collect::<Result<Vec<_>, _>>()
    });
    let done = done.map_err(|_| "a worker panicked".to_owned())?;
    let (mut digests, mut failures) = (BTreeMap::new(), Vec::new());
    for (outcome, name) in done.into_iter().flatten() {
        match outcome {
            Ok(digest) => digests.extend(digest.map(|digest| (name, digest))),
            Err(reason) => failures.push(format!("{name}: {reason}")),
        }
    }
    match failures.is_empty() {
        true => Ok(digests),
        false => Err(failures.join("\n")),
    }
}

/// What differs between the committed list and `found`, a line each.
///
/// # Errors
/// When the list cannot be read.
pub fn compare(found: &BTreeMap<String, u64>) -> Outcome<Vec<String>> {
    let path = list();
    let text =
        std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(differences(&text, found))
}

fn differences(text: &str, found: &BTreeMap<String, u64>) -> Vec<String> {
    let mut listed = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        if let Some((digest, name)) = line.split_once(' ') {
            listed.insert(name, digest);
        }
    }
    let changed = listed
        .iter()
        .filter_map(|(name, digest)| match found.get(*name) {
            None => Some(format!("{name}: does not convert any more")),
            Some(new) if hex(*new) != **digest => Some(format!("{name}: other output bytes")),
            Some(_) => None,
        });
    let new = found
        .keys()
        .filter(|name| !listed.contains_key(name.as_str()));
    changed
        .chain(new.map(|name| format!("{name}: not in the list")))
        .collect()
}

/// The list's text.
pub fn text(found: &BTreeMap<String, u64>) -> String {
    let mut text = String::from(
        "# Digests of the output bytes of every model and fixture: `cargo xtask digests` compares, `--record` writes.\n",
    );
    for (name, digest) in found {
        let _ = writeln!(text, "{} {name}", hex(*digest));
    }
    text
}

fn hex(digest: u64) -> String {
    format!("{digest:016x}")
}

/// Every conversion of every model and fixture.
fn jobs() -> Outcome<Vec<Job>> {
    let root = workspace::root();
    let mut files = Vec::new();
    for folder in ["models", "host-tests/fixtures"] {
        find(&root.join(folder), &mut files)?;
    }
    files.sort();
    let mut jobs = Vec::new();
    for file in &files {
        let path = file.strip_prefix(root).unwrap_or(file);
        let path = path.display().to_string();
        let is_bundle = path.ends_with(".toml");
        for (precision, arguments) in PRECISIONS {
            let mut all = vec!["convert".to_owned(), path.clone()];
            all.extend(arguments.iter().map(|&argument| argument.to_owned()));
            if is_bundle {
                all.push("--outside".to_owned());
                jobs.push(Job {
                    name: format!("{path} {precision}"),
                    arguments: all,
                });
                continue;
            }
            let calibration = calibration(file)?;
            all.extend(["--calibrate".to_owned(), calibration.display().to_string()]);
            for form in ["window", "stream"] {
                let stream = (form == "stream").then(|| "--stream".to_owned());
                jobs.push(Job {
                    name: format!("{path} {precision} {form}"),
                    arguments: all.iter().cloned().chain(stream).collect(),
                });
            }
        }
    }
    // The longest first (they are taken from the end): the last one does not leave other workers idle.
    jobs.sort_by_key(|job| {
        let len = std::fs::metadata(root.join(&job.arguments[1])).map_or(0, |m| m.len());
        (job.arguments[1].ends_with(".toml"), len)
    });
    Ok(jobs)
}

/// Bundles' manifests and the ONNX files that are no part of one.
fn find(folder: &Path, files: &mut Vec<PathBuf>) -> Outcome<()> {
    let entries =
        std::fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    for entry in entries.flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        let part = [".encode.onnx", ".step.onnx"].map(|end| name.ends_with(end));
        let whole = name.ends_with(".onnx") && part == [false; 2];
        // What has no recorded result at the commit of the list: made to be refused, or newer.
        if path.is_dir() && name != "cases" {
            find(&path, files)?;
        } else if whole || name.ends_with(".bundle.toml") {
            files.push(path);
        }
    }
    Ok(())
}

/// The calibration data beside a model: those of its name, without the exporter's; the shipped ones where a fixture is another
/// export of a shipped model.
fn calibration(onnx: &Path) -> Outcome<PathBuf> {
    let stem = onnx
        .file_stem()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let name = ["_dynamo", "_torchscript", "_opset23"]
        .iter()
        .fold(stem.as_str(), |name, end| {
            name.strip_suffix(end).unwrap_or(name)
        });
    let models = workspace::root().join("models");
    let candidates = [
        models.join(format!("{name}_calibration.npz")),
        onnx.with_file_name(format!("{name}_calibration.npz")),
        onnx.with_file_name(format!("{name}.npz")),
    ];
    let found = candidates.into_iter().find(|path| path.exists());
    found.ok_or_else(|| format!("{}: no calibration data beside it", onnx.display()))
}

/// The digest of one conversion; `None` for a model that cannot be streamed.
fn digest(attn: &Path, job: &Job) -> Outcome<Option<u64>> {
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let file = folder.path().join("model.attn");
    let output = Command::new(attn)
        .current_dir(workspace::root())
        .args(&job.arguments)
        .arg("-o")
        .arg(&file)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("{}: {error}", attn.display()))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return match job.arguments.iter().any(|argument| argument == "--stream") {
            true => Ok(None),
            false => Err(said),
        };
    }
    let file = AlignedBytes::read(&file).map_err(|error| error.to_string())?;
    outputs(file.as_slice()).map(Some)
}

/// The digest of all outputs of a file: every entry point in order, at its greatest length and a shorter one.
fn outputs(file: &[u8]) -> Outcome<u64> {
    const CRC: crc::Crc<u64> = crc::Crc::<u64>::new(&crc::CRC_64_XZ);
    let mut digest = CRC.digest();
    let model = Model::parse(file).map_err(|error| error.to_string())?;
    let mut arena = AlignedBytes::zeroed(model.arena_len());
    let failed = |error: SessionError| error.to_string();
    let mut session = Session::new(model, arena.as_mut_slice()).map_err(failed)?;
    let longest = model.max_length();
    let lengths = if longest > 1 {
        vec![longest, longest / 2 + 1]
    } else {
        vec![longest]
    };
    for length in lengths {
        session.reset();
        if length > 0 {
            session.set_length(length).map_err(failed)?;
        }
        for (entry, record) in model.entries().iter().enumerate() {
            for run in 0..RUNS {
                let mut noise = Noise::new(entry as u64, run as u64);
                for slot in 0..record.inputs().count() {
                    fill(&mut session, entry, slot, &mut noise).map_err(failed)?;
                }
                session.run(entry).map_err(failed)?;
                for bytes in record.outputs().filter_map(|id| session.tensor_bytes(id)) {
                    digest.update(bytes);
                }
            }
        }
    }
    Ok(digest.finalize())
}

/// Puts noise into an input: half of the runs over a quarter of the type's range, the others over all of it.
fn fill(
    session: &mut Session,
    entry: usize,
    slot: usize,
    noise: &mut Noise,
) -> Result<(), SessionError> {
    match session.input_record(entry, slot)?.dtype() {
        DType::I8 => session
            .input::<i8>(entry, slot)?
            .fill_with(|| noise.integer(7) as i8),
        DType::I16 => session
            .input::<i16>(entry, slot)?
            .fill_with(|| noise.integer(15) as i16),
        DType::I32 => session
            .input::<i32>(entry, slot)?
            .fill_with(|| (noise.bits() % TOKENS) as i32),
        DType::F16 => session
            .input::<f16>(entry, slot)?
            .fill_with(|| f16::from_f32(noise.integer(12) as f32 / 1024.0)),
    }
    Ok(())
}

/// The same numbers every time (a linear congruential generator, Knuth's MMIX constants).
struct Noise {
    state: u64,
    shift: u32,
}

impl Noise {
    fn new(entry: u64, run: u64) -> Self {
        Self {
            state: (entry << 32) + run,
            shift: if run.is_multiple_of(2) { 2 } else { 0 },
        }
    }

    fn bits(&mut self) -> u64 {
        self.state = self
            .state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        self.state >> 33
    }

    /// A number of `bits` bits and a sign, or of two bits less.
    fn integer(&mut self, bits: u32) -> i64 {
        let span = 1i64 << (bits + 1 - self.shift);
        self.bits() as i64 % span - span / 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_a_lost_and_a_new_model_are_told_apart() {
        let found = |pairs: &[(&str, u64)]| {
            let pairs = pairs.iter();
            pairs
                .map(|&(name, digest)| (name.to_owned(), digest))
                .collect()
        };
        let before: BTreeMap<String, u64> = found(&[("a int8", 1), ("b int8", 2), ("c int8", 3)]);
        let list = text(&before);
        assert!(differences(&list, &before).is_empty());
        let after = found(&[("a int8", 1), ("b int8", 7), ("d int8", 4)]);
        let expected = [
            "b int8: other output bytes",
            "c int8: does not convert any more",
            "d int8: not in the list",
        ];
        assert_eq!(differences(&list, &after), expected);
    }
}
