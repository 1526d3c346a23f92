//! Dilated convolutions compute the same bytes on the emulated cores as on this computer.

use attn_converter::files::write_bytes;
use attn_converter::lower::Form;
use attn_converter::pipeline::{Mixed, Options};
use attn_lab::emulator::Core;
use attn_lab::identity;
use attn_test_support::folder::Folder;
use attn_test_support::running::noise;
use attn_test_support::systems::{PRECISIONS, convert_model, dilated};

#[test]
fn every_core_computes_the_same_bytes() {
    let folder = Folder::new();
    for (name, form, dilation) in [
        ("attention/separable_dynamo.onnx", Form::Window, 3),
        ("attention/separable_dynamo.onnx", Form::Stream, 3),
        ("attention/speech_encoder_dynamo.onnx", Form::Window, 2),
        ("vision/separable2d_dynamo.onnx", Form::Window, 2),
        ("vision/cbam_cnn_dynamo.onnx", Form::Window, 2),
    ] {
        let [onnx, data] = dilated(&folder, name, dilation);
        for precision in PRECISIONS {
            let options = Options {
                precision,
                form,
                mixed: Mixed::None,
                ..Options::default()
            };
            let file = convert_model(&onnx, &data, &options).unwrap().file;
            let path = folder.path("dilated.attn");
            write_bytes(path.as_ref(), file.bytes()).unwrap();
            let runs = if form == Form::Stream { 20 } else { 2 };
            let inputs = noise(file.model(), runs);
            for core in Core::ALL {
                let compared = identity::check(core, path.as_ref(), &inputs)
                    .unwrap_or_else(|error| panic!("{name} {form:?} {precision:?}: {error}"));
                assert!(compared > runs, "{name} {form:?} {precision:?}");
            }
        }
    }
}
