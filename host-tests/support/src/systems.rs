//! The attention systems that have fixtures (training/attention), converted, and how close they stay to what PyTorch
//! recorded. What tests and tables ask of them is not here.

use crate::folder::{Folder, fixture};
use crate::graphs::dilate;
use crate::running::with_session;
use attn_converter::calibrate::RangeMethod;
use attn_converter::dataset::Dataset;
use attn_converter::error::ConvertError;
use attn_converter::files::read_array;
use attn_converter::lower::Form;
pub use attn_converter::noise::write as write_calibration;
use attn_converter::pipeline::{Conversion, Options, Source, convert};
use attn_converter::progress::silent;
use attn_converter::quantize::Precision;
use attn_converter::reference::Reference;
use attn_converter::runner;
use attn_converter::sqnr::Sqnr;
use ndarray::{ArrayD, Axis, IxDyn};
use std::path::{Path, PathBuf};
use tract_onnx::pb;

/// Options of most tests: ranges by least error, int16 where it pays.
pub fn options(precision: Precision, form: Form) -> Options {
    Options {
        form,
        precision,
        range: RangeMethod::Measured,
        ..Options::default()
    }
}

/// Converts an ONNX file.
pub fn convert_model(
    onnx: impl AsRef<Path>,
    calibration: impl AsRef<Path>,
    options: &Options,
) -> Result<Conversion, ConvertError> {
    let source = Source::Model {
        onnx: onnx.as_ref(),
        calibration: calibration.as_ref(),
    };
    convert(source, options, &silent)
}

/// A fixture with dilated convolutions, and calibration data for it, in `folder`.
pub fn dilated(folder: &Folder, name: &str, dilation: i64) -> [String; 2] {
    let change = |graph: &mut pb::GraphProto| dilate(graph, dilation);
    let onnx = folder.onnx_of(fixture(name), "dilated.onnx", change);
    let data = folder.path("data.npz");
    write_calibration(onnx.as_ref(), data.as_ref()).unwrap();
    [onnx, data]
}

/// The operators that came of the first entry point, in the order of computation.
pub fn operators(conversion: &Conversion) -> String {
    let nodes = conversion.graphs[0].nodes.iter();
    nodes
        .map(|node| node.op.name())
        .collect::<Vec<_>>()
        .join(" ")
}

/// Who wrote an ONNX file.
pub const EXPORTERS: [&str; 2] = ["dynamo", "torchscript"];
/// How a file holds its values.
pub const PRECISIONS: [Precision; 3] = [Precision::Int8, Precision::Int16x8, Precision::Fp16];

/// A system as PyTorch defines and exports it.
#[derive(Clone, Copy, Debug)]
pub struct System {
    /// Name of its files.
    pub name: &'static str,
    /// What it is, in words.
    pub title: &'static str,
    /// Folder of its files.
    folder: &'static str,
    /// Blocks upon blocks, in which errors add up.
    pub stacked: bool,
}

const fn block(name: &'static str, title: &'static str) -> System {
    System {
        name,
        title,
        folder: "attention",
        stacked: false,
    }
}

const fn stack(name: &'static str, title: &'static str) -> System {
    System {
        stacked: true,
        ..block(name, title)
    }
}

const fn image(system: System) -> System {
    System {
        folder: "vision",
        ..system
    }
}

/// Every system, in the order of the tables.
pub const SYSTEMS: [System; 36] = [
    block("self_attention_unscaled", "one head, unscaled"),
    block("self_attention", "one head, scaled"),
    block("multi_head", "4 heads, output projection"),
    block("multi_head_bare", "8 heads, no output projection"),
    block(
        "packed_multi_head",
        "`nn.MultiheadAttention`, packed in-projection",
    ),
    block(
        "time_first",
        "`nn.MultiheadAttention`, time first, unused averaged weights",
    ),
    block("learned_query", "2 learned queries over the window"),
    block("causal_flag", "causal by `is_causal`"),
    block("causal_added", "causal by an added mask"),
    block("causal_filled", "causal by `masked_fill`"),
    block(
        "split_scale",
        "1/sqrt(d) split over both sides, mask by `torch.where`",
    ),
    block("encoder_post_relu", "encoder layer, post-norm, ReLU"),
    block("encoder_pre_gelu", "encoder layer, pre-norm, GELU"),
    block("sinusoidal", "sinusoidal positions, encoder layer"),
    stack("causal_stack", "2 causal pre-norm layers, SiLU"),
    stack(
        "classifier",
        "2 encoder layers, learned positions, classifier",
    ),
    stack(
        "text_classifier",
        "text classifier: word embeddings, 2 post-norm layers",
    ),
    stack(
        "keyword_transformer",
        "keyword transformer: class token, 2 post-norm layers",
    ),
    stack(
        "speech_encoder",
        "speech encoder: 2 convolutions, 2 pre-norm layers",
    ),
    block(
        "decoder_layer",
        "`nn.TransformerDecoderLayer`, memory of 12 rows",
    ),
    block("forecast_fixed", "forecast: sum of w x, learned weights"),
    block("forecast_series", "forecast of 4 series"),
    block(
        "forecast_scored",
        "forecast: weights scored from features, a sum",
    ),
    block(
        "forecast_product",
        "forecast: weights scored from features, a product",
    ),
    block(
        "collaborative",
        "collaborative filtering: user, item, 10 neighbours",
    ),
    block("grouped_query", "4 heads of queries on 2 of keys, `expand`"),
    block(
        "grouped_interleave",
        "4 heads of queries on 1 of keys, `repeat_interleave`",
    ),
    block("rotary_half", "rotary positions, halves, causal"),
    block("rotary_interleaved", "rotary positions, neighbours, causal"),
    block("gated_block", "RMSNorm, causal, SwiGLU"),
    block(
        "llama_block",
        "llama block: RMSNorm, rotary, grouped, causal, SwiGLU",
    ),
    block(
        "separable",
        "no attention: depthwise and pointwise convolution",
    ),
    image(stack("cbam_cnn", "CBAM in a residual network, 8 x 8")),
    image(stack(
        "attention_unet",
        "attention-gated U-Net, 16 x 16, 21 layers",
    )),
    image(block(
        "separable2d",
        "no attention: depthwise and pointwise, 16 x 16",
    )),
    image(block("upsample", "no attention: transposed convolutions")),
];

