//! The operators: for each family one file with its parameters in the file format, the checks that parsing
//! makes, and the call of the kernel. The arithmetic itself is in [`crate::kernels`].
//!
//! Parsing calls `OpView::check` once; running calls `OpView::run`. Both read the same parameters through
//! the same accessors, so whatever `check` accepted `run` finds in place.

mod additive;
mod arena;
mod attention;
mod conv;
mod conv2d;
mod elementwise;
mod embedding;
mod gate;
mod gru;
#[cfg(attn_half)]
mod half;
mod layer_norm;
mod linear;
mod lstm;
mod pool;
mod rotary;
mod rows;
mod state;
mod top_k;

pub use additive::AdditiveAttentionParams;
pub use attention::AttentionParams;
pub use conv::{Conv1dParams, DepthwiseConv1dParams};
pub use conv2d::{Conv2dParams, ConvTranspose2dParams, DepthwiseConv2dParams, Window2dParams};
pub use elementwise::{
    AddConstantParams, AddParams, ConcatParams, LutParams, MeanRowsParams, MulParams,
    RequantizeParams, SoftmaxParams, WideLutParams,
};
pub use embedding::EmbeddingParams;
pub use gate::{GateParams, MeanChannelsParams};
pub use gru::{GruParams, RecurrentSide, Start};
#[cfg(attn_half)]
pub use half::{
    AddConstantHalfParams, AddHalfParams, AdditiveAttentionHalfParams, AttentionHalfParams,
    Conv1dHalfParams, Conv2dHalfParams, ConvTranspose2dHalfParams, DepthwiseConv1dHalfParams,
    DepthwiseConv2dHalfParams, EmbeddingHalfParams, GateHalfParams, GruHalfParams,
    LayerNormHalfParams, LinearHalfParams, LstmHalfParams, LutHalfParams, MulHalfParams,
    RecurrentHalfSide, RotaryHalfParams, TopKHalfParams,
};
pub use layer_norm::LayerNormParams;
pub use linear::LinearParams;
pub use lstm::{CellScale, LstmParams};
pub use pool::{AveragePool2dParams, MaxPool2dParams};
pub use rotary::RotaryParams;
pub use rows::{ConstantParams, WeightedRowsParams};
pub use top_k::TopKParams;

use crate::format::{DType, OpKind, OpRecord, Storage, TensorRecord};
use crate::model::Model;
use core::fmt;
use zerocopy::{FromBytes, Immutable, KnownLayout};

/// Why an operator cannot run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum OpError {
    /// The code is none of [`OpKind`], or one that this runtime was built without.
    UnknownKind,
    /// A tensor that the operator needs is not named, or the number names none.
    MissingTensor,
    /// A tensor's element type is not one that the operator takes in this place.
    WrongType,
    /// Shapes do not fit each other or the parameters.
    WrongShape,
    /// A tensor that must be (or must not be) state is not (or is).
    WrongStorage,
    /// The scratch tensor is missing or too small.
    ScratchTooSmall,
    /// Parameters have another length than the operator's, or hold a value out of range.
    BadParams,
    /// Weights, biases, multipliers or a table lie outside the weights section or are misaligned.
    WeightsOutOfBounds,
    /// Tensors overlap that must not.
    Overlap,
}

impl fmt::Display for OpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UnknownKind => {
                "unknown operator: use a runtime at least as new as the converter, with feature all-operators"
            }
            Self::MissingTensor => "a tensor that it needs is missing",
            Self::WrongType => "a tensor has the wrong element type",
            Self::WrongShape => "shapes do not fit each other or the parameters",
            Self::WrongStorage => "a tensor is state where it must not be, or is not where it must",
            Self::ScratchTooSmall => "the scratch tensor is missing or too small",
            Self::BadParams => "its parameters are of the wrong length or out of range",
            Self::WeightsOutOfBounds => "its weights lie outside the weights section",
            Self::Overlap => "its tensors overlap",
        })
    }
}

impl core::error::Error for OpError {}

