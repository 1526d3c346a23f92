//! Long work beside the interpreter: on a thread of its own, so that Ctrl-C and progress reach Python while it goes on.

use crate::errors::Failure;
use attn_converter::guard::guarded;
use attn_converter::progress::{Progress, Step};
use pyo3::prelude::*;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

/// Stack of the thread: that of a program's main thread, in which the command `attn` does the same work.
const STACK: usize = 8 << 20;
/// Time between two looks at what the user wants.
const LOOK: Duration = Duration::from_millis(50);

enum Event<T> {
    Step(Step),
    Done(Result<T, Failure>),
}

/// Does `work` on another thread. `progress` is called with the name of the phase, steps done and steps in all. When it raises, or
/// on Ctrl-C, the exception is raised at once; the work ends at its next step and leaves nothing.
///
/// # Errors
/// What `work` gives, what `progress` raises, `KeyboardInterrupt`.
pub fn beside<T: Send + 'static>(
    py: Python<'_>,
    progress: Option<&Bound<'_, PyAny>>,
    work: impl FnOnce(Progress) -> Result<T, Failure> + Send + 'static,
) -> PyResult<T> {
    let (sender, mut receiver) = channel();
    let stopped = Arc::new(AtomicBool::new(false));
    let stop = Arc::clone(&stopped);
    let run = move || {
        let report = |step| {
            if stop.load(Relaxed) {
                // Caught below; nobody waits any more.
                resume_unwind(Box::new("stopped"));
            }
            let _ = sender.send(Event::Step(step));
        };
        let result = guarded(|| work(&report));
        let result = result.unwrap_or_else(|reason| Err(Failure::unexpected(&reason)));
        let _ = sender.send(Event::Done(result));
    };
    let thread = thread::Builder::new().name("attn".into()).stack_size(STACK);
    thread.spawn(run)?;
    let mut watch = || loop {
        // Unique, hence allowed to leave the lock.
        let waited = &mut receiver;
        let event = py.detach(move || waited.recv_timeout(LOOK));
        py.check_signals()?;
        match event {
            Ok(Event::Done(result)) => return result.map_err(|failure| failure.raise(py)),
            Ok(Event::Step(step)) => {
                if let Some(progress) = progress {
                    progress.call1((step.phase.name(), step.done, step.total))?;
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                return Err(Failure::unexpected("the work ended without a result").raise(py));
            }
        }
    };
    watch().inspect_err(|_| stopped.store(true, Relaxed))
}

/// Does `work` of a moment without the interpreter's lock.
///
/// # Errors
/// What `work` gives.
pub fn aside<T: Send>(
    py: Python<'_>,
    work: impl FnOnce() -> Result<T, Failure> + Send,
) -> PyResult<T> {
    let result = py.detach(|| guarded(work));
    let result = result.unwrap_or_else(|reason| Err(Failure::unexpected(&reason)));
    result.map_err(|failure| failure.raise(py))
}
