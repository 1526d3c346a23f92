//! Operators that are a line or two of others: norms, local normalisation, pools of a power, products of many, remainders, grids.

use super::moves::place_of;
use super::writer::{Writer, attribute, given, int, int_of, ints};
use crate::error::Result;
use tract_onnx::pb;

/// Operators that [`write()`] takes.
pub const OPERATORS: &[&str] = &[
    "AffineGrid",
    "GlobalLpPool",
    "LRN",
    "LpNormalization",
    "LpPool",
    "MeanVarianceNormalization",
    "Mod",
    "ReduceProd",
    "Shrink",
];
/// Factors of a product, at most.
const MOST: usize = 64;

/// Writes one of [`OPERATORS`].
///
/// # Errors
/// [`crate::error::ConvertError::UnsupportedForm`].
pub fn write(node: &pb::NodeProto, writer: &mut Writer) -> Result<()> {
    writer.replace(node);
    let y = match node.op_type.as_str() {
        "LpNormalization" => normalized(node, writer)?,
        "MeanVarianceNormalization" => standardized(node, writer)?,
        "LRN" => local_response(node, writer)?,
        "LpPool" | "GlobalLpPool" => power_pool(node, writer)?,
        "ReduceProd" => product(node, writer)?,
        "Shrink" => shrunk(node, writer),
        "Mod" => remainder(node, writer),
        _ => grid(node, writer)?,
    };
    writer.give(&y, node.output.first());
    Ok(())
}

fn shape_of(node: &pb::NodeProto, writer: &mut Writer) -> Result<Vec<usize>> {
    match writer.shape(&node.input[0]) {
        Some(shape) => Ok(shape),
        None => Err(writer.form(node, "a tensor of unknown shape")),
    }
}

/// A row divided by its norm; a row of zeros stays.
fn normalized(node: &pb::NodeProto, writer: &mut Writer) -> Result<String> {
    let op = match int_of(node, "p", 2) {
        1 => "ReduceL1",
        2 => "ReduceL2",
        p => return Err(writer.form(node, format!("p = {p}: 1 or 2"))),
    };
    let norm = writer.reduce(op, &node.input[0], int_of(node, "axis", -1));
    let norm = writer.clip(&norm, 1e-12, f32::MAX);
    Ok(writer.with("Div", &node.input[0], &norm))
}

/// Mean 0 and variance 1 over some axes.
fn standardized(node: &pb::NodeProto, writer: &mut Writer) -> Result<String> {
    let rank = shape_of(node, writer)?.len();
    let axes = attribute(node, "axes").map_or(vec![0, 2, 3], |axes| axes.ints.clone());
    let axes: Option<Vec<i64>> = (axes.iter())
        .map(|&axis| place_of(axis, rank).map(|axis| axis as i64))
        .collect();
    let Some(axes) = axes else {
        return Err(writer.form(node, format!("axes of a tensor of rank {rank}")));
    };
    let mean = |x: &String, writer: &mut Writer| {
        let kept = int("keepdims", 1);
        if writer.opset < 18 {
            return writer.add("ReduceMean", &[x], vec![ints("axes", &axes), kept]);
        }
        let axes = writer.integers(&axes);
        writer.add("ReduceMean", &[x, &axes], vec![kept])
    };
    let middle = mean(&node.input[0], writer);
    let centred = writer.with("Sub", &node.input[0], &middle);
    let squares = writer.with("Mul", &centred, &centred);
    let variance = mean(&squares, writer);
    let root = writer.add("Sqrt", &[&variance], vec![]);
    let root = writer.by("Add", &root, 1e-9);
    Ok(writer.with("Div", &centred, &root))
}

