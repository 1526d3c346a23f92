//! Runs an image on an emulated core, with arguments and files, and counts its instructions.
//!
//! The image uses semihosting: its files are in the folder in which it runs, and its exit status is the emulator's. It
//! never runs longer than [`Emulator::timeout`].

use crate::boards::{BOARDS, Board, MemoryMap};
use crate::elf::{ElfError, Image};
use crate::plugin::{self, PluginError};
use crate::{tools, workspace};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};
use thiserror::Error;

const QEMU: &str = "qemu-system-arm";
/// Marks around counted regions (`firmware/emulated/src/bench.rs`).
const MARKS: [&str; 2] = ["bench_begin", "bench_end"];

/// A core that can be emulated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Core {
    /// Cortex-M0. QEMU has none with memory enough: its instructions run on the Cortex-M3 of mps2-an385, which has all of them.
    M0,
    /// Cortex-M3: machine mps2-an385.
    M3,
    /// Cortex-M4 with FPU: machine mps2-an386.
    M4,
    /// Cortex-M7: machine mps2-an500.
    M7,
    /// Cortex-M33: machine mps2-an505.
    M33,
    /// Cortex-M55: machine mps3-an547.
    M55,
}

impl Core {
    /// The cores whose results tests compare with this computer's.
    pub const ALL: [Self; 3] = [Self::M4, Self::M7, Self::M33];

    /// The board whose images run on it, if it has one under `firmware/boards/`.
    pub fn board(self) -> Option<Board> {
        match self {
            Self::M4 | Self::M7 => Some(BOARDS[0]),
            Self::M33 => Some(BOARDS[1]),
            Self::M0 | Self::M3 | Self::M55 => None,
        }
    }

    /// The core's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::M0 => "Cortex-M0",
            Self::M3 => "Cortex-M3",
            Self::M4 => "Cortex-M4",
            Self::M7 => "Cortex-M7",
            Self::M33 => "Cortex-M33",
            Self::M55 => "Cortex-M55",
        }
    }

    /// The compiler's name of the target.
    pub fn target(self) -> &'static str {
        match self {
            Self::M0 => "thumbv6m-none-eabi",
            Self::M3 => "thumbv7m-none-eabi",
            Self::M4 | Self::M7 => "thumbv7em-none-eabihf",
            Self::M33 | Self::M55 => "thumbv8m.main-none-eabihf",
        }
    }

    /// Whether it has a floating-point unit, which half precision needs.
    pub fn has_fpu(self) -> bool {
        self.target().ends_with("hf")
    }

    /// The memory map of its machine.
    pub fn memory(self) -> MemoryMap {
        let folder = match self {
            Self::M0 | Self::M3 | Self::M4 | Self::M7 => "boards/mps2-an386",
            Self::M33 => "boards/mps2-an505",
            Self::M55 => "bench/mps3-an547",
        };
        MemoryMap::new(workspace::root().join("firmware").join(folder))
    }

    /// Whose costs of instructions the counter takes: the published ones that are nearest.
    fn costs(self) -> &'static str {
        match self {
            Self::M0 => "m0",
            Self::M3 => "m3",
            Self::M4 | Self::M7 | Self::M33 | Self::M55 => "m4",
        }
    }

    fn machine(self) -> [&'static str; 4] {
        match self {
            Self::M0 | Self::M3 => ["-machine", "mps2-an385", "-cpu", "cortex-m3"],
            Self::M4 => ["-machine", "mps2-an386", "-cpu", "cortex-m4"],
            Self::M7 => ["-machine", "mps2-an500", "-cpu", "cortex-m7"],
            Self::M33 => ["-machine", "mps2-an505", "-cpu", "cortex-m33"],
            Self::M55 => ["-machine", "mps3-an547", "-cpu", "cortex-m55"],
        }
    }
}