/// Whether every operator is built in, or only those of streaming keyword spotting.
const ALL: bool = cfg!(feature = "all-operators");

/// One operator of a model, with access to what its record points to.
#[derive(Clone, Copy)]
pub(crate) struct OpView<'a> {
    model: Model<'a>,
    record: &'a OpRecord,
    /// Length of the sequence that is processed; see [`crate::format::RowRule`].
    length: usize,
}

impl<'a> OpView<'a> {
    pub(crate) fn new(model: Model<'a>, record: &'a OpRecord, length: usize) -> Self {
        Self {
            model,
            record,
            length,
        }
    }

    /// Checks everything that [`Self::run`] relies on.
    pub(crate) fn check(&self) -> Result<(), OpError> {
        self.check_overlap()?;
        #[cfg(attn_half)]
        if self.is_half() {
            return half::check(self);
        }
        match self.kind()? {
            OpKind::Linear => linear::check(self),
            OpKind::Conv1d => conv::check(self),
            OpKind::DepthwiseConv1d if ALL => conv::check_depthwise(self),
            OpKind::Gru => gru::check(self),
            OpKind::Attention => attention::check(self),
            OpKind::PushKeyValue => attention::check_push(self),
            OpKind::Lut => elementwise::check_lut(self),
            OpKind::Add if ALL => elementwise::check_add(self),
            OpKind::Concat => elementwise::check_concat(self),
            OpKind::Requantize => elementwise::check_requantize(self),
            OpKind::Softmax if ALL => elementwise::check_softmax(self),
            OpKind::ShiftRows => state::check_shift_rows(self),
            OpKind::LayerNorm if ALL => layer_norm::check(self),
            OpKind::MeanRows if ALL => elementwise::check_mean_rows(self),
            OpKind::AddConstant if ALL => elementwise::check_add_constant(self),
            OpKind::Mul if ALL => elementwise::check_mul(self),
            OpKind::Embedding if ALL => embedding::check(self),
            OpKind::Lstm if ALL => lstm::check(self),
            OpKind::AdditiveAttention if ALL => additive::check(self),
            OpKind::LastRow if ALL => state::check_last_row(self),
            OpKind::TopK if ALL => top_k::check(self),
            OpKind::Conv2d if ALL => conv2d::check(self),
            OpKind::DepthwiseConv2d if ALL => conv2d::check_depthwise(self),
            OpKind::ConvTranspose2d if ALL => conv2d::check_transposed(self),
            OpKind::MaxPool2d if ALL => pool::check_max(self),
            OpKind::AveragePool2d if ALL => pool::check_average(self),
            OpKind::MaxChannels if ALL => gate::check_max_channels(self),
            OpKind::MeanChannels if ALL => gate::check_mean_channels(self),
            OpKind::Gate if ALL => gate::check(self),
            OpKind::Constant if ALL => rows::check_constant(self),
            OpKind::Rotary if ALL => rotary::check(self),
            OpKind::WeightedRows if ALL => rows::check_weighted(self),
            OpKind::ClearRows if ALL => rows::check_clear(self),
            _ => Err(OpError::UnknownKind),
        }
    }

