//! `attn inspect --board`: whether a file leaves a chip room for the program around it. What that program takes is measured by `attn bench`.

use crate::shown::say;
use attn_lab::layout;
use attn_runtime::Model;
use clap::Args;
use clap::builder::PossibleValuesParser;
use serde_json::{Value, json};
use std::str::FromStr;
use thiserror::Error;

/// What every program around a model takes at least, bytes of code and tables: that around a layer and a table has 22 386
/// (`attn bench runtime/tests/tiny.attn`).
const LEAST_CODE: u64 = 20_000;
/// Likewise of the stack: 1 492.
const LEAST_STACK: u64 = 1_400;

/// A board or a chip.
struct Board {
    name: &'static str,
    /// Bytes for the program, the model included: without what a boot loader has.
    flash: u64,
    ram: u64,
    /// Has a floating-point unit.
    float: bool,
}

const fn board(name: &'static str, flash_kib: u64, ram_kib: u64, float: bool) -> Board {
    Board {
        name,
        flash: flash_kib << 10,
        ram: ram_kib << 10,
        float,
    }
}

/// Boards that attn has firmware for, and common chips by their data sheets.
const BOARDS: [Board; 8] = [
    board("nano33ble", 960, 256, true),
    board("mps2-an386", 4096, 4096, true),
    board("mps2-an505", 4096, 4096, true),
    board("nrf52840", 1024, 256, true),
    board("nrf5340", 1024, 512, true),
    board("rp2040", 2048, 264, false),
    board("rp2350", 4096, 520, true),
    board("stm32f411", 512, 128, true),
];

/// A number of bytes, as 960K.
#[derive(Clone, Copy, Debug)]
struct Bytes(u64);

impl FromStr for Bytes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let unit = [("K", 10), ("M", 20)];
        let unit = unit
            .iter()
            .find_map(|(unit, shift)| Some((text.strip_suffix(unit)?, *shift)));
        let (number, shift) = unit.unwrap_or((text, 0));
        let number = number.parse::<u64>().ok();
        let bytes = number.and_then(|number| number.checked_mul(1 << shift));
        bytes
            .filter(|&bytes| bytes > 0)
            .map(Self)
            .ok_or_else(|| "give bytes, as 983040, 960K or 1M".into())
    }
}

/// What the model has to fit.
#[derive(Args)]
pub struct Room {
    /// Say whether the model fits this board or chip; ends with status 1 if not.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["flash", "ram"], value_parser = PossibleValuesParser::new(BOARDS.map(|board| board.name)))]
    board: Option<String>,
    /// The same for this much flash, as 960K: for the model and the program.
    #[arg(long, value_name = "BYTES")]
    flash: Option<Bytes>,
    /// The same for this much RAM, as 256K: for the arena, the stack and variables.
    #[arg(long, value_name = "BYTES")]
    ram: Option<Bytes>,
}

/// A model that does not fit, with what is too large and what helps.
#[derive(Debug, Error)]
#[error("{file} does not fit {place}: {reasons}", reasons = reasons.join("; "))]
pub struct DoesNotFit {
    file: String,
    place: String,
    reasons: Vec<String>,
}

/// One memory: what there is, what the model takes, and what a program needs beside it.
struct Memory {
    name: &'static str,
    there: u64,
    taken: u64,
    /// What takes it.
    what: &'static str,
    least: u64,
    /// What needs the rest.
    rest: &'static str,
}

impl Memory {
    fn left(&self) -> Option<u64> {
        self.there.checked_sub(self.taken)
    }

    fn fits(&self) -> bool {
        self.left().is_some_and(|left| left >= self.least)
    }

    fn print(&self) {
        let Self {
            name,
            there,
            taken,
            what,
            least,
            rest,
        } = self;
        match (self.left(), self.fits()) {
            (Some(left), true) => {
                say!("{name}: {what} {taken} of {there} bytes, {left} left for {rest}")
            }
            (Some(left), false) => say!(
                "{name}: {what} {taken} of {there} bytes, {left} left for {rest}, which have {least} at least: too large"
            ),
            (None, _) => say!("{name}: {what} {taken} bytes, there are {there}: too large"),
        }
    }

    fn json(&self) -> Value {
        json!({ "bytes": self.there, "taken": self.taken, "least_beside": self.least, "fits": self.fits() })
    }
}

/// Whether a file fits.
pub struct Fit {
    memories: Vec<Memory>,
    /// Half precision where there is no floating-point unit for it.
    half: bool,
    place: String,
}

