//! Receives signed models into two slots, one after the other, and runs what is in use after each. `host-tests/tests/update.rs` starts it.
//!
//! Command line: `KEY NAME FILE...`. Prints `FILE: taken` or `FILE: refused: ...`, and after it `in use: slot S, update N, version V` and writes what that
//! model computes to the file `outputs`. Flash is RAM here, with the words and blocks of an nRF52840; opening the slots, judging the
//! model in use, receiving and switching are counted regions.
#![no_std]
#![no_main]

use attn_emulated::bench::region;
use attn_emulated::host;
use attn_runtime::format::DType;
use attn_runtime::{Aligned, Limits, Model, Operators, Session, SessionError, Trust, f16};
use attn_slots::{MappedFlash, Signed, Slots, UpdateError};
use core::fmt::Display;
use core::panic::PanicInfo;
use cortex_m_rt::entry;
use embedded_storage::nor_flash::{
    ErrorType, NorFlash, NorFlashErrorKind, ReadNorFlash, check_erase, check_read, check_write,
};
use semihosting::fs::File;
use semihosting::io::Write;
use semihosting::{println, process};
use static_cell::ConstStaticCell;
use zerocopy::IntoBytes;

/// Bytes of a slot.
const SLOT_LEN: usize = 96 << 10;
const ARENA_LEN: usize = 16 << 10;
/// Bytes that a transport brings at once.
const PIECE: usize = 244;
/// Runs of the model in use.
const RUNS: u8 = 3;

type Memory = Aligned<[u8; SLOT_LEN]>;

static SLOTS: [ConstStaticCell<Memory>; 2] =
    [const { ConstStaticCell::new(Aligned([0; SLOT_LEN])) }; 2];
static ARENA: ConstStaticCell<Aligned<[u8; ARENA_LEN]>> =
    ConstStaticCell::new(Aligned([0; ARENA_LEN]));

/// Prints the error and ends the program with status 1.
fn fail(what: &str, why: impl Display) -> ! {
    println!("error: {what}: {why}");
    process::exit(1)
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    fail("panic", info)
}

/// A slot in RAM that behaves as flash.
struct Ram(&'static mut Memory);

impl ErrorType for Ram {
    type Error = NorFlashErrorKind;
}

impl Ram {
    fn part(&mut self, from: u32, len: usize) -> Result<&mut [u8], NorFlashErrorKind> {
        let part = self.0.0.get_mut(from as usize..from as usize + len);
        part.ok_or(NorFlashErrorKind::OutOfBounds)
    }
}

impl ReadNorFlash for Ram {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), NorFlashErrorKind> {
        check_read(self, offset, bytes.len())?;
        bytes.copy_from_slice(self.part(offset, bytes.len())?);
        Ok(())
    }

    fn capacity(&self) -> usize {
        SLOT_LEN
    }
}

impl NorFlash for Ram {
    const WRITE_SIZE: usize = 4;
    const ERASE_SIZE: usize = 4096;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), NorFlashErrorKind> {
        check_erase(self, from, to)?;
        self.part(from, (to - from) as usize)?.fill(0xff);
        Ok(())
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), NorFlashErrorKind> {
        check_write(self, offset, bytes.len())?;
        let part = self.part(offset, bytes.len())?;
        // Writing turns ones into zeros.
        part.iter_mut()
            .zip(bytes)
            .for_each(|(cell, byte)| *cell &= byte);
        Ok(())
    }
}

impl MappedFlash for Ram {
    fn bytes(&self) -> &[u8] {
        &self.0.0
    }
}

#[entry]
fn main() -> ! {
    let args = host::command_line().unwrap_or_else(|error| fail("command line", error));
    let mut args = (&args).into_iter().map(|arg| arg.unwrap_or(""));
    let (Some(key), Some(name)) = (args.next(), args.next()) else {
        fail("command line", "KEY NAME FILE...");
    };
    let (mut public, mut model) = ([0; 32], [0; 16]);
    let read = host::open(key).and_then(|mut file| host::read_full(&mut file, &mut public));
    read.unwrap_or_else(|error| fail(key, error));
    model
        .iter_mut()
        .zip(name.bytes())
        .for_each(|(to, byte)| *to = byte);
    let policy = Signed {
        trust: Trust {
            key: &public,
            model,
            oldest: 0,
        },
        operators: Operators::all(),
        limits: Limits::default(),
    };
    let mut outputs = host::create("outputs").unwrap_or_else(|error| fail("outputs", error));
    let [one, other] = &SLOTS;
    let mut regions = [one, other].map(|slot| Ram(slot.take()));
    let arena = &mut ARENA.take().0;
    for path in args {
        let mut slots =
            region("open", || Slots::open(regions)).unwrap_or_else(|error| fail("slots", error));
        match receive(&mut slots, &policy, path) {
            Ok(()) => println!("{path}: taken"),
            Err(error) => println!("{path}: refused: {error}"),
        }
        // As after a reset.
        slots = Slots::open(slots.release()).unwrap_or_else(|error| fail("slots", error));
        match region("current", || slots.current(&policy)) {
            None => println!("in use: none"),
            Some(found) => {
                let version = found.model.signature().map_or(0, |signed| signed.version);
                println!(
                    "in use: slot {}, update {}, version {version}",
                    found.slot, found.sequence
                );
                run(found.model, arena, &mut outputs)
                    .unwrap_or_else(|error| fail("session", error));
            }
        }
        regions = slots.release();
    }
    process::exit(0)
}

type Error = UpdateError<NorFlashErrorKind, attn_runtime::SignedError>;

/// Receives the file, as pieces come from a transport. A function of its own, so that a test sees its size.
#[inline(never)]
fn receive(slots: &mut Slots<Ram>, policy: &Signed<'_>, path: &str) -> Result<(), Error> {
    let mut file = host::open(path).unwrap_or_else(|error| fail(path, error));
    let mut update = region("begin", || slots.receive(policy))?;
    let mut piece = [0; PIECE];
    loop {
        let len = host::read_full(&mut file, &mut piece).unwrap_or_else(|error| fail(path, error));
        let Some(piece) = piece.get(..len).filter(|piece| !piece.is_empty()) else {
            break;
        };
        region("push", || update.push(piece))?;
    }
    region("finish", || update.finish())
}

/// Runs entry point 0 on inputs that are the same on every machine.
fn run(model: Model<'_>, arena: &mut [u8], outputs: &mut File) -> Result<(), SessionError> {
    let mut session = Session::new(model, arena)?;
    let Some(entry) = model.entries().first() else {
        return Ok(());
    };
    for run in 1..=RUNS {
        for index in 0..entry.inputs().count() {
            let bytes = match session.input_record(0, index)?.dtype() {
                DType::I8 => session.input::<i8>(0, index)?.as_mut_bytes(),
                DType::I16 => session.input::<i16>(0, index)?.as_mut_bytes(),
                DType::F16 => session.input::<f16>(0, index)?.as_mut_bytes(),
                DType::I32 => session.input::<i32>(0, index)?.as_mut_bytes(),
            };
            bytes.fill(run);
        }
        session.run(0)?;
        for id in entry.outputs() {
            let bytes = session.tensor_bytes(id).unwrap_or(&[]);
            if outputs.write_all(bytes).is_err() {
                fail("outputs", "cannot be written");
            }
        }
    }
    Ok(())
}
