//! GRU, LSTM and RNN. With constant weights they become layers of one whole sequence each, with time first, which import understands in
//! every form. With weights that the model computes they are written step by step.
//!
//! tract ignores most attributes: for it, forms other than PyTorch's are loops ([`scans`]).

mod form;
mod step;

use super::writer::{Writer, given, graph, info, int, int_of, ints};
use crate::error::Result;
pub use form::Form;
use step::Step;
use tract_onnx::pb;

/// Most steps of all directions together that are written one by one: each is a dozen operators.
const MOST_STEPS: usize = 128;
/// Most sequences in one layer.
const MOST_SEQUENCES: usize = 64;

/// ONNX inputs.
const BIAS: usize = 3;
const LENGTHS: usize = 4;
/// The state before the first step.
pub const FIRST_STATE: usize = 5;
/// The cell before the first step.
pub const FIRST_CELL: usize = 6;
/// What gates see of the cell.
pub const PEEPHOLES: usize = 7;

/// A layer.
struct Layer<'n> {
    node: &'n pb::NodeProto,
    form: Form,
    /// Rows, sequences, hidden channels.
    shape: [usize; 3],
    by_batch: bool,
}

/// What a step leaves behind; none for zeros.
#[derive(Clone, Default)]
struct State {
    h: Option<String>,
    c: Option<String>,
}

/// Writes a recurrent layer as import understands it.
///
/// # Errors
/// [`crate::error::ConvertError::UnsupportedForm`].
pub fn write(mut node: pb::NodeProto, writer: &mut Writer) -> Result<()> {
    let shape = writer.shape(&node.input[0]);
    drop_whole_lengths(&mut node, shape.as_deref(), writer);
    let by_batch = int_of(&node, "layout", 0) != 0;
    let one = shape.as_ref().is_none_or(|shape| shape.get(1) == Some(&1));
    let weights = [1, 2, BIAS, PEEPHOLES].map(|input| match given(&node.input, input) {
        None => true,
        Some(name) => writer.is_weight(name) || writer.known(name).is_some(),
    });
    let constant = weights.iter().all(|&constant| constant);
    if constant && one && !by_batch && given(&node.input, LENGTHS).is_none() {
        writer.keep(named_results(node));
        return Ok(());
    }
    writer.replace(&node);
    let layer = Layer::new(&node, shape, writer)?;
    match constant {
        true => layer.write_sequences(writer),
        false => layer.write_steps(writer),
    }
}

/// The node with a name for its rows, and for the cell where its range has to be seen.
fn named_results(mut node: pb::NodeProto) -> pb::NodeProto {
    let outputs = &mut node.output;
    let name = outputs.iter().find(|name| !name.is_empty()).cloned();
    let Some(name) = name else { return node };
    if outputs[0].is_empty() {
        outputs[0] = format!("{name}.rows");
    }
    let bounded = Form::of(&node).is_ok_and(|form| form.usual() || !form.cell.is_lstm());
    if !bounded && given(&node.output, 2).is_none() {
        node.output.resize(3, String::new());
        node.output[2] = format!("{name}.cell");
    }
    node
}

/// Lengths that say that all sequences are whole are left out.
fn drop_whole_lengths(node: &mut pb::NodeProto, shape: Option<&[usize]>, writer: &mut Writer) {
    let axis = usize::from(int_of(node, "layout", 0) != 0);
    let (Some(name), Some(shape)) = (given(&node.input, LENGTHS), shape) else {
        return;
    };
    let lengths = writer.known_integers(name);
    let steps = shape.get(axis).map(|&steps| steps as i64);
    if lengths.is_some_and(|lengths| lengths.iter().all(|&length| Some(length) == steps)) {
        node.input[LENGTHS].clear();
    }
}

