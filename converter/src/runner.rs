//! Running `.attn` files on the host, with the runtime itself: floats in, the file's own types inside, floats out.

use crate::error::{ConvertError, Result};
use crate::quantize::Quant;
use crate::reference::Input;
use attn_runtime::format::{DType, OpKind, TensorRecord};
use attn_runtime::kernels::half::Clamp;
use attn_runtime::{Model, ModelError, Progress, Session, f16};
use ndarray::ArrayD;
use std::path::Path;
use zerocopy::IntoBytes;

/// Bytes that start at a multiple of 16, as files and arenas must.
#[derive(Clone, Debug)]
pub struct AlignedBytes {
    words: Vec<u128>,
    len: usize,
}

impl AlignedBytes {
    /// Zeros.
    pub fn zeroed(len: usize) -> Self {
        Self {
            words: vec![0; len.div_ceil(size_of::<u128>())],
            len,
        }
    }

    /// A copy of `bytes`.
    pub fn new(bytes: &[u8]) -> Self {
        let mut aligned = Self::zeroed(bytes.len());
        aligned.as_mut_slice().copy_from_slice(bytes);
        aligned
    }

    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        &self.words.as_bytes()[..self.len]
    }

    /// The bytes, mutable.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut self.words.as_mut_bytes()[..self.len]
    }
}

/// An `.attn` file in memory.
#[derive(Clone, Debug)]
pub struct ModelFile(AlignedBytes);

impl ModelFile {
    /// Takes over the bytes of a file.
    ///
    /// # Errors
    /// [`ModelError`] if they are not a model.
    pub fn new(bytes: &[u8]) -> Result<Self, ModelError> {
        let file = Self(AlignedBytes::new(bytes));
        Model::parse(file.0.as_slice())?;
        Ok(file)
    }

    /// Reads a file.
    ///
    /// # Errors
    /// [`ConvertError::File`] and [`ConvertError::Model`], which name the file.
    pub fn load(path: &Path) -> Result<Self> {
        let bytes = crate::files::read_bytes(path)?;
        Self::new(&bytes).map_err(|source| ConvertError::Model {
            path: path.into(),
            source,
        })
    }

    /// The model.
    pub fn model(&self) -> Model<'_> {
        Model::parse(self.0.as_slice()).expect("parsed when it was made")
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        self.0.as_slice()
    }
}

/// Type and scale of a tensor of a file.
pub fn quant(tensor: &TensorRecord) -> Quant {
    Quant {
        dtype: tensor.dtype(),
        scale: tensor.scale,
        zero_point: tensor.zero_point,
    }
}

/// An input of a file, as a dataset has it: images as `[channels, height, width]`; rows that vary are the first axis.
pub fn input(model: Model, tensor: &TensorRecord) -> Input {
    let integer = tensor.dtype() == DType::I32;
    let mut shape: Vec<usize> = tensor.shape().iter().map(|&d| d as usize).collect();
    if integer {
        // One token per row.
        shape.pop();
    } else if shape.len() == 3 {
        shape.rotate_right(1);
    }
    Input {
        name: model.name(tensor.name).to_owned(),
        shape,
        integer,
        dynamic: (tensor.rows_rule != 0).then_some(0),
        hides: hides(model, tensor),
    }
}

/// True if an input goes nowhere but to a softmax, as far as its file tells.
fn hides(model: Model, input: &TensorRecord) -> bool {
    let written = |id: usize| {
        model
            .ops()
            .iter()
            .any(|op| op.outputs().any(|out| out == id))
    };
    let (range, tensors) = (input.range(), model.tensors().iter().enumerate());
    // The input, and what else reads its bytes.
    let views = tensors.filter(|(id, tensor)| {
        let own = tensor.range();
        range.start <= own.start && own.end <= range.end && !written(*id)
    });
    let mut seen: Vec<usize> = views.map(|(id, _)| id).collect();
    let (mut at, mut found) = (0, false);
    while let Some(&id) = seen.get(at) {
        for op in model.ops() {
            for slot in op.inputs().enumerate().filter(|(_, read)| *read == id) {
                match (op.kind(), slot.0) {
                    (Some(OpKind::Softmax), _) | (Some(OpKind::Attention), 3) => found = true,
                    (Some(OpKind::Copy | OpKind::Requantize | OpKind::Add), _) => {
                        let new = op.outputs().filter(|id| !seen.contains(id));
                        let new: Vec<usize> = new.collect();
                        seen.extend(new);
                    }
                    _ => return false,
                }
            }
        }
        at += 1;
    }
    found
}

/// The real values in a tensor's bytes.
pub fn dequantize(tensor: &TensorRecord, bytes: &[u8]) -> Vec<f32> {
    let quant = quant(tensor);
    let real = |q: i32| quant.dequantize(q);
    let pairs = || bytes.as_chunks::<2>().0.iter();
    match tensor.dtype() {
        DType::I8 => bytes.iter().map(|&b| real((b as i8).into())).collect(),
        DType::I16 => pairs()
            .map(|&b| real(i16::from_le_bytes(b).into()))
            .collect(),
        DType::I32 => bytes
            .as_chunks()
            .0
            .iter()
            .map(|&b| real(i32::from_le_bytes(b)))
            .collect(),
        DType::F16 => pairs().map(|&b| f16::from_le_bytes(b).to_f32()).collect(),
    }
}

