//! Attention: `softmax(query * keys^T * scale) * values`, recognised in the nodes that exporters write.
//!
//! The scale may be on the query, on the keys, split over both, or on the scores. Any chain of Reshape and Transpose may split and
//! join heads; the views follow it.

use super::additive::Additive;
use super::node::OnnxNode;
use super::view::{self, View};
use super::{Importer, Item};
use crate::error::Result;
use crate::graph::{Node, Op, ValueId, op};
use crate::shapes::MOVES;
use ndarray::{Array3, ArrayD, Axis, IxDyn, Slice};

/// The first product of an attention.
#[derive(Clone, Debug)]
pub struct Scores {
    /// `[queries, heads * d]`
    query: ValueId,
    /// `[keys, key_heads * d]`
    keys: ValueId,
    heads: usize,
    key_heads: usize,
    queries: usize,
    key_count: usize,
    /// Factor on the scores.
    pub scale: f32,
    /// The scores have a causal mask.
    causal: bool,
    /// Another mask of the scores, `[queries, keys]`: true where a query sees a key.
    visible: Option<Vec<bool>>,
    /// A mask hides the padding: only the sequence's keys and values count.
    pub padded: bool,
    /// For each element of the ONNX tensor, its index in the scores `[heads, queries, keys]`.
    pub index: ArrayD<u32>,
    /// The weights, if the scores are additive energies and not dot products.
    additive: Option<Additive>,
    /// ONNX name of the softmax of the scores.
    pub weights: Option<String>,
}

impl Scores {
    /// Energies of `count` rows: one query `[a]`, keys `[count, a]`.
    pub fn additive(
        query: ValueId,
        keys: ValueId,
        count: usize,
        shape: &[usize],
        additive: Additive,
    ) -> Self {
        let index = ArrayD::from_shape_vec(IxDyn(shape), (0..count as u32).collect());
        Self {
            query,
            keys,
            heads: 1,
            key_heads: 1,
            queries: 1,
            key_count: count,
            scale: 1.0,
            causal: false,
            visible: None,
            padded: false,
            index: index.expect("one score for each row"),
            additive: Some(additive),
            weights: None,
        }
    }

    /// Number of keys.
    pub fn key_count(&self) -> usize {
        self.key_count
    }

    /// The same scores with the keys along the last axis and the other axes in order, as a mask needs them.
    pub fn over_last_axis(&self) -> Option<Self> {
        let last = self.index.ndim().checked_sub(1)?;
        self.along(last).filter(Self::in_order)
    }

    /// Rearranged scores: `index` gives the old index of each.
    pub fn gathered(&self, index: &ArrayD<u32>) -> Self {
        let flat: Vec<u32> = self.index.iter().copied().collect();
        let at = |&i: &u32| flat.get(i as usize).copied().unwrap_or(view::PADDING);
        Self {
            index: index.map(at),
            ..self.clone()
        }
    }

    /// True when some keys are hidden.
    pub fn is_masked(&self) -> bool {
        self.causal || self.visible.is_some() || self.padded
    }

    /// True for `[.., queries, keys]` in order.
    pub fn in_order(&self) -> bool {
        let whole = self.index.len() == self.heads * self.queries * self.key_count;
        whole
            && self.index.shape().last() == Some(&self.key_count)
            && view::is_run(&self.index.iter().copied().collect::<Vec<_>>(), 0)
    }

