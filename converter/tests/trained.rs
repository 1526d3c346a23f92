//! Trained transformers (training/kwt, training/llama) from both exporters, held against what PyTorch recorded.

use attn_converter::bundle::Manifest;
use attn_converter::calibrate::RangeMethod;
use attn_converter::dataset::Dataset;
use attn_converter::files::read_array;
use attn_converter::lower::Form;
use attn_converter::pipeline::{Conversion, Options, Source, convert};
use attn_converter::progress::silent;
use attn_converter::quantize::Precision;
use attn_converter::reference::Reference;
use attn_converter::runner::{self, AlignedBytes};
use attn_converter::sqnr::Sqnr;
use attn_runtime::Session;
use attn_test_support::sequences::convert_bundle;
use ndarray::{Array2, Array3, ArrayD, Axis, IxDyn};
use std::path::{Path, PathBuf};

fn model(name: &str) -> PathBuf {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models");
    models.join(name)
}

fn fixture(name: &str) -> PathBuf {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../host-tests/fixtures/trained");
    fixtures.join(name)
}

fn converted(onnx: &Path, calibration: &str, precision: Precision) -> Conversion {
    let options = Options {
        form: Form::Window,
        precision,
        range: RangeMethod::Mse,
        ..Options::default()
    };
    convert(
        Source::Model {
            onnx,
            calibration: &model(calibration),
        },
        &options,
        &silent,
    )
    .unwrap_or_else(|e| panic!("{}: {e}", onnx.display()))
}

/// How close a converted model's `logits` are to the recorded ones: SQNR in dB, and the share of rows of `width` in which the
/// same one is the highest.
fn against_pytorch(
    conversion: &Conversion,
    onnx: &Path,
    recorded: &Path,
    width: usize,
) -> (f64, f64) {
    let reference = Reference::load(onnx).unwrap();
    let data = Dataset::load(recorded, reference.inputs(), None).unwrap();
    let logits: ArrayD<f32> = read_array::<f32, IxDyn>(recorded, "logits").unwrap();
    let model = conversion.file.model();
    let mut arena = AlignedBytes::zeroed(model.arena_len());
    let mut session = Session::new(model, arena.as_mut_slice()).unwrap();
    let (mut sqnr, mut same, mut rows) = (Sqnr::default(), 0, 0);
    for (index, exact) in logits.axis_iter(Axis(0)).enumerate() {
        for (slot, x) in data.sample(index).iter().enumerate() {
            runner::fill(&mut session, 0, slot, x.iter()).unwrap();
        }
        session.run(0).unwrap();
        let exact: Vec<f32> = exact.iter().copied().collect();
        let got = runner::output(&session, 0, 0).unwrap();
        sqnr.add(&exact, &got);
        for (exact, got) in exact.chunks(width).zip(got.chunks(width)) {
            same += usize::from(highest(exact) == highest(got));
            rows += 1;
        }
    }
    (sqnr.db(), same as f64 / rows as f64)
}

fn highest(row: &[f32]) -> Option<usize> {
    (0..row.len()).max_by(|&a, &b| row[a].total_cmp(&row[b]))
}

/// Floors: dB, and share of rows with the same highest logit.
fn hold(
    system: &str,
    calibration: &str,
    files: [PathBuf; 2],
    width: usize,
    floors: [(Precision, f64, f64); 3],
) {
    let recorded = fixture(&format!("{system}.npz"));
    for (precision, floor, agreement) in floors {
        for onnx in &files {
            let conversion = converted(onnx, calibration, precision);
            let (db, same) = against_pytorch(&conversion, onnx, &recorded, width);
            println!(
                "{} {precision:?}: {db:.1} dB, {:.1} % the same, arena {} bytes",
                onnx.display(),
                100.0 * same,
                conversion.file.model().arena_len()
            );
            assert!(
                db >= floor && same >= agreement,
                "{precision:?}: {db:.1} dB, {same}"
            );
        }
    }
}

#[test]
fn the_keyword_transformer_holds_its_logits_in_three_precisions() {
    let files = [model("kwt.onnx"), fixture("kwt_torchscript.onnx")];
    let floors = [
        (Precision::Int8, 25.0, 0.95),
        (Precision::Int16x8, 40.0, 1.0),
        (Precision::Fp16, 55.0, 1.0),
    ];
    hold("kwt", "kwt_calibration.npz", files, 20, floors);
}

/// Fed the recorded characters one by one: it keeps keys and values of those before, PyTorch saw the whole window.
#[test]
fn the_character_model_holds_its_logits_one_character_at_a_time() {
    let recorded = fixture("llama.npz");
    let tokens: Array2<i64> = read_array(&recorded, "tokens").unwrap();
    let logits: Array3<f32> = read_array(&recorded, "logits").unwrap();
    let floors = [
        (Precision::Int8, 22.0, 0.9),
        (Precision::Int16x8, 40.0, 0.97),
        (Precision::Fp16, 55.0, 0.99),
    ];
    let manifests = [
        model("llama.bundle.toml"),
        fixture("llama_torchscript.bundle.toml"),
    ];
    for ((precision, floor, agreement), manifest) in
        (floors.iter()).flat_map(|floor| manifests.iter().map(move |manifest| (floor, manifest)))
    {
        let options = Options {
            precision: *precision,
            range: RangeMethod::Mse,
            ..Options::default()
        };
        let file = convert_bundle(manifest, &options).unwrap();
        let model = file.model();
        let mut arena = AlignedBytes::zeroed(model.arena_len());
        let mut session = Session::new(model, arena.as_mut_slice()).unwrap();
        let (mut sqnr, mut same) = (Sqnr::default(), 0);
        for (row, exact) in tokens.outer_iter().zip(logits.outer_iter()) {
            session.reset();
            for (&token, exact) in row.iter().zip(exact.outer_iter()) {
                session.input::<i32>(0, 0).unwrap()[0] = token as i32;
                session.run(0).unwrap();
                let (exact, got) = (exact.to_vec(), runner::output(&session, 0, 0).unwrap());
                sqnr.add(&exact, &got);
                same += usize::from(highest(&exact) == highest(&got));
            }
        }
        let (db, same) = (sqnr.db(), same as f64 / tokens.len() as f64);
        println!(
            "{} {precision:?}: {db:.1} dB, {:.1} % the same, arena {} bytes",
            manifest.display(),
            100.0 * same,
            model.arena_len()
        );
        assert!(
            db >= *floor && same >= *agreement,
            "{precision:?}: {db:.1} dB, {same}"
        );
    }
}

#[test]
fn the_character_models_vocabulary_has_a_space() {
    let manifest = Manifest::load(&model("llama.bundle.toml")).unwrap();
    let tokens = manifest.tokens().unwrap();
    assert_eq!(tokens.len(), 77);
    assert_eq!(tokens[2], " ");
}
