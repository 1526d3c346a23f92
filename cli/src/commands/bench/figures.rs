//! The figures: what the emulator counted, or what is estimated from shapes where it did not run, beside what the file says.

use attn_converter::estimate;
use attn_converter::runner::ModelFile;
use attn_lab::bench::{Bench, Count, Function};
use attn_lab::emulator::Core;
use attn_lab::layout;
use attn_runtime::Model;
use serde_json::{Value, json};

/// What the figures are for.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// The core.
    pub core: Core,
    /// Cycles a second.
    pub clock: f64,
    /// Cycles for a line of flash.
    pub wait_states: u32,
    /// Bytes of such a line.
    pub flash_width: u32,
}

/// One operator, or a sum of several.
#[derive(Clone, Debug)]
pub struct Row {
    /// What the file says of it.
    pub operator: layout::Operator,
    /// Type of its first output.
    pub dtype: &'static str,
    /// Instructions, if they were counted.
    pub instructions: Option<u64>,
    /// Estimated cycles.
    pub cycles: u64,
}

/// An entry point.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Its operators.
    pub rows: Vec<Row>,
    /// What the arena holds while they run.
    pub spans: Vec<layout::Span>,
    /// Instructions of a run, if they were counted.
    pub instructions: Option<u64>,
    /// Estimated cycles of a run.
    pub cycles: u64,
    /// Functions of a run, the most costly first, if they were asked for.
    pub functions: Vec<Function>,
}

/// Bytes of flash and RAM.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// The file.
    pub model: u64,
    /// Of it weights, biases, multipliers and tables.
    pub weights: u64,
    /// Code, and tables of the runtime, if a program was built.
    pub code: Option<[u64; 2]>,
    /// The arena.
    pub arena: u64,
    /// Of it what is kept between runs.
    pub state: u64,
    /// Most stack, if it was measured.
    pub stack: Option<u64>,
}

/// All figures of a model.
#[derive(Clone, Debug)]
pub struct Figures {
    /// What they are for.
    pub setting: Setting,
    /// Whether the emulator counted.
    pub measured: bool,
    /// Parsing the file, once, if it was counted.
    pub parse: Option<Count>,
    /// Each entry point.
    pub entries: Vec<Entry>,
    /// Flash and RAM.
    pub memory: Memory,
}

impl Figures {
    /// Joins what the file says with what was measured.
    pub fn new(file: &ModelFile, setting: &Setting, measured: Option<Bench>) -> Self {
        let model = file.model();
        let layouts = layout::entries(&model).into_iter().enumerate();
        let entries = layouts.map(|(number, layout)| {
            let counted = measured
                .as_ref()
                .and_then(|bench| bench.entries.get(number));
            entry(&model, number, layout, counted)
        });
        let entries = entries.collect();
        let memory = Memory {
            model: file.bytes().len() as u64,
            weights: model.weights_len() as u64,
            code: measured.as_ref().map(|bench| [bench.code, bench.tables]),
            arena: model.arena_len() as u64,
            state: model.state_len() as u64,
            stack: measured.as_ref().map(|bench| bench.stack),
        };
        Self {
            setting: *setting,
            measured: measured.is_some(),
            parse: measured.as_ref().map(|bench| bench.parse),
            entries,
            memory,
        }
    }

    /// Milliseconds of so many cycles.
    pub fn milliseconds(&self, cycles: u64) -> f64 {
        1000.0 * cycles as f64 / self.setting.clock
    }

    /// What silicon may take in the place of so many estimated cycles, least and most.
    pub fn spread(&self, cycles: u64) -> [u64; 2] {
        let silicon = silicon(self.setting.core, self.setting.wait_states);
        let [least, most] = match self.measured {
            true => silicon,
            false => [0, 1].map(|i| silicon[i] / estimate::SPREAD[1 - i]),
        };
        [least, most].map(|factor| (cycles as f64 * factor) as u64)
    }

    /// Where cycles come from, in a sentence.
    pub fn source(&self) -> String {
        let Setting {
            core,
            wait_states,
            flash_width,
            ..
        } = self.setting;
        if !self.measured {
            return "Cycles are estimated from shapes, for a Cortex-M4.".into();
        }
        let costs = match core {
            Core::M0 => "of a Cortex-M0 with the multiplier that takes one cycle",
            Core::M3 => "of a Cortex-M3",
            Core::M4 => "of a Cortex-M4",
            _ => "of a Cortex-M4, because none are published for this core",
        };
        let flash = match wait_states {
            0 => "memory that never waits".to_owned(),
            n => format!(
                "{n} wait states for each {} bits of flash and no cache",
                8 * flash_width
            ),
        };
        format!(
            "Cycles are estimated: instructions counted in the emulator, costs {costs}, {flash}."
        )
    }

