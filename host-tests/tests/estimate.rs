//! The estimate of cycles from shapes, beside the counts of the emulator in `fixtures/cycles.txt`.

#[allow(dead_code, reason = "the kernels' test uses the rest")]
#[path = "kernels/shapes.rs"]
mod shapes;

use attn_converter::calibrate::RangeMethod;
use attn_converter::estimate::{SPREAD, operator};
use attn_converter::noise;
use attn_converter::pipeline::{Mixed, Options};
use attn_converter::runner::ModelFile;
use attn_lab::model::Shipped;
use attn_runtime::Model;
use attn_test_support::folder::{Folder, fixture};
use attn_test_support::systems::convert_model;
use std::collections::BTreeMap;

/// Steps that the list counts of a model that decodes (`kernels.rs`).
const TOKENS: u64 = 3;

fn counted() -> BTreeMap<String, u64> {
    let text = std::fs::read_to_string(fixture("cycles.txt")).unwrap();
    let line = |line: &str| {
        let fields: Vec<&str> = line.split('\t').collect();
        (fields[0].to_owned(), fields[2].parse().unwrap())
    };
    text.lines().skip(1).map(line).collect()
}

fn estimated(model: &Model, entry: usize) -> u64 {
    let ops = model.entries()[entry].ops();
    ops.map(|op| operator(model, op)).sum()
}

#[test]
fn a_run_is_estimated_within_the_spread_that_is_stated() {
    let counted = counted();
    let folder = Folder::new();
    let mut found: Vec<(String, u64)> = Vec::new();
    let options = Options {
        range: RangeMethod::MinMax,
        mixed: Mixed::None,
        ..Options::default()
    };
    for shape in shapes::all() {
        let onnx = folder.model("shape.onnx", &shape.model());
        let data = folder.path("shape.npz");
        noise::write(onnx.as_ref(), data.as_ref()).unwrap();
        let conversion = convert_model(&onnx, &data, &options).unwrap();
        found.push((shape.name.into(), estimated(&conversion.file.model(), 0)));
    }
    for shipped in Shipped::ALL {
        let file = ModelFile::new(&std::fs::read(shipped.path()).unwrap()).unwrap();
        let model = file.model();
        let (name, cycles) = match model.decode() {
            None => ("a hop".to_owned(), estimated(&model, 0)),
            Some(decode) => {
                let others =
                    (0..model.entries().len()).filter(|entry| *entry != decode.step as usize);
                let once: u64 = others.map(|entry| estimated(&model, entry)).sum();
                let steps = TOKENS * estimated(&model, decode.step as usize);
                (format!("{TOKENS} tokens"), once + steps)
            }
        };
        found.push((format!("model {}, {name}", shipped.name()), cycles));
    }
    let mut outside = Vec::new();
    for (name, cycles) in &found {
        let factor = *cycles as f64 / counted[name] as f64;
        println!("{name}: {factor:.2}");
        if !(SPREAD[0]..=SPREAD[1]).contains(&factor) {
            outside.push(format!("{name}: {factor:.2}"));
        }
    }
    assert!(outside.is_empty(), "outside of {SPREAD:?}: {outside:?}");
}
