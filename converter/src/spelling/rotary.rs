//! `RotaryEmbedding` of opset 23: channels turned by angles whose cosines and sines are given.

use super::writer::{Writer, given, int, int_of};
use crate::error::Result;
use tract_onnx::pb;

/// Writes a `RotaryEmbedding` as `x * cos + turned(x) * sin`, head by head.
///
/// # Errors
/// [`crate::error::ConvertError::UnsupportedForm`] for shapes that do not fit.
pub fn write(node: &pb::NodeProto, writer: &mut Writer) -> Result<()> {
    writer.replace(node);
    let Some(shape) = writer.shape(&node.input[0]) else {
        return Err(writer.form(node, "a tensor of unknown shape"));
    };
    let (heads, size) = match shape[..] {
        [_, heads, _, size] => (heads, size),
        [_, _, channels] => match int_of(node, "num_heads", 0) as usize {
            heads if heads > 0 && channels % heads == 0 => (heads, channels / heads),
            heads => return Err(writer.form(node, format!("{heads} heads of {channels} channels"))),
        },
        _ => return Err(writer.form(node, "rank 3 or 4")),
    };
    let turned = match int_of(node, "rotary_embedding_dim", 0) as usize {
        0 => size,
        part => part,
    };
    if turned > size || turned % 2 == 1 {
        return Err(writer.form(node, format!("{turned} of {size} channels turned")));
    }
    let mut x = node.input[0].clone();
    if shape.len() == 3 {
        x = writer.reshape(&x, &[0, 0, heads as i64, size as i64]);
        x = writer.transpose(&x, &[0, 2, 1, 3]);
    }
    let interleaved = int_of(node, "interleaved", 0) == 1;
    let [cos, sin] = [1, 2].map(|cache| angles(node, cache, turned, interleaved, writer));
    let part = match turned == size {
        true => x.clone(),
        false => writer.places(&x, 3, 0..turned),
    };
    let other = quarter_turn(&part, turned, interleaved, writer);
    let (along, across) = (
        writer.with("Mul", &part, &cos),
        writer.with("Mul", &other, &sin),
    );
    let mut y = writer.with("Add", &along, &across);
    if turned < size {
        let rest = writer.places(&x, 3, turned..size);
        y = writer.concat(&[y, rest], 3);
    }
    if shape.len() == 3 {
        y = writer.transpose(&y, &[0, 2, 1, 3]);
        y = writer.reshape(&y, &[0, 0, (heads * size) as i64]);
    }
    writer.give(&y, node.output.first());
    Ok(())
}

/// Cosines or sines for each of the turned channels: `[batch, 1, steps, turned]`.
fn angles(
    node: &pb::NodeProto,
    cache: usize,
    turned: usize,
    interleaved: bool,
    writer: &mut Writer,
) -> String {
    let mut angles = node.input[cache].clone();
    if let Some(positions) = given(&node.input, 3) {
        angles = writer.add("Gather", &[&angles, positions], vec![int("axis", 0)]);
    }
    let half = turned / 2;
    let pair = |at| if interleaved { at / 2 } else { at % half };
    let each = writer.places(&angles, 2, (0..turned).map(pair));
    let one = writer.integers(&[1]);
    match writer.opset < 13 {
        true => writer.add(
            "Unsqueeze",
            &[&each],
            vec![super::writer::ints("axes", &[1])],
        ),
        false => writer.add("Unsqueeze", &[&each, &one], vec![]),
    }
}

/// The first channel of each pair in place of the second, minus the second in place of the first.
fn quarter_turn(x: &String, turned: usize, interleaved: bool, writer: &mut Writer) -> String {
    let half = turned / 2;
    if !interleaved {
        let [first, second] = [0..half, half..turned].map(|part| writer.places(x, 3, part));
        let minus = writer.add("Neg", &[&second], vec![]);
        return writer.concat(&[minus, first], 3);
    }
    let swapped = writer.places(x, 3, (0..turned).map(|at| at ^ 1));
    let signs: Vec<f32> = (0..turned)
        .map(|at| if at % 2 == 0 { -1.0 } else { 1.0 })
        .collect();
    let signs = writer.constant(&[turned], &signs);
    writer.with("Mul", &swapped, &signs)
}
