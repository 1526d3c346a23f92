//! Tables of the kernels: base-2 exponential, sigmoid, hyperbolic tangent.

use crate::table;

/// Sigmoid and tanh are tabulated on `[-8, 8]` in steps of 1/16.
const HALF_STEPS: i64 = 128;

pub fn source() -> String {
    let exp2 = (0..=32)
        .map(|i| libm::round(libm::exp2(-(i as f64) / 32.0) * 32768.0) as i64)
        .collect::<Vec<_>>();
    let steps = || (-HALF_STEPS..=HALF_STEPS).map(|i| i as f64 / 16.0);
    let sigmoid = steps()
        .map(|x| libm::round(32768.0 / (1.0 + libm::exp(-x))).min(32767.0) as i64)
        .collect::<Vec<_>>();
    let tanh = steps()
        .map(|x| libm::round(32768.0 * libm::tanh(x)).clamp(-32767.0, 32767.0) as i64)
        .collect::<Vec<_>>();
    [
        table("`2^(-i / 32)`, Q15.", "EXP2_Q15", "u16", exp2.into_iter()),
        table(
            "`sigmoid((i - 128) / 16)`, Q15.",
            "SIGMOID_Q15",
            "i16",
            sigmoid.into_iter(),
        ),
        table(
            "`tanh((i - 128) / 16)`, Q15.",
            "TANH_Q15",
            "i16",
            tanh.into_iter(),
        ),
    ]
    .concat()
}
