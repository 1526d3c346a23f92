//! Talking to the computer on which the emulator runs, by semihosting: arguments, whole files, failure.

use core::ffi::CStr;
use core::fmt::Display;
use semihosting::experimental::env::{Args, args};
use semihosting::fs::File;
use semihosting::io::{self, Read, Seek, SeekFrom};
use semihosting::process;

/// Longest command line, in bytes.
pub const COMMAND_LINE_LEN: usize = 512;
/// Longest file name, in bytes.
const PATH_LEN: usize = 256;

/// The command line.
pub fn command_line() -> Args<COMMAND_LINE_LEN> {
    args().unwrap_or_else(|error| fail("command line", error))
}

/// Prints why the program cannot go on and ends it with status 1.
pub fn fail(what: &str, why: impl Display) -> ! {
    semihosting::println!("error: {what}: {why}");
    process::exit(1)
}

/// Opens a file of the computer.
pub fn open(path: &str) -> File {
    with_c_str(path, |path| File::open(path)).unwrap_or_else(|error| fail(path, error))
}

/// Creates a file on the computer.
pub fn create(path: &str) -> File {
    with_c_str(path, |path| File::create(path)).unwrap_or_else(|error| fail(path, error))
}

/// Reads a whole file into the start of `buffer` and returns that part.
pub fn read_all<'b>(path: &str, buffer: &'b mut [u8]) -> &'b mut [u8] {
    let mut file = open(path);
    let len = read_full(&mut file, buffer).unwrap_or_else(|error| fail(path, error));
    let mut beyond = [0];
    if matches!(file.read(&mut beyond), Ok(1)) {
        fail(path, "longer than this program's buffer");
    }
    &mut buffer[..len]
}

/// Fills `buffer` from where the file stands; returns how many bytes there were.
///
/// # Errors
/// What the computer says.
pub fn read_full(file: &mut File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut len = 0;
    while len < buffer.len() {
        match file.read(&mut buffer[len..])? {
            0 => break,
            n => len += n,
        }
    }
    Ok(len)
}

/// Goes to byte `at` of a file.
pub fn seek(file: &mut File, at: usize) {
    if let Err(error) = file.seek(SeekFrom::Start(at as u64)) {
        fail("seek", error);
    }
}

fn with_c_str<R>(path: &str, then: impl FnOnce(&CStr) -> R) -> R {
    let mut buffer = [0; PATH_LEN];
    let Some(slot) = buffer.get_mut(..path.len()) else {
        fail(path, "the file name is too long");
    };
    slot.copy_from_slice(path.as_bytes());
    match CStr::from_bytes_until_nul(&buffer) {
        Ok(path) => then(path),
        Err(_) => fail(path, "the file name is too long"),
    }
}

#[cortex_m_rt::exception]
unsafe fn HardFault(frame: &cortex_m_rt::ExceptionFrame) -> ! {
    semihosting::println!("error: hard fault: {frame:?}");
    process::exit(2)
}
