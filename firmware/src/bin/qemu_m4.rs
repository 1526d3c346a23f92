//! Board: the emulated Cortex-M4 (QEMU, mps2-an386). A WAV file stands in for the microphone, read hop by hop; the
//! lamp is the machine's first LED; events go to the console.
//!
//! Command line: name of a WAV file, 16 kHz, mono, 16-bit. Ends with status 0 when the recording is over.
#![no_std]
#![no_main]

use attn_firmware::app::embedded;
use attn_firmware::bench::{bench_begin, bench_end};
use attn_firmware::host::{self, Decimal};
use attn_firmware::{stack, wav};
use attn_runtime::kws::Event;
use core::convert::Infallible;
use core::panic::PanicInfo;
use cortex_m_rt::entry;
use embedded_hal::digital::{ErrorType, OutputPin};
use semihosting::fs::File;
use semihosting::io::{Seek, SeekFrom};
use semihosting::process;
use zerocopy::IntoBytes;

/// Most samples per hop that the front end can have.
const MAX_HOP: usize = 512;
/// Bytes of a WAV file within which its samples must begin.
const WAV_HEADER_LEN: usize = 1024;

/// Says why the program cannot go on and ends it with status 1.
fn fail(why: &str) -> ! {
    host::print(&["error:", why]);
    process::exit(1)
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    fail("panicked")
}

/// User LED 0 of the machine.
struct Led0;

impl Led0 {
    /// FPGAIO LED register: bit 0 and bit 1 are the two user LEDs.
    const REGISTER: *mut u32 = 0x4002_8000 as *mut u32;

    fn set(&mut self, on: bool) {
        // SAFETY: the address is this machine's LED register, which nothing else in the program touches.
        unsafe { Self::REGISTER.write_volatile(u32::from(on)) };
    }
}

impl ErrorType for Led0 {
    type Error = Infallible;
}

impl OutputPin for Led0 {
    fn set_low(&mut self) -> Result<(), Infallible> {
        self.set(false);
        Ok(())
    }

    fn set_high(&mut self) -> Result<(), Infallible> {
        self.set(true);
        Ok(())
    }
}

/// The recording that the command line names, at its first sample, and the number of its samples.
fn open_recording() -> Option<(File, usize)> {
    let args = host::command_line().ok()?;
    let path = (&args).next()?.ok()?;
    let mut file = host::open(path).ok()?;
    let mut header = [0; WAV_HEADER_LEN];
    let len = host::read_full(&mut file, &mut header).ok()?;
    let samples = match wav::samples(header.get(..len)?) {
        Ok(samples) => samples,
        Err(error) => fail(error.reason()),
    };
    file.seek(SeekFrom::Start(samples.start as u64)).ok()?;
    Some((file, samples.len() / 2))
}

fn report(event: &Event<'_>) {
    let time = Decimal::new(event.time_ms() as u32);
    let percent = Decimal::new(u32::from(event.confidence_q15) * 100 / 32767);
    host::print(&["event", time.text(), event.label, percent.text()]);
}

#[entry]
fn main() -> ! {
    let Some((mut file, mut left)) = open_recording() else {
        fail("the command line must name a WAV file that can be read");
    };
    let Ok(mut app) = embedded::start(Led0) else {
        fail("the embedded model is no keyword spotter that fits");
    };
    let mut pcm = [0i16; MAX_HOP];
    while left > 0 {
        let piece = app.hop().min(left).min(MAX_HOP);
        let (pcm, _) = pcm.split_at_mut(piece);
        if !matches!(host::read_full(&mut file, pcm.as_mut_bytes()), Ok(len) if len == 2 * piece) {
            fail("the recording is shorter than its header says");
        }
        left -= piece;
        let mut event = None;
        bench_begin();
        let result = app.hear(pcm, |heard| event = Some(heard));
        bench_end();
        if let Some(event) = event {
            report(&event);
        }
        if result.is_err() {
            fail("the model failed while running");
        }
    }
    host::print(&["stack", Decimal::new(stack::high_water() as u32).text()]);
    process::exit(0)
}
