//! Decoders that attend to their own past, exported over a whole sequence of tokens and run one token at a time: against PyTorch's
//! own logits, and against themselves without the past kept.

use attn_converter::bundle::convert::{Options, convert, convert_recomputing};
use attn_converter::calibrate::RangeMethod;
use attn_converter::files::read_array;
use attn_converter::quantize::Precision;
use attn_converter::runner::{self, AlignedBytes, ModelFile};
use attn_converter::sqnr::Sqnr;
use attn_runtime::Session;
use indicatif::ProgressBar;
use ndarray::{Array1, Array2, Array3, s};
use std::path::{Path, PathBuf};

/// Each with one of the exporters that write it.
const SYSTEMS: [(&str, &str); 9] = [
    ("transformer", "dynamo"),
    ("transformer", "torchscript"),
    ("transformer_torch", "dynamo"),
    ("speech", "dynamo"),
    ("speech", "torchscript"),
    ("llama", "dynamo"),
    ("llama", "torchscript"),
    ("transformer_padded", "dynamo"),
    ("transformer_padded", "torchscript"),
];

fn fixture(name: &str) -> PathBuf {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../host-tests/fixtures/seq2seq");
    fixtures.join(name)
}

fn options(precision: Precision) -> Options {
    Options {
        precision,
        range: RangeMethod::Mse,
    }
}

fn converted(system: &str, exporter: &str, precision: Precision) -> ModelFile {
    let manifest = fixture(&format!("{system}_{exporter}.bundle.toml"));
    convert(&manifest, &options(precision), &ProgressBar::hidden())
        .unwrap_or_else(|error| panic!("{system}, {exporter}: {error}"))
}

/// What PyTorch recorded of a system.
struct Recorded {
    tokens: Array2<i64>,
    logits: Array3<f32>,
    /// Rows of the inputs, and for each how many are in use: symbols, or features `[samples, rows, bands]`.
    symbols: Option<(Array2<i64>, Array1<i64>)>,
    features: Option<(Array3<f32>, Array1<i64>)>,
}

impl Recorded {
    fn of(system: &str) -> Self {
        let path = fixture(&format!("{system}.npz"));
        let symbols = read_array(&path, "symbols").ok();
        let features = read_array(&path, "features").ok();
        let length = |name: &str| read_array(&path, name).unwrap();
        Self {
            tokens: read_array(&path, "tokens").unwrap(),
            logits: read_array(&path, "logits").unwrap(),
            symbols: symbols.map(|symbols| (symbols, length("symbols_len"))),
            features: features.map(|features| (features, length("features_len"))),
        }
    }

    /// Gives a session one of the inputs and runs the encoder.
    fn encode(&self, session: &mut Session, sample: usize) {
        session.reset();
        let Some(encode) = session.model().entry("encode") else {
            return;
        };
        if let Some((symbols, lengths)) = &self.symbols {
            session.set_length(lengths[sample] as usize).unwrap();
            let input = session.input::<i32>(encode, 0).unwrap();
            let symbols = symbols.row(sample);
            input
                .iter_mut()
                .zip(symbols)
                .for_each(|(x, &s)| *x = s.max(0) as i32);
        }
        if let Some((features, lengths)) = &self.features {
            session.set_length(lengths[sample] as usize).unwrap();
            let rows = features.slice(s![sample, ..lengths[sample] as usize, ..]);
            runner::fill(session, encode, 0, rows.iter()).unwrap();
        }
        session.run(encode).unwrap();
    }
}

/// Logits of every sample and token, one step for each.
fn stepwise(file: &ModelFile, recorded: &Recorded) -> Array3<f32> {
    let model = file.model();
    let step = model.entry("step").unwrap();
    let mut arena = AlignedBytes::zeroed(model.arena_len());
    let mut session = Session::new(model, arena.as_mut_slice()).unwrap();
    let mut all = Array3::zeros(recorded.logits.raw_dim());
    for (sample, tokens) in recorded.tokens.outer_iter().enumerate() {
        recorded.encode(&mut session, sample);
        for (at, &token) in tokens.iter().enumerate() {
            session.input::<i32>(step, 0).unwrap()[0] = token as i32;
            session.run(step).unwrap();
            let logits = runner::output(&session, step, 0).unwrap();
            all.slice_mut(s![sample, at, ..])
                .assign(&Array1::from_vec(logits));
        }
    }
    all
}

/// The same, all tokens at once.
fn at_once(file: &ModelFile, recorded: &Recorded) -> Array3<f32> {
    let model = file.model();
    let step = model.entry("step").unwrap();
    let mut arena = AlignedBytes::zeroed(model.arena_len());
    let mut session = Session::new(model, arena.as_mut_slice()).unwrap();
    let mut all = Vec::new();
    for (sample, tokens) in recorded.tokens.outer_iter().enumerate() {
        recorded.encode(&mut session, sample);
        let input = session.input::<i32>(step, 0).unwrap();
        input
            .iter_mut()
            .zip(tokens)
            .for_each(|(x, &token)| *x = token as i32);
        session.run(step).unwrap();
        all.extend(runner::output(&session, step, 0).unwrap());
    }
    Array3::from_shape_vec(recorded.logits.raw_dim(), all).unwrap()
}

fn sqnr(exact: &Array3<f32>, got: &Array3<f32>) -> f64 {
    let mut sqnr = Sqnr::default();
    sqnr.add(exact.as_slice().unwrap(), got.as_slice().unwrap());
    sqnr.db()
}

#[test]
fn every_system_keeps_its_accuracy_in_every_precision() {
    // Four to six layers with weights twice as large as PyTorch draws them.
    let floors = [
        (Precision::Int8, 28.0),
        (Precision::Int8x16, 33.0),
        (Precision::Fp16, 50.0),
    ];
    for (system, exporter) in SYSTEMS {
        let recorded = Recorded::of(system);
        for (precision, floor) in floors {
            let file = converted(system, exporter, precision);
            let db = sqnr(&recorded.logits, &stepwise(&file, &recorded));
            println!("{system}, {exporter}, {precision:?}: {db:.1} dB");
            assert!(db > floor, "{system}, {exporter}, {precision:?}: {db} dB");
        }
    }
}

/// One token costs one token, and gives what a run over the whole sequence gives.
#[test]
fn keeping_the_past_gives_the_bits_of_full_recomputation() {
    for (system, exporter) in SYSTEMS {
        let recorded = Recorded::of(system);
        for precision in [Precision::Int8, Precision::Int8x16, Precision::Fp16] {
            let manifest = fixture(&format!("{system}_{exporter}.bundle.toml"));
            let whole = convert_recomputing(&manifest, &options(precision), &ProgressBar::hidden())
                .unwrap();
            let kept = stepwise(&converted(system, exporter, precision), &recorded);
            assert_eq!(kept, at_once(&whole, &recorded), "{system}, {precision:?}");
        }
    }
}
