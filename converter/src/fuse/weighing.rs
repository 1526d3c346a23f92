//! Products of softmax weights and values: which row of weights weighs which values.

use super::dots::{Dots, Vectors};
use super::matcher::{Matcher, Origin};
use crate::graph::{Node, Op};
use std::collections::HashMap;

/// A row of weights and the values that it weighs.
pub struct Use {
    /// Row of the softmax.
    pub row: usize,
    /// For each channel of the result the number of its vector of values.
    pub columns: Vec<u32>,
    /// For each element of the row the place of its value in those vectors.
    pub order: Vec<u32>,
}

/// A product of softmax weights and values.
pub struct Weighing<'g> {
    /// The softmax.
    pub softmax: &'g Node,
    /// The product.
    pub product: &'g Node,
    /// Vectors over the keys, one for each channel.
    pub values: Vectors,
    /// Rows of weights in the order in which the product has them.
    pub uses: Vec<Use>,
    /// For each element of the product its use and its channel.
    pub place: Vec<(u32, u32)>,
    /// Elements of a row of weights.
    pub keys: usize,
}

impl<'g> Weighing<'g> {
    /// Reads a node as such a product.
    pub fn of(matcher: &Matcher<'g>, product: &'g Node) -> Option<Self> {
        let weights = |origin: &Origin| {
            let producer = matcher.producer(origin.base)?;
            matches!(producer.op, Op::Softmax(_)).then_some(producer)
        };
        let inputs = match product.op {
            Op::Reduce(_) => {
                let terms = matcher.producer(matcher.moved(product.inputs[0]).base)?;
                &terms.inputs
            }
            _ => &product.inputs,
        };
        // Cheap to ask first: most products have no softmax.
        inputs
            .iter()
            .find_map(|&input| weights(&matcher.moved(input)))?;
        let dots = Dots::of(matcher, product, &|value| matcher.moved(value))?;
        let side = dots
            .sides
            .iter()
            .position(|side| weights(&side.origin).is_some())?;
        let softmax = weights(&dots.sides[side].origin)?;
        let keys = matcher.graph.values[softmax.output.0].channels();
        let [left, right] = dots.sides;
        let (rows, values) = match side {
            0 => (left, right),
            _ => (right, left),
        };
        if dots.factor != 1.0 || rows.width != keys {
            return None;
        }
        let (mut uses, mut numbers): (Vec<Use>, _) = (Vec::new(), HashMap::new());
        let mut place = Vec::new();
        for pair in &dots.of {
            let (row, column) = (pair[side], pair[1 - side]);
            let number = match numbers.get(&row) {
                Some(&number) => number,
                None => {
                    uses.push(row_of(rows.at(row), keys)?);
                    numbers.insert(row, uses.len() - 1);
                    uses.len() - 1
                }
            };
            place.push((number as u32, uses[number].columns.len() as u32));
            uses[number].columns.push(column);
        }
        let channels = uses.first()?.columns.len();
        let alike = uses.iter().all(|row| row.columns.len() == channels);
        alike.then_some(Self {
            softmax,
            product,
            values,
            uses,
            place,
            keys,
        })
    }
}

/// The row of a softmax that a vector reads whole, in any order.
fn row_of(vector: &[u32], keys: usize) -> Option<Use> {
    let row = *vector.first()? as usize / keys;
    let mut order = vec![u32::MAX; keys];
    for (at, &element) in vector.iter().enumerate() {
        let key = (element as usize).checked_sub(row * keys)?;
        *order.get_mut(key)? = at as u32;
    }
    let whole = !order.contains(&u32::MAX);
    whole.then_some(Use {
        row,
        columns: Vec::new(),
        order,
    })
}
