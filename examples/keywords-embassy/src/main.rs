//! Keyword spotting as an embassy task: microphone task -> channel of hops -> spotter task -> channel of events.
//!
//! A hop runs to its end without yielding, 5 ms on a Cortex-M4 at 64 MHz. Tasks that must run sooner belong on an interrupt executor.
#![no_std]
#![no_main]

use attn_runtime::Arena;
use attn_runtime::kws::KeywordSpotter;
use core::panic::PanicInfo;
use cortex_m as _; // its critical section
use embassy_executor::Spawner;
use embassy_sync::blocking_mutex::raw::{CriticalSectionRawMutex, NoopRawMutex};
use embassy_sync::channel::Channel;
use embassy_sync::zerocopy_channel::{self, Receiver, Sender};
use semihosting::{println, process};
use static_cell::{ConstStaticCell, StaticCell};

attn_runtime::include_model!(mod kws = "../../../models/kws.attn");

/// Samples of a hop: 20 ms.
const HOP: usize = 320;
type Hop = [i16; HOP];

/// What the spotter reports.
enum Report {
    Heard { time_ms: u64, label: &'static str },
    End,
}

static ARENA: ConstStaticCell<Arena<{ kws::ARENA_LEN }>> = ConstStaticCell::new(kws::arena());
static REPORTS: Channel<CriticalSectionRawMutex, Report, 4> = Channel::new();
/// The microphone: a WAV file behind its header.
static WAV: &[u8] = include_bytes!("../../../firmware/assets/demo.wav");

#[embassy_executor::task]
async fn microphone(mut hops: Sender<'static, NoopRawMutex, Hop>) {
    let samples = WAV[44..].as_chunks().0;
    for chunk in samples.chunks_exact(HOP) {
        let hop = hops.send().await;
        for (sample, &bytes) in hop.iter_mut().zip(chunk) {
            *sample = i16::from_le_bytes(bytes);
        }
        hops.send_done();
    }
    // Both slots are free once the spotter has read the last hop.
    hops.send().await;
    embassy_futures::yield_now().await;
    REPORTS.send(Report::End).await;
}

#[embassy_executor::task]
async fn listen(
    mut hops: Receiver<'static, NoopRawMutex, Hop>,
    mut spotter: KeywordSpotter<'static, 'static>,
) {
    loop {
        let hop = hops.receive().await;
        let mut heard = None;
        let result = spotter.push(&hop[..], |event| heard = Some(event));
        hops.receive_done();
        if let Err(error) = result {
            fail(&error);
        }
        if let Some(event) = heard {
            let (time_ms, label) = (event.time_ms(), event.label);
            REPORTS.send(Report::Heard { time_ms, label }).await;
        }
    }
}

#[embassy_executor::main]
async fn main(spawner: Spawner) {
    static HOPS: ConstStaticCell<[Hop; 2]> = ConstStaticCell::new([[0; HOP]; 2]);
    static CHANNEL: StaticCell<zerocopy_channel::Channel<'static, NoopRawMutex, Hop>> =
        StaticCell::new();
    let channel = CHANNEL.init(zerocopy_channel::Channel::new(HOPS.take()));
    let (sender, receiver) = channel.split();
    let model = kws::model().unwrap_or_else(|error| fail(&error));
    let spotter = KeywordSpotter::new(model, ARENA.take().as_mut_slice());
    let spotter = spotter.unwrap_or_else(|error| fail(&error));
    match (microphone(sender), listen(receiver, spotter)) {
        (Ok(microphone), Ok(listen)) => {
            spawner.spawn(microphone);
            spawner.spawn(listen);
        }
        _ => fail(&"no room for the tasks"),
    }
    loop {
        match REPORTS.receive().await {
            Report::Heard { time_ms, label } => println!("{time_ms} ms: {label}"),
            Report::End => process::exit(0),
        }
    }
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
