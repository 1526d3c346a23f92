//! A folder for one test, and the files that tests need in it.

pub use crate::graphs::set_dim;
use ndarray::{ArrayD, IxDyn};
use prost::Message;
use std::path::Path;
use tract_onnx::pb;

/// A real export of the keyword spotter with random weights.
pub const ONNX: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../fixtures/kws_random_dynamo.onnx"
);
/// Calibration data for it.
pub const CALIBRATION: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../models/kws_calibration.npz"
);
/// A tiny `.attn` file.
pub const TINY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../runtime/tests/tiny.attn");

/// A file of `host-tests/fixtures`.
pub fn fixture(name: &str) -> String {
    attn_twins::fixtures().join(name).display().to_string()
}

/// A temporary folder.
pub struct Folder(tempfile::TempDir);

impl Default for Folder {
    fn default() -> Self {
        Self::new()
    }
}

impl Folder {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    /// Names of the files in it.
    pub fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.0.path()).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    pub fn write(&self, name: &str, bytes: &[u8]) -> String {
        std::fs::write(self.path(name), bytes).unwrap();
        self.path(name)
    }

    /// The keyword spotter's ONNX file, changed.
    pub fn onnx(&self, name: &str, change: impl FnOnce(&mut pb::GraphProto)) -> String {
        self.onnx_of(ONNX, name, change)
    }

    /// An ONNX file, changed.
    pub fn onnx_of(
        &self,
        from: impl AsRef<Path>,
        name: &str,
        change: impl FnOnce(&mut pb::GraphProto),
    ) -> String {
        let mut model = pb::ModelProto::decode(&*std::fs::read(from).unwrap()).unwrap();
        change(model.graph.as_mut().unwrap());
        self.write(name, &model.encode_to_vec())
    }

    /// An ONNX file.
    pub fn model(&self, name: &str, model: &pb::ModelProto) -> String {
        self.write(name, &model.encode_to_vec())
    }

    /// An npz file with one float32 array.
    pub fn npz(&self, name: &str, array: &str, shape: &[usize], value: f32) -> String {
        let data = ArrayD::from_elem(IxDyn(shape), value);
        let path = self.path(name);
        attn_converter::files::write_npz(Path::new(&path), |npz| npz.add_array(array, &data))
            .unwrap();
        path
    }

    /// A WAV file of silence.
    pub fn wav(&self, name: &str, spec: hound::WavSpec, samples: usize) -> String {
        let path = self.path(name);
        let mut writer = hound::WavWriter::create(&path, spec).unwrap();
        for _ in 0..samples * spec.channels as usize {
            match spec.sample_format {
                hound::SampleFormat::Int => writer.write_sample(0i16).unwrap(),
                hound::SampleFormat::Float => writer.write_sample(0f32).unwrap(),
            }
        }
        writer.finalize().unwrap();
        path
    }
}

/// Integer PCM.
pub fn spec(sample_rate: u32, channels: u16, bits_per_sample: u16) -> hound::WavSpec {
    hound::WavSpec {
        channels,
        sample_rate,
        bits_per_sample,
        sample_format: hound::SampleFormat::Int,
    }
}

/// 32-bit float at 16 kHz.
pub fn float_spec() -> hound::WavSpec {
    hound::WavSpec {
        sample_format: hound::SampleFormat::Float,
        ..spec(16_000, 1, 32)
    }
}

/// Moves a tensor's data to the end of `data`, the content of the file `location`.
pub fn make_external(tensor: &mut pb::TensorProto, location: &str, data: &mut Vec<u8>) {
    let bytes = std::mem::take(&mut tensor.raw_data);
    let (offset, length) = (data.len().to_string(), bytes.len().to_string());
    data.extend(bytes);
    tensor.data_location = Some(pb::tensor_proto::DataLocation::External as i32);
    let pairs = [
        ("location", location),
        ("offset", &offset),
        ("length", &length),
    ];
    let entry = |(key, value): (&str, &str)| pb::StringStringEntryProto {
        key: key.into(),
        value: value.into(),
    };
    tensor.external_data = pairs.into_iter().map(entry).collect();
}
