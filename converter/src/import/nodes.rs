//! The operators of ONNX, one by one: what each does to the graph.

use super::attention::is_last_axis;
use super::node::OnnxNode;
use super::view::{View, is_run};
use super::{Importer, Item};
use crate::error::ConvertError;
use crate::graph::{Clamp, Op};
use crate::reference::to_i64;
use ndarray::{ArrayD, Ix2, Slice};

impl Importer<'_> {
    pub(super) fn node(&mut self, node: &OnnxNode) -> Result<(), ConvertError> {
        match node.op {
            "Identity" | "Dropout" | "Cast" => self.alias(node, |view| view),
            "Reshape" | "Flatten" | "Squeeze" | "Unsqueeze" => {
                let shape = self.shape_of(&node.output);
                self.alias(node, |view| view.reshaped(&shape))
            }
            "Transpose" => self.transpose(node),
            "Slice" => self.slice(node),
            "Gather" => self.gather(node),
            "Pad" => self.pad(node),
            "MatMul" => self.matmul(node),
            "Gemm" => self.gemm(node),
            "Conv" => self.conv(node),
            "BatchNormalization" => self.batch_norm(node),
            "GRU" | "LSTM" => self.recurrent(node),
            "Add" | "Sub" => self.add(node),
            "Mul" | "Div" => self.multiply(node),
            "Concat" => self.concat(node),
            "Relu" => self.clamp(node, Clamp::RELU),
            "Clip" => self.clip(node),
            "LayerNormalization" | "RMSNormalization" => self.layer_norm(node),
            "ReduceMean" => self.mean(node),
            "Where" => self.choose(node),
            "Softmax" => self.softmax(node),
            _ => self.function(node),
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

    pub(super) fn item(&self, node: &OnnxNode, input: usize) -> Result<Item, ConvertError> {
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

    pub(super) fn view(&mut self, node: &OnnxNode, input: usize) -> Result<View, ConvertError> {
        match self.item(node, input)? {
            Item::View(view) => Ok(view),
            Item::Curve(view, function) => self
                .materialise(&node.inputs[input], view, function)
                .ok_or_else(|| node.form("an elementwise function of a part of a tensor")),
            _ => Err(node.form(
                "attention scores can only be scaled, masked by nothing, and put through softmax",
            )),
        }
    }

    fn alias(
        &mut self,
        node: &OnnxNode,
        change: impl FnOnce(View) -> View,
    ) -> Result<(), ConvertError> {
        let view = change(self.view(node, 0)?);
        self.items.insert(node.output.clone(), Item::View(view));
        Ok(())
    }

    fn transpose(&mut self, node: &OnnxNode) -> Result<(), ConvertError> {
        let rank = self.view(node, 0)?.shape().len();
        let order: Vec<usize> = match node.ints("perm") {
            Some(order) => order.iter().map(|&axis| axis as usize).collect(),
            None => (0..rank).rev().collect(),
        };
        self.alias(node, |view| view.transposed(&order))
    }

    fn slice(&mut self, node: &OnnxNode) -> Result<(), ConvertError> {
        let unknown = || node.form("the range of a slice must be constant");
        let mut view = self.view(node, 0)?;
        let (starts, ends) = (
            self.integers(node, 1).ok_or_else(unknown)?,
            self.integers(node, 2).ok_or_else(unknown)?,
        );
        let axes = self
            .integers(node, 3)
            .unwrap_or_else(|| (0..starts.len() as i64).collect());
        let steps = self
            .integers(node, 4)
            .unwrap_or_else(|| vec![1; starts.len()]);
        for (((&start, &end), &axis), &step) in starts.iter().zip(&ends).zip(&axes).zip(&steps) {
            let rank = view.shape().len();
            let axis = normalize(axis, rank).ok_or_else(unknown)?;
            let size = view.shape()[axis] as i64;
            let place =
                |at: i64| (if at < 0 { at.saturating_add(size) } else { at }).clamp(0, size);
            if step < 1 {
                return Err(node.form("a slice with a negative step"));
            }
            let (start, end) = (place(start), place(end));
            view = view.sliced(
                axis,
                Slice::new(start as isize, Some(end.max(start) as isize), step as isize),
            );
        }
        self.items.insert(node.output.clone(), Item::View(view));
        Ok(())
    }

    /// Rows of a constant table by numbers that the caller gives.
    fn embedding(&mut self, node: &OnnxNode) -> Result<bool, ConvertError> {
        let (Some(table), Ok(Item::View(tokens))) = (self.weight(node, 0)?, self.item(node, 1))
        else {
            return Ok(false);
        };
        let whole = self.graph.tokens.contains(&tokens.base)
            && tokens.position.len() == self.graph.values[tokens.base.0].len()
            && is_run(&tokens.positions(), 0);
        if table.ndim() != 2 || node.int("axis", 0) != 0 || !whole {
            return Err(node.form("an embedding must be a table [tokens, channels] read by an integer input of the model"));
        }
        let channels = table.shape()[1];
        let mut shape = tokens.shape().to_vec();
        shape.push(channels);
        let view = View::whole(self.next_value(), &shape);
        let dims = [tokens.position.len(), channels];
        self.add_node(
            node,
            Op::Embedding { table },
            vec![tokens.base],
            &dims,
            view,
        );
        Ok(true)
    }

    fn gather(&mut self, node: &OnnxNode) -> Result<(), ConvertError> {
        if self.embedding(node)? {
            return Ok(());
        }
        let places = self
            .integers(node, 1)
            .ok_or_else(|| node.form("the indices of a gather must be constant"))?;
        let view = self.view(node, 0)?;
        let axis = normalize(node.int("axis", 0), view.shape().len())
            .ok_or_else(|| node.form("axis out of range"))?;
        let places: Option<Vec<usize>> = places
            .iter()
            .map(|&at| normalize(at, view.shape()[axis]))
            .collect();
        let places = places.ok_or_else(|| node.form("index out of range"))?;
        let shape = self.shape_of(&node.output);
        self.alias(node, |view| view.selected(axis, &places).reshaped(&shape))
    }

    fn pad(&mut self, node: &OnnxNode) -> Result<(), ConvertError> {
        let pads = self
            .integers(node, 1)
            .ok_or_else(|| node.form("the amount of padding must be constant"))?;
        let value = self
            .weight(node, 2)?
            .and_then(|value| value.first().copied())
            .unwrap_or(0.0);
        let zeros = node.string("mode").is_none_or(|mode| mode == "constant") && value == 0.0;
        if !zeros || pads.iter().any(|&n| n < 0) {
            return Err(node.form("padding must add constant zeros"));
        }
        let pads: Vec<usize> = pads.iter().map(|&n| n as usize).collect();
        let (before, after) = pads.split_at(pads.len() / 2);
        self.alias(node, |view| view.padded(before, after))
    }

    /// The rows that the last axis of a view runs over, as a value.
    pub(super) fn row_operand(
        &mut self,
        node: &OnnxNode,
        view: &View,
    ) -> Result<crate::graph::ValueId, ConvertError> {
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
    ) -> Result<(), ConvertError> {
        let rows = self.row_operand(node, &x)?;
        let out = weight.shape()[0];
        let mut shape = x.shape().to_vec();
        *shape
            .last_mut()
            .expect("a linear layer's input has an axis") = out;
        let op = Op::Linear {
            weight: weight * x.factor,
            bias,
            clamp: Clamp::NONE,
        };
        let view = View::whole(self.next_value(), &shape);
        self.add_node(node, op, vec![rows], &shape, view);
        Ok(())
    }

    fn matmul(&mut self, node: &OnnxNode) -> Result<(), ConvertError> {
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
            let x = self.view(node, 0)?;
            return self.linear(node, x, weight, vec![0.0; columns]);
        }
        match (self.item(node, 0)?, self.item(node, 1)?) {
            (Item::Weights(scores), Item::View(_) | Item::Curve(..)) => {
                let values = self.view(node, 1)?;
                self.attention(node, scores, values)
            }
            (Item::View(_) | Item::Curve(..), Item::View(_) | Item::Curve(..)) => {
                let (a, b) = (self.view(node, 0)?, self.view(node, 1)?);
                self.scores(node, a, b)
            }
            _ => Err(node.form("attention weights must be multiplied by values from the right")),
        }
    }

    fn gemm(&mut self, node: &OnnxNode) -> Result<(), ConvertError> {
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
        let bias = match self.weight(node, 2)? {
            Some(bias) if bias.len() == weight.nrows() => {
                bias.iter().map(|b| b * node.float("beta", 1.0)).collect()
            }
            Some(_) => return Err(form()),
            None => vec![0.0; weight.nrows()],
        };
        let x = self.view(node, 0)?;
        self.linear(node, x, weight.into_dyn(), bias)
    }

    fn concat(&mut self, node: &OnnxNode) -> Result<(), ConvertError> {
        let rank = self.shape_of(&node.output).len();
        if !is_last_axis(node.int("axis", -1), rank) {
            return self.concat_states(node);
        }
        let mut inputs = Vec::new();
        for input in 0..node.inputs.len() {
            let view = self.view(node, input)?;
            if view.factor != 1.0 {
                return Err(node.form("a scaled tensor; put the factor into the layer before it"));
            }
            inputs.push(self.row_operand(node, &view)?);
        }
        let shape = self.shape_of(&node.output);
        let view = View::whole(self.next_value(), &shape);
        self.add_node(node, Op::Concat, inputs, &shape, view);
        Ok(())
    }

    /// Single rows one after the other, as the states of several layers are joined.
    fn concat_states(&mut self, node: &OnnxNode) -> Result<(), ConvertError> {
        let form =
            || node.form("tensors can be joined along channels (the last axis), and single rows");
        let mut inputs = Vec::new();
        for input in 0..node.inputs.len() {
            let view = self.view(node, input)?;
            if view.factor != 1.0
                || view.position.len() != view.shape().last().copied().unwrap_or(1)
            {
                return Err(form());
            }
            inputs.push(self.row_operand(node, &view)?);
        }
        let shape = self.shape_of(&node.output);
        let view = View::whole(self.next_value(), &shape);
        self.add_node(node, Op::Concat, inputs, &[shape.iter().product()], view);
        Ok(())
    }

    fn softmax(&mut self, node: &OnnxNode) -> Result<(), ConvertError> {
        let rank = self.shape_of(&node.output).len();
        if !is_last_axis(node.int("axis", -1), rank) {
            return Err(node.form("softmax must run along the last axis"));
        }
        match self.item(node, 0)? {
            Item::Scores(scores) => {
                self.items
                    .insert(node.output.clone(), Item::Weights(scores));
                Ok(())
            }
            Item::Weights(_) | Item::MeanSquare(_) => {
                Err(node.form("softmax must be that of a tensor or of attention scores"))
            }
            Item::View(_) | Item::Curve(..) => {
                let view = self.view(node, 0)?;
                if view.factor != 1.0 {
                    return Err(
                        node.form("a factor before softmax: put it into the layer before it")
                    );
                }
                let rows = self.row_operand(node, &view)?;
                let shape = view.shape().to_vec();
                let view = View::whole(self.next_value(), &shape);
                self.add_node(node, Op::Softmax, vec![rows], &shape, view);
                Ok(())
            }
        }
    }
}

pub(super) fn normalize(at: i64, size: usize) -> Option<usize> {
    let at = if at < 0 { at + size as i64 } else { at };
    usize::try_from(at).ok().filter(|&at| at < size)
}
