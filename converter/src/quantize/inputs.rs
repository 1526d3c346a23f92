//! The inputs of layers with weights in calibration, as second moments for [`super::moments`].
//!
//! Layers that read the same rows share the moments. A row is what the runtime multiplies with the weights: for a convolution the values
//! under the kernel, for the recurrent side of a layer its state.

use super::moments::{MOST_INPUTS, Moments};
use crate::calibrate::Elements;
use crate::graph::facts::Weighted;
use crate::graph::{Graph, Node, ValueId, Window, Window1d};
use crate::progress::{Phase, Progress, Step};
use attn_runtime::kernels::int::dot::pairs_len;
use ndarray::Array2;
use std::collections::BTreeMap;
use std::rc::Rc;

/// Approximate limit on the rows kept of each value: more rows cost time and add little information.
const MOST_ROWS: usize = 1 << 14;

/// One of the two matrices of a recurrent layer; other layers have only the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// The matrix of the input.
    Input,
    /// The matrix of the state.
    State,
}

/// How a layer reads a value as rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rows {
    /// The rows of the value.
    Plain,
    /// Adjacent rows under a kernel.
    Sliding(Window1d),
    /// Pixels under a kernel, every kernel row filled up as the runtime has it.
    Image(Window),
    /// Results for the previous row; the first is an input or zero.
    Previous {
        reverse: bool,
        first: Option<ValueId>,
    },
}

impl Rows {
    /// The input of the matrix on this side of a node, and how it is read; `None` for operators without that matrix.
    fn of(graph: &Graph, node: &Node, side: Side) -> Option<(ValueId, Self)> {
        let rows = match (graph.facts(node).weighted, side) {
            (Weighted::Rows | Weighted::Recurrent { .. }, Side::Input) => Self::Plain,
            (Weighted::Recurrent { reverse }, Side::State) => {
                let first = node.inputs.get(1).copied();
                return Some((node.output, Self::Previous { reverse, first }));
            }
            (Weighted::Window(window), Side::Input) => Self::Sliding(window),
            (Weighted::Image(window), Side::Input) => Self::Image(window),
            (Weighted::None, _)
            | (Weighted::Rows | Weighted::Window(_) | Weighted::Image(_), Side::State) => {
                return None;
            }
        };
        Some((node.inputs[0], rows))
    }

    /// Length of a row of a value with this number of channels.
    fn len(self, channels: usize) -> usize {
        match self {
            Self::Plain | Self::Previous { .. } => channels,
            Self::Sliding(window) => window.kernel * channels,
            Self::Image(Window { kernel, .. }) => kernel[0] * pairs_len(kernel[1] * channels),
        }
    }

