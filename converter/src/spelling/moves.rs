//! Padding by negative amounts, or that wraps around; indices that count from the end, or lie outside; products of vectors.

use super::writer::{Writer, attribute, given, int_of, ints, string_of};
use crate::error::Result;
use tract_onnx::pb;

/// Indices that are written out, at most.
const MOST: usize = 1 << 24;

/// Writes a `Pad`: negative amounts crop before anything else; what wraps around is gathered.
///
/// # Errors
/// [`crate::error::ConvertError::UnsupportedForm`].
pub fn pad(node: pb::NodeProto, writer: &mut Writer) -> Result<()> {
    let listed = attribute(&node, "pads").map(|pads| pads.ints.clone());
    let amounts = given(&node.input, 1).and_then(|name| writer.known_integers(name));
    let Some(pads) = listed.or(amounts) else {
        writer.keep(node);
        return Ok(());
    };
    let wraps = string_of(&node, "mode", "constant") == "wrap";
    if !wraps && pads.iter().all(|&amount| amount >= 0) {
        writer.keep(node);
        return Ok(());
    }
    writer.replace(&node);
    let Some(shape) = writer.shape(&node.input[0]) else {
        return Err(writer.form(&node, "negative padding of a tensor of unknown shape"));
    };
    let count = pads.len() / 2;
    let axes = given(&node.input, 3).map(|name| writer.known_integers(name));
    let axes = match axes {
        Some(Some(axes)) => axes,
        Some(None) => return Err(writer.form(&node, "axes of padding that the model computes")),
        None => (0..count as i64).collect(),
    };
    if axes.len() != count || pads.len() % 2 != 0 {
        return Err(writer.form(
            &node,
            format!("{} amounts of padding for {} axes", pads.len(), axes.len()),
        ));
    }
    let mut x = node.input[0].clone();
    for (place, &axis) in axes.iter().enumerate() {
        let Some(size) = place_of(axis, shape.len()).map(|axis| shape[axis] as i64) else {
            return Err(writer.form(
                &node,
                format!("axis {axis} of a tensor of rank {}", shape.len()),
            ));
        };
        let (before, after) = (pads[place], pads[place + count]);
        let (first, end) = (
            before.min(0).saturating_neg(),
            size.saturating_add(after.min(0)),
        );
        if first >= end {
            return Err(writer.form(&node, format!("padding that leaves nothing of axis {axis}")));
        }
        let around = match wraps {
            true => -before.max(0)..(end - first).saturating_add(after.max(0)),
            false => 0..end - first,
        };
        if around.end.saturating_sub(around.start) > MOST as i64 {
            return Err(writer.form(&node, format!("padding by {before} and {after}")));
        }
        if (first, end) != (0, size) || around != (0..size) {
            let places = around.map(|at| (first + at.rem_euclid(end - first)) as usize);
            x = writer.places(&x, axis, places);
        }
    }
    if wraps || pads.iter().all(|&amount| amount <= 0) {
        writer.give(&x, node.output.first());
        return Ok(());
    }
    let added: Vec<i64> = pads.iter().map(|&amount| amount.max(0)).collect();
    let mut rest = node;
    rest.input[0] = x;
    match rest
        .attribute
        .iter_mut()
        .find(|attribute| attribute.name == "pads")
    {
        Some(attribute) => *attribute = ints("pads", &added),
        None => rest.input[1] = writer.integers(&added),
    }
    writer.keep(rest);
    Ok(())
}

/// Counts the axes of a `Slice` with attributes from the front.
///
/// # Errors
/// [`crate::error::ConvertError::UnsupportedForm`].
pub fn slice(mut node: pb::NodeProto, writer: &mut Writer) -> Result<()> {
    let listed = attribute(&node, "axes").map(|axes| axes.ints.clone());
    if let Some(listed) = listed.filter(|axes| axes.iter().any(|&axis| axis < 0)) {
        let rank = writer.shape(&node.input[0]).map_or(0, |shape| shape.len());
        let axes: Option<Vec<i64>> = (listed.iter())
            .map(|&axis| place_of(axis, rank).map(|axis| axis as i64))
            .collect();
        let Some(axes) = axes else {
            return Err(writer.form(&node, format!("axes {listed:?} of a tensor of rank {rank}")));
        };
        node.attribute.retain(|attribute| attribute.name != "axes");
        node.attribute.push(ints("axes", &axes));
    }
    writer.keep(node);
    Ok(())
}

