//! GRU, LSTM and RNN in forms that the runtime's layers do not have, step by step: any activation, clipping, peepholes, coupled gates,
//! sequence lengths, several sequences at once, first states that are constant, axes in the other order.

mod cell;

use super::writer::{Writer, attribute, float, given, int_of, name_of, string_of};
use crate::error::Result;
use cell::Cell;
use tract_onnx::pb;

/// Most steps of all directions together: each is a dozen operators.
const MOST_STEPS: usize = 128;

/// ONNX inputs.
const BIAS: usize = 3;
const LENGTHS: usize = 4;
const FIRST_STATE: usize = 5;
const FIRST_CELL: usize = 6;
const PEEPHOLES: usize = 7;

/// An activation function with its parameters.
#[derive(Clone, Debug, PartialEq)]
struct Activation {
    /// In lower case.
    name: String,
    alpha: f32,
    beta: f32,
}

/// A layer.
struct Layer<'n> {
    node: &'n pb::NodeProto,
    /// Backwards or not, for each direction.
    reverse: &'static [bool],
    /// Rows, sequences, hidden channels.
    shape: [usize; 3],
    /// Rows that are in use; the same for all sequences.
    length: usize,
    activations: Vec<Activation>,
    clip: Option<f32>,
    by_batch: bool,
}

/// What a step leaves behind; none for zeros.
#[derive(Clone, Default)]
struct State {
    h: Option<String>,
    c: Option<String>,
}

