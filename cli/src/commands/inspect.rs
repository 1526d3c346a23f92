//! `attn inspect`: what is in an `.attn` file.

use super::{CommandResult, table};
use crate::shown::say;
use attn_converter::inspect::{json, storage};
use attn_converter::runner::ModelFile;
use attn_converter::thresholds::{self, shown};
use attn_runtime::Model;
use attn_runtime::format::{DType, DecodeMeta, OpRecord, Storage};
use clap::Args;
use std::path::PathBuf;

/// Shows what an .attn file holds: sizes, entry points, operators, tensors.
#[derive(Args)]
pub struct Inspect {
    /// The .attn file.
    model: PathBuf,
    /// Also list the tensors.
    #[arg(long)]
    tensors: bool,
    /// Print as JSON.
    #[arg(long)]
    json: bool,
}

impl Inspect {
    pub fn run(&self) -> CommandResult {
        let file = ModelFile::load(&self.model)?;
        let model = file.model();
        if self.json {
            say!("{:#}", json(&file));
            return Ok(());
        }
        say!(
            "{} bytes: weights {}; arena {} bytes, of which state {}",
            file.bytes().len(),
            model.weights_len(),
            model.arena_len(),
            model.state_len()
        );
        let labels: Vec<&str> = model.labels().collect();
        if !labels.is_empty() {
            say!("labels: {}", labels.join(", "));
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
        let thresholds =
            thresholds::of(model).map(|(label, value)| format!("{label} {}", shown(value)));
        let thresholds: Vec<_> = thresholds.collect();
        if !thresholds.is_empty() {
            say!("thresholds: {}", thresholds.join(", "));
        }
        print!("{}", decoding(model));
        for entry in model.entries() {
            say!("\nentry point {}", model.name(entry.name));
            let inputs = entry.inputs().zip(model.input_names(entry));
            let outputs = entry.outputs().zip(model.output_names(entry));
            say!("takes {}", named(model, inputs));
            say!("gives {}", named(model, outputs));
            say!("{}", operators(model, &model.ops()[entry.ops()]));
        }
        if self.tensors {
            say!("\n{}", tensors(model));
        }
        Ok(())
    }
}

/// Lines on decoding and on what outlives a run; none for a model without either.
fn decoding(model: Model) -> String {
    let mut text = String::new();
    if model.state_len() > 0 {
        let states = states(model).filter_map(|id| Some((id, model.name(model.tensor(id)?.name))));
        text += &format!("state: {}\n", named(model, states));
    }
    if model.max_length() > 0 {
        let padding = model.decode().and_then(|decode| padding(model, decode));
        let padding = padding.unwrap_or_default();
        text += &format!("sequences: at most {} rows{padding}\n", model.max_length());
    }
    let Some(decode) = model.decode() else {
        return text;
    };
    let entry = |number: usize| {
        let entry = model.entries().get(number);
        entry.map_or("none", |entry| model.name(entry.name))
    };
    text += &format!(
        "decoding: encode {}, step {}; from token {} to {}, at most {}; {} bytes for each hypothesis\n",
        DecodeMeta::optional(decode.encode).map_or("none", entry),
        entry(decode.step as usize),
        token(model, decode.start),
        token(model, decode.end),
        decode.max_tokens,
        decode.hypothesis_len,
    );
    let names = |count: usize| match count {
        0 => "without names".to_owned(),
        count => format!("{count} names"),
    };
    text += &format!(
        "vocabulary: {} tokens, {}; symbols {}\n",
        decode.tokens,
        names(model.tokens().len()),
        names(model.symbols().len()),
    );
    text
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

/// Tensors with their names.
fn named<'n>(model: Model, tensors: impl Iterator<Item = (usize, &'n str)>) -> String {
    let one = |(id, name): (usize, &str)| {
        let tensor = model.tensor(id)?;
        Some(format!(
            "{name} {} {:?}",
            tensor.dtype().name(),
            tensor.shape()
        ))
    };
    let all: Vec<String> = tensors.filter_map(one).collect();
    match all.is_empty() {
        true => "nothing".into(),
        false => all.join(", "),
    }
}

fn describe(model: Model, ids: impl Iterator<Item = usize>) -> String {
    let one = |id: usize| {
        model
            .tensor(id)
            .map(|t| format!("{} {:?}", t.dtype().name(), t.shape()))
    };
    ids.filter_map(one).collect::<Vec<_>>().join(", ")
}

fn operators(model: Model, ops: &[OpRecord]) -> comfy_table::Table {
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

fn tensors(model: Model) -> comfy_table::Table {
    let heading = "tensor,name,type,shape,place,offset,scale,zero point";
    let mut table = table(&heading.split(',').collect::<Vec<_>>());
    for (id, tensor) in model.tensors().iter().enumerate() {
        table.add_row([
            id.to_string(),
            model.name(tensor.name).to_owned(),
            tensor.dtype().name().to_owned(),
            format!("{:?}", tensor.shape()),
            storage(tensor).to_owned(),
            tensor.offset.to_string(),
            tensor.scale.to_string(),
            tensor.zero_point.to_string(),
        ]);
    }
    table
}