/// For tract: recurrent layers in forms that it does not have, as loops.
///
/// # Errors
/// [`crate::error::ConvertError::UnsupportedForm`].
pub fn scans(model: &mut pb::ModelProto, folder: &str) -> Result<()> {
    let is_foreign = |node: &pb::NodeProto| {
        let usual = || Form::of(node).is_ok_and(|form| form.usual());
        ["GRU", "LSTM", "RNN"].contains(&&*node.op_type)
            && (given(&node.input, PEEPHOLES).is_some() || !usual())
    };
    let graph = model.graph.get_or_insert_default();
    if !graph.node.iter().any(is_foreign) {
        return Ok(());
    }
    let nodes = std::mem::take(&mut graph.node);
    let outputs = std::mem::take(&mut graph.output);
    let mut writer = Writer::new(model, folder, &outputs);
    for node in nodes {
        if !is_foreign(&node) {
            writer.keep(node);
            continue;
        }
        let shape = writer.shape(&node.input[0]);
        writer.replace(&node);
        Layer::new(&node, shape, &mut writer)?.write_scans(&mut writer)?;
    }
    if let Some(graph) = &mut model.graph {
        graph.output = outputs;
    }
    Ok(())
}

impl<'n> Layer<'n> {
    fn new(node: &'n pb::NodeProto, x: Option<Vec<usize>>, writer: &mut Writer) -> Result<Self> {
        let form = Form::of(node).map_err(|reason| writer.form(node, reason))?;
        let by_batch = int_of(node, "layout", 0) != 0;
        let r = writer.shape(&node.input[2]);
        let (Some(&[a, b, _]), Some(&[_, _, hidden])) = (x.as_deref(), r.as_deref()) else {
            let reason = "the shapes of its input and weights are unknown; run onnx.shape_inference on the file";
            return Err(writer.form(node, reason));
        };
        let (steps, batch) = if by_batch { (b, a) } else { (a, b) };
        Ok(Self {
            node,
            form,
            shape: [steps, batch, hidden],
            by_batch,
        })
    }

    /// The input, with time first.
    fn rows(&self, writer: &mut Writer) -> String {
        let x = &self.node.input[0];
        match self.by_batch {
            true => writer.transpose(x, &[1, 0, 2]),
            false => x.clone(),
        }
    }

    /// Results, of which each has parts along an axis, under the names of the node's outputs.
    fn give(&self, parts: [(&[String], i64); 3], writer: &mut Writer) {
        let orders = [&[2, 0, 1, 3][..], &[1, 0, 2], &[1, 0, 2]];
        for (at, ((parts, axis), order)) in parts.into_iter().zip(orders).enumerate() {
            let Some(output) = given(&self.node.output, at) else {
                continue;
            };
            let mut joined = writer.concat(parts, axis);
            if self.by_batch {
                joined = writer.transpose(&joined, order);
            }
            writer.give(&joined, Some(output));
        }
    }

    /// A layer for each sequence.
    fn write_sequences(&self, writer: &mut Writer) -> Result<()> {
        let [steps, batch, _] = self.shape;
        if batch > MOST_SEQUENCES {
            let reason = format!(
                "{batch} sequences at once, at most {MOST_SEQUENCES}: convert the model for one"
            );
            return Err(writer.form(self.node, reason));
        }
        let lengths = lengths(self.node, [steps, batch], writer)?;
        let x = self.rows(writer);
        let (mut rows, mut states, mut cells) = (Vec::new(), Vec::new(), Vec::new());
        for (number, &length) in lengths.iter().enumerate() {
            let mut own = writer.places(&x, 1, number..number + 1);
            if length < steps {
                own = writer.places(&own, 0, 0..length);
            }
            let mut node = self.node.clone();
            node.name = format!("{}/{number}", node.name);
            node.attribute
                .retain(|attribute| attribute.name != "layout");
            node.input[0] = own;
            for input in [FIRST_STATE, FIRST_CELL] {
                if let Some(name) = given(&self.node.input, input) {
                    let axis = if self.by_batch { 0 } else { 1 };
                    let first = writer.places(name, axis, number..number + 1);
                    node.input[input] = match self.by_batch {
                        true => writer.transpose(&first, &[1, 0, 2]),
                        false => first,
                    };
                }
            }
            if let Some(lengths) = node.input.get_mut(LENGTHS) {
                lengths.clear();
            }
            let outputs = ["rows", "state", "cell"].map(|what| writer.fresh(what));
            let kept = if self.form.cell.is_lstm() { 3 } else { 2 };
            node.output = outputs[..kept].to_vec();
            writer.keep(node);
            let [own, state, cell] = outputs;
            rows.push(match steps - length {
                0 => own,
                rest => writer.pad_end(&own, &[rest as i64, 0, 0, 0]),
            });
            states.push(state);
            cells.push(cell);
        }
        self.give([(&rows, 2), (&states, 1), (&cells, 1)], writer);
        Ok(())
    }