/// Why an image did not run to its end.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum EmulatorError {
    /// The emulator cannot be started.
    #[error("cannot start {QEMU}: `cargo xtask setup` installs it: {0}")]
    NoQemu(std::io::Error),
    /// It ran for too long and was stopped.
    #[error("the image ran longer than {seconds} s; it printed:\n{output}")]
    TimedOut {
        /// Seconds that it was given.
        seconds: u64,
        /// What it printed.
        output: String,
    },
    /// It ended with a status other than 0.
    #[error("the image failed ({status}); it printed:\n{output}")]
    Failed {
        /// How the emulator ended.
        status: ExitStatus,
        /// What it printed.
        output: String,
    },
    /// An argument cannot be passed to the image.
    #[error("argument `{0}`: it must not be empty or hold a space")]
    BadArgument(String),
    /// The emulator's files cannot be written or read.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The operating system's error.
        source: std::io::Error,
    },
    /// The instruction counter cannot be built.
    #[error(transparent)]
    Plugin(#[from] PluginError),
    /// The image cannot be read.
    #[error(transparent)]
    Elf(#[from] ElfError),
    /// The image has no marks, so nothing can be counted.
    #[error("{0}: nothing to count, bench_begin and bench_end are missing")]
    NoMarks(PathBuf),
    /// The output of the counter is not in the expected format.
    #[error("cannot read what the instruction counter wrote: {0}")]
    BadCount(String),
}

/// The code executed between two marks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Region {
    /// Name that the image gave; empty if none.
    pub name: String,
    /// Instructions executed: exact.
    pub instructions: u64,
    /// Cycles estimated for a Cortex-M4 (`m4cycles/README.md`).
    pub cycles: u64,
}

/// What was executed at one address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Executed {
    /// Number of the counted region.
    pub region: usize,
    /// Address of the instruction.
    pub address: u64,
    /// How often it was executed.
    pub instructions: u64,
    /// Estimated cycles of all executions.
    pub cycles: u64,
}

/// Flash that the core waits for. There is no cache: of instructions and of data one line each is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flash {
    /// Its addresses.
    pub range: Range<u64>,
    /// Bytes that it delivers at once; a power of two.
    pub line: u32,
    /// Cycles that the core waits for each line.
    pub wait_states: u32,
}

/// The results of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// The output of the image.
    pub output: String,
    /// The counted regions, in the order of execution; empty without counting.
    pub regions: Vec<Region>,
    /// The same address by address, if [`Emulator::by_address`] asked for that.
    pub executed: Vec<Executed>,
    /// Number of times that the machine's first user LED went on.
    pub lit: usize,
}

/// An emulated machine.
#[derive(Clone, Debug)]
pub struct Emulator {
    core: Core,
    timeout: Duration,
    counting: bool,
    by_address: bool,
    flash: Option<Flash>,
}

impl Emulator {
    /// A machine with this core; images may run for two minutes.
    pub fn new(core: Core) -> Self {
        Self {
            core,
            timeout: Duration::from_secs(120),
            counting: false,
            by_address: false,
            flash: None,
        }
    }

    /// The core.
    pub fn core(&self) -> Core {
        self.core
    }

    /// Lets images run for this long.
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// Counts instructions between marks.
    pub fn counting(self) -> Self {
        Self {
            counting: true,
            ..self
        }
    }

    /// Notes instructions and cycles of each address, too.
    pub fn by_address(self) -> Self {
        Self {
            by_address: true,
            ..self.counting()
        }
    }

    /// Counts cycles with flash that the core waits for; without this it waits for nothing.
    pub fn waiting_for(self, flash: Flash) -> Self {
        Self {
            flash: Some(flash),
            ..self
        }
    }

    /// Runs `image` in `folder`, where it finds and leaves its files, until it ends with status 0.
    ///
    /// # Errors
    /// [`EmulatorError`], with what the image printed.
    pub fn run(
        &self,
        image: &Path,
        arguments: &[&str],
        folder: &Path,
    ) -> Result<Run, EmulatorError> {
        self.run_watched(image, arguments, folder, &mut |_| {})
    }

