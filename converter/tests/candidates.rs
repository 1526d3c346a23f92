//! Steps that return their best tokens instead of a row of logits.

use attn_converter::decode::{Decoder, Input, Search};
use attn_converter::quantize::Precision;
use attn_converter::runner::ModelFile;
use attn_runtime::format::OpKind;
use attn_test_support::sequences::{Changed, converted};

/// A system with a line added to its [decode].
fn with_line(system: &'static str, line: &str) -> Changed {
    Changed::new(system).replaced("[decode]", &format!("[decode]\n{line}"))
}

fn has_top_k(file: &ModelFile) -> bool {
    let model = file.model();
    let mut kinds = model.ops().iter().map(|op| op.kind());
    kinds.any(|kind| kind == Some(OpKind::TopK))
}

#[test]
fn candidates_decode_as_logits_do() {
    let convert = |line: &str| with_line("additive", line).convert().unwrap();
    let (fused, plain) = (convert("candidates = 4"), convert(""));
    assert!(has_top_k(&fused) && !has_top_k(&plain));
    for first in 2..12 {
        let input = Input::Symbols((first..first + 7).collect());
        let beam = |width| Search::Beam { width, alpha: 1.0 };
        for search in [Search::Greedy, beam(2), beam(4)] {
            assert_eq!(
                Decoder::new(fused.model()).decode(&input, search).unwrap(),
                Decoder::new(plain.model()).decode(&input, search).unwrap()
            );
        }
    }
}

#[test]
fn half_precision_hands_out_candidates_too() {
    let bundle = with_line("plain_gru", "candidates = 4");
    let half = converted(&bundle.manifest(), Precision::Fp16).unwrap();
    assert!(has_top_k(&half));
    let input = Input::Symbols(vec![3, 5, 7, 9]);
    let search = Search::Beam {
        width: 4,
        alpha: 1.0,
    };
    let found = Decoder::new(half.model()).decode(&input, search).unwrap();
    assert_eq!(found.len(), 4);
}

#[test]
fn candidates_that_cannot_be_are_refused() {
    for count in [0, 17] {
        let bundle = with_line("additive", &format!("candidates = {count}"));
        bundle.refused(&[&format!("candidates = {count}: 1 to 16")]);
    }
}
