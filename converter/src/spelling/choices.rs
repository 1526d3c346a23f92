//! Operators that pick elements by their size, or set elements at computed places: rounds of maxima and comparisons.

use super::moves::place_of;
use super::writer::{Writer, attribute, given, int, int_of, op_of, string_of};
use crate::error::Result;
use tract_onnx::pb;

/// Elements that are picked or set one after the other, at most.
const MOST: usize = 64;

/// An axis of a tensor: the tensor's shape and the axis, counted from the front.
struct Axis {
    shape: Vec<usize>,
    at: usize,
}

impl Axis {
    fn of(node: &pb::NodeProto, axis: i64, writer: &mut Writer) -> Result<Self> {
        let Some(shape) = writer.shape(&node.input[0]) else {
            return Err(writer.form(node, "a tensor of unknown shape"));
        };
        match place_of(axis, shape.len()) {
            Some(at) => Ok(Self { shape, at }),
            None => Err(writer.form(
                node,
                format!("axis {axis} of a tensor of rank {}", shape.len()),
            )),
        }
    }

    fn size(&self) -> usize {
        self.shape[self.at]
    }

    /// The numbers of the places, along the axis.
    fn places(&self, writer: &mut Writer) -> String {
        let mut shape = vec![1; self.shape.len()];
        shape[self.at] = self.size();
        let places: Vec<i64> = (0..self.size() as i64).collect();
        writer.indices(&shape, &places)
    }

    /// The place of the largest element of every row, the axis kept.
    fn largest(&self, x: &String, writer: &mut Writer) -> String {
        let attributes = vec![int("axis", self.at as i64), int("keepdims", 1)];
        writer.add("ArgMax", &[x], attributes)
    }

    /// The largest or smallest element of every row, the axis kept.
    fn reduced(&self, op: &str, x: &String, writer: &mut Writer) -> String {
        writer.reduce(op, x, self.at as i64)
    }
}

/// Writes a `TopK`: each round takes the largest element and puts it below all others.
///
/// # Errors
/// [`crate::error::ConvertError::UnsupportedForm`] for a `k` that is computed or too large.
pub fn top_k(node: pb::NodeProto, writer: &mut Writer) -> Result<()> {
    writer.replace(&node);
    let listed = attribute(&node, "k").map(|k| k.i);
    let given_k = given(&node.input, 1).and_then(|name| writer.known_integers(name));
    let k = listed.or(given_k.and_then(|k| k.first().copied()));
    let axis = Axis::of(&node, int_of(&node, "axis", -1), writer)?;
    let Some(k) = k.and_then(|k| usize::try_from(k).ok()) else {
        return Err(writer.form(&node, "a k that the model computes"));
    };
    if k == 0 || k > axis.size() || k > MOST {
        let most = MOST.min(axis.size());
        return Err(writer.form(
            &node,
            format!("the {k} best of {}: 1 to {most}", axis.size()),
        ));
    }
    let smallest = int_of(&node, "largest", 1) == 0;
    let mut x = match smallest {
        true => writer.add("Neg", &[&node.input[0]], vec![]),
        false => node.input[0].clone(),
    };
    let places = axis.places(writer);
    let [low, high] = ["ReduceMin", "ReduceMax"].map(|op| axis.reduced(op, &x, writer));
    // Below all others, by a part of what they span.
    let span = writer.with("Sub", &high, &low);
    let part = writer.number(1.0 / 16.0);
    let below = writer.with("Mul", &span, &part);
    let below = writer.with("Sub", &low, &below);
    let (mut values, mut indices) = (Vec::new(), Vec::new());
    for round in 0..k {
        let index = axis.largest(&x, writer);
        values.push(axis.reduced("ReduceMax", &x, writer));
        if round + 1 < k {
            let taken = writer.with("Equal", &places, &index);
            x = writer.add("Where", &[&taken, &below, &x], vec![]);
        }
        indices.push(index);
    }
    let mut values = writer.concat(&values, axis.at as i64);
    if smallest {
        values = writer.add("Neg", &[&values], vec![]);
    }
    writer.give(&values, node.output.first());
    let indices = writer.concat(&indices, axis.at as i64);
    writer.give(&indices, node.output.get(1));
    Ok(())
}

/// Writes an `ArgMin` as the `ArgMax` of the opposite.
///
/// # Errors
/// None so far.
pub fn arg_min(node: pb::NodeProto, writer: &mut Writer) -> Result<()> {
    writer.replace(&node);
    let opposite = writer.add("Neg", &[&node.input[0]], vec![]);
    let place = writer.add("ArgMax", &[&opposite], node.attribute.clone());
    writer.call(&place, &node.output[0]);
    Ok(())
}

