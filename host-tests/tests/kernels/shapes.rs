//! ONNX models of one operator each, in shapes that others have measured too, with random weights.

use attn_test_support::graphs::{int, ints, new_node, set};
use attn_test_support::pb;
use pb::tensor_proto::DataType;
use pb::tensor_shape_proto::dimension::Value as Dim;

/// A model and its name.
pub struct Shape {
    pub name: &'static str,
    graph: pb::GraphProto,
}

impl Shape {
    /// As a model.
    pub fn model(&self) -> pb::ModelProto {
        let opset = pb::OperatorSetIdProto {
            version: 17,
            ..Default::default()
        };
        pb::ModelProto {
            ir_version: 8,
            opset_import: vec![opset],
            graph: Some(self.graph.clone()),
            ..Default::default()
        }
    }

    /// A model with inputs `x0`, `x1` … of these shapes and the output `y`.
    fn new(name: &'static str, inputs: &[&[i64]]) -> Self {
        let mut graph = pb::GraphProto {
            name: name.into(),
            output: vec![value("y", None)],
            ..Default::default()
        };
        let inputs = inputs.iter().enumerate();
        graph.input = inputs
            .map(|(i, dims)| value(&format!("x{i}"), Some(dims)))
            .collect();
        Self { name, graph }
    }

    /// A node with attributes.
    fn with(
        mut self,
        op: &str,
        inputs: &[&str],
        output: &str,
        attributes: &[pb::AttributeProto],
    ) -> Self {
        let mut node = new_node(op, inputs, output);
        set(&mut node, attributes);
        self.graph.node.push(node);
        self
    }

    fn node(self, op: &str, inputs: &[&str], output: &str) -> Self {
        self.with(op, inputs, output, &[])
    }

    /// Weights between -1 and 1, over the root of their `fan`.
    fn weights(mut self, name: &str, dims: &[i64], fan: i64) -> Self {
        let count = dims.iter().product::<i64>() as usize;
        let mut state = name.bytes().fold(9u32, |sum, byte| {
            sum.wrapping_mul(31).wrapping_add(byte.into())
        });
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state as i32 as f32 / (1u32 << 31) as f32) / (fan as f32).sqrt()
        };
        self.graph.initializer.push(pb::TensorProto {
            name: name.into(),
            data_type: DataType::Float as i32,
            dims: dims.to_vec(),
            raw_data: (0..count).flat_map(|_| next().to_le_bytes()).collect(),
            ..Default::default()
        });
        self
    }

    /// A linear layer.
    fn linear(self, x: &str, [k, out]: [i64; 2], y: &str) -> Self {
        let [weights, bias, product] =
            ["weights", "bias", "product"].map(|part| format!("{y}.{part}"));
        self.weights(&weights, &[k, out], k)
            .weights(&bias, &[out], k)
            .node("MatMul", &[x, &weights], &product)
            .node("Add", &[&product, &bias], y)
    }

    /// Scores, softmax and context of one head.
    fn attention(self, [q, k, v]: [&str; 3], y: &str) -> Self {
        self.with("Transpose", &[k], "turned", &[ints("perm", &[0, 2, 1])])
            .weights("scale", &[1], 64)
            .node("MatMul", &[q, "turned"], "products")
            .node("Mul", &["products", "scale"], "scores")
            .with("Softmax", &["scores"], "shares", &[int("axis", -1)])
            .node("MatMul", &["shares", v], y)
    }

    /// A convolution of `x` with padding that keeps the size at stride 1.
    fn convolution(self, x: &str, weights: &[i64], groups: i64, stride: i64, y: &str) -> Self {
        let kernel = &weights[2..];
        let before = kernel.iter().map(|k| k / 2);
        let pads: Vec<i64> = before.clone().chain(before).collect();
        let strides = vec![stride; kernel.len()];
        let attributes = [
            ints("kernel_shape", kernel),
            ints("pads", &pads),
            ints("strides", &strides),
            int("group", groups),
        ];
        let fan = weights[1..].iter().product();
        let [w, b] = ["weights", "bias"].map(|part| format!("{y}.{part}"));
        self.weights(&w, weights, fan)
            .weights(&b, &weights[..1], fan)
            .with("Conv", &[x, &w, &b], y, &attributes)
    }

    /// The same over time, between transpositions.
    fn over_time(self, weights: &[i64], groups: i64) -> Self {
        let turn = [ints("perm", &[0, 2, 1])];
        self.with("Transpose", &["x0"], "channels", &turn)
            .convolution("channels", weights, groups, 1, "result")
            .with("Transpose", &["result"], "y", &turn)
    }

    /// A recurrent layer over rows.
    fn recurrent(self, op: &str, gates: i64, [k, hidden]: [i64; 2]) -> Self {
        let attributes = [int("hidden_size", hidden), int("linear_before_reset", 1)];
        let own = if op == "GRU" { 2 } else { 1 };
        self.weights("w", &[1, gates * hidden, k], k)
            .weights("r", &[1, gates * hidden, hidden], hidden)
            .weights("b", &[1, 2 * gates * hidden], k)
            .with("Transpose", &["x0"], "rows", &[ints("perm", &[1, 0, 2])])
            .with(op, &["rows", "w", "r", "b"], "y", &attributes[..own])
    }
}

