//! As much of Thumb-2 machine code (ARM DDI 0403) as a call graph needs: branches, calls by address, addresses that are built,
//! and what is pushed.

use object::{Object, ObjectSection, ObjectSymbol, SectionKind};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// The machine code of an image, and where it has data in between.
#[derive(Debug, Default)]
pub(crate) struct Code {
    sections: BTreeMap<u64, Vec<u8>>,
    /// From each address on: whether data follows (`$d`) or code (`$t`).
    data: BTreeMap<u64, bool>,
}

impl Code {
    /// That of an image.
    pub fn of<'d>(file: &object::File<'d>) -> Self {
        let sections = file.sections();
        let sections = sections.filter(|section| section.kind() == SectionKind::Text);
        let sections = sections.map(|section| {
            let bytes = section.data().unwrap_or_default();
            (section.address(), bytes.to_vec())
        });
        let marks = file.symbols().filter_map(|symbol| {
            let name = symbol.name().ok()?;
            let data = name.starts_with("$d");
            (data || name.starts_with("$t")).then_some((symbol.address() & !1, data))
        });
        Self {
            sections: sections.collect(),
            data: marks.collect(),
        }
    }

    fn bytes(&self, range: Range<u64>) -> &[u8] {
        let before = self.sections.range(..=range.start).next_back();
        let Some((start, bytes)) = before else {
            return &[];
        };
        let from = (range.start - start) as usize;
        let to = bytes.len().min((range.end - start) as usize);
        bytes.get(from..to).unwrap_or(&[])
    }

    fn is_data(&self, address: u64) -> bool {
        let mark = self.data.range(..=address).next_back();
        mark.is_some_and(|(_, data)| *data)
    }
}

/// What is in a function.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    /// Where it branches to, within itself or beyond.
    pub branches: BTreeSet<u64>,
    /// Whether it branches to an address in a register or in memory, returns excepted.
    pub indirect: bool,
    /// Words that its code builds or has beside it: perhaps addresses.
    pub words: BTreeSet<u64>,
    /// Bytes that it pushes or takes from the stack, all together.
    pub pushed: u64,
}

/// Little-endian words of 32 bits.
pub(crate) fn words(bytes: &[u8]) -> impl Iterator<Item = u64> {
    let (words, _) = bytes.as_chunks();
    words.iter().map(|word| u32::from_le_bytes(*word).into())
}

/// Reads the code of a function.
pub(crate) fn scan(code: &Code, range: Range<u64>) -> Found {
    let mut found = Found::default();
    let bytes = code.bytes(range.clone());
    let half = |at: usize| {
        let pair = bytes.get(at..at + 2)?;
        Some(u32::from(u16::from_le_bytes([pair[0], pair[1]])))
    };
    // The low halves that MOVW has put into registers.
    let mut low = [0; 16];
    let mut at = 0;
    while let Some(first) = half(at) {
        let address = range.start + at as u64;
        if code.is_data(address) {
            let rest = &bytes[at..];
            let len = (1..rest.len()).find(|len| !code.is_data(address + *len as u64));
            let padding = address as usize % 2;
            let rest = &rest[padding..len.unwrap_or(rest.len())];
            // Literals are aligned.
            let start = (4 - address as usize % 4) % 4;
            found.words.extend(words(rest.get(start..).unwrap_or(&[])));
            at += rest.len().max(2);
            continue;
        }
        at += 2;
        if first >> 11 < 0b11101 {
            narrow(&mut found, address, first);
            continue;
        }
        let Some(second) = half(at) else { break };
        at += 2;
        wide(&mut found, address, [first, second], &mut low);
    }
    found
}

/// `bits` as a number of `width` bits in two's complement.
fn signed(bits: u32, width: u32) -> i64 {
    (i64::from(bits) << (64 - width)) >> (64 - width)
}

/// Where a branch leads, from its own address and the offset that it encodes.
fn target(address: u64, offset: i64) -> u64 {
    (address + 4).wrapping_add_signed(offset)
}

/// An instruction of 16 bits.
fn narrow(found: &mut Found, address: u64, code: u32) {
    match code >> 8 {
        // PUSH: a list of registers, and LR.
        0xb4 | 0xb5 => found.pushed += 4 * u64::from((code & 0x1ff).count_ones()),
        // SUB SP, #imm7 * 4.
        0xb0 if code & 0x80 != 0 => found.pushed += 4 * u64::from(code & 0x7f),
        // BLX register; BX register but LR.
        0x47 if code & 0x80 != 0 || code >> 3 & 15 != 14 => found.indirect = true,
        // MOV PC, register.
        0x46 if code & 0x87 == 0x87 => found.indirect = true,
        // B<c>.
        0xd0..=0xdd => {
            let offset = signed(code & 0xff, 8) * 2;
            found.branches.insert(target(address, offset));
        }
        // B.
        0xe0..=0xe7 => {
            let offset = signed(code & 0x7ff, 11) * 2;
            found.branches.insert(target(address, offset));
        }
        _ => {}
    }
}

