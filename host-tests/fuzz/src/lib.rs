//! Mutated files for every parser: `.attn` files through the runtime in this process, and ONNX, npz, WAV and manifests through the
//! command `attn`. Plain loops, reproducible by seed; `cargo xtask fuzz` runs them. Without feature `desktop` only the
//! runtime's target is there: it needs no converter, and is built with AddressSanitizer and for 32 bits.

#![forbid(unsafe_code)]

#[cfg(feature = "desktop")]
pub mod desktop;
pub mod memory;
pub mod mutate;
pub mod protobuf;
pub mod random;
pub mod records;
pub mod target;
