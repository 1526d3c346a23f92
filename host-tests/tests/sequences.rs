//! Every bundle that has fixtures (training/seq2seq) decodes to the same bytes on the emulated cores as on this computer: what the
//! encoder leaves behind, logits and attention weights of every step, tokens and scores, greedily and with a beam.

use attn_converter::files::write_bytes;
use attn_converter::quantize::Precision;
use attn_converter::runner::ModelFile;
use attn_lab::decoding::check;
use attn_lab::decoding_cost::count;
use attn_lab::emulator::Core;
use attn_test_support::sequences::{SEQUENCES, converted, fixtures};
use std::collections::BTreeMap;

/// Inputs to decode.
const INPUTS: usize = 4;
/// How files hold their values.
const PRECISIONS: [Precision; 3] = [Precision::Int8, Precision::Int16x8, Precision::Fp16];

/// Decodes here and on the cores; the number of bytes that are the same.
fn same(cores: &[Core], file: &ModelFile, inputs: &[Vec<u16>]) -> usize {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bundle.attn");
    write_bytes(&path, file.bytes()).unwrap();
    let on_core = |core| check(core, &path, inputs).unwrap_or_else(|error| panic!("{error}"));
    let bytes: Vec<usize> = cores.iter().copied().map(on_core).collect();
    bytes[0]
}

/// Bytes of the logits of three steps: a decode that ends sooner shows little.
fn least(file: &ModelFile) -> usize {
    let model = file.model();
    let step = &model.entries()[model.entry("step").unwrap()];
    let logits = model.tensor(step.outputs().next().unwrap()).unwrap();
    3 * logits.byte_len()
}

#[test]
fn a_bundle_of_each_kind_decodes_to_the_same_bytes_on_every_core() {
    same_bytes_on_every_core(|name| {
        ["bilstm", "masked_transformer", "speech", "llama"].contains(&name)
    });
}

#[test]
#[ignore = "takes minutes: cargo xtask test --all"]
fn every_bundle_decodes_to_the_same_bytes_on_every_core() {
    same_bytes_on_every_core(|_| true);
}

fn same_bytes_on_every_core(chosen: impl Fn(&str) -> bool) {
    for sequence in SEQUENCES.iter().filter(|sequence| chosen(sequence.name)) {
        let recorded = sequence.recorded();
        let samples = recorded.by_length();
        let chosen = (0..INPUTS).map(|i| samples[i * (samples.len() - 1) / (INPUTS - 1)]);
        let chosen: Vec<usize> = chosen.collect();
        for (exporter, precision) in sequence
            .exporters()
            .flat_map(|exporter| PRECISIONS.map(|precision| (exporter, precision)))
        {
            let name = format!("{}, {exporter}, {precision:?}", sequence.name);
            let file = sequence
                .convert(exporter, precision)
                .unwrap_or_else(|error| panic!("{name}: {error}"));
            let inputs = chosen.iter().map(|&i| recorded.elements(&file, i));
            // The files of both exporters differ little.
            let cores = match exporter {
                "dynamo" => &Core::ALL[..],
                _ => &[Core::M4],
            };
            let bytes = same(cores, &file, &inputs.collect::<Vec<_>>());
            println!("{name}: {bytes} bytes");
            assert!(bytes > INPUTS * least(&file), "{name}: {bytes} bytes");
        }
    }
}

/// The trained models, as a TorchScript export: words, and features of sound.
#[test]
#[ignore = "takes minutes: cargo xtask test --all"]
fn trained_bundles_decode_to_the_same_bytes_on_every_core() {
    let symbols = |seed: u16| (0..3 + 2 * seed).map(move |i| 3 + (7 * i + seed) % 20);
    // Frames of 40 bands, as int8.
    let frames = |seed: u16| (0..40 * (3 + 3 * seed)).map(move |i| (31 * i + seed) % 200);
    for precision in PRECISIONS {
        for (name, inputs) in [
            ("g2p", [0, 1, 4].map(|seed| symbols(seed).collect())),
            ("digits", [0, 1, 3].map(|seed| frames(seed).collect())),
        ] {
            let manifest = fixtures().join(format!("{name}_torchscript.bundle.toml"));
            let file = converted(&manifest, precision).unwrap();
            let inputs: [Vec<u16>; 3] = inputs;
            let bytes = same(&Core::ALL, &file, &inputs);
            println!("{name}, {precision:?}: {bytes} bytes");
            assert!(bytes > 3 * least(&file), "{name}: {bytes} bytes");
        }
    }
}

/// With cached keys and values, a token costs the same at any position, except the attention over earlier tokens, which grows
/// by the same for each.
#[test]
fn a_token_costs_the_same_wherever_it_stands_but_for_attention() {
    let llama = SEQUENCES.iter().find(|system| system.name == "llama");
    let file = llama.unwrap().convert("dynamo", Precision::Int8).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bundle.attn");
    write_bytes(&path, file.bytes()).unwrap();
    let tokens: Vec<u16> = (0..10).map(|i| 2 + 5 * i % 28).collect();
    let regions = count(&path, &[], 0, &tokens).unwrap();
    let mut costs: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for region in &regions {
        let cost = costs.entry(&region.name).or_default();
        cost.push(region.instructions);
    }
    for (name, cost) in costs {
        assert_eq!(cost.len(), tokens.len(), "{name}");
        let (least, most) = (*cost.iter().min().unwrap(), *cost.iter().max().unwrap());
        match name.starts_with("step Attention") {
            // 4 heads of 8 channels over one key more: some 200 instructions, less where keys fill a group.
            true => {
                // More slots with every token, in groups of four.
                assert!(most - least < 300 * cost.len() as u64, "{name}: {cost:?}");
                let (first, last) = cost.split_at(cost.len() / 2);
                let [first, last] = [first, last].map(|half| half.iter().sum::<u64>());
                assert!(last > first, "{name}: {cost:?}");
            }
            false => assert!(most - least <= most / 40, "{name}: {cost:?}"),
        }
    }
}