    /// Scores whose softmax runs over `axis`, which must be the axis of the keys. `q k^T` is `(k q^T)^T`, so with one head either side
    /// of the product may be the queries.
    pub fn along(&self, axis: usize) -> Option<Self> {
        let last = self.index.ndim().checked_sub(1)?;
        if axis == last && self.in_order() {
            return Some(self.clone());
        }
        let in_place: Vec<u32> = self.index.iter().copied().collect();
        let one_query = self.heads == 1 && self.queries == 1 && self.index.len() == self.key_count;
        if one_query && self.index.shape()[axis] == self.key_count && view::is_run(&in_place, 0) {
            return Some(self.clone());
        }
        let (queries, keys) = (self.queries as u32, self.key_count as u32);
        let turned = Self {
            query: self.keys,
            keys: self.query,
            queries: self.key_count,
            key_count: self.queries,
            index: self.index.mapv(|p| p % keys * queries + p / keys),
            ..self.clone()
        };
        let mut moved = turned.index.clone();
        moved.swap_axes(axis, last);
        let run: Vec<u32> = moved.iter().copied().collect();
        let over_keys = self.index.shape()[axis] == turned.key_count && view::is_run(&run, 0);
        let one_head = self.heads == 1
            && self.additive.is_none()
            && !self.is_masked()
            && run.len() == self.queries * self.key_count;
        (one_head && over_keys).then_some(turned)
    }
}

/// Heads `[head, row, channel]` without adjacent repetitions (keys that several query heads share).
fn distinct(heads: &Array3<u32>) -> Array3<u32> {
    let count = heads.dim().0;
    let head = |i: usize| heads.index_axis(Axis(0), i);
    let group = (1..count)
        .find(|&i| head(i) != head(0))
        .unwrap_or(count)
        .max(1);
    let shared =
        count.is_multiple_of(group) && (0..count).all(|i| head(i) == head(i / group * group));
    let group = if shared { group } else { 1 };
    heads
        .slice_axis(Axis(0), Slice::new(0, None, group as isize))
        .to_owned()
}

