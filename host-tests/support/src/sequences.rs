//! The encoder-decoders and language models that have fixtures (training/seq2seq), converted, and how close they stay to what
//! PyTorch recorded. What tests and tables ask of them is not here.

use crate::folder::Folder;
use crate::running::with_session;
pub use crate::systems::EXPORTERS;
use crate::systems::options;
use attn_converter::bundle::Manifest;
use attn_converter::calibrate::RangeMethod;
use attn_converter::error::ConvertError;
use attn_converter::files::read_array;
use attn_converter::lower::Form;
use attn_converter::pipeline::{Options, Source, convert};
use attn_converter::progress::silent;
use attn_converter::quantize::Precision;
use attn_converter::runner::{self, ModelFile};
use attn_converter::sqnr::Sqnr;
use attn_runtime::Session;
use attn_runtime::format::DecodeMeta;
use ndarray::{Array1, Array2, Array3, s};
use std::path::{Path, PathBuf};
use tract_onnx::pb;

/// A system of an encoder and a step, or of a step alone.
#[derive(Clone, Copy, Debug)]
pub struct Sequence {
    /// Name of its files.
    pub name: &'static str,
    /// What it is, in words.
    pub title: &'static str,
    /// A transformer: its step has attention blocks of its own, upon each other.
    pub transformer: bool,
}

const fn recurrent(name: &'static str, title: &'static str) -> Sequence {
    Sequence {
        name,
        title,
        transformer: false,
    }
}

const fn transformer(name: &'static str, title: &'static str) -> Sequence {
    Sequence {
        transformer: true,
        ..recurrent(name, title)
    }
}

/// Every system with recorded logits, in the order of the table.
pub const SEQUENCES: [Sequence; 21] = [
    recurrent("plain_gru", "GRU, last state, GRU"),
    recurrent("plain_gru2", "2 GRU layers, last states, 2 GRU layers"),
    recurrent("additive", "additive attention"),
    recurrent("additive_linear", "additive attention without tanh"),
    recurrent(
        "additive_split",
        "additive attention, projections kept apart",
    ),
    recurrent("dot", "dot attention"),
    recurrent("general", "general attention"),
    recurrent("scaled_dot", "scaled dot-product attention"),
    recurrent(
        "bidirectional",
        "bidirectional GRU encoder, additive attention",
    ),
    recurrent("lstm", "LSTM, additive attention"),
    recurrent("bilstm", "bidirectional LSTM encoder, additive attention"),
    recurrent("masked_bool", "padded, `masked_fill(~mask, -inf)`"),
    recurrent(
        "masked_zero",
        "padded, `masked_fill(mask == 0, -1e9)`, memory cleared",
    ),
    recurrent(
        "masked_added",
        "padded, `(1 - mask) * -1e9` added, memory cleared",
    ),
    recurrent("masked_dynamic", "a mask of ones over a dynamic axis"),
    recurrent(
        "masked_transformer",
        "padded, `src_key_padding_mask`, `scaled_dot_product_attention`",
    ),
    transformer("transformer", "transformer encoder-decoder, own attention"),
    transformer(
        "transformer_torch",
        "transformer encoder-decoder, `nn.TransformerDecoder`",
    ),
    transformer(
        "speech",
        "speech: convolutions, self-attention encoder, attention decoder",
    ),
    transformer("llama", "llama-style language model, rotary, grouped"),
    transformer(
        "transformer_padded",
        "padded, `src_key_padding_mask`, `memory_key_padding_mask`",
    ),
];

/// Where the fixtures are.
pub fn fixtures() -> PathBuf {
    attn_twins::fixtures().join("seq2seq")
}

/// Converts a manifest.
pub fn converted(manifest: &Path, precision: Precision) -> Result<ModelFile, ConvertError> {
    convert_bundle(manifest, &options(precision, Form::Window))
}

/// Converts a manifest to int8, ranges by the least and the greatest values.
pub fn converted_by_limits(manifest: &Path) -> Result<ModelFile, ConvertError> {
    let options = Options {
        range: RangeMethod::MinMax,
        ..Options::default()
    };
    convert_bundle(manifest, &options)
}

/// Copies of a system's files, to be changed.
pub struct Changed {
    pub folder: Folder,
    system: &'static str,
}