    /// Every `step`-th row of the elements of a value with these dimensions.
    fn take(self, dims: &[usize], all: &[Elements], value: ValueId, step: usize) -> Array2<f64> {
        let channels = dims.last().copied().unwrap_or(1).max(1);
        let (elements, k) = (&all[value.0].values, self.len(channels));
        let mut taken = Taken::new(k, step);
        match self {
            Self::Plain => {
                (elements.chunks_exact(channels)).for_each(|row| taken.row(|slot| slot.extend(row)))
            }
            Self::Sliding(window) => {
                let zeros = |rows: usize| vec![0.0; rows * channels];
                let (before, after) = window.padding;
                let padded = [zeros(before), elements.clone(), zeros(after)].concat();
                let rows: Vec<&[f32]> = padded.chunks_exact(channels).collect();
                for start in (0..(rows.len() + 1).saturating_sub(window.reach()))
                    .step_by(window.stride.max(1))
                {
                    let under = |slot: &mut Vec<f32>| {
                        window
                            .offsets()
                            .for_each(|offset| slot.extend(rows[start + offset]));
                    };
                    taken.row(under);
                }
            }
            Self::Image(window)
                if dims.len() == 3 && elements.len() == dims.iter().product::<usize>() =>
            {
                let (before, after, kernel) = (window.pad_before, window.pad_after, window.kernel);
                let places = |axis: usize| {
                    let size = dims[axis] + before[axis] + after[axis];
                    (0..(size + 1).saturating_sub(window.reach()[axis]))
                        .step_by(window.stride[axis].max(1))
                };
                for (top, left) in places(0).flat_map(|top| places(1).map(move |left| (top, left)))
                {
                    let pixels = |slot: &mut Vec<f32>| {
                        for down in 0..kernel[0] {
                            let end = slot.len() + pairs_len(kernel[1] * channels);
                            for right in 0..kernel[1] {
                                let [y, x] = window.offset([down, right]);
                                let at = pixel(dims, before, top + y, left + x);
                                let at = at.map(|at| at * channels);
                                match at.and_then(|at| elements.get(at..at + channels)) {
                                    Some(pixel) => slot.extend(pixel),
                                    None => slot.resize(slot.len() + channels, 0.0),
                                }
                            }
                            slot.resize(end, 0.0);
                        }
                    };
                    taken.row(pixels);
                }
            }
            Self::Image(_) => {}
            Self::Previous { reverse, first } => {
                let first = first.and_then(|first| all[first.0].values.get(..channels));
                let first = first.map_or_else(|| vec![0.0; channels], <[f32]>::to_vec);
                taken.row(|slot| slot.extend(&first));
                let rows = elements.chunks_exact(channels);
                let last = rows.len().saturating_sub(1);
                let from = usize::from(reverse);
                (rows.skip(from).take(last)).for_each(|row| taken.row(|slot| slot.extend(row)));
            }
        }
        taken.finish()
    }
}

/// Number of the pixel in a padded image; `None` in the padding.
fn pixel(dims: &[usize], before: [usize; 2], y: usize, x: usize) -> Option<usize> {
    let (y, x) = (y.checked_sub(before[0])?, x.checked_sub(before[1])?);
    (y < dims[0] && x < dims[1]).then_some(y * dims[1] + x)
}

/// Every n-th of the offered rows.
struct Taken {
    k: usize,
    step: usize,
    offered: usize,
    elements: Vec<f32>,
}

impl Taken {
    fn new(k: usize, step: usize) -> Self {
        Self {
            k,
            step: step.max(1),
            offered: 0,
            elements: Vec::new(),
        }
    }

    fn row(&mut self, write: impl FnOnce(&mut Vec<f32>)) {
        if self.offered.is_multiple_of(self.step) {
            let start = self.elements.len();
            write(&mut self.elements);
            // The float model gives NaN for a softmax over no keys.
            if self.elements[start..].iter().any(|x| !x.is_finite()) {
                self.elements.truncate(start);
            }
        }
        self.offered += 1;
    }

    fn finish(self) -> Array2<f64> {
        let rows = self.elements.len() / self.k.max(1);
        let elements = self.elements.into_iter().map(f64::from).collect();
        Array2::from_shape_vec((rows, self.k), elements).unwrap_or_default()
    }
}

/// The moments of the inputs of all weights of a graph.
#[derive(Debug, Default)]
pub struct Inputs {
    moments: BTreeMap<(ValueId, Rows), Moments>,
}

impl Inputs {
    /// Moments without rows.
    pub fn new(graph: &Graph) -> Self {
        let sides = [Side::Input, Side::State];
        let all =
            (graph.nodes.iter()).flat_map(|node| sides.map(|side| Rows::of(graph, node, side)));
        let len = |&(value, rows): &(ValueId, Rows)| rows.len(graph.values[value.0].channels());
        let moments = (all.flatten())
            .filter(|key| len(key) <= MOST_INPUTS)
            .map(|key| (key, Moments::new(len(&key))))
            .collect();
        Self { moments }
    }

