//! Recurrent layers: one layer in one direction.

use crate::graph::facts::{Facts, Held, Kind, Operator, Positions, Rows, Second, Weighted};
use attn_runtime::format::OpKind;
use ndarray::ArrayD;

/// Weights of one layer in one direction; gates in ONNX's order.
#[derive(Clone, Debug)]
pub struct Recurrent {
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

impl Recurrent {
    fn facts(&self, kind: OpKind, second: Second) -> Facts {
        let reverse = self.reverse;
        Facts {
            kind: Kind::Runtime(kind),
            rows: Rows::Recurrent { reverse },
            positions: Positions::None,
            shortens: true,
            held: Held::State,
            second,
            weighted: Weighted::Recurrent { reverse },
        }
    }
}

/// Gated recurrent unit; inputs `x: [t, in]` and, unless it starts from zero, the first state `[hidden]`; result
/// `[t, hidden]`. Gates z, r, h; the reset gate multiplies `R_h h + b_Rh` (`linear_before_reset = 1`, PyTorch's form).
#[derive(Clone, Debug)]
pub struct Gru(pub Recurrent);

impl Operator for Gru {
    fn facts(&self, _channels: usize) -> Facts {
        self.0.facts(OpKind::Gru, Second::None)
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
pub struct Lstm(pub Recurrent);

impl Operator for Lstm {
    fn facts(&self, _channels: usize) -> Facts {
        self.0.facts(OpKind::Lstm, Second::Cell)
    }

    fn columns(&self) -> Option<&ArrayD<f32>> {
        Some(&self.0.w)
    }

    fn columns_mut(&mut self) -> Option<&mut ArrayD<f32>> {
        Some(&mut self.0.w)
    }
}
