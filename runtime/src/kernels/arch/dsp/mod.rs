//! The inner loops for Armv7E-M and Armv8-M with the DSP extension.
//!
//! `SMLAD` adds with wrap-around, as the portable body does (it also sets the sticky Q flag, which is never read). Word loads
//! need no alignment on these cores; a parsed model's tensors and weights start at a word all the same. Loads stand in bursts:
//! the first takes two cycles, each further one takes one.

pub mod exp;
mod finish;
mod joined;
pub mod norm;
pub mod pairs;
mod row;
pub mod taps;
mod tile;
mod wide;

pub use row::run;
pub use tile::run_tile;
pub use wide::run_wide;

use super::int::{Blocks, Constants};
use crate::kernels::int::dot::LANES;
use crate::kernels::int::joined::SHIFT;

// The assembler knows the DSP instructions of every Armv7E-M core. On Armv8-M they are an extension, which rustc's
// target lacks: name a core that has it.
#[cfg(not(attn_armv8m))]
macro_rules! enable_dsp {
    () => {
        ""
    };
}
#[cfg(attn_armv8m)]
macro_rules! enable_dsp {
    () => {
        ".cpu cortex-m33"
    };
}
use enable_dsp;

// `attn_clamp value`: limits a register to r8 and r9. For `.purgem` behind its uses.
macro_rules! define_clamp {
    () => {
        concat!(
            ".macro attn_clamp value\n",
            "cmp \\value, r8\n",
            "it lt\n",
            "movlt \\value, r8\n",
            "cmp \\value, r9\n",
            "it gt\n",
            "movgt \\value, r9\n",
            ".endm"
        )
    };
}
use define_clamp;

/// What becomes of sums. The numbers are in the code of `row`, `tile`, `joined` and `finish`.
#[derive(Clone, Copy)]
#[repr(u32)]
enum Kind {
    Sums = 0,
    I8 = 1,
    I16 = 2,
    Scaled = 3,
    I8Clamped = 4,
    I16Clamped = 5,
    I32 = 6,
}

impl Kind {
    /// Results from `min` to `max`, of int8 or int16: the type may be the limit.
    fn limited<T: Into<i32>>(limits: [i32; 2], [low, high]: [T; 2], kinds: [Self; 2]) -> Self {
        let [saturated, clamped] = kinds;
        match limits == [low.into(), high.into()] {
            true => saturated,
            false => clamped,
        }
    }

    fn int8(limits: [i32; 2]) -> Self {
        Self::limited(limits, [i8::MIN, i8::MAX], [Self::I8, Self::I8Clamped])
    }

    fn int16(limits: [i32; 2]) -> Self {
        Self::limited(limits, [i16::MIN, i16::MAX], [Self::I16, Self::I16Clamped])
    }
}

impl<const JOINED: bool> Blocks<'_, JOINED> {
    /// The kind by which sums become int8. That of joined weights shifts by a constant where the type is the limit.
    fn int8(&self) -> Kind {
        match Kind::int8([self.min, self.max]) {
            Kind::I8 if JOINED && self.shift() != SHIFT => Kind::I8Clamped,
            kind => kind,
        }
    }

    /// What is added to products of this kind.
    fn addend_of(&self, kind: Kind) -> i32 {
        self.addend(match kind {
            Kind::I32 => 0,
            _ => self.zero_point,
        })
    }

    /// The shift of sums of this kind: none where they stay sums.
    fn shift_of(&self, kind: Kind) -> u32 {
        match kind {
            Kind::Sums => 0,
            _ => self.shift(),
        }
    }
}

impl Constants<'_> {
    /// Where they are, and of how many blocks.
    fn place<const JOINED: bool>(&self) -> (*const i32, usize) {
        match self {
            Self::Each(each) => (each.as_ptr(), each.len() / LANES),
            Self::Same(four) if JOINED => (four.as_ptr(), 1),
            Self::Same(four) => (four.as_ptr(), usize::MAX),
        }
    }

    /// Bytes from behind a block's constants to those of the next.
    fn back(&self) -> isize {
        match self {
            Self::Each(_) => 0,
            Self::Same(_) => -(size_of::<[i32; LANES]>() as isize),
        }
    }
}
