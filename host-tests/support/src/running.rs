//! Running converted files on this computer.

use attn_converter::runner::{self, AlignedBytes, ModelFile};
use attn_runtime::format::DType;
use attn_runtime::{Model, Session, f16};
use ndarray::{ArrayD, ArrayViewD, Axis};

/// Calls `f` with a fresh session of a model.
pub fn with_session<R>(model: Model, f: impl FnOnce(&mut Session) -> R) -> R {
    let mut arena = AlignedBytes::zeroed(model.arena_len());
    f(&mut Session::new(model, arena.as_mut_slice()).unwrap())
}

/// Calls `f` with a fresh session of the model in these bytes.
pub fn with_file<R>(bytes: &[u8], f: impl FnOnce(&mut Session) -> R) -> R {
    with_session(ModelFile::new(bytes).unwrap().model(), f)
}

/// What entry point 0 makes of its one input.
pub fn output<'x>(session: &mut Session, x: impl IntoIterator<Item = &'x f32>) -> Vec<f32> {
    runner::fill(session, 0, 0, x.into_iter()).unwrap();
    session.run(0).unwrap();
    runner::output(session, 0, 0).unwrap()
}

/// What entry point 0 makes of each input: runs upon each other, without a reset.
pub fn outputs<'x>(
    model: Model,
    inputs: impl IntoIterator<Item = ArrayViewD<'x, f32>>,
) -> Vec<Vec<f32>> {
    with_session(model, |session| {
        let run = |x: ArrayViewD<f32>| output(session, &x);
        inputs.into_iter().map(run).collect()
    })
}

/// Frame by frame a stream gives the rows of the whole window, bit for bit; every sample starts from a reset.
pub fn assert_stream_equals_window(window: Model, stream: Model, samples: &ArrayD<f32>) {
    with_session(window, |whole| {
        with_session(stream, |frames| {
            for sample in samples.axis_iter(Axis(0)) {
                frames.reset();
                let steps = sample.outer_iter();
                let rows: Vec<f32> = steps.flat_map(|x| output(frames, &x)).collect();
                assert_eq!(rows, output(whole, &sample));
            }
        });
    });
}

/// Noise for the inputs of `runs` runs of entry point 0.
pub fn noise(model: Model, runs: usize) -> Vec<u8> {
    let mut state = 1u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 16) as i16
    };
    let mut bytes = Vec::new();
    for _ in 0..runs {
        for id in model.entries()[0].inputs() {
            let record = model.tensor(id).unwrap();
            for _ in 0..record.len() {
                match record.dtype() {
                    DType::I8 => bytes.push(next() as u8),
                    DType::F16 => {
                        let x = f16::from_f32(f32::from(next()) / 16_384.0);
                        bytes.extend(x.to_le_bytes());
                    }
                    DType::I16 | DType::I32 => bytes.extend(next().to_le_bytes()),
                }
            }
        }
    }
    bytes
}
