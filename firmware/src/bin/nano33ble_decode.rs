//! Board: Arduino Nano 33 BLE Sense (nRF52840). Decodes a few words with the embedded model and
//! logs the tokens to the debug probe: a start for an application of your own.
#![no_std]
#![no_main]

use attn_firmware::decoder::{self, WIDTH};
use attn_runtime::Session;
use attn_runtime::seq2seq::{Beam, DecodeError};
use defmt::{error, info, unwrap};
use defmt_rtt as _;
use embassy_executor::Spawner;
use embassy_nrf::config::Config;
use panic_probe as _;

const WORDS: [&str; 3] = ["tokenize", "attention", "microcontroller"];

#[embassy_executor::main]
async fn main(_spawner: Spawner) {
    let _board = embassy_nrf::init(Config::default());
    let (mut session, memory) = unwrap!(decoder::start());
    for word in WORDS {
        if let Err(why) = pronounce(&mut session, memory, word) {
            error!("{}: {}", word, why);
        }
    }
}

fn pronounce(
    session: &mut Session<'_, '_>,
    memory: &mut [u8],
    word: &str,
) -> Result<(), DecodeError> {
    let mut beam = Beam::<WIDTH>::new(session, memory)?;
    beam.encode_text(word)?;
    beam.decode()?;
    let model = beam.model();
    for found in beam.hypotheses().take(1) {
        info!("{}", word);
        for &token in found.tokens {
            info!("  {}", model.token_name(token).unwrap_or("?"));
        }
    }
    Ok(())
}
