//! Padding masks: tensors whose every element is known for every length of the sequence.
//!
//! The runtime knows the length of the sequence, so the converted model has no mask input. Import follows the mask, and everything
//! computed from it and constants, element by element; that adds no node. Where a mask meets scores, the attention reads only the
//! sequence's keys and values ([`Op::Sequence`]). Where it multiplies rows, the padding rows are cleared ([`Op::ClearRows`]). Any other
//! use of a mask is refused.

use super::attention::{HIDDEN, Scores};
use super::node::OnnxNode;
use super::view::View;
use super::{Importer, Item};
use crate::error::Result;
use crate::graph::{Op, ValueId, op};
use crate::reference::Input;
use crate::shapes::MOVES;
use ndarray::{ArrayD, IxDyn};

/// The supported uses of a padding mask; part of every error.
const SUPPORTED: &str = "a padding mask can hide keys from an attention (a choice of -inf or less than -10000 before the softmax, or that \
     added), and clear rows (rows times 1 or 0); it may be negated, cast, compared and combined with constants on the way. For anything else, such as counting its ones, leave it \
     an input like any other, with no mask named";

/// The mask input of a model: it marks the padding of the sequence.
#[derive(Clone, Debug, PartialEq)]
pub struct PaddingMask {
    /// Its name.
    pub input: String,
    /// Its elements inside the sequence.
    pub inside: f32,
    /// Its elements in the padding.
    pub outside: f32,
}

impl PaddingMask {
    /// The mask for a sequence of `length` out of `rows`.
    pub fn array(&self, shape: &[usize], length: usize) -> ArrayD<f32> {
        let element = |at| {
            if at < length {
                self.inside
            } else {
                self.outside
            }
        };
        let elements = (0..shape.iter().product()).map(element).collect();
        ArrayD::from_shape_vec(IxDyn(shape), elements).expect("one element for each place")
    }
}

/// An element of a mask.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Element {
    /// The row of the sequence that it depends on; `None`: it is the same for every length.
    row: Option<u32>,
    /// Its value if the row is in the sequence.
    inside: f32,
    /// Its value if the row is padding.
    outside: f32,
}

impl Element {
    fn constant(x: f32) -> Self {
        Self {
            row: None,
            inside: x,
            outside: x,
        }
    }

    fn map(self, f: impl Fn(f32) -> f32) -> Self {
        Self {
            row: self.row,
            inside: f(self.inside),
            outside: f(self.outside),
        }
    }

    /// `None` for elements that depend on different rows.
    fn with(self, other: Self, f: impl Fn(f32, f32) -> f32) -> Option<Self> {
        let row = match (self.row, other.row) {
            (Some(a), Some(b)) if a != b => return None,
            (a, b) => a.or(b),
        };
        Some(Self {
            row,
            inside: f(self.inside, other.inside),
            outside: f(self.outside, other.outside),
        })
    }
}

/// A tensor that depends only on the length of the sequence.
#[derive(Clone, Debug)]
pub struct Mask {
    elements: ArrayD<Element>,
}

impl Mask {
    /// The mask input. An input of variable length has the length of its sequence, so it has no padding.
    fn of(mask: &PaddingMask, input: &Input) -> Self {
        let element = |row: usize| match input.dynamic {
            Some(_) => Element::constant(mask.inside),
            None => Element {
                row: Some(row as u32),
                inside: mask.inside,
                outside: mask.outside,
            },
        };
        let elements = (0..input.shape.iter().product()).map(element).collect();
        let elements = ArrayD::from_shape_vec(IxDyn(&input.shape), elements);
        Self {
            elements: elements.expect("one element for each place"),
        }
    }

    fn constant(array: &ArrayD<f32>) -> Self {
        Self {
            elements: array.mapv(Element::constant),
        }
    }

    /// Its shape.
    pub fn shape(&self) -> &[usize] {
        self.elements.shape()
    }

    /// Rearranged elements: `index` gives the old index of each. An index out of range gives 0.
    pub fn gathered(&self, index: &ArrayD<u32>) -> Self {
        let flat: Vec<Element> = self.elements.iter().copied().collect();
        let zero = Element::constant(0.0);
        let at = |&i: &u32| flat.get(i as usize).copied().unwrap_or(zero);
        Self {
            elements: index.map(at),
        }
    }