    /// Runs the operator on `arena`. Cannot fail for an operator that [`Self::check`] accepted.
    pub(crate) fn run(&self, arena: &mut [u8]) -> Result<(), OpError> {
        #[cfg(attn_half)]
        if self.is_half() {
            return half::run(self, arena);
        }
        match self.kind()? {
            OpKind::Linear => linear::run(self, arena),
            OpKind::Conv1d => conv::run(self, arena),
            OpKind::DepthwiseConv1d if ALL => conv::run_depthwise(self, arena),
            OpKind::Gru => gru::run(self, arena),
            OpKind::Attention => attention::run(self, arena),
            OpKind::PushKeyValue => attention::run_push(self, arena),
            OpKind::Lut => elementwise::run_lut(self, arena),
            OpKind::Add if ALL => elementwise::run_add(self, arena),
            OpKind::Concat => elementwise::run_concat(self, arena),
            OpKind::Requantize => elementwise::run_requantize(self, arena),
            OpKind::Softmax if ALL => elementwise::run_softmax(self, arena),
            OpKind::ShiftRows => state::run_shift_rows(self, arena),
            OpKind::LayerNorm if ALL => layer_norm::run(self, arena),
            OpKind::MeanRows if ALL => elementwise::run_mean_rows(self, arena),
            OpKind::AddConstant if ALL => elementwise::run_add_constant(self, arena),
            OpKind::Mul if ALL => elementwise::run_mul(self, arena),
            OpKind::Embedding if ALL => embedding::run(self, arena),
            OpKind::Lstm if ALL => lstm::run(self, arena),
            OpKind::AdditiveAttention if ALL => additive::run(self, arena),
            OpKind::LastRow if ALL => state::run_last_row(self, arena),
            OpKind::TopK if ALL => top_k::run(self, arena),
            OpKind::Conv2d if ALL => conv2d::run(self, arena),
            OpKind::DepthwiseConv2d if ALL => conv2d::run_depthwise(self, arena),
            OpKind::ConvTranspose2d if ALL => conv2d::run_transposed(self, arena),
            OpKind::MaxPool2d if ALL => pool::run_max(self, arena),
            OpKind::AveragePool2d if ALL => pool::run_average(self, arena),
            OpKind::MaxChannels if ALL => gate::run_max_channels(self, arena),
            OpKind::MeanChannels if ALL => gate::run_mean_channels(self, arena),
            OpKind::Gate if ALL => gate::run(self, arena),
            OpKind::Constant if ALL => rows::run_constant(self, arena),
            OpKind::Rotary if ALL => rotary::run(self, arena),
            OpKind::WeightedRows if ALL => rows::run_weighted(self, arena),
            OpKind::ClearRows if ALL => rows::run_clear(self, arena),
            _ => Err(OpError::UnknownKind),
        }
    }

    /// True when the operator reads or writes a float16 tensor: then its half-precision form is meant, which takes no
    /// others but counters and token numbers.
    #[cfg(attn_half)]
    fn is_half(&self) -> bool {
        let mut tensors = self.record.inputs().chain(self.record.outputs());
        tensors.any(|id| {
            self.model
                .tensor(id)
                .is_some_and(|t| t.dtype() == DType::F16)
        })
    }

    fn kind(&self) -> Result<OpKind, OpError> {
        self.record.kind().ok_or(OpError::UnknownKind)
    }

