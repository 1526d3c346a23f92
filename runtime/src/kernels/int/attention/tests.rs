//! Attention against double precision, over int8 and int16.

use super::*;
use crate::kernels::int::softmax::score_multiplier;
use crate::kernels::testing::attention;
use proptest::prelude::*;
use std::vec;
use std::vec::Vec;

const SHAPE: Shape = Shape {
    heads: 2,
    key_heads: 2,
    head_dim: 6,
    value_dim: 6,
    slots: 13,
};
const WIDTH: usize = 12;

/// Keys and values of one type.
trait Numbers: KeyValue + Activation + Default + Into<f64> {
    const SCORE_STEP: f64;
    const SCORE_SHIFT: u32;
    const ZERO_POINT: i32;
    /// Steps of the context for one of a value.
    const CONTEXT: f64;
}

impl Numbers for i8 {
    const SCORE_STEP: f64 = 0.002;
    const SCORE_SHIFT: u32 = 0;
    const ZERO_POINT: i32 = -7;
    const CONTEXT: f64 = 128.0;
}

impl Numbers for i16 {
    const SCORE_STEP: f64 = 3e-8;
    const SCORE_SHIFT: u32 = 12;
    const ZERO_POINT: i32 = 0;
    const CONTEXT: f64 = 1.0;
}

/// A slot, its key and its value.
type Row<K> = (usize, Vec<K>, Vec<K>);

/// A window and the steps of its scores.
struct Case<K> {
    shape: Shape,
    rows: Vec<Row<K>>,
    score_step: f64,
    score_shift: u32,
    value_zero_point: i32,
}

impl<K: Numbers> Case<K> {
    fn run(&self, query: &[K], seen: Seen) -> Vec<i16> {
        let shape = &self.shape;
        let mut keys = vec![K::default(); shape.keys_len(packed_len)];
        let mut values = vec![K::default(); shape.values_len(packed_len)];
        for (slot, key, value) in &self.rows {
            push_key(key, *slot, shape, &mut keys);
            push_value(value, *slot, shape, &mut values);
        }
        let step = self.score_step * f64::from(self.score_shift).exp2();
        let scaling = Scaling {
            score_multiplier: score_multiplier(step as f32),
            score_shift: self.score_shift,
            query_zero_point: 0,
            value_zero_point: self.value_zero_point,
        };
        let mut context = vec![0; shape.heads * shape.head_dim];
        let (mut scores, mut pairs) = (vec![0; shape.scores_len()], vec![0; shape.pairs_len()]);
        attend(
            query,
            &keys,
            &values,
            seen,
            None,
            shape,
            &scaling,
            &mut scores,
            &mut pairs,
            &mut context,
            &mut [],
        );
        context
    }

    /// The mean of the values, less their zero point, over the slots that `sees` lets through.
    fn exact(&self, query: &[K], sees: impl Fn(usize) -> bool + Clone) -> Vec<f64> {
        let seen = self.rows.iter().filter(|row| sees(row.0));
        let rows = seen.map(|(_, key, value)| (&key[..], &value[..]));
        let means = attention(query, rows, &self.shape, self.score_step);
        let zero = f64::from(self.value_zero_point);
        means
            .iter()
            .map(|mean| (mean - zero) * K::CONTEXT)
            .collect()
    }
}

/// Every element of the context is less than `bound` off.
fn assert_close(context: &[i16], exact: &[f64], bound: f64) {
    for (&got, exact) in context.iter().zip(exact) {
        assert!((f64::from(got) - exact).abs() < bound, "{got} for {exact}");
    }
}

impl<K: Numbers> From<Vec<Row<K>>> for Case<K> {
    fn from(rows: Vec<Row<K>>) -> Self {
        Case {
            shape: SHAPE,
            rows,
            score_step: K::SCORE_STEP,
            score_shift: K::SCORE_SHIFT,
            value_zero_point: K::ZERO_POINT,
        }
    }
}

const ALL: Seen = Seen {
    first: usize::MAX,
    bits: None,
};

fn first(first: usize) -> Seen<'static> {
    Seen { first, bits: None }
}

fn row<K: Arbitrary>() -> impl Strategy<Value = Vec<K>> {
    proptest::collection::vec(any::<K>(), WIDTH)
}

