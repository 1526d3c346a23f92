//! Weights as int8 values meet them two in a halfword: whether they can, and their order. The format is in
//! [`attn_runtime::kernels::int::joined`]; whether it pays is decided in [`crate::lower::joined`].

use super::Weights;
use crate::quantize::Quant;
use attn_runtime::format::DType;
use attn_runtime::kernels::int::dot::{LANES, packed_len};
use attn_runtime::kernels::int::joined;

impl Weights {
    /// Whether the weights can be joined, two in a halfword, for an input held as `x` and results with this left shift: an int8 input,
    /// and accumulators that stay 32 bits when they are 256 times as large.
    pub fn joins(&self, x: Quant, left_shift: u32) -> bool {
        let small = self.bounds.iter().all(|&bound| bound < joined::LIMIT);
        let mut weights = self.rows.iter().flatten();
        x.dtype == DType::I8
            && left_shift <= joined::LEFT_MAX
            && small
            && weights.all(|&w| w > i8::MIN)
    }

    /// Weights joined, in the order of reading, and their biases; see [`attn_runtime::kernels::int::joined`].
    pub fn joined(&self) -> (Vec<i8>, Vec<i32>) {
        let mut packed = vec![0; packed_len(self.rows.len(), self.k)];
        let mut biases = Vec::new();
        for (o, (row, &bias)) in self.rows.iter().zip(&self.bias).enumerate() {
            let mut odd = 0;
            for (group, weights) in row.chunks(LANES).enumerate() {
                let mut four = [0; LANES];
                four[..weights.len()].copy_from_slice(weights);
                odd += i32::from(four[1]) + i32::from(four[3]);
                let at = joined::joined_index(o, group, self.k);
                packed[at..at + LANES].copy_from_slice(&joined::joined(four));
            }
            biases.push(joined::bias(bias, odd));
        }
        (packed, biases)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quantize::weights::Rounding;

    const X: Quant = Quant {
        dtype: DType::I8,
        scale: 0.1,
        zero_point: 7,
    };

    #[test]
    fn joined_weights_are_the_weights_two_in_a_halfword() {
        let rows: Vec<Vec<f32>> = (0..3i32)
            .map(|o| {
                (0..6)
                    .map(|i| ((o * 31 + i * 17) % 23 - 11) as f32)
                    .collect()
            })
            .collect();
        let slices = rows.iter().map(Vec::as_slice);
        let weights = Weights::new("fc", slices, &[0.5, -3.0, 9.0], X, Rounding::Nearest).unwrap();
        let (stored, biases) = weights.joined();
        assert_eq!(stored.len(), packed_len(3, 6));
        for (o, row) in weights.rows.iter().enumerate() {
            let mut padded = row.clone();
            padded.resize(8, 0);
            for (group, four) in padded.as_chunks::<LANES>().0.iter().enumerate() {
                let at = joined::joined_index(o, group, 6);
                let word = stored[at..at + LANES].try_into().unwrap();
                assert_eq!(joined::apart(word), four.map(i32::from));
            }
            let odd: i32 = padded
                .iter()
                .skip(1)
                .step_by(2)
                .map(|&w| i32::from(w))
                .sum();
            assert_eq!(joined::plain_bias(biases[o], odd), 256 * weights.bias[o]);
        }
    }

    #[test]
    fn weights_stay_packed_where_sums_have_no_room() {
        let wide = Quant {
            dtype: DType::I16,
            ..X
        };
        let row = |k: usize, x: Quant| {
            let row = vec![1.0f32; k];
            Weights::new("fc", [&row[..]].into_iter(), &[0.0], x, Rounding::Nearest).unwrap()
        };
        assert!(row(64, X).joins(X, 7) && !row(64, X).joins(X, 8));
        assert!(!row(64, wide).joins(wide, 0));
        // 127 * 128 * k, and the zero point times the weights in the bias.
        let most = (joined::LIMIT as usize - 1) / (127 * (128 + 7));
        assert!(row(most, X).joins(X, 0) && !row(most + 1, X).joins(X, 0));
    }
}
