//! Tables of the kernels: base-2 exponential and hyperbolic tangent.

use crate::table;

pub fn source() -> String {
    let exp2 = (0..=32).map(|i| libm::round(libm::exp2(-f64::from(i) / 32.0) * 32768.0) as i64);
    let tanh = (-256..=256).map(|i| {
        libm::round(32768.0 * libm::tanh(f64::from(i) / 32.0)).clamp(-32767.0, 32767.0) as i64
    });
    [
        table(
            "`2^(-i / 32)`, Q15.",
            "EXP2_Q15",
            "u16",
            exp2.collect::<Vec<_>>().into_iter(),
        ),
        table(
            "`tanh((i - 256) / 32)`, Q15.",
            "TANH_Q15",
            "i16",
            tanh.collect::<Vec<_>>().into_iter(),
        ),
    ]
    .concat()
}
