//! ONNX `Attention` (opset 23), which PyTorch writes for `scaled_dot_product_attention`, decomposed before anything reads the
//! graph: products, mask and softmax as the specification defines them. The float reference and import then see the operators of older
//! opsets.

use crate::error::{ConvertError, Result};
use std::collections::HashMap;
use tract_onnx::pb;
use tract_onnx::pb::tensor_shape_proto::dimension::Value as Dim;

/// Added to the score of a hidden key.
const HIDDEN: f32 = f32::MIN;

/// The graph with every `Attention` node decomposed.
///
/// # Errors
/// [`ConvertError::UnsupportedForm`] for a node without shapes in the file, or with attributes that are not understood.
pub fn spelled_out(graph: &pb::GraphProto) -> Result<pb::GraphProto> {
    let is_attention = |node: &pb::NodeProto| node.op_type == "Attention";
    let mut result = graph.clone();
    if !graph.node.iter().any(is_attention) {
        return Ok(result);
    }
    let (shapes, booleans) = types(graph);
    result.node.clear();
    for node in &graph.node {
        if is_attention(node) {
            Spelling::new(node, &shapes, &booleans, &mut result).write()?;
        } else {
            result.node.push(node.clone());
        }
    }
    Ok(result)
}

/// Shapes by name, and the names of booleans.
fn types(graph: &pb::GraphProto) -> (HashMap<&str, Vec<usize>>, Vec<&str>) {
    let (mut shapes, mut booleans) = (HashMap::new(), Vec::new());
    let boolean = pb::tensor_proto::DataType::Bool as i32;
    for tensor in &graph.initializer {
        let dims = tensor.dims.iter().map(|&d| d as usize).collect();
        shapes.insert(tensor.name.as_str(), dims);
        if tensor.data_type == boolean {
            booleans.push(tensor.name.as_str());
        }
    }
    for info in graph
        .value_info
        .iter()
        .chain(&graph.input)
        .chain(&graph.output)
    {
        let Some(pb::type_proto::Value::TensorType(tensor)) =
            info.r#type.as_ref().and_then(|kind| kind.value.as_ref())
        else {
            continue;
        };
        if tensor.elem_type == boolean {
            booleans.push(info.name.as_str());
        }
        let dims = tensor.shape.iter().flat_map(|shape| &shape.dim);
        let dims: Option<Vec<usize>> = dims
            .map(|dim| match &dim.value {
                Some(Dim::DimValue(size)) => Some(*size as usize),
                _ => None,
            })
            .collect();
        if let Some(dims) = dims {
            shapes.insert(info.name.as_str(), dims);
        }
    }
    (shapes, booleans)
}

/// One node during its decomposition.
struct Spelling<'g> {
    node: &'g pb::NodeProto,
    shapes: &'g HashMap<&'g str, Vec<usize>>,
    booleans: &'g [&'g str],
    result: &'g mut pb::GraphProto,
}

