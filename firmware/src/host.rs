//! Talking to the computer on which the emulator runs, by semihosting: arguments, files, console. Nothing here
//! formats, so that an image which prints a few numbers carries no formatting code.

use core::ffi::CStr;
use semihosting::experimental::env::{Args, args};
use semihosting::fs::File;
use semihosting::io::{self, ErrorKind, Read, Write};
use semihosting::process;

/// Longest command line, in bytes.
pub const COMMAND_LINE_LEN: usize = 512;
/// Longest file name, in bytes.
const PATH_LEN: usize = 256;
/// Digits of the largest number.
const DIGITS: usize = 10;

/// The command line.
///
/// # Errors
/// What the computer says.
pub fn command_line() -> io::Result<Args<COMMAND_LINE_LEN>> {
    args()
}

/// Prints `words`, with spaces between them, as a line.
pub fn print(words: &[&str]) {
    // A console that cannot be written to leaves nobody to tell.
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
/// What the computer says.
pub fn open(path: &str) -> io::Result<File> {
    with_c_str(path, |path| File::open(path))
}

/// Creates a file on the computer.
///
/// # Errors
/// What the computer says.
pub fn create(path: &str) -> io::Result<File> {
    with_c_str(path, |path| File::create(path))
}

/// Fills `buffer` from where the file stands; returns how many bytes there were.
///
/// # Errors
/// What the computer says.
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
