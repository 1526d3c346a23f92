//! The operators of ONNX, one by one: what each does to the graph.

use super::node::OnnxNode;
use super::view::View;
use super::{Importer, Item};
use crate::error::Result;
use crate::graph::op::Affine;
use crate::graph::{Op, ValueId, op};
use crate::reference::to_i64;
use ndarray::{ArrayD, Ix2, Slice};

impl Importer<'_> {
    pub(super) fn identity(&mut self, node: &OnnxNode) -> Result<()> {
        self.alias(node, |view| view)
    }

    /// Cast to a floating-point type, or between integer types, is the identity. Others round towards 0, or tell 0 from other numbers.
    pub(super) fn cast(&mut self, node: &OnnxNode) -> Result<()> {
        use tract_onnx::pb::tensor_proto::DataType;
        let to = DataType::try_from(node.int("to", 0) as i32).unwrap_or_default();
        let floats = [
            DataType::Float,
            DataType::Float16,
            DataType::Bfloat16,
            DataType::Double,
        ];
        let integers = [
            DataType::Int64,
            DataType::Int32,
            DataType::Int16,
            DataType::Uint32,
            DataType::Uint64,
            DataType::Uint16,
        ];
        let from = self
            .values
            .get(&node.inputs[0])
            .map(|tensor| tensor.datum_type());
        let whole = from.is_some_and(|from| !from.is_float());
        match to {
            _ if floats.contains(&to) => self.identity(node),
            DataType::Bool => self.rounded(node, true),
            _ if integers.contains(&to) && whole => self.identity(node),
            _ if integers.contains(&to) => self.rounded(node, false),
            _ => Err(node.form(format!(
                "a computed number cast to {}: leave the cast out, or do it before or after the model",
                to.as_str_name().to_lowercase()
            ))),
        }
    }

    pub(super) fn reshape(&mut self, node: &OnnxNode) -> Result<()> {
        let shape = self.shape_of(&node.output);
        self.alias(node, |view| view.reshaped(&shape))
    }

    pub(super) fn slice_or_split(&mut self, node: &OnnxNode) -> Result<()> {
        match node.op {
            "Split" => self.split(node),
            _ => self.slice(node),
        }
    }

    pub(super) fn shape_of(&self, name: &str) -> Vec<usize> {
        self.values
            .get(name)
            .map(|tensor| tensor.shape().to_vec())
            .unwrap_or_default()
    }

    pub(super) fn integers(&self, node: &OnnxNode, input: usize) -> Option<Vec<i64>> {
        let name = node
            .inputs
            .get(input)
            .filter(|name| !name.is_empty() && !self.dynamic.contains(*name))?;
        to_i64(self.values.get(name)?)
    }

    pub(super) fn item(&self, node: &OnnxNode, input: usize) -> Result<Item> {
        let item = node
            .inputs
            .get(input)
            .and_then(|name| self.items.get(name))
            .cloned();
        item.ok_or_else(|| {
            node.form(format!(
                "input {input} must be computed by the model, not a constant"
            ))
        })
    }

    pub(super) fn view(&mut self, node: &OnnxNode, input: usize) -> Result<View> {
        if let Some(constant) = self.weight(node, input)? {
            let shape = constant.shape().to_vec();
            let values = constant.iter().copied().collect();
            let base = self.add_constant_value(&node.inputs[input], values, &shape);
            return Ok(View::whole(base, &shape));
        }
        match self.item(node, input)? {
            Item::View(view) => Ok(view),
            Item::Curve(view, function) => self
                .materialise(&node.inputs[input], view, function)
                .ok_or_else(|| node.form("an elementwise function of a part of a tensor")),
            Item::Terms(terms) => self.gather_terms(node, &node.inputs[input], &terms),
            Item::Shifted(..) => Err(node.form(
                "tokens plus numbers: they can be looked up in a table or compared with numbers, and nothing else",
            )),
            Item::Product(_) => Err(node
                .form("a product of tensors of different shape must be summed up next, over time")),
            _ => Err(node.form(
                "attention scores can only be scaled, masked by nothing, and put through softmax",
            )),
        }
    }

    /// Rearranged elements.
    pub(super) fn alias(
        &mut self,
        node: &OnnxNode,
        change: impl FnOnce(View) -> View,
    ) -> Result<()> {
        // Items with their own table of elements.
        let item = match self.item(node, 0)? {
            Item::Terms(terms) => {
                let index = change(View::whole(terms.base, terms.shape())).position;
                Item::Terms(terms.gathered(&index))
            }
            Item::Scores(scores) => {
                let index = change(View::whole(ValueId(0), scores.index.shape())).position;
                Item::Scores(scores.gathered(&index))
            }
            Item::Weights(scores) => {
                let index = change(View::whole(ValueId(0), scores.index.shape())).position;
                Item::Weights(scores.gathered(&index))
            }
            Item::Mask(mask) => {
                let index = change(View::whole(ValueId(0), mask.shape())).position;
                Item::Mask(mask.gathered(&index))
            }
            _ => Item::View(change(self.view(node, 0)?)),
        };
        self.items.insert(node.output.clone(), item);
        Ok(())
    }

    /// Expand and Tile: elements repeated until they fill the shape.
    pub(super) fn repeat(&mut self, node: &OnnxNode) -> Result<()> {
        let (input, shape) = (self.shape_of(&node.inputs[0]), self.shape_of(&node.output));
        if input.len() > shape.len() {
            return Err(node.form("a tensor repeated to fewer axes"));
        }
        // Repeated elements are computed once.
        if let Item::Terms(_) = self.item(node, 0)? {
            let view = self.view(node, 0)?.repeated(&shape);
            self.items.insert(node.output.clone(), Item::View(view));
            return Ok(());
        }
        self.alias(node, |view| view.repeated(&shape))
    }

    pub(super) fn transpose(&mut self, node: &OnnxNode) -> Result<()> {
        let rank = self.shape_of(&node.inputs[0]).len();
        let order: Vec<usize> = match node.ints("perm") {
            Some(order) => order.iter().map(|&axis| axis as usize).collect(),
            None => (0..rank).rev().collect(),
        };
        self.alias(node, |view| view.transposed(&order))
    }

    /// Starts, ends, axes and steps of a slice: attributes before opset 10, inputs since.
    pub(super) fn ranges(&self, node: &OnnxNode) -> Option<[Vec<i64>; 4]> {
        let list = |input: usize, name: &str| match node.ints(name) {
            Some(listed) => Some(listed.to_vec()),
            None => self.integers(node, input),
        };
        let given = |input: usize| node.inputs.get(input).is_some_and(|name| !name.is_empty());
        let (starts, ends) = (list(1, "starts")?, list(2, "ends")?);
        let count = starts.len();
        let axes = match list(3, "axes") {
            None if given(3) => return None,
            axes => axes.unwrap_or_else(|| (0..count as i64).collect()),
        };
        let steps = match self.integers(node, 4) {
            None if given(4) => return None,
            steps => steps.unwrap_or_else(|| vec![1; count]),
        };
        Some([starts, ends, axes, steps])
    }

    fn slice(&mut self, node: &OnnxNode) -> Result<()> {
        let unknown = || node.form("the range of a slice must be constant");
        let shape = self.shape_of(&node.inputs[0]);
        let [starts, ends, axes, steps] = self.ranges(node).ok_or_else(unknown)?;
        let mut slices = Vec::new();
        for (((&start, &end), &axis), &step) in starts.iter().zip(&ends).zip(&axes).zip(&steps) {
            let axis = normalize(axis, shape.len()).ok_or_else(unknown)?;
            let size = shape[axis] as i64;
            let place =
                |at: i64| (if at < 0 { at.saturating_add(size) } else { at }).clamp(0, size);
            if step < 1 {
                return Err(node.form("a slice with a negative step"));
            }
            let (start, end) = (place(start), place(end));
            let range = Slice::new(start as isize, Some(end.max(start) as isize), step as isize);
            slices.push((axis, range));
        }
        self.alias(node, |view| {
            slices
                .into_iter()
                .fold(view, |view, (axis, range)| view.sliced(axis, range))
        })
    }

    /// Split: each output is a slice.
    fn split(&mut self, node: &OnnxNode) -> Result<()> {
        let shape = self.shape_of(&node.inputs[0]);
        let axis = normalize(node.int("axis", 0), shape.len())
            .ok_or_else(|| node.form("axis out of range"))?;
        let mut start = 0;
        for output in &node.outputs {
            let end = start + self.shape_of(output).get(axis).copied().unwrap_or(0);
            let range = Slice::from(start..end);
            self.alias(&node.named(output), |view| view.sliced(axis, range))?;
            start = end;
        }
        Ok(())
    }

    pub(super) fn gather(&mut self, node: &OnnxNode) -> Result<()> {
        if self.embedding(node)? {
            return Ok(());
        }
        let places = self
            .integers(node, 1)
            .ok_or_else(|| node.form("rows that the model picks by computed numbers: look tokens up in a constant table, or weigh the rows and sum them"))?;
        let input = self.shape_of(&node.inputs[0]);
        let axis = normalize(node.int("axis", 0), input.len())
            .ok_or_else(|| node.form("axis out of range"))?;
        let places: Option<Vec<usize>> = places
            .iter()
            .map(|&at| normalize(at, input[axis]))
            .collect();
        let places = places.ok_or_else(|| node.form("index out of range"))?;
        let shape = self.shape_of(&node.output);
        self.alias(node, |view| view.selected(axis, &places).reshaped(&shape))
    }

    pub(super) fn pad(&mut self, node: &OnnxNode) -> Result<()> {
        let pads = self
            .integers(node, 1)
            .ok_or_else(|| node.form("the amount of padding must be constant"))?;
        let value = self
            .optional_weight(node, 2)?
            .and_then(|value| value.first().copied())
            .unwrap_or(0.0);
        let zeros = node.string("mode").is_none_or(|mode| mode == "constant") && value == 0.0;
        if !zeros || pads.iter().any(|&n| n < 0) {
            return Err(node.form("padding must add constant zeros"));
        }
        let rank = self.shape_of(&node.output).len();
        let axes = self
            .integers(node, 3)
            .unwrap_or_else(|| (0..rank as i64).collect());
        let (mut before, mut after) = (vec![0; rank], vec![0; rank]);
        for (place, &axis) in axes.iter().enumerate() {
            let axis = normalize(axis, rank).filter(|_| pads.len() == 2 * axes.len());
            let axis = axis.ok_or_else(|| node.form("padding of axes that it does not have"))?;
            before[axis] = pads[place] as usize;
            after[axis] = pads[place + axes.len()] as usize;
        }
        self.alias(node, |view| view.padded(&before, &after))
    }

    /// The rows that the last axis of a view runs over, as a value.
    pub(super) fn row_operand(
        &mut self,
        node: &OnnxNode,
        view: &View,
    ) -> Result<crate::graph::ValueId> {
        let channels = view.shape().last().copied().unwrap_or(1);
        let rows = self.rows_of(view.base, &view.positions(), channels);
        rows.ok_or_else(|| {
            node.form("its input is rearranged in a way that is not rows of adjacent channels; transpose back to [batch, time, channels] before it")
        })
    }

    /// `x * weight^T + bias` for `weight: [out, in]`.
    fn linear(
        &mut self,
        node: &OnnxNode,
        x: View,
        weight: ArrayD<f32>,
        bias: Vec<f32>,
    ) -> Result<()> {
        let (rows, weight) = match self.flattened(&x, &weight) {
            Some(both) => both,
            None => (self.row_operand(node, &x)?, weight),
        };
        let out = weight.shape()[0];
        let mut shape = x.shape().to_vec();
        *shape
            .last_mut()
            .expect("a linear layer's input has an axis") = out;
        let op = Op::Linear(op::Linear(Affine::new(weight * x.factor, bias)));
        let view = View::whole(self.next_value(), &shape);
        self.add_node(node, op, vec![rows], &shape, view);
        Ok(())
    }

    pub(super) fn matmul(&mut self, node: &OnnxNode) -> Result<()> {
        if let Some(weight) = self.weight(node, 1)? {
            let squeezed =
                weight.shape().iter().rev().skip(2).all(|&n| n == 1) && weight.ndim() >= 2;
            if !squeezed {
                return Err(node.form("a constant factor must be one matrix [in, out]"));
            }
            let (rows, columns) = (
                weight.shape()[weight.ndim() - 2],
                weight.shape()[weight.ndim() - 1],
            );
            let weight = weight
                .into_shape_with_order((rows, columns))
                .expect("unit axes only");
            let weight = weight.t().as_standard_layout().into_owned().into_dyn();
            match self.item(node, 0)? {
                Item::Joined(views) => return self.joined_times(node, &views, &weight),
                Item::RowSum(sum) if columns == 1 => {
                    return self.energies(node, sum, Some(weight.iter().copied().collect()));
                }
                _ => {}
            }
            let x = self.view(node, 0)?;
            return self.linear(node, x, weight, vec![0.0; columns]);
        }
        let rows = |view: &View| {
            view.position
                .iter()
                .zip(view.position.iter().skip(1))
                .all(|(a, b)| a < b)
        };
        if let Some(weight) = self.weight(node, 0)? {
            let b = self.view(node, 1)?;
            // A constant matrix weights rows in order. With transposed rows they are keys, and the constant is a learned query.
            return if rows(&b) {
                self.constant_times(node, &weight, &b)
            } else {
                let a = self.constant_query(node, &weight)?;
                self.scores(node, a, b)
            };
        }
        match (self.item(node, 0)?, self.item(node, 1)?) {
            (Item::Weights(scores), Item::View(_) | Item::Curve(..) | Item::Terms(_)) => {
                if !scores.in_order() {
                    let reason = "weights that were rearranged: weigh with [.., queries, keys]";
                    return Err(node.form(reason));
                }
                let values = self.view(node, 1)?;
                self.attention(node, scores, values)
            }
            (
                Item::View(_) | Item::Curve(..) | Item::Terms(_),
                Item::View(_) | Item::Curve(..) | Item::Terms(_),
            ) => {
                let (a, b) = (self.view(node, 0)?, self.view(node, 1)?);
                let weights = self.graph.producer(a.base).map(|producer| &producer.op);
                match weights {
                    Some(Op::Softmax(op::Softmax)) => self.weigh(node, &a, &b),
                    _ => self.scores(node, a, b),
                }
            }
            _ => Err(node.form("attention weights must be multiplied by values from the right")),
        }
    }

    pub(super) fn gemm(&mut self, node: &OnnxNode) -> Result<()> {
        let form = || {
            node.form("Gemm must be x * W + b with constant W: [in, out], or [out, in] with transB")
        };
        let weight = self.weight(node, 1)?.ok_or_else(form)?;
        if node.int("transA", 0) != 0 {
            return Err(form());
        }
        let weight =
            weight.into_dimensionality::<Ix2>().map_err(|_| form())? * node.float("alpha", 1.0);
        let weight = if node.int("transB", 0) != 0 {
            weight
        } else {
            weight.t().as_standard_layout().into_owned()
        };
        let bias = match self.optional_weight(node, 2)? {
            Some(bias) if bias.len() == weight.nrows() => {
                bias.iter().map(|b| b * node.float("beta", 1.0)).collect()
            }
            Some(_) => return Err(form()),
            None => vec![0.0; weight.nrows()],
        };
        let x = self.view(node, 0)?;
        self.linear(node, x, weight.into_dyn(), bias)
    }

    /// The axis of a softmax. Before opset 13 it ran over all axes from `axis` (default: the second) together. That is the same if at most
    /// one of them is longer than 1.
    fn softmax_axis(&self, node: &OnnxNode) -> Result<usize> {
        let shape = self.shape_of(&node.output);
        let old = self.reference.opset() < 13;
        let axis = normalize(node.int("axis", if old { 1 } else { -1 }), shape.len());
        let axis = axis.ok_or_else(|| node.form("axis out of range"))?;
        let mut long = (axis..shape.len()).filter(|&axis| shape[axis] > 1);
        match (old, long.next(), long.next()) {
            (false, ..) => Ok(axis),
            (true, long, None) => Ok(long.unwrap_or(axis)),
            (true, _, Some(_)) => Err(node.form(format!(
                "the softmax of opset {} runs over all axes from {axis} on together: export with opset 13 or later, or with the \
                 last axis as its axis",
                self.reference.opset()
            ))),
        }
    }

    pub(super) fn softmax(&mut self, node: &OnnxNode) -> Result<()> {
        let rank = self.shape_of(&node.output).len();
        let axis = self.softmax_axis(node)?;
        match self.item(node, 0)? {
            Item::Scores(scores) => {
                let scores = scores.along(axis).ok_or_else(|| {
                    node.form("the softmax of attention scores must run over the keys")
                })?;
                let weights = Some(node.output.clone());
                let mut scores = scores;
                scores.weights = weights;
                self.items
                    .insert(node.output.clone(), Item::Weights(scores));
                Ok(())
            }
            Item::Weights(_)
            | Item::MeanSquare(_)
            | Item::Joined(_)
            | Item::RowSum(_)
            | Item::Mask(_)
            | Item::Shifted(..)
            | Item::Undefined(_) => {
                Err(node.form("softmax must be that of a tensor or of attention scores"))
            }
            _ => {
                let view = self.unscaled(node, 0)?;
                // Over time of one channel: the rows become the channels of one row.
                let mut order: Vec<usize> = (0..rank).collect();
                order.swap(axis, rank - 1);
                let along = view.transposed(&order);
                let rows = self.row_operand(node, &along)?;
                let dims = along.shape().to_vec();
                let view = View::whole(self.next_value(), &dims).transposed(&order);
                self.add_node(node, Op::Softmax(op::Softmax), vec![rows], &dims, view);
                Ok(())
            }
        }
    }
}

pub(super) fn normalize(at: i64, size: usize) -> Option<usize> {
    let at = if at < 0 { at + size as i64 } else { at };
    usize::try_from(at).ok().filter(|&at| at < size)
}
