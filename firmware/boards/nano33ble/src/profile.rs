//! What each operator of a model takes on the Arduino Nano 33 BLE Sense (nRF52840), by its cycle counter: the lines of `attn bench`, measured. Every
//! entry point runs twice, on inputs of zeros, and the second run is shown; nothing else runs meanwhile.
#![no_std]
#![no_main]

use attn_app::profile::{embedded, run};
use cortex_m::peripheral::DWT;
use defmt::{error, info, unwrap};
use defmt_rtt as _;
use embassy_executor::Spawner;
use embassy_nrf::config::Config;
use panic_probe as _;

#[embassy_executor::main]
async fn main(_spawner: Spawner) {
    let _board = embassy_nrf::init(Config::default());
    let mut core = unwrap!(cortex_m::Peripherals::take());
    core.DCB.enable_trace();
    core.DWT.enable_cycle_counter();
    let mut session = unwrap!(embedded::start());
    let model = session.model();
    for (number, entry) in model.entries().iter().enumerate() {
        info!(
            "entry point {}: operator, name, cycles",
            model.name(entry.name)
        );
        let mut all = 0u32;
        for shown in [false, true] {
            let ran = run(&mut session, number, DWT::cycle_count, |operator| {
                if shown {
                    all = all.wrapping_add(operator.cycles);
                    info!(
                        "{} {} {}",
                        operator.operator, operator.name, operator.cycles
                    );
                }
            });
            if let Err(why) = ran {
                error!("{}", why);
            }
        }
        info!("a run: {} cycles", all);
    }
}