    /// [`Self::run`], with every line that the image prints handed to `watch` as soon as it is there.
    ///
    /// # Errors
    /// [`EmulatorError`], with what the image printed.
    pub fn run_watched(
        &self,
        image: &Path,
        arguments: &[&str],
        folder: &Path,
        watch: &mut dyn FnMut(&str),
    ) -> Result<Run, EmulatorError> {
        let io = |path: PathBuf| move |source| EmulatorError::Io { path, source };
        let notes = tempfile::tempdir().map_err(io(std::env::temp_dir()))?;
        let (printed, counted) = (notes.path().join("output"), notes.path().join("counts"));
        let [leds, addresses] = ["leds", "addresses"].map(|name| notes.path().join(name));
        let output = File::create(&printed).map_err(io(printed.clone()))?;
        let errors = output.try_clone().map_err(io(printed.clone()))?;
        let mut qemu = self.command(image, arguments, &counted, &addresses)?;
        qemu.args(["-d", "trace:led_change_intensity", "-D"])
            .arg(&leds);
        qemu.current_dir(folder)
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors);
        let mut lines = Lines::open(&printed).map_err(io(printed.clone()))?;
        let status = self.wait(qemu, &mut || lines.hand_to(watch))?;
        lines.hand_to(watch);
        let bytes = std::fs::read(&printed).map_err(io(printed.clone()))?;
        let output = String::from_utf8_lossy(&bytes).into_owned();
        match status {
            None => Err(EmulatorError::TimedOut {
                seconds: self.timeout.as_secs(),
                output,
            }),
            Some(status) if !status.success() => Err(EmulatorError::Failed { status, output }),
            Some(_) => {
                let regions = if self.counting {
                    let counts = std::fs::read_to_string(&counted).map_err(io(counted))?;
                    regions(&counts, &output)?
                } else {
                    Vec::new()
                };
                let executed = if self.by_address {
                    let text = std::fs::read_to_string(&addresses).map_err(io(addresses))?;
                    executed(&text)?
                } else {
                    Vec::new()
                };
                // Without the file, the LED never switched.
                let lit = std::fs::read_to_string(leds).map_or(0, |text| times_lit(&text));
                Ok(Run {
                    output,
                    regions,
                    executed,
                    lit,
                })
            }
        }
    }

    fn command(
        &self,
        image: &Path,
        arguments: &[&str],
        counted: &Path,
        addresses: &Path,
    ) -> Result<Command, EmulatorError> {
        let mut semihosting = String::from("enable=on,target=native");
        for argument in arguments {
            if argument.is_empty() || argument.contains(char::is_whitespace) {
                return Err(EmulatorError::BadArgument((*argument).into()));
            }
            // A comma ends an option of QEMU; two commas are a literal one.
            semihosting += &format!(",arg={}", argument.replace(',', ",,"));
        }
        let mut qemu = Command::new(qemu_command());
        qemu.args(self.core.machine())
            .args(["-nographic", "-monitor", "none", "-serial", "null"])
            .args(["-semihosting-config", &semihosting]);
        if self.counting {
            let elf = Image::read(image)?;
            let [begin, end] = MARKS.map(|mark| elf.address(mark));
            let (Some(begin), Some(end)) = (begin, end) else {
                return Err(EmulatorError::NoMarks(image.into()));
            };
            let plugin = plugin::build()?;
            let mut settings = format!(
                "{},start={begin:#x},stop={end:#x},out={},core={}",
                plugin.display(),
                counted.display(),
                self.core.costs()
            );
            if let Some(flash) = &self.flash {
                let (Range { start, end }, line) = (&flash.range, flash.line);
                let wait_states = flash.wait_states;
                settings += &format!(",flash={start:#x}-{end:#x},line={line},ws={wait_states}");
            }
            if self.by_address {
                settings += &format!(",hist={}", addresses.display());
            }
            qemu.arg("-plugin").arg(settings);
        }
        qemu.arg("-kernel").arg(image);
        Ok(qemu)
    }

    /// Waits for the end, and calls `meanwhile` until then.
    fn wait(
        &self,
        mut qemu: Command,
        meanwhile: &mut dyn FnMut(),
    ) -> Result<Option<ExitStatus>, EmulatorError> {
        let start = Instant::now();
        let mut child = qemu.spawn().map_err(EmulatorError::NoQemu)?;
        loop {
            if let Some(status) = child.try_wait().map_err(EmulatorError::NoQemu)? {
                return Ok(Some(status));
            }
            if start.elapsed() > self.timeout {
                // It may just have ended by itself; in both cases it has stopped after this.
                let _ = child.kill();
                let _ = child.wait();
                return Ok(None);
            }
            meanwhile();
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Reads a file that another process writes, line by line.
struct Lines {
    file: BufReader<File>,
    /// The line that is not complete yet.
    line: Vec<u8>,
}

impl Lines {
    fn open(path: &Path) -> std::io::Result<Self> {
        Ok(Self {
            file: BufReader::new(File::open(path)?),
            line: Vec::new(),
        })
    }

    /// Hands on the lines that were completed since the last call.
    fn hand_to(&mut self, watch: &mut dyn FnMut(&str)) {
        // A file that cannot be read any more is an error of the run, which reads it as a whole at the end.
        while self.file.read_until(b'\n', &mut self.line).is_ok() && self.line.ends_with(b"\n") {
            watch(String::from_utf8_lossy(&self.line).trim_end());
            self.line.clear();
        }
    }
}

/// The emulator: found once, because finding it starts it.
fn qemu_command() -> &'static Path {
    static FOUND: OnceLock<PathBuf> = OnceLock::new();
    FOUND.get_or_init(|| tools::command(QEMU).unwrap_or(QEMU.into()))
}

/// Number of times that user LED 0 goes on in QEMU's trace of LEDs.
fn times_lit(trace: &str) -> usize {
    let on = |line: &&str| line.contains("'USERLED0'") && line.ends_with("-> 100%");
    trace.lines().filter(on).count()
}

/// The counter's lines `region I insns N cyc_flat N cyc_trm N ...`, with the names that the image printed.
fn regions(counts: &str, output: &str) -> Result<Vec<Region>, EmulatorError> {
    let mut names = output
        .lines()
        .filter_map(|line| line.strip_prefix("@region "));
    let lines = counts.lines().filter(|line| line.starts_with("region "));
    lines
        .map(|line| {
            let words: Vec<&str> = line.split(' ').collect();
            let value = |key: &str| {
                let at = words.iter().position(|word| *word == key)?;
                words.get(at + 1)?.parse().ok()
            };
            let region = value("insns").zip(value("cyc_trm"));
            let (instructions, cycles) =
                region.ok_or_else(|| EmulatorError::BadCount(line.into()))?;
            Ok(Region {
                name: names.next().unwrap_or_default().into(),
                instructions,
                cycles,
            })
        })
        .collect()
}

/// The counter's lines `region,addr,op,cls,count,cyc_flat,cyc_trm,...` behind a heading.
fn executed(text: &str) -> Result<Vec<Executed>, EmulatorError> {
    let line = |line: &str| {
        let fields: Vec<&str> = line.split(',').collect();
        let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
        Some(Executed {
            region: number(0)? as usize,
            address: u64::from_str_radix(fields.get(1)?, 16).ok()?,
            instructions: number(4)?,
            cycles: number(6)?,
        })
    };
    let lines = text.lines().skip(1);
    lines
        .map(|text| line(text).ok_or_else(|| EmulatorError::BadCount(text.into())))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn regions_get_their_names_in_order() {
        let counts = "region 0 insns 12 cyc_flat 20 cyc_trm 18 unaligned_extra 0 taken 1 dp 12\n\
                      region 1 insns 3 cyc_flat 4 cyc_trm 5\ntotal_insns 99\n";
        let found = regions(counts, "hello\n@region a b\n@region c\n").unwrap();
        let region = |name: &str, instructions, cycles| Region {
            name: name.into(),
            instructions,
            cycles,
        };
        assert_eq!(found, [region("a b", 12, 18), region("c", 3, 5)]);
        assert!(regions("region 0 insns x\n", "").is_err());
    }

    #[test]
    fn lines_are_handed_on_when_they_are_complete() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("output");
        let mut written = File::create(&path).unwrap();
        let mut lines = Lines::open(&path).unwrap();
        let mut seen = Vec::new();
        for (piece, complete) in [("one\ntw", 1), ("o", 1), ("\nthree\n", 3)] {
            written.write_all(piece.as_bytes()).unwrap();
            lines.hand_to(&mut |line| seen.push(line.to_owned()));
            assert_eq!(seen.len(), complete, "{piece:?}");
        }
        assert_eq!(seen, ["one", "two", "three"]);
    }

    #[test]
    fn switching_the_led_on_is_counted() {
        let trace = "led_change_intensity LED desc:'USERLED0' color:green intensity 0% -> 100%\n\
                     led_change_intensity LED desc:'SCC LED0' color:green intensity 0% -> 100%\n\
                     led_change_intensity LED desc:'USERLED0' color:green intensity 100% -> 0%\n";
        assert_eq!(times_lit(trace), 1);
    }

    #[test]
    fn arguments_that_the_command_line_cannot_carry_are_refused() {
        let emulator = Emulator::new(Core::M4);
        let error = emulator.run(Path::new("none"), &["two words"], Path::new("."));
        assert!(matches!(error, Err(EmulatorError::BadArgument(_))));
    }
}
