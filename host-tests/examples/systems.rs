//! Prints the tables of attention systems for the README, `cargo xtask systems` runs it: every system converted from both
//! exporters in every precision, against PyTorch's own outputs, and one run on the emulated M4. Arguments: names of
//! systems to measure; all without.

#[path = "../../converter/tests/common/systems.rs"]
#[allow(dead_code)] // tests use more of it
mod systems;

use attn_converter::files::write_bytes;
use attn_converter::lower::Form;
use attn_converter::quantize::Precision;
use attn_host_tests::systems::{Figures, Row, Systems, bytes, count, thousands};
use std::error::Error;
use systems::{EXPORTERS, PRECISIONS, SYSTEMS, System};

fn main() -> Result<(), Box<dyn Error>> {
    let names: Vec<String> = std::env::args().skip(1).collect();
    let named = |name: &str| names.is_empty() || names.iter().any(|wanted| wanted == name);
    let mut rows = Vec::new();
    for system in SYSTEMS.iter().filter(|system| named(system.name)) {
        eprintln!("measuring {}", system.name);
        rows.push(Row {
            title: format!("{} (`{}`)", system.title, system.name),
            cells: PRECISIONS
                .iter()
                .map(|precision| figures(system, *precision))
                .collect::<Result<_, _>>()?,
        });
    }
    let windows = Systems {
        precisions: PRECISIONS.map(name).into(),
        columns: vec!["arena", "M4"],
        rows,
    };
    print!("{}", windows.markdown());
    Ok(())
}

/// What a user calls it.
fn name(precision: Precision) -> &'static str {
    match precision {
        Precision::Int8 => "int8",
        Precision::Int8x16 => "int8x16",
        Precision::Fp16 => "fp16",
    }
}

/// A whole-window system in one precision; `None` when an exporter's file does not convert.
fn figures(system: &System, precision: Precision) -> Result<Option<Figures>, Box<dyn Error>> {
    let mut worse: Option<(f64, _)> = None;
    for exporter in EXPORTERS {
        let conversion = match system.convert(exporter, precision, Form::Window) {
            Ok(conversion) => conversion,
            Err(error) => {
                eprintln!("{} from {exporter}: {error}", system.name);
                return Ok(None);
            }
        };
        let db = system.against_pytorch(&conversion);
        if worse.as_ref().is_none_or(|(least, _)| db < *least) {
            worse = Some((db, conversion));
        }
    }
    let Some((db, conversion)) = worse else {
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