    fn input(&self, slot: usize) -> Result<&'a TensorRecord, OpError> {
        let id = self
            .record
            .inputs()
            .nth(slot)
            .ok_or(OpError::MissingTensor)?;
        self.model.tensor(id).ok_or(OpError::MissingTensor)
    }

    fn input_count(&self) -> usize {
        self.record.inputs().count()
    }

    fn output(&self) -> Result<&'a TensorRecord, OpError> {
        self.output_at(0)
    }

    fn output_at(&self, slot: usize) -> Result<&'a TensorRecord, OpError> {
        let id = self
            .record
            .outputs()
            .nth(slot)
            .ok_or(OpError::MissingTensor)?;
        self.model.tensor(id).ok_or(OpError::MissingTensor)
    }

    /// The bytes of several tensors at once, each as far as it is in use in this run. They must not overlap.
    fn tensors<'t, const N: usize>(
        &self,
        arena: &'t mut [u8],
        records: [&TensorRecord; N],
    ) -> Result<[&'t mut [u8]; N], OpError> {
        let active = |tensor: &TensorRecord| {
            if ALL {
                self.model.active_range(tensor, self.length)
            } else {
                tensor.range()
            }
        };
        arena
            .get_disjoint_mut(records.map(active))
            .map_err(|_| OpError::Overlap)
    }

    /// Rows of `tensor` that are in use in this run.
    fn rows(&self, tensor: &TensorRecord) -> usize {
        if ALL {
            self.model.active_rows(tensor, self.length)
        } else {
            tensor.rows()
        }
    }

    /// Of `all` rows, those in use in this run by rule number `rule`; 0 stands for no rule.
    fn active(&self, rule: u32, all: usize) -> usize {
        let rule = match rule {
            0 => None,
            number => self.model.row_rule(number as usize),
        };
        rule.map_or(all, |rule| rule.rows(self.length).min(all))
    }

    /// A rule named in parameters must exist and give all rows at the greatest length.
    fn check_rows_rule(&self, rule: u32, all: usize) -> Result<(), OpError> {
        let rows = match rule {
            0 => Some(all),
            number => self
                .model
                .row_rule(number as usize)
                .map(|rule| rule.rows(self.model.max_length())),
        };
        require(rows == Some(all), OpError::BadParams)
    }

    fn require_disjoint(&self, tensors: &[&TensorRecord]) -> Result<(), OpError> {
        let mut rest = tensors;
        while let Some((first, others)) = rest.split_first() {
            require(
                !others.iter().any(|other| overlap(first, other)),
                OpError::Overlap,
            )?;
            rest = others;
        }
        Ok(())
    }

    /// The scratch tensor, which must hold at least `elements` of `dtype` at every length of the sequence.
    fn scratch(&self, dtype: DType, elements: usize) -> Result<&'a TensorRecord, OpError> {
        let id = self.record.scratch().ok_or(OpError::ScratchTooSmall)?;
        let scratch = self.model.tensor(id).ok_or(OpError::MissingTensor)?;
        if scratch.storage() != Storage::Arena
            || scratch.dtype() != dtype
            || scratch.rows_rule != 0
            || scratch.len() < elements
        {
            return Err(OpError::ScratchTooSmall);
        }
        Ok(scratch)
    }

    fn params<P: FromBytes + Immutable + KnownLayout + ?Sized>(&self) -> Result<&'a P, OpError> {
        let bytes = self
            .model
            .params(self.record.params, self.record.params_len)
            .ok_or(OpError::BadParams)?;
        P::ref_from_bytes(bytes).map_err(|_| OpError::BadParams)
    }

    /// `len` values of type `T` at byte `offset` of the weights section.
    fn weights<T: FromBytes + Immutable + KnownLayout>(
        &self,
        offset: u32,
        len: usize,
    ) -> Result<&'a [T], OpError> {
        self.model
            .weights(offset, len)
            .ok_or(OpError::WeightsOutOfBounds)
    }

    /// Outputs and scratch must not share bytes with each other or with an input, unless an output covers an
    /// arena input exactly (in place): which operators can do that is for their own checks.
    fn check_overlap(&self) -> Result<(), OpError> {
        let tensor = |id: usize| self.model.tensor(id).ok_or(OpError::MissingTensor);
        let written = || {
            self.record
                .outputs()
                .map(|id| (id, true))
                .chain(self.record.scratch().map(|id| (id, false)))
        };
        for (at, (id, is_output)) in written().enumerate() {
            let this = tensor(id)?;
            for input in self.record.inputs() {
                let other = tensor(input)?;
                let in_place =
                    is_output && this.range() == other.range() && other.storage() == Storage::Arena;
                if overlap(this, other) && !in_place {
                    return Err(OpError::Overlap);
                }
            }
            for (other, _) in written().skip(at + 1) {
                if overlap(this, tensor(other)?) {
                    return Err(OpError::Overlap);
                }
            }
        }
        Ok(())
    }
}

/// True when both tensors name exactly the same bytes.
fn in_place(a: &TensorRecord, b: &TensorRecord) -> bool {
    a.offset == b.offset && a.byte_len() == b.byte_len()
}

fn overlap(a: &TensorRecord, b: &TensorRecord) -> bool {
    let (a, b) = (a.range(), b.range());
    a.start < b.end && b.start < a.end
}

fn require(condition: bool, error: OpError) -> Result<(), OpError> {
    if condition { Ok(()) } else { Err(error) }
}
