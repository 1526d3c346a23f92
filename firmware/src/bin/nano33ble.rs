//! Board: Arduino Nano 33 BLE Sense (nRF52840). Its PDM microphone is sampled at 16 kHz, the lamp is the orange LED,
//! events go to the debug probe.
//!
//! `cargo nano33ble` builds, flashes and shows the log; it needs a debug probe on the board's SWD pads and probe-rs.
#![no_std]
#![no_main]

use attn_firmware::app::embedded;
use defmt::{error, info, unwrap};
use defmt_rtt as _;
use embassy_executor::Spawner;
use embassy_nrf::gpio::{Level, Output, OutputDrive};
use embassy_nrf::pdm::{self, Frequency, OperationMode, Pdm, Ratio, SamplerState};
use embassy_nrf::{bind_interrupts, config::Config, peripherals};
use panic_probe as _;

bind_interrupts!(struct Interrupts {
    PDM => pdm::InterruptHandler<peripherals::PDM>;
});

/// Samples per buffer: one hop of the shipped model, 20 ms. One buffer fills while the other is worked on.
const PIECE: usize = 320;

#[embassy_executor::main]
async fn main(_spawner: Spawner) {
    let mut config = Config::default();
    // The crystal: its clock is exact enough for 16 kHz, the internal oscillator's is not.
    config.hfclk_source = embassy_nrf::config::HfclkSource::ExternalXtal;
    let board = embassy_nrf::init(config);
    let lamp = Output::new(board.P0_13, Level::Low, OutputDrive::Standard);
    let _microphone_power = Output::new(board.P0_17, Level::High, OutputDrive::Standard);

    let mut app = unwrap!(embedded::start(lamp));
    let config = pdm::Config {
        operation_mode: OperationMode::Mono,
        // 1.28 MHz / 80 = 16 kHz.
        frequency: Frequency::_1280k,
        ratio: Ratio::Ratio80,
        ..Default::default()
    };
    let mut microphone = Pdm::new(board.PDM, Interrupts, board.P0_26, board.P0_25, config);

    info!("listening");
    let mut buffers = [[0i16; PIECE]; 2];
    let mut listen = |pcm: &[i16; PIECE]| {
        let heard = app.hear(pcm, |event| {
            info!(
                "{} ms: {} ({} / 32767)",
                event.time_ms(),
                event.label,
                event.confidence_q15
            );
        });
        match heard {
            Ok(()) => SamplerState::Sampled,
            Err(_) => SamplerState::Stopped,
        }
    };
    let end = microphone.run_task_sampler(&mut buffers, &mut listen).await;
    error!("the microphone stopped: {}", defmt::Debug2Format(&end));
}
