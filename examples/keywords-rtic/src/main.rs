//! Keyword spotting under RTIC 2: SysTick brings samples, the idle task spots. Of the device only the vector table is used.
#![no_std]
#![no_main]

use core::panic::PanicInfo;
use semihosting::{println, process};

#[rtic::app(device = lm3s6965)]
mod app {
    use super::fail;
    use attn_runtime::Arena;
    use attn_runtime::kws::KeywordSpotter;
    use cortex_m::peripheral::syst::SystClkSource;
    use heapless::spsc::{Consumer, Producer, Queue};
    use semihosting::{println, process};

    attn_runtime::include_model!(mod kws = "../../../models/kws.attn");

    /// The microphone: a WAV file behind its header.
    static WAV: &[u8] = include_bytes!("../../../firmware/assets/demo.wav");
    /// Samples between two interrupts: 10 ms.
    const PIECE: usize = 160;

    #[shared]
    struct Shared {}

    #[local]
    struct Local {
        spotter: KeywordSpotter<'static, 'static>,
        filled: Producer<'static, i16>,
        drained: Consumer<'static, i16>,
        samples: core::slice::Iter<'static, [u8; 2]>,
    }

    #[init(local = [arena: Arena<{ kws::ARENA_LEN }> = kws::arena(), ring: Queue<i16, 1024> = Queue::new()])]
    fn init(cx: init::Context) -> (Shared, Local) {
        let model = kws::model().unwrap_or_else(|error| fail(&error));
        let spotter = KeywordSpotter::new(model, cx.local.arena.as_mut_slice());
        let spotter = spotter.unwrap_or_else(|error| fail(&error));
        let (filled, drained) = cx.local.ring.split();
        let mut timer = cx.core.SYST;
        timer.set_clock_source(SystClkSource::Core);
        timer.set_reload(249_999);
        timer.clear_current();
        timer.enable_interrupt();
        timer.enable_counter();
        let samples = WAV[44..].as_chunks().0.iter();
        let local = Local {
            spotter,
            filled,
            drained,
            samples,
        };
        (Shared {}, local)
    }

    #[task(binds = SysTick, local = [filled, samples])]
    fn microphone(cx: microphone::Context) {
        let room = cx.local.filled.capacity() - cx.local.filled.len();
        if room < PIECE {
            return; // Late: this microphone waits, a real one would lose samples.
        }
        for &bytes in cx.local.samples.by_ref().take(PIECE) {
            cx.local
                .filled
                .enqueue(i16::from_le_bytes(bytes))
                .unwrap_or(());
        }
    }

    #[idle(local = [spotter, drained])]
    fn idle(cx: idle::Context) -> ! {
        let mut left = (WAV.len() - 44) / 2;
        while left >= PIECE {
            let mut piece = [0; PIECE];
            if cx.local.drained.len() < PIECE {
                continue;
            }
            piece.fill_with(|| cx.local.drained.dequeue().unwrap_or(0));
            left -= PIECE;
            let result = cx.local.spotter.push(&piece, |event| {
                println!("{} ms: {}", event.time_ms(), event.label);
            });
            if let Err(error) = result {
                fail(&error);
            }
        }
        process::exit(0)
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
