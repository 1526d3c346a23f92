//! Board: the emulated Cortex-M4 (QEMU, mps2-an386). A WAV file stands in for the microphone, read hop by hop; the
//! lamp is the machine's first LED; events go to the console.
//!
//! Command line: name of a WAV file, 16 kHz, mono, 16-bit. Ends with status 0 when the recording is over.
#![no_std]
#![no_main]

use attn_firmware::app::embedded;
use attn_firmware::bench::{bench_begin, bench_end};
use attn_firmware::{host, stack, wav};
use core::convert::Infallible;
use cortex_m_rt::entry;
use embedded_hal::digital::{ErrorType, OutputPin};
use semihosting::{println, process};
use zerocopy::IntoBytes;

/// Most samples per hop that the front end can have.
const MAX_HOP: usize = 512;
/// Bytes of a WAV file within which its samples must begin.
const WAV_HEADER_LEN: usize = 1024;

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

#[entry]
fn main() -> ! {
    let args = host::command_line();
    let Some(Ok(path)) = (&args).next() else {
        host::fail("command line", "name a WAV file");
    };
    let mut file = host::open(path);
    let mut header = [0; WAV_HEADER_LEN];
    let len = host::read_full(&mut file, &mut header).unwrap_or(0);
    let samples = wav::samples(&header[..len]).unwrap_or_else(|error| host::fail(path, error));
    host::seek(&mut file, samples.start);

    let Ok(mut app) = embedded::start(Led0) else {
        host::fail(
            "model",
            "the embedded file is not a keyword spotter that fits",
        );
    };
    let mut left = samples.len() / 2;
    let mut pcm = [0i16; MAX_HOP];
    while left > 0 {
        let piece = app.hop().min(left);
        let pcm = &mut pcm[..piece];
        match host::read_full(&mut file, pcm.as_mut_bytes()) {
            Ok(len) if len == 2 * piece => left -= piece,
            Ok(_) => host::fail(path, "the recording is shorter than its header says"),
            Err(error) => host::fail(path, error),
        }
        let mut event = None;
        bench_begin();
        let result = app.hear(pcm, |heard| event = Some(heard));
        bench_end();
        if let Some(event) = event {
            let percent = u32::from(event.confidence_q15) * 100 / 32767;
            println!("event {} {} {percent}", event.time_ms(), event.label);
        }
        if result.is_err() {
            host::fail("model", "failed while running");
        }
    }
    println!("stack {}", stack::high_water());
    process::exit(0)
}
