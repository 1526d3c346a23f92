//! Import of what PyTorch's two exporters write.

use attn_converter::import::import;
use attn_converter::reference::Reference;
use attn_test_support::systems::fixtures;
use std::path::PathBuf;

fn fixture(name: &str) -> PathBuf {
    fixtures("").join(name)
}

fn operators(name: &str) -> Vec<String> {
    let reference = Reference::load(&fixture(name)).unwrap();
    let graph = import(&reference).unwrap();
    let describe = |node: &attn_converter::graph::Node| {
        let shape = |id: &attn_converter::graph::ValueId| format!("{:?}", graph.values[id.0].dims);
        let inputs: Vec<String> = node.inputs.iter().map(shape).collect();
        format!(
            "{} {} -> {}",
            node.op.name(),
            inputs.join(" "),
            shape(&node.output)
        )
    };
    graph.nodes.iter().map(describe).collect()
}

#[test]
fn both_exporters_files_become_the_same_graph() {
    let expected = [
        "Conv1d [50, 40] -> [50, 64]",
        "Conv1d [50, 64] -> [50, 64]",
        "Gru [50, 64] -> [50, 96]",
        "SelectRows [50, 96] -> [96]",
        "Linear [96] -> [64]",
        "Linear [50, 96] -> [50, 64]",
        "Linear [50, 96] -> [50, 64]",
        "Attention [64] [50, 64] [50, 64] -> [64]",
        "Concat [64] [96] -> [160]",
        "Linear [160] -> [64]",
        "Linear [64] -> [20]",
    ];
    assert_eq!(operators("kws_random_dynamo.onnx"), expected);
    assert_eq!(operators("kws_random_torchscript.onnx"), expected);
}

/// PyTorch writes large weights into a file beside the model.
#[test]
fn external_data_gives_the_same_graph() {
    let folder = attn_test_support::folder::Folder::new();
    let mut data = Vec::new();
    let model = folder.onnx("external.onnx", |graph| {
        for tensor in graph
            .initializer
            .iter_mut()
            .filter(|tensor| tensor.raw_data.len() > 1024)
        {
            attn_test_support::folder::make_external(tensor, "external.onnx.data", &mut data);
        }
    });
    folder.write("external.onnx.data", &data);
    let embedded =
        import(&Reference::load(attn_test_support::folder::ONNX.as_ref()).unwrap()).unwrap();
    let external = import(&Reference::load(model.as_ref()).unwrap()).unwrap();
    assert_eq!(format!("{embedded:?}"), format!("{external:?}"));
    std::fs::remove_file(folder.path("external.onnx.data")).unwrap();
    let error = Reference::load(model.as_ref()).err().unwrap().to_string();
    assert!(error.contains("external.onnx"), "{error}");
}
