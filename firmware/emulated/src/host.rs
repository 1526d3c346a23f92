//! The computer on which the emulator runs, by semihosting: arguments, files, console. Nothing here uses `core::fmt`, so an
//! image that prints a few numbers links no formatting code.

use attn_app::wav;
use core::ffi::CStr;
use semihosting::experimental::env::{Args, args};
use semihosting::fs::File;
use semihosting::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use semihosting::process;

/// Longest command line, in bytes.
pub const COMMAND_LINE_LEN: usize = 512;
/// Longest file name, in bytes.
const PATH_LEN: usize = 256;
/// Bytes of a WAV file within which its samples must begin.
const WAV_HEADER_LEN: usize = 1024;
/// Digits of the largest number.
const DIGITS: usize = 10;

/// The command line.
///
/// # Errors
/// The computer's error.
pub fn command_line() -> io::Result<Args<COMMAND_LINE_LEN>> {
    args()
}

/// Prints `words`, with spaces between them, as a line.
pub fn print(words: &[&str]) {
    // Without a console there is nowhere to report to.
    let Ok(mut console) = io::stdout() else {
        return;
    };
    for (at, word) in words.iter().enumerate() {
        let space: &[u8] = if at > 0 { b" " } else { b"" };
        let _ = console.write_all(space);
        let _ = console.write_all(word.as_bytes());
    }
    let _ = console.write_all(b"\n");
}

/// Prints the error and ends the program with status 1.
pub fn fail(why: &str) -> ! {
    print(&["error:", why]);
    process::exit(1)
}

/// A number as text.
#[derive(Clone, Copy, Debug)]
pub struct Decimal {
    digits: [u8; DIGITS],
    first: usize,
}

impl Decimal {
    /// Writes `number` in decimal digits.
    pub fn new(mut number: u32) -> Self {
        let (mut digits, mut first) = ([b'0'; DIGITS], DIGITS);
        for (at, digit) in digits.iter_mut().enumerate().rev() {
            *digit += (number % 10) as u8;
            number /= 10;
            first = at;
            if number == 0 {
                break;
            }
        }
        Self { digits, first }
    }

    /// The digits.
    pub fn text(&self) -> &str {
        let digits = self.digits.get(self.first..).unwrap_or(&[]);
        core::str::from_utf8(digits).unwrap_or("?")
    }
}

/// Opens a file of the computer.
///
/// # Errors
/// The computer's error.
pub fn open(path: &str) -> io::Result<File> {
    with_c_str(path, |path| File::open(path))
}

/// A recording at its first sample, and the number of its samples; ends the program if it has another format.
pub fn open_recording(path: &str) -> Option<(File, usize)> {
    let mut file = open(path).ok()?;
    let mut header = [0; WAV_HEADER_LEN];
    let len = read_full(&mut file, &mut header).ok()?;
    let samples = match wav::samples(header.get(..len)?) {
        Ok(samples) => samples,
        Err(error) => fail(error.reason()),
    };
    file.seek(SeekFrom::Start(samples.start as u64)).ok()?;
    Some((file, samples.len() / 2))
}

/// Creates a file on the computer.
///
/// # Errors
/// The computer's error.
pub fn create(path: &str) -> io::Result<File> {
    with_c_str(path, |path| File::create(path))
}

/// Fills `buffer` from the file's position; returns how many bytes there were.
///
/// # Errors
/// The computer's error.
pub fn read_full(file: &mut File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut len = 0;
    while let Some(free) = buffer.get_mut(len..).filter(|free| !free.is_empty()) {
        match file.read(free)? {
            0 => break,
            n => len += n,
        }
    }
    Ok(len)
}

fn with_c_str<R>(path: &str, then: impl FnOnce(&CStr) -> io::Result<R>) -> io::Result<R> {
    let mut buffer = [0; PATH_LEN];
    let bad = || io::Error::from(ErrorKind::InvalidInput);
    buffer
        .get_mut(..path.len())
        .ok_or_else(bad)?
        .copy_from_slice(path.as_bytes());
    then(CStr::from_bytes_until_nul(&buffer).map_err(|_| bad())?)
}

#[cortex_m_rt::exception]
unsafe fn HardFault(_frame: &cortex_m_rt::ExceptionFrame) -> ! {
    print(&["error: hard fault"]);
    process::exit(2)
}