fn value(name: &str, dims: Option<&[i64]>) -> pb::ValueInfoProto {
    let shape = |dims: &[i64]| pb::TensorShapeProto {
        dim: dims
            .iter()
            .map(|&size| pb::tensor_shape_proto::Dimension {
                value: Some(Dim::DimValue(size)),
                ..Default::default()
            })
            .collect(),
    };
    let tensor = dims.map(|dims| pb::type_proto::Tensor {
        elem_type: DataType::Float as i32,
        shape: Some(shape(dims)),
    });
    let kind = tensor.map(|tensor| pb::TypeProto {
        value: Some(pb::type_proto::Value::TensorType(tensor)),
        ..Default::default()
    });
    pb::ValueInfoProto {
        name: name.into(),
        r#type: kind,
        ..Default::default()
    }
}

/// All of them.
pub fn all() -> Vec<Shape> {
    let linear =
        |name, rows, k, out| Shape::new(name, &[&[1, rows, k]]).linear("x0", [k, out], "y");
    let image = |name, dims: &[i64], weights: &[i64], groups, stride| {
        Shape::new(name, &[dims]).convolution("x0", weights, groups, stride, "y")
    };
    let time = |name, channels, weights: &[i64], groups| {
        Shape::new(name, &[&[1, 98, channels]]).over_time(weights, groups)
    };
    let window: &[i64] = &[1, 98, 64];
    vec![
        linear("linear 98x64->64", 98, 64, 64),
        linear("linear 98x64->192", 98, 64, 192),
        linear("linear 98x64->256", 98, 64, 256),
        linear("linear 98x256->64", 98, 256, 64),
        linear("linear 98x62->63", 98, 62, 63),
        linear("linear 1x256->768", 1, 256, 768),
        Shape::new("attention 98x64", &[window; 3]).attention(["x0", "x1", "x2"], "y"),
        Shape::new("attention block 98x64", &[window])
            .linear("x0", [64, 64], "q")
            .linear("x0", [64, 64], "k")
            .linear("x0", [64, 64], "v")
            .attention(["q", "k", "v"], "context")
            .linear("context", [64, 64], "y"),
        Shape::new("softmax 98x98", &[&[1, 98, 98]]).with(
            "Softmax",
            &["x0"],
            "y",
            &[int("axis", -1)],
        ),
        Shape::new("normalisation 98x64", &[window])
            .weights("gamma", &[64], 1)
            .weights("beta", &[64], 1)
            .with(
                "LayerNormalization",
                &["x0", "gamma", "beta"],
                "y",
                &[int("axis", -1)],
            ),
        Shape::new("add 98x64", &[window; 2]).node("Add", &["x0", "x1"], "y"),
        Shape::new("table 98x256", &[&[1, 98, 256]]).node("Sigmoid", &["x0"], "y"),
        Shape::new("lstm 50x40->64", &[&[1, 50, 40]]).recurrent("LSTM", 4, [40, 64]),
        Shape::new("gru 50x40->64", &[&[1, 50, 40]]).recurrent("GRU", 3, [40, 64]),
        image(
            "convolution 10x4 of 1, stride 2",
            &[1, 1, 49, 10],
            &[64, 1, 10, 4],
            1,
            2,
        ),
        image(
            "convolution 1x1 of 64, 25x5",
            &[1, 64, 25, 5],
            &[64, 64, 1, 1],
            1,
            1,
        ),
        image(
            "convolution 3x3 of 16, 25x5",
            &[1, 16, 25, 5],
            &[16, 16, 3, 3],
            1,
            1,
        ),
        image(
            "depthwise 3x3 of 64, 25x5",
            &[1, 64, 25, 5],
            &[64, 1, 3, 3],
            64,
            1,
        ),
        time("convolution 3 of 40, 98 rows", 40, &[64, 40, 3], 1),
        time("depthwise 9 of 64, 98 rows", 64, &[64, 1, 9], 64),
    ]
}
