//! Prints the tables of docs/results/systems.md, `cargo xtask systems` runs it: every system converted from both
//! exporters in every precision, against PyTorch's own outputs, and one run on the emulated M4. Arguments: names of
//! systems to measure; all without.

use attn_converter::error::ConvertError;
use attn_converter::files::write_bytes;
use attn_converter::lower::Form;
use attn_converter::quantize::Precision;
use attn_lab::decoding_cost;
use attn_lab::systems::{Figures, Row, Systems, bytes, count, thousands};
use attn_test_support::sequences::{SEQUENCES, Sequence};
use attn_test_support::systems::{EXPORTERS, PRECISIONS, SYSTEMS, System};
use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let names: Vec<String> = std::env::args().skip(1).collect();
    let named = |name: &str| names.is_empty() || names.iter().any(|wanted| wanted == name);
    let precisions = PRECISIONS.map(name).to_vec();
    let windows = SYSTEMS.iter().filter(|system| named(system.name));
    let windows = Systems {
        precisions: precisions.clone(),
        columns: vec!["arena", "M4"],
        rows: windows
            .map(|system| row(system.title, system.name, |held| window(system, held)))
            .collect::<Result<_, _>>()?,
    };
    let sequences = SEQUENCES.iter().filter(|sequence| named(sequence.name));
    let sequences = Systems {
        precisions,
        columns: vec!["arena, hypothesis", "encode", "step"],
        rows: sequences
            .map(|system| row(system.title, system.name, |held| sequence(system, held)))
            .collect::<Result<_, _>>()?,
    };
    print!("{}\n{}", windows.markdown(), sequences.markdown());
    Ok(())
}

type Measured = Result<Option<Figures>, Box<dyn Error>>;

/// A system's row.
fn row(
    title: &str,
    name: &str,
    figures: impl FnMut(Precision) -> Measured,
) -> Result<Row, Box<dyn Error>> {
    eprintln!("measuring {name}");
    Ok(Row {
        title: format!("{title} (`{name}`)"),
        cells: PRECISIONS
            .into_iter()
            .map(figures)
            .collect::<Result<_, _>>()?,
    })
}

/// What a user calls it.
fn name(precision: Precision) -> &'static str {
    match precision {
        Precision::Int8 => "int8",
        Precision::Int16x8 => "int16x8",
        Precision::Fp16 => "fp16",
    }
}

/// Of the exporters' files the one with the least SQNR, and that; `None` when one of them does not convert.
fn worse<F>(
    name: &str,
    files: impl Iterator<Item = Result<(f64, F), ConvertError>>,
) -> Option<(f64, F)> {
    let files: Result<Vec<_>, _> = files.collect();
    let files = files.inspect_err(|error| eprintln!("{name}: {error}"));
    files.ok()?.into_iter().min_by(|a, b| a.0.total_cmp(&b.0))
}

/// A whole-window system in one precision.
fn window(system: &System, precision: Precision) -> Measured {
    let files = EXPORTERS.iter().map(|exporter| {
        let conversion = system.convert(exporter, precision, Form::Window)?;
        Ok((system.against_pytorch(&conversion), conversion))
    });
    let Some((db, conversion)) = worse(system.name, files) else {
        return Ok(None);
    };
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("system.attn");
    write_bytes(&path, conversion.file.bytes())?;
    let cost = count(&path, &system.input_bytes(&conversion, 2))?;
    let arena = conversion.file.model().arena_len();
    Ok(Some(Figures {
        db,
        floor: system.floor(precision),
        others: vec![bytes(arena), thousands(cost.instructions)],
    }))
}

/// A system of encoder and step in one precision, along the longest of the recorded sentences.
fn sequence(system: &Sequence, precision: Precision) -> Measured {
    let recorded = system.recorded();
    let files = system.exporters().map(|exporter| {
        let file = system.convert(exporter, precision)?;
        Ok((recorded.compared(&file).0.db(), file))
    });
    let Some((db, file)) = worse(system.name, files) else {
        return Ok(None);
    };
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("bundle.attn");
    write_bytes(&path, file.bytes())?;
    let model = file.model();
    let sample = recorded.by_length().pop().unwrap_or(0);
    let length = match model.max_length() {
        0 => 0,
        _ => recorded.length(sample),
    };
    let tokens: Vec<u16> = recorded
        .tokens
        .row(sample)
        .iter()
        .map(|&t| t as u16)
        .collect();
    let input = recorded.input_bytes(&file, sample);
    let regions = decoding_cost::count(&path, &input, length, &tokens)?;
    let total = |part: &str| {
        let parts = regions
            .iter()
            .filter(|region| region.name.starts_with(part));
        parts.map(|region| region.instructions).sum::<u64>()
    };
    let hypothesis = model.decode().map_or(0, |decode| decode.hypothesis_len);
    let memory = [model.arena_len(), hypothesis as usize].map(bytes);
    Ok(Some(Figures {
        db,
        floor: system.floor(precision),
        others: vec![
            memory.join(", "),
            model
                .entry("encode")
                .map_or("none".into(), |_| thousands(total("encode "))),
            thousands(total("step ") / tokens.len() as u64),
        ],
    }))
}
