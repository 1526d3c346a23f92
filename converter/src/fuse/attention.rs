//! Softmax attention: weights are the softmax of dot products of queries and keys, and weigh values.
//!
//! Any layout, any number of axes, either side of either product, factors and summands anywhere, keys and values that heads share.

use super::bias::Bias;
use super::dots::{Dots, is_product};
use super::heads::Heads;
use super::matcher::{Matcher, Origin};
use super::rewrite::{Arranged, Rewrite, each};
use super::scores::Scores;
use super::weighing::{Replaced, Weighing};
use crate::graph::{Graph, ValueId, op};
use attn_runtime::kernels::geometry::{MAX_HEADS, MAX_WIDTH};

/// Runs the pass.
pub fn run(graph: &mut Graph) {
    each(graph, |graph, at| {
        let found = Found::at(graph, at)?;
        Some(found.put(graph, at))
    });
}

/// Elements of a value, for one input of the attention.
struct Input {
    base: ValueId,
    position: Vec<u32>,
    channels: usize,
}

/// An attention in place of a product of weights and values.
struct Found {
    op: op::Attention,
    inputs: [Input; 3],
    bias: Option<Bias>,
    queries: usize,
    result: Replaced,
}

impl Found {
    /// The attention that ends with node number `at`, if one does.
    fn at(graph: &Graph, at: usize) -> Option<Self> {
        if !is_product(&graph.nodes[at]) {
            return None;
        }
        let matcher = Matcher::new(graph);
        let weighing = Weighing::of(&matcher, &graph.nodes[at])?;
        let ways = Scores::of(&matcher, weighing.softmax);
        let found = ways
            .iter()
            .find_map(|scores| Self::of(&matcher, &weighing, scores))?;
        Some(found)
    }

    fn of(matcher: &Matcher, weighing: &Weighing, scores: &Scores) -> Option<Self> {
        let product = matcher.producer(scores.from)?;
        let dots = Dots::of(matcher, product, &|value| matcher.scaled(value))?;
        let hidden = scores.hidden()?;
        let mut heads = Heads::of(weighing, scores, &dots, &hidden)?;
        let key_heads = heads.share(weighing, &dots);
        let (count, queries) = (heads.heads.len(), heads.heads.first()?.uses.len());
        let sides = dots.sides.each_ref();
        let scale = scores.factor
            * dots.factor
            * sides.map(|side| side.origin.factor).iter().product::<f32>();
        let visible = visible(weighing, &heads, &hidden)?;
        let (keys, width) = (weighing.keys, sides[0].width);
        let channels = weighing.uses.first()?.columns.len();
        let fits =
            count <= MAX_HEADS as usize && scale > 0.0 && channels.max(width) <= MAX_WIDTH as usize;
        if !fits {
            return None;
        }
        let bias = Bias::of(weighing, scores, &heads, &hidden);
        let rows = places_of_uses(weighing, &heads);
        let first = |number: usize| (rows[number].0 * count + rows[number].1) * keys;
        let result = weighing.replaced(matcher, places(weighing, &rows, count), first)?;
        let all = visible.iter().all(|&seen| seen);
        let ahead = |at: usize| at % keys > at / keys + keys - queries.min(keys);
        let mut seen = visible.iter().enumerate();
        let causal = !all && queries <= keys && seen.all(|(at, &seen)| seen != ahead(at));
        let op = op::Attention {
            heads: count,
            scale,
            causal,
            visible: (!all && !causal).then_some(visible),
            key_heads,
            biased: bias.is_some(),
        };
        let shared = count / key_heads;
        let (query, key) = (sides[heads.side], sides[1 - heads.side]);
        let each = |rows: usize, of: &[Vec<u32>], width: usize| -> Vec<u32> {
            let row = |row: usize| {
                of.iter()
                    .flat_map(move |head| &head[row * width..(row + 1) * width])
            };
            (0..rows).flat_map(row).copied().collect()
        };
        let queried = |head: &super::heads::Head| -> Vec<u32> {
            let queries = head.uses.iter().map(|&used| heads.queries[used]);
            queries
                .flat_map(|number| query.at(number))
                .copied()
                .collect()
        };
        let queried: Vec<_> = heads.heads.iter().map(queried).collect();
        let own = || heads.heads.iter().step_by(shared);
        let keyed: Vec<_> = own().map(|head| head.keys(&dots, 1 - heads.side)).collect();
        let valued: Vec<_> = own().map(|head| head.values(weighing)).collect();
        let input = |origin: &Origin, rows, of: &[Vec<u32>], width| Input {
            base: origin.base,
            position: each(rows, of, width),
            channels: of.len() * width,
        };
        Some(Self {
            inputs: [
                input(&query.origin, queries, &queried, width),
                input(&key.origin, keys, &keyed, width),
                input(&weighing.values.origin, keys, &valued, channels),
            ],
            op,
            bias,
            queries,
            result,
        })
    }

