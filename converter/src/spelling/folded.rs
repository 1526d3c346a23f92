//! `Col2Im` (`fold`): patches added where they overlap, as the transposed convolution with kernels of a single 1.

use super::writer::{Writer, attribute, int, ints};
use crate::error::Result;
use tract_onnx::pb;

/// Writes a `Col2Im`.
///
/// # Errors
/// [`crate::error::ConvertError::UnsupportedForm`] for shapes that the model computes, or that do not fit.
pub fn write(node: &pb::NodeProto, writer: &mut Writer) -> Result<()> {
    writer.replace(node);
    let [image, block] = [1, 2].map(|at| {
        node.input
            .get(at)
            .and_then(|name| writer.known_integers(name))
    });
    let shape = writer.shape(&node.input[0]);
    let (Some(image), Some(block), Some(&[batch, columns, places])) =
        (image, block, shape.as_deref())
    else {
        return Err(writer.form(
            node,
            "columns [batch, channels * block, places], constant shapes of image and block",
        ));
    };
    let axes = image.len();
    let list = |name: &str, default: i64, count: usize| {
        attribute(node, name).map_or(vec![default; count], |list| list.ints.clone())
    };
    let (strides, dilations, pads) = (
        list("strides", 1, axes),
        list("dilations", 1, axes),
        list("pads", 0, 2 * axes),
    );
    let sizes = [
        (&block, axes),
        (&strides, axes),
        (&dilations, axes),
        (&pads, 2 * axes),
    ];
    let positive = [&image, &block, &strides, &dilations]
        .iter()
        .all(|list| list.iter().all(|&x| (1..1 << 20).contains(&x)));
    if !(1..=2).contains(&axes)
        || sizes.iter().any(|(list, count)| list.len() != *count)
        || !positive
    {
        return Err(writer.form(node, "images of 1 or 2 dimensions"));
    }
    // How far the kernel reaches, the steps it takes, and what is left at the end of each axis.
    let reach = |axis: usize| dilations[axis] * (block[axis] - 1) + 1;
    let span = |axis: usize| image[axis] + pads[axis] + pads[axis + axes] - reach(axis);
    let steps: Vec<i64> = (0..axes)
        .map(|axis| span(axis) / strides[axis] + 1)
        .collect();
    let left: Vec<i64> = (0..axes).map(|axis| span(axis) % strides[axis]).collect();
    let taps = block.iter().product::<i64>() as usize;
    if (0..axes).any(|axis| span(axis) < 0)
        || columns % taps != 0
        || steps.iter().product::<i64>() != places as i64
    {
        return Err(writer.form(
            node,
            format!("an image {image:?} of blocks {block:?}, {steps:?} of them"),
        ));
    }
    let channels = columns / taps;
    let x = writer.reshape(
        &node.input[0],
        &[&[batch as i64, columns as i64], &steps[..]].concat(),
    );
    let mut kernels = vec![0.0; columns * taps];
    (0..columns).for_each(|column| kernels[column * taps + column % taps] = 1.0);
    let sizes: Vec<usize> = block.iter().map(|&size| size as usize).collect();
    let kernels = writer.constant(&[&[columns, 1], &sizes[..]].concat(), &kernels);
    let attributes = vec![
        int("group", channels as i64),
        ints("kernel_shape", &block),
        ints("strides", &strides),
        ints("dilations", &dilations),
        ints("pads", &pads),
        ints("output_padding", &left),
    ];
    let y = writer.add("ConvTranspose", &[&x, &kernels], attributes);
    writer.give(&y, node.output.first());
    Ok(())
}
