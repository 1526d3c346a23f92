//! The trained forecaster (training/forecast): yearly sunspot numbers, one year ahead and rolling on its own forecasts.

use attn_converter::files::read_array;
use attn_converter::lower::Form;
use attn_converter::quantize::Precision;
use attn_converter::reference::{Reference, to_f32};
use attn_test_support::running::{output, with_session};
use attn_test_support::systems::{convert_model, options};
use ndarray::{ArrayD, Axis, IxDyn};
use std::path::{Path, PathBuf};

/// What 1.0 stands for.
const SCALE: f64 = 100.0;

fn model(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../models")
        .join(name)
}

/// Forecasts `years` years from a window on, each put behind the window for the next.
fn rolling(window: &[f32], years: usize, mut next: impl FnMut(&[f32]) -> f32) -> Vec<f64> {
    let mut window = window.to_vec();
    let mut forecasts = Vec::new();
    for _ in 0..years {
        let forecast = next(&window);
        window.remove(0);
        window.push(forecast);
        forecasts.push(f64::from(forecast));
    }
    forecasts
}

fn rmse(errors: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = errors.len() as f64;
    SCALE * (errors.map(|e| e * e).sum::<f64>() / count).sqrt()
}

#[test]
fn int8_forecasts_are_as_good_as_float_ones() {
    let (onnx, calibration) = (model("forecast.onnx"), model("forecast_calibration.npz"));
    let options = options(Precision::Int8, Form::Window);
    let conversion = convert_model(&onnx, calibration, &options).unwrap();
    with_session(conversion.file.model(), |session| {
        compared(&onnx, |window| output(session, window)[0]);
    });
}

/// `int8` against the float model, one year ahead and further.
fn compared(onnx: &Path, mut int8: impl FnMut(&[f32]) -> f32) {
    let reference = Reference::load(onnx).unwrap();
    let float = |window: &[f32]| {
        let x = ArrayD::from_shape_vec(IxDyn(&[1, window.len(), 1]), window.to_vec()).unwrap();
        let values = reference.run(&[x]).unwrap();
        to_f32(&values["forecast"]).unwrap().sum()
    };

    let test = model("forecast_test.npz");
    let x: ArrayD<f32> = read_array::<f32, IxDyn>(&test, "x").unwrap();
    let y: ArrayD<f32> = read_array::<f32, IxDyn>(&test, "y").unwrap();
    let windows = x.axis_iter(Axis(0));
    let windows = windows.map(|window| window.iter().copied().collect());
    let windows: Vec<Vec<f32>> = windows.collect();
    let error = |forecast: &mut dyn FnMut(&[f32]) -> f32| {
        let pairs = windows.iter().zip(&y);
        rmse(pairs.map(|(window, &y)| f64::from(forecast(window) - y)))
    };
    let (exact, quantized) = (error(&mut |w| float(w)), error(&mut int8));
    println!("one year ahead: RMSE {exact:.2} in float, {quantized:.2} in int8");
    assert!(quantized < exact + 0.2, "{quantized} for {exact}");

    // A cycle of the sun ahead.
    let ahead = 11;
    let starts = windows.iter().step_by(8);
    let apart = starts.flat_map(|window| {
        let exact = rolling(window, ahead, float);
        let rolled = rolling(window, ahead, &mut int8);
        let pairs = exact.into_iter().zip(rolled);
        pairs.map(|(a, b)| a - b).collect::<Vec<_>>()
    });
    let rms = rmse(apart.collect::<Vec<_>>().into_iter());
    println!("rolling {ahead} years: int8 and float are {rms:.2} apart (RMS)");
    assert!(rms < 2.0, "{rms}");
}
