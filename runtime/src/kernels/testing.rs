//! What the tests of the kernels share: numbers, windows, and what the operators are in double precision.

use super::geometry::{Cell, Shape, Window1d, Window2d};
use super::int::elementwise::Rescale;
use std::vec::Vec;

/// Numbers from -500 to 499, the same for the same seed.
pub fn numbers(mut seed: u32) -> impl FnMut() -> i32 {
    move || {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 8) as i32 % 1000 - 500
    }
}

/// A change of scale to int8.
pub const fn rescale(
    input_zero_point: i32,
    multiplier: i32,
    left_shift: u32,
    zero_point: i32,
) -> Rescale {
    Rescale {
        input_zero_point,
        multiplier,
        left_shift,
        zero_point,
        min: -128,
        max: 127,
    }
}

/// A window over rows.
pub const fn window1d(
    [kernel, stride, dilation, pad_before]: [usize; 4],
    pad_value: i32,
) -> Window1d {
    Window1d {
        kernel,
        stride,
        dilation,
        pad_before,
        pad_value,
    }
}

/// A window over an image whose taps are adjacent.
pub const fn window2d(
    kernel: [usize; 2],
    stride: [usize; 2],
    pad: [usize; 2],
    pad_value: i32,
) -> Window2d {
    Window2d {
        kernel,
        stride,
        dilation: [1, 1],
        pad,
        pad_value,
    }
}

/// An image `[height, width, channels]` under a window.
pub struct Under<'x, X> {
    /// The values.
    pub x: &'x [X],
    /// Height and width.
    pub size: [usize; 2],
    /// Channels.
    pub channels: usize,
    /// The window.
    pub window: Window2d,
}

impl<'x, X: Copy + Into<f64>> Under<'x, X> {
    /// Rows as an image of one column.
    pub fn rows(x: &'x [X], channels: usize, window: &Window1d) -> Self {
        Self {
            x,
            size: [x.len() / channels, 1],
            channels,
            window: window.over_a_column(),
        }
    }

    /// What lies under the window of a result: `[kernel height, kernel width, channels]`.
    fn values(&self, row: usize, column: usize) -> Vec<f64> {
        let ([height, width], c, window) = (self.size, self.channels, &self.window);
        let at = |axis: usize, place: usize, tap: usize| {
            let from_edge = place * window.stride[axis] + tap * window.dilation[axis];
            from_edge.checked_sub(window.pad[axis])
        };
        let taps = (0..window.kernel[0]).flat_map(|y| (0..window.kernel[1]).map(move |x| (y, x)));
        let pixels = taps.map(|(y, x)| {
            let y = at(0, row, y).filter(|&y| y < height);
            let x = at(1, column, x).filter(|&x| x < width);
            Some((y? * width + x?) * c)
        });
        let value = |at: Option<usize>| at.map_or(window.pad_value.into(), |at| self.x[at].into());
        pixels
            .flat_map(|first| (0..c).map(move |i| first.map(|first| first + i)))
            .map(value)
            .collect()
    }

    /// A convolution with weights `[out][values under the window]`, result by result.
    pub fn sums<W: Copy + Into<f64>>(
        &self,
        [rows, columns]: [usize; 2],
        weights: &[Vec<W>],
        bias: &[f64],
    ) -> Vec<f64> {
        let sum = |at: usize| {
            let (place, out) = (at / bias.len(), at % bias.len());
            let values = self.values(place / columns, place % columns);
            let products = values.iter().zip(&weights[out]).map(|(x, &w)| x * w.into());
            bias[out] + products.sum::<f64>()
        };
        (0..rows * columns * bias.len()).map(sum).collect()
    }

