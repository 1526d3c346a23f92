//! Recurrent layers that the runtime has: GRU and LSTM, one node of the graph for each direction. Other forms come here written out by
//! [`crate::spelling`].

use super::node::OnnxNode;
use super::view::{PADDING, View};
use super::{Importer, Item};
use crate::error::{ConvertError, Result};
use crate::graph::{Node, Op, ValueId, op};
use ndarray::{ArrayD, Axis};

/// ONNX inputs of a recurrent node.
const FIRST_STATE: usize = 5;
const FIRST_CELL: usize = 6;

/// One direction of a recurrent layer.
struct Direction {
    reverse: bool,
    output: ValueId,
    cell: Option<ValueId>,
}

impl Importer<'_> {
    pub(super) fn recurrent(&mut self, node: &OnnxNode) -> Result<()> {
        let directions: &[bool] = match node.string("direction").as_deref() {
            None | Some("forward") => &[false],
            Some("reverse") => &[true],
            Some("bidirectional") => &[false, true],
            Some(other) => return Err(node.form(format!("unknown direction `{other}`"))),
        };
        let mut parts = Vec::new();
        for (number, &reverse) in directions.iter().enumerate() {
            parts.push(self.direction(node, number, reverse, directions.len())?);
        }
        self.rows_of_recurrent(node, &parts)?;
        self.last_states(node, &parts)?;
        self.last_cells(node, &parts)
    }

    fn direction(
        &mut self,
        node: &OnnxNode,
        number: usize,
        reverse: bool,
        count: usize,
    ) -> Result<Direction> {
        let x = self.view(node, 0)?;
        let rows = self.row_operand(node, &x);
        let mut inputs = vec![rows.unwrap_or_else(|_| self.plain(&x))];
        let (steps, k) = (x.shape()[0], x.shape().last().copied().unwrap_or(0));
        let gates = if node.op == "GRU" { 3 } else { 4 };
        let part = |array: Option<ArrayD<f32>>, what: &str| {
            let array = array.ok_or_else(|| node.form(format!("{what} must be constant")))?;
            Ok::<_, ConvertError>(array.index_axis_move(Axis(0), number))
        };
        let w = part(self.weight(node, 1)?, "W")? * x.factor;
        let r = part(self.weight(node, 2)?, "R")?;
        let hidden = r.shape().last().copied().unwrap_or(0);
        if w.shape() != [gates * hidden, k] {
            return Err(node.form(format!("W must be [{}, {k}]", gates * hidden)));
        }
        let bias: Vec<f32> = match self.optional_weight(node, 3)? {
            Some(bias) => bias.index_axis(Axis(0), number).iter().copied().collect(),
            None => vec![0.0; 2 * gates * hidden],
        };
        let (bias_w, bias_r) = bias.split_at(gates * hidden);
        let layer = op::Recurrent {
            w,
            r,
            bias_w: bias_w.to_vec(),
            bias_r: bias_r.to_vec(),
            reverse,
        };
        let op: Op = match gates {
            3 => op::Gru(layer).into(),
            _ => op::Lstm(layer).into(),
        };
        let state = self.first_state(node, FIRST_STATE, number)?;
        let cell = self.first_state(node, FIRST_CELL, number)?;
        if node.op == "LSTM" && state.is_some() != cell.is_some() {
            return Err(node.form("state and cell must both be given, or both be zero"));
        }
        inputs.extend(state.into_iter().chain(cell));
        let name = |what: &str| match (count, reverse) {
            (1, _) => format!("{}{what}", node.output),
            (_, false) => format!("{}.forward{what}", node.output),
            (_, true) => format!("{}.backward{what}", node.output),
        };
        // Y is [steps, directions, 1, hidden].
        let of_direction = |at: usize| {
            let (row, direction, unit) = (at / (count * hidden), at / hidden % count, at % hidden);
            if direction == number {
                (row * hidden + unit) as u32
            } else {
                PADDING
            }
        };
        let output = self.add_part(
            &name(""),
            &node.output,
            &[steps, hidden],
            (0..steps * count * hidden).map(of_direction).collect(),
        );
        let cells = node.outputs.get(2).filter(|name| !name.is_empty());
        let second = cells.map(|onnx| {
            let unit = |at: usize| {
                if at / hidden == number {
                    (at % hidden) as u32
                } else {
                    PADDING
                }
            };
            let position = (0..count * hidden).map(unit).collect();
            self.add_part(&name(".cell"), onnx, &[hidden], position)
        });
        self.graph.nodes.push(Node {
            name: if count == 1 {
                node.name.clone()
            } else {
                format!(
                    "{}.{}",
                    node.name,
                    if reverse { "backward" } else { "forward" }
                )
            },
            op,
            inputs,
            output,
            second,
        });
        Ok(Direction {
            reverse,
            output,
            cell: second,
        })
    }

    /// The initial state of a direction; `None` for zero.
    fn first_state(
        &mut self,
        node: &OnnxNode,
        input: usize,
        number: usize,
    ) -> Result<Option<ValueId>> {
        if node.inputs.get(input).is_none_or(|name| name.is_empty()) {
            return Ok(None);
        }
        if let Some(constant) = self.weight(node, input)? {
            return match constant.iter().all(|&x| x == 0.0) {
                true => Ok(None),
                false => Err(node.form("the first state must be zero, or be computed or given")),
            };
        }
        let view = self.unscaled(node, input)?.selected(0, &[number]);
        self.row_operand(node, &view).map(Some)
    }

    /// Y `[steps, directions, 1, hidden]`.
    fn rows_of_recurrent(&mut self, node: &OnnxNode, parts: &[Direction]) -> Result<()> {
        let shape = self.shape_of(&node.output);
        if let [only] = parts {
            let view = View::whole(only.output, &shape);
            self.items.insert(node.output.clone(), Item::View(view));
            return Ok(());
        }
        let inputs: Vec<ValueId> = parts.iter().map(|part| part.output).collect();
        let dims = [shape[0], shape.iter().skip(1).product()];
        let view = View::whole(self.next_value(), &shape);
        self.add_node(node, Op::Concat(op::Concat), inputs, &dims, view);
        Ok(())
    }

    /// Y_h `[directions, 1, hidden]`: the last row that each direction computes.
    fn last_states(&mut self, node: &OnnxNode, parts: &[Direction]) -> Result<()> {
        let Some(name) = node
            .outputs
            .get(1)
            .filter(|name| self.uses.contains_key(*name))
        else {
            return Ok(());
        };
        let mut rows = Vec::new();
        for part in parts {
            let value = &self.graph.values[part.output.0];
            let hidden = value.channels();
            let row = if part.reverse { 0 } else { value.rows() - 1 };
            let first = (row * hidden) as u32;
            let position: Vec<u32> = (first..first + hidden as u32).collect();
            let found = self.rows_of(part.output, &position, hidden);
            rows.push(found.ok_or_else(|| node.unsupported())?);
        }
        self.joined_states(node, name, rows)
    }

    /// Y_c `[directions, 1, hidden]`.
    fn last_cells(&mut self, node: &OnnxNode, parts: &[Direction]) -> Result<()> {
        let Some(name) = node
            .outputs
            .get(2)
            .filter(|name| self.uses.contains_key(*name))
        else {
            return Ok(());
        };
        let cells = parts.iter().filter_map(|part| part.cell).collect();
        self.joined_states(node, name, cells)
    }

    fn joined_states(&mut self, node: &OnnxNode, name: &str, rows: Vec<ValueId>) -> Result<()> {
        let shape = self.shape_of(name);
        let base = match rows[..] {
            [only] => only,
            _ => {
                let len = shape.iter().product::<usize>();
                let output = self.add_part(name, name, &[len], (0..len as u32).collect());
                self.graph.nodes.push(Node {
                    name: format!("{}.{name}", node.name),
                    op: Op::Concat(op::Concat),
                    inputs: rows,
                    output,
                    second: None,
                });
                output
            }
        };
        self.items
            .insert(name.into(), Item::View(View::whole(base, &shape)));
        Ok(())
    }
}
