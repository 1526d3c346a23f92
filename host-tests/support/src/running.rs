//! Running converted files on this computer.

use attn_converter::runner::{self, AlignedBytes, ModelFile};
use attn_runtime::{Model, Session};
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
