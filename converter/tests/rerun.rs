//! Programs that differ in the width of a group of values, run from the first operator that differs: the same outputs as from the start.

use attn_converter::bundle::Manifest;
use attn_converter::bundle::float::Bundle;
use attn_converter::bundle::samples::Samples;
use attn_converter::calibrate::Distribution;
use attn_converter::lower::{Form, Link, Part, lower};
use attn_converter::program::Program;
use attn_converter::quantize::choices::{self, Choices};
use attn_converter::quantize::rerun::{Recorded, Runner};
use attn_test_support::folder::fixture;
use std::path::Path;

/// A model with what calibration has seen of it.
struct Model<'m> {
    bundle: Bundle<'m>,
    links: Vec<Link>,
    distributions: Vec<Vec<Distribution>>,
    recorded: Vec<Recorded>,
}

impl<'m> Model<'m> {
    fn load(manifest: &'m Manifest, count: usize) -> Self {
        let mut bundle = Bundle::load(manifest).unwrap();
        let samples = Samples::load(&manifest.resolve(&manifest.calibrate), &bundle).unwrap();
        let links = bundle.links().unwrap();
        let graphs = bundle.graphs_for_caller();
        let none = |graph: &attn_converter::graph::Graph| {
            vec![Distribution::default(); graph.values.len()]
        };
        let mut distributions: Vec<Vec<_>> = graphs.iter().map(none).collect();
        let mut recorded = Vec::new();
        for sample in samples.samples.iter().take(count) {
            let mut record = Recorded::of(sample.length);
            let seen = bundle.run(sample, |run, elements| {
                let seen = distributions[run.part].iter_mut().zip(elements);
                seen.for_each(|(seen, elements)| seen.extend(&elements.values, count));
                record.add(run, &graphs[run.part], elements);
                Ok(())
            });
            seen.unwrap();
            recorded.push(record);
        }
        Self {
            bundle,
            links,
            distributions,
            recorded,
        }
    }

    fn program(&self, choices: &[Choices]) -> Program {
        let graphs = self.bundle.graphs_for_caller();
        let schemes = choices::schemes(&graphs, &self.links, &self.distributions, choices);
        let part = |part: usize| Part {
            name: &self.bundle.names[part],
            graph: &graphs[part],
            scheme: &schemes[part],
            form: Form::Window,
        };
        let parts: Vec<Part> = (0..graphs.len()).map(part).collect();
        lower(&parts, &self.links, self.bundle.max_length, false).unwrap()
    }

    /// Makes one group after the other int8, and compares both runs; gives the number of groups whose outputs that changes.
    fn check(&self, name: &str) -> usize {
        let graphs = self.bundle.graphs_for_caller();
        let runner = Runner {
            bundle: &self.bundle,
            graphs: &graphs,
        };
        let samples: Vec<&Recorded> = self.recorded.iter().collect();
        let wide = |graph| Choices {
            wide: choices::all(graph, false),
            ..Choices::default()
        };
        let widest: Vec<Choices> = graphs.iter().map(wide).collect();
        let (base, exact) = runner.record(self.program(&widest), &samples).unwrap();
        let mut changed = 0;
        for (part, graph) in graphs.iter().enumerate() {
            for group in choices::adjustable(graph, false) {
                let mut narrower = widest.clone();
                narrower[part].wide.retain(|id| !group.values.contains(id));
                let program = self.program(&narrower);
                let whole = runner.outputs(&program, &samples, None).unwrap();
                let rest = runner.outputs(&program, &samples, Some(&base)).unwrap();
                assert!(whole == rest, "{name}: {:?}", group.values);
                changed += usize::from(whole != exact);
            }
        }
        changed
    }
}

#[test]
fn a_run_from_the_change_on_gives_what_a_whole_run_gives() {
    let models = [
        (
            "attention/keyword_transformer_dynamo",
            "attention/keyword_transformer",
        ),
        (
            "attention/speech_encoder_torchscript",
            "attention/speech_encoder",
        ),
        ("attention/llama_block_dynamo", "attention/llama_block"),
        ("attention/separable_dynamo", "attention/separable"),
        ("kws_random_dynamo", "kws_random"),
    ];
    let folder = attn_test_support::folder::Folder::new();
    for (onnx, data) in models {
        let (onnx, mut data) = (
            fixture(&format!("{onnx}.onnx")),
            fixture(&format!("{data}.npz")),
        );
        if onnx.contains("attention/") {
            data = folder.path("calibration.npz");
            attn_test_support::systems::write_calibration(onnx.as_ref(), data.as_ref()).unwrap();
        }
        let manifest = Manifest::single(Path::new(&onnx), Path::new(&data), "run");
        assert!(Model::load(&manifest, 3).check(&onnx) > 2, "{onnx}");
    }
}

/// States and what an encoder computes for a step outlive a run: such programs start from the first operator, and say nothing else.
#[test]
fn what_outlives_a_run_is_computed_again() {
    let bundles = std::fs::read_dir(fixture("seq2seq")).unwrap();
    let manifests = bundles.filter_map(|file| {
        let path = file.unwrap().path();
        let is_manifest = path.extension().is_some_and(|end| end == "toml");
        is_manifest.then_some(path)
    });
    let path = manifests.min().expect("a bundle");
    let manifest = Manifest::load(&path).unwrap();
    assert!(Model::load(&manifest, 2).check(&manifest.name) > 2);
}
