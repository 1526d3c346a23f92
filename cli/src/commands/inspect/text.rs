//! What a person reads: lines and tables within the width of the terminal, or 80 columns.

use crate::shown::say;
use attn_converter::inspect::storage;
use attn_converter::thresholds::{self, is_reported, shown};
use attn_runtime::Model;
use attn_runtime::format::{DType, DecodeMeta, OpRecord, Storage};
use comfy_table::{ContentArrangement, Table};
use std::collections::BTreeSet;
use std::io::{IsTerminal, stdout};

/// Columns where there is no terminal that says how many it has.
const COLUMNS: u16 = 80;

/// Prints what is in a file of `len` bytes; with `tensors` also these.
pub fn print(model: Model, len: usize, tensors: bool) {
    line(
        "",
        &format!(
            "{len} bytes: weights {}; arena {} bytes, of which state {}",
            model.weights_len(),
            model.arena_len(),
            model.state_len()
        ),
    );
    let used: BTreeSet<_> = model
        .ops()
        .iter()
        .filter_map(OpRecord::kind)
        .map(|kind| kind.name())
        .collect();
    line("links: ", &used.into_iter().collect::<Vec<_>>().join(", "));
    spotting(model);
    decoding(model);
    for entry in model.entries() {
        say!("\nentry point {}", model.name(entry.name));
        let inputs = entry.inputs().zip(model.input_names(entry));
        let outputs = entry.outputs().zip(model.output_names(entry));
        line("takes ", &ports(model, inputs));
        line("gives ", &ports(model, outputs));
        say!("{}", operators(model, &model.ops()[entry.ops()]));
    }
    if tensors {
        say!("\n{}", all_tensors(model));
    }
}

/// Prints a line, broken where it is too long; `what` it is about stands before it.
fn line(what: &str, text: &str) {
    let width = table(&[]).width().unwrap_or(COLUMNS);
    let options = textwrap::Options::new(width.into()).subsequent_indent("    ");
    say!("{}", textwrap::fill(&format!("{what}{text}"), options));
}

/// An empty table that is no wider than the terminal.
fn table(heading: &[&str]) -> Table {
    let mut table = super::super::table(heading);
    table.set_content_arrangement(ContentArrangement::Dynamic);
    if !stdout().is_terminal() {
        table.set_width(COLUMNS);
    }
    table
}

/// Lines on labels, audio and the spotter; none for a model without them.
fn spotting(model: Model) {
    let labels: Vec<&str> = model.labels().collect();
    if !labels.is_empty() {
        line("labels: ", &labels.join(", "));
    }
    if let Some(audio) = model.audio() {
        say!(
            "audio: {} Hz, hop {} samples, {} mel bands",
            audio.sample_rate,
            audio.hop,
            audio.mel_bands
        );
    }
    if let Some((spotter, _)) = model.spotter() {
        let (smoothing, refractory) = (spotter.smoothing_hops, spotter.refractory_hops);
        say!(
            "spotter: posteriors over {smoothing} hops, silent for {refractory} hops after an event"
        );
    }
    let (reported, silent): (Vec<_>, Vec<_>) =
        thresholds::of(model).partition(|(_, value)| is_reported(*value));
    if !reported.is_empty() {
        let values: Vec<_> = reported
            .iter()
            .map(|(label, value)| format!("{label} {}", shown(*value)))
            .collect();
        line("thresholds: ", &values.join(", "));
    }
    if !silent.is_empty() {
        let names: Vec<_> = silent.iter().map(|(label, _)| *label).collect();
        line("never reported: ", &names.join(", "));
    }
}

