//! Keyword spotting on the Arduino Nano 33 BLE Sense (nRF52840): its PDM microphone at 16 kHz, its orange LED, keywords to the
//! debug probe.
//!
//! `cargo nano33ble` builds, flashes and shows the log; it needs a debug probe on the board's SWD pads and probe-rs.
//!
//! **When a buffer is late.** The model runs inside the sampler's callback: one buffer fills while the callback works on the other,
//! so it has 20 ms. A little later, the microphone begins to overwrite the buffer that is being read: the samples at its end are
//! newer than they should be. Later by 20 ms or more, whole buffers are lost, because the peripheral keeps one event for all of
//! them. Sampling goes on, memory stays intact, and the spotter hears a jump. The log warns of each late buffer.
#![no_std]
#![no_main]

use attn_app::keyword::embedded;
use attn_runtime::audio::SAMPLE_RATE;
use cortex_m::peripheral::DWT;
use defmt::{error, info, unwrap, warn};
use defmt_rtt as _;
use embassy_executor::Spawner;
use embassy_nrf::gpio::{Level, Output, OutputDrive};
use embassy_nrf::pdm::{self, Frequency, OperationMode, Pdm, Ratio, SamplerState};
use embassy_nrf::{bind_interrupts, config::Config, peripherals};
use panic_probe as _;

bind_interrupts!(struct Interrupts {
    PDM => pdm::InterruptHandler<peripherals::PDM>;
});

/// Samples per buffer: 20 ms. The application takes any number, whatever the hop of its model.
const BUFFER: usize = SAMPLE_RATE as usize / 50;
/// Clock of the core.
const CYCLES_PER_US: u32 = 64;
/// Time for one buffer.
const DEADLINE_US: u32 = 20_000;

#[embassy_executor::main]
async fn main(_spawner: Spawner) {
    let mut config = Config::default();
    // Use the crystal: it is exact enough for 16 kHz, the internal oscillator is not.
    config.hfclk_source = embassy_nrf::config::HfclkSource::ExternalXtal;
    let board = embassy_nrf::init(config);
    let mut core = unwrap!(cortex_m::Peripherals::take());
    core.DCB.enable_trace();
    core.DWT.enable_cycle_counter();
    let led = Output::new(board.P0_13, Level::Low, OutputDrive::Standard);
    let _microphone_power = Output::new(board.P0_17, Level::High, OutputDrive::Standard);

    let mut app = unwrap!(embedded::start(led));
    let config = pdm::Config {
        operation_mode: OperationMode::Mono,
        // 1.28 MHz / 80 = 16 kHz.
        frequency: Frequency::_1280k,
        ratio: Ratio::Ratio80,
        ..Default::default()
    };
    let mut microphone = Pdm::new(board.PDM, Interrupts, board.P0_26, board.P0_25, config);

    info!("listening, {} samples a hop", app.hop());
    let mut buffers = [[0i16; BUFFER]; 2];
    let mut listen = |pcm: &[i16; BUFFER]| {
        let start = DWT::cycle_count();
        let heard = app.push(pcm, |event| {
            info!(
                "{} ms: {} ({} / 32767)",
                event.time_ms(),
                event.label,
                event.confidence_q15
            );
        });
        let us = DWT::cycle_count().wrapping_sub(start) / CYCLES_PER_US;
        if us > DEADLINE_US {
            warn!("late: {} us for {} us of sound", us, DEADLINE_US);
        }
        match heard {
            Ok(()) => SamplerState::Sampled,
            Err(why) => {
                error!("the application stopped: {}", why);
                SamplerState::Stopped
            }
        }
    };
    let end = microphone.run_task_sampler(&mut buffers, &mut listen).await;
    error!("the microphone stopped: {}", defmt::Debug2Format(&end));
}
