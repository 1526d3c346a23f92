//! Mutated files for every parser: `.attn` files through the runtime in this process, and ONNX, npz, WAV and manifests through the
//! command `attn`. Plain loops, reproducible by seed; `cargo xtask fuzz` runs them.

pub mod desktop;
pub mod mutate;
pub mod protobuf;
pub mod random;
pub mod records;
pub mod target;