/// Position in its tensor of element `at` of an input or output, counted in ONNX's order. Tensors with three axes are images: channels
/// first in ONNX, channels last in the tensor.
fn place(tensor: &TensorRecord, at: usize) -> usize {
    match *tensor.shape() {
        [height, width, channels] => {
            let pixels = height as usize * width as usize;
            at % pixels * channels as usize + at / pixels
        }
        _ => at,
    }
}

/// Elements of an output tensor in ONNX's order.
pub fn onnx_order<T: Copy>(tensor: &TensorRecord, elements: &[T]) -> Vec<T> {
    (0..elements.len())
        .map(|at| elements[place(tensor, at)])
        .collect()
}

/// Quantizes real values, in the order of ONNX, into an input of a session.
///
/// # Errors
/// [`ConvertError::Session`] if there is no such input. Values beyond the input's length are ignored.
pub fn fill<'x>(
    session: &mut Session,
    entry: usize,
    index: usize,
    values: impl Iterator<Item = &'x f32>,
) -> Result<()> {
    let record = session.input_record(entry, index)?;
    let quant = quant(record);
    let values = values.enumerate().map(|(at, &x)| (place(record, at), x));
    match quant.dtype {
        DType::I8 => put(session.input::<i8>(entry, index)?, values, |x| {
            quant.quantize(x) as i8
        }),
        DType::I16 => put(session.input::<i16>(entry, index)?, values, |x| {
            quant.quantize(x) as i16
        }),
        DType::I32 => put(session.input::<i32>(entry, index)?, values, |x| {
            quant.quantize(x)
        }),
        DType::F16 => put(session.input::<f16>(entry, index)?, values, |x| {
            Clamp::NONE.apply(x)
        }),
    }
    Ok(())
}

/// Quantizes arrays, in the order of ONNX, into the inputs of these names.
///
/// # Errors
/// [`ConvertError::Session`] when there is no such input.
pub fn give(session: &mut Session, entry: usize, given: &[(String, ArrayD<f32>)]) -> Result<()> {
    let model = session.model();
    for (name, array) in given {
        let record = model.entries().get(entry);
        let place = record.and_then(|entry| model.input_names(entry).position(|n| n == name));
        fill(session, entry, place.unwrap_or(usize::MAX), array.iter())?;
    }
    Ok(())
}

fn put<T>(slots: &mut [T], values: impl Iterator<Item = (usize, f32)>, held: impl Fn(f32) -> T) {
    for (at, x) in values {
        if let Some(slot) = slots.get_mut(at) {
            *slot = held(x);
        }
    }
}

/// Runs an entry point. Calls back with number and bytes of every tensor, right after the operator that wrote it.
///
/// # Errors
/// [`ConvertError::Session`] when there is no such entry point.
pub fn run_traced(
    session: &mut Session,
    entry: usize,
    mut written: impl FnMut(usize, &[u8]),
) -> Result<()> {
    let model = session.model();
    let ops = model.entries().get(entry).map_or(0..0, |entry| entry.ops());
    session.start(entry)?;
    for op in model.ops().get(ops).unwrap_or_default() {
        let progress = session.run_ops(1)?;
        for id in op.outputs() {
            written(id, session.tensor_bytes(id).unwrap_or_default());
        }
        if progress == Progress::Done {
            break;
        }
    }
    Ok(())
}

/// The integers of output `index` after a run, as the file has them, in the order of its tensor.
///
/// # Errors
/// [`ConvertError::Session`] when there is no such output, [`ConvertError::NoIntegers`] for one in half precision.
pub fn integers(session: &Session, entry: usize, index: usize) -> Result<Vec<i32>> {
    let record = session.output_record(entry, index)?;
    Ok(match record.dtype() {
        DType::I8 => wide(session.output::<i8>(entry, index)?),
        DType::I16 => wide(session.output::<i16>(entry, index)?),
        DType::I32 => session.output::<i32>(entry, index)?.to_vec(),
        DType::F16 => {
            return Err(ConvertError::NoIntegers {
                output: session.model().name(record.name).to_owned(),
            });
        }
    })
}

fn wide<T: Copy + Into<i32>>(elements: &[T]) -> Vec<i32> {
    elements.iter().map(|&element| element.into()).collect()
}

/// The real values of output `index` after a run, in the order of its tensor.
///
/// # Errors
/// [`ConvertError::Session`] when there is no such output.
pub fn output(session: &Session, entry: usize, index: usize) -> Result<Vec<f32>> {
    let record = session.output_record(entry, index)?;
    let bytes = match record.dtype() {
        DType::I8 => session.output::<i8>(entry, index)?.as_bytes(),
        DType::I16 => session.output::<i16>(entry, index)?.as_bytes(),
        DType::I32 => session.output::<i32>(entry, index)?.as_bytes(),
        DType::F16 => session.output::<f16>(entry, index)?.as_bytes(),
    };
    Ok(dequantize(record, bytes))
}

const _: () = assert!(align_of::<u128>() >= attn_runtime::format::FILE_ALIGN);
