//! Checks of firmware images: no allocator is linked, the DSP instructions are used.

use crate::elf::Image;

/// Names of functions that allocate.
pub fn allocators(image: &Image) -> Vec<&str> {
    let names = image.symbols.iter().map(|symbol| symbol.name.as_str());
    names
        .filter(|name| {
            [
                "__rust_alloc",
                "__rg_alloc",
                "__rdl_alloc",
                "alloc::",
                "malloc",
            ]
            .iter()
            .any(|part| name.contains(part))
        })
        .collect()
}

/// Number of `SMLAD` instructions in machine code of 16-bit units (ARM DDI 0403, A7.7.140).
pub fn count_smlad(code: &[u8]) -> usize {
    let halves: Vec<u16> = code
        .chunks_exact(2)
        .map(|pair| u16::from_le_bytes([pair[0], pair[1]]))
        .collect();
    halves
        .windows(2)
        .filter(|pair| pair[0] & 0xfff0 == 0xfb20 && pair[1] & 0x00f0 == 0 && pair[1] >> 12 != 15)
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn smlad_is_told_from_its_neighbours() {
        // smlad r4, r10, r8, r4; smladx r4, r10, r8, r4; smuad r4, r10, r8; mla r4, r10, r8, r4
        let code = [
            0xfb2a, 0x4408, 0xfb2a, 0x4418, 0xfb2a, 0xf408, 0xfb0a, 0x4408,
        ];
        let bytes: Vec<u8> = code
            .iter()
            .flat_map(|half: &u16| half.to_le_bytes())
            .collect();
        assert_eq!(count_smlad(&bytes), 1);
    }
}
