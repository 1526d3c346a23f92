//! The format stays what it is: a tiny model must give the very bytes that were committed.
//!
//! `ATTN_BLESS=1 cargo test -p attn-converter --test golden` writes them anew after a deliberate change of format.

use attn_converter::calibrate::{Distribution, RangeMethod};
use attn_converter::emit::{Metadata, emit};
use attn_converter::function::{Function, Unary};
use attn_converter::graph::{Graph, Node, Op, Value, ValueId, op};
use attn_converter::lower::{Form, Part, lower};
use attn_converter::plan::plan;
use attn_converter::quantize::Scheme;
use attn_converter::quantize::choices::Choices;
use ndarray::ArrayD;
use std::collections::BTreeSet;
use std::path::Path;

fn tiny() -> Graph {
    let value = |name: &str, channels: usize| Value {
        name: name.into(),
        dims: vec![channels],
        source: None,
    };
    let weight = (0..12).map(|i| 0.1 * (i as f32 - 5.0)).collect();
    let weight = ArrayD::from_shape_vec(vec![3, 4], weight).unwrap();
    let linear = op::Linear(op::Affine::new(weight, vec![0.5, 0.0, -0.5])).into();
    let node = |name: &str, op, input, output| Node {
        name: name.into(),
        op,
        inputs: vec![ValueId(input)],
        output: ValueId(output),
        second: None,
    };
    Graph {
        fallbacks: Vec::new(),
        fallback_values: Default::default(),
        values: vec![value("x", 4), value("h", 3), value("y", 3)],
        nodes: vec![
            node("fc", linear, 0, 1),
            node(
                "tanh",
                Op::Activation(op::Activation(Function::Input.then(Unary::Tanh))),
                1,
                2,
            ),
        ],
        inputs: vec![ValueId(0)],
        outputs: vec![ValueId(2)],
        output_names: vec!["result".into()],
        tokens: Default::default(),
        varying: Default::default(),
        divided: Default::default(),
    }
}

fn bytes() -> Vec<u8> {
    let graph = tiny();
    let range = |limit: f32| Distribution::of(&[-limit, limit]);
    let choices = Choices {
        range: RangeMethod::MinMax,
        audio: false,
        wide: BTreeSet::new(),
        narrow: Default::default(),
        given: Default::default(),
        two_parts: Default::default(),
    };
    let scheme = Scheme::new(&graph, &[range(1.0), range(2.0), range(1.0)], &choices);
    let program = lower(&[Part::alone(&graph, &scheme, Form::Window)], &[], 0, false).unwrap();
    let labels = ["left", "middle", "right"].map(String::from).to_vec();
    let metadata = Metadata {
        labels,
        ..Metadata::default()
    };
    emit(&program, &plan(&program), &metadata).unwrap()
}

#[test]
fn a_tiny_model_gives_the_committed_bytes() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../runtime/tests/tiny.attn");
    if std::env::var_os("ATTN_BLESS").is_some() {
        attn_converter::files::write_bytes(&path, &bytes()).unwrap();
    }
    assert_eq!(
        bytes(),
        std::fs::read(&path).unwrap(),
        "see the top of this file"
    );
}