impl Changed {
    pub fn new(system: &'static str) -> Self {
        let folder = Folder::new();
        for file in std::fs::read_dir(fixtures()).unwrap() {
            let path = file.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if let Some(("" | "_dynamo", _)) =
                name.strip_prefix(system).and_then(|n| n.split_once('.'))
            {
                std::fs::copy(&path, folder.path(name)).unwrap();
            }
        }
        Self { folder, system }
    }

    pub fn manifest(&self) -> PathBuf {
        let name = format!("{}_dynamo.bundle.toml", self.system);
        self.folder.path(&name).into()
    }

    /// With another text of the manifest.
    pub fn text(self, change: impl FnOnce(&str) -> String) -> Self {
        let text = std::fs::read_to_string(self.manifest()).unwrap();
        std::fs::write(self.manifest(), change(&text)).unwrap();
        self
    }

    /// With something in the manifest's text replaced.
    pub fn replaced(self, from: &str, to: &str) -> Self {
        self.text(|text| {
            assert!(text.contains(from), "{from}");
            text.replace(from, to)
        })
    }

    /// Without the lines of the manifest that start so.
    pub fn without(self, start: &str) -> Self {
        self.text(|text| {
            let kept = text.lines().filter(|line| !line.starts_with(start));
            kept.collect::<Vec<_>>().join("\n")
        })
    }

    /// With another graph of an entry point.
    pub fn graph(self, entry: &str, change: impl FnOnce(&mut pb::GraphProto)) -> Self {
        let name = format!("{}_dynamo.{entry}.onnx", self.system);
        self.folder.onnx_of(self.folder.path(&name), &name, change);
        self
    }

    pub fn convert(&self) -> Result<ModelFile, ConvertError> {
        converted_by_limits(&self.manifest())
    }

    /// It does not convert, and the message has these parts.
    pub fn refused(&self, parts: &[&str]) {
        let message = self.convert().expect_err("it is refused").to_string();
        for part in parts {
            assert!(message.contains(part), "`{part}` is not in: {message}");
        }
    }
}

/// Converts a manifest with these options.
pub fn convert_bundle(path: &Path, options: &Options) -> Result<ModelFile, ConvertError> {
    let manifest = Manifest::load(path)?;
    Ok(convert(Source::Bundle(&manifest), options, &silent)?.file)
}

impl Sequence {
    /// SQNR in dB that its logits have to hold. Recurrent steps hold int16 in int8 files too.
    pub fn floor(&self, precision: Precision) -> f64 {
        match (precision, self.transformer) {
            (Precision::Int8 | Precision::Int16x8, false) => 25.0,
            (Precision::Fp16, false) => 50.0,
            (Precision::Int8, true) => 22.0,
            (Precision::Int16x8, true) => 45.0,
            (Precision::Fp16, true) => 55.0,
        }
    }

    /// Exporters that write it.
    pub fn exporters(&self) -> impl Iterator<Item = &'static str> {
        let exists = |exporter: &&str| self.manifest(exporter).exists();
        EXPORTERS.into_iter().filter(exists)
    }

    /// Its manifest.
    pub fn manifest(&self, exporter: &str) -> PathBuf {
        fixtures().join(format!("{}_{exporter}.bundle.toml", self.name))
    }

    /// Converts it, calibrated as its manifest says.
    pub fn convert(&self, exporter: &str, precision: Precision) -> Result<ModelFile, ConvertError> {
        converted(&self.manifest(exporter), precision)
    }

    /// What PyTorch recorded.
    pub fn recorded(&self) -> Recorded {
        let path = fixtures().join(format!("{}.npz", self.name));
        let lengths = |name: &str| read_array(&path, name).unwrap();
        let symbols = read_array(&path, "symbols").ok();
        let features = read_array(&path, "features").ok();
        Recorded {
            tokens: read_array(&path, "tokens").unwrap(),
            logits: read_array(&path, "logits").unwrap(),
            weights: read_array(&path, "weights").ok(),
            input: match (symbols, features) {
                (Some(symbols), _) => Input::Symbols(symbols, lengths("symbols_len")),
                (_, Some(features)) => Input::Features(features, lengths("features_len")),
                _ => Input::None,
            },
        }
    }
}

/// Inputs and PyTorch's outputs: samples first, then steps.
pub struct Recorded {
    /// What each step takes.
    pub tokens: Array2<i64>,
    logits: Array3<f32>,
    weights: Option<Array3<f32>>,
    input: Input,
}

