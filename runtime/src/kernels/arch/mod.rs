//! Bodies of the innermost loop: the portable one, which defines the result, and one for the DSP instructions of
//! Cortex-M4, M7 and M33. `cfg(attn_dsp)` is set by the build script for such targets when feature `dsp` is on.

#[cfg(attn_dsp)]
pub mod dsp;
pub mod portable;

#[cfg(attn_dsp)]
pub(super) use dsp::dot4;
#[cfg(not(attn_dsp))]
pub(super) use portable::dot4;
