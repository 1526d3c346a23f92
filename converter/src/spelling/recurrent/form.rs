//! The form of a recurrent layer: its cell, directions, activations and clip, as its attributes say.

use super::super::writer::{attribute, float, int_of, name_of, string_of};
use super::Writer;
use crate::function::{Binary, Function, Unary};
use attn_runtime::kernels::geometry::Cell;
use tract_onnx::pb;

/// The form of a recurrent layer.
pub struct Form {
    /// What a step computes.
    pub cell: Cell,
    /// Backwards or not, for each direction.
    pub reverse: &'static [bool],
    /// Limit on the magnitude of pre-activations.
    pub clip: Option<f32>,
    /// Those of all directions.
    activations: Vec<Activation>,
}

/// An activation function with its parameters.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Activation {
    /// In lower case.
    name: String,
    alpha: f32,
    beta: f32,
}

impl Form {
    /// The form of a node; an error is what is wrong with it.
    pub fn of(node: &pb::NodeProto) -> Result<Self, String> {
        let reverse: &[bool] = match string_of(node, "direction", "forward").as_str() {
            "forward" => &[false],
            "reverse" => &[true],
            "bidirectional" => &[false, true],
            other => return Err(format!("unknown direction `{other}`")),
        };
        let clip = attribute(node, "clip").map(|clip| clip.f);
        if clip.is_some_and(|clip| clip.is_nan() || clip <= 0.0) {
            return Err("clip must be above 0".into());
        }
        let flag = |name| int_of(node, name, 0) != 0;
        Ok(Self {
            cell: match node.op_type.as_str() {
                "RNN" => Cell::Rnn,
                "GRU" if flag("linear_before_reset") => Cell::GruResetAfter,
                "GRU" => Cell::GruResetBefore,
                _ if flag("input_forget") => Cell::LstmCoupled,
                _ => Cell::Lstm,
            },
            reverse,
            clip,
            activations: activations(node, reverse.len())?,
        })
    }

    /// True for the forms that are the fastest: PyTorch's GRU and LSTM.
    pub fn usual(&self) -> bool {
        let cell = matches!(self.cell, Cell::GruResetAfter | Cell::Lstm);
        let names = self.activations.iter().map(|activation| &*activation.name);
        let own = usual(self.cell).iter().cycle();
        cell && self.clip.is_none() && names.zip(own).all(|(name, &own)| name == own)
    }

    /// The activations of a direction.
    pub(super) fn activations(&self, direction: usize) -> &[Activation] {
        let each = usual(self.cell).len();
        &self.activations[direction * each..][..each]
    }

    /// The same as functions; what is missing is as the first.
    pub fn functions(&self, direction: usize) -> [Function; 3] {
        let own = self.activations(direction);
        std::array::from_fn(|at| own.get(at).unwrap_or(&own[0]).function())
    }
}

/// The activations of a cell that are not said.
fn usual(cell: Cell) -> &'static [&'static str] {
    match cell {
        Cell::Rnn => &["tanh"],
        Cell::GruResetBefore | Cell::GruResetAfter => &["sigmoid", "tanh"],
        Cell::Lstm | Cell::LstmCoupled => &["sigmoid", "tanh", "tanh"],
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

    fn function(&self) -> Function {
        let (alpha, beta) = (f64::from(self.alpha), f64::from(self.beta));
        match self.name.as_str() {
            "sigmoid" => Function::Input.then(Unary::Sigmoid),
            "tanh" => Function::Input.then(Unary::Tanh),
            "relu" => Function::Input.then(Unary::Relu),
            "softplus" => Function::Input.then(Unary::Softplus),
            "softsign" => Function::softsign(),
            "leakyrelu" => Function::leaky_relu(alpha),
            "elu" => Function::elu(alpha),
            "hardsigmoid" => Function::hard_sigmoid(alpha, beta),
            "affine" => Function::scaled(alpha).with(Binary::Add, Function::Constant(beta)),
            "thresholdedrelu" => {
                let above = Function::Input.with(Binary::Greater, Function::Constant(alpha));
                Function::choice(above, Function::Input, Function::Constant(0.0))
            }
            _ => (Function::scaled(beta).then(Unary::Tanh))
                .with(Binary::Mul, Function::Constant(alpha)),
        }
    }

    pub(super) fn write(&self, x: &String, writer: &mut Writer) -> String {
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
                return writer.with("Add", &scaled, &beta);
            }
            _ => {
                let (alpha, beta) = (writer.number(self.alpha), writer.number(self.beta));
                let scaled = writer.with("Mul", x, &beta);
                let tanh = writer.add("Tanh", &[&scaled], vec![]);
                return writer.with("Mul", &tanh, &alpha);
            }
        };
        writer.add(op, &[x], attributes)
    }
}

/// The activations of all directions. Parameters are listed in the order of the activations that have them.
fn activations(node: &pb::NodeProto, directions: usize) -> Result<Vec<Activation>, String> {
    let own = match node.op_type.as_str() {
        "RNN" => usual(Cell::Rnn),
        "GRU" => usual(Cell::GruResetAfter),
        _ => usual(Cell::Lstm),
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
        return Err(format!(
            "{} activations for {directions} directions, which have {count}",
            names.len()
        ));
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
            return Err(format!(
                "`{name}` in {} is no activation of ONNX's recurrent layers",
                name_of(node)
            ));
        };
        let next = |default: Option<f32>, given: &mut std::slice::Iter<f32>| match default {
            Some(default) => given.next().copied().unwrap_or(default),
            None => 0.0,
        };
        let (alpha, beta) = (next(alpha, &mut alphas), next(beta, &mut betas));
        if alpha.is_nan() || beta.is_nan() {
            return Err(format!(
                "the activation `{name}` needs its activation_alpha and activation_beta"
            ));
        }
        all.push(Activation { name, alpha, beta });
    }
    Ok(all)
}