impl<'g> Spelling<'g> {
    fn new(
        node: &'g pb::NodeProto,
        shapes: &'g HashMap<&'g str, Vec<usize>>,
        booleans: &'g [&'g str],
        result: &'g mut pb::GraphProto,
    ) -> Self {
        Self {
            node,
            shapes,
            booleans,
            result,
        }
    }

    fn form(&self, reason: impl Into<String>) -> ConvertError {
        let shape = |name: &String| match self.shapes.get(name.as_str()) {
            Some(shape) => format!("{shape:?}"),
            None => "?".into(),
        };
        let inputs = self.node.input.iter().filter(|name| !name.is_empty());
        ConvertError::UnsupportedForm {
            node: self.node.name.clone(),
            op: "Attention".into(),
            shapes: inputs.map(shape).collect::<Vec<_>>().join(", "),
            reason: reason.into(),
        }
    }

    fn attribute(&self, name: &str) -> Option<&'g pb::AttributeProto> {
        self.node.attribute.iter().find(|a| a.name == name)
    }

    fn int(&self, name: &str) -> i64 {
        self.attribute(name).map_or(0, |a| a.i)
    }

    /// Name of an input that is given.
    fn given(&self, at: usize) -> Option<&'g String> {
        self.node.input.get(at).filter(|name| !name.is_empty())
    }

    /// Name of an output that is asked for.
    fn asked(&self, at: usize) -> Option<&'g String> {
        self.node.output.get(at).filter(|name| !name.is_empty())
    }

    fn write(&mut self) -> Result<()> {
        self.check()?;
        let counts = ["q_num_heads", "kv_num_heads", "kv_num_heads"].map(|name| self.int(name));
        let (q, heads, queries, d) = self.split(0, counts[0])?;
        let (k, k_heads, keys, _) = self.split(1, counts[1])?;
        let (v, v_heads, ..) = self.split(2, counts[2])?;
        let past = self
            .given(4)
            .and_then(|name| self.shapes.get(name.as_str()));
        let past = past.and_then(|shape| shape.get(2)).copied().unwrap_or(0);
        let (k, v) = (self.cached(k, 4, 1), self.cached(v, 5, 2));
        let keys = keys + past;
        let (k, v) = (
            self.shared(k, k_heads, heads)?,
            self.shared(v, v_heads, heads)?,
        );
        let scale = match self.attribute("scale").map_or(0.0, |a| a.f) {
            0.0 => 1.0 / (d as f32).sqrt(),
            scale => scale,
        };
        let k = self.add("Transpose", &[&k], vec![ints("perm", &[0, 1, 3, 2])]);
        let scores = self.add("MatMul", &[&q, &k], vec![]);
        let scale = self.constant(&[], &[scale]);
        let mut scores = self.add("Mul", &[&scores, &scale], vec![]);
        let mode = self.int("qk_matmul_output_mode");
        self.copied(&scores, 3, mode == 0);
        let softcap = self.attribute("softcap").map_or(0.0, |a| a.f);
        if softcap > 0.0 {
            let (down, up) = (
                self.constant(&[], &[1.0 / softcap]),
                self.constant(&[], &[softcap]),
            );
            scores = self.add("Mul", &[&scores, &down], vec![]);
            scores = self.add("Tanh", &[&scores], vec![]);
            scores = self.add("Mul", &[&scores, &up], vec![]);
        }
        self.copied(&scores, 3, mode == 1);
        scores = self.masked(scores, queries, keys, past)?;
        self.copied(&scores, 3, mode == 2);
        let weights = self.add("Softmax", &[&scores], vec![int("axis", -1)]);
        self.copied(&weights, 3, mode == 3);
        let mut context = self.add("MatMul", &[&weights, &v], vec![]);
        if counts[0] > 0 {
            context = self.add("Transpose", &[&context], vec![ints("perm", &[0, 2, 1, 3])]);
            let shape = self.integers(&[0, 0, -1]);
            context = self.add("Reshape", &[&context, &shape], vec![]);
        }
        let last = self.result.node.last_mut().expect("just added");
        debug_assert_eq!(last.output[0], context);
        last.output[0] = self.node.output[0].clone();
        Ok(())
    }

    /// Keys or values behind those of an earlier run, and the output that hands out both.
    fn cached(&mut self, own: String, past: usize, present: usize) -> String {
        let all = match self.given(past) {
            Some(past) => self.add("Concat", &[past, &own], vec![int("axis", 2)]),
            None => own,
        };
        self.copied(&all, present, true);
        all
    }

    /// Gives an output that is asked for the value `name`.
    fn copied(&mut self, name: &String, output: usize, wanted: bool) {
        if let Some(output) = self.asked(output).filter(|_| wanted) {
            self.add("Identity", &[name], vec![]);
            let last = self.result.node.last_mut().expect("just added");
            last.output[0] = output.clone();
        }
    }

    /// Scores with everything that hides keys.
    fn masked(
        &mut self,
        mut scores: String,
        queries: usize,
        keys: usize,
        past: usize,
    ) -> Result<String> {
        if let Some(mask) = self.given(3) {
            let shape = self.shapes.get(mask.as_str()).cloned().unwrap_or_default();
            let missing = keys.saturating_sub(shape.last().copied().unwrap_or(keys));
            let boolean = self.booleans.contains(&mask.as_str());
            let hidden = self.constant(&[], &[HIDDEN]);
            if missing > 0 {
                let zero = self.constant(&[], &[0.0]);
                let added = match boolean {
                    true => self.add("Where", &[mask, &zero, &hidden], vec![]),
                    false => mask.clone(),
                };
                let mut block = shape;
                *block.last_mut().expect("masks have axes") = missing;
                let values = vec![HIDDEN; block.iter().product()];
                let block = self.constant(&block, &values);
                let mask = self.add("Concat", &[&added, &block], vec![int("axis", -1)]);
                scores = self.add("Add", &[&scores, &mask], vec![]);
            } else if boolean {
                scores = self.add("Where", &[mask, &scores, &hidden], vec![]);
            } else {
                scores = self.add("Add", &[&scores, mask], vec![]);
            }
        }
        let window = |name: &str| match self.attribute(name).map(|a| a.i) {
            Some(size) if size >= 0 => size,
            _ => i64::MAX / 4,
        };
        let (left, right) = (window("left_window_size"), window("right_window_size"));
        let right = if self.int("is_causal") != 0 {
            right.min(0)
        } else {
            right
        };
        let lengths = match self.given(6) {
            Some(name) => {
                let lengths = integers_of(self.result, name);
                Some(
                    lengths
                        .ok_or_else(|| self.form("lengths of the keys that the model computes"))?,
                )
            }
            None => None,
        };
        let near = i64::MAX / 8;
        if left >= near && right >= near && lengths.is_none() {
            return Ok(scores);
        }
        let batches = lengths.as_ref().map_or(1, Vec::len);
        let mut mask = Vec::new();
        for batch in 0..batches {
            let length = lengths.as_ref().map(|lengths| lengths[batch]);
            let offset = length.map_or(past as i64, |length| length - queries as i64);
            for (query, key) in
                (0..queries as i64).flat_map(|q| (0..keys as i64).map(move |k| (q, k)))
            {
                let at = query + offset;
                let seen = (at - left..=at.saturating_add(right)).contains(&key);
                let seen = seen && length.is_none_or(|length| key < length);
                mask.push(if seen { 0.0 } else { HIDDEN });
            }
        }
        let shape = match lengths {
            Some(_) => vec![batches, 1, queries, keys],
            None => vec![queries, keys],
        };
        let mask = self.constant(&shape, &mask);
        Ok(self.add("Add", &[&scores, &mask], vec![]))
    }

    fn check(&self) -> Result<()> {
        const UNDERSTOOD: [&str; 8] = [
            "is_causal",
            "kv_num_heads",
            "left_window_size",
            "q_num_heads",
            "qk_matmul_output_mode",
            "right_window_size",
            "scale",
            "softcap",
        ];
        let unknown = |a: &&pb::AttributeProto| {
            !UNDERSTOOD.contains(&&*a.name) && a.name != "softmax_precision"
        };
        if let Some(attribute) = self.node.attribute.iter().find(unknown) {
            return Err(self.form(format!("attribute `{}` is not understood", attribute.name)));
        }
        if self.given(4).is_some() != self.given(5).is_some() {
            return Err(self.form("past keys and values come together"));
        }
        Ok(())
    }

    /// Input `[1, heads, t, d]`, given so or split from `[1, t, heads * d]`: its name, heads, t and d.
    fn split(&mut self, input: usize, heads: i64) -> Result<(String, usize, usize, usize)> {
        let name = self.node.input.get(input).cloned().unwrap_or_default();
        match self.shapes.get(name.as_str()).map(Vec::as_slice) {
            Some(&[_, heads, t, d]) => Ok((name, heads, t, d)),
            Some(&[_, t, width]) if heads > 0 && width.is_multiple_of(heads as usize) => {
                let d = width / heads as usize;
                let shape = self.integers(&[0, 0, heads, d as i64]);
                let split = self.add("Reshape", &[&name, &shape], vec![]);
                let turned = self.add("Transpose", &[&split], vec![ints("perm", &[0, 2, 1, 3])]);
                Ok((turned, heads as usize, t, d))
            }
            Some(&[_, _, width]) => Err(self.form(format!(
                "{heads} heads do not divide {width} channels"
            ))),
            Some(_) => Err(self.form("inputs must be [1, heads, t, d] or [1, t, heads * d]")),
            None => Err(self.form(
                "the file does not say its inputs' shapes; export with torch.onnx.export(dynamo=True), or run onnx.shape_inference",
            )),
        }
    }

    /// Repeats each head of keys or values for the adjacent heads of queries that share it.
    fn shared(&mut self, name: String, own: usize, heads: usize) -> Result<String> {
        if own == heads {
            return Ok(name);
        }
        if own == 0 || !heads.is_multiple_of(own) {
            return Err(self.form(format!(
                "{heads} heads of queries cannot share {own} of keys and values"
            )));
        }
        let places: Vec<i64> = (0..heads)
            .map(|head| (head / (heads / own)) as i64)
            .collect();
        let places = self.integers(&places);
        Ok(self.add("Gather", &[&name, &places], vec![int("axis", 1)]))
    }

    /// Adds a node and returns the name of its result.
    fn add(&mut self, op: &str, inputs: &[&String], attribute: Vec<pb::AttributeProto>) -> String {
        let output = self.fresh(op);
        self.result.node.push(pb::NodeProto {
            name: format!(
                "{}/{}",
                self.node.name,
                output.rsplit('.').next().unwrap_or(op)
            ),
            op_type: op.into(),
            input: inputs.iter().map(|&name| name.clone()).collect(),
            output: vec![output.clone()],
            attribute,
            ..Default::default()
        });
        output
    }

    fn fresh(&self, part: &str) -> String {
        let number = self.result.node.len() + self.result.initializer.len();
        format!("{}.{part}.{number}", self.node.output[0])
    }

    fn constant(&mut self, shape: &[usize], values: &[f32]) -> String {
        let bytes = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        self.initializer(pb::tensor_proto::DataType::Float, shape, bytes)
    }

    fn integers(&mut self, values: &[i64]) -> String {
        let bytes = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        self.initializer(pb::tensor_proto::DataType::Int64, &[values.len()], bytes)
    }

    fn initializer(
        &mut self,
        kind: pb::tensor_proto::DataType,
        shape: &[usize],
        raw_data: Vec<u8>,
    ) -> String {
        let name = self.fresh("constant");
        self.result.initializer.push(pb::TensorProto {
            name: name.clone(),
            data_type: kind as i32,
            dims: shape.iter().map(|&d| d as i64).collect(),
            raw_data,
            ..Default::default()
        });
        name
    }
}

/// The numbers of an int64 initializer.
fn integers_of(graph: &pb::GraphProto, name: &str) -> Option<Vec<i64>> {
    let tensor = graph
        .initializer
        .iter()
        .find(|tensor| tensor.name == name)?;
    if tensor.data_type != pb::tensor_proto::DataType::Int64 as i32 {
        return None;
    }
    let numbers = tensor
        .raw_data
        .as_chunks::<8>()
        .0
        .iter()
        .map(|bytes| i64::from_le_bytes(*bytes));
    match tensor.int64_data.is_empty() {
        true => Some(numbers.collect()),
        false => Some(tensor.int64_data.clone()),
    }
}

fn int(name: &str, i: i64) -> pb::AttributeProto {
    pb::AttributeProto {
        name: name.into(),
        r#type: pb::attribute_proto::AttributeType::Int as i32,
        i,
        ..Default::default()
    }
}

fn ints(name: &str, ints: &[i64]) -> pb::AttributeProto {
    pb::AttributeProto {
        name: name.into(),
        r#type: pb::attribute_proto::AttributeType::Ints as i32,
        ints: ints.to_vec(),
        ..Default::default()
    }
}
