//! Sum, largest or smallest of the elements along one axis, in f32, in the order of the axis.

use super::Clamp;
use crate::f16;
use crate::kernels::int::reduce::Reduction;

/// `x: [outer, n, inner]` to `y: [outer, inner]`; a sum is multiplied with `factor` and rounded once.
pub fn reduce(x: &[f16], kind: Reduction, [n, inner]: [usize; 2], factor: f32, y: &mut [f16]) {
    let inner = inner.max(1);
    let blocks = x.chunks_exact((n * inner).max(1));
    for (x, y) in blocks.zip(y.chunks_exact_mut(inner)) {
        for (at, y) in y.iter_mut().enumerate() {
            let column = || x.iter().skip(at).step_by(inner).map(|x| x.to_f32());
            let value = match kind {
                Reduction::Max => column().fold(f32::NEG_INFINITY, f32::max),
                Reduction::Min => column().fold(f32::INFINITY, f32::min),
                Reduction::Sum => column().fold(0.0, |sum, x| sum + x) * factor,
            };
            *y = Clamp::NONE.apply(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_axis_is_reduced() {
        let x = [1.0, 9.0, 2.0, 8.0, 3.0, 7.0].map(f16::from_f32);
        let run = |kind, factor| {
            let mut y = [f16::ZERO; 2];
            reduce(&x, kind, [3, 2], factor, &mut y);
            y.map(f16::to_f32)
        };
        assert_eq!(run(Reduction::Max, 0.0), [3.0, 9.0]);
        assert_eq!(run(Reduction::Min, 0.0), [1.0, 7.0]);
        assert_eq!(run(Reduction::Sum, 0.5), [3.0, 12.0]);
    }
}