/// Where the fixtures of a kind are.
pub fn fixtures(folder: &str) -> PathBuf {
    attn_twins::fixtures().join(folder)
}

/// The system of this name.
pub fn system(name: &str) -> System {
    let found = SYSTEMS.iter().find(|system| system.name == name);
    *found.unwrap_or_else(|| panic!("no system `{name}`"))
}

impl System {
    /// SQNR in dB that it has to hold.
    pub fn floor(&self, precision: Precision) -> f64 {
        match precision {
            Precision::Int8 if self.stacked => 22.0,
            Precision::Int8 => 28.0,
            Precision::Int16x8 => 45.0,
            Precision::Fp16 => 55.0,
        }
    }

    /// Its ONNX file.
    pub fn onnx(&self, exporter: &str) -> PathBuf {
        fixtures(self.folder).join(format!("{}_{exporter}.onnx", self.name))
    }

    /// Inputs and PyTorch's outputs.
    pub fn recorded(&self) -> PathBuf {
        fixtures(self.folder).join(format!("{}.npz", self.name))
    }

    /// Converts it, calibrated on other samples than the recorded ones.
    pub fn convert(
        &self,
        exporter: &str,
        precision: Precision,
        form: Form,
    ) -> Result<Conversion, ConvertError> {
        let folder = Folder::new();
        convert_model(
            self.onnx(exporter),
            self.calibration(&folder)?,
            &options(precision, form),
        )
    }

    /// Calibration data in `folder`, whatever becomes of a system's file.
    fn calibration(&self, folder: &Folder) -> Result<String, ConvertError> {
        let path = folder.path("calibration.npz");
        write_calibration(&self.onnx(EXPORTERS[0]), path.as_ref())?;
        Ok(path)
    }

    /// Converts a changed copy of its file, `changed.onnx`; gives that as the float reference, too.
    pub fn convert_changed(
        &self,
        exporter: &str,
        options: &Options,
        change: impl FnOnce(&mut pb::GraphProto),
    ) -> Result<(Conversion, Reference), ConvertError> {
        let folder = Folder::new();
        let onnx = folder.onnx_of(self.onnx(exporter), "changed.onnx", change);
        let conversion = convert_model(&onnx, self.calibration(&folder)?, options)?;
        Ok((conversion, Reference::load(onnx.as_ref())?))
    }

    /// What converting a changed copy to int8 says.
    pub fn refused(&self, change: impl FnOnce(&mut pb::GraphProto)) -> String {
        let options = options(Precision::Int8, Form::Window);
        match self.convert_changed(EXPORTERS[0], &options, change) {
            Ok(_) => panic!("{}: the model is wrong", self.name),
            Err(error) => error.to_string(),
        }
    }

    /// A recorded array, the samples along the first axis.
    pub fn array(&self, name: &str) -> ArrayD<f32> {
        read_array::<f32, IxDyn>(&self.recorded(), name).unwrap()
    }

    /// SQNR in dB of a whole-window model against the outputs that PyTorch recorded.
    pub fn against_pytorch(&self, conversion: &Conversion) -> f64 {
        let data = self.inputs();
        let mut sqnr = Sqnr::default();
        with_session(conversion.file.model(), |session| {
            for (index, y) in self.array("y").axis_iter(Axis(0)).enumerate() {
                for (slot, x) in data.sample(index).iter().enumerate() {
                    runner::fill(session, 0, slot, x.iter()).unwrap();
                }
                session.run(0).unwrap();
                let exact: Vec<f32> = y.iter().copied().collect();
                assert!(exact.iter().all(|x| x.is_finite()), "{}", self.name);
                let got = runner::output(session, 0, 0).unwrap();
                let tensor = session.output_record(0, 0).unwrap();
                sqnr.add(&exact, &runner::onnx_order(tensor, &got));
            }
        });
        sqnr.db()
    }

    /// The first recorded samples as a file takes them: the bytes of all inputs, run after run. A window takes a sample in
    /// one run, a stream one frame of it.
    pub fn input_bytes(&self, conversion: &Conversion, samples: usize) -> Vec<u8> {
        let data = self.inputs();
        let mut bytes = Vec::new();
        with_session(conversion.file.model(), |session| {
            let ids: Vec<usize> = session.model().entries()[0].inputs().collect();
            for sample in 0..samples {
                let inputs = data.sample(sample);
                let runs = inputs[0].len() / session.input_record(0, 0).unwrap().len();
                for run in 0..runs {
                    for (index, elements) in inputs.iter().enumerate() {
                        let len = elements.len() / runs;
                        let part = elements.iter().skip(run * len).take(len);
                        runner::fill(session, 0, index, part).unwrap();
                        bytes.extend_from_slice(session.tensor_bytes(ids[index]).unwrap());
                    }
                }
            }
        });
        bytes
    }

    /// The recorded inputs.
    fn inputs(&self) -> Dataset {
        let reference = Reference::load(&self.onnx(EXPORTERS[0])).unwrap();
        Dataset::load(&self.recorded(), reference.inputs(), None).unwrap()
    }
}
