//! Trained models (training/kwt, training/llama, `attn_training commands`), held against what PyTorch recorded.

use attn_converter::bundle::Manifest;
use attn_converter::dataset::Dataset;
use attn_converter::files::read_array;
use attn_converter::lower::Form;
use attn_converter::reference::Reference;
use attn_converter::runner::{self, ModelFile};
use attn_converter::sqnr::Sqnr;
use attn_runtime::Session;
use attn_test_support::running::with_session;
use attn_test_support::sequences::converted;
use attn_test_support::systems::{PRECISIONS, convert_model, fixtures, options};
use ndarray::{Array2, Array3, ArrayD, Axis, IxDyn};
use std::path::{Path, PathBuf};

fn model(name: &str) -> PathBuf {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models");
    models.join(name)
}

fn fixture(name: &str) -> PathBuf {
    fixtures("trained").join(name)
}

/// How close logits are to the recorded ones.
#[derive(Default)]
struct Closeness {
    sqnr: Sqnr,
    rows: usize,
    /// Rows in which the same logit is the highest.
    same: usize,
}

impl Closeness {
    /// Adds the first output of an entry point, in rows of `width`.
    fn add(&mut self, exact: &[f32], session: &Session, width: usize) {
        let got = runner::output(session, 0, 0).unwrap();
        self.sqnr.add(exact, &got);
        for (exact, got) in exact.chunks(width).zip(got.chunks(width)) {
            self.same += usize::from(highest(exact) == highest(got));
            self.rows += 1;
        }
    }

    /// Floors: dB, and share of rows with the same highest logit.
    fn hold(&self, name: &str, file: &ModelFile, (floor, agreement): (f64, f64)) {
        let (db, same) = (self.sqnr.db(), self.same as f64 / self.rows as f64);
        let arena = file.model().arena_len();
        println!("{name}: {db:.1} dB, {same:.3} the same, arena {arena} bytes");
        assert!(
            db >= floor && same >= agreement,
            "{name}: {db:.1} dB, {same}"
        );
    }
}

fn highest(row: &[f32]) -> Option<usize> {
    (0..row.len()).max_by(|&a, &b| row[a].total_cmp(&row[b]))
}

#[test]
fn the_keyword_transformer_holds_its_logits_in_three_precisions() {
    let recorded = fixture("kwt.npz");
    let logits: ArrayD<f32> = read_array::<f32, IxDyn>(&recorded, "logits").unwrap();
    let floors = [(25.0, 0.95), (40.0, 1.0), (55.0, 1.0)];
    for (precision, floors) in PRECISIONS.into_iter().zip(floors) {
        for onnx in [model("kwt.onnx"), fixture("kwt_torchscript.onnx")] {
            let name = format!("{} {precision:?}", onnx.display());
            let options = options(precision, Form::Window);
            let conversion = convert_model(&onnx, model("kwt_calibration.npz"), &options);
            let file = conversion.unwrap_or_else(|e| panic!("{name}: {e}")).file;
            let reference = Reference::load(&onnx).unwrap();
            let data = Dataset::load(&recorded, reference.inputs(), None).unwrap();
            let mut closeness = Closeness::default();
            with_session(file.model(), |session| {
                for (index, exact) in logits.axis_iter(Axis(0)).enumerate() {
                    for (slot, x) in data.sample(index).iter().enumerate() {
                        runner::fill(session, 0, slot, x.iter()).unwrap();
                    }
                    session.run(0).unwrap();
                    let exact: Vec<f32> = exact.iter().copied().collect();
                    closeness.add(&exact, session, 20);
                }
            });
            closeness.hold(&name, &file, floors);
        }
    }
}

/// Frame by frame from a reset on: after the window's last frame the logits are those that PyTorch has of the whole window.
#[test]
fn the_commands_hold_their_logits_in_three_precisions() {
    let recorded = fixture("commands12.npz");
    let logits: Array2<f32> = read_array(&recorded, "logits").unwrap();
    let onnx = model("commands12.onnx");
    let calibration = model("commands12_calibration.npz");
    let floors = [(25.0, 0.93), (40.0, 1.0), (55.0, 1.0)];
    for (precision, floors) in PRECISIONS.into_iter().zip(floors) {
        let conversion = convert_model(&onnx, &calibration, &options(precision, Form::Stream));
        let file = conversion
            .unwrap_or_else(|e| panic!("{precision:?}: {e}"))
            .file;
        let reference = Reference::load(&onnx).unwrap();
        let data = Dataset::load(&recorded, reference.inputs(), None).unwrap();
        let mut closeness = Closeness::default();
        with_session(file.model(), |session| {
            for (index, exact) in logits.outer_iter().enumerate() {
                session.reset();
                let window = &data.sample(index)[0]; // [50, 40]
                for frame in window.axis_iter(Axis(window.ndim() - 2)) {
                    runner::fill(session, 0, 0, frame.iter()).unwrap();
                    session.run(0).unwrap();
                }
                closeness.add(&exact.to_vec(), session, exact.len());
            }
        });
        closeness.hold(&format!("commands12 {precision:?}"), &file, floors);
    }
}

/// Fed the recorded characters one by one: it keeps keys and values of those before, PyTorch saw the whole window.
#[test]
fn the_character_model_holds_its_logits_one_character_at_a_time() {
    let recorded = fixture("llama.npz");
    let tokens: Array2<i64> = read_array(&recorded, "tokens").unwrap();
    let logits: Array3<f32> = read_array(&recorded, "logits").unwrap();
    let floors = [(22.0, 0.9), (40.0, 0.97), (55.0, 0.99)];
    let torchscript = fixture("llama_torchscript.bundle.toml");
    for (precision, floors) in PRECISIONS.into_iter().zip(floors) {
        for manifest in [&model("llama.bundle.toml"), &torchscript] {
            let file = converted(manifest, precision).unwrap();
            let mut closeness = Closeness::default();
            with_session(file.model(), |session| {
                for (row, exact) in tokens.outer_iter().zip(logits.outer_iter()) {
                    session.reset();
                    for (&token, exact) in row.iter().zip(exact.outer_iter()) {
                        session.input::<i32>(0, 0).unwrap()[0] = token as i32;
                        session.run(0).unwrap();
                        closeness.add(&exact.to_vec(), session, exact.len());
                    }
                }
            });
            let name = format!("{} {precision:?}", manifest.display());
            closeness.hold(&name, &file, floors);
        }
    }
}

#[test]
fn the_character_models_vocabulary_has_a_space() {
    let manifest = Manifest::load(&model("llama.bundle.toml")).unwrap();
    let tokens = manifest.tokens().unwrap();
    assert_eq!(tokens.len(), 77);
    assert_eq!(tokens[2], " ");
}
