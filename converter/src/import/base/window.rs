//! Windows of any number of axes: what is under a kernel, for convolutions and pools.

use super::super::Importer;
use super::super::node::OnnxNode;
use super::super::view::{PADDING, View};
use super::Operand;
use crate::error::Result;
use crate::graph::op::{Reduce, Reduction};
use ndarray::{ArrayD, IxDyn};

/// How a kernel moves over the axes behind batch and channels.
pub(super) struct Sliding {
    kernel: Vec<usize>,
    stride: Vec<usize>,
    dilation: Vec<usize>,
    before: Vec<isize>,
    out: Vec<usize>,
}

impl Sliding {
    /// Reads a node's attributes; `kernel`, the input's axes and the result's are known.
    pub(super) fn new(
        node: &OnnxNode,
        kernel: &[usize],
        input: &[usize],
        out: &[usize],
    ) -> Result<Self> {
        let axes = kernel.len();
        let list = |name: &str| -> Result<Vec<usize>> {
            let given = node.ints(name).unwrap_or(&[]);
            let size = |at: usize| match given.get(at) {
                None => Ok(1),
                Some(&n) if n >= 1 => Ok(n as usize),
                Some(n) => Err(node.form(format!("{name} of {n}"))),
            };
            (0..axes).map(size).collect()
        };
        let (stride, dilation) = (list("strides")?, list("dilations")?);
        let pads = node.ints("pads").unwrap_or(&[]);
        let mode = node.string("auto_pad").unwrap_or_default();
        let before = (0..axes).map(|axis| {
            let reach = (kernel[axis] - 1) * dilation[axis] + 1;
            let covered = (out[axis].max(1) - 1) * stride[axis] + reach;
            let missing = covered.saturating_sub(input[axis]) as isize;
            match mode.as_str() {
                "SAME_UPPER" => missing / 2,
                "SAME_LOWER" => missing - missing / 2,
                "VALID" => 0,
                _ => pads.get(axis).map_or(0, |&n| n as isize),
            }
        });
        Ok(Self {
            kernel: kernel.to_vec(),
            before: before.collect(),
            stride,
            dilation,
            out: out.to_vec(),
        })
    }

    /// For a transposed convolution, over its input with zeros between the elements.
    pub(super) fn transposed(
        node: &OnnxNode,
        kernel: &[usize],
        input: &[usize],
        out: &[usize],
    ) -> Result<Self> {
        let mut sliding = Self::new(node, kernel, input, out)?;
        let pads = node.ints("pads").unwrap_or(&[]);
        let extra = node.ints("output_padding").unwrap_or(&[]);
        let mode = node.string("auto_pad").unwrap_or_default();
        for axis in 0..kernel.len() {
            let reach = (kernel[axis] - 1) * sliding.dilation[axis] + 1;
            let full = ((input[axis] - 1) * sliding.stride[axis] + reach) as isize;
            let extra = extra.get(axis).map_or(0, |&n| n as isize);
            // A result that is larger than what the kernel covers ends in zeros.
            let total = (full + extra - out[axis] as isize).max(0);
            let given = node.ints("output_shape").is_some();
            let crop = match mode.as_str() {
                "SAME_UPPER" => total / 2,
                _ if given || mode == "SAME_LOWER" => total - total / 2,
                _ => pads.get(axis).map_or(0, |&n| n as isize),
            };
            sliding.before[axis] = reach as isize - 1 - crop;
            sliding.stride[axis] = 1;
        }
        Ok(sliding)
    }

    /// What is under the kernel: `[batch, channels, …]` to `[batch, positions, channels, taps]`.
    pub(super) fn under(&self, x: &View) -> View {
        let (batch, channels) = (x.shape()[0], x.shape()[1]);
        let taps: usize = self.kernel.iter().product();
        let positions: usize = self.out.iter().product();
        let shape = [batch, positions, channels, taps];
        let position = ArrayD::from_shape_fn(IxDyn(&shape), |at| {
            let (starts, taps) = (unflat(at[1], &self.out), unflat(at[3], &self.kernel));
            let mut place = vec![at[0], at[2]];
            for axis in 0..self.kernel.len() {
                let here =
                    (starts[axis] * self.stride[axis] + taps[axis] * self.dilation[axis]) as isize;
                let Ok(here) = usize::try_from(here - self.before[axis]) else {
                    return PADDING;
                };
                place.push(here);
            }
            x.position.get(&place[..]).copied().unwrap_or(PADDING)
        });
        View {
            position,
            ..x.clone()
        }
    }
}

