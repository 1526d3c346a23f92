//! A program has the operators that its tables name; a file that needs others is refused by name.

use attn_runtime::{Model, ModelError, OpKind, Operators, operators};

attn_runtime::include_model!(mod tiny = "tiny.attn");
attn_runtime::include_model!(mod kws = "../../models/kws.attn");
attn_runtime::include_model!(mod g2p = "../../models/g2p.attn");
attn_runtime::include_model!(mod llama = "../../models/llama.attn");

fn kinds(model: Model) -> Vec<OpKind> {
    model.ops().iter().filter_map(|op| op.kind()).collect()
}

#[test]
fn an_included_model_has_its_own_operators() {
    for model in [tiny::model(), kws::model(), g2p::model(), llama::model()] {
        assert!(!kinds(model.unwrap()).is_empty());
    }
    assert!(kinds(tiny::model().unwrap()).contains(&OpKind::Linear));
}

#[test]
fn an_operator_that_is_not_linked_is_named() {
    let error = Model::parse_linked(tiny::FILE, operators![Softmax, Gru]).unwrap_err();
    let ModelError::NotLinked { op, kind } = error else {
        panic!("{error}");
    };
    assert_eq!(kind, kinds(tiny::model().unwrap())[usize::from(op)].name());
    assert!(error.to_string().contains(kind), "{error}");
}

#[test]
fn a_named_set_takes_every_file_of_its_operators() {
    static SET: &Operators = operators![
        Linear,
        Conv1d,
        Gru,
        Attention,
        PushKeyValue,
        ShiftRows,
        Concat,
        Requantize,
        Lut
    ];
    assert!(Model::parse_linked(kws::FILE, SET).is_ok());
}

#[test]
fn the_operators_of_another_file_are_not_enough() {
    let parse = |file| {
        let operators = operators!(set kws::OPERATORS);
        Model::parse_linked(file, operators).unwrap_err()
    };
    let error = parse(g2p::FILE);
    assert_eq!(error, ModelError::LengthsNotLinked);
    assert!(error.to_string().contains("operators!"), "{error}");
    let error = parse(llama::FILE);
    assert!(
        matches!(error, ModelError::NotLinked { kind: "", .. }),
        "{error}"
    );
    assert!(error.to_string().contains("another file"), "{error}");
}

#[test]
fn one_table_serves_several_models() {
    static BOTH: &Operators = operators!(set kws::OPERATORS.and(g2p::OPERATORS));
    for file in [kws::FILE, g2p::FILE] {
        assert!(Model::parse_linked(file, BOTH).is_ok());
    }
}
