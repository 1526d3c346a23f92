//! Attention over windows of 32 to 1024 steps, put together without ONNX: what it takes of the arena, and that long windows
//! compute what they should, whole and on a stream.

use attn_converter::calibrate::{Distribution, RangeMethod};
use attn_converter::emit::{Metadata, emit};
use attn_converter::graph::{Graph, Node, Op, Value, ValueId, op};
use attn_converter::lower::{Form, Part, lower};
use attn_converter::plan::plan;
use attn_converter::quantize::Scheme;
use attn_converter::quantize::choices::{self, Choices};
use attn_converter::runner::ModelFile;
use attn_converter::sqnr::Sqnr;
use attn_test_support::running::{assert_stream_equals_window, outputs};
use ndarray::{Array2, ArrayD, Axis, s};
use std::collections::BTreeSet;

const HEADS: usize = 4;
const WIDTH: usize = 64;
/// Values in the order of computation.
const NAMES: [&str; 6] = ["x", "q", "k", "v", "context", "y"];

/// Numbers between -1 and 1, always the same.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> f32 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }

    fn matrix(&mut self, rows: usize, columns: usize) -> Array2<f32> {
        Array2::from_shape_simple_fn((rows, columns), || self.next())
    }
}

/// One block: three projections, attention, output projection; in float and as a graph.
struct Block {
    steps: usize,
    causal: bool,
    /// Of q, k, v and y.
    weights: [Array2<f32>; 4],
}

impl Block {
    fn new(steps: usize, causal: bool) -> Self {
        let mut numbers = Numbers(3);
        let weights = [0.35, 0.35, 0.2, 0.2].map(|size| numbers.matrix(WIDTH, WIDTH) * size);
        Self {
            steps,
            causal,
            weights,
        }
    }

    fn input(&self) -> Array2<f32> {
        Numbers(11).matrix(self.steps, WIDTH)
    }

    /// Every value in float; nothing of attn takes part.
    fn float(&self) -> [Array2<f32>; 6] {
        let x = self.input();
        let [q, k, v] = [0, 1, 2].map(|i| x.dot(&self.weights[i].t()));
        let mut context = Array2::zeros((self.steps, WIDTH));
        for head in 0..HEADS {
            let d = WIDTH / HEADS;
            let part = s![.., head * d..(head + 1) * d];
            let mut scores = q.slice(part).dot(&k.slice(part).t()) / (d as f32).sqrt();
            for (row, mut scores) in scores.axis_iter_mut(Axis(0)).enumerate() {
                if self.causal {
                    scores.slice_mut(s![row + 1..]).fill(f32::NEG_INFINITY);
                }
                let highest = scores.fold(f32::NEG_INFINITY, |a, &b| a.max(b));
                scores.mapv_inplace(|s| (s - highest).exp());
                let sum = scores.sum();
                scores /= sum;
            }
            context.slice_mut(part).assign(&scores.dot(&v.slice(part)));
        }
        let y = context.dot(&self.weights[3].t());
        [x, q, k, v, context, y]
    }

    fn graph(&self) -> Graph {
        let value = |name: &str| Value {
            name: name.into(),
            dims: vec![self.steps, WIDTH],
            source: None,
        };
        let node = |name: &str, op, inputs: &[usize], output| Node {
            name: name.into(),
            op,
            inputs: inputs.iter().map(|&id| ValueId(id)).collect(),
            output: ValueId(output),
            second: None,
        };
        let linear = |weight: &Array2<f32>| {
            let weight = ArrayD::from(weight.clone().into_dyn());
            Op::Linear(op::Linear(op::Affine::new(weight, vec![0.0; WIDTH])))
        };
        let attention = Op::Attention(op::Attention {
            heads: HEADS,
            key_heads: HEADS,
            scale: 1.0 / ((WIDTH / HEADS) as f32).sqrt(),
            causal: self.causal,
            visible: None,
            biased: false,
        });
        let [q, k, v, y] = self.weights.each_ref().map(linear);
        Graph {
            values: NAMES.map(value).into(),
            nodes: vec![
                node("q", q, &[0], 1),
                node("k", k, &[0], 2),
                node("v", v, &[0], 3),
                node("attention", attention, &[1, 2, 3], 4),
                node("y", y, &[4], 5),
            ],
            inputs: vec![ValueId(0)],
            outputs: vec![ValueId(5)],
            ..Graph::default()
        }
    }

    /// The file, with all values in int8 or in int16.
    fn file(&self, wide: bool, form: Form) -> ModelFile {
        let graph = self.graph();
        let distribution =
            |value: &Array2<f32>| Distribution::of(&value.iter().copied().collect::<Vec<_>>());
        let distributions = self.float().each_ref().map(distribution);
        let choices = Choices {
            range: RangeMethod::MinMax,
            audio: false,
            wide: if wide {
                choices::all(&graph, false)
            } else {
                BTreeSet::new()
            },
            narrow: Default::default(),
            given: Default::default(),
            two_parts: Default::default(),
        };
        let scheme = Scheme::new(&graph, &distributions, &choices).fine();
        let program = lower(&[Part::alone(&graph, &scheme, form)], &[], 0, false).unwrap();
        ModelFile::new(&emit(&program, &plan(&program), &Metadata::default()).unwrap()).unwrap()
    }
}

#[test]
fn the_arena_of_a_block_grows_linearly_with_the_window() {
    println!("| steps | int8 | per step | int16x8 | per step |\n|---:|---:|---:|---:|---:|");
    let mut per_step = Vec::new();
    for steps in [32, 64, 128, 256, 512, 1024] {
        let block = Block::new(steps, false);
        let arena = [false, true].map(|wide| block.file(wide, Form::Window).model().arena_len());
        let one = arena.map(|bytes| bytes as f64 / steps as f64);
        println!(
            "| {steps} | {} | {:.0} | {} | {:.0} |",
            arena[0], one[0], arena[1], one[1]
        );
        per_step.push(one);
    }
    // Bytes per step never grow: no part of the arena grows faster than the window.
    for pair in per_step.windows(2) {
        assert!(
            pair[1][0] <= pair[0][0] && pair[1][1] <= pair[0][1],
            "{per_step:?}"
        );
    }
}

#[test]
fn long_windows_stay_close_to_float() {
    for (steps, causal) in [(511, false), (512, true), (1024, false), (1024, true)] {
        let block = Block::new(steps, causal);
        let [x, .., y] = block.float();
        let exact: Vec<f32> = y.iter().copied().collect();
        for (wide, floor) in [(false, 28.0), (true, 40.0)] {
            let mut sqnr = Sqnr::default();
            let file = block.file(wide, Form::Window);
            sqnr.add(&exact, &outputs(file.model(), [x.view().into_dyn()])[0]);
            let db = sqnr.db();
            println!("{steps} steps, causal {causal}, int16 {wide}: {db:.1} dB");
            assert!(db >= floor, "{steps} steps, int16 {wide}: {db} dB");
        }
    }
}

#[test]
fn a_long_window_on_a_stream_equals_the_whole() {
    let block = Block::new(700, true);
    let x = block.input();
    for wide in [false, true] {
        let [window, stream] = [Form::Window, Form::Stream].map(|form| block.file(wide, form));
        let one = x.clone().into_dyn().insert_axis(Axis(0));
        assert_stream_equals_window(window.model(), stream.model(), &one);
    }
}
