//! Random numbers that a seed determines.

/// SplitMix64 (Steele, Lea and Flood 2014).
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`; 0 if that is 0.
    pub fn below(&mut self, end: usize) -> usize {
        self.number().checked_rem(end as u64).unwrap_or(0) as usize
    }

    /// True once in `n` times.
    pub fn once_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    /// One of a list that is not empty.
    pub fn one_of<'l, T>(&mut self, list: &'l [T]) -> &'l T {
        &list[self.below(list.len())]
    }

    /// A number that parsers stumble over, made from one that is there.
    pub fn nasty(&mut self, old: u64, bits: u32) -> u64 {
        let new = match self.below(12) {
            0 => self.below(70) as u64,
            1 => self.number(),
            2 => 1 << self.below(64),
            3 => u64::MAX - self.below(17) as u64,
            4 => (1u64 << (bits - 1)).wrapping_sub(self.below(16) as u64),
            5 => old.wrapping_add(1 + self.below(16) as u64),
            6 => old.wrapping_sub(1 + self.below(16) as u64),
            7 => old.wrapping_mul(2),
            8 => old / 2,
            9 => old.wrapping_add(4 * (1 + self.below(64) as u64)),
            10 => u64::from(f32::NAN.to_bits()),
            _ => self.below(5) as u64,
        };
        if bits == 64 {
            new
        } else {
            new & ((1 << bits) - 1)
        }
    }
}
