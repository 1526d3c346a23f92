//! A parsed file: its entry points, inputs and outputs, names, and what it needs.

use crate::edge::{self, AttnText};
use crate::error::{AttnCode, AttnError};
use crate::slot::{get, holds, put};
use attn_c_operators::operators;
use attn_runtime::{DType, EntryRecord, Limits, Model, TensorRecord};
use core::ffi::c_char;

/// "None" where a number is asked for or given; the header has its own line for it.
///
/// cbindgen:ignore
pub const ATTN_NONE: usize = usize::MAX;
/// Most dimensions of a tensor.
pub const ATTN_MAX_RANK: usize = 6;
/// Bytes at whose multiples a model and its arena start; `ATTN_ALIGNED` sees to that.
pub const ATTN_ALIGNMENT: usize = 16;

/// Size in units of 8 bytes.
#[cfg(target_pointer_width = "32")]
pub const ATTN_MODEL_WORDS: usize = 10;
/// Size in units of 8 bytes.
#[cfg(target_pointer_width = "64")]
pub const ATTN_MODEL_WORDS: usize = 20;

/// A file that was checked. It points into the file, which has to stay where it is.
#[repr(C)]
pub struct AttnModel {
    opaque: [u64; ATTN_MODEL_WORDS],
}
holds!(AttnModel, Model<'static>, 0x6d6f_6465);

/// Type of elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum AttnType {
    /// 8-bit: `real = scale * (q - zero_point)`.
    I8 = 1,
    /// 16-bit: `real = scale * q`.
    I16 = 2,
    /// 32-bit integers: numbers of tokens.
    I32 = 3,
    /// IEEE 754 half precision.
    F16 = 4,
}

impl From<DType> for AttnType {
    fn from(dtype: DType) -> Self {
        match dtype {
            DType::I8 => Self::I8,
            DType::I16 => Self::I16,
            DType::I32 => Self::I32,
            DType::F16 => Self::F16,
        }
    }
}

/// An input or output of an entry point.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct AttnPort {
    /// Name in the original model.
    pub name: AttnText,
    /// Type of its elements.
    pub element_type: AttnType,
    /// Number of dimensions.
    pub rank: u32,
    /// Dimensions, channels last; those from `rank` on are 1. Where rows vary with the length of a sequence, the first is the greatest.
    pub dims: [u32; ATTN_MAX_RANK],
    /// Number of elements: the product of the dimensions.
    pub count: usize,
    /// Real value of one step.
    pub scale: f32,
    /// The integer that stands for 0.0.
    pub zero_point: i32,
}

/// The most that a file may ask for. `attn_limits_default` fills it.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct AttnLimits {
    /// Multiply-accumulates of all operators together.
    pub macs: u64,
    /// Bytes that they read and write.
    pub bytes: u64,
    /// Bytes of arena.
    pub arena: usize,
}

/// Whose models are accepted, which, and from which version on.
#[cfg(feature = "signed")]
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct AttnTrust {
    /// Public Ed25519 key: 32 bytes.
    pub key: *const u8,
    /// The name that the model was signed with: a string of 1 to 16 bytes.
    pub model: *const c_char,
    /// The oldest version that is accepted.
    pub oldest: u32,
}

/// Fills `limits` with 2^32 multiply-accumulates, 2^32 bytes moved and any arena: what holds where no limits are given.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn attn_limits_default(limits: *mut AttnLimits) -> AttnCode {
    let Limits {
        macs, bytes, arena, ..
    } = Limits::default();
    edge::finish(core::ptr::null_mut(), || {
        edge::write(limits, AttnLimits { macs, bytes, arena })
    })
}

unsafe fn limits_of(limits: *const AttnLimits) -> Limits {
    let mut all = Limits::default();
    if !limits.is_null() && limits.is_aligned() {
        let AttnLimits { macs, bytes, arena } = *limits;
        (all.macs, all.bytes, all.arena) = (macs, bytes, arena);
    }
    all
}

/// Checks the `len` bytes of `file` from the first to the last and makes a model of them. Any bytes at all give a model or an error; a model that was
/// accepted cannot fail while it runs. `file` starts at a multiple of `ATTN_ALIGNMENT`. `limits` may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn attn_model_parse(
    model: *mut AttnModel,
    file: *const u8,
    len: usize,
    limits: *const AttnLimits,
    error: *mut AttnError,
) -> AttnCode {
    edge::finish(error, || {
        let file = edge::elements(file, len)?;
        put(
            model,
            Model::parse_with(file, operators(), &limits_of(limits)),
        )
    })
}

/// As `attn_model_parse`, and checks who signed the file, for which model and as which version.
#[cfg(feature = "signed")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn attn_model_parse_signed(
    model: *mut AttnModel,
    file: *const u8,
    len: usize,
    trust: *const AttnTrust,
    limits: *const AttnLimits,
    error: *mut AttnError,
) -> AttnCode {
    edge::finish(error, || {
        let file = edge::elements(file, len)?;
        let trust = edge::elements(trust, 1)?;
        let trust = trust.first().ok_or(AttnCode::NullPointer)?;
        let key: &[u8; 32] = edge::elements(trust.key, 32)?
            .first_chunk()
            .ok_or(AttnCode::NullPointer)?;
        let name = edge::string(trust.model)?.as_bytes();
        let mut padded = [0; 16];
        match padded.get_mut(..name.len()) {
            Some(start) if !name.is_empty() => start.copy_from_slice(name),
            _ => {
                return Err(AttnCode::NameTooLong
                    .found(name.len() as u64)
                    .expected(16u8));
            }
        }
        let trust = attn_runtime::Trust {
            key,
            model: padded,
            oldest: trust.oldest,
        };
        let found = Model::parse_signed(file, &trust, operators(), &limits_of(limits));
        put(model, found)
    })
}