/// Krizhevsky's local response normalisation: a banded matrix adds the squares of the neighbours.
fn local_response(node: &pb::NodeProto, writer: &mut Writer) -> Result<String> {
    let shape = shape_of(node, writer)?;
    let number = |name: &str, default: f32| attribute(node, name).map_or(default, |x| x.f);
    let (alpha, beta, bias) = (
        number("alpha", 1e-4),
        number("beta", 0.75),
        number("bias", 1.0),
    );
    let size = int_of(node, "size", 1);
    let (Some(&channels), 1..=4096) = (shape.get(1), size) else {
        return Err(writer.form(node, format!("a window of {size} channels")));
    };
    let (before, after) = ((size as usize - 1) / 2, size as usize / 2);
    let mut band = vec![0.0; channels * channels];
    for to in 0..channels {
        for from in to.saturating_sub(before)..channels.min(to + after + 1) {
            band[from * channels + to] = alpha / size as f32;
        }
    }
    let band = writer.constant(&[channels, channels], &band);
    let squares = writer.with("Mul", &node.input[0], &node.input[0]);
    let mut order: Vec<i64> = (0..shape.len() as i64).collect();
    order.swap(1, shape.len() - 1);
    let last = writer.transpose(&squares, &order);
    let sums = writer.with("MatMul", &last, &band);
    let sums = writer.transpose(&sums, &order);
    let sums = writer.by("Add", &sums, bias);
    let power = writer.by("Pow", &sums, beta);
    Ok(writer.with("Div", &node.input[0], &power))
}

/// The root of a sum of powers: an average pool, or a mean, times the number of elements.
fn power_pool(node: &pb::NodeProto, writer: &mut Writer) -> Result<String> {
    let shape = shape_of(node, writer)?;
    let p = match attribute(node, "p") {
        Some(p) if p.i == 0 && p.f > 0.0 => p.f,
        Some(p) => p.i as f32,
        None => 2.0,
    };
    if p < 1.0 {
        return Err(writer.form(node, format!("p = {p}: 1 or more")));
    }
    let magnitudes = writer.add("Abs", &[&node.input[0]], vec![]);
    let powers = match p {
        2.0 => writer.with("Mul", &node.input[0], &node.input[0]),
        1.0 => magnitudes,
        _ => writer.by("Pow", &magnitudes, p),
    };
    let (mean, count) = match node.op_type.as_str() {
        "GlobalLpPool" => {
            let count: usize = shape.iter().skip(2).product();
            (
                writer.add("GlobalAveragePool", &[&powers], vec![]),
                count as f32,
            )
        }
        _ => {
            let kernel =
                attribute(node, "kernel_shape").map_or(vec![], |kernel| kernel.ints.clone());
            let mut attributes: Vec<_> = node
                .attribute
                .iter()
                .filter(|own| own.name != "p")
                .cloned()
                .collect();
            attributes.push(int("count_include_pad", 1));
            (
                writer.add("AveragePool", &[&powers], attributes),
                kernel.iter().product::<i64>() as f32,
            )
        }
    };
    let sum = writer.by("Mul", &mean, count);
    Ok(match p {
        1.0 => sum,
        2.0 => writer.add("Sqrt", &[&sum], vec![]),
        _ => writer.by("Pow", &sum, 1.0 / p),
    })
}

/// A product over axes, of two factors at a time.
fn product(node: &pb::NodeProto, writer: &mut Writer) -> Result<String> {
    let shape = shape_of(node, writer)?;
    let listed = attribute(node, "axes").map(|axes| axes.ints.clone());
    let given_axes = given(&node.input, 1).map(|name| writer.known_integers(name));
    let axes = match (listed, given_axes) {
        (Some(axes), _) | (None, Some(Some(axes))) if !axes.is_empty() => axes,
        (None, Some(None)) => return Err(writer.form(node, "axes that the model computes")),
        _ if int_of(node, "noop_with_empty_axes", 0) == 1 => return Ok(node.input[0].clone()),
        _ => (0..shape.len() as i64).collect(),
    };
    let axes: Option<Vec<usize>> = axes
        .iter()
        .map(|&axis| place_of(axis, shape.len()))
        .collect();
    let Some(axes) =
        axes.filter(|axes| axes.iter().map(|&axis| shape[axis]).product::<usize>() <= MOST)
    else {
        return Err(writer.form(node, format!("a product of at most {MOST} elements")));
    };
    let mut y = node.input[0].clone();
    for &axis in &axes {
        let mut factors: Vec<String> = (0..shape[axis])
            .map(|at| writer.places(&y, axis as i64, std::iter::once(at)))
            .collect();
        while factors.len() > 1 {
            factors = (factors.chunks(2))
                .map(|pair| match pair {
                    [a, b] => writer.with("Mul", a, b),
                    _ => pair.concat(),
                })
                .collect();
        }
        y = factors.concat();
    }
    if int_of(node, "keepdims", 1) == 0 {
        let rest = (0..shape.len()).filter(|axis| !axes.contains(axis));
        let rest: Vec<i64> = rest.map(|axis| shape[axis] as i64).collect();
        y = writer.reshape(&y, &rest);
    }
    Ok(y)
}

