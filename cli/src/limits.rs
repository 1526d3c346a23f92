//! What a command may take of the machine, whatever file it is given, and how it ends when it is interrupted: a thread watches the
//! memory, and what is half-written is removed.

use attn_converter::output::abandon;
use clap::Args;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use std::process::exit;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

/// Status of a command that was interrupted, as shells give it.
const INTERRUPTED: i32 = 130;
/// Time between two looks at the memory, and at what the user wants.
const LOOK: Duration = Duration::from_millis(20);

/// Whether the command has read what it was given and works on it.
static WORKING: AtomicBool = AtomicBool::new(false);

/// Says that the command has read what it was given: from here on it shows progress.
pub fn working() {
    WORKING.store(true, Relaxed);
}

/// Limits of every command.
#[derive(Args)]
pub struct Limits {
    /// Most memory that the command may take, in MiB.
    #[arg(long, global = true, value_name = "MIB", default_value_t = 2048)]
    memory: usize,
    /// Most time that reading a model may take before the command shows progress, in seconds.
    #[arg(long, global = true, value_name = "SECONDS", default_value_t = 120)]
    patience: u64,
}

impl Limits {
    /// Ends the program where it goes beyond the limits, and on Ctrl-C.
    pub fn watch(&self) {
        let interrupted = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            // Where a signal cannot be caught, it ends the program as ever.
            let _ = flag::register(signal, Arc::clone(&interrupted));
        }
        let (memory, patience) = (self.memory, Duration::from_secs(self.patience));
        let start = Instant::now();
        // What not even the start keeps to is told before anything is done.
        look(memory, patience, start);
        thread::spawn(move || {
            loop {
                thread::sleep(LOOK);
                if interrupted.load(Relaxed) {
                    abandon();
                    exit(INTERRUPTED);
                }
                look(memory, patience, start);
            }
        });
    }
}

/// Ends the program where it is beyond a limit.
fn look(memory: usize, patience: Duration, start: Instant) {
    let taken = memory_stats::memory_stats().map_or(0, |stats| stats.physical_mem) >> 20;
    if taken > memory {
        give_up(&format!(
            "it takes more than {memory} MiB of memory: use a smaller model or fewer samples, or allow more with --memory"
        ));
    }
    if start.elapsed() > patience && !WORKING.load(Relaxed) {
        give_up(&format!(
            "the model is not read after {} s: use a smaller one, or allow more with --patience",
            patience.as_secs()
        ));
    }
}

/// Ends the program, as a rule from another thread than the one that works.
fn give_up(reason: &str) -> ! {
    eprintln!("error: {reason}");
    abandon();
    exit(1)
}
