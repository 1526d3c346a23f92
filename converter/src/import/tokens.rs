//! Numbers of tokens, which an input of the model holds: they are looked up in tables, also plus constants, and compared with constants, which
//! is a table, too.

use super::node::OnnxNode;
use super::view::View;
use super::{Importer, Item};
use crate::error::Result;
use crate::graph::op;
use crate::reference::to_i64;
use crate::shapes::{looks_up_by, moved};
use ndarray::{ArrayD, Axis, IxDyn};
use std::collections::BTreeMap;

/// Rows that all parts of one table have together, at most, as a multiple of its own.
const MOST: usize = 8;

impl Importer<'_> {
    /// An input that holds tokens, and what is added to each.
    pub(super) fn tokens(&self, node: &OnnxNode, input: usize) -> Option<(View, Vec<i64>)> {
        match self.items.get(node.inputs.get(input)?)? {
            Item::View(view) => {
                let known = self.graph.tokens.contains(&view.base);
                let tokens = known
                    .then(|| view.clone())
                    .or_else(|| self.as_tokens(view))?;
                Some((tokens, vec![0; view.position.len()]))
            }
            Item::Shifted(view, by) => Some((view.clone(), by.clone())),
            _ => None,
        }
    }

    /// The tokens that numbers of places stand for.
    pub(super) fn as_tokens(&self, numbers: &View) -> Option<View> {
        let &(base, _) = self.places.get(&numbers.base)?;
        Some(View {
            base,
            ..numbers.clone()
        })
    }

    /// Tokens plus or minus constants; false for anything else.
    pub(super) fn shifted_tokens(&mut self, node: &OnnxNode) -> Result<bool> {
        let moves = crate::shapes::MOVES.contains(&node.op) || node.op == "Cast";
        if moves && let Some(Item::Shifted(view, by)) = self.items.get(&node.inputs[0]).cloned() {
            return self.moved_tokens(node, view, &by);
        }
        let sign = match node.op {
            "Add" => 1,
            "Sub" => -1,
            _ => return Ok(false),
        };
        let side = usize::from(node.op == "Add" && self.tokens(node, 0).is_none());
        let (Some((tokens, by)), Some(added)) =
            (self.tokens(node, side), self.whole_numbers(node, 1 - side))
        else {
            return Ok(false);
        };
        let shape = self.shape_of(&node.output);
        let index = View::whole(tokens.base, tokens.shape()).repeated(&shape);
        let by = index.positions().into_iter().map(|at| by[at as usize]);
        let by = by
            .zip(broadcast(&added, &shape))
            .map(|(by, added)| by + sign * added);
        let item = Item::Shifted(tokens.repeated(&shape), by.collect());
        self.items.insert(node.output.clone(), item);
        Ok(true)
    }

    /// The same move of the tokens and of what is added to them.
    fn moved_tokens(&mut self, node: &OnnxNode, view: View, by: &[i64]) -> Result<bool> {
        // Positions of the elements themselves take the way that the node gives to any tensor.
        let plain = View::whole(view.base, view.shape());
        self.items.insert(node.inputs[0].clone(), Item::View(plain));
        let moved = self.recognised(node);
        self.items.insert(
            node.inputs[0].clone(),
            Item::Shifted(view.clone(), by.to_vec()),
        );
        moved?;
        let tokens = view.positions();
        for output in node.outputs.iter().filter(|name| !name.is_empty()) {
            if let Some(Item::View(index)) = self.items.get(output).cloned() {
                let places = index.positions();
                let kept = places.iter().map(|&at| tokens[at as usize]).collect();
                let own = places.iter().map(|&at| by[at as usize]).collect();
                let moved = View::of(view.base, index.shape(), kept);
                self.items.insert(output.clone(), Item::Shifted(moved, own));
            }
        }
        Ok(true)
    }

    /// A constant of whole numbers, with its shape.
    fn whole_numbers(&self, node: &OnnxNode, input: usize) -> Option<ArrayD<i64>> {
        let name = node.inputs.get(input)?;
        if self.dynamic.contains(name) || !self.is_integer(name) {
            return None;
        }
        let tensor = self.values.get(name)?;
        ArrayD::from_shape_vec(IxDyn(tensor.shape()), to_i64(tensor)?).ok()
    }

    /// Rows of a constant table, picked by tokens; false for anything else.
    pub(super) fn embedding(&mut self, node: &OnnxNode) -> Result<bool> {
        let (Some(table), Some((tokens, by))) = (self.weight(node, 0)?, self.tokens(node, 1))
        else {
            return Ok(false);
        };
        let form = || {
            node.form("an embedding must be a table [tokens, channels] read by an integer input of the model, or by adjacent rows of one")
        };
        if table.ndim() != 2 || node.int("axis", 0) != 0 {
            return Err(form());
        }
        let (count, channels) = (table.shape()[0], table.shape()[1]);
        let mut shape = tokens.shape().to_vec();
        shape.push(channels);
        let places = tokens.positions();
        if by.iter().all(|&by| by == 0) {
            let base = self.rows_of(tokens.base, &places, 1).ok_or_else(form)?;
            let view = View::whole(self.next_value(), &shape);
            let dims = [tokens.position.len(), channels];
            let op = op::Embedding { table };
            self.add_node(node, op.into(), vec![base], &dims, view);
            return Ok(true);
        }
        // Tokens to which one number is added read one part of the table.
        let mut parts: BTreeMap<i64, Vec<usize>> = BTreeMap::new();
        for (at, &by) in by.iter().enumerate() {
            parts.entry(by).or_default().push(at);
        }
        let rows = |by: i64| usize::try_from(count as i64 - by).unwrap_or(0);
        if parts.keys().map(|&by| rows(by)).sum::<usize>() > MOST * count {
            return Err(node.form(format!(
                "{} numbers are added to tokens that are looked up in one table of {count} rows: give each its own table, or add them before \
                 the model",
                parts.len()
            )));
        }
        let (mut views, mut order) = (Vec::new(), vec![0; places.len()]);
        let mut done = 0;
        for (by, group) in parts {
            let own: Vec<u32> = group.iter().map(|&at| places[at]).collect();
            let base = self.rows_of(tokens.base, &own, 1).ok_or_else(form)?;
            let row = |token: usize| match token as i64 + by {
                at if at < 0 => (at + count as i64).max(0) as usize,
                at => at as usize,
            };
            let rows: Vec<usize> = (0..rows(by)).map(row).collect();
            let table = table.select(Axis(0), &rows);
            let dims = [group.len(), channels];
            views.push(self.part(node, "rows", op::Embedding { table }, vec![base], &dims));
            for (number, at) in group.into_iter().enumerate() {
                order[at] = done + number;
            }
            done += dims[0];
        }
        let joined = self.joined(node, views, 0)?;
        self.give(node, joined.selected(0, &order).reshaped(&shape))?;
        Ok(true)
    }

    /// A comparison of tokens with constants: a table over the vocabulary, with a column for each number.
    pub(super) fn told_by_table(&mut self, node: &OnnxNode) -> Result<Option<View>> {
        let mut sides = [0, 1].into_iter();
        let Some(side) = sides.find(|&side| self.tokens(node, side).is_some()) else {
            return Ok(None);
        };
        let form = || {
            node.form("tokens compared with anything but constants, or without an embedding that tells how many there are")
        };
        let (tokens, by) = self.tokens(node, side).ok_or_else(form)?;
        let other = self.whole_numbers(node, 1 - side).ok_or_else(form)?;
        let count = self.vocabulary(&tokens).ok_or_else(form)?;
        let shape = self.shape_of(&node.output);
        let index = View::whole(tokens.base, tokens.shape())
            .repeated(&shape)
            .positions();
        // What a token is compared with, less what is added to it.
        let numbers: Vec<i64> = (broadcast(&other, &shape).zip(&index))
            .map(|(number, &at)| number - by[at as usize])
            .collect();
        let mut columns = numbers.clone();
        columns.sort_unstable();
        columns.dedup();
        let holds = |token: i64, number: i64| {
            let (a, b) = if side == 0 {
                (token, number)
            } else {
                (number, token)
            };
            match node.op {
                "Equal" => Some(a == b),
                "Less" => Some(a < b),
                "LessOrEqual" => Some(a <= b),
                "Greater" => Some(a > b),
                "GreaterOrEqual" => Some(a >= b),
                _ => None,
            }
        };
        let told =
            (0..count as i64).flat_map(|token| columns.iter().map(move |&number| (token, number)));
        let told = told.map(|(token, number)| Some(f32::from(u8::from(holds(token, number)?))));
        let told: Vec<f32> = told.collect::<Option<_>>().ok_or_else(form)?;
        let width = columns.len();
        let table = ArrayD::from_shape_vec(IxDyn(&[count, width]), told);
        let table = table.map_err(|_| node.unsupported())?;
        let rows = self.graph.values[tokens.base.0].len();
        let op = op::Embedding { table };
        let all = self.part(node, "told", op, vec![tokens.base], &[rows, width]);
        let places = tokens.positions();
        let place = |(at, number): (&u32, &i64)| {
            let column = columns.binary_search(number).unwrap_or(0);
            places[*at as usize] * width as u32 + column as u32
        };
        let positions = index.iter().zip(&numbers).map(place).collect();
        Ok(Some(View::of(all.base, &shape, positions)))
    }

    /// How many tokens there are, from the tables that they are looked up in.
    fn vocabulary(&self, tokens: &View) -> Option<usize> {
        let mut picked = self.places.values();
        if let Some(&(_, count)) = picked.find(|(base, _)| *base == tokens.base) {
            return Some(count);
        }
        let graph = self.reference.graph();
        let names = moved(graph, &self.graph.values[tokens.base.0].name);
        let lookups = graph.node.iter().filter(|node| looks_up_by(node, &names));
        let tables = lookups.filter_map(|lookup| self.values.get(lookup.input.first()?));
        tables
            .filter_map(|table| table.shape().first().copied())
            .min()
    }
}

/// The elements of a constant that is broadcast to a shape.
fn broadcast<'c>(constant: &'c ArrayD<i64>, shape: &[usize]) -> impl Iterator<Item = i64> + 'c {
    let whole = constant.broadcast(IxDyn(shape));
    let all: Vec<i64> = whole.map_or_else(Vec::new, |whole| whole.iter().copied().collect());
    all.into_iter()
}