/// An instruction of 32 bits.
fn wide(found: &mut Found, address: u64, [first, second]: [u32; 2], low: &mut [u32; 16]) {
    // PUSH.W {registers}; STR register, [SP, #-4]!; VPUSH {d..} or {s..}: words.
    if first == 0xe92d {
        found.pushed += 4 * u64::from(second.count_ones());
    } else if first == 0xf84d && second & 0xfff == 0xd04 {
        found.pushed += 4;
    } else if first & 0xffbf == 0xed2d {
        found.pushed += 4 * u64::from(second & 0xff);
    }
    // SUB.W SP, SP, #constant; SUBW SP, SP, #imm12.
    let constant = first >> 10 & 1;
    let imm12 = constant << 11 | (second >> 12 & 7) << 8 | second & 0xff;
    if first & 0xfbef == 0xf1ad && second & 0x8f00 == 0x0d00 {
        found.pushed += u64::from(expanded(imm12));
    } else if first & 0xfbff == 0xf2ad && second & 0x8f00 == 0x0d00 {
        found.pushed += u64::from(imm12);
    }
    // MOVW and MOVT.
    let register = (second >> 8 & 15) as usize;
    let imm16 = (first & 15) << 12 | imm12;
    if first & 0xfbf0 == 0xf240 && second & 0x8000 == 0 {
        low[register] = imm16;
    } else if first & 0xfbf0 == 0xf2c0 && second & 0x8000 == 0 {
        found.words.insert(u64::from(imm16 << 16 | low[register]));
    }
    // LDR PC, but from the stack: that is a return.
    if first & 0xff70 == 0xf850 && second >> 12 == 15 && first & 15 != 13 {
        found.indirect = true;
    }
    if first >> 11 == 0b11110 && second >> 15 == 1 {
        branch(found, address, [first, second]);
    }
}

/// BL, B.W and `B<c>.W`.
fn branch(found: &mut Found, address: u64, [first, second]: [u32; 2]) {
    let sign = first >> 10 & 1;
    let (j1, j2) = (second >> 13 & 1, second >> 11 & 1);
    let near = second & 0x7ff;
    if second & 0x1000 != 0 {
        // J1 and J2 are inverted where the sign is 0.
        let (i1, i2) = (1 ^ j1 ^ sign, 1 ^ j2 ^ sign);
        let bits = sign << 23 | i1 << 22 | i2 << 21 | (first & 0x3ff) << 11 | near;
        found.branches.insert(target(address, signed(bits, 24) * 2));
    } else if second & 0x4000 == 0 && first >> 7 & 7 != 7 {
        let bits = sign << 19 | j2 << 18 | j1 << 17 | (first & 0x3f) << 11 | near;
        found.branches.insert(target(address, signed(bits, 20) * 2));
    }
}

/// A modified constant of Thumb (A5.3.2).
fn expanded(imm12: u32) -> u32 {
    let byte = imm12 & 0xff;
    match imm12 >> 8 {
        0 => byte,
        1 => byte << 16 | byte,
        2 => byte << 24 | byte << 8,
        3 => byte << 24 | byte << 16 | byte << 8 | byte,
        _ => (0x80 | imm12 & 0x7f).rotate_right(imm12 >> 7),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scanned(halves: &[u16]) -> Found {
        let bytes = halves.iter().flat_map(|half| half.to_le_bytes()).collect();
        let code = Code {
            sections: BTreeMap::from([(0x1000, bytes)]),
            data: BTreeMap::new(),
        };
        scan(&code, 0x1000..u64::MAX)
    }

    /// Encodings of the GNU assembler.
    #[test]
    fn branches_are_followed() {
        // bl .+0x204; bl .-0x1000; b.w .+0x100; beq.w .+0x80; b.n .-2; bne.n .+8
        let cases: [(&[u16], u64); 6] = [
            (&[0xf000, 0xf900], 0x1204),
            (&[0xf7fe, 0xfffe], 0x0000),
            (&[0xf000, 0xb87e], 0x1100),
            (&[0xf000, 0x803e], 0x1080),
            (&[0xe7fd], 0x0ffe),
            (&[0xd102], 0x1008),
        ];
        for (code, to) in cases {
            assert_eq!(scanned(code).branches, BTreeSet::from([to]), "{code:x?}");
        }
    }

    #[test]
    fn calls_by_address_are_told_from_returns() {
        // blx r3; bx r3; ldr.w pc, [r0, r1, lsl #2]
        for code in [&[0x4798][..], &[0x4718], &[0xf850, 0xf021]] {
            assert!(scanned(code).indirect, "{code:x?}");
        }
        // bx lr; pop {r4, pc}; ldr.w pc, [sp], #4; pop.w {r4, r8, pc}
        for code in [
            &[0x4770][..],
            &[0xbd10],
            &[0xf85d, 0xfb04],
            &[0xe8bd, 0x8110],
        ] {
            assert!(!scanned(code).indirect, "{code:x?}");
        }
    }

    #[test]
    fn what_is_pushed_is_added_up() {
        // push {r4, r5, lr}; stmdb sp!, {r4-r9, lr}; vpush {d8-d9}; sub sp, #24; sub.w sp, sp, #0x1000; subw sp, sp, #1028
        let code = [
            0xb530, 0xe92d, 0x43f0, 0xed2d, 0x8b04, 0xb086, 0xf5ad, 0x5d80, 0xf2ad, 0x4d04,
        ];
        assert_eq!(scanned(&code).pushed, 12 + 28 + 16 + 24 + 0x1000 + 1028);
    }

    #[test]
    fn addresses_are_put_together() {
        // movw r2, #0x1235; movt r2, #0x0001
        let found = scanned(&[0xf241, 0x2235, 0xf2c0, 0x0201]);
        assert_eq!(found.words, BTreeSet::from([0x1_1235]));
    }
}