/// Writes a `Hardmax`: 1 at the first of the largest elements. Before opset 13 the axes from `axis` on are one.
///
/// # Errors
/// [`crate::error::ConvertError::UnsupportedForm`] for a tensor of unknown shape.
pub fn hardmax(node: pb::NodeProto, writer: &mut Writer) -> Result<()> {
    writer.replace(&node);
    let old = writer.opset < 13;
    let mut axis = Axis::of(
        &node,
        int_of(&node, "axis", if old { 1 } else { -1 }),
        writer,
    )?;
    let (mut x, whole) = (node.input[0].clone(), axis.shape.clone());
    if old {
        let rows: usize = whole[..axis.at].iter().product();
        let shape = [rows, whole[axis.at..].iter().product()];
        x = writer.reshape(&x, &shape.map(|size| size as i64));
        axis = Axis {
            shape: shape.into(),
            at: 1,
        };
    }
    let index = axis.largest(&x, writer);
    let places = axis.places(writer);
    let equal = writer.with("Equal", &places, &index);
    let mut y = writer.as_float(&equal);
    if old {
        let shape: Vec<i64> = whole.iter().map(|&size| size as i64).collect();
        y = writer.reshape(&y, &shape);
    }
    writer.give(&y, node.output.first());
    Ok(())
}

/// Writes a `OneHot` as rows of a table, one for each number.
///
/// # Errors
/// [`crate::error::ConvertError::UnsupportedForm`] for a depth or values that the model computes.
pub fn one_hot(node: pb::NodeProto, writer: &mut Writer) -> Result<()> {
    writer.replace(&node);
    let depth = given(&node.input, 1).and_then(|name| writer.known(name));
    let values = given(&node.input, 2).and_then(|name| writer.known(name));
    let shape = writer.shape(&node.input[0]);
    let (Some(depth), Some(values), Some(shape)) = (depth, values, shape) else {
        return Err(writer.form(&node, "a depth or values that the model computes"));
    };
    let (depth, values): (Option<&f32>, Vec<f32>) =
        (depth.first(), values.iter().copied().collect());
    let (Some(&depth), &[off, on]) = (depth, &values[..]) else {
        return Err(writer.form(&node, "one depth, and the values off and on"));
    };
    if !(1.0..=4096.0).contains(&depth) {
        return Err(writer.form(&node, format!("a depth of {depth}: 1 to 4096")));
    }
    let (depth, rank) = (depth as usize, shape.len());
    let Some(axis) = place_of(int_of(&node, "axis", -1), rank + 1) else {
        return Err(writer.form(&node, format!("an axis beyond rank {}", rank + 1)));
    };
    let mut table = vec![off; depth * depth];
    (0..depth).for_each(|at| table[at * depth + at] = on);
    let table = writer.constant(&[depth, depth], &table);
    let mut y = writer.add("Gather", &[&table, &node.input[0]], vec![int("axis", 0)]);
    if axis < rank {
        let mut order: Vec<i64> = (0..rank as i64).collect();
        order.insert(axis, rank as i64);
        y = writer.transpose(&y, &order);
    }
    writer.give(&y, node.output.first());
    Ok(())
}

/// Writes a `ScatterElements` whose places the model computes, or that combines elements: each place along the axis in its turn.
///
/// # Errors
/// [`crate::error::ConvertError::UnsupportedForm`] for other forms.
pub fn scatter(node: pb::NodeProto, writer: &mut Writer) -> Result<()> {
    let combine = match string_of(&node, "reduction", "none").as_str() {
        "none" => None,
        "add" => Some("Add"),
        "mul" => Some("Mul"),
        "max" => Some("Max"),
        "min" => Some("Min"),
        other => return Err(writer.form(&node, format!("reduction `{other}`"))),
    };
    if combine.is_none() && writer.known_integers(&node.input[1]).is_some() {
        writer.keep(node);
        return Ok(());
    }
    writer.replace(&node);
    let axis = Axis::of(&node, int_of(&node, "axis", 0), writer)?;
    let Some(places) = writer.shape(&node.input[1]) else {
        return Err(writer.form(&node, "places of unknown shape"));
    };
    let (mut one, mut other) = (places.clone(), axis.shape.clone());
    let count = std::mem::replace(&mut one[axis.at], 1);
    other[axis.at] = 1;
    if one != other || count > MOST {
        let reason = format!(
            "places {places:?} in a tensor {:?}: the same shape but along the axis, and there at most {MOST}",
            axis.shape
        );
        return Err(writer.form(&node, reason));
    }
    let numbers = axis.places(writer);
    let indices = from_front(&node.input[1], axis.size(), writer);
    let mut y = node.input[0].clone();
    for at in 0..count {
        let [index, value] = [&indices, &node.input[2]]
            .map(|x| writer.places(x, axis.at as i64, std::iter::once(at)));
        let here = writer.with("Equal", &numbers, &index);
        let new = combine.map_or(value.clone(), |op| writer.with(op, &y, &value));
        y = writer.add("Where", &[&here, &new, &y], vec![]);
    }
    writer.give(&y, node.output.first());
    Ok(())
}

/// Places of an axis of `size` elements; those that count from its end, as ONNX allows, from its front.
fn from_front(places: &String, size: usize, writer: &mut Writer) -> String {
    let producer = writer.producer(places);
    let picked = producer.is_some_and(|node| ["TopK", "ArgMax", "ArgMin"].contains(&op_of(&node)));
    if picked {
        return places.clone();
    }
    let [zero, size] = [0, size as i64].map(|number| writer.indices(&[], &[number]));
    let behind = writer.with("Less", places, &zero);
    let moved = writer.with("Add", places, &size);
    writer.add("Where", &[&behind, &moved, places], vec![])
}
