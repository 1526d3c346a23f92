//! {{project-name}}: hears keywords. It plays a recording; a board gives the spotter what its microphone records.
#![no_std]
#![no_main]

use attn_runtime::Arena;
use attn_runtime::kws::KeywordSpotter;
// For its critical section.
use cortex_m as _;
use core::panic::PanicInfo;
use semihosting::{println, process};
use static_cell::ConstStaticCell;

// Your own model goes here: `attn convert` makes it.
attn_runtime::include_model!(mod kws = "{{attn}}/models/kws.attn");

static ARENA: ConstStaticCell<Arena<{ kws::ARENA_LEN }>> = ConstStaticCell::new(kws::arena());
/// 16 kHz, mono, behind the header of a WAV file.
static WAV: &[u8] = include_bytes!("{{attn}}/firmware/assets/demo.wav");
const HEADER: usize = 44;

#[cortex_m_rt::entry]
fn main() -> ! {
    let model = kws::model().unwrap_or_else(|error| fail(&error));
    let spotter = KeywordSpotter::new(model, ARENA.take().as_mut_slice());
    let mut spotter = spotter.unwrap_or_else(|error| fail(&error));
    let mut piece = [0; 160];
    for samples in WAV[HEADER..].as_chunks::<2>().0.chunks(piece.len()) {
        let bytes = samples.iter().map(|&bytes| i16::from_le_bytes(bytes));
        piece.iter_mut().zip(bytes).for_each(|(slot, sample)| *slot = sample);
        let pushed = spotter.push(&piece[..samples.len()], |event| {
            println!("{} ms: {}", event.time_ms(), event.label);
        });
        pushed.unwrap_or_else(|error| fail(&error));
    }
    process::exit(0)
}

fn fail(error: &dyn core::fmt::Display) -> ! {
    println!("error: {error}");
    process::exit(1)
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    println!("{info}");
    process::exit(101)
}
