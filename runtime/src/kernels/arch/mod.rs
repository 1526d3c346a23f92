//! The innermost loops, a folder or file for each instruction set, and the one place that chooses between them.
//!
//! `int`, `pairs`, `exp`, `norm`, `taps` and `half` define the operands and dispatch; `portable` defines the results. `dsp` has the DSP instructions of
//! Cortex-M4, M7 and M33 (`cfg(attn_dsp)`), `vfp` the half conversions of their floating-point unit (`cfg(attn_vfp)`).
//! The build script sets both from the target and the features. `sse2` is for hosts: conversion runs a model thousands of
//! times to choose the width of its values.

#[cfg(attn_dsp)]
pub mod dsp;
pub mod exp;
#[cfg(attn_half)]
pub mod half;
pub mod int;
pub mod norm;
pub mod pairs;
pub mod portable;
#[cfg(target_arch = "x86_64")]
pub mod sse2;
pub mod taps;
#[cfg(attn_vfp)]
pub mod vfp;
