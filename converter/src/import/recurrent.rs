//! Recurrent layers with constant weights, one node of the graph for each direction. [`crate::spelling`] leaves one sequence in each, whole
//! and with time first.

use super::node::OnnxNode;
use super::view::{PADDING, View};
use super::{Importer, Item};
use crate::error::{ConvertError, Result};
use crate::graph::{Node, Op, ValueId, op};
use crate::spelling::recurrent::{FIRST_CELL, FIRST_STATE, Form, PEEPHOLES};
use ndarray::{ArrayD, Axis};

/// One direction of a recurrent layer.
struct Direction {
    reverse: bool,
    output: ValueId,
    cell: Option<ValueId>,
}

impl Importer<'_> {
    pub(super) fn recurrent(&mut self, node: &OnnxNode) -> Result<()> {
        let form = Form::of(node.proto()).map_err(|reason| node.form(reason))?;
        let mut parts = Vec::new();
        for (number, &reverse) in form.reverse.iter().enumerate() {
            parts.push(self.direction(node, &form, number, reverse)?);
        }
        self.rows_of_recurrent(node, &parts)?;
        self.last_states(node, &parts)?;
        self.last_cells(node, &parts)
    }

    fn direction(
        &mut self,
        node: &OnnxNode,
        form: &Form,
        number: usize,
        reverse: bool,
    ) -> Result<Direction> {
        let count = form.reverse.len();
        let x = self.view(node, 0)?;
        let rows = self.row_operand(node, &x);
        let mut inputs = vec![rows.unwrap_or_else(|_| self.plain(&x))];
        let (steps, k) = (x.shape()[0], x.shape().last().copied().unwrap_or(0));
        let gates = form.cell.gates();
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
        let weights = op::RecurrentWeights {
            w,
            r,
            bias_w: bias_w.to_vec(),
            bias_r: bias_r.to_vec(),
            reverse,
        };
        let peepholes = self.optional_weight(node, PEEPHOLES)?;
        let op: Op = match form.usual() && peepholes.is_none() {
            true if gates == 3 => op::Gru(weights).into(),
            true => op::Lstm(weights).into(),
            false => op::Recurrent {
                weights,
                cell: form.cell,
                activations: form.functions(number),
                clip: form.clip,
                peepholes: peepholes.map_or_else(Vec::new, |all| {
                    all.index_axis(Axis(0), number).iter().copied().collect()
                }),
            }
            .into(),
        };
        let mut state = self.first_state(node, FIRST_STATE, number)?;
        let mut cell = self.first_state(node, FIRST_CELL, number)?;
        if form.cell.is_lstm() && state.is_some() != cell.is_some() {
            let zeros = self.add_first(node, number, vec![0.0; hidden]);
            state = state.or(Some(zeros));
            cell = cell.or(Some(zeros));
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
            let own = constant.index_axis(Axis(0), number);
            let own: Vec<f32> = own.iter().copied().collect();
            return Ok(match own.iter().all(|&x| x == 0.0) {
                true => None,
                false => Some(self.add_first(node, number, own)),
            });
        }
        let view = self.unscaled(node, input)?.selected(0, &[number]);
        self.row_operand(node, &view).map(Some)
    }

    /// A constant first state.
    fn add_first(&mut self, node: &OnnxNode, number: usize, values: Vec<f32>) -> ValueId {
        let name = format!("{}.first{number}.{}", node.output, self.graph.values.len());
        let dims = [values.len()];
        self.add_inner(&name, Op::Constant(op::Constant { values }), vec![], &dims)
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
