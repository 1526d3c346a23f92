//! Recurrent layers: one layer in one direction.

use crate::function::{Function, Unary};
use crate::graph::Value;
use crate::graph::facts::{Facts, Held, Kind, Operator, Positions, Rows, Second, Weighted};
use attn_runtime::format::OpKind;
use attn_runtime::kernels::geometry::Cell;
use ndarray::ArrayD;

/// Weights of one layer in one direction; gates in ONNX's order.
#[derive(Clone, Debug)]
pub struct RecurrentWeights {
    /// `[gates * hidden, in]`
    pub w: ArrayD<f32>,
    /// `[gates * hidden, hidden]`
    pub r: ArrayD<f32>,
    /// `[gates * hidden]`, input side
    pub bias_w: Vec<f32>,
    /// `[gates * hidden]`, recurrent side
    pub bias_r: Vec<f32>,
    /// From the last row to the first.
    pub reverse: bool,
}

/// Largest magnitude of the states of layers that squash them.
const SQUASHED: Option<f32> = Some(1.0);

impl RecurrentWeights {
    fn facts(&self, kind: OpKind, second: Second, limit: Option<f32>) -> Facts {
        let reverse = self.reverse;
        Facts {
            kind: Kind::Runtime(kind),
            rows: Rows::Recurrent { reverse },
            positions: Positions::None,
            shortens: true,
            held: Held::State(limit),
            second,
            weighted: Weighted::Recurrent { reverse },
        }
    }

    fn products(&self, inputs: &[&Value]) -> usize {
        let steps = inputs.first().map_or(0, |x| x.rows());
        steps * (self.w.len() + self.r.len())
    }
}

/// Gated recurrent unit; inputs `x: [t, in]` and, unless it starts from zero, the first state `[hidden]`; result
/// `[t, hidden]`. Gates z, r, h; the reset gate multiplies `R_h h + b_Rh` (`linear_before_reset = 1`, PyTorch's form).
#[derive(Clone, Debug)]
pub struct Gru(pub RecurrentWeights);

impl Operator for Gru {
    fn facts(&self, _channels: usize) -> Facts {
        self.0.facts(OpKind::Gru, Second::None, SQUASHED)
    }

    fn products(&self, inputs: &[&Value], _result: &Value) -> usize {
        self.0.products(inputs)
    }

    fn columns(&self) -> Option<&ArrayD<f32>> {
        Some(&self.0.w)
    }

    fn columns_mut(&mut self) -> Option<&mut ArrayD<f32>> {
        Some(&mut self.0.w)
    }
}

/// Long short-term memory without peepholes; inputs `x: [t, in]` and, unless it starts from zero, the first state and cell,
/// both `[hidden]`; results `[t, hidden]` and the last cell `[hidden]`. Gates i, o, f, g.
#[derive(Clone, Debug)]
pub struct Lstm(pub RecurrentWeights);

impl Operator for Lstm {
    fn facts(&self, _channels: usize) -> Facts {
        self.0.facts(OpKind::Lstm, Second::Cell, SQUASHED)
    }

    fn products(&self, inputs: &[&Value], _result: &Value) -> usize {
        self.0.products(inputs)
    }

    fn columns(&self) -> Option<&ArrayD<f32>> {
        Some(&self.0.w)
    }

    fn columns_mut(&mut self) -> Option<&mut ArrayD<f32>> {
        Some(&mut self.0.w)
    }
}

/// Any other recurrent layer; inputs and results are those of Lstm for cells that have one, else those of Gru.
#[derive(Clone, Debug)]
pub struct Recurrent {
    /// Its weights.
    pub weights: RecurrentWeights,
    /// What a step computes.
    pub cell: Cell,
    /// Activations f, g and h; a cell uses the first of them.
    pub activations: [Function; 3],
    /// Limit on the magnitude of pre-activations of f and g.
    pub clip: Option<f32>,
    /// `[3 * hidden]` for gates i, o and f of an LSTM, or empty.
    pub peepholes: Vec<f32>,
}

/// How far bounds of activations are looked for.
const FAR: f64 = 1e6;

impl Recurrent {
    /// A layer in the form that Gru and Lstm have.
    pub fn usual(weights: &RecurrentWeights, cell: Cell) -> Self {
        let tanh = || Function::Input.then(Unary::Tanh);
        Self {
            weights: weights.clone(),
            cell,
            activations: [Function::Input.then(Unary::Sigmoid), tanh(), tanh()],
            clip: None,
            peepholes: Vec::new(),
        }
    }

    /// Smallest and largest value of an activation, as far as can be seen.
    fn range(&self, activation: usize) -> (f64, f64) {
        let clip = self.clip.filter(|_| activation < 2).map_or(FAR, f64::from);
        // Ends, and places between them that are closer near 0.
        let places = (0..=1000).map(|i| clip * (f64::from(i) / 1000.0).powi(5));
        let values = places
            .flat_map(|x| [-x, x])
            .map(|x| self.activations[activation].eval(x));
        values.fold((0.0, 0.0), |(low, high), y| (y.min(low), y.max(high)))
    }

    /// The largest magnitude of a state that the layer computes, if its activations bound it.
    fn limit(&self) -> Option<f32> {
        let largest = |activation: usize| {
            let (low, high) = self.range(activation);
            high.max(-low)
        };
        let limit = match self.cell {
            Cell::Rnn => largest(0),
            Cell::Lstm | Cell::LstmCoupled => largest(0) * largest(2),
            Cell::GruResetBefore | Cell::GruResetAfter => match self.range(0) {
                // A mean of what it was and what is new.
                (low, high) if low >= 0.0 && high <= 1.0 => largest(1),
                _ => f64::INFINITY,
            },
        };
        (limit < FAR / 10.0).then_some(limit as f32)
    }
}

impl Operator for Recurrent {
    fn facts(&self, _channels: usize) -> Facts {
        let second = match self.cell.is_lstm() {
            true => Second::Cell,
            false => Second::None,
        };
        self.weights.facts(OpKind::Recurrent, second, self.limit())
    }

    fn products(&self, inputs: &[&Value], _result: &Value) -> usize {
        self.weights.products(inputs)
    }

    fn columns(&self) -> Option<&ArrayD<f32>> {
        Some(&self.weights.w)
    }

    fn columns_mut(&mut self) -> Option<&mut ArrayD<f32>> {
        Some(&mut self.weights.w)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn activations_bound_states_where_they_do() {
        let weights = RecurrentWeights {
            w: ArrayD::zeros(vec![1, 1]),
            r: ArrayD::zeros(vec![1, 1]),
            bias_w: vec![],
            bias_r: vec![],
            reverse: false,
        };
        let usual = |cell| Recurrent::usual(&weights, cell);
        let relu = || Function::Input.then(Unary::Relu);
        for cell in [Cell::GruResetBefore, Cell::GruResetAfter, Cell::Lstm] {
            assert_eq!(usual(cell).limit(), Some(1.0), "{cell:?}");
            let mut open = usual(cell);
            open.activations = [Function::Input.then(Unary::Sigmoid), relu(), relu()];
            assert_eq!(open.limit(), None, "{cell:?}");
        }
        let mut rnn = usual(Cell::Rnn);
        rnn.activations[0] = relu();
        assert_eq!(rnn.limit(), None);
        rnn.clip = Some(3.0);
        assert_eq!(rnn.limit(), Some(3.0));
        // A gate beyond 1 makes states grow.
        let mut growing = usual(Cell::GruResetAfter);
        growing.activations[0] = Function::scaled(2.0).then(Unary::Tanh);
        assert_eq!(growing.limit(), None);
    }
}