    /// Finds how all weights are rounded, which takes long for rows of many inputs; [`Inputs::of`] then has it.
    pub fn compare_roundings(parts: &[Rc<Self>], progress: Progress) {
        let all: Vec<&Moments> = parts
            .iter()
            .flat_map(|part| part.moments.values())
            .collect();
        for (at, moments) in all.iter().enumerate() {
            moments.compensation();
            progress(Step::of(Phase::Round, at + 1, all.len()));
        }
    }

    /// Adds the elements of all values in one of about `runs` runs, as [`crate::calibrate::elements`] gives them, for sample number
    /// `sample`.
    pub fn add(&mut self, graph: &Graph, elements: &[Elements], sample: usize, runs: usize) {
        for (&(value, rows), moments) in &mut self.moments {
            if !elements[value.0].in_order {
                continue;
            }
            let dims = &graph.values[value.0].dims;
            let count = elements[value.0].values.len() / dims.last().copied().unwrap_or(1).max(1);
            // An odd step covers all columns of an image.
            let step = (count * runs).div_ceil(MOST_ROWS) | 1;
            let rows = rows.take(dims, elements, value, step);
            if rows.nrows() > 0 {
                moments.add(rows.view(), sample);
            }
        }
    }

    /// Of the other rows, where these are some of `all`.
    pub fn others(mut self, all: &Self) -> Self {
        for (own, all) in self.moments.values_mut().zip(all.moments.values()) {
            own.become_others(all);
        }
        self
    }

    /// The moments of the input of the matrix on one side of a node, if known.
    pub fn of(&self, graph: &Graph, node: &Node, side: Side) -> Option<&Moments> {
        self.moments.get(&Rows::of(graph, node, side)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(rows: Rows, dims: &[usize], elements: &[f32]) -> Vec<Vec<f64>> {
        let all = [elements.to_vec(), vec![8.0, 9.0]].map(|values| Elements {
            values,
            in_order: true,
        });
        let taken = rows.take(dims, &all, ValueId(0), 1);
        taken.rows().into_iter().map(|row| row.to_vec()).collect()
    }

    #[test]
    fn a_sequence_gives_what_lies_under_the_kernel() {
        let rows = Rows::Sliding(Window1d {
            kernel: 2,
            stride: 2,
            dilation: 1,
            padding: (1, 0),
        });
        let x = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        let expected = [[0.0, 0.0, 1.0, 2.0], [3.0, 4.0, 5.0, 6.0]];
        assert_eq!(taken(rows, &[3, 2], &x), expected);
    }

    #[test]
    fn an_image_gives_kernel_rows_filled_up_to_four() {
        let rows = Rows::Image(Window {
            kernel: [2, 2],
            stride: [1, 2],
            dilation: [1, 1],
            pad_before: [0, 1],
            pad_after: [0, 0],
        });
        let x = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        let expected = [
            [0.0, 1.0, 0.0, 0.0, 0.0, 4.0, 0.0, 0.0],
            [2.0, 3.0, 0.0, 0.0, 5.0, 6.0, 0.0, 0.0],
        ];
        assert_eq!(taken(rows, &[2, 3, 1], &x), expected);
        // A run with another size adds nothing.
        assert!(taken(rows, &[2, 3, 1], &x[..3]).is_empty());
    }

    #[test]
    fn a_state_is_that_of_the_row_before() {
        let previous = |reverse, first| Rows::Previous { reverse, first };
        let y = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        let states = taken(previous(false, None), &[3, 2], &y);
        assert_eq!(states, [[0.0, 0.0], [1.0, 2.0], [3.0, 4.0]]);
        let states = taken(previous(true, Some(ValueId(1))), &[3, 2], &y);
        assert_eq!(states, [[8.0, 9.0], [3.0, 4.0], [5.0, 6.0]]);
    }

    #[test]
    fn rows_of_nan_are_left_out() {
        let x = [1.0, f32::NAN, 3.0, 4.0];
        assert_eq!(taken(Rows::Plain, &[2, 2], &x), [[3.0, 4.0]]);
    }
}
