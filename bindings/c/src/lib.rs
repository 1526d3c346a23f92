//! attn's runtime for C and C++: functions and structs of `include/attn.h`, which cbindgen makes from this crate.
//!
//! Here is the edge between C and Rust and nothing of what a model computes. `slot` and `edge` turn pointers into references;
//! each other module is the C form of one type of the runtime. No function allocates, none panics, each that can fail returns a code.
#![no_std]
#![allow(
    clippy::missing_safety_doc,
    unsafe_op_in_unsafe_fn,
    reason = "the caller's part is one contract for all functions: it stands at the top of the header (cbindgen.toml)"
)]

// A static library for the computer needs the panic handler of the standard library.
#[cfg(not(target_os = "none"))]
extern crate std;

mod beam;
mod code;
mod edge;
mod error;
mod greedy;
mod model;
mod sampling;
mod session;
mod slot;
mod spotter;
mod text;

pub use beam::*;
pub use edge::AttnText;
pub use error::*;
pub use greedy::*;
pub use model::*;
pub use sampling::*;
pub use session::*;
pub use spotter::*;
pub use text::attn_error_text;

/// Version of this interface. It changes when a program has to be compiled again.
pub const ATTN_API_VERSION: u32 = 1;

/// The `ATTN_API_VERSION` of the library that is linked: another than that of the header means that the two do not belong together.
#[unsafe(no_mangle)]
pub extern "C" fn attn_api_version() -> u32 {
    ATTN_API_VERSION
}

/// No panic can be reached; if one were, the chip would stop with a fault.
#[cfg(all(target_os = "none", not(test)))]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {
        // SAFETY: an undefined instruction raises the fault exception; nothing else happens.
        unsafe { core::arch::asm!("udf #0") }
    }
}