/// Lines on decoding and on what outlives a run; none for a model without either.
fn decoding(model: Model) {
    if model.state_len() > 0 {
        let states = states(model).filter_map(|id| Some((id, model.name(model.tensor(id)?.name))));
        line("state: ", &ports(model, states));
    }
    if model.max_length() > 0 {
        let padding = model.decode().and_then(|decode| padding(model, decode));
        let padding = padding.unwrap_or_default();
        say!("sequences: at most {} rows{padding}", model.max_length());
    }
    let Some(decode) = model.decode() else {
        return;
    };
    let entry = |number: usize| {
        let entry = model.entries().get(number);
        entry.map_or("none", |entry| model.name(entry.name))
    };
    let how = format!(
        "encode {}, step {}; from token {} to {}, at most {}; {} bytes for each hypothesis",
        DecodeMeta::optional(decode.encode).map_or("none", entry),
        entry(decode.step as usize),
        token(model, decode.start),
        token(model, decode.end),
        decode.max_tokens,
        decode.hypothesis_len,
    );
    line("decoding: ", &how);
    let names = |count: usize| match count {
        0 => "without names".to_owned(),
        count => format!("{count} names"),
    };
    say!(
        "vocabulary: {} tokens, {}; symbols {}",
        decode.tokens,
        names(model.tokens().len()),
        names(model.symbols().len()),
    );
}

/// What fills the rows behind a shorter sequence, if anything does.
fn padding(model: Model, decode: &DecodeMeta) -> Option<String> {
    let encode = DecodeMeta::optional(decode.encode)?;
    let pad = DecodeMeta::optional(decode.pad)?;
    let id = model
        .entries()
        .get(encode)?
        .inputs()
        .nth(decode.input as usize)?;
    let input = model.tensor(id).filter(|input| input.rows_rule == 0)?;
    Some(match input.dtype() {
        DType::I32 => format!(", padded with symbol {pad}"),
        _ => ", padded with zeros".into(),
    })
}

/// A token by number and, if it has one, name.
fn token(model: Model, number: u32) -> String {
    match u16::try_from(number).ok().and_then(|n| model.token_name(n)) {
        Some(name) => format!("{number} `{name}`"),
        None => number.to_string(),
    }
}

/// Numbers of the tensors that outlive a run.
fn states(model: Model) -> impl Iterator<Item = usize> {
    let tensors = model.tensors().iter().enumerate();
    let kept = tensors.filter(|(_, tensor)| tensor.storage() == Storage::State);
    kept.map(|(id, _)| id)
}

/// Tensors with their names, and for integers that stand for reals how.
fn ports<'n>(model: Model, tensors: impl Iterator<Item = (usize, &'n str)>) -> String {
    let one = |(id, name): (usize, &str)| {
        let tensor = model.tensor(id)?;
        let real = match (tensor.dtype(), tensor.zero_point) {
            (DType::I8 | DType::I16, 0) => format!(" (real = n x {})", tensor.scale),
            (DType::I8 | DType::I16, zero) => format!(" (real = (n - {zero}) x {})", tensor.scale),
            _ => String::new(),
        };
        let (dtype, shape) = (tensor.dtype().name(), tensor.shape());
        Some(format!("{name} {dtype} {shape:?}{real}"))
    };
    let all: Vec<String> = tensors.filter_map(one).collect();
    match all.is_empty() {
        true => "nothing".into(),
        false => all.join(", "),
    }
}

/// Types and shapes, one a line: `int8 [5, 40]`.
fn describe(model: Model, ids: impl Iterator<Item = usize>) -> String {
    let one = |id: usize| {
        let tensor = model.tensor(id)?;
        Some(format!("{} {:?}", tensor.dtype().name(), tensor.shape()))
    };
    ids.filter_map(one).collect::<Vec<_>>().join("\n")
}

fn operators(model: Model, ops: &[OpRecord]) -> Table {
    let mut table = table(&["operator", "name", "reads", "writes", "scratch"]);
    for op in ops {
        table.add_row([
            op.kind().map_or("?", |kind| kind.name()).to_owned(),
            model.name(op.name).to_owned(),
            describe(model, op.inputs()),
            describe(model, op.outputs()),
            op.scratch()
                .and_then(|id| model.tensor(id))
                .map_or(String::new(), |t| format!("{} B", t.byte_len())),
        ]);
    }
    table
}

fn all_tensors(model: Model) -> Table {
    let mut table = table(&["tensor", "name", "type", "place", "scale", "zero"]);
    for (id, tensor) in model.tensors().iter().enumerate() {
        table.add_row([
            id.to_string(),
            model.name(tensor.name).to_owned(),
            format!("{} {:?}", tensor.dtype().name(), tensor.shape()),
            format!("{} {}", storage(tensor), tensor.offset),
            format!("{:.4e}", tensor.scale),
            tensor.zero_point.to_string(),
        ]);
    }
    table
}
