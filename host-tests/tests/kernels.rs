//! On every emulated core, the bodies with DSP instructions give the same bits as the portable ones; and no operator and no shipped
//! model takes more cycles than it did.

use attn_converter::calibrate::RangeMethod;
use attn_converter::files::write_bytes;
use attn_converter::pipeline::{Mixed, Options};
use attn_converter::runner::ModelFile;
use attn_lab::emulator::{Core, Emulator, Region};
use attn_lab::images::Image;
use attn_lab::model::Shipped;
use attn_lab::{decoding_cost, systems, workspace};
use attn_test_support::folder::{Folder, fixture};
use attn_test_support::running::noise;
use attn_test_support::systems::{convert_model, write_calibration};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

#[path = "kernels/shapes.rs"]
mod shapes;

/// What is counted: instructions and estimated cycles.
type Counts = BTreeMap<String, [u64; 2]>;

/// Set to write the list anew.
const RECORD: &str = "ATTN_RECORD_CYCLES";
/// Runs of a model, of which the last is counted.
const RUNS: usize = 2;
/// Models that are shipped as ONNX files alone.
const MODELS: [&str; 3] = ["kwt", "cbam_digits", "forecast"];
/// Tokens along which a bundle's step is counted.
const TOKENS: [u16; 3] = [1, 2, 3];

#[test]
fn dsp_and_portable_kernels_agree_on_every_core() {
    for core in Core::ALL {
        let folder = Folder::new();
        let image = Image::KernelCheck(core).build();
        let image = image.unwrap_or_else(|error| panic!("{error}"));
        let run = Emulator::new(core).run(&image, &[], folder.path("").as_ref());
        let output = run
            .unwrap_or_else(|error| panic!("{core:?}: {error}"))
            .output;
        let agree = output.contains("22500 cases: the DSP bodies equal");
        assert!(agree, "{core:?}: {output}");
    }
}

/// int8 throughout, ranges by the least and the greatest values: what cycles depend on is the shape.
fn options() -> Options {
    Options {
        range: RangeMethod::MinMax,
        mixed: Mixed::None,
        ..Options::default()
    }
}

/// A file with noise, in the image as it ships.
fn run(folder: &Folder, file: &ModelFile) -> [u64; 2] {
    let path = folder.path("counted.attn");
    write_bytes(path.as_ref(), file.bytes()).unwrap();
    last_run(path.as_ref(), file)
}

fn last_run(path: &Path, file: &ModelFile) -> [u64; 2] {
    let region = systems::count(path, &noise(file.model(), RUNS)).unwrap();
    [region.instructions, region.cycles]
}

/// The encoder on an input of zeros as long as it can be, and the steps along some tokens.
fn decoded(path: &Path, file: &ModelFile) -> [u64; 2] {
    let (length, zeros) = (file.model().max_length(), vec![0; 1 << 16]);
    let regions = decoding_cost::count(path, &zeros, length, &TOKENS).unwrap();
    let sum = |[instructions, cycles]: [u64; 2], region: Region| {
        [instructions + region.instructions, cycles + region.cycles]
    };
    regions.into_iter().fold([0; 2], sum)
}

fn measure() -> Counts {
    let folder = Folder::new();
    let mut counts = Counts::new();
    for shape in shapes::all() {
        let onnx = folder.model("shape.onnx", &shape.model());
        let data = folder.path("shape.npz");
        write_calibration(onnx.as_ref(), data.as_ref()).unwrap();
        let conversion = convert_model(&onnx, &data, &options());
        let conversion = conversion.unwrap_or_else(|error| panic!("{}: {error}", shape.name));
        counts.insert(shape.name.into(), run(&folder, &conversion.file));
    }
    let models = workspace::root().join("models");
    for name in MODELS {
        let [onnx, data] =
            [".onnx", "_calibration.npz"].map(|end| models.join(format!("{name}{end}")));
        let conversion = convert_model(onnx, data, &options()).unwrap();
        counts.insert(format!("model {name}"), run(&folder, &conversion.file));
    }
    for shipped in Shipped::ALL {
        let (path, name) = (shipped.path(), shipped.name());
        let file = ModelFile::new(&std::fs::read(&path).unwrap()).unwrap();
        let (what, sums) = match file.model().decode() {
            None => ("a hop".to_owned(), last_run(&path, &file)),
            Some(_) => (format!("{} tokens", TOKENS.len()), decoded(&path, &file)),
        };
        counts.insert(format!("model {name}, {what}"), sums);
    }
    counts
}

fn text(counts: &Counts) -> String {
    let mut text = String::from("name\tinstructions\tcycles\n");
    for (name, [instructions, cycles]) in counts {
        writeln!(text, "{name}\t{instructions}\t{cycles}").unwrap();
    }
    text
}

fn listed(text: &str) -> Counts {
    let line = |line: &str| {
        let mut fields = line.split('\t');
        let name = fields.next().unwrap().to_owned();
        (
            name,
            [0; 2].map(|_: u64| fields.next().unwrap().parse().unwrap()),
        )
    };
    text.lines().skip(1).map(line).collect()
}

/// Counts that are more than a fiftieth above the list, and names that only one side has.
fn worse(found: &Counts, listed: &Counts) -> Vec<String> {
    let mut lines = Vec::new();
    for (name, [_, now]) in found {
        match listed.get(name) {
            None => lines.push(format!("{name}: not in the list")),
            Some([_, then]) if now * 50 > then * 51 => {
                lines.push(format!("{name}: {now} cycles, {then} in the list"));
            }
            Some(_) => {}
        }
    }
    let missing = listed.keys().filter(|name| !found.contains_key(*name));
    lines.extend(missing.map(|name| format!("{name}: in the list alone")));
    lines
}

#[test]
fn no_operator_and_no_shipped_model_takes_more_cycles_than_listed() {
    let path = fixture("cycles.txt");
    let found = measure();
    print!("{}", text(&found));
    if std::env::var_os(RECORD).is_some() {
        std::fs::write(&path, text(&found)).unwrap();
    }
    let worse = worse(&found, &listed(&std::fs::read_to_string(&path).unwrap()));
    assert!(
        worse.is_empty(),
        "{}\nIf that is as it should be, set {RECORD}=1 to write {path} anew.",
        worse.join("\n")
    );
}

#[test]
fn a_count_above_the_list_is_seen() {
    let list = listed("name\tinstructions\tcycles\na\t1\t100\nb\t1\t1000\nc\t1\t5\n");
    let found = |b| {
        Counts::from([
            ("a".into(), [1, 102]),
            ("b".into(), [1, b]),
            ("c".into(), [1, 1]),
        ])
    };
    assert!(worse(&found(1020), &list).is_empty());
    assert_eq!(
        worse(&found(1021), &list),
        ["b: 1021 cycles, 1000 in the list"]
    );
    let few = Counts::from([("d".into(), [1, 1])]);
    assert_eq!(worse(&few, &list).len(), 4);
}
