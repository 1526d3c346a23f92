//! Keyword spotting without an operating system: an interrupt would fill a ring of samples, the main loop drains it.
#![no_std]
#![no_main]

use attn_runtime::Arena;
use attn_runtime::kws::KeywordSpotter;
use core::panic::PanicInfo;
use heapless::spsc::{Producer, Queue};
use semihosting::{println, process};
use static_cell::ConstStaticCell;

attn_runtime::include_model!(mod kws = "../../../models/kws.attn");

static ARENA: ConstStaticCell<Arena<{ kws::ARENA_LEN }>> = ConstStaticCell::new(kws::arena());
static RING: ConstStaticCell<Queue<i16, 1024>> = ConstStaticCell::new(Queue::new());
/// The microphone: a WAV file behind its header.
static WAV: &[u8] = include_bytes!("../../../firmware/assets/demo.wav");
/// Samples between two interrupts: 10 ms.
const PIECE: usize = 160;

/// The interrupt of the microphone. False at the end of the recording.
fn interrupt(samples: &mut dyn Iterator<Item = i16>, ring: &mut Producer<'_, i16>) -> bool {
    for _ in 0..PIECE {
        match samples.next() {
            // A full ring means that the main loop is late: the sample is lost.
            Some(sample) => ring.enqueue(sample).unwrap_or(()),
            None => return false,
        }
    }
    true
}

#[cortex_m_rt::entry]
fn main() -> ! {
    let model = match kws::model() {
        Ok(model) => model,
        Err(error) => fail(&error),
    };
    let mut spotter = match KeywordSpotter::new(model, ARENA.take().as_mut_slice()) {
        Ok(spotter) => spotter,
        Err(error) => fail(&error),
    };
    let (mut filled, mut drained) = RING.take().split();
    let mut samples = WAV[44..]
        .as_chunks()
        .0
        .iter()
        .map(|&bytes| i16::from_le_bytes(bytes));
    while interrupt(&mut samples, &mut filled) {
        let mut piece = [0; PIECE];
        piece.fill_with(|| drained.dequeue().unwrap_or(0));
        let result = spotter.push(&piece, |event| {
            let percent = u32::from(event.confidence_q15) * 100 / 32767;
            println!("{} ms: {} ({percent} %)", event.time_ms(), event.label);
        });
        if let Err(error) = result {
            fail(&error);
        }
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