/// Writes a recurrent layer: as it is, if the runtime has it and `always` does not hold.
///
/// # Errors
/// [`crate::error::ConvertError::UnsupportedForm`].
pub fn write(mut node: pb::NodeProto, always: bool, writer: &mut Writer) -> Result<()> {
    let shape = writer.shape(&node.input[0]);
    drop_whole_lengths(&mut node, shape.as_deref(), writer);
    if !always && is_runtimes(&node, shape.as_deref(), writer) {
        writer.keep(node);
        return Ok(());
    }
    writer.replace(&node);
    let layer = Layer::new(&node, shape, writer)?;
    layer.write(writer)
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

/// True for the forms that import makes one operator of.
fn is_runtimes(node: &pb::NodeProto, shape: Option<&[usize]>, writer: &mut Writer) -> bool {
    let own: &[&str] = match node.op_type.as_str() {
        "GRU" if int_of(node, "linear_before_reset", 0) == 1 => &["sigmoid", "tanh"],
        "LSTM" => &["sigmoid", "tanh", "tanh"],
        _ => return false,
    };
    let listed = attribute(node, "activations").map_or(&[][..], |a| &a.strings);
    let usual = listed.iter().zip(own.iter().cycle());
    let usual = usual
        .into_iter()
        .all(|(found, own)| found.eq_ignore_ascii_case(own.as_bytes()));
    let plain = int_of(node, "input_forget", 0) == 0
        && int_of(node, "layout", 0) == 0
        && attribute(node, "clip").is_none();
    let one = shape.is_none_or(|shape| shape.get(1) == Some(&1));
    let absent = |input| given(&node.input, input).is_none();
    let paired = node.op_type == "GRU" || absent(FIRST_STATE) == absent(FIRST_CELL);
    if !(usual && plain && one && paired && absent(LENGTHS) && absent(PEEPHOLES)) {
        return false;
    }
    let mut constant = |input| match given(&node.input, input) {
        None => true,
        Some(name) => writer.is_weight(name) || writer.known(name).is_some(),
    };
    if ![1, 2, BIAS].into_iter().all(&mut constant) {
        return false;
    }
    let firsts = [FIRST_STATE, FIRST_CELL].into_iter();
    let mut firsts = firsts.filter_map(|input| given(&node.input, input));
    firsts.all(|name| match writer.known(name) {
        Some(first) => first.iter().all(|&x| x == 0.0),
        None => true,
    })
}

impl<'n> Layer<'n> {
    fn new(node: &'n pb::NodeProto, x: Option<Vec<usize>>, writer: &mut Writer) -> Result<Self> {
        let reverse: &[bool] = match string_of(node, "direction", "forward").as_str() {
            "forward" => &[false],
            "reverse" => &[true],
            "bidirectional" => &[false, true],
            other => return Err(writer.form(node, format!("unknown direction `{other}`"))),
        };
        let by_batch = int_of(node, "layout", 0) != 0;
        let r = writer.shape(&node.input[2]);
        let (Some(&[a, b, _]), Some(&[_, _, hidden])) = (x.as_deref(), r.as_deref()) else {
            let reason = "the shapes of its input and weights are unknown; run onnx.shape_inference on the file";
            return Err(writer.form(node, reason));
        };
        let (steps, batch) = if by_batch { (b, a) } else { (a, b) };
        if steps * reverse.len() > MOST_STEPS {
            let reason = format!(
                "{steps} steps in a form that is computed step by step, for at most {MOST_STEPS}; any length has the form that PyTorch \
                 exports: sigmoid and tanh, linear_before_reset = 1, one sequence, no clip, input_forget, peepholes, layout or sequence lengths"
            );
            return Err(writer.form(node, reason));
        }
        let clip = attribute(node, "clip").map(|clip| clip.f);
        if clip.is_some_and(|clip| clip.is_nan() || clip <= 0.0) {
            return Err(writer.form(node, "clip must be above 0"));
        }
        Ok(Self {
            node,
            reverse,
            shape: [steps, batch, hidden],
            length: length(node, steps, writer)?,
            activations: activations(node, reverse.len(), writer)?,
            clip,
            by_batch,
        })
    }

    /// Steps and joins of all directions; results under the names of the node's outputs.
    fn write(&self, writer: &mut Writer) -> Result<()> {
        let [steps, batch, hidden] = self.shape.map(|size| size as i64);
        let mut x = self.node.input[0].clone();
        if self.by_batch {
            x = writer.transpose(&x, &[1, 0, 2]);
        }
        let (mut all, mut last, mut cells) = (Vec::new(), Vec::new(), Vec::new());
        for number in 0..self.reverse.len() {
            let (rows, state) = self.direction(&x, number, writer)?;
            let rows: Vec<String> = (rows.iter())
                .map(|row| writer.reshape(row, &[1, 1, batch, hidden]))
                .collect();
            let rows = writer.concat(&rows, 0);
            all.push(match steps - self.length as i64 {
                0 => rows,
                rest => writer.pad_end(&rows, &[rest, 0, 0, 0]),
            });
            for (store, value) in [(&mut last, state.h), (&mut cells, state.c)] {
                if let Some(value) = value {
                    store.push(writer.reshape(&value, &[1, batch, hidden]));
                }
            }
        }
        let outputs = [
            (all, 1, [2, 0, 1, 3].as_slice()),
            (last, 0, &[1, 0, 2]),
            (cells, 0, &[1, 0, 2]),
        ];
        for (at, (parts, axis, order)) in outputs.into_iter().enumerate() {
            let Some(output) = given(&self.node.output, at) else {
                continue;
            };
            let mut joined = writer.concat(&parts, axis);
            if self.by_batch {
                joined = writer.transpose(&joined, order);
            }
            writer.give(&joined, Some(output));
        }
        Ok(())
    }

    /// The result of every step in order of time, and the state at the end.
    fn direction(
        &self,
        x: &String,
        number: usize,
        writer: &mut Writer,
    ) -> Result<(Vec<String>, State)> {
        let steps = self.shape[0];
        let own = |writer: &mut Writer, input: usize| {
            let name = given(&self.node.input, input)?;
            Some(writer.at(name, 0, number))
        };
        let (Some(w), Some(r)) = (own(writer, 1), own(writer, 2)) else {
            return Err(writer.form(self.node, "it has no weights"));
        };
        let cell = Cell {
            layer: self,
            gates: match self.node.op_type.as_str() {
                "RNN" => 1,
                "GRU" => 3,
                _ => 4,
            },
            r,
            bias: own(writer, BIAS),
            peepholes: own(writer, PEEPHOLES),
            activations: {
                let each = self.activations.len() / self.reverse.len();
                &self.activations[number * each..][..each]
            },
        };
        let rows = cell.of_input(x, &w, writer);
        let first = |input: usize, writer: &mut Writer| {
            let name = given(&self.node.input, input)?;
            Some(writer.at(name, i64::from(self.by_batch), number))
        };
        let mut state = State {
            h: first(FIRST_STATE, writer),
            c: first(FIRST_CELL, writer),
        };
        let mut results: Vec<Option<String>> = vec![None; steps];
        for step in 0..self.length {
            let at = match self.reverse[number] {
                true => self.length - 1 - step,
                false => step,
            };
            let row = writer.at(&rows, 0, at);
            state = match self.node.op_type.as_str() {
                "GRU" => cell.gru(row, state, writer)?,
                "LSTM" => cell.lstm(row, state, writer)?,
                _ => cell.rnn(row, state, writer)?,
            };
            results[at].clone_from(&state.h);
        }
        Ok((results.into_iter().flatten().collect(), state))
    }
}

impl Activation {
    /// Its default parameters, NaN for one that must be given; none for a parameter that it does not have; nothing for an unknown name.
    fn defaults(name: &str) -> Option<[Option<f32>; 2]> {
        Some(match name {
            "sigmoid" | "tanh" | "relu" | "softsign" | "softplus" => [None, None],
            // Programs disagree on what these three are without parameters.
            "affine" | "scaledtanh" => [Some(f32::NAN), Some(f32::NAN)],
            "thresholdedrelu" => [Some(f32::NAN), None],
            "leakyrelu" => [Some(0.01), None],
            "elu" => [Some(1.0), None],
            "hardsigmoid" => [Some(0.2), Some(0.5)],
            _ => return None,
        })
    }

    fn write(&self, x: &String, writer: &mut Writer) -> Result<String> {
        let (alpha, beta) = (float("alpha", self.alpha), float("beta", self.beta));
        let (op, attributes) = match self.name.as_str() {
            "sigmoid" => ("Sigmoid", vec![]),
            "tanh" => ("Tanh", vec![]),
            "relu" => ("Relu", vec![]),
            "softsign" => ("Softsign", vec![]),
            "softplus" => ("Softplus", vec![]),
            "leakyrelu" => ("LeakyRelu", vec![alpha]),
            "thresholdedrelu" => ("ThresholdedRelu", vec![alpha]),
            "elu" => ("Elu", vec![alpha]),
            "hardsigmoid" => ("HardSigmoid", vec![alpha, beta]),
            "affine" => {
                let (alpha, beta) = (writer.number(self.alpha), writer.number(self.beta));
                let scaled = writer.with("Mul", x, &alpha);
                return Ok(writer.with("Add", &scaled, &beta));
            }
            _ => {
                let (alpha, beta) = (writer.number(self.alpha), writer.number(self.beta));
                let scaled = writer.with("Mul", x, &beta);
                let tanh = writer.add("Tanh", &[&scaled], vec![]);
                return Ok(writer.with("Mul", &tanh, &alpha));
            }
        };
        Ok(writer.add(op, &[x], attributes))
    }
}

/// The activations of all directions. Parameters are listed in the order of the activations that have them.
fn activations(
    node: &pb::NodeProto,
    directions: usize,
    writer: &mut Writer,
) -> Result<Vec<Activation>> {
    let own: &[&str] = match node.op_type.as_str() {
        "RNN" => &["tanh"],
        "GRU" => &["sigmoid", "tanh"],
        _ => &["sigmoid", "tanh", "tanh"],
    };
    let count = own.len() * directions;
    let names: Vec<String> = match attribute(node, "activations") {
        Some(listed) => (listed.strings.iter())
            .map(|name| String::from_utf8_lossy(name).to_lowercase())
            .collect(),
        None => own
            .iter()
            .cycle()
            .take(count)
            .map(|&name| name.into())
            .collect(),
    };
    if names.len() != count {
        let reason = format!(
            "{} activations for {directions} directions, which have {count}",
            names.len()
        );
        return Err(writer.form(node, reason));
    }
    let list = |name| {
        attribute(node, name)
            .map_or(&[][..], |list| &list.floats)
            .iter()
    };
    let (mut alphas, mut betas) = (list("activation_alpha"), list("activation_beta"));
    let mut all = Vec::new();
    for name in names {
        let Some([alpha, beta]) = Activation::defaults(&name) else {
            let reason = format!(
                "`{name}` in {} is no activation of ONNX's recurrent layers",
                name_of(node)
            );
            return Err(writer.form(node, reason));
        };
        let next = |default: Option<f32>, given: &mut std::slice::Iter<f32>| match default {
            Some(default) => given.next().copied().unwrap_or(default),
            None => 0.0,
        };
        let (alpha, beta) = (next(alpha, &mut alphas), next(beta, &mut betas));
        if alpha.is_nan() || beta.is_nan() {
            let reason =
                format!("the activation `{name}` needs its activation_alpha and activation_beta");
            return Err(writer.form(node, reason));
        }
        all.push(Activation { name, alpha, beta });
    }
    Ok(all)
}

/// The length of all sequences.
fn length(node: &pb::NodeProto, steps: usize, writer: &mut Writer) -> Result<usize> {
    let Some(name) = given(&node.input, LENGTHS) else {
        return Ok(steps);
    };
    let reason = match writer.known_integers(name).as_deref() {
        Some([first, others @ ..]) if others.iter().all(|other| other == first) => {
            match usize::try_from(*first) {
                Ok(length) if (1..=steps).contains(&length) => return Ok(length),
                _ => format!("a sequence of {first} steps out of {steps}"),
            }
        }
        Some(_) => "sequences of different lengths at once: convert the model for one sequence".into(),
        None => "sequence lengths that the model computes: export an axis of dynamic length, the chip then processes no more than there is"
            .into(),
    };
    Err(writer.form(node, reason))
}