fn unflat(mut at: usize, shape: &[usize]) -> Vec<usize> {
    let mut index = vec![0; shape.len()];
    for (index, &size) in index.iter_mut().zip(shape).rev() {
        *index = at % size.max(1);
        at /= size.max(1);
    }
    index
}

impl Importer<'_> {
    pub(super) fn base_pool(&mut self, node: &OnnxNode) -> Result<()> {
        if node.outputs.get(1).is_some_and(|name| !name.is_empty()) {
            return Err(node.form("places of the maxima; only the maxima are there"));
        }
        let x = self.live(node, 0)?;
        let out = self.shape_of(&node.output);
        let kernel = node.ints("kernel_shape").unwrap_or(&[]);
        let kernel: Vec<usize> = kernel.iter().map(|&n| n.max(1) as usize).collect();
        let sliding = Sliding::new(node, &kernel, &x.shape()[2..], &out[2..])?;
        // [batch, positions, channels, taps]
        let under = sliding.under(&x);
        let [batch, positions, channels, taps] = [0, 1, 2, 3].map(|axis| under.shape()[axis]);
        let rows = [batch, positions, channels];
        let y = match node.op {
            "MaxPool" => self.reduced(node, &with_real_taps(&under), taps, Reduction::Max, &rows),
            _ => {
                let sum = self.reduced(node, &under, taps, Reduction::Sum, &rows);
                let counted = self.counted(node, &sliding, x.shape(), &under);
                let factors = counted.mapv(|count| 1.0 / count);
                let product =
                    self.product_of(node, Operand::Live(sum), Operand::Constant(factors))?;
                let Operand::Live(mean) = product else {
                    return Err(node.unsupported());
                };
                mean
            }
        };
        self.give(node, y.transposed(&[0, 2, 1]))
    }

    /// How many elements each average is over, `[1, positions, 1]`.
    fn counted(
        &self,
        node: &OnnxNode,
        sliding: &Sliding,
        input: &[usize],
        under: &View,
    ) -> ArrayD<f32> {
        let (positions, taps) = (under.shape()[1], under.shape()[3]);
        let with_padding = node.int("count_include_pad", 0) != 0;
        let pads = node.ints("pads").unwrap_or(&[]);
        let axes = sliding.kernel.len();
        let count = |position: usize| {
            let starts = unflat(position, &sliding.out);
            let real = |tap: &usize| {
                let taps = unflat(*tap, &sliding.kernel);
                (0..axes).all(|axis| {
                    let at = (starts[axis] * sliding.stride[axis]
                        + taps[axis] * sliding.dilation[axis])
                        as isize;
                    let at = at - sliding.before[axis];
                    let size = input[axis + 2] as isize;
                    // Padding counts where it was asked for, but not what `ceil_mode` adds behind it.
                    let (low, high) = match with_padding {
                        true => (
                            -sliding.before[axis],
                            size + pads.get(axes + axis).map_or(0, |&n| n as isize),
                        ),
                        false => (0, size),
                    };
                    (low..high).contains(&at)
                })
            };
            (0..taps).filter(real).count().max(1) as f32
        };
        ArrayD::from_shape_fn(IxDyn(&[1, positions, 1]), |at| count(at[1]))
    }

    pub(super) fn base_global_pool(&mut self, node: &OnnxNode) -> Result<()> {
        let x = self.live(node, 0)?;
        let by = match node.op {
            "GlobalMaxPool" => Reduction::Max,
            _ => Reduction::Mean,
        };
        let n = x.shape()[2..].iter().product();
        let rows = [x.shape()[0], x.shape()[1]];
        let y = self.reduced(node, &x, n, by, &rows);
        self.give(node, y)
    }

    /// Every `n` adjacent elements of a view reduced to one.
    pub(super) fn reduced(
        &mut self,
        node: &OnnxNode,
        x: &View,
        n: usize,
        by: Reduction,
        shape: &[usize],
    ) -> View {
        let outer = x.position.len() / n.max(1);
        let rows = self.plain(&x.reshaped(&[outer, n]));
        self.part(node, "reduce", Reduce { n, by }, vec![rows], shape)
    }
}

/// Padding under a kernel replaced by an element that is there: the largest stays the same.
fn with_real_taps(under: &View) -> View {
    let taps = under.shape()[3].max(1);
    let mut position = under.positions();
    for window in position.chunks_mut(taps) {
        let real = window.iter().copied().find(|&p| p != PADDING);
        for place in window.iter_mut().filter(|place| **place == PADDING) {
            *place = real.unwrap_or(PADDING);
        }
    }
    View::of(under.base, under.shape(), position)
}
