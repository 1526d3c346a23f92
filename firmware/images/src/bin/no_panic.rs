//! Not for running: calls the public functions of the runtime and of the slots on data unknown to the compiler. A test checks that no panic
//! was linked (`host-tests/tests/firmware.rs`).
#![no_std]
#![no_main]

use attn_runtime::kws::{FeatureSpotter, KeywordSpotter};
use attn_runtime::seq2seq::{Beam, Greedy};
use attn_runtime::{Limits, Model, Operators, Session};
use attn_slots::{MappedFlash, Slots, Unsigned};
use core::hint::black_box;
use core::panic::PanicInfo;
use cortex_m_rt::entry;
use embedded_storage::nor_flash::{ErrorType, NorFlash, NorFlashErrorKind, ReadNorFlash};
use semihosting::process;

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    process::exit(1)
}

#[entry]
fn main() -> ! {
    let mut arenas = [[0u8; 256]; 2];
    let [one, other] = &mut arenas;
    let mut limits = Limits::default();
    limits.macs = black_box(1);
    black_box(Model::parse_with(black_box(&[]), Operators::all(), &limits).is_ok());
    if let Ok(model) = Model::parse(black_box(&[])) {
        black_box(model.work(black_box(0)));
        spot(model, black_box(one));
        decide(model, black_box(&mut [0; 256]));
        run(model, black_box(other));
        decode(model, black_box(&mut [0; 256]), black_box(&mut [0; 256]));
    }
    update([Flash(&[1; 64]), Flash(&[2; 64])]);
    process::exit(0)
}

fn spot(model: Model<'_>, arena: &mut [u8]) {
    if let Ok(mut spotter) = KeywordSpotter::new(model, arena) {
        let heard = spotter.push(black_box(&[0; 1000]), |event| {
            black_box((event.time_ms(), event.label));
        });
        black_box(heard.is_ok());
        spotter.gap(black_box(5));
        black_box(spotter.set_threshold(black_box(3), black_box(9)).is_ok());
        spotter.reset();
        black_box(spotter.decoder().averages_q15().max());
    }
}

fn decide(model: Model<'_>, arena: &mut [u8]) {
    if let Ok(mut spotter) = FeatureSpotter::new(model, arena) {
        black_box(spotter.push_features(black_box(&[0; 40])).is_ok());
        black_box(spotter.set_threshold(black_box(3), black_box(9)).is_ok());
        spotter.reset();
        black_box(spotter.decoder().thresholds_q15().len());
    }
}

fn decode(model: Model<'_>, arena: &mut [u8], memory: &mut [u8]) {
    let Ok(mut session) = Session::new(model, arena) else {
        return;
    };
    if let Ok(mut greedy) = Greedy::new(&mut session) {
        black_box(greedy.encode_text(black_box("text")).is_ok());
        black_box(greedy.encode_symbols(black_box(&[1, 2])).is_ok());
        black_box(greedy.encode(black_box(&[1i8, 2])).is_ok());
        black_box(greedy.restart().is_ok());
        while let Ok(Some(token)) = greedy.step() {
            black_box((model.token_name(token), greedy.weights::<i16>().is_ok()));
        }
        black_box((greedy.follow(black_box(3)).is_ok(), greedy.score()));
    }
    if let Ok(mut beam) = Beam::<4>::new(&mut session, memory) {
        beam.set_length_normalization(black_box(0.5));
        black_box(beam.encode_text(black_box("text")).is_ok());
        black_box(beam.encode_symbols(black_box(&[1, 2])).is_ok());
        black_box(beam.encode(black_box(&[1i8, 2])).is_ok());
        black_box(beam.decode().is_ok());
        for found in beam.hypotheses() {
            black_box((found.tokens, found.score));
        }
    }
}

fn run(model: Model<'_>, arena: &mut [u8]) {
    black_box(model.labels().count());
    black_box(model.entry(black_box("step")));
    if let Ok(mut session) = Session::new(model, arena) {
        let (entry, index) = black_box((0, 0));
        if let Ok(input) = session.input::<i16>(entry, index) {
            input.fill(1);
        }
        black_box(session.start(entry).is_ok());
        black_box(session.run_ops(black_box(3)).is_ok());
        black_box(session.run(entry).is_ok());
        black_box(session.output::<i8>(entry, index).is_ok());
        black_box(session.tensor_bytes(index));
    }
}

/// Flash that does anything.
struct Flash(&'static [u8]);

impl ErrorType for Flash {
    type Error = NorFlashErrorKind;
}

impl ReadNorFlash for Flash {
    const READ_SIZE: usize = 4;

    fn read(&mut self, _: u32, bytes: &mut [u8]) -> Result<(), NorFlashErrorKind> {
        bytes.fill(black_box(3));
        black_box(Ok(()))
    }

    fn capacity(&self) -> usize {
        black_box(self.0.len())
    }
}

impl NorFlash for Flash {
    const WRITE_SIZE: usize = 4;
    const ERASE_SIZE: usize = 4096;

    fn erase(&mut self, _: u32, _: u32) -> Result<(), NorFlashErrorKind> {
        black_box(Ok(()))
    }

    fn write(&mut self, _: u32, _: &[u8]) -> Result<(), NorFlashErrorKind> {
        black_box(Ok(()))
    }
}

impl MappedFlash for Flash {
    fn bytes(&self) -> &[u8] {
        black_box(self.0)
    }
}

fn update(regions: [Flash; 2]) {
    let policy = Unsigned {
        operators: Operators::all(),
        limits: Limits::default(),
    };
    let Ok(mut slots) = Slots::open(black_box(regions)) else {
        return;
    };
    black_box((
        slots.room(),
        slots.oldest(),
        slots.current(&policy).is_some(),
    ));
    if let Ok(mut update) = slots.receive(&policy) {
        black_box(update.in_use(&policy).is_some());
        black_box(update.push(black_box(&[0; 1000])).is_ok());
        black_box((update.received(), update.expected()));
        black_box(update.finish().is_ok());
    }
    black_box(slots.release()[0].0);
}
