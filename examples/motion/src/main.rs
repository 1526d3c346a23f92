//! Gestures of a motion sensor: windows of 64 samples of acceleration (g) and rotation (degrees per second) into a small transformer.
//! Inputs and outputs are reals here; which integers the file has is the business of the typed session.
#![no_std]
#![no_main]

use attn_runtime::typed::OutputOf;
use attn_runtime::{Arena, SessionError};
use core::panic::PanicInfo;
use semihosting::{println, process};
use static_cell::ConstStaticCell;

attn_runtime::include_model!(mod motion = "../model/motion.attn");

static ARENA: ConstStaticCell<Arena<{ motion::ARENA_LEN }>> = ConstStaticCell::new(motion::arena());
/// The sensor: windows `[64, 6]` of f32, and the gesture of each.
static WINDOWS: &[u8] = include_bytes!("../samples.bin");
static GESTURES: &[u8] = include_bytes!("../labels.bin");
const WINDOW: usize = 64 * 6;
const NAMES: [&str; 4] = ["rest", "shake", "turn", "circle"];

/// The gesture with the largest logit.
fn classify(
    session: &mut motion::Session,
    window: impl Iterator<Item = f32>,
) -> Result<usize, SessionError> {
    session.quantize::<motion::Input>(window)?;
    session.run(0)?;
    let logits = session.dequantize::<motion::Output>()?.enumerate();
    let best = logits.max_by(|(_, a), (_, b)| a.total_cmp(b));
    Ok(best.map_or(0, |(gesture, _)| gesture))
}

#[cortex_m_rt::entry]
fn main() -> ! {
    // A model with other gestures does not compile.
    const { assert!(<motion::Output as OutputOf<motion::File>>::PORT.dims[0] == NAMES.len()) };
    let session = motion::Session::new(ARENA.take().as_mut_slice());
    let mut session = session.unwrap_or_else(|error| fail(&error));
    let values = WINDOWS.as_chunks().0;
    let (mut right, mut all) = (0, 0);
    for (window, &gesture) in values.chunks_exact(WINDOW).zip(GESTURES) {
        let window = window.iter().map(|&bytes| f32::from_le_bytes(bytes));
        match classify(&mut session, window) {
            Ok(found) => {
                println!("{}", NAMES.get(found).unwrap_or(&"?"));
                right += usize::from(found == usize::from(gesture));
                all += 1;
            }
            Err(error) => fail(&error),
        }
    }
    println!("{right} of {all} right");
    process::exit(0)
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
