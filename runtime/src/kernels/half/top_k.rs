//! The best of a row of logits with their log-probabilities, in the form of [`crate::kernels::int::top_k`].
//!
//! The row is seen once, a batch of logits at a time. Equal logits rank by token, the lower first.

use super::MAX;
use super::function::exp2;
use super::linear::{Matrix, sums};
use crate::format::MAX_CANDIDATES;
use core::f32::consts::LOG2_E;

/// No log-probability is below.
const LEAST: f32 = -11_356.0;
const Q16: f32 = 65536.0;

/// One row `wide_x: [in]` through the layer; writes the best tokens and their log-probabilities in Q16 nats, best first.
pub fn linear_top_k(wide_x: &[f32], matrix: &Matrix, tokens: &mut [i32], scores: &mut [i32]) {
    let mut best = [-MAX; MAX_CANDIDATES];
    let best = best.get_mut(..tokens.len()).unwrap_or_default();
    tokens.fill(0);
    let (mut top, mut total) = (-MAX, 0.0f32);
    let mut token = 0;
    sums(wide_x, matrix, |logits: &[f32]| {
        for &logit in logits {
            let logit = if logit > -MAX { logit } else { -MAX };
            let logit = if logit < MAX { logit } else { MAX };
            if logit > top {
                total *= exp2((top - logit) * LOG2_E);
                top = logit;
            }
            total += exp2((logit - top) * LOG2_E);
            insert(best, tokens, logit, token);
            token += 1;
        }
    });
    let log = libm::logf(total);
    for (score, &logit) in scores.iter_mut().zip(&*best) {
        let score_nats = (logit - top) - log;
        let score_nats = if score_nats > LEAST {
            score_nats
        } else {
            LEAST
        };
        *score = (score_nats * Q16 - 0.5) as i32;
    }
}

/// Puts a logit in its place among the best so far. Places that nothing was put into hold the least logit.
fn insert(best: &mut [f32], tokens: &mut [i32], logit: f32, token: i32) {
    let mut carried = (logit, token);
    let mut moving = false;
    let seen = token as usize;
    for (place, (slot, number)) in best.iter_mut().zip(tokens).enumerate() {
        // An equal logit of a later token stays behind.
        moving |= carried.0 > *slot || place >= seen;
        if moving {
            let before = (*slot, *number);
            (*slot, *number) = carried;
            carried = before;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::linear::tests::{halves, pack};
    use super::super::widen;
    use super::*;
    use crate::kernels::testing::log_softmax;
    use proptest::prelude::*;
    use std::vec;
    use std::vec::Vec;

    proptest! {
        #[test]
        fn the_best_are_those_of_the_whole_row_with_their_log_probabilities(
            (k, weights, bias, x) in (1usize..12, 1usize..50).prop_flat_map(|(k, out)| (
                Just(k),
                proptest::collection::vec(halves(k), out),
                proptest::collection::vec((-20i8..20).prop_map(|b| f32::from(b) / 4.0), out),
                halves(k),
            )),
            count in 1usize..9,
        ) {
            let packed = pack(&weights, k);
            let matrix = Matrix { weights: &packed, bias: &bias };
            let mut wide = vec![0.0; k];
            widen(&x, &mut wide);
            let count = count.min(bias.len()).min(MAX_CANDIDATES);
            let (mut tokens, mut scores) = (vec![9; count], vec![9; count]);
            linear_top_k(&wide, &matrix, &mut tokens, &mut scores);
            let mut logits = vec![];
            sums(&wide, &matrix, |some: &[f32]| logits.extend_from_slice(some));
            let exact = log_softmax(logits.iter().map(|&l| l.into()));
            let mut order: Vec<usize> = (0..logits.len()).collect();
            order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]).then(a.cmp(&b)));
            for (place, (&token, &score)) in tokens.iter().zip(&scores).enumerate() {
                prop_assert_eq!(token as usize, order[place]);
                let error = f64::from(score) / 65536.0 - exact[order[place]];
                prop_assert!(error.abs() < 3e-5, "{score}: off by {error}");
            }
        }
    }
}