    fn map(&self, f: impl Fn(f32) -> f32) -> Self {
        Self {
            elements: self.elements.mapv(|element| element.map(&f)),
        }
    }

    /// Broadcast to `shape`.
    fn broadcast(&self, shape: &[usize]) -> Option<Self> {
        let elements = self.elements.broadcast(shape)?.to_owned();
        Some(Self { elements })
    }

    /// Both, broadcast to `shape`, element by element.
    fn with(&self, other: &Self, shape: &[usize], f: impl Fn(f32, f32) -> f32) -> Option<Self> {
        let (a, b) = (self.broadcast(shape)?, other.broadcast(shape)?);
        let pairs = a.elements.iter().zip(&b.elements);
        let elements: Option<Vec<Element>> = pairs.map(|(a, b)| a.with(*b, &f)).collect();
        let elements = ArrayD::from_shape_vec(IxDyn(shape), elements?).ok()?;
        Some(Self { elements })
    }

    /// `chosen` where this is true, `other` elsewhere.
    fn choose(&self, chosen: &Self, other: &Self, shape: &[usize]) -> Option<Self> {
        let first = self.with(chosen, shape, |c, x| if c != 0.0 { x } else { 0.0 })?;
        let second = self.with(other, shape, |c, x| if c != 0.0 { 0.0 } else { x })?;
        // One of the two is exactly 0.
        first.with(&second, shape, |a, b| if a == 0.0 { b } else { a })
    }

    fn inside(&self) -> ArrayD<f32> {
        self.elements.mapv(|element| element.inside)
    }
}

/// 1 for true, 0 for false.
fn truth(holds: bool) -> f32 {
    f32::from(u8::from(holds))
}

fn unary(op: &str) -> Option<fn(f32) -> f32> {
    Some(match op {
        "Not" => |x| truth(x == 0.0),
        "Neg" => |x| -x,
        "Abs" => f32::abs,
        _ => return None,
    })
}

fn binary(op: &str) -> Option<fn(f32, f32) -> f32> {
    Some(match op {
        "Add" => |a, b| a + b,
        "Sub" => |a, b| a - b,
        "Mul" => |a, b| a * b,
        "Div" => |a, b| a / b,
        "Min" => f32::min,
        "Max" => f32::max,
        "Equal" => |a, b| truth(a == b),
        "Less" => |a, b| truth(a < b),
        "LessOrEqual" => |a, b| truth(a <= b),
        "Greater" => |a, b| truth(a > b),
        "GreaterOrEqual" => |a, b| truth(a >= b),
        "And" => |a, b| truth(a != 0.0 && b != 0.0),
        "Or" => |a, b| truth(a != 0.0 || b != 0.0),
        "Xor" => |a, b| truth((a != 0.0) != (b != 0.0)),
        _ => return None,
    })
}

/// Cast to the type with ONNX's number `to`.
fn cast(to: i64) -> fn(f32) -> f32 {
    use tract_onnx::pb::tensor_proto::DataType;
    let is = |types: &[DataType]| types.iter().any(|&dtype| dtype as i64 == to);
    if is(&[DataType::Bool]) {
        |x| truth(x != 0.0)
    } else if is(&[DataType::Float, DataType::Float16, DataType::Double]) {
        |x| x
    } else {
        f32::trunc
    }
}

