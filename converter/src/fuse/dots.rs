//! Dot products: every operator whose results each are `sum_i a[i] * b[i]`, whatever it is called.

use super::matcher::{Matcher, Origin};
use crate::graph::op::Reduction;
use crate::graph::{Node, Op, ValueId, op};
use std::collections::HashMap;

/// Vectors of one length.
pub struct Vectors {
    /// Where their elements come from, one vector after the other.
    pub origin: Origin,
    /// Elements of a vector.
    pub width: usize,
}

impl Vectors {
    /// The places of a vector's elements in the base.
    pub fn at(&self, number: u32) -> &[u32] {
        let start = number as usize * self.width;
        &self.origin.position[start..start + self.width]
    }

    /// The same vectors under numbers by content: those that are equal have one number.
    fn distinct(origin: Origin, width: usize) -> (Self, Vec<u32>) {
        let mut numbers: HashMap<&[u32], u32> = HashMap::new();
        let mut position = Vec::new();
        let number = |vector| {
            let next = numbers.len() as u32;
            *numbers.entry(vector).or_insert_with(|| {
                position.extend_from_slice(vector);
                next
            })
        };
        let of: Vec<u32> = origin.position.chunks(width.max(1)).map(number).collect();
        let origin = Origin { position, ..origin };
        (Self { origin, width }, of)
    }
}

/// How an input is followed back: [`Matcher::moved`] or [`Matcher::scaled`].
pub type Follow<'f> = &'f dyn Fn(ValueId) -> Origin;

/// True for a node that may be dot products: cheap to ask first.
pub fn is_product(node: &Node) -> bool {
    matches!(node.op, Op::MatMul(_) | Op::WeightedRows(_) | Op::Reduce(_))
}

/// A node whose results are dot products of two vectors each.
pub struct Dots {
    /// Vectors of the two sides.
    pub sides: [Vectors; 2],
    /// For each element of the result, the numbers of its two vectors.
    pub of: Vec<[u32; 2]>,
    /// Factor on every result.
    pub factor: f32,
}

impl Dots {
    /// What a node computes, if that is dot products. `origin` follows the sides back.
    pub fn of(matcher: &Matcher, node: &Node, origin: Follow) -> Option<Self> {
        match &node.op {
            Op::MatMul(product) => Some(Self::product(node, product, origin)),
            Op::WeightedRows(_) => {
                let value = |at: usize| &matcher.graph.values[at];
                let [weights, rows] = [0, 1].map(|side| value(node.inputs[side].0));
                let product = op::MatMul {
                    batch: 1,
                    m: value(node.output.0).len() / rows.channels().max(1),
                    k: weights.channels(),
                    n: rows.channels(),
                };
                Some(Self::product(node, &product, origin))
            }
            Op::Reduce(op::Reduce {
                n,
                by: Reduction::Sum,
            }) => Self::summed(matcher, node, *n, origin),
            _ => None,
        }
    }

    fn product(node: &Node, product: &op::MatMul, origin: Follow) -> Self {
        let &op::MatMul { batch, m, k, n } = product;
        let (left, right) = (origin(node.inputs[0]), origin(node.inputs[1]));
        // Columns of the right side as vectors.
        let place = |at: usize| (at / (n * k) * k + at % k) * n + at / k % n;
        let columns = (0..batch * n * k).map(|at| right.position[place(at)]);
        let right = Origin {
            position: columns.collect(),
            ..right
        };
        let pair = |at: usize| {
            let (matrix, row, column) = (at / (m * n), at / n % m, at % n);
            [(matrix * m + row) as u32, (matrix * n + column) as u32]
        };
        Self {
            sides: [left, right].map(|origin| Vectors { origin, width: k }),
            of: (0..batch * m * n).map(pair).collect(),
            factor: 1.0,
        }
    }

    /// The sum of a product, element by element.
    fn summed(matcher: &Matcher, node: &Node, n: usize, origin: Follow) -> Option<Self> {
        let terms = matcher.moved(node.inputs[0]);
        let product = matcher.producer(terms.base)?;
        let Op::Mul(op::Mul { factor }) = product.op else {
            return None;
        };
        if terms.position.contains(&Origin::ZERO) {
            return None;
        }
        let side = |side: usize| {
            let origin = origin(product.inputs[side]);
            let at = |&at: &u32| origin.position[at as usize];
            let position = terms.position.iter().map(at).collect();
            Vectors::distinct(Origin { position, ..origin }, n)
        };
        let ((left, left_of), (right, right_of)) = (side(0), side(1));
        Some(Self {
            sides: [left, right],
            of: left_of
                .into_iter()
                .zip(right_of)
                .map(|(a, b)| [a, b])
                .collect(),
            factor,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuse::testing::Build;

    #[test]
    fn a_product_and_a_sum_of_products_are_the_same_dots() {
        let mut build = Build::new();
        let (a, b) = (build.input(&[2, 3]), build.input(&[4, 3]));
        let turned = build.copy(b, &[3, 4], |at| (at % 4 * 3 + at / 4) as u32);
        let sizes = op::MatMul {
            batch: 1,
            m: 2,
            k: 3,
            n: 4,
        };
        let product = build.op(sizes, &[a, turned], &[2, 4]);
        let each = build.copy(a, &[8, 3], |at| (at / 12 * 3 + at % 3) as u32);
        let all = build.copy(b, &[8, 3], |at| (at % 12) as u32);
        let terms = build.op(op::Mul { factor: 1.0 }, &[each, all], &[8, 3]);
        let sum = op::Reduce {
            n: 3,
            by: Reduction::Sum,
        };
        let sum = build.op(sum, &[terms], &[8]);
        let graph = build.graph(&[product, sum]);
        let matcher = Matcher::new(&graph);
        let [product, sum] = [product, sum].map(|value| {
            let node = matcher.producer(value).unwrap();
            Dots::of(&matcher, node, &|value| matcher.moved(value)).unwrap()
        });
        assert_eq!(product.of, sum.of);
        for (one, other) in product.sides.iter().zip(&sum.sides) {
            assert_eq!(one.origin, other.origin);
        }
        assert_eq!(product.sides[1].at(2), [6, 7, 8]);
    }
}
