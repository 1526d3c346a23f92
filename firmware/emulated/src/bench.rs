//! Marks for the instruction counter of the emulator (`lab/m4cycles`): everything between the return of
//! [`bench_begin`] and the call of [`bench_end`] is one region.

use core::arch::asm;

/// Begins a region.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn bench_begin() {
    // SAFETY: does nothing. Code that the compiler cannot see through keeps the call; code unlike that of
    // `bench_end` keeps the two functions apart.
    unsafe { asm!("nop") }
}

/// Ends a region.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn bench_end() {
    // SAFETY: does nothing; see `bench_begin`.
    unsafe { asm!("nop", "nop") }
}

/// Runs `work` as a region of this name.
pub fn region<R>(name: impl core::fmt::Display, work: impl FnOnce() -> R) -> R {
    semihosting::println!("@region {name}");
    bench_begin();
    let result = work();
    bench_end();
    result
}
