//! One operator of a model as its family sees it: tensors, parameters, weights, scratch, and the checks that every
//! operator needs. No operator is named here.

use super::arena::{self, Values};
use super::audit::Audit;
use super::linked::Linked;
use super::{OpKind, has_own_rows, works_in_place};
use crate::format::{DType, Encoding, OpFacts, OpRecord, Storage, TensorRecord};
use crate::model::Model;
use core::fmt;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Why an operator cannot run.
///
/// One byte without data: an operator makes about ten such checks, all of them in the flash of a chip, and
/// [`ModelError::BadOp`](crate::ModelError::BadOp) says which operator it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum OpError {
    /// The code is none of [`OpKind`].
    UnknownKind,
    /// The operator is not among those that the program links.
    NotLinked,
    /// The encoding is none that this runtime knows.
    UnknownEncoding,
    /// The encoding is half precision but no tensor is float16, or the other way round; or weights are joined for an operator
    /// or an input that does not take such weights.
    WrongEncoding,
    /// Parameters have fields that this runtime does not know and that are not 0.
    NewerParams,
    /// A tensor that the operator needs is not named, or the number names none.
    MissingTensor,
    /// It names an output that the operator does not have.
    SurplusOutput,
    /// A tensor's element type is not one that the operator takes in this place.
    WrongType,
    /// Shapes do not fit each other or the parameters.
    WrongShape,
    /// A tensor that must be (or must not be) state is not (or is).
    WrongStorage,
    /// The scratch tensor is missing or too small.
    ScratchTooSmall,
    /// Parameters are misaligned or hold a value out of range.
    BadParams,
    /// Weights, biases, multipliers or a table lie outside the weights section or are misaligned.
    WeightsOutOfBounds,
    /// Tensors overlap that must not.
    Overlap,
    /// Rows that vary with the length of the sequence do not vary alike.
    RowsDiffer,
    /// A sum may leave 32 bits with these weights.
    MayOverflow,
    /// Parameters, tables or weights that operators share too often: checking them would take longer than the file is long.
    TooMuchToCheck,
}

impl fmt::Display for OpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UnknownKind => "unknown operator: use a runtime at least as new as the converter",
            Self::NotLinked => {
                "it is not among the operators of this program: add it to the set that the model is parsed with"
            }
            Self::UnknownEncoding => {
                "unknown encoding: use a runtime at least as new as the converter, with feature fp16 for half precision"
            }
            Self::WrongEncoding => "its encoding does not fit the operator or the types of its tensors",
            Self::NewerParams => {
                "it has parameters that this runtime does not know: use a runtime at least as new as the converter"
            }
            Self::MissingTensor => "a tensor that it needs is missing",
            Self::SurplusOutput => "it names an output that such an operator does not have",
            Self::WrongType => "a tensor has the wrong element type",
            Self::WrongShape => "shapes do not fit each other or the parameters",
            Self::WrongStorage => "a tensor is state where it must not be, or is not where it must",
            Self::ScratchTooSmall => "the scratch tensor is missing or too small",
            Self::BadParams => "its parameters are misaligned or out of range",
            Self::WeightsOutOfBounds => "its weights lie outside the weights section",
            Self::Overlap => "its tensors overlap",
            Self::RowsDiffer => "the rows of its tensors do not vary alike with the length of the sequence",
            Self::MayOverflow => {
                "a sum may leave 32 bits with its weights: convert the model again, with calibration data that fit it"
            }
            Self::TooMuchToCheck => {
                "its parameters, tables or weights are shared by too many operators to be checked in time linear in the file"
            }
        })
    }
}

impl core::error::Error for OpError {}

/// One operator of a model, with access to what its record points to.
#[derive(Clone, Copy)]
pub(crate) struct OpView<'a> {
    model: Model<'a>,
    record: &'a OpRecord,
    /// Length of the sequence that is processed; see [`crate::format::RowRule`].
    length: usize,
    /// What a parse has counted so far; none while the model runs.
    audit: Option<&'a Audit>,
}