/// A number of a model; `otherwise` for what is no model.
unsafe fn of(
    model: *const AttnModel,
    otherwise: usize,
    number: impl FnOnce(Model<'static>) -> Option<usize>,
) -> usize {
    let found = get(model).ok().and_then(|model| number(*model));
    found.unwrap_or(otherwise)
}

/// Bytes of arena that a session of the model needs; 0 for what is no model.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn attn_model_arena_len(model: *const AttnModel) -> usize {
    of(model, 0, |model| Some(model.arena_len()))
}

/// Longest sequence that the model takes; 0 for a model without an axis of variable length.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn attn_model_max_length(model: *const AttnModel) -> usize {
    of(model, 0, |model| Some(model.max_length()))
}

/// Number of entry points.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn attn_model_entries(model: *const AttnModel) -> usize {
    of(model, 0, |model| Some(model.entries().len()))
}

/// Number of the entry point with this name; `ATTN_NONE` if there is none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn attn_model_entry(model: *const AttnModel, name: *const c_char) -> usize {
    of(model, ATTN_NONE, |model| {
        model.entry(edge::string(name).ok()?)
    })
}

/// Number of inputs of an entry point; 0 if there is no such entry point.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn attn_model_inputs(model: *const AttnModel, entry: usize) -> usize {
    of(model, 0, |model| {
        Some(model.entries().get(entry)?.inputs().count())
    })
}

/// Number of outputs of an entry point; 0 if there is no such entry point.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn attn_model_outputs(model: *const AttnModel, entry: usize) -> usize {
    of(model, 0, |model| {
        Some(model.entries().get(entry)?.outputs().count())
    })
}

/// Number of the input with this name; `ATTN_NONE` if there is none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn attn_model_input_named(
    model: *const AttnModel,
    entry: usize,
    name: *const c_char,
) -> usize {
    of(model, ATTN_NONE, |model| {
        let name = edge::string(name).ok()?;
        let mut names = model.input_names(model.entries().get(entry)?);
        names.position(|found| found == name)
    })
}

/// Number of the output with this name; `ATTN_NONE` if there is none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn attn_model_output_named(
    model: *const AttnModel,
    entry: usize,
    name: *const c_char,
) -> usize {
    of(model, ATTN_NONE, |model| {
        let name = edge::string(name).ok()?;
        let mut names = model.output_names(model.entries().get(entry)?);
        names.position(|found| found == name)
    })
}

/// Describes input number `index` of an entry point.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn attn_model_input(
    model: *const AttnModel,
    entry: usize,
    index: usize,
    port: *mut AttnPort,
    error: *mut AttnError,
) -> AttnCode {
    edge::finish(error, || {
        let model = *get(model)?;
        let record = entry_of(model, entry)?;
        let id = record.inputs().nth(index);
        let name = model.input_names(record).nth(index);
        edge::write(port, port_of(model, id, name, index)?)
    })
}

/// Describes output number `index` of an entry point.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn attn_model_output(
    model: *const AttnModel,
    entry: usize,
    index: usize,
    port: *mut AttnPort,
    error: *mut AttnError,
) -> AttnCode {
    edge::finish(error, || {
        let model = *get(model)?;
        let record = entry_of(model, entry)?;
        let id = record.outputs().nth(index);
        let name = model.output_names(record).nth(index);
        edge::write(port, port_of(model, id, name, index)?)
    })
}

fn entry_of(model: Model<'static>, entry: usize) -> Result<&'static EntryRecord, AttnError> {
    let found = model.entries().get(entry);
    found.ok_or(AttnError::from(AttnCode::NoSuchEntry).about(entry))
}

fn port_of(
    model: Model<'static>,
    id: Option<usize>,
    name: Option<&'static str>,
    index: usize,
) -> Result<AttnPort, AttnError> {
    let tensor: &TensorRecord = id
        .and_then(|id| model.tensor(id))
        .ok_or(AttnError::from(AttnCode::NoSuchTensor).about(index))?;
    Ok(AttnPort {
        name: name.unwrap_or("").into(),
        element_type: tensor.dtype().into(),
        rank: tensor.rank.into(),
        dims: tensor.dims,
        count: tensor.len(),
        scale: tensor.scale,
        zero_point: tensor.zero_point,
    })
}

/// Number of labels, in the order of the logits.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn attn_model_labels(model: *const AttnModel) -> usize {
    of(model, 0, |model| Some(model.labels().len()))
}

/// Label number `label`; empty if there is none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn attn_model_label(model: *const AttnModel, label: usize) -> AttnText {
    text_of(model, |model| model.labels().nth(label))
}

/// Number of the label with this name; `ATTN_NONE` if there is none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn attn_model_label_named(
    model: *const AttnModel,
    name: *const c_char,
) -> usize {
    of(model, ATTN_NONE, |model| {
        let name = edge::string(name).ok()?;
        model.labels().position(|found| found == name)
    })
}

/// Name of an output token; empty if it has none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn attn_model_token(model: *const AttnModel, token: u16) -> AttnText {
    text_of(model, |model| model.token_name(token))
}

/// What stands between the names of two tokens in a text.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn attn_model_separator(model: *const AttnModel) -> AttnText {
    text_of(model, |model| Some(model.separator()))
}

unsafe fn text_of(
    model: *const AttnModel,
    text: impl FnOnce(Model<'static>) -> Option<&'static str>,
) -> AttnText {
    let found = get(model).ok().and_then(|model| text(*model));
    found.unwrap_or("").into()
}
