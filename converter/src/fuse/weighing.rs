//! Products of softmax weights and values: which row of weights weighs which values.

use super::dots::{Dots, Vectors};
use super::matcher::{Matcher, Origin};
use super::rewrite::Rewrite;
use crate::graph::{Graph, Node, Op, Source, Value, ValueId, op};
use std::collections::{BTreeSet, HashMap};

/// A row of weights and the values that it weighs.
pub struct Use {
    /// Row of the softmax.
    pub row: usize,
    /// For each channel of the result the number of its vector of values.
    pub columns: Vec<u32>,
    /// For each element of the row the place of its value in those vectors.
    pub order: Vec<u32>,
}

/// A product of softmax weights and values.
pub struct Weighing<'g> {
    /// The softmax.
    pub softmax: &'g Node,
    /// The product.
    pub product: &'g Node,
    /// Vectors over the keys, one for each channel.
    pub values: Vectors,
    /// Rows of weights in the order in which the product has them.
    pub uses: Vec<Use>,
    /// For each element of the product its use and its channel.
    pub place: Vec<(u32, u32)>,
    /// Elements of a row of weights.
    pub keys: usize,
}

impl<'g> Weighing<'g> {
    /// Reads a node as such a product.
    pub fn of(matcher: &Matcher<'g>, product: &'g Node) -> Option<Self> {
        let weights = |origin: &Origin| {
            let producer = matcher.producer(origin.base)?;
            matches!(producer.op, Op::Softmax(_)).then_some(producer)
        };
        let inputs = match product.op {
            Op::Reduce(_) => {
                let terms = matcher.producer(matcher.moved(product.inputs[0]).base)?;
                &terms.inputs
            }
            _ => &product.inputs,
        };
        // Cheap to ask first: most products have no softmax.
        inputs
            .iter()
            .find_map(|&input| weights(&matcher.moved(input)))?;
        let dots = Dots::of(matcher, product, &|value| matcher.moved(value))?;
        let side = dots
            .sides
            .iter()
            .position(|side| weights(&side.origin).is_some())?;
        let softmax = weights(&dots.sides[side].origin)?;
        let keys = matcher.graph.values[softmax.output.0].channels();
        let [left, right] = dots.sides;
        let (rows, values) = match side {
            0 => (left, right),
            _ => (right, left),
        };
        if dots.factor != 1.0 || rows.width != keys {
            return None;
        }
        let (mut uses, mut numbers): (Vec<Use>, _) = (Vec::new(), HashMap::new());
        let mut place = Vec::new();
        for pair in &dots.of {
            let (row, column) = (pair[side], pair[1 - side]);
            let number = match numbers.get(&row) {
                Some(&number) => number,
                None => {
                    uses.push(row_of(rows.at(row), keys)?);
                    numbers.insert(row, uses.len() - 1);
                    uses.len() - 1
                }
            };
            place.push((number as u32, uses[number].columns.len() as u32));
            uses[number].columns.push(column);
        }
        let channels = uses.first()?.columns.len();
        let alike = uses.iter().all(|row| row.columns.len() == channels);
        alike.then_some(Self {
            softmax,
            product,
            values,
            uses,
            place,
            keys,
        })
    }
}

/// What an attention puts in place of a product of weights and values.
pub struct Replaced {
    /// Name of the ONNX node.
    name: String,
    /// The value of the product.
    pub product: ValueId,
    /// For each element of the product its place in the result.
    place: Vec<u32>,
    /// The softmax, if something else reads weights, and for each of its elements the place in those of the attention.
    weights: Option<(ValueId, Vec<u32>)>,
}

impl Weighing<'_> {
    /// The product as an attention's result, in which its elements have these places. What else reads weights reads those of the
    /// attention; `weights` gives the place of the first weight of each use in them.
    pub fn replaced(
        &self,
        matcher: &Matcher,
        place: Vec<u32>,
        weights: impl Fn(usize) -> usize,
    ) -> Option<Replaced> {
        let softmax = self.softmax.output;
        // Another product of weights and values is an attention of its own.
        let own = |node: &&Node| {
            matches!(node.op, Op::MatMul(_) | Op::WeightedRows(_)) || self.is_factor(matcher, node)
        };
        let alone = matcher.consumers(softmax).iter().all(own) && !matcher.is_returned(softmax);
        let rows = matcher.graph.values[softmax.0].len() / self.keys;
        let mut index = vec![Origin::ZERO; rows * self.keys];
        for (number, used) in self.uses.iter().enumerate().filter(|_| !alone) {
            let first = weights(number);
            for (key, at) in index[used.row * self.keys..][..self.keys]
                .iter_mut()
                .enumerate()
            {
                *at = (first + key) as u32;
            }
        }
        let free = || !matcher.depends(self.values.origin.base, softmax);
        let whole = rows == self.uses.len() && !index.contains(&Origin::ZERO) && free();
        (alone || whole).then(|| Replaced {
            name: matcher.onnx_name(self.product),
            product: self.product.output,
            place,
            weights: (!alone).then_some((softmax, index)),
        })
    }

    /// True for the product of weights and values whose sum this is.
    fn is_factor(&self, matcher: &Matcher, node: &Node) -> bool {
        let sum = matches!(self.product.op, Op::Reduce(_));
        sum && matcher.moved(self.product.inputs[0]).base == node.output
    }
}

