//! Decoding on the Arduino Nano 33 BLE Sense (nRF52840): a few words through the embedded model, tokens to the debug probe. It is
//! a starting point for your own application. It has no deadline: each word is decoded to its end before the next.
#![no_std]
#![no_main]

use attn_app::decode::DecodeApp;
use attn_runtime::seq2seq::DecodeError;
use defmt::{error, info, unwrap};
use defmt_rtt as _;
use embassy_executor::Spawner;
use embassy_nrf::config::Config;
use panic_probe as _;

const WORDS: [&str; 3] = ["tokenize", "attention", "microcontroller"];

#[embassy_executor::main]
async fn main(_spawner: Spawner) {
    let _board = embassy_nrf::init(Config::default());
    let mut app = unwrap!(DecodeApp::start());
    for word in WORDS {
        if let Err(why) = pronounce(&mut app, word) {
            error!("{}: {}", word, why);
        }
    }
}

fn pronounce(app: &mut DecodeApp<'_, '_>, word: &str) -> Result<(), DecodeError> {
    let model = app.model();
    let mut beam = app.beam()?;
    beam.encode_text(word)?;
    beam.decode()?;
    for found in beam.hypotheses().take(1) {
        info!("{}", word);
        for &token in found.tokens {
            info!("  {}", model.token_name(token).unwrap_or("?"));
        }
    }
    Ok(())
}