impl<'a> OpView<'a> {
    pub(crate) fn new(model: Model<'a>, record: &'a OpRecord, length: usize) -> Self {
        Self {
            model,
            record,
            length,
            audit: None,
        }
    }

    /// For [`Self::check`], at the greatest length.
    pub(crate) fn audited(model: Model<'a>, record: &'a OpRecord, audit: &'a Audit) -> Self {
        Self {
            audit: Some(audit),
            ..Self::new(model, record, usize::MAX)
        }
    }

    pub(super) fn audit(&self) -> Option<&'a Audit> {
        self.audit
    }

    pub(super) fn record(&self) -> &'a OpRecord {
        self.record
    }

    pub(super) fn encoding(&self) -> Result<Encoding, OpError> {
        self.record.encoding().ok_or(OpError::UnknownEncoding)
    }

    /// Exactly the operators in half precision touch float16 tensors. Their other tensors are counters, rings and token
    /// numbers.
    pub(super) fn check_encoding(&self) -> Result<(), OpError> {
        let mut tensors = self.record.inputs().chain(self.record.outputs());
        let touches = tensors.any(|id| {
            self.model
                .tensor(id)
                .is_some_and(|t| t.dtype() == DType::F16)
        });
        let encoding = self.encoding()?;
        require(
            touches == (encoding == Encoding::Half),
            OpError::WrongEncoding,
        )?;
        if encoding == Encoding::Joined {
            let joins = self.record.kind().is_none_or(OpKind::joins);
            let narrow = self.input(0)?.dtype() == DType::I8;
            require(joins && narrow, OpError::WrongEncoding)?;
        }
        Ok(())
    }

    /// Whether the weights that the first input meets are joined.
    pub(super) fn joined(&self) -> bool {
        self.record.encoding == Encoding::Joined as u16
    }

    /// The operator's functions.
    pub(super) fn linked(&self) -> Result<&'static Linked, OpError> {
        let OpRecord { kind, encoding, .. } = *self.record;
        let linked = self.model.operators().get(kind, encoding);
        linked.ok_or_else(|| match self.record.kind() {
            None => OpError::UnknownKind,
            Some(_) => OpError::NotLinked,
        })
    }

    pub(super) fn input(&self, slot: usize) -> Result<&'a TensorRecord, OpError> {
        self.named(self.record.inputs().nth(slot))
    }

    pub(super) fn named(&self, id: Option<usize>) -> Result<&'a TensorRecord, OpError> {
        id.and_then(|id| self.model.tensor(id))
            .ok_or(OpError::MissingTensor)
    }

    pub(super) fn input_count(&self) -> usize {
        self.record.inputs().count()
    }

    pub(super) fn output(&self) -> Result<&'a TensorRecord, OpError> {
        self.output_at(0)
    }

    // Called in many places, and small code matters more than the call.
    #[inline(never)]
    pub(super) fn output_at(&self, slot: usize) -> Result<&'a TensorRecord, OpError> {
        if let Some(audit) = self.audit {
            audit.ask_for_output(slot);
        }
        self.named(self.record.outputs().nth(slot))
    }

    /// The bytes of several tensors at once, valid rows only. They must not overlap.
    pub(super) fn tensors<'t, const N: usize>(
        &self,
        arena: &'t mut [u8],
        records: [&TensorRecord; N],
    ) -> Result<[&'t mut [u8]; N], OpError> {
        let active = |tensor: &TensorRecord| self.model.active_range(tensor, self.length);
        arena
            .get_disjoint_mut(records.map(active))
            .map_err(|_| OpError::Overlap)
    }

    /// The bytes of several tensors, as [`Self::tensors`]; of those that there are not, none.
    pub(super) fn some_tensors<'t, const N: usize>(
        &self,
        arena: &'t mut [u8],
        records: [Option<&TensorRecord>; N],
    ) -> Result<[&'t mut [u8]; N], OpError> {
        let active = |tensor: Option<&TensorRecord>| match tensor {
            Some(tensor) => self.model.active_range(tensor, self.length),
            None => 0..0,
        };
        arena
            .get_disjoint_mut(records.map(active))
            .map_err(|_| OpError::Overlap)
    }

    /// The elements of several tensors of type `T`, as [`Self::tensors`].
    pub(super) fn typed<'t, T: FromBytes + IntoBytes + Immutable + KnownLayout, const N: usize>(
        &self,
        arena: &'t mut [u8],
        records: [&TensorRecord; N],
    ) -> Result<[&'t mut [T]; N], OpError> {
        arena::try_map(self.tensors(arena, records)?, arena::typed)
    }

    /// The elements of several tensors of either integer width, as [`Self::tensors`].
    pub(super) fn values<'t, const N: usize>(
        &self,
        arena: &'t mut [u8],
        records: [&TensorRecord; N],
    ) -> Result<[Values<'t>; N], OpError> {
        let mut tensors = records.into_iter();
        arena::try_map(self.tensors(arena, records)?, |bytes| {
            let tensor = tensors.next().ok_or(OpError::MissingTensor)?;
            arena::values(bytes, tensor)
        })
    }

    /// The elements of the first input and of the output, and int16 scratch of at least `len` elements.
    pub(super) fn with_pairs<'t>(
        &self,
        arena: &'t mut [u8],
        len: usize,
    ) -> Result<(Values<'t>, Values<'t>, &'t mut [i16]), OpError> {
        let (x, y) = (self.input(0)?, self.output()?);
        let scratch = self.scratch(DType::I16, len)?;
        let [x_bytes, y_bytes, scratch] = self.tensors(arena, [x, y, scratch])?;
        let (x, y) = (arena::values(x_bytes, x)?, arena::values(y_bytes, y)?);
        Ok((x, y, arena::typed(scratch)?))
    }

    /// Valid rows of `tensor` in this run.
    pub(super) fn rows(&self, tensor: &TensorRecord) -> usize {
        self.model.active_rows(tensor, self.length)
    }

    /// What decides which functions the operator needs.
    pub(super) fn facts(&self) -> OpFacts<'a> {
        let dtype = |id: Option<usize>| Some(self.model.tensor(id?)?.dtype());
        OpFacts {
            code: self.record.kind,
            encoding: self.record.encoding,
            inputs: [0, 1].map(|slot| dtype(self.record.inputs().nth(slot))),
            outputs: [0, 1].map(|slot| dtype(self.record.outputs().nth(slot))),
            rows: self.output().map_or(0, TensorRecord::rows),
            params: self.param_bytes().unwrap_or_default(),
        }
    }

    /// Valid rows out of `all` under row rule `rule` (0 = all).
    pub(super) fn active(&self, rule: u32, all: usize) -> usize {
        let rule = self.model.row_rule(rule as usize);
        rule.map_or(all, |rule| rule.rows(self.length).min(all))
    }

    /// A row rule named in parameters must exist and give `all` rows at the greatest length.
    pub(super) fn check_rows_rule(&self, rule: u32, all: usize) -> Result<(), OpError> {
        let rows = match rule {
            0 => Some(all),
            number => self
                .model
                .row_rule(number as usize)
                .map(|rule| rule.rows(self.model.max_length())),
        };
        require(rows == Some(all), OpError::BadParams)
    }

    pub(super) fn require_disjoint(&self, tensors: &[&TensorRecord]) -> Result<(), OpError> {
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
    pub(super) fn scratch(
        &self,
        dtype: DType,
        elements: usize,
    ) -> Result<&'a TensorRecord, OpError> {
        let id = self.record.scratch().ok_or(OpError::ScratchTooSmall)?;
        let scratch = self.model.tensor(id).ok_or(OpError::MissingTensor)?;
        let fits = scratch.dtype() == dtype && scratch.len() >= elements;
        let placed = scratch.storage() == Storage::Arena && scratch.rows_rule == 0;
        require(placed && fits, OpError::ScratchTooSmall)?;
        Ok(scratch)
    }

    /// The operator's parameters. Fields that an older file does not have are 0; a newer file may have more, if they are 0.
    pub(super) fn params<P: Copy + FromBytes + IntoBytes + Immutable + KnownLayout>(
        &self,
    ) -> Result<P, OpError> {
        if let Ok(params) = P::ref_from_bytes(self.param_bytes()?) {
            return Ok(*params);
        }
        let mut params = P::new_zeroed();
        self.read_params(params.as_mut_bytes())?;
        Ok(params)
    }

    /// One copy in the program, not one for each record.
    #[inline(never)]
    fn read_params(&self, known: &mut [u8]) -> Result<(), OpError> {
        let bytes = self.param_bytes()?;
        let (bytes, newer) = bytes.split_at_checked(known.len()).unwrap_or((bytes, &[]));
        self.examine(newer.len())?;
        if let Some(known) = known.get_mut(..bytes.len()) {
            known.copy_from_slice(bytes);
        }
        require(newer.iter().all(|&byte| byte == 0), OpError::NewerParams)
    }

    /// A list of parameters: one record for each input.
    pub(super) fn param_list<P: FromBytes + Immutable + KnownLayout>(
        &self,
    ) -> Result<&'a [P], OpError> {
        <[P]>::ref_from_bytes(self.param_bytes()?).map_err(|_| OpError::BadParams)
    }

    fn param_bytes(&self) -> Result<&'a [u8], OpError> {
        self.model
            .params(self.record.params, self.record.params_len)
            .ok_or(OpError::BadParams)
    }

    /// `len` values of type `T` at byte `offset` of the weights section.
    pub(super) fn weights<T: FromBytes + Immutable + KnownLayout>(
        &self,
        offset: u32,
        len: usize,
    ) -> Result<&'a [T], OpError> {
        self.model
            .weights(offset, len)
            .ok_or(OpError::WeightsOutOfBounds)
    }

    /// Rows that vary do so alike: an input with a row rule has that of the first output, and so has any second output.
    /// Otherwise an operator would leave rows of its output as they were. Operators with rows of their own say what holds
    /// for them.
    pub(super) fn check_rows(&self) -> Result<(), OpError> {
        let Ok(y) = self.output() else {
            return Ok(());
        };
        if self.record.kind().is_none_or(has_own_rows) {
            return Ok(());
        }
        for id in self.record.inputs().chain(self.record.outputs()) {
            let rule = self.named(Some(id))?.rows_rule;
            require(rule == 0 || rule == y.rows_rule, OpError::RowsDiffer)?;
        }
        Ok(())
    }

    /// Demands tensors that are always there in full.
    pub(super) fn require_fixed(&self, tensors: &[&TensorRecord]) -> Result<(), OpError> {
        let fixed = tensors.iter().all(|tensor| tensor.rows_rule == 0);
        require(fixed, OpError::RowsDiffer)
    }

    /// Outputs and scratch share no bytes with each other or with an input. Exception: the output of an operator that works in
    /// place may cover its arena input exactly.
    pub(super) fn check_overlap(&self) -> Result<(), OpError> {
        let tensor = |id: usize| self.named(Some(id));
        let can = self.record.kind().is_some_and(works_in_place);
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
                let in_place = can
                    && is_output
                    && this.range() == other.range()
                    && other.storage() == Storage::Arena;
                require(!overlap(this, other) || in_place, OpError::Overlap)?;
            }
            for (other, _) in written().skip(at + 1) {
                require(!overlap(this, tensor(other)?), OpError::Overlap)?;
            }
        }
        Ok(())
    }
}

/// True when both tensors name exactly the same bytes.
pub(super) fn in_place(a: &TensorRecord, b: &TensorRecord) -> bool {
    a.offset == b.offset && a.byte_len() == b.byte_len()
}

pub(super) fn overlap(a: &TensorRecord, b: &TensorRecord) -> bool {
    let (a, b) = (a.range(), b.range());
    a.start < b.end && b.start < a.end
}

/// An error unless `condition` holds.
pub(crate) fn require<E>(condition: bool, error: E) -> Result<(), E> {
    if condition { Ok(()) } else { Err(error) }
}