/// Inputs of the encoder, and how long each is.
enum Input {
    None,
    Symbols(Array2<i64>, Array1<i64>),
    Features(Array3<f32>, Array1<i64>),
}

impl Recorded {
    /// True where PyTorch's attention weights are among the outputs.
    pub fn has_weights(&self) -> bool {
        self.weights.is_some()
    }

    /// Rows of a sample's input; 0 for a model that reads none.
    pub fn length(&self, sample: usize) -> usize {
        match &self.input {
            Input::None => 0,
            Input::Symbols(_, lengths) | Input::Features(_, lengths) => lengths[sample] as usize,
        }
    }

    /// Samples, the shortest first.
    pub fn by_length(&self) -> Vec<usize> {
        let mut samples: Vec<usize> = (0..self.tokens.nrows()).collect();
        samples.sort_by_key(|&sample| self.length(sample));
        samples
    }

    /// Puts a sample into the encoder's input, padded with symbol 0 where the model takes padding.
    pub fn fill(&self, session: &mut Session, encode: usize, sample: usize) {
        let length = self.length(sample);
        session.reset();
        match &self.input {
            Input::None => {}
            Input::Symbols(symbols, _) => {
                session.set_length(length).unwrap();
                let input = session.input::<i32>(encode, 0).unwrap();
                input.fill(0);
                let symbols = symbols.row(sample);
                let slots = input.iter_mut().zip(symbols.iter().take(length));
                slots.for_each(|(slot, &symbol)| *slot = symbol as i32);
            }
            Input::Features(features, _) => {
                session.set_length(length).unwrap();
                let rows = features.slice(s![sample, ..length, ..]);
                runner::fill(session, encode, 0, rows.iter()).unwrap();
            }
        }
    }

    /// Has the encoder, if there is one, read a sample.
    pub fn encode(&self, session: &mut Session, sample: usize) {
        let encode = session.model().entry("encode");
        self.fill(session, encode.unwrap_or(0), sample);
        if let Some(encode) = encode {
            session.run(encode).unwrap();
        }
    }

    /// Logits and attention weights of a file against the recorded ones, for every sample and token.
    pub fn compared(&self, file: &ModelFile) -> (Sqnr, Sqnr) {
        let model = file.model();
        let step = model.entry("step").unwrap();
        let (mut of_logits, mut of_weights) = (Sqnr::default(), Sqnr::default());
        with_session(model, |session| {
            for (sample, tokens) in self.tokens.outer_iter().enumerate() {
                self.encode(session, sample);
                for (at, &token) in tokens.iter().enumerate() {
                    session.input::<i32>(step, 0).unwrap()[0] = token as i32;
                    session.run(step).unwrap();
                    let exact = self.logits.slice(s![sample, at, ..]).to_vec();
                    of_logits.add(&exact, &runner::output(session, step, 0).unwrap());
                    if let Some(weights) = &self.weights {
                        let used = s![sample, at, ..self.length(sample)];
                        let exact = weights.slice(used).to_vec();
                        of_weights.add(&exact, &runner::output(session, step, 1).unwrap());
                    }
                }
            }
        });
        (of_logits, of_weights)
    }

    /// The encoder's input for a sample, as a file takes it, in bytes; none for a model that reads none.
    pub fn input_bytes(&self, file: &ModelFile, sample: usize) -> Vec<u8> {
        let model = file.model();
        let Some(encode) = model.entry("encode") else {
            return Vec::new();
        };
        with_session(model, |session| {
            self.fill(session, encode, sample);
            let id = model.entries()[encode].inputs().next().unwrap();
            session.tensor_bytes(id).unwrap().to_vec()
        })
    }

    /// The same without padding, one element after the other: numbers of symbols, or the bits of features.
    pub fn elements(&self, file: &ModelFile, sample: usize) -> Vec<u16> {
        let bytes = self.input_bytes(file, sample);
        let model = file.model();
        let Some(encode) = model.decode().and_then(|d| DecodeMeta::optional(d.encode)) else {
            return Vec::new();
        };
        let id = model.entries()[encode].inputs().next().unwrap();
        let record = model.tensor(id).unwrap();
        let count = self.length(sample) * record.channels();
        let elements = bytes.chunks_exact(record.dtype().size());
        let element = |bytes: &[u8]| match *bytes {
            [byte] => byte as i8 as u16,
            [low, high, ..] => u16::from_le_bytes([low, high]),
            [] => 0,
        };
        elements.map(element).take(count).collect()
    }
}