/// Writes the product of two vectors as one of a row and a column.
///
/// # Errors
/// [`crate::error::ConvertError::UnsupportedForm`].
pub fn vectors(node: pb::NodeProto, writer: &mut Writer) -> Result<()> {
    let [a, b] = [0, 1].map(|at| {
        let name = given(&node.input, at);
        name.and_then(|name| writer.shape(name)).unwrap_or_default()
    });
    let (&[n], &[m]) = (&a[..], &b[..]) else {
        writer.keep(node);
        return Ok(());
    };
    if n != m {
        return Err(writer.form(&node, format!("a vector of {n} times one of {m}")));
    }
    writer.replace(&node);
    let row = writer.reshape(&node.input[0], &[1, n as i64]);
    let column = writer.reshape(&node.input[1], &[n as i64, 1]);
    let product = writer.with("MatMul", &row, &column);
    let number = writer.reshape(&product, &[]);
    writer.give(&number, node.output.first());
    Ok(())
}

/// Sees that constant indices of a `Gather` lie inside the tensor.
///
/// # Errors
/// [`crate::error::ConvertError::UnsupportedForm`].
pub fn gather(node: pb::NodeProto, writer: &mut Writer) -> Result<()> {
    let known =
        |at: usize| given(&node.input, at).filter(|name| writer.declared_shape(name).is_some());
    let (Some(data), Some(indices)) = (known(0).cloned(), given(&node.input, 1).cloned()) else {
        writer.keep(node);
        return Ok(());
    };
    let shape = writer.shape(&data).unwrap_or_default();
    let Some(axis) = place_of(int_of(&node, "axis", 0), shape.len()) else {
        return Err(writer.form(
            &node,
            format!("an axis of a tensor of rank {}", shape.len()),
        ));
    };
    if writer.is_weight(&indices) {
        let outside = writer.known_integers(&indices).and_then(|indices| {
            let outside = |at: &i64| place_of(*at, shape[axis]).is_none();
            indices.into_iter().find(outside)
        });
        if let Some(at) = outside {
            return Err(writer.form(&node, format!("index {at} of an axis of {}", shape[axis])));
        }
    }
    writer.keep(node);
    Ok(())
}

/// Writes a `GatherElements` or `GatherND` with constant indices as one list of places.
///
/// # Errors
/// [`crate::error::ConvertError::UnsupportedForm`].
pub fn gather_each(node: pb::NodeProto, writer: &mut Writer) -> Result<()> {
    let Some(indices) = given(&node.input, 1).cloned() else {
        writer.keep(node);
        return Ok(());
    };
    if node.op_type == "GatherND" && along_one_axis(&node, &indices, writer) {
        return Ok(());
    }
    let (Some(shape), Some(by), Some(list)) = (
        writer.shape(&node.input[0]),
        writer.shape(&indices),
        writer.known_integers(&indices),
    ) else {
        writer.keep(node);
        return Ok(());
    };
    writer.replace(&node);
    let picked = match node.op_type.as_str() {
        "GatherElements" => elements(&shape, &by, &list, int_of(&node, "axis", 0)),
        _ => slices(&shape, &by, &list, int_of(&node, "batch_dims", 0)),
    };
    let picked = match picked {
        Ok(picked) => picked,
        Err(reason) => return Err(writer.form(&node, reason)),
    };
    let flat = writer.reshape(&node.input[0], &picked.flat);
    let places = writer.indices(&picked.shape, &picked.places);
    let result = writer.add(
        "Gather",
        &[&flat, &places],
        vec![super::writer::int("axis", 0)],
    );
    writer.give(&result, node.output.first());
    Ok(())
}

/// Writes a `GatherND` whose indices are constants but for one axis as a `Gather` along that; false for any other.
fn along_one_axis(node: &pb::NodeProto, indices: &str, writer: &mut Writer) -> bool {
    let Some(joined) = writer
        .producer(indices)
        .filter(|joined| joined.op_type == "Concat")
    else {
        return false;
    };
    let rank = writer.shape(indices).map_or(0, |shape| shape.len()) as i64;
    let last = [-1, rank - 1].contains(&int_of(&joined, "axis", 0));
    let single = |name: &String, writer: &mut Writer| {
        let shape = writer.shape(name)?;
        (shape.last() == Some(&1)).then_some(shape)
    };
    let mut places = Vec::new();
    let mut live = None;
    for (axis, part) in joined.input.iter().enumerate() {
        let Some(shape) = single(part, writer) else {
            return false;
        };
        match writer.known_integers(part).as_deref() {
            Some([first, others @ ..]) if others.iter().all(|other| other == first) => {
                places.push((axis, *first));
            }
            Some(_) => return false,
            None if live.is_some() => return false,
            None => live = Some((part.clone(), shape)),
        }
    }
    let (Some((part, shape)), true, 0) = (live, last, int_of(node, "batch_dims", 0)) else {
        return false;
    };
    writer.replace(node);
    let mut x = node.input[0].clone();
    // From the last axis on, so that those before it keep their numbers.
    for (axis, place) in places.into_iter().rev() {
        let place = writer.indices(&[], &[place]);
        x = writer.add(
            "Gather",
            &[&x, &place],
            vec![super::writer::int("axis", axis as i64)],
        );
    }
    let shape: Vec<i64> = shape[..shape.len() - 1]
        .iter()
        .map(|&size| size as i64)
        .collect();
    let index = writer.reshape(&part, &shape);
    let picked = writer.add("Gather", &[&x, &index], vec![super::writer::int("axis", 0)]);
    writer.give(&picked, node.output.first());
    true
}

