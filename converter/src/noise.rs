//! Calibration data for a model of which only the cost matters: noise. A file that is calibrated with it computes nothing of use.

use crate::error::Result;
use crate::files::write_npz;
use crate::reference::Reference;
use ndarray::{ArrayD, IxDyn};
use std::path::Path;

/// Samples of each input.
const SAMPLES: usize = 16;
/// Symbols are below this.
const SYMBOLS: i64 = 50;

/// Writes samples for all inputs of the model in `onnx` to the npz file `data`: quantities are normally distributed with variance 1,
/// symbols are from 0 to 49. The same model has the same samples each time.
///
/// # Errors
/// Those of [`Reference::load`]; [`ConvertError::File`](crate::error::ConvertError::File).
pub fn write(onnx: &Path, data: &Path) -> Result<()> {
    let mut state = 5u64;
    let mut uniform = move || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 24) as f32
    };
    // The sum of twelve uniform numbers (Irwin and Hall).
    let mut normal = move || (0..12).map(|_| uniform()).sum::<f32>() - 6.0;
    let reference = Reference::load(onnx)?;
    write_npz(data, |npz| {
        for input in reference.inputs() {
            let mut shape = vec![SAMPLES];
            shape.extend(input.shape.iter().skip(1));
            let samples = ArrayD::from_shape_simple_fn(IxDyn(&shape), &mut normal);
            if input.integer {
                let symbols = samples.mapv(|x| (1000.0 * x.abs()) as i64 % SYMBOLS);
                npz.add_array(&input.name, &symbols)?;
            } else {
                npz.add_array(&input.name, &samples)?;
            }
        }
        Ok(())
    })?;
    Ok(())
}