    /// Puts it in place of node number `at`; gives the number of the node behind it.
    fn put(self, graph: &mut Graph, at: usize) -> usize {
        let name = graph.values[self.result.product.0].name.clone();
        let mut rewrite = Rewrite { graph, at };
        let labels = ["queries", "keys", "values"];
        let mut inputs: Vec<ValueId> = (self.inputs.iter().zip(labels))
            .map(|(input, label)| {
                let arranged = Arranged {
                    base: input.base,
                    position: &input.position,
                    channels: input.channels,
                };
                rewrite.arranged(&format!("{name}.{label}"), &arranged)
            })
            .collect();
        let bias = self.bias;
        let bias = bias.and_then(|bias| bias.put(&mut rewrite, &format!("{name}.bias")));
        inputs.extend(bias);
        self.result
            .put(&mut rewrite, self.op.into(), inputs, self.queries)
    }
}

/// What each query sees, `[queries, keys]`, if that is the same in all heads.
fn visible(weighing: &Weighing, heads: &Heads, hidden: &[bool]) -> Option<Vec<bool>> {
    let of = |head: &super::heads::Head| -> Vec<bool> {
        let rows = head
            .uses
            .iter()
            .map(|&used| weighing.uses[used].row * weighing.keys);
        let rows = rows.flat_map(|start| &hidden[start..start + weighing.keys]);
        rows.map(|hidden| !hidden).collect()
    };
    let first = of(heads.heads.first()?);
    heads
        .heads
        .iter()
        .all(|head| of(head) == first)
        .then_some(first)
}

/// For each use its query and head.
fn places_of_uses(weighing: &Weighing, heads: &Heads) -> Vec<(usize, usize)> {
    let mut row = vec![(0, 0); weighing.uses.len()];
    for (number, head) in heads.heads.iter().enumerate() {
        for (query, &used) in head.uses.iter().enumerate() {
            row[used] = (query, number);
        }
    }
    row
}