    /// As JSON.
    pub fn json(&self) -> Value {
        let memory = &self.memory;
        let Setting { core, clock, .. } = self.setting;
        json!({
            "core": core.name(), "measured": self.measured, "clock_hz": clock,
            "wait_states": self.setting.wait_states, "flash_bits": 8 * self.setting.flash_width,
            "flash": {
                "model": memory.model, "weights": memory.weights,
                "code": memory.code.map(|[code, _]| code), "tables": memory.code.map(|[_, tables]| tables),
            },
            "ram": { "arena": memory.arena, "state": memory.state, "stack": memory.stack },
            "parse": self.parse.map(|count| json!({"instructions": count.instructions, "cycles": count.cycles})),
            "entries": self.entries.iter().map(|entry| self.entry_json(entry)).collect::<Vec<_>>(),
        })
    }

    fn entry_json(&self, entry: &Entry) -> Value {
        let rows = entry.rows.iter().map(|row| {
            let operator = &row.operator;
            json!({
                "operator": operator.kind, "name": operator.name, "type": row.dtype, "macs": operator.macs,
                "instructions": row.instructions, "cycles": row.cycles, "macs_per_cycle": row.macs_per_cycle(),
                "share": entry.share(row), "bytes": operator.bytes, "arena_in_use": operator.live,
            })
        });
        let functions = entry.functions.iter().map(|function| {
            let count = function.count;
            json!({"function": function.name, "instructions": count.instructions, "cycles": count.cycles})
        });
        json!({
            "name": entry.name, "macs": entry.macs(), "instructions": entry.instructions, "cycles": entry.cycles,
            "milliseconds": self.milliseconds(entry.cycles), "silicon_cycles": self.spread(entry.cycles),
            "arena_in_use": entry.peak(), "operators": rows.collect::<Vec<_>>(),
            "functions": functions.collect::<Vec<_>>(),
        })
    }
}

/// Cycles of silicon over estimated ones, least and most (docs/results/peers.md): four networks on a Cortex-M4 whose flash waits five cycles behind
/// a cache took 1.23 to 1.42 times as many, on a Cortex-M33 1.02 to 1.13. One vendor's networks take 0.52 to 0.56 of a Cortex-M4's
/// cycles on a Cortex-M7. Of wait states without a cache it took 0.57 to 0.61. The other cores were not compared.
fn silicon(core: Core, wait_states: u32) -> [f64; 2] {
    match (core, wait_states) {
        (_, 1..) => [0.55, 1.0],
        (Core::M7, _) => [0.6, 0.8],
        (Core::M33 | Core::M55, _) => [1.0, 1.2],
        _ => [1.0, 1.5],
    }
}

impl Row {
    /// Multiply-accumulates in a cycle; none for an operator without any.
    pub fn macs_per_cycle(&self) -> Option<f64> {
        let macs = self.operator.macs;
        (macs > 0).then(|| macs as f64 / self.cycles.max(1) as f64)
    }
}

impl Entry {
    /// The part of an operator in all cycles, 0 to 1.
    pub fn share(&self, row: &Row) -> f64 {
        let all: u64 = self.rows.iter().map(|row| row.cycles).sum();
        row.cycles as f64 / all.max(1) as f64
    }

    /// Multiply-accumulates of a run.
    pub fn macs(&self) -> u64 {
        self.rows.iter().map(|row| row.operator.macs).sum()
    }

    /// Most bytes of the arena in use at once.
    pub fn peak(&self) -> u64 {
        let live = self.rows.iter().map(|row| row.operator.live);
        live.max().unwrap_or(0)
    }
}

fn entry(
    model: &Model,
    number: usize,
    layout: layout::Entry,
    counted: Option<&attn_lab::bench::Entry>,
) -> Entry {
    let first = model
        .entries()
        .get(number)
        .map_or(0, |entry| entry.ops().start);
    let operators = layout.operators.into_iter().enumerate();
    let rows = operators.map(|(at, operator)| {
        let count = counted.and_then(|entry| entry.operators.get(at));
        let record = model.ops().get(first + at);
        let output = record.and_then(|record| model.tensor(record.outputs().next()?));
        Row {
            operator,
            dtype: output.map_or("", |tensor| tensor.dtype().name()),
            instructions: count.map(|count| count.instructions),
            cycles: count.map_or_else(
                || estimate::operator(model, first + at),
                |count| count.cycles,
            ),
        }
    });
    let rows: Vec<Row> = rows.collect();
    Entry {
        name: layout.name,
        spans: layout.spans,
        instructions: counted.map(|entry| entry.whole.instructions),
        cycles: counted.map_or_else(
            || rows.iter().map(|row| row.cycles).sum(),
            |entry| entry.whole.cycles,
        ),
        functions: counted.map_or_else(Vec::new, |entry| entry.functions.clone()),
        rows,
    }
}