/// Numbers near 0 become 0, the others come nearer.
fn shrunk(node: &pb::NodeProto, writer: &mut Writer) -> String {
    let number = |name: &str, default: f32| attribute(node, name).map_or(default, |x| x.f);
    let (bias, width) = (number("bias", 0.0), number("lambd", 0.5));
    let x = &node.input[0];
    let [below, above] =
        [("Add", "Less", -width), ("Sub", "Greater", width)].map(|(op, test, edge)| {
            let edge = writer.number(edge);
            let there = writer.with(test, x, &edge);
            (there, writer.by(op, x, bias))
        });
    let zero = writer.number(0.0);
    let inner = writer.add("Where", &[&above.0, &above.1, &zero], vec![]);
    writer.add("Where", &[&below.0, &below.1, &inner], vec![])
}

/// What a division leaves: with the sign of the first number (`fmod`), or with that of the second.
fn remainder(node: &pb::NodeProto, writer: &mut Writer) -> String {
    let whole = writer.is_whole(&node.input[0]);
    let [x, y] = [0, 1].map(|at| writer.as_float(&node.input[at]));
    // Integers are divided half a step in, where rounding cannot move them over an edge.
    let times = if int_of(node, "fmod", 0) == 0 {
        let middle = if whole {
            writer.by("Add", &x, 0.5)
        } else {
            x.clone()
        };
        let quotient = writer.with("Div", &middle, &y);
        writer.add("Floor", &[&quotient], vec![])
    } else {
        let quotient = writer.with("Div", &x, &y);
        let cut = writer.as_integer(&quotient);
        writer.as_float(&cut)
    };
    let part = writer.with("Mul", &times, &y);
    let rest = writer.with("Sub", &x, &part);
    match whole {
        true => writer.as_integer(&rest),
        false => rest,
    }
}

/// The places of an image's pixels, moved by the matrix of each image.
fn grid(node: &pb::NodeProto, writer: &mut Writer) -> Result<String> {
    let size = given(&node.input, 1).and_then(|size| writer.known_integers(size));
    let Some(&[batch, _, height, width]) = size.as_deref() else {
        return Err(writer.form(node, "a constant size [batch, channels, height, width]"));
    };
    if !(1..=4096).contains(&height) || !(1..=4096).contains(&width) {
        return Err(writer.form(node, format!("a grid of {height} x {width}")));
    }
    let corners = int_of(node, "align_corners", 0) == 1;
    let place = |at: i64, size: i64| match corners {
        true => 2.0 * at as f32 / (size - 1).max(1) as f32 - 1.0,
        false => (2 * at + 1) as f32 / size as f32 - 1.0,
    };
    let pixels: Vec<f32> = (0..height)
        .flat_map(|y| (0..width).flat_map(move |x| [place(x, width), place(y, height), 1.0]))
        .collect();
    let pixels = writer.constant(&[(height * width) as usize, 3], &pixels);
    let theta = writer.transpose(&node.input[0], &[0, 2, 1]);
    let moved = writer.with("MatMul", &pixels, &theta);
    Ok(writer.reshape(&moved, &[batch, height, width, 2]))
}