/// The same rows with the window starting at `turn` and at 0.
fn turned<K: Clone>(rows: &[(Vec<K>, Vec<K>)], turn: usize) -> Vec<(usize, Vec<K>, Vec<K>)> {
    let place =
        |(i, (k, v)): (usize, &(Vec<K>, Vec<K>))| ((i + turn) % rows.len(), k.clone(), v.clone());
    rows.iter().enumerate().map(place).collect()
}

/// One head of keys and values for three heads of queries gives what three copies of it give.
#[test]
fn shared_heads_equal_repeated_ones() {
    let shape = |key_heads| Shape {
        heads: 6,
        key_heads,
        head_dim: 3,
        value_dim: 3,
        slots: 4,
    };
    let query: Vec<i8> = (0..18i32).map(|i| (i * 91 % 256 - 128) as i8).collect();
    let row = |slot: usize, step: i32| {
        (0..6).map(move |i| ((i + 1) * (slot as i32 + 2) * step % 256 - 128) as i8)
    };
    let rows = |times: usize| {
        let repeated = |row: Vec<i8>| -> Vec<i8> {
            let heads = row.chunks_exact(3);
            heads.flat_map(|head| head.repeat(times)).collect()
        };
        let place = |slot| {
            let (key, value) = (row(slot, 37).collect(), row(slot, 53).collect());
            (slot, repeated(key), repeated(value))
        };
        (0..4).map(place).collect::<Vec<_>>()
    };
    let shared = Case {
        shape: shape(2),
        ..Case::from(rows(1))
    };
    let repeated = Case {
        shape: shape(6),
        ..Case::from(rows(3))
    };
    assert_eq!(shared.run(&query, ALL), repeated.run(&query, ALL));
}

/// Close to double precision, with the same bytes wherever the window starts.
fn check<K: Numbers>(query: &[K], rows: &[(Vec<K>, Vec<K>)], turn: usize, bound: f64) {
    let case = Case::from(turned(rows, 0));
    let context = case.run(query, first(rows.len()));
    let turned = Case::from(turned(rows, turn));
    assert_eq!(context, turned.run(query, first(rows.len())));
    assert_close(&context, &case.exact(query, |_| true), bound);
}

proptest! {
    #[test]
    fn attention_is_close_to_double_precision_and_blind_to_slot_order(
        query in row::<i8>(),
        rows in proptest::collection::vec((row::<i8>(), row::<i8>()), 1..13),
        turn in 0usize..13,
    ) {
        // 0.1 % of the largest value, 255 * 128
        check(&query, &rows, turn, 33.0);
    }

    #[test]
    fn attention_over_int16_is_as_close_and_as_blind(
        query in row::<i16>(),
        rows in proptest::collection::vec((row::<i16>(), row::<i16>()), 1..13),
        turn in 0usize..13,
    ) {
        // 0.05 % of the largest value
        check(&query, &rows, turn, 17.0);
    }

    #[test]
    fn a_mask_hides_slots(
        query in row::<i8>(),
        rows in proptest::collection::vec((row::<i8>(), row::<i8>()), 13),
        mask in 0u32..1 << 13,
    ) {
        let case = Case::<i8>::from(turned(&rows, 0));
        let context = case.run(&query, Seen { bits: Some(&[mask]), ..ALL });
        let exact = case.exact(&query, |slot| mask >> slot & 1 == 1);
        let exact = if mask == 0 { vec![0.0; WIDTH] } else { exact };
        assert_close(&context, &exact, 33.0);
    }
}

fn check_long<K: Numbers>(
    slots: usize,
    query: [K; 4],
    row: impl Fn(usize) -> [[K; 4]; 2],
    bound: f64,
) {
    let rows = (0..slots).map(|slot| {
        let [key, value] = row(slot);
        (slot, key.to_vec(), value.to_vec())
    });
    let case = Case {
        shape: Shape {
            heads: 1,
            key_heads: 1,
            head_dim: 4,
            value_dim: 4,
            slots,
        },
        score_step: 0.002,
        score_shift: 0,
        value_zero_point: 0,
        rows: rows.collect(),
    };
    assert_close(&case.run(&query, ALL), &case.exact(&query, |_| true), bound);
}

