//! A program has the operators that its tables name; a file that needs others is refused by name.

use attn_runtime::typed::{InputOf, OutputOf};
use attn_runtime::{Model, ModelError, OpKind, Operators, Port, operators};

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

#[test]
fn ports_have_the_names_types_and_scales_of_the_file() {
    const STEP: usize = llama::entry("step");
    let model = llama::model().unwrap();
    let entry = &model.entries()[STEP];
    let inputs: Vec<&str> = model.input_names(entry).collect();
    let port = <llama::Input<STEP> as InputOf<llama::File>>::PORT;
    assert_eq!(port.name, inputs[0]);
    assert_eq!(llama::input(STEP, inputs[0]), 0);
    assert_eq!(llama::input(STEP, "no such name"), usize::MAX);
    assert_eq!(llama::entry("no such name"), usize::MAX);
    let output = <kws::Output as OutputOf<kws::File>>::PORT;
    let model = kws::model().unwrap();
    let record = model.entries()[0].outputs().next().unwrap();
    let record = model.tensor(record).unwrap();
    assert_eq!(output.scale, record.scale);
    assert_eq!(output.zero_point, record.zero_point);
    assert_eq!(output.dtype, record.dtype);
    let dims = &output.dims[..output.rank];
    assert!(
        dims.iter().eq(record
            .shape()
            .iter()
            .map(|&d| d as usize)
            .collect::<Vec<_>>()
            .iter())
    );
}

#[test]
fn a_typed_session_takes_and_gives_reals() {
    let mut arena = tiny::arena::<{ tiny::ARENA_LEN }>();
    let mut session = tiny::Session::new(arena.as_mut_slice()).unwrap();
    let Port {
        scale, zero_point, ..
    } = <tiny::Input as InputOf<tiny::File>>::PORT;
    let element = session.input::<tiny::Input>().unwrap();
    let expected: Vec<i8> = (0..element.len()).map(|at| at as i8).collect();
    let reals = expected
        .iter()
        .map(|q| (i32::from(*q) - zero_point) as f32 * scale);
    session.quantize::<tiny::Input>(reals).unwrap();
    assert_eq!(session.input::<tiny::Input>().unwrap(), expected);
    session.run(0).unwrap();
    let raw: Vec<i8> = session.output::<tiny::Output>().unwrap().to_vec();
    let Port {
        scale, zero_point, ..
    } = <tiny::Output as OutputOf<tiny::File>>::PORT;
    let reals = session.dequantize::<tiny::Output>().unwrap();
    assert!(
        reals.eq(raw
            .iter()
            .map(|q| (i32::from(*q) - zero_point) as f32 * scale))
    );
}
