//! Programs in C and C++ against the library: on this computer, watched by the compiler's sanitizers, and on an emulated Cortex-M4.

mod arduino;
mod build;
mod chip;
mod host;
mod packed;
mod page;
mod zephyr;
