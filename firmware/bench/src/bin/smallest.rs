//! The smallest program around the model of ATTN_MODEL: it runs each entry point with the reals that its memory holds, for ever. Its size is
//! that of the runtime as this model needs it, with start-up code and vector table.
#![no_std]
#![no_main]

use attn_runtime::{Arena, Session, SessionError};
use core::panic::PanicInfo;

attn_runtime::include_model!(
    /// The model of the environment variable ATTN_MODEL.
    mod model = concat!(env!("OUT_DIR"), "/model.attn")
);

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    loop {}
}

#[cortex_m_rt::entry]
fn main() -> ! {
    static mut ARENA: Arena<{ model::ARENA_LEN }> = model::arena();
    loop {
        // What has failed once fails again.
        let _ = run(ARENA.as_mut_slice());
    }
}

fn run(arena: &mut [u8]) -> Result<(), SessionError> {
    let Ok(model) = model::model() else {
        return Ok(());
    };
    let mut session = Session::new(model, arena)?;
    for entry in 0..model.entries().len() {
        session.run(entry)?;
    }
    Ok(())
}
