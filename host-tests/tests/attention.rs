//! Every attention system (training/attention) computes the same bytes on the emulated cores as on this computer.

use attn_converter::files::write_bytes;
use attn_converter::lower::Form;
use attn_converter::quantize::Precision;
use attn_converter::runner::ModelFile;
use attn_lab::emulator::Core;
use attn_lab::identity;
use attn_lab::systems::count;
use attn_test_support::systems::{PRECISIONS, SYSTEMS, System, system};
use std::path::{Path, PathBuf};

/// The converted model as a file, and the bytes of two recorded inputs as it takes them.
fn converted(
    system: &System,
    precision: Precision,
    form: Form,
    folder: &Path,
) -> (PathBuf, Vec<u8>) {
    let conversion = system.convert("dynamo", precision, form).unwrap();
    let path = folder.join("system.attn");
    write_bytes(&path, conversion.file.bytes()).unwrap();
    (path, system.input_bytes(&conversion, 2))
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

/// One frame of a stream must cost about one frame, not a window of them.
#[test]
fn a_step_of_a_causal_stack_costs_a_fraction_of_its_window() {
    let folder = tempfile::tempdir().unwrap();
    let stack = system("causal_stack");
    let [window, step] = [Form::Window, Form::Stream].map(|form| {
        let (model, inputs) = converted(&stack, Precision::Int8, form, folder.path());
        count(&model, &inputs).unwrap()
    });
    println!(
        "causal_stack: window of 16 {} instructions, step {}",
        window.instructions, step.instructions
    );
    // A window of 16 frames takes weights apart once for three of them.
    assert!(
        step.instructions * 10 < window.instructions,
        "{step:?} of {window:?}"
    );
}

fn same_bytes_on_every_core(system: &System) {
    let folder = tempfile::tempdir().unwrap();
    for precision in PRECISIONS {
        let (model, inputs) = converted(system, precision, Form::Window, folder.path());
        let name = system.name;
        for core in Core::ALL {
            let compared = identity::check(core, &model, &inputs)
                .unwrap_or_else(|error| panic!("{name} {precision:?}: {error}"));
            assert_eq!(compared, results(&model, &inputs), "{name} {precision:?}");
        }
    }
}

#[test]
fn a_system_of_each_kind_computes_the_same_bytes_on_every_core() {
    for name in [
        "keyword_transformer",
        "llama_block",
        "collaborative",
        "cbam_cnn",
        "upsample",
    ] {
        same_bytes_on_every_core(&system(name));
    }
}

#[test]
#[ignore = "takes minutes: cargo xtask test --all"]
fn every_system_computes_the_same_bytes_on_every_core() {
    SYSTEMS.iter().for_each(same_bytes_on_every_core);
}

#[test]
fn a_causal_stack_on_a_stream_computes_the_same_bytes_on_every_core() {
    let folder = tempfile::tempdir().unwrap();
    let stack = system("causal_stack");
    for precision in PRECISIONS {
        let (model, inputs) = converted(&stack, precision, Form::Stream, folder.path());
        for core in Core::ALL {
            identity::check(core, &model, &inputs).unwrap();
        }
    }
}
