//! Keyword spotting on the emulated Cortex-M33 (mps2-an505); see `attn_emulated::keyword`.
#![no_std]
#![no_main]

use attn_emulated::led::Led;
use attn_emulated::{host, keyword};
use core::panic::PanicInfo;

/// LED register of the FPGAIO block.
const LED_REGISTER: usize = 0x5030_2000;

#[cortex_m_rt::entry]
fn main() -> ! {
    // SAFETY: the address is this machine's LED register, and this is its only user.
    keyword::run(unsafe { Led::at(LED_REGISTER) })
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    host::fail("panicked")
}