impl Room {
    /// Looks whether a file of `len` bytes fits; `None` where nothing was asked.
    pub fn fit(&self, model: Model, len: usize) -> Option<Fit> {
        let named = self.board.as_deref();
        let board = BOARDS.iter().find(|board| Some(board.name) == named);
        let given = [&self.flash, &self.ram].map(|bytes| bytes.as_ref().map(|bytes| bytes.0));
        let [flash, ram] = match board {
            Some(board) => [Some(board.flash), Some(board.ram)],
            None => given,
        };
        let flash = flash.map(|there| Memory {
            name: "flash",
            there,
            taken: len as u64,
            what: "model",
            least: LEAST_CODE,
            rest: "code",
        });
        let ram = ram.map(|there| Memory {
            name: "RAM",
            there,
            taken: model.arena_len() as u64,
            what: "arena",
            least: LEAST_STACK,
            rest: "stack and variables",
        });
        let memories: Vec<Memory> = flash.into_iter().chain(ram).collect();
        let place = match board {
            Some(board) => board.name.to_owned(),
            None => {
                let sizes = memories
                    .iter()
                    .map(|m| format!("{} bytes of {}", m.there, m.name));
                sizes.collect::<Vec<_>>().join(" and ")
            }
        };
        let half = board.is_some_and(|board| !board.float) && layout::is_half(&model);
        (!memories.is_empty()).then_some(Fit {
            memories,
            half,
            place,
        })
    }
}

impl Fit {
    pub fn print(&self) {
        say!("");
        self.memories.iter().for_each(Memory::print);
        if self.half {
            say!("half precision: {} has no floating-point unit", self.place);
        }
    }

    pub fn json(&self) -> Value {
        let mut fit = json!({ "place": self.place, "fits": self.fits() });
        for memory in &self.memories {
            fit[memory.name.to_lowercase()] = memory.json();
        }
        fit
    }

    fn fits(&self) -> bool {
        !self.half && self.memories.iter().all(Memory::fits)
    }

    /// An error that says what is too large, and what helps.
    pub fn check(&self, file: String, model: Model) -> Result<(), DoesNotFit> {
        if self.fits() {
            return Ok(());
        }
        let large = |memory: &&Memory| !memory.fits();
        let mut reasons: Vec<String> = self
            .memories
            .iter()
            .filter(large)
            .map(|memory| match memory.name {
                "flash" => flash_reason(memory, model),
                _ => ram_reason(memory, model),
            })
            .collect();
        if self.half {
            reasons.push(
                "half precision needs a floating-point unit: convert with --dtype int8 or int16x8"
                    .into(),
            );
        }
        Err(DoesNotFit {
            file,
            place: self.place.clone(),
            reasons,
        })
    }
}

fn flash_reason(memory: &Memory, model: Model) -> String {
    let needed = memory.taken + memory.least;
    let smaller = match layout::is_half(&model) {
        true => "--dtype int8 halves the weights; else ",
        false => "",
    };
    format!(
        "model and code need at least {needed} bytes of flash, there are {}; weights are {} bytes of it: {smaller}take fewer channels or layers, \
         or memory that the chip maps beside its flash",
        memory.there,
        model.weights_len()
    )
}

fn ram_reason(memory: &Memory, model: Model) -> String {
    let needed = memory.taken + memory.least;
    let entries = layout::entries(&model);
    let operators = entries.iter().flat_map(|entry| &entry.operators);
    let most = operators.max_by_key(|operator| operator.live);
    let most = most.map_or(String::new(), |operator| {
        format!(
            ", most of them in use at {} `{}`",
            operator.kind, operator.name
        )
    });
    let remedy = match model.state_len() as u64 * 2 > memory.taken {
        true => {
            "state that is kept from run to run is more than half of it: take a shorter past, or a smaller --max-length"
        }
        false => {
            "take a shorter window, fewer channels, or --stream for a model that can run frame by frame"
        }
    };
    format!(
        "arena and stack need at least {needed} bytes of RAM, there are {}; the arena has {} bytes{most}: {remedy}",
        memory.there, memory.taken
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use attn_lab::boards::BOARDS as FIRMWARE;

    #[test]
    fn bytes_have_units() {
        let read = |text: &str| text.parse::<Bytes>().ok().map(|bytes| bytes.0);
        assert_eq!(read("960K"), Some(983_040));
        assert_eq!(read("1M"), Some(1 << 20));
        assert_eq!(read("12"), Some(12));
        for wrong in ["", "K", "0", "-1", "1.5M", "99999999999999999999", "1G"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn boards_have_the_memory_of_their_maps() {
        for firmware in FIRMWARE {
            let known = BOARDS.iter().find(|board| board.name == firmware.name);
            let known = known.unwrap_or_else(|| panic!("{} is missing", firmware.name));
            let map = firmware.memory().lengths().unwrap();
            assert_eq!([known.flash, known.ram], map, "{}", firmware.name);
        }
    }
}