    /// Every step of every direction.
    fn write_steps(&self, writer: &mut Writer) -> Result<()> {
        let [steps, batch, hidden] = self.shape.map(|size| size as i64);
        if self.shape[0] * self.form.reverse.len() > MOST_STEPS {
            let reason = format!(
                "{steps} steps with weights that the model computes, for at most {MOST_STEPS}: make W, R and B constant"
            );
            return Err(writer.form(self.node, reason));
        }
        let lengths = lengths(self.node, [self.shape[0], self.shape[1]], writer)?;
        let length = lengths.first().copied().unwrap_or(0);
        if lengths.iter().any(|&other| other != length) {
            let reason = "sequences of different lengths at once, with weights that the model computes: convert the model for one sequence";
            return Err(writer.form(self.node, reason));
        }
        let x = self.rows(writer);
        let results =
            self.each_direction(&x, writer, |step, rows, mut state, reverse, writer| {
                let mut results = vec![String::new(); length];
                for number in 0..length {
                    let at = if reverse { length - 1 - number } else { number };
                    let row = writer.at(&rows, 0, at);
                    state = step.write(row, state, writer)?;
                    results[at] = state.h.clone().unwrap_or_default();
                }
                let rows: Vec<String> = (results.iter())
                    .map(|row| writer.reshape(row, &[1, 1, batch, hidden]))
                    .collect();
                let rows = writer.concat(&rows, 0);
                let rows = match steps - length as i64 {
                    0 => rows,
                    rest => writer.pad_end(&rows, &[rest, 0, 0, 0]),
                };
                Ok((rows, state))
            })?;
        self.give_directions(&results, writer);
        Ok(())
    }

    /// A loop for every direction.
    fn write_scans(&self, writer: &mut Writer) -> Result<()> {
        let [steps, batch, hidden] = self.shape;
        let x = self.node.input[0].clone();
        let results = self.each_direction(&x, writer, |step, rows, state, reverse, writer| {
            let channels = self.form.cell.gates() * hidden;
            let names = ["h", "c", "row"].map(|what| writer.fresh(what));
            let lstm = self.form.cell.is_lstm();
            let inside = State {
                h: Some(names[0].clone()),
                c: lstm.then(|| names[1].clone()),
            };
            let (results, mut body) = writer.apart(|writer| {
                let next = step.write(names[2].clone(), inside, writer)?;
                let h = next.h.unwrap_or_default();
                let copy = writer.add("Identity", &[&h], vec![]);
                Ok([Some(h), next.c, Some(copy)])
            })?;
            let wide = |name: &String, channels| info(name, &[batch, channels]);
            let states = if lstm { &names[..2] } else { &names[..1] };
            body.input = states.iter().map(|name| wide(name, hidden)).collect();
            body.input.push(wide(&names[2], channels));
            let outputs = results.iter().flatten();
            body.output = outputs.map(|name| wide(name, hidden)).collect();
            let zeros = writer.constant(&[batch, hidden], &vec![0.0; batch * hidden]);
            let first = [Some(state.h), lstm.then_some(state.c)]
                .into_iter()
                .flatten();
            let mut inputs: Vec<String> = first.map(|name| name.unwrap_or(zeros.clone())).collect();
            inputs.push(rows);
            let outputs = ["h", "c", "rows"].map(|what| writer.fresh(what));
            let [h, c, rows] = outputs.clone();
            let (mut output, directions) = (vec![h.clone()], [i64::from(reverse)]);
            output.extend(lstm.then(|| c.clone()));
            output.push(rows.clone());
            writer.keep(pb::NodeProto {
                name: format!("{h}/scan"),
                op_type: "Scan".into(),
                input: inputs,
                output,
                attribute: vec![
                    int("num_scan_inputs", 1),
                    graph("body", body),
                    ints("scan_input_directions", &directions),
                    ints("scan_output_directions", &directions),
                ],
                ..Default::default()
            });
            let shape = [steps, 1, batch, hidden].map(|size| size as i64);
            let rows = writer.reshape(&rows, &shape);
            let c = lstm.then_some(c);
            Ok((rows, State { h: Some(h), c }))
        })?;
        self.give_directions(&results, writer);
        Ok(())
    }