impl Importer<'_> {
    /// The value `[rows, heads * d]` that positions `[head, row, channel]` read.
    fn joined_heads(&mut self, base: ValueId, heads: Array3<u32>) -> Option<ValueId> {
        let (h, rows, d) = heads.dim();
        let joined = heads.permuted_axes([1, 0, 2]);
        let position: Vec<u32> = joined.iter().copied().collect();
        debug_assert_eq!(position.len(), rows * h * d);
        self.rows_of(base, &position, h * d)
    }

    /// Constant queries `[.., heads, tq, d]` as a value of rows `[tq, heads * d]`.
    pub(super) fn constant_query(&mut self, node: &OnnxNode, query: &ArrayD<f32>) -> Result<View> {
        let form = || node.form("constant queries must be [.., heads, tq, d]");
        let (&[.., queries, d], len) = (query.shape(), query.len()) else {
            return Err(form());
        };
        let heads = len / (queries * d).max(1);
        let rows = query
            .to_shape((heads, queries, d))
            .map_err(|_| form())?
            .permuted_axes([1, 0, 2]);
        let values = rows.iter().copied().collect();
        let place = |at: usize| {
            let (h, t, c) = (at / (queries * d), at / d % queries, at % d);
            ((t * heads + h) * d + c) as u32
        };
        let view = View::of(
            self.next_value(),
            query.shape(),
            (0..len).map(place).collect(),
        );
        let name = &node.inputs[0];
        let output = self.add_value_at(name, &[queries, heads * d], view.positions());
        self.graph.nodes.push(Node {
            name: name.clone(),
            op: Op::Constant(op::Constant { values }),
            inputs: vec![],
            output,
            second: None,
        });
        Ok(view)
    }

    /// MatMul of two tensors: scores.
    pub(super) fn scores(&mut self, node: &OnnxNode, a: View, b: View) -> Result<()> {
        let not_scores = || {
            node.form(
                "a product of two tensors must be an attention: queries [.., tq, d] times transposed keys [.., d, tk], \
                 heads as adjacent channels",
            )
        };
        let query = a.by_head().ok_or_else(not_scores)?;
        let mut keys = b.by_head().ok_or_else(not_scores)?;
        keys.swap_axes(1, 2);
        let ((heads, queries, d), (key_heads, key_count, key_d)) = (query.dim(), keys.dim());
        if heads != key_heads || d != key_d {
            return Err(node.form(format!(
                "{heads} heads of {d} channels against {key_heads} of {key_d}"
            )));
        }
        let keys = distinct(&keys);
        let key_heads = keys.dim().0;
        let query = self.joined_heads(a.base, query).ok_or_else(not_scores)?;
        let keys = self.joined_heads(b.base, keys).ok_or_else(not_scores)?;
        let shape = self.shape_of(&node.output);
        let index = (0..(heads * queries * key_count) as u32).collect();
        let index = ArrayD::from_shape_vec(IxDyn(&shape), index).map_err(|_| not_scores())?;
        let scores = Scores {
            query,
            keys,
            heads,
            key_heads,
            queries,
            key_count,
            scale: a.factor * b.factor,
            causal: false,
            visible: None,
            padded: false,
            index,
            additive: None,
            weights: None,
        };
        self.items.insert(node.output.clone(), Item::Scores(scores));
        Ok(())
    }

    /// MatMul of softmax weights and values, which completes the attention.
    pub(super) fn attention(&mut self, node: &OnnxNode, scores: Scores, v: View) -> Result<()> {
        let not_values = || {
            node.form("the values of an attention must be [.., tk, d], heads as adjacent channels")
        };
        if v.factor != 1.0 {
            return Err(
                node.form("a factor on the values: put it into the projection that makes them")
            );
        }
        let values = v.by_head().ok_or_else(not_values)?;
        let single = scores.heads == 1 && scores.queries == 1;
        if !scores.padded && !single && self.reads_weights(node, &scores) {
            return Err(node.form("weights that something else reads, too"));
        }
        let (heads, count, d) = values.dim();
        let width = self.graph.values[scores.keys.0].channels() / scores.key_heads.max(1);
        if scores.additive.is_none() && d != width {
            return Err(node.form(format!("keys of {width} channels, values of {d}")));
        }
        if heads != scores.heads || count != scores.key_count {
            return Err(node.form(format!(
                "{} heads with {} keys against {heads} heads with {count} values",
                scores.heads, scores.key_count
            )));
        }
        let values = distinct(&values);
        if values.dim().0 != scores.key_heads {
            return Err(node.form(format!(
                "{} heads of keys against {} of values",
                scores.key_heads,
                values.dim().0
            )));
        }
        let values = self.joined_heads(v.base, values).ok_or_else(not_values)?;
        let [keys, values] = self.keys_and_values(node, &scores, values)?;
        let op = match &scores.additive {
            None => Op::Attention(op::Attention {
                heads,
                scale: scores.scale,
                causal: scores.causal,
                visible: scores.visible.clone(),
                key_heads: scores.key_heads,
                biased: false,
            }),
            Some(Additive { v, tanh }) => Op::AdditiveAttention(op::AdditiveAttention {
                v: v.iter().map(|v| v * scores.scale).collect(),
                tanh: *tanh,
            }),
        };
        // The result [.., heads, queries, d] is a view of rows of heads * d channels.
        let rows = Array3::from_shape_fn((heads, scores.queries, d), |(h, t, c)| {
            ((t * heads + h) * d + c) as u32
        });
        let shape = self.shape_of(&node.output);
        let view = View::of(self.next_value(), &shape, rows.iter().copied().collect());
        let dims = [scores.queries, heads * d];
        self.add_node(node, op, vec![scores.query, keys, values], &dims, view);
        self.hand_out_weights(&scores)
    }

    /// True if several rows of weights go to anything but products: fusion has the attention give them.
    fn reads_weights(&self, node: &OnnxNode, scores: &Scores) -> bool {
        let graph = self.reference.graph();
        let mut names: Vec<&str> = vec![&node.inputs[0]];
        names.extend(scores.weights.as_deref());
        let mut at = 0;
        while let Some(&name) = names.get(at) {
            at += 1;
            if graph.output.iter().any(|output| output.name == name) {
                return true;
            }
            for reader in (graph.node.iter()).filter(|reader| {
                reader.input.iter().any(|input| input == name)
                    && reader.output.iter().any(|output| self.is_used(output))
            }) {
                match reader.op_type.as_str() {
                    "MatMul" | "IsNaN" | "Where" | "Mul" => {}
                    "Cast" | "Identity" => names.extend(reader.output.iter().map(String::as_str)),
                    _ if reader.name == node.name => {}
                    _ => return true,
                }
            }
        }
        false
    }

    /// The keys or values that an attention reads: all rows, or only the sequence's where padding is hidden.
    fn keys_and_values(
        &mut self,
        node: &OnnxNode,
        scores: &Scores,
        values: ValueId,
    ) -> Result<[ValueId; 2]> {
        // A single row has no padding.
        if !scores.padded || scores.key_count == 1 {
            return Ok([scores.keys, values]);
        }
        let rows = scores.visible.iter();
        let mut rows = rows.flat_map(|seen| seen.chunks(scores.key_count));
        if let Some(row) = rows.position(|row| !row[0] && row.contains(&true)) {
            return Err(node.form(format!(
                "query {row} does not see the first key, so a short sequence may leave it none at all: combine a padding \
                 mask with causal masks only"
            )));
        }
        Ok([
            self.sequence(node, scores.keys)?,
            self.sequence(node, values)?,
        ])
    }

    /// Adds the weights as the second result of the attention just added, if the model returns them.
    fn hand_out_weights(&mut self, scores: &Scores) -> Result<()> {
        let single = scores.heads == 1 && scores.queries == 1;
        if let Some(name) = &scores.weights
            && single
        {
            let weights = self.add_value(name, &[scores.key_count], &[scores.key_count]);
            if let Some(node) = self.graph.nodes.last_mut() {
                node.second = Some(weights);
            }
            self.handed_out.insert(name.clone(), weights);
        }
        Ok(())
    }
}

