//! ONNX `Attention` (opset 23), which PyTorch writes for `scaled_dot_product_attention`, decomposed before anything reads the
//! graph: products, mask and softmax as the specification defines them. The float reference and import then see the operators of older
//! opsets.

use super::is_onnx;
use super::writer::{Writer, attribute, given, int, int_of, ints};
use crate::error::{ConvertError, Result};
use tract_onnx::pb;

/// Added to the score of a hidden key.
const HIDDEN: f32 = f32::MIN;

/// Writes an `Attention` node as products, mask and softmax.
///
/// # Errors
/// [`ConvertError::UnsupportedForm`] for a node of unknown shapes, or with attributes that are not understood.
pub fn write(node: &pb::NodeProto, writer: &mut Writer) -> Result<()> {
    writer.replace(node);
    Spelling { node, writer }.write()
}

/// One node during its decomposition.
struct Spelling<'n, 'w, 'm> {
    node: &'n pb::NodeProto,
    writer: &'w mut Writer<'m>,
}

impl<'n> Spelling<'n, '_, '_> {
    fn form(&mut self, reason: impl Into<String>) -> ConvertError {
        self.writer.form(self.node, reason)
    }

    fn attribute(&self, name: &str) -> Option<&'n pb::AttributeProto> {
        attribute(self.node, name)
    }

    fn int(&self, name: &str) -> i64 {
        int_of(self.node, name, 0)
    }

    /// Name of an input that is given.
    fn given(&self, at: usize) -> Option<&'n String> {
        given(&self.node.input, at)
    }

    fn write(&mut self) -> Result<()> {
        self.check()?;
        let counts = ["q_num_heads", "kv_num_heads", "kv_num_heads"].map(|name| self.int(name));
        let (q, heads, queries, d) = self.split(0, counts[0])?;
        let (k, k_heads, keys, _) = self.split(1, counts[1])?;
        let (v, v_heads, ..) = self.split(2, counts[2])?;
        let past = self.given(4).and_then(|name| self.writer.shape(name));
        let past = past.map_or(0, |shape| shape.get(2).copied().unwrap_or(0));
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
        self.writer.call(&context, &self.node.output[0]);
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
        if wanted {
            self.writer.give(name, self.node.output.get(output));
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
            let shape = self.writer.shape(mask).unwrap_or_default();
            let missing = keys.saturating_sub(shape.last().copied().unwrap_or(keys));
            let boolean = self.writer.is_boolean(mask);
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
                let lengths = self.writer.known_integers(name);
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

    fn check(&mut self) -> Result<()> {
        if !is_onnx(&self.node.domain) {
            let reason = format!(
                "the Attention of `{}`: export with ONNX's own operators",
                self.node.domain
            );
            return Err(self.form(reason));
        }
        if self.given(4).is_some() != self.given(5).is_some() {
            return Err(self.form("past keys and values come together"));
        }
        Ok(())
    }

    /// Input `[1, heads, t, d]`, given so or split from `[1, t, heads * d]`: its name, heads, t and d.
    fn split(&mut self, input: usize, heads: i64) -> Result<(String, usize, usize, usize)> {
        let name = self.node.input.get(input).cloned().unwrap_or_default();
        match self.writer.shape(&name).as_deref() {
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

    fn add(&mut self, op: &str, inputs: &[&String], attribute: Vec<pb::AttributeProto>) -> String {
        self.writer.add(op, inputs, attribute)
    }

    fn constant(&mut self, shape: &[usize], values: &[f32]) -> String {
        self.writer.constant(shape, values)
    }

    fn integers(&mut self, values: &[i64]) -> String {
        self.writer.integers(values)
    }
}