/// For each element of the product of weights and values its place in `[queries, heads * channels]`.
fn places(weighing: &Weighing, rows: &[(usize, usize)], heads: usize) -> Vec<u32> {
    let channels = weighing.place.len() / weighing.uses.len().max(1);
    let place = |&(used, channel): &(u32, u32)| {
        let (query, head) = rows[used as usize];
        ((query * heads + head) * channels + channel as usize) as u32
    };
    weighing.place.iter().map(place).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuse::testing::{Build, output};
    use crate::graph::op::MatMul;
    use crate::graph::{Clamp, Op};

    const HEADS: usize = 2;
    const ROWS: usize = 5;
    const WIDTH: usize = 3;
    const CHANNELS: usize = HEADS * WIDTH;

    /// Scores `[heads, rows, rows]` of queries and keys `[rows, heads * width]`.
    fn scores(build: &mut Build) -> ValueId {
        let [q, k] = [0, 1].map(|_| build.input(&[ROWS, CHANNELS]));
        let split = |at: usize| {
            let (head, row, c) = (at / (ROWS * WIDTH), at / WIDTH % ROWS, at % WIDTH);
            (row * CHANNELS + head * WIDTH + c) as u32
        };
        let turned = |at: usize| {
            let (head, c, row) = (at / (ROWS * WIDTH), at / ROWS % WIDTH, at % ROWS);
            (row * CHANNELS + head * WIDTH + c) as u32
        };
        let q = build.copy(q, &[HEADS * ROWS, WIDTH], split);
        let k = build.copy(k, &[HEADS * WIDTH, ROWS], turned);
        let sizes = MatMul {
            batch: HEADS,
            m: ROWS,
            k: WIDTH,
            n: ROWS,
        };
        build.op(sizes, &[q, k], &[HEADS * ROWS, ROWS])
    }

    /// The softmax of scores times values `[rows, heads * width]`.
    fn weighed(build: &mut Build, scores: ValueId, key_heads: usize) -> ValueId {
        let channels = key_heads * WIDTH;
        let v = build.input(&[ROWS, channels]);
        let weights = build.op(op::Softmax, &[scores], &[HEADS * ROWS, ROWS]);
        let split = |at: usize| {
            let (head, row, c) = (at / (ROWS * WIDTH), at / WIDTH % ROWS, at % WIDTH);
            (row * channels + head * key_heads / HEADS * WIDTH + c) as u32
        };
        let v = build.copy(v, &[HEADS * ROWS, WIDTH], split);
        let sizes = MatMul {
            batch: HEADS,
            m: ROWS,
            k: ROWS,
            n: WIDTH,
        };
        let context = build.op(sizes, &[weights, v], &[HEADS * ROWS, WIDTH]);
        let joined = |at: usize| {
            let (row, head, c) = (at / CHANNELS, at / WIDTH % HEADS, at % WIDTH);
            (head * ROWS * WIDTH + row * WIDTH + c) as u32
        };
        build.copy(context, &[ROWS, CHANNELS], joined)
    }

    /// Fuses the graph, sees that it is one attention and computes the same.
    fn fused(graph: Graph) -> op::Attention {
        let before = output(&graph);
        let mut graph = graph;
        crate::fuse::fuse(&mut graph);
        let names: Vec<_> = graph.nodes.iter().map(|node| node.op.name()).collect();
        let after = output(&graph);
        let close = before.iter().zip(&after).all(|(a, b)| (a - b).abs() < 1e-5);
        assert!(close && before.len() == after.len(), "{names:?}");
        match graph
            .nodes
            .iter()
            .rev()
            .find(|node| node.op.name() != "Reshape")
        {
            Some(Node {
                op: Op::Attention(attention),
                ..
            }) => attention.clone(),
            _ => panic!("{names:?}"),
        }
    }

    use crate::graph::Node;

    #[test]
    fn heads_are_adjacent_channels_again() {
        let mut build = Build::new();
        let scores = scores(&mut build);
        let y = weighed(&mut build, scores, HEADS);
        let attention = fused(build.graph(&[y]));
        assert_eq!((attention.heads, attention.key_heads), (HEADS, HEADS));
        assert!(!attention.causal && attention.visible.is_none());
    }

    #[test]
    fn a_mask_hides_and_a_summand_of_a_whole_row_vanishes() {
        let mut build = Build::new();
        let scores = scores(&mut build);
        let ahead = |at: usize| at % ROWS > at / ROWS % ROWS;
        let len = HEADS * ROWS * ROWS;
        let kept = build.copy(scores, &[HEADS * ROWS, ROWS], |at| match ahead(at) {
            true => Origin::ZERO,
            false => at as u32,
        });
        let constant = (0..len).map(|at| {
            if ahead(at) {
                -200.0
            } else {
                (at / ROWS) as f32
            }
        });
        let sum = op::AddConstant {
            constant: constant.collect(),
            clamp: Clamp::NONE,
        };
        let masked = build.op(sum, &[kept], &[HEADS * ROWS, ROWS]);
        let y = weighed(&mut build, masked, HEADS);
        assert!(fused(build.graph(&[y])).causal);
    }
}
