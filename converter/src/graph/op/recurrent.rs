//! Recurrent layers: one layer in one direction.

use crate::graph::facts::{Facts, Held, Kind, Operator, Positions, Rows, Second, Weighted};
use attn_runtime::format::OpKind;
use ndarray::ArrayD;

/// Gated recurrent unit, one layer in one direction; inputs `x: [t, in]` and, unless it starts from zero, the first
/// state `[hidden]`; result `[t, hidden]`.
/// Gates in ONNX order z, r, h; the reset gate multiplies `R_h h + b_Rh` (`linear_before_reset = 1`, PyTorch's form).
#[derive(Clone, Debug)]
pub struct Gru {
    /// `[3 * hidden, in]`
    pub w: ArrayD<f32>,
    /// `[3 * hidden, hidden]`
    pub r: ArrayD<f32>,
    /// `[3 * hidden]`, input side
    pub bias_w: Vec<f32>,
    /// `[3 * hidden]`, recurrent side
    pub bias_r: Vec<f32>,
    /// From the last row to the first.
    pub reverse: bool,
}

impl Operator for Gru {
    fn facts(&self, _channels: usize) -> Facts {
        Facts {
            kind: Kind::Runtime(OpKind::Gru),
            rows: Rows::Recurrent {
                reverse: self.reverse,
            },
            positions: Positions::None,
            shortens: true,
            held: Held::State,
            second: Second::None,
            weighted: Weighted::Recurrent {
                reverse: self.reverse,
            },
        }
    }
}

/// Long short-term memory, one layer in one direction, without peepholes; inputs `x: [t, in]` and, unless it starts
/// from zero, the first state and cell, both `[hidden]`; results `[t, hidden]` and the last cell `[hidden]`. Gates
/// in ONNX order i, o, f, g.
#[derive(Clone, Debug)]
pub struct Lstm {
    /// `[4 * hidden, in]`
    pub w: ArrayD<f32>,
    /// `[4 * hidden, hidden]`
    pub r: ArrayD<f32>,
    /// `[4 * hidden]`, input side
    pub bias_w: Vec<f32>,
    /// `[4 * hidden]`, recurrent side
    pub bias_r: Vec<f32>,
    /// From the last row to the first.
    pub reverse: bool,
}

impl Operator for Lstm {
    fn facts(&self, _channels: usize) -> Facts {
        Facts {
            kind: Kind::Runtime(OpKind::Lstm),
            rows: Rows::Recurrent {
                reverse: self.reverse,
            },
            positions: Positions::None,
            shortens: true,
            held: Held::State,
            second: Second::Cell,
            weighted: Weighted::Recurrent {
                reverse: self.reverse,
            },
        }
    }
}
