//! Not for running: calls the runtime's public functions on data unknown to the compiler. A test checks that no panic
//! was linked (`host-tests/tests/firmware.rs`).
#![no_std]
#![no_main]

use attn_runtime::kws::{FeatureSpotter, KeywordSpotter};
use attn_runtime::seq2seq::{Beam, Greedy};
use attn_runtime::{Limits, Model, Operators, Session};
use core::hint::black_box;
use core::panic::PanicInfo;
use cortex_m_rt::entry;
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
