//! Attention over images (training/attention/vision.py) computes the same bytes on the emulated cores as on this computer.

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

const SYSTEMS: [&str; 4] = ["cbam_cnn", "attention_unet", "separable2d", "upsample"];

/// A system's file, the bytes of two recorded inputs as it takes them, and how many results its operators have over them.
struct Prepared {
    model: PathBuf,
    inputs: Vec<u8>,
    results: usize,
}

fn prepared(system: &str, precision: Precision, folder: &Path) -> Prepared {
    let fixtures = workspace::root().join("host-tests/fixtures/vision");
    let recorded = fixtures.join(format!("{system}.npz"));
    let samples: ArrayD<f32> = read_array::<f32, IxDyn>(&recorded, "x").unwrap();
    let options = Options {
        form: Form::Window,
        precision,
        range: RangeMethod::Mse,
        mixed: false,
        metadata: Metadata::default(),
    };
    let bars = MultiProgress::with_draw_target(ProgressDrawTarget::hidden());
    let onnx = fixtures.join(format!("{system}_dynamo.onnx"));
    let file = convert(&onnx, &recorded, &options, &bars).unwrap().file;
    let path = folder.join(format!("{system}.attn"));
    write_bytes(&path, file.bytes()).unwrap();
    let model = file.model();
    let mut arena = AlignedBytes::zeroed(model.arena_len());
    let mut session = Session::new(model, arena.as_mut_slice()).unwrap();
    let input = model.entries()[0].inputs().next().unwrap();
    let mut inputs = Vec::new();
    for sample in samples.axis_iter(Axis(0)).take(2) {
        runner::fill(&mut session, 0, 0, sample.iter()).unwrap();
        inputs.extend_from_slice(session.tensor_bytes(input).unwrap());
    }
    let outputs: usize = model.ops().iter().map(|op| op.outputs().count()).sum();
    Prepared {
        model: path,
        inputs,
        results: 2 * outputs,
    }
}

/// Instructions and estimated cycles of the second of two runs on the M4.
fn counted(prepared: &Prepared) -> Region {
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(&prepared.model, folder.path().join("model.attn")).unwrap();
    std::fs::write(folder.path().join("inputs"), &prepared.inputs).unwrap();
    let image = Image::Runner(Core::M4).build().unwrap();
    let arguments = ["run", "model.attn", "inputs", "outputs"];
    let run = Emulator::new(Core::M4)
        .counting()
        .run(&image, &arguments, folder.path())
        .unwrap();
    run.regions.last().unwrap().clone()
}

#[test]
fn every_system_computes_the_same_bytes_on_every_core() {
    let folder = tempfile::tempdir().unwrap();
    for system in SYSTEMS {
        for precision in [Precision::Int8, Precision::Int8x16, Precision::Fp16] {
            let prepared = prepared(system, precision, folder.path());
            let cost = counted(&prepared);
            println!(
                "{system}: {precision:?} {} instructions, {} cycles (estimate)",
                cost.instructions, cost.cycles
            );
            for core in Core::ALL {
                let compared = identity::check(core, &prepared.model, &prepared.inputs)
                    .unwrap_or_else(|error| panic!("{system}: {error}"));
                assert_eq!(compared, prepared.results, "{system}");
            }
        }
    }
}
