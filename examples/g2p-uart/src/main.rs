//! A word in over the serial port, its phonemes out: greedily, then the four best of a beam. An empty line ends the program.
#![no_std]
#![no_main]

use attn_runtime::seq2seq::{Beam, DecodeError, Greedy};
use attn_runtime::{Arena, Session};
use core::fmt::Write;
use core::panic::PanicInfo;
use semihosting::process;
use static_cell::ConstStaticCell;

attn_runtime::include_model!(mod g2p = "../../../models/g2p.attn");

/// Hypotheses of the beam.
const WIDTH: usize = 4;

static ARENA: ConstStaticCell<Arena<{ g2p::ARENA_LEN }>> = ConstStaticCell::new(g2p::arena());
static BEAM: ConstStaticCell<Arena<{ g2p::beam_len(WIDTH) }>> = ConstStaticCell::new(Arena::new());

/// The first serial port of the emulated machine.
struct Uart(*mut u32);

impl Uart {
    fn start() -> Self {
        let uart = Self(0x4000_4000 as *mut u32);
        // SAFETY: these are the registers BAUDDIV and CTRL of this machine's UART 0, and this is their only user.
        unsafe {
            uart.0.add(4).write_volatile(16);
            uart.0.add(2).write_volatile(3);
        }
        uart
    }

    fn put(&mut self, byte: u8) {
        // SAFETY: DATA and STATE of the same UART.
        unsafe {
            while self.0.add(1).read_volatile() & 1 != 0 {}
            self.0.write_volatile(byte.into());
        }
    }

    fn get(&mut self) -> u8 {
        // SAFETY: as above.
        unsafe {
            while self.0.add(1).read_volatile() & 2 == 0 {}
            self.0.read_volatile() as u8
        }
    }
}

impl Write for Uart {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        text.bytes().for_each(|byte| self.put(byte));
        Ok(())
    }
}

fn greedy(session: &mut Session, word: &str, uart: &mut Uart) -> Result<(), DecodeError> {
    let mut decoder = Greedy::new(session)?;
    decoder.encode_text(word)?;
    while let Some(token) = decoder.step()? {
        let _ = write!(
            uart,
            "{} ",
            decoder.model().token_name(token).unwrap_or("?")
        );
    }
    let _ = writeln!(uart);
    Ok(())
}

fn beam(
    session: &mut Session,
    memory: &mut [u8],
    word: &str,
    uart: &mut Uart,
) -> Result<(), DecodeError> {
    let mut beam = Beam::<WIDTH>::new(session, memory)?;
    beam.encode_text(word)?;
    beam.decode()?;
    for found in beam.hypotheses() {
        for &token in found.tokens {
            let _ = write!(uart, "{} ", beam.model().token_name(token).unwrap_or("?"));
        }
        let _ = writeln!(uart, "({} / 65536)", found.score);
    }
    Ok(())
}

#[cortex_m_rt::entry]
fn main() -> ! {
    let mut uart = Uart::start();
    let model = g2p::model().unwrap_or_else(|_| process::exit(1));
    let session = Session::new(model, ARENA.take().as_mut_slice());
    let mut session = session.unwrap_or_else(|_| process::exit(2));
    let memory = BEAM.take().as_mut_slice();
    let mut line = heapless::String::<64>::new();
    let _ = writeln!(uart, "a word, please");
    loop {
        match uart.get() {
            b'\r' | b'\n' if line.is_empty() => process::exit(0),
            b'\r' | b'\n' => {
                let result = greedy(&mut session, &line, &mut uart)
                    .and_then(|()| beam(&mut session, memory, &line, &mut uart));
                if let Err(error) = result {
                    let _ = writeln!(uart, "error: {error}");
                }
                line.clear();
            }
            // What does not fit is cut off; the model's limit is shorter.
            byte => line.push(byte.into()).unwrap_or(()),
        }
    }
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    let _ = writeln!(Uart::start(), "{info}");
    process::exit(101)
}
