//! Marks for the instruction counter of the emulator (`host-tests/m4cycles`): everything between the return of
//! [`bench_begin`] and the call of [`bench_end`] is one region.

use core::sync::atomic::{AtomicU32, Ordering};

/// Written by both marks, each its own value: functions of the same code would be merged into one.
static MARK: AtomicU32 = AtomicU32::new(0);

/// Begins a region.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn bench_begin() {
    MARK.store(1, Ordering::SeqCst);
}

/// Ends a region.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn bench_end() {
    MARK.store(2, Ordering::SeqCst);
}

/// Runs `work` as a region of this name.
pub fn region<R>(name: impl core::fmt::Display, work: impl FnOnce() -> R) -> R {
    semihosting::println!("@region {name}");
    bench_begin();
    let result = work();
    bench_end();
    result
}
