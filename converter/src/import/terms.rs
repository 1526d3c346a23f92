//! Sums of at most two elements of one tensor, each times a constant: the elements of rotary positions.
//!
//! Exporters write rotary positions with slices, negations, products with cosines and sines, and joins, in one of two layouts. Import
//! follows these element by element, like views. The table then tells whether the result is a rotation, in any spelling.

use super::Importer;
use super::node::OnnxNode;
use super::view::{PADDING, View};
use crate::error::Result;
use crate::function::Function;
use crate::graph::op::Affine;
use crate::graph::{Node, Op, ValueId, Window1d, op};
use ndarray::{ArrayD, IxDyn};

/// An element of the base value and its factor.
type Term = (u32, f32);
const NOTHING: Term = (PADDING, 0.0);

/// A tensor of sums of terms.
#[derive(Clone, Debug)]
pub struct Terms {
    pub base: ValueId,
    /// Each element of the ONNX tensor.
    pub elements: ArrayD<[Term; 2]>,
}

impl Terms {
    /// A view, or a constant multiple of it; `None` for any other function.
    pub fn of(view: &View, function: &Function) -> Option<Self> {
        let factor = function.eval(1.0);
        let linear = [-3.0, 0.0, 0.5, 7.0]
            .iter()
            .all(|&x: &f64| (function.eval(x) - factor * x).abs() < 1e-9);
        let factor = factor as f32 * view.factor;
        linear.then(|| Self {
            base: view.base,
            elements: view.position.mapv(|p| [(p, factor), NOTHING]),
        })
    }

    pub fn shape(&self) -> &[usize] {
        self.elements.shape()
    }

    /// Rearranged elements: `index` gives the old index of each.
    pub fn gathered(&self, index: &ArrayD<u32>) -> Self {
        let flat: Vec<[Term; 2]> = self.elements.iter().copied().collect();
        let at = |&i: &u32| flat.get(i as usize).copied().unwrap_or([NOTHING; 2]);
        Self {
            base: self.base,
            elements: index.map(at),
        }
    }

    /// Times a constant that broadcasts to the shape.
    pub fn times(&self, constant: &ArrayD<f32>) -> Option<Self> {
        let constant = constant.broadcast(self.elements.raw_dim())?;
        let mut elements = self.elements.clone();
        for (element, &c) in elements.iter_mut().zip(constant) {
            element.iter_mut().for_each(|term| term.1 *= c);
        }
        Some(Self {
            base: self.base,
            elements,
        })
    }

    /// Sum of two; `None` when an element then has more than two terms.
    pub fn plus(&self, other: &Self, sign: f32) -> Option<Self> {
        if self.base != other.base || self.shape() != other.shape() {
            return None;
        }
        let mut elements = self.elements.clone();
        for (sum, element) in elements.iter_mut().zip(&other.elements) {
            for &(position, factor) in element.iter().filter(|term| term.0 != PADDING) {
                let place = sum
                    .iter_mut()
                    .find(|term| term.0 == position || term.0 == PADDING)?;
                *place = (position, place.1 + sign * factor);
            }
        }
        Some(Self {
            base: self.base,
            elements,
        })
    }

    /// Joined along an axis; `None` when the bases differ.
    pub fn joined(parts: &[Self], axis: usize) -> Option<Self> {
        let base = parts.first()?.base;
        let views: Vec<_> = parts.iter().map(|part| part.elements.view()).collect();
        let same = parts.iter().all(|part| part.base == base);
        same.then(|| ndarray::concatenate(ndarray::Axis(axis), &views).ok())
            .flatten()
            .map(|elements| Self { base, elements })
    }
}

/// One element of a rotated value: the position of its partner, and the factors of both.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Turn {
    partner: u32,
    cos: f32,
    sin: f32,
}

