//! Decoding on the emulated Cortex-M4 (mps2-an386); see `attn_emulated::decode`.
#![no_std]
#![no_main]

use attn_emulated::{decode, host};
use core::panic::PanicInfo;

#[cortex_m_rt::entry]
fn main() -> ! {
    decode::run()
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    host::fail("panicked")
}
