//! The keyword application on an emulated board. A WAV file is the microphone, read hop by hop; keywords go to the console.
//!
//! Command line: name of a WAV file, 16 kHz, mono, 16-bit. Prints `event MILLISECONDS LABEL PERCENT` for each keyword and, at the
//! end of the recording, `stack BYTES`. Each hop is a region to be counted. A hop is never late here: the file waits.

use crate::bench::{bench_begin, bench_end};
use crate::host::{self, Decimal, fail, open_recording};
use crate::led::Led;
use crate::stack;
use attn_app::keyword::embedded;
use attn_runtime::audio::FRAME_LEN;
use attn_runtime::kws::Event;
use semihosting::fs::File;
use semihosting::process;
use zerocopy::IntoBytes;

fn report(event: &Event<'_>) {
    let time = Decimal::new(event.time_ms() as u32);
    let percent = Decimal::new(u32::from(event.confidence_q15) * 100 / 32767);
    host::print(&["event", time.text(), event.label, percent.text()]);
}

/// The recording that the command line names. Frees the memory of the command line.
fn recording() -> Option<(File, usize)> {
    let args = host::command_line().ok()?;
    open_recording((&args).into_iter().next()?.ok()?)
}

/// Plays the recording that the command line names to the embedded model, then ends the program.
// A call that does not return counts as cold: outside of `main`, nothing would be inlined here, and the application be copied.
#[inline(always)]
pub fn run(led: Led) -> ! {
    let Some((mut file, mut left)) = recording() else {
        fail("the command line must name a WAV file that can be read");
    };
    let Ok(mut app) = embedded::start(led) else {
        fail("the embedded model is no keyword spotter that fits");
    };
    // No hop is longer than a frame.
    let mut pcm = [0i16; FRAME_LEN];
    while left > 0 {
        let piece = app.hop().min(left).min(FRAME_LEN);
        let (pcm, _) = pcm.split_at_mut(piece);
        if !matches!(host::read_full(&mut file, pcm.as_mut_bytes()), Ok(len) if len == 2 * piece) {
            fail("the recording is shorter than its header says");
        }
        left -= piece;
        let mut event = None;
        bench_begin();
        let result = app.push(pcm, |heard| event = Some(heard));
        bench_end();
        if let Some(event) = event {
            report(&event);
        }
        if result.is_err() {
            fail("the model failed while running");
        }
    }
    host::print(&["stack", Decimal::new(stack::high_water() as u32).text()]);
    process::exit(0)
}
