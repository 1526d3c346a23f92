//! Base operators, and recurrent layers of any cell, compute the same bytes on the emulated cores as on this computer.

use attn_converter::pipeline::{Mixed, Options};
use attn_lab::emulator::Core;
use attn_lab::identity;
use attn_runtime::format::OpKind;
use attn_test_support::folder::{Folder, fixture};
use attn_test_support::running::noise;
use attn_test_support::systems::{PRECISIONS, convert_model};
use std::collections::BTreeSet;

#[test]
fn every_core_computes_the_same_bytes() {
    let folder = Folder::new();
    let mut kinds = BTreeSet::new();
    for name in [
        "c01_lstm_peepholes_both_ways",
        "c02_lstm_coupled_gates",
        "c03_gru_first_state_of_3_backwards",
        "c04_rnn_of_sequences_with_lengths",
        "c05_lstm_open_activations",
        "c06_rnn_threshold",
        "k10_logsoftmax_end",
        "k24_grouped_conv",
        "k29_instance_norm",
        "k31_gru_reset_before",
        "r18_upsample_bilinear",
        "b02_weights_transposed",
    ] {
        let [onnx, data] = ["onnx", "npz"].map(|end| fixture(&format!("cases/{name}.{end}")));
        for precision in PRECISIONS {
            let options = Options {
                precision,
                mixed: Mixed::None,
                ..Options::default()
            };
            let file = convert_model(&onnx, &data, &options).unwrap().file;
            let ops = file.model().ops();
            kinds.extend(
                ops.iter()
                    .filter_map(|op| op.kind())
                    .map(|kind| kind as u16),
            );
            let path = folder.write("base.attn", file.bytes());
            let inputs = noise(file.model(), 2);
            for core in Core::ALL {
                let compared = identity::check(core, path.as_ref(), &inputs)
                    .unwrap_or_else(|error| panic!("{name} {precision:?}: {error}"));
                assert!(compared > 2, "{name} {precision:?}");
            }
        }
    }
    for kind in [
        OpKind::Copy,
        OpKind::MatMul,
        OpKind::Reduce,
        OpKind::Recurrent,
    ] {
        assert!(kinds.contains(&(kind as u16)), "{kind:?}");
    }
}
