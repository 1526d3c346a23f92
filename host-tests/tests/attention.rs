//! Every attention system (training/attention/systems.py) computes the same bytes on the emulated cores as on this computer.

use attn_converter::calibrate::RangeMethod;
use attn_converter::convert::{Options, convert};
use attn_converter::emit::Metadata;
use attn_converter::files::{read_array, write_bytes, write_npz};
use attn_converter::lower::Form;
use attn_converter::quantize::Precision;
use attn_converter::reference::Reference;
use attn_converter::runner::{self, AlignedBytes, ModelFile};
use attn_host_tests::emulator::{Core, Emulator, Region};
use attn_host_tests::images::Image;
use attn_host_tests::{identity, workspace};
use attn_runtime::Session;
use indicatif::{MultiProgress, ProgressDrawTarget};
use ndarray::{ArrayD, Axis, IxDyn};
use std::path::{Path, PathBuf};

/// Names of the systems that have fixtures.
fn systems() -> Vec<(PathBuf, PathBuf)> {
    let folder = workspace::root().join("host-tests/fixtures/attention");
    let files = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut systems: Vec<_> = files
        .filter_map(|path| {
            let name = path
                .file_name()?
                .to_str()?
                .strip_suffix("_dynamo.onnx")?
                .to_owned();
            Some((path, folder.join(format!("{name}.npz"))))
        })
        .collect();
    systems.sort();
    systems
}

/// The converted model as a file, and the bytes of the recorded inputs as it takes them.
fn converted(
    onnx: &Path,
    recorded: &Path,
    (precision, form): (Precision, Form),
    folder: &Path,
) -> (PathBuf, Vec<u8>) {
    let reference = Reference::load(onnx).unwrap();
    let samples: Vec<ArrayD<f32>> = reference
        .inputs()
        .iter()
        .map(|input| match input.integer {
            true => read_array::<i64, IxDyn>(recorded, &input.name)
                .unwrap()
                .mapv(|x| x as f32),
            false => read_array::<f32, IxDyn>(recorded, &input.name).unwrap(),
        })
        .collect();
    let data = folder.join("data.npz");
    write_npz(&data, |npz| {
        let mut arrays = reference.inputs().iter().zip(&samples);
        arrays.try_for_each(|(input, samples)| match input.integer {
            true => npz.add_array(&input.name, &samples.mapv(|x| x as i64)),
            false => npz.add_array(&input.name, samples),
        })
    })
    .unwrap();
    let bars = MultiProgress::with_draw_target(ProgressDrawTarget::hidden());
    let options = Options {
        form,
        precision,
        range: RangeMethod::Mse,
        mixed: true,
        metadata: Metadata::default(),
    };
    let conversion = convert(onnx, &data, &options, &bars).unwrap();
    let path = folder.join("system.attn");
    write_bytes(&path, conversion.file.bytes()).unwrap();
    let model = conversion.file.model();
    let mut arena = AlignedBytes::zeroed(model.arena_len());
    let mut session = Session::new(model, arena.as_mut_slice()).unwrap();
    let mut bytes = Vec::new();
    // Of each sample, what one run takes at a time: a frame of a stream, or all of it.
    for sample in 0..2 {
        let elements: Vec<Vec<f32>> = samples
            .iter()
            .map(|samples| {
                samples
                    .index_axis(Axis(0), sample)
                    .iter()
                    .copied()
                    .collect()
            })
            .collect();
        let runs = elements[0].len() / session.input_record(0, 0).unwrap().len();
        for run in 0..runs {
            for (index, elements) in elements.iter().enumerate() {
                let len = elements.len() / runs;
                let part = &elements[run * len..(run + 1) * len];
                runner::fill(&mut session, 0, index, part.iter()).unwrap();
                let id = model.entries()[0].inputs().nth(index).unwrap();
                bytes.extend_from_slice(session.tensor_bytes(id).unwrap());
            }
        }
    }
    (path, bytes)
}

/// How many results the operators of a whole-window model have over these inputs: none may be left out of a comparison.
fn results(model: &Path, inputs: &[u8]) -> usize {
    let file = ModelFile::load(model).unwrap();
    let model = file.model();
    let runs = inputs.len() / identity::run_len(model);
    runs * model
        .ops()
        .iter()
        .map(|op| op.outputs().count())
        .sum::<usize>()
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
        .run(&image, &arguments, folder.path())
        .unwrap();
    run.regions.last().unwrap().clone()
}

/// One frame of a stream must cost about one frame, not a window of them.
#[test]
fn a_step_of_a_causal_stack_costs_a_fraction_of_its_window() {
    let folder = tempfile::tempdir().unwrap();
    let fixtures = workspace::root().join("host-tests/fixtures/attention");
    let (onnx, recorded) = (
        fixtures.join("causal_stack_dynamo.onnx"),
        fixtures.join("causal_stack.npz"),
    );
    let [window, step] = [Form::Window, Form::Stream].map(|form| {
        let held = (Precision::Int8, form);
        let (model, inputs) = converted(&onnx, &recorded, held, folder.path());
        counted(&model, &inputs)
    });
    println!(
        "causal_stack: window of 16 {} instructions, step {}",
        window.instructions, step.instructions
    );
    assert!(
        step.instructions * 12 < window.instructions,
        "{step:?} of {window:?}"
    );
}

#[test]
fn every_system_computes_the_same_bytes_on_every_core() {
    let folder = tempfile::tempdir().unwrap();
    let systems = systems();
    assert_eq!(systems.len(), 32);
    let precisions = [Precision::Int8, Precision::Int8x16, Precision::Fp16];
    let cases = systems
        .iter()
        .flat_map(|system| precisions.map(|precision| (system, precision)));
    for ((onnx, recorded), precision) in cases {
        let held = (precision, Form::Window);
        let (model, inputs) = converted(onnx, recorded, held, folder.path());
        let cost = counted(&model, &inputs);
        let name = onnx.file_stem().unwrap().to_string_lossy();
        println!(
            "{name} {precision:?}: {} instructions, {} cycles (estimate)",
            cost.instructions, cost.cycles
        );
        for core in Core::ALL {
            let compared = identity::check(core, &model, &inputs)
                .unwrap_or_else(|e| panic!("{name} {precision:?}: {e}"));
            assert_eq!(compared, results(&model, &inputs), "{name} {precision:?}");
        }
    }
}

#[test]
fn a_causal_stack_on_a_stream_computes_the_same_bytes_on_every_core() {
    let folder = tempfile::tempdir().unwrap();
    let fixtures = workspace::root().join("host-tests/fixtures/attention");
    let (onnx, recorded) = (
        fixtures.join("causal_stack_dynamo.onnx"),
        fixtures.join("causal_stack.npz"),
    );
    for precision in [Precision::Int8, Precision::Int8x16, Precision::Fp16] {
        let held = (precision, Form::Stream);
        let (model, inputs) = converted(&onnx, &recorded, held, folder.path());
        for core in Core::ALL {
            identity::check(core, &model, &inputs).unwrap();
        }
    }
}