/// Scores below this have no weight in any row.
pub const HIDDEN: f32 = -1e4;

impl Importer<'_> {
    /// Scores with a constant mask added, the same for all heads. Where it hides every key of a query, the context is 0.
    pub(super) fn masked(
        &mut self,
        node: &OnnxNode,
        scores: Scores,
        mask: &ArrayD<f32>,
    ) -> Result<()> {
        if !scores.in_order() {
            return Err(
                node.form("a mask on scores that were rearranged; mask [.., queries, keys]")
            );
        }
        let shape = self.shape_of(&node.output);
        let mask = mask.broadcast(shape.as_slice()).ok_or_else(|| {
            node.form(format!(
                "a mask of shape {:?} does not fit scores of {shape:?}",
                mask.shape()
            ))
        })?;
        let (tq, tk) = (scores.queries, scores.key_count);
        let mask: Vec<f32> = mask.iter().copied().collect();
        let one_head = tq * tk;
        if mask
            .chunks(one_head.max(1))
            .any(|head| head != &mask[..one_head])
        {
            return Err(node.form("a mask must be the same for all heads"));
        }
        let mask = &mask[..one_head];
        let mut visible: Vec<bool> = mask.iter().map(|&x| x == 0.0).collect();
        if mask.iter().any(|&x| x != 0.0 && x > HIDDEN) {
            return Err(node.form(
                "a mask must be 0 where a key is seen and -inf (or below -10000) where it is not",
            ));
        }
        let unsure = |row: &[f32]| row.iter().all(|&x| x != 0.0 && x.is_finite());
        if let Some(row) = mask.chunks_exact(tk.max(1)).position(unsure) {
            return Err(node.form(format!(
                "row {row} of the mask hides every key, but not wholly: hide with -inf, and the result is 0"
            )));
        }
        let ahead = |at: usize| at % tk > at / tk + tk - tq.min(tk);
        let all = visible.iter().all(|&seen| seen);
        let causal = tq <= tk
            && visible
                .iter()
                .enumerate()
                .all(|(at, &seen)| seen != ahead(at));
        let masked = scores.causal || scores.visible.is_some();
        let scores = if all || (causal && scores.causal) {
            scores
        } else if causal && !masked {
            Scores {
                causal: true,
                ..scores
            }
        } else {
            // A key that any of the masks hides is hidden.
            let before = scores.visible.as_deref();
            for (at, seen) in visible.iter_mut().enumerate() {
                let hidden = scores.causal && ahead(at) || before.is_some_and(|seen| !seen[at]);
                *seen &= !hidden;
            }
            Scores {
                causal: false,
                visible: Some(visible),
                ..scores
            }
        };
        self.items.insert(node.output.clone(), Item::Scores(scores));
        Ok(())
    }

    /// IsNaN of attention weights, with which PyTorch guards against queries that see no key.
    pub(super) fn is_undefined(&mut self, node: &OnnxNode) -> Result<()> {
        let weights = matches!(self.item(node, 0), Ok(Item::Weights(_)));
        if !weights && self.is_softmax(&node.inputs[0]) {
            return Err(node.form("only a softmax itself is asked whether it is a number"));
        }
        // Nothing else that attn computes is NaN: a quotient by 0 is the largest number there is.
        let asked = Item::Undefined(node.inputs[0].clone());
        self.items.insert(node.output.clone(), asked);
        Ok(())
    }

    /// True for the elements of a softmax, moved or not.
    fn is_softmax(&self, name: &str) -> bool {
        let nodes = &self.reference.graph().node;
        let mut name = name;
        loop {
            let producer = nodes
                .iter()
                .find(|node| node.output.iter().any(|out| out == name));
            match producer {
                Some(node) if node.op_type == "Softmax" => return true,
                Some(node) if MOVES.contains(&&*node.op_type) || node.op_type == "Cast" => {
                    name = node.input.first().map_or("", String::as_str);
                }
                _ => return false,
            }
        }
    }

    /// 0 where weights are NaN: here a query that sees no key has context 0.
    fn defined(&mut self, node: &OnnxNode, weights: &str) -> Result<()> {
        let zero = self.constant(node, 1);
        let zero = zero.is_some_and(|zero| zero.iter().all(|&x| x == 0.0));
        if !zero && self.is_softmax(weights) || node.inputs[2] != weights {
            return Err(
                node.form("what is NaN can only be replaced in itself, attention weights by 0")
            );
        }
        self.alias(&node.reading(2), |view| view)
    }

    /// `Where(mask, a, b)` on scores: a mask by selection, not by addition.
    pub(super) fn choose(&mut self, node: &OnnxNode) -> Result<()> {
        if let Ok(Item::Undefined(weights)) = self.item(node, 0) {
            return self.defined(node, &weights);
        }
        if self.chosen_curve(node)? {
            return Ok(());
        }
        let form = || {
            node.form("only scores can be masked, by a constant condition and a constant of -inf")
        };
        let condition = self.weight(node, 0)?.ok_or_else(|| {
            node.form(
                "only a constant condition or a padding mask can hide scores: name the input that is a padding mask as mask in the \
                 bundle's [decode]",
            )
        })?;
        // Where the condition holds, the first input is taken.
        let (input, other) = if self.infinite(node, 1) {
            (2, 1)
        } else {
            (1, 2)
        };
        let Item::Scores(scores) = self.item(node, input)? else {
            return Err(form());
        };
        if !self.infinite(node, other) {
            return Err(form());
        }
        let hidden = |c: f32| (c != 0.0) == (other == 1);
        let fill = self.constant(node, other);
        let fill = fill.and_then(|fill| fill.first().copied());
        let fill = fill.unwrap_or(f32::NEG_INFINITY);
        let mask = condition.mapv(|c| if hidden(c) { fill } else { 0.0 });
        self.masked(node, scores, &mask)
    }

    /// True for a constant input whose elements are all very negative.
    fn infinite(&self, node: &OnnxNode, input: usize) -> bool {
        self.constant(node, input)
            .is_some_and(|array| array.iter().all(|&x| x <= HIDDEN))
    }
}
