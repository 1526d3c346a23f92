//! What the images share that compare kernels on random cases.
#![no_std]

/// xorshift32 (Marsaglia 2003): small, and the same cases in every run.
pub struct Random(u32);

impl Default for Random {
    fn default() -> Self {
        Self(0x2545_f491)
    }
}

impl Random {
    /// 32 random bits.
    pub fn bits(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        self.0
    }

    /// A number from 0 to below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        self.bits() as usize % n
    }
}