    /// Rows `[steps, 1, batch, hidden]` and last states of every direction, as `run` makes them of its step, of its part of the
    /// pre-activations, of its first state and of whether it runs backwards.
    fn each_direction(
        &self,
        x: &String,
        writer: &mut Writer,
        mut run: impl FnMut(&Step, String, State, bool, &mut Writer) -> Result<(String, State)>,
    ) -> Result<Vec<(String, State)>> {
        let mut results = Vec::new();
        for (number, &reverse) in self.form.reverse.iter().enumerate() {
            let own = |writer: &mut Writer, input: usize| {
                let name = given(&self.node.input, input)?;
                Some(writer.at(name, 0, number))
            };
            let (Some(w), Some(r)) = (own(writer, 1), own(writer, 2)) else {
                return Err(writer.form(self.node, "it has no weights"));
            };
            let step = Step {
                layer: self,
                gates: self.form.cell.gates(),
                r,
                bias: own(writer, BIAS),
                peepholes: own(writer, PEEPHOLES),
                activations: self.form.activations(number),
            };
            let rows = step.of_input(x, &w, writer);
            let first = |input: usize, writer: &mut Writer| {
                let name = given(&self.node.input, input)?;
                Some(writer.at(name, i64::from(self.by_batch), number))
            };
            let state = State {
                h: first(FIRST_STATE, writer),
                c: first(FIRST_CELL, writer),
            };
            results.push(run(&step, rows, state, reverse, writer)?);
        }
        Ok(results)
    }

    fn give_directions(&self, results: &[(String, State)], writer: &mut Writer) {
        let [_, batch, hidden] = self.shape.map(|size| size as i64);
        let rows: Vec<String> = results.iter().map(|(rows, _)| rows.clone()).collect();
        let mut last = |value: fn(&State) -> &Option<String>| -> Vec<String> {
            let values = results
                .iter()
                .filter_map(|(_, state)| value(state).as_ref());
            values
                .map(|value| writer.reshape(value, &[1, batch, hidden]))
                .collect()
        };
        let (states, cells) = (last(|state| &state.h), last(|state| &state.c));
        self.give([(&rows, 1), (&states, 0), (&cells, 0)], writer);
    }
}

/// The length of every sequence.
fn lengths(
    node: &pb::NodeProto,
    [steps, batch]: [usize; 2],
    writer: &mut Writer,
) -> Result<Vec<usize>> {
    let Some(name) = given(&node.input, LENGTHS) else {
        return Ok(vec![steps; batch]);
    };
    let Some(lengths) = writer.known_integers(name) else {
        let reason = "sequence lengths that the model computes: export an axis of dynamic length, the chip then processes no more than there is";
        return Err(writer.form(node, reason));
    };
    let valid = |&length: &i64| {
        usize::try_from(length)
            .ok()
            .filter(|length| (1..=steps).contains(length))
    };
    let found: Option<Vec<usize>> = lengths.iter().map(valid).collect();
    match found.filter(|found| found.len() == batch) {
        Some(found) => Ok(found),
        None => Err(writer.form(
            node,
            format!("sequence lengths {lengths:?} for {batch} sequences of {steps} steps"),
        )),
    }
}
