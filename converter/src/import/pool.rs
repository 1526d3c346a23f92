//! Pooling over images and over rows.

use super::Importer;
use super::image::{Image, pair};
use super::node::OnnxNode;
use super::nodes::normalize;
use super::view::View;
use crate::error::Result;
use crate::graph::{Op, ValueId, Window, op};
use std::collections::BTreeSet;

impl Importer<'_> {
    /// MaxPool and AveragePool.
    pub(super) fn pool(&mut self, node: &OnnxNode) -> Result<()> {
        let max = node.op == "MaxPool";
        if node.outputs.get(1).is_some_and(|name| self.is_used(name)) {
            return Err(
                node.form("places of the maxima (return_indices); only the maxima are there")
            );
        }
        let x = self.view(node, 0)?;
        let image = if max {
            self.bare_image(node, &x)?
        } else {
            self.image_operand(node, &x)?
        };
        let kernel = pair(node.ints("kernel_shape").unwrap_or(&[]), 1);
        self.check_dense(node)?;
        let window = self.window(node, &image, kernel)?;
        let pads = || window.pad_before.iter().chain(&window.pad_after);
        let counts_padding = node.int("count_include_pad", 0) != 0;
        if !max && !counts_padding && node.ints("pads").is_some_and(|p| p.iter().any(|&n| n > 0)) {
            return Err(
                node.form("an average that leaves padding out; export with count_include_pad=True")
            );
        }
        if pads()
            .zip(window.kernel.iter().cycle())
            .any(|(pad, kernel)| pad >= kernel)
        {
            return Err(node.form("padding as large as the window; pad less"));
        }
        let [h, w] = self.result_size(node);
        let op = if max {
            Op::MaxPool2d(op::MaxPool2d { window })
        } else if x.factor == 1.0 {
            Op::AveragePool2d(op::AveragePool2d { window })
        } else {
            return Err(node.form("a scaled tensor; put the factor into the layer before it"));
        };
        self.add_image(node, op, vec![image.value], [h, w, image.size[2]]);
        Ok(())
    }

    /// GlobalAveragePool and GlobalMaxPool.
    pub(super) fn global_pool(&mut self, node: &OnnxNode) -> Result<()> {
        let x = self.view(node, 0)?;
        let image = self.bare_image(node, &x)?;
        self.pool_pixels(node, &image, node.op == "GlobalMaxPool");
        Ok(())
    }

    /// One value for each channel of an image.
    fn pool_pixels(&mut self, node: &OnnxNode, image: &Image, max: bool) {
        let [h, w, c] = image.size;
        let op = if max {
            Op::MaxPool2d(op::MaxPool2d {
                window: Window::over([h, w]),
            })
        } else {
            Op::MeanRows(op::MeanRows)
        };
        self.add_image(node, op, vec![image.value], [1, 1, c]);
    }

    /// ReduceMean and ReduceMax: over pixels or time, or over channels.
    pub(super) fn reduce(&mut self, node: &OnnxNode, axes: &[i64], max: bool) -> Result<()> {
        let x = self.view(node, 0)?;
        let rank = x.shape().len();
        let axes: Vec<usize> = match axes {
            [] => (0..rank).collect(),
            // In any order, and counted from either end.
            axes => {
                let axes = axes.iter().filter_map(|&axis| normalize(axis, rank));
                axes.collect::<BTreeSet<_>>().into_iter().collect()
            }
        };
        let form = || {
            node.form("a mean or maximum must run over time (all axes but the last), over an image's pixels, or over channels, or be the mean of an RMSNorm")
        };
        if x.factor != 1.0 {
            return Err(node.form("a scaled tensor; put the factor into the layer before it"));
        }
        let long = |axis: &usize| x.shape()[*axis] > 1;
        let among: Vec<usize> = axes.iter().copied().filter(long).collect();
        let is = |wanted: std::ops::Range<usize>| wanted.filter(long).eq(among.iter().copied());
        let channels = x.shape().last().copied().unwrap_or(1);
        // Rows of adjacent channels first: that is also what an image of one channel looks like.
        if let Some(rows) = self.rows_of(x.base, &x.positions(), channels) {
            if is(0..rank - 1) && !axes.contains(&(rank - 1)) {
                self.pool_rows(node, rows, max);
                return Ok(());
            }
            if axes == [rank - 1] {
                self.pool_channels(node, rows, max);
                return Ok(());
            }
        }
        if rank > 2 && is(2..rank) && !axes.contains(&1) {
            let image = self.bare_image(node, &x)?;
            self.pool_pixels(node, &image, max);
            return Ok(());
        }
        if axes == [1] {
            let image = self.bare_image(node, &x)?;
            self.pool_channels(node, image.value, max);
            return Ok(());
        }
        Err(form())
    }

    /// One value for each channel of rows `[rows, channels]`.
    fn pool_rows(&mut self, node: &OnnxNode, rows: ValueId, max: bool) {
        let shape = self.shape_of(&node.output);
        let view = View::whole(self.next_value(), &shape);
        if !max {
            self.add_node(node, Op::MeanRows(op::MeanRows), vec![rows], &shape, view);
            return;
        }
        let value = &self.graph.values[rows.0];
        let (count, channels) = (value.rows(), value.channels());
        let image = self.shaped(rows, &[count, 1, channels]);
        let op = Op::MaxPool2d(op::MaxPool2d {
            window: Window::over([count, 1]),
        });
        let view = View {
            base: self.next_value(),
            ..view
        };
        self.add_node_as(node, op, vec![image], &[1, 1, channels], view);
    }

    /// One value for each row or pixel.
    fn pool_channels(&mut self, node: &OnnxNode, rows: ValueId, max: bool) {
        let mut dims = self.graph.values[rows.0].dims.clone();
        if let Some(last) = dims.last_mut() {
            *last = 1;
        }
        let op = if max {
            Op::MaxChannels(op::MaxChannels)
        } else {
            Op::MeanChannels(op::MeanChannels)
        };
        let view = View::whole(self.next_value(), &self.shape_of(&node.output));
        self.add_node_as(node, op, vec![rows], &dims, view);
    }
}