impl Replaced {
    /// Puts the operator in place of the node that `rewrite` stands before; gives the number of the node behind it.
    pub fn put(self, rewrite: &mut Rewrite, op: Op, inputs: Vec<ValueId>, rows: usize) -> usize {
        let value = &rewrite.graph.values[self.product.0];
        let channels = self.place.len() / rows;
        let position = |source: &Source| {
            let places = source.position.iter();
            places
                .map(|&at| self.place.get(at as usize).copied().unwrap_or(Origin::ZERO))
                .collect()
        };
        let source = value.source.as_ref().map(|source| Source {
            onnx: source.onnx.clone(),
            position: position(source),
        });
        let dims = match rows {
            1 => vec![channels],
            rows => vec![rows, channels],
        };
        let value = Value {
            name: value.name.clone(),
            dims,
            source,
        };
        let context = rewrite.add(&self.name, op, inputs, value);
        let at = rewrite.at;
        rewrite.replace(self.product, context, self.place);
        if let Some((softmax, index)) = self.weights {
            hand_out(rewrite.graph, at - 1, softmax, index, rows);
        }
        at
    }
}

/// Makes the weights of a softmax a rearrangement of the second result of the attention that is node number `at`.
fn hand_out(graph: &mut Graph, at: usize, softmax: ValueId, index: Vec<u32>, rows: usize) {
    let second = ValueId(graph.values.len());
    let old = &graph.values[softmax.0];
    let (len, in_order) = (
        index.len(),
        index.iter().enumerate().all(|(i, &p)| i == p as usize),
    );
    let dims = match rows {
        1 => vec![len],
        rows => vec![rows, len / rows],
    };
    let mut position = vec![Origin::ZERO; len];
    index
        .iter()
        .enumerate()
        .for_each(|(to, &from)| position[to] = from);
    let source = old.source.as_ref().map(|source| Source {
        onnx: source.onnx.clone(),
        position: source
            .position
            .iter()
            .map(|&at| position[at as usize])
            .collect(),
    });
    let value = Value {
        name: old.name.clone(),
        dims: dims.clone(),
        source,
    };
    graph.values.push(value);
    graph.nodes[at].second = Some(second);
    let producer = |node: &Node| node.output == softmax;
    if let Some(before) = graph.nodes.iter().position(producer) {
        let mut node = graph.nodes.remove(before);
        node.op = match in_order {
            true => op::Reshape.into(),
            false => op::Copy { index }.into(),
        };
        node.inputs = vec![second];
        graph.nodes.insert(at, node);
    }
    sort(graph);
}

/// Puts nodes behind those that compute their inputs, otherwise in the order that they have.
fn sort(graph: &mut Graph) {
    let mut known: BTreeSet<ValueId> = graph.inputs.iter().copied().collect();
    let mut open = std::mem::take(&mut graph.nodes);
    while !open.is_empty() {
        let mut later = Vec::new();
        let before = open.len();
        for node in open {
            match node.inputs.iter().all(|input| known.contains(input)) {
                true => {
                    known.extend(node.outputs());
                    graph.nodes.push(node);
                }
                false => later.push(node),
            }
        }
        debug_assert!(later.len() < before, "a graph has no cycles");
        open = later;
    }
}

/// The row of a softmax that a vector reads whole, in any order.
fn row_of(vector: &[u32], keys: usize) -> Option<Use> {
    let row = *vector.first()? as usize / keys;
    let mut order = vec![u32::MAX; keys];
    for (at, &element) in vector.iter().enumerate() {
        let key = (element as usize).checked_sub(row * keys)?;
        *order.get_mut(key)? = at as u32;
    }
    let whole = !order.contains(&u32::MAX);
    whole.then_some(Use {
        row,
        columns: Vec::new(),
        order,
    })
}