/// The turn of each element of the base. Writes the place of each element of the tensor to `own`.
fn turns(terms: &Terms, len: usize) -> Option<(Vec<Turn>, Vec<u32>)> {
    let mut turns: Vec<Option<Turn>> = vec![None; len];
    let mut own = vec![PADDING; terms.elements.len()];
    let mut pairs: std::collections::HashMap<(u32, u32), usize> = std::collections::HashMap::new();
    let elements: Vec<[Term; 2]> = terms.elements.iter().copied().collect();
    for (at, element) in elements.iter().enumerate() {
        let [first, second] = *element;
        if first.0 == PADDING {
            return None;
        }
        if second.0 == PADDING {
            // Channels after the rotated ones are not turned.
            if first.1 != 1.0 || turns.get(first.0 as usize)?.is_some() {
                return None;
            }
            turns[first.0 as usize] = Some(Turn {
                partner: first.0,
                cos: 1.0,
                sin: 0.0,
            });
            own[at] = first.0;
            continue;
        }
        let key = (first.0.min(second.0), first.0.max(second.0));
        let Some(other) = pairs.insert(key, at) else {
            continue;
        };
        let factor = |element: &[Term; 2], position: u32| {
            element
                .iter()
                .find(|term| term.0 == position)
                .map_or(0.0, |term| term.1)
        };
        // y[a] = cos x[a] - sin x[b], y[b] = sin x[a] + cos x[b]
        let (a, b) = key;
        let is_turn = |upper: &[Term; 2], lower: &[Term; 2]| {
            let (cos, sin) = (factor(upper, a), factor(lower, a));
            let close = |x: f32, y: f32| (x - y).abs() <= 1e-5;
            (close(factor(lower, b), cos) && close(factor(upper, b), -sin)).then_some((cos, sin))
        };
        let (upper, lower, (cos, sin)) = match is_turn(&elements[other], element) {
            Some(turn) => (other, at, turn),
            None => (at, other, is_turn(element, &elements[other])?),
        };
        if turns.get(a as usize)?.is_some() || turns.get(b as usize)?.is_some() {
            return None;
        }
        turns[a as usize] = Some(Turn {
            partner: b,
            cos,
            sin,
        });
        turns[b as usize] = Some(Turn {
            partner: a,
            cos,
            sin,
        });
        (own[upper], own[lower]) = (a, b);
    }
    let turns: Option<Vec<Turn>> = turns.into_iter().collect();
    own.iter()
        .all(|&p| p != PADDING)
        .then_some(())
        .and(turns)
        .map(|turns| (turns, own))
}

/// The rotation with these turns, for rows of `channels` values. A head is the shortest block that repeats along a row.
fn rotation(turns: &[Turn], channels: usize) -> Option<op::Rotary> {
    let offset = |at: usize| i64::from(turns[at].partner) - at as i64;
    let repeats = |d: &usize| {
        channels.is_multiple_of(*d)
            && (0..turns.len()).filter(|at| at % channels >= *d).all(|at| {
                let before = &turns[at - d];
                offset(at) == offset(at - d)
                    && (turns[at].cos, turns[at].sin) == (before.cos, before.sin)
            })
    };
    let head_dim = (2..=channels).find(repeats)?;
    let upper: Vec<usize> = (0..head_dim).filter(|&c| offset(c) > 0).collect();
    let (pairs, step) = (upper.len(), offset(*upper.first()?) as usize);
    let interleaved = step == 1 && (pairs == 1 || upper.get(1) == Some(&2));
    let place = |i: usize| if interleaved { 2 * i } else { i };
    let fits = (0..turns.len()).all(|at| {
        let c = at % channels % head_dim;
        let partner = match (0..pairs).find(|&i| place(i) == c || place(i) + step == c) {
            Some(i) if place(i) == c => step as i64,
            Some(_) => -(step as i64),
            None => 0,
        };
        offset(at) == partner
    });
    if !fits || (!interleaved && step != pairs) {
        return None;
    }
    let rows = turns.len() / channels;
    let angle = |row: usize, i: usize| {
        let turn = turns[row * channels + place(i)];
        [turn.cos, turn.sin]
    };
    Some(op::Rotary {
        head_dim,
        pairs,
        interleaved,
        table: (0..rows)
            .flat_map(|row| (0..pairs).map(move |i| (row, i)))
            .map(|(row, i)| angle(row, i))
            .collect(),
    })
}

