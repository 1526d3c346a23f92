//! A text continued by a small language model, one token at a time with a key/value cache.
#![no_std]
#![no_main]

use attn_runtime::seq2seq::{DecodeError, Greedy, Sampling};
use attn_runtime::{Arena, Session};
use core::panic::PanicInfo;
use semihosting::{print, println, process};
use static_cell::ConstStaticCell;

attn_runtime::include_model!(mod llama = "../../../models/llama.attn");

static ARENA: ConstStaticCell<Arena<{ llama::ARENA_LEN }>> = ConstStaticCell::new(llama::arena());
const PROMPT: &str = "In the beginning";
/// Of this number of best tokens one is sampled.
const TOP: usize = 8;
/// Randomness: 1.0 is that of the model.
const TEMPERATURE: f32 = 0.8;
const SEED: u32 = 1;

fn continue_text(session: &mut Session) -> Result<(), DecodeError> {
    let mut decoder = Greedy::new(session)?;
    decoder.restart()?;
    decoder.prompt_text(PROMPT)?;
    print!("{PROMPT}");
    let mut sampling = Sampling::new(TEMPERATURE, SEED);
    while let Some(token) = decoder.step_by::<TOP>(|best| sampling.pick(best))? {
        print!("{}", decoder.model().token_name(token).unwrap_or("?"));
    }
    println!();
    Ok(())
}

#[cortex_m_rt::entry]
fn main() -> ! {
    let model = llama::model().unwrap_or_else(|error| fail(&error));
    let session = Session::new(model, ARENA.take().as_mut_slice());
    let mut session = session.unwrap_or_else(|error| fail(&error));
    match continue_text(&mut session) {
        Ok(()) => process::exit(0),
        Err(error) => fail(&error),
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