    /// A depthwise convolution with weights `[kernel height, kernel width, channels]`, result by result.
    pub fn sums_apart<W: Copy + Into<f64>>(
        &self,
        size: [usize; 2],
        weights: &[W],
        bias: &[f64],
    ) -> Vec<f64> {
        let of_channel = |channel: usize| {
            let weight = |(at, &w): (usize, &W)| {
                let here = at % self.channels == channel;
                if here { w.into() } else { 0.0 }
            };
            weights.iter().enumerate().map(weight).collect()
        };
        let weights: Vec<Vec<f64>> = (0..self.channels).map(of_channel).collect();
        self.sums(size, &weights, bias)
    }
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// The next state of a unit of a Gru, from the sums of input and state for gates z, r, n.
pub fn gru(w: [f64; 3], r: [f64; 3], h: f64) -> f64 {
    let n = (w[2] + sigmoid(w[1] + r[1]) * r[2]).tanh();
    n + sigmoid(w[0] + r[0]) * (h - n)
}

/// The next state and cell of a unit of an Lstm, from the sums for gates i, o, f, g.
pub fn lstm([i, o, f, g]: [f64; 4], c: f64) -> (f64, f64) {
    let c = sigmoid(f) * c + sigmoid(i) * g.tanh();
    (sigmoid(o) * c.tanh(), c)
}

/// A recurrent layer of any cell in double precision: what its sides and peepholes are, and its three functions.
pub struct AnyCell<W, R> {
    pub cell: Cell,
    /// `W x + b_w` of a gate and a unit.
    pub input: W,
    /// `R h + b_r` of a gate and a unit for a state.
    pub recurrent: R,
    pub functions: [fn(f64) -> f64; 3],
    /// `[3][hidden]`, or empty.
    pub peepholes: Vec<f64>,
}

impl<W: Fn(usize, usize) -> f64, R: Fn(usize, usize, &[f64]) -> f64> AnyCell<W, R> {
    /// The state and the cell after a step.
    pub fn step(&self, h: &[f64], c: &[f64]) -> (Vec<f64>, Vec<f64>) {
        let [f, g, out] = self.functions;
        let units = 0..h.len();
        let sum = |gate: usize, u: usize| (self.input)(gate, u) + (self.recurrent)(gate, u, h);
        let peep = |gate: usize, u: usize, c: f64| {
            self.peepholes
                .get(gate * h.len() + u)
                .map_or(0.0, |p| p * c)
        };
        match self.cell {
            Cell::Rnn => (units.map(|u| f(sum(0, u))).collect(), Vec::new()),
            Cell::GruResetBefore | Cell::GruResetAfter => {
                let reset: Vec<f64> = units.clone().map(|u| f(sum(1, u)) * h[u]).collect();
                let inner = |u: usize| match self.cell {
                    Cell::GruResetBefore => (self.recurrent)(2, u, &reset),
                    _ => f(sum(1, u)) * (self.recurrent)(2, u, h),
                };
                let next = |u: usize| {
                    let (z, n) = (f(sum(0, u)), g((self.input)(2, u) + inner(u)));
                    (1.0 - z) * n + z * h[u]
                };
                (units.map(next).collect(), Vec::new())
            }
            Cell::Lstm | Cell::LstmCoupled => {
                let next = |u: usize| {
                    let i = f(sum(0, u) + peep(0, u, c[u]));
                    let kept = match self.cell {
                        Cell::Lstm => f(sum(2, u) + peep(2, u, c[u])),
                        _ => 1.0 - i,
                    };
                    kept * c[u] + i * g(sum(3, u))
                };
                let cells: Vec<f64> = units.clone().map(next).collect();
                let h = |u: usize| f(sum(1, u) + peep(1, u, cells[u])) * out(cells[u]);
                (units.map(h).collect(), cells)
            }
        }
    }
}

/// Attention of one query to rows of keys and values; `factor` is that of the exponent of e.
pub fn attention<'k, K: Copy + Into<f64> + 'k>(
    query: &[K],
    rows: impl Iterator<Item = (&'k [K], &'k [K])> + Clone,
    shape: &Shape,
    factor: f64,
) -> Vec<f64> {
    let d = shape.head_dim;
    let channel = |c: usize| {
        let (head, shared) = (c / d * d, c / d / (shape.heads / shape.key_heads) * d);
        let score = |key: &[K]| {
            let dot = (0..d).map(|i| query[head + i].into() * key[shared + i].into());
            dot.sum::<f64>() * factor
        };
        let scores = rows.clone().map(|(key, _)| score(key));
        let highest = scores.clone().fold(f64::MIN, f64::max);
        let weights = scores.map(|score| (score - highest).exp());
        let values = rows.clone().map(|(_, value)| value[shared + c % d].into());
        let sum: f64 = values.zip(weights.clone()).map(|(v, w)| v * w).sum();
        sum / weights.sum::<f64>()
    };
    (0..shape.heads * d).map(channel).collect()
}

/// Channel `c` of a head after the rotation of its first `2 * pairs` channels; `turn` gives cosine and sine of a pair.
pub fn rotated<X: Copy + Into<f64>>(
    head: &[X],
    c: usize,
    pairs: usize,
    interleaved: bool,
    turn: impl Fn(usize) -> (f64, f64),
) -> f64 {
    let step = if interleaved { 1 } else { pairs };
    let (pair, first) = match interleaved {
        true => (c / 2, c.is_multiple_of(2)),
        false => (c % pairs, c < pairs),
    };
    let x = |at: usize| head[at].into();
    if c >= 2 * pairs {
        return x(c);
    }
    let (cos, sin) = turn(pair);
    match first {
        true => cos * x(c) - sin * x(c + step),
        false => sin * x(c - step) + cos * x(c),
    }
}

/// A normalised row, from which the mean is taken only if `centre`.
pub fn layer_norm(
    x: &[f64],
    constants: impl Iterator<Item = (f64, f64)>,
    epsilon: f64,
    centre: bool,
) -> Vec<f64> {
    let n = x.len() as f64;
    let mean = if centre {
        x.iter().sum::<f64>() / n
    } else {
        0.0
    };
    let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
    let deviation = (variance + epsilon).sqrt().max(f64::MIN_POSITIVE);
    let normal = |(x, (gamma, beta)): (&f64, (f64, f64))| (x - mean) / deviation * gamma + beta;
    x.iter().zip(constants).map(normal).collect()
}

/// The logarithms of the softmax of `logits`.
pub fn log_softmax(logits: impl Iterator<Item = f64> + Clone) -> Vec<f64> {
    let max = logits.clone().fold(f64::MIN, f64::max);
    let total = logits.clone().map(|x| (x - max).exp()).sum::<f64>().ln();
    logits.map(|x| x - max - total).collect()
}