/// Places in a tensor under another shape.
struct Picked {
    flat: Vec<i64>,
    shape: Vec<usize>,
    places: Vec<i64>,
}

/// `GatherElements`: one index along an axis for each element.
fn elements(shape: &[usize], by: &[usize], list: &[i64], axis: i64) -> Result<Picked, String> {
    let axis = place_of(axis, shape.len())
        .ok_or_else(|| format!("axis {axis} of rank {}", shape.len()))?;
    if by.len() != shape.len() || by.iter().product::<usize>() != list.len() || list.len() > MOST {
        return Err("indices of another rank".into());
    }
    let inside = |at: usize| at == axis || by[at] <= shape[at];
    if !(0..shape.len()).all(inside) {
        return Err("indices that are longer than the tensor".into());
    }
    let mut places = Vec::with_capacity(list.len());
    for (number, &index) in list.iter().enumerate() {
        let own = place_of(index, shape[axis]);
        let own = own.ok_or_else(|| format!("index {index} of an axis of {}", shape[axis]))?;
        let (mut rest, mut place, mut step) = (number, 0, 1);
        for at in (0..shape.len()).rev() {
            place += step * if at == axis { own } else { rest % by[at] };
            rest /= by[at].max(1);
            step *= shape[at];
        }
        places.push(place as i64);
    }
    Ok(Picked {
        flat: vec![-1],
        shape: by.to_vec(),
        places,
    })
}

/// `GatherND`: every row of the indices picks what the axes behind its own hold.
fn slices(shape: &[usize], by: &[usize], list: &[i64], batch: i64) -> Result<Picked, String> {
    let batch = usize::try_from(batch).map_err(|_| "batch_dims below 0")?;
    let depth = by.last().copied().unwrap_or(0);
    let fits = depth > 0
        && batch + depth <= shape.len()
        && batch < by.len()
        && shape[..batch] == by[..batch];
    if !fits || by.iter().product::<usize>() != list.len() || list.len() > MOST {
        return Err(format!("indices {by:?} of a tensor {shape:?}"));
    }
    let (first, rest) = shape.split_at(batch + depth);
    let batches: usize = shape[..batch].iter().product();
    let rows = list.len() / depth / batches.max(1);
    let mut places = Vec::new();
    for (number, row) in list.chunks(depth).enumerate() {
        let mut place = number / rows.max(1);
        for (&index, &size) in row.iter().zip(&first[batch..]) {
            let index = place_of(index, size)
                .ok_or_else(|| format!("index {index} of an axis of {size}"))?;
            place = place * size + index;
        }
        places.push(place as i64);
    }
    let all: usize = first.iter().product();
    let flat = [all].iter().chain(rest).map(|&size| size as i64).collect();
    Ok(Picked {
        flat,
        shape: by[..by.len() - 1].to_vec(),
        places,
    })
}

/// An index counted from the front, if it lies inside.
pub fn place_of(at: i64, size: usize) -> Option<usize> {
    let at = if at < 0 {
        at.checked_add(size as i64)?
    } else {
        at
    };
    usize::try_from(at).ok().filter(|&at| at < size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indices_count_from_the_end() {
        let picked = slices(&[1, 3, 2], &[1, 2], &[0, -1], 0).unwrap();
        assert_eq!((picked.flat, picked.places), (vec![3, 2], vec![2]));
        let picked = slices(&[2, 3], &[2, 1], &[-1, 0], 1).unwrap();
        assert_eq!((picked.flat, picked.places), (vec![6], vec![2, 3]));
        let picked = elements(&[2, 3], &[2, 1], &[-1, 0], 1).unwrap();
        assert_eq!(picked.places, [2, 3]);
        assert!(slices(&[2, 3], &[1, 1], &[2], 0).is_err());
    }
}
