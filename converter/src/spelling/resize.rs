//! `Upsample`, and `Resize` of opset 10: their places count from the edge, and the nearest one is rounded down, or up where a tensor
//! shrinks, as onnxruntime does.

use super::writer::{Writer, attribute, given, string_of};
use crate::error::Result;
use tract_onnx::pb;

/// Writes an `Upsample` or an old `Resize`, one axis after the other.
///
/// # Errors
/// [`crate::error::ConvertError::UnsupportedForm`].
pub fn write(node: pb::NodeProto, writer: &mut Writer) -> Result<()> {
    if node.op_type == "Resize" && writer.opset > 10 {
        writer.keep(node);
        return Ok(());
    }
    writer.replace(&node);
    let scales = match attribute(&node, "scales") {
        Some(scales) => Some(scales.floats.clone()),
        None => given(&node.input, 1)
            .and_then(|name| writer.known(name))
            .map(|scales| scales.iter().copied().collect()),
    };
    let (Some(scales), Some(shape)) = (scales, writer.shape(&node.input[0])) else {
        return Err(writer.form(
            &node,
            "scales that the model computes, or a tensor of unknown shape",
        ));
    };
    let fits = |scale: &f32| *scale > 0.0 && *scale < 65536.0;
    if scales.len() != shape.len() || !scales.iter().all(fits) {
        return Err(writer.form(&node, format!("scales {scales:?} for {} axes", shape.len())));
    }
    let mode = string_of(&node, "mode", "nearest");
    let mut x = node.input[0].clone();
    for (axis, (&size, &scale)) in shape.iter().zip(&scales).enumerate() {
        if scale == 1.0 {
            continue;
        }
        let result = (size as f32 * scale).floor() as usize;
        x = match mode.as_str() {
            "nearest" => {
                let place = |at: usize| {
                    let at = at as f32 / scale;
                    let at = if scale < 1.0 { at.ceil() } else { at.floor() };
                    (at as usize).min(size - 1)
                };
                writer.places(&x, axis as i64, (0..result).map(place))
            }
            "linear" | "bilinear" => linear(&x, axis, [shape.len(), size, result], scale, writer),
            other => return Err(writer.form(&node, format!("mode `{other}`: nearest or linear"))),
        };
    }
    writer.give(&x, node.output.first());
    Ok(())
}

/// An axis times a matrix of weights.
fn linear(
    x: &String,
    axis: usize,
    [rank, size, result]: [usize; 3],
    scale: f32,
    writer: &mut Writer,
) -> String {
    let mut weights = vec![0.0; size * result];
    for at in 0..result {
        let place = (at as f32 / scale).min((size - 1) as f32);
        let (low, part) = (place.floor() as usize, place.fract());
        weights[low * result + at] += 1.0 - part;
        weights[(low + 1).min(size - 1) * result + at] += part;
    }
    let weights = writer.constant(&[size, result], &weights);
    let mut order: Vec<i64> = (0..rank as i64).collect();
    order.swap(axis, rank - 1);
    let last = writer.transpose(x, &order);
    let product = writer.with("MatMul", &last, &weights);
    writer.transpose(&product, &order)
}