impl Importer<'_> {
    /// The node that computes terms, under the ONNX name of their tensor.
    pub(super) fn gather_terms(
        &mut self,
        node: &OnnxNode,
        name: &str,
        terms: &Terms,
    ) -> Result<View> {
        let value = &self.graph.values[terms.base.0];
        let (dims, channels) = (value.dims.clone(), value.channels());
        let (op, position) = if let Some((turns, own)) = turns(terms, value.len())
            && let Some(rotation) = rotation(&turns, channels)
        {
            (Op::Rotary(rotation), own)
        } else if let Some((factors, own)) = factors(terms, value.len(), channels) {
            let weight = ArrayD::from_shape_vec(IxDyn(&[1, channels]), factors)
                .expect("one factor for each channel");
            let op = Op::DepthwiseConv1d(op::DepthwiseConv1d {
                affine: Affine::new(weight, vec![0.0; channels]),
                window: Window1d::POINTWISE,
            });
            (op, own)
        } else {
            return Err(node.form(
                "sums and constant multiples of elements of one tensor must be a rotary position (y = x * cos + \
                 rotate_half(x) * sin, or the same on neighbours, with constant cos and sin), or one factor for each channel",
            ));
        };
        let result = View::of(self.next_value(), terms.shape(), position);
        let output = self.add_value_at(name, &dims, result.positions());
        self.graph.nodes.push(Node {
            name: name.into(),
            op,
            inputs: vec![terms.base],
            output,
            second: None,
        });
        self.items
            .insert(name.into(), super::Item::View(result.clone()));
        Ok(result)
    }
}

/// One factor for each channel, and each element's place.
fn factors(terms: &Terms, len: usize, channels: usize) -> Option<(Vec<f32>, Vec<u32>)> {
    let mut factors = vec![None; channels];
    for &[(position, factor), second] in &terms.elements {
        if position == PADDING || second.0 != PADDING {
            return None;
        }
        let place = factors.get_mut(position as usize % channels)?;
        if *place.get_or_insert(factor) != factor {
            return None;
        }
    }
    let own: Vec<u32> = terms.elements.iter().map(|element| element[0].0).collect();
    let mut sorted = own.clone();
    sorted.sort_unstable();
    let whole = sorted.len() == len && super::view::is_run(&sorted, 0);
    let factors: Option<Vec<f32>> = factors.into_iter().collect();
    factors.filter(|_| whole).map(|factors| (factors, own))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROWS: usize = 3;
    const WIDTH: usize = 8;

    /// Two heads of 4 channels; each pair `(a, b)` of a head turned by an angle of its own in every row.
    fn turned(pairs: [(usize, usize); 2]) -> Terms {
        let mut elements = vec![[NOTHING; 2]; ROWS * WIDTH];
        for row in 0..ROWS {
            for head in 0..2 {
                for (i, (a, b)) in pairs.into_iter().enumerate() {
                    let [a, b] = [a, b].map(|c| row * WIDTH + head * 4 + c);
                    let (sin, cos) = (row as f32 / (1.0 + i as f32)).sin_cos();
                    // The partner may come first or last.
                    elements[a] = [(a as u32, cos), (b as u32, -sin)];
                    elements[b] = [(a as u32, sin), (b as u32, cos)];
                }
            }
        }
        Terms {
            base: ValueId(0),
            elements: ArrayD::from_shape_vec(IxDyn(&[ROWS, WIDTH]), elements).unwrap(),
        }
    }

    fn recognised(terms: &Terms) -> Option<op::Rotary> {
        let (turns, own) = turns(terms, ROWS * WIDTH)?;
        assert!(super::super::view::is_run(&own, 0));
        rotation(&turns, WIDTH)
    }

    #[test]
    fn both_layouts_of_a_rotation_are_recognised() {
        for (pairs, interleaved) in [([(0, 2), (1, 3)], false), ([(0, 1), (2, 3)], true)] {
            let rotation = recognised(&turned(pairs)).unwrap();
            assert_eq!((rotation.head_dim, rotation.pairs), (4, 2));
            assert_eq!(rotation.interleaved, interleaved);
            let (sin, cos) = (1.0f32).sin_cos();
            assert_eq!(rotation.table[2 * 2], [2f32.cos(), 2f32.sin()]);
            assert_eq!(rotation.table[2 * 2 + 1], [cos, sin]);
        }
    }

    #[test]
    fn a_shear_is_no_rotation() {
        let mut terms = turned([(0, 2), (1, 3)]);
        terms.elements[[1, 0]][1].1 *= -1.0;
        assert!(recognised(&terms).is_none());
        let mut terms = turned([(0, 2), (1, 3)]);
        terms.elements[[2, 4]][0].1 = 0.25;
        assert!(recognised(&terms).is_none());
    }

    #[test]
    fn more_than_two_terms_are_refused() {
        let view =
            |p: u32| Terms::of(&View::of(ValueId(0), &[1], vec![p]), &Function::Input).unwrap();
        let two = view(0).plus(&view(1), 1.0).unwrap();
        assert!(two.plus(&view(1), 1.0).is_some());
        assert!(two.plus(&view(2), 1.0).is_none());
    }
}
