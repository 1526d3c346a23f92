//! Half-precision files compute the same bytes on the emulated cores as on this computer, and the floating-point unit's
//! kernels the same bits as the portable ones.

use attn_converter::calibrate::RangeMethod;
use attn_converter::convert::{Options, convert};
use attn_converter::emit::Metadata;
use attn_converter::files::{read_array, write_bytes};
use attn_converter::lower::Form;
use attn_converter::quantize::Precision;
use attn_converter::runner::{self, AlignedBytes};
use attn_host_tests::emulator::{Core, Emulator, Region};
use attn_host_tests::images::Image;
use attn_host_tests::{identity, workspace};
use attn_runtime::Session;
use indicatif::{MultiProgress, ProgressDrawTarget};
use ndarray::{ArrayD, Axis, IxDyn};
use std::path::{Path, PathBuf};

#[test]
fn the_floating_point_unit_and_portable_kernels_agree_on_every_core() {
    for core in Core::ALL {
        let folder = tempfile::tempdir().unwrap();
        let image = Image::HalfCheck(core).build().unwrap();
        let run = Emulator::new(core).run(&image, &[], folder.path());
        let output = run
            .unwrap_or_else(|error| panic!("{core:?}: {error}"))
            .output;
        assert!(output.contains("both bodies agree"), "{core:?}: {output}");
    }
}

/// Instructions on the M4, of which a product with its sum takes 13/4: 4 conversions, 4 products, 4 sums and a share of
/// the loads for every input and four outputs.
const LIMITS: [(&str, u64); 2] = [
    ("linear 98x64->64", 98 * 64 * 64 * 15 / 4),
    (
        "attention 98x64, one head",
        98 * 98 * (2 * 64 * 15 / 4 + 60),
    ),
];

#[test]
fn kernels_stay_close_to_what_their_products_cost() {
    let folder = tempfile::tempdir().unwrap();
    let image = Image::HalfCheck(Core::M4).build().unwrap();
    let run = Emulator::new(Core::M4)
        .counting()
        .run(&image, &[], folder.path())
        .unwrap();
    assert_eq!(run.regions.len(), LIMITS.len());
    for (region, (name, limit)) in run.regions.iter().zip(LIMITS) {
        println!(
            "{name}: {} instructions, {} cycles (estimate)",
            region.instructions, region.cycles
        );
        assert_eq!(region.name, name);
        assert!(
            region.instructions < limit,
            "{name}: {} instructions, limit {limit}",
            region.instructions
        );
    }
}

fn fixtures() -> PathBuf {
    workspace::root().join("host-tests/fixtures/attention")
}

/// The converted model as a file, and the bytes of two of the recorded inputs as it takes them.
fn converted(name: &str, form: Form, folder: &Path) -> (PathBuf, Vec<u8>) {
    let recorded = fixtures().join(format!("{name}.npz"));
    let options = Options {
        form,
        precision: Precision::Fp16,
        range: RangeMethod::Mse,
        mixed: false,
        metadata: Metadata::default(),
    };
    let bars = MultiProgress::with_draw_target(ProgressDrawTarget::hidden());
    let onnx = fixtures().join(format!("{name}_dynamo.onnx"));
    let conversion = convert(&onnx, &recorded, &options, &bars).unwrap();
    let path = folder.join("system.attn");
    write_bytes(&path, conversion.file.bytes()).unwrap();
    let model = conversion.file.model();
    let mut arena = AlignedBytes::zeroed(model.arena_len());
    let mut session = Session::new(model, arena.as_mut_slice()).unwrap();
    let input = model.entries()[0].inputs().next().unwrap();
    let per_run = session.input_record(0, 0).unwrap().len();
    let x: ArrayD<f32> = read_array::<f32, IxDyn>(&recorded, "x").unwrap();
    let samples = [0, 1].map(|i| x.index_axis(Axis(0), i));
    let elements: Vec<f32> = samples.iter().flatten().copied().collect();
    let mut bytes = Vec::new();
    for run in elements.chunks_exact(per_run) {
        runner::fill(&mut session, 0, 0, run.iter()).unwrap();
        bytes.extend_from_slice(session.tensor_bytes(input).unwrap());
    }
    (path, bytes)
}

/// Instructions and estimated cycles of the last of several runs on the M4.
fn counted(model: &Path, inputs: &[u8]) -> Region {
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(model, folder.path().join("model.attn")).unwrap();
    std::fs::write(folder.path().join("inputs"), inputs).unwrap();
    let image = Image::Runner(Core::M4).build().unwrap();
    let arguments = ["run", "model.attn", "inputs", "outputs"];
    let run = Emulator::new(Core::M4)
        .counting()
        .run(&image, &arguments, folder.path());
    run.unwrap().regions.last().unwrap().clone()
}

#[test]
fn every_system_computes_the_same_bytes_on_every_core() {
    let folder = tempfile::tempdir().unwrap();
    let files = std::fs::read_dir(fixtures())
        .unwrap()
        .map(|file| file.unwrap().path());
    let mut names: Vec<String> = files
        .filter(|path| path.extension().is_some_and(|e| e == "npz"))
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    names.sort();
    assert!(names.len() >= 14, "{names:?}");
    for name in names {
        let (model, inputs) = converted(&name, Form::Window, folder.path());
        let cost = counted(&model, &inputs);
        println!(
            "{name}: {} instructions, {} cycles (estimate)",
            cost.instructions, cost.cycles
        );
        for core in Core::ALL {
            let compared = identity::check(core, &model, &inputs);
            assert!(
                compared.unwrap_or_else(|e| panic!("{name}: {e}")) > 2,
                "{name}"
            );
        }
    }
}

#[test]
fn a_causal_stack_on_a_stream_computes_the_same_bytes_on_every_core() {
    let folder = tempfile::tempdir().unwrap();
    let (model, inputs) = converted("causal_stack", Form::Stream, folder.path());
    for core in Core::ALL {
        identity::check(core, &model, &inputs).unwrap();
    }
}