/// Long windows, in the worst case for the sums: nearly equal weights, values at their limits.
#[test]
fn long_windows_stay_close_to_double_precision() {
    for slots in [511, 512, 513, 1024, 4095, MAX_SLOTS] {
        let narrow = |i: usize| [[(i % 5) as i8; 4], [127, -128, 127 - (i % 2) as i8, 0]];
        check_long(slots, [1i8, -1, 2, 0], narrow, 8.0);
        let wide = |i: usize| [[(i % 5) as i16; 4], [32767, -32768, i as i16, 0]];
        check_long(slots, [1i16, -1, 2, 0], wide, 4.0);
    }
}

#[test]
fn an_empty_window_gives_zero() {
    let empty = Case::<i8>::from(vec![]);
    assert_eq!(empty.run(&[1; WIDTH], first(0)), vec![0; WIDTH]);
    let empty = Case::<i16>::from(vec![]);
    assert_eq!(empty.run(&[1; WIDTH], first(0)), vec![0; WIDTH]);
}

/// One head of keys and narrower values for two heads of queries, with biases of either width: context and weights are those of f64.
#[test]
fn biases_are_added_and_the_weights_of_every_head_are_given() {
    let shape = Shape {
        heads: 2,
        key_heads: 1,
        head_dim: 4,
        value_dim: 3,
        slots: 5,
    };
    let number = |at: usize, seed: usize| ((at * 53 + seed * 29) % 41) as i8 - 20;
    let rows = |width: usize, seed: usize| -> Vec<Vec<i8>> {
        let row = |slot: usize| (0..width).map(|c| number(slot * width + c, seed)).collect();
        (0..shape.slots).map(row).collect()
    };
    let (key_rows, value_rows) = (rows(4, 1), rows(3, 2));
    let mut keys = vec![0; shape.keys_len(packed_len)];
    let mut values = vec![0; shape.values_len(packed_len)];
    for slot in 0..shape.slots {
        push_key(&key_rows[slot], slot, &shape, &mut keys);
        push_value(&value_rows[slot], slot, &shape, &mut values);
    }
    let query: Vec<i8> = (0..8).map(|at| number(at, 3)).collect();
    let narrow: Vec<i8> = (0..10).map(|at| number(at, 4)).collect();
    let wide: Vec<i16> = narrow.iter().map(|&b| i16::from(b)).collect();
    let step = 0.01;
    for biases in [Biases::I8(&narrow), Biases::I16(&wide)] {
        let bias = Bias {
            biases,
            zero_point: 3,
            // 4 steps of a score.
            factor: 4 << 20,
            shift: 20,
        };
        let scaling = Scaling {
            score_multiplier: score_multiplier(step as f32),
            score_shift: 0,
            query_zero_point: 0,
            value_zero_point: 0,
        };
        let (mut context, mut weights) = ([0; 6], [0; 10]);
        let (mut scores, mut pairs) = (vec![0; shape.scores_len()], vec![0; shape.pairs_len()]);
        attend(
            &query,
            &keys,
            &values,
            ALL,
            Some(bias),
            &shape,
            &scaling,
            &mut scores,
            &mut pairs,
            &mut context,
            &mut weights,
        );
        for head in 0..shape.heads {
            let score = |slot: usize| {
                let dot =
                    (0..4).map(|c| f64::from(query[head * 4 + c]) * f64::from(key_rows[slot][c]));
                let bias = f64::from(narrow[head * shape.slots + slot]) - 3.0;
                ((dot.sum::<f64>() + 4.0 * bias) * step).exp()
            };
            let all: Vec<f64> = (0..shape.slots).map(score).collect();
            let total: f64 = all.iter().sum();
            for slot in 0..shape.slots {
                let got = f64::from(weights[head * shape.slots + slot]);
                let exact = all[slot] / total * 32767.0;
                assert!((got - exact).abs() < 30.0, "{got} for {exact}");
            }
            for c in 0..shape.value_dim {
                let sum = (0..shape.slots).map(|slot| all[slot] * f64::from(value_rows[slot][c]));
                let exact = sum.sum::<f64>() / total * 128.0;
                let got = f64::from(context[head * 3 + c]);
                assert!((got - exact).abs() < 4.0, "{got} for {exact}");
            }
        }
    }
}