impl Importer<'_> {
    /// Registers the mask input as a mask.
    pub(super) fn add_mask(&mut self, mask: &PaddingMask, input: &Input) {
        self.mask_rows = Some(input.shape.iter().product());
        let item = Item::Mask(Mask::of(mask, input));
        self.items.insert(input.name.clone(), item);
    }

    /// A node that reads a padding mask; false for any other.
    pub(super) fn masked_node(&mut self, node: &OnnxNode) -> Result<bool> {
        let is_mask = |name: &String| matches!(self.items.get(name), Some(Item::Mask(_)));
        if !node.inputs.iter().any(is_mask) {
            return Ok(false);
        }
        if MOVES.contains(&node.op) && is_mask(&node.inputs[0]) {
            return Ok(false);
        }
        if let Some(mask) = self.mask_of(node) {
            self.items.insert(node.output.clone(), Item::Mask(mask));
            return Ok(true);
        }
        match node.op {
            "Where" => self.chosen(node)?,
            "Add" | "Sub" => self.added(node)?,
            "Mul" => self.multiplied(node)?,
            _ => return Err(node.form(SUPPORTED)),
        }
        Ok(true)
    }

    /// An input that is a mask or a constant.
    fn mask(&self, node: &OnnxNode, input: usize) -> Option<Mask> {
        match self.item(node, input) {
            Ok(Item::Mask(mask)) => Some(mask),
            Ok(_) => None,
            Err(_) => self
                .constant(node, input)
                .map(|array| Mask::constant(&array)),
        }
    }

    /// The result of a node whose inputs are masks and constants; `None` for an operator that cannot compute with them.
    fn mask_of(&self, node: &OnnxNode) -> Option<Mask> {
        let shape = self.shape_of(&node.output);
        let (a, b) = (self.mask(node, 0)?, self.mask(node, 1));
        if node.op == "Cast" {
            return Some(a.map(cast(node.int("to", 0))));
        }
        if let Some(f) = unary(node.op) {
            return Some(a.map(f));
        }
        match (node.op, node.inputs.len()) {
            ("Where", _) => a.choose(&b?, &self.mask(node, 2)?, &shape),
            (op, 2) => a.with(&b?, &shape, binary(op)?),
            _ => None,
        }
    }

    /// Where: scores or rows in the sequence, a constant in the padding.
    fn chosen(&mut self, node: &OnnxNode) -> Result<()> {
        let form = || node.form(SUPPORTED);
        let condition = self.mask(node, 0).ok_or_else(form)?;
        let (input, fill, swapped) = match (self.mask(node, 1), self.mask(node, 2)) {
            (Some(fill), None) => (2, fill, true),
            (None, Some(fill)) => (1, fill, false),
            _ => return Err(form()),
        };
        let shape = self.shape_of(&node.output);
        // `kept` where the tensor is selected, `fill` elsewhere.
        let choice = |kept: f32| {
            let kept = Mask::constant(&ArrayD::from_elem(IxDyn(&[1]), kept));
            match swapped {
                true => condition.choose(&fill, &kept, &shape),
                false => condition.choose(&kept, &fill, &shape),
            }
        };
        match self.item(node, input)? {
            Item::Scores(scores) => {
                let mask = choice(0.0).ok_or_else(form)?;
                self.padded(node, scores, &mask)
            }
            _ => {
                let mask = choice(1.0).ok_or_else(form)?;
                self.cleared(node, input, &mask)
            }
        }
    }

    /// Scores plus a mask.
    fn added(&mut self, node: &OnnxNode) -> Result<()> {
        let (sides, sign): (&[_], f32) = match node.op {
            "Sub" => (&[(0, 1)], -1.0),
            _ => (&[(0, 1), (1, 0)], 1.0),
        };
        for &(scores, mask) in sides {
            if let (Ok(Item::Scores(scores)), Some(mask)) =
                (self.item(node, scores), self.mask(node, mask))
            {
                return self.padded(node, scores, &mask.map(|x| sign * x));
            }
        }
        Err(node.form(SUPPORTED))
    }

    /// Rows times a mask.
    fn multiplied(&mut self, node: &OnnxNode) -> Result<()> {
        for (input, mask) in [(0, 1), (1, 0)] {
            if let Some(mask) = self.mask(node, mask) {
                return self.cleared(node, input, &mask);
            }
        }
        Err(node.form(SUPPORTED))
    }

    /// Scores plus a mask that hides padding, and may also hide other keys, as a causal mask does.
    fn padded(&mut self, node: &OnnxNode, scores: Scores, mask: &Mask) -> Result<()> {
        let shape = self.shape_of(&node.output);
        let scores = scores
            .over_last_axis()
            .filter(|scores| scores.index.shape() == shape);
        let scores = scores.ok_or_else(|| {
            node.form("a padding mask on scores that were rearranged; mask [.., queries, keys]")
        })?;
        let mask = mask
            .broadcast(&shape)
            .ok_or_else(|| node.form("the mask does not fit the scores"))?;
        let hidden = |x: f32| x <= HIDDEN;
        let elements: Vec<Element> = mask.elements.iter().copied().collect();
        let mut rows = elements.chunks(scores.key_count().max(1));
        if rows.any(|row| row.iter().all(|element| hidden(element.inside))) {
            return Err(node.form(
                "the mask hides the whole sequence: name an input that is 1 in the padding (as key_padding_mask is) as \
                 padding_mask in [decode], one that is 1 in the sequence as mask",
            ));
        }
        let mut padded = false;
        for (at, element) in elements.iter().enumerate() {
            let key = at % scores.key_count();
            match element.row {
                Some(row) if hidden(element.outside) && row as usize == key => padded = true,
                Some(_) if hidden(element.outside) => {
                    return Err(node.form(format!(
                        "the mask hides key {key} where another row is padding; keys and mask must have the same rows"
                    )));
                }
                Some(_) => {
                    return Err(node.form(format!(
                        "a mask that adds {} to scores in the padding; {SUPPORTED}",
                        element.outside
                    )));
                }
                None => {}
            }
        }
        let shown =
            |(_, element): &(usize, &Element)| element.row.is_none() && !hidden(element.inside);
        if padded && let Some((at, _)) = elements.iter().enumerate().find(shown) {
            let key = at % scores.key_count();
            return Err(node.form(format!(
                "the mask hides padding, but shows key {key} whatever the length of the sequence"
            )));
        }
        let padded = padded || scores.padded;
        self.masked(node, scores, &mask.inside())?;
        if let Some(Item::Scores(scores)) = self.items.get_mut(&node.output) {
            scores.padded = padded;
        }
        Ok(())
    }

    /// A tensor times a mask of 1 in the sequence and 0 in the padding.
    fn cleared(&mut self, node: &OnnxNode, input: usize, mask: &Mask) -> Result<()> {
        let shape = self.shape_of(&node.output);
        let form = || node.form(SUPPORTED);
        let mask = mask.broadcast(&shape).ok_or_else(form)?;
        let one = |element: &Element| element.inside == 1.0;
        let cut = |element: &Element| element.row.is_none() || element.outside == 0.0;
        if !mask
            .elements
            .iter()
            .all(|element| one(element) && cut(element))
        {
            return Err(node.form(format!(
                "what a mask multiplies must stay in the sequence (1) and be cleared in the padding (0); {SUPPORTED}"
            )));
        }
        let item = self.item(node, input)?;
        if let Item::Weights(scores) = &item {
            // Padding has no weight.
            let same = scores.index.shape() == shape;
            return match scores.padded && same {
                true => self.alias(&node.reading(input), |view| view),
                false => Err(form()),
            };
        }
        let view = self.unscaled(node, input)?;
        if view.shape() != shape {
            return Err(node.form("a mask that repeats what it multiplies"));
        }
        if mask.elements.iter().all(|element| element.row.is_none()) {
            self.items.insert(node.output.clone(), Item::View(view));
            return Ok(());
        }
        let value = &self.graph.values[view.base.0];
        let (dims, channels) = (value.dims.clone(), value.channels());
        let row = |position: u32| Some(position / channels as u32);
        let fits = view.position.len() == value.len()
            && (view.position.iter().zip(&mask.elements))
                .all(|(&position, element)| element.row == row(position));
        if !fits {
            return Err(node.form("a padding mask must multiply whole rows [.., rows, channels], one row of the mask for each"));
        }
        let sequence = self.sequence(node, view.base)?;
        let result = View {
            base: self.next_value(),
            ..view
        };
        self.add_node_as(
            node,
            Op::ClearRows(op::ClearRows),
            vec![sequence],
            &dims,
            result,
        );
        Ok(())
    }

    /// The rows of `base` that the sequence has.
    pub(super) fn sequence(&mut self, node: &OnnxNode, base: ValueId) -> Result<ValueId> {
        let rows = self.graph.values[base.0].rows();
        if self.mask_rows != Some(rows) {
            return Err(node.form(format!(
                "a padding mask of {} rows over {rows}: it must be used whole",
                self.mask_rows.unwrap_or(0)
            )));
        }
        let mut nodes = self.graph.nodes.iter();
        let made = nodes
            .find(|node| matches!(node.op, Op::Sequence(op::Sequence)) && node.inputs == [base]);
        Ok(match made.map(|node| node.output) {
            Some(output) => output,
            None => self.graph.add_sequence(base),
        })
    }
}
