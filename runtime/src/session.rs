//! `Session`: a model together with the arena that it runs in. Fill the inputs, run, read the outputs.
//!
//! Here is the order of execution; what an operator does is in [`crate::ops`].

use crate::format::{DType, EntryRecord, FILE_ALIGN, Storage, TensorRecord};
use crate::model::Model;
use crate::ops::{OpError, require};
use crate::typed::quantize;
use core::fmt;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Memory for one session, to be put in a `static`: `N` bytes aligned as a model asks for.
///
/// [`include_model!`](crate::include_model) gives the right `N` as a constant.
#[derive(Clone)]
#[repr(C, align(16))]
pub struct Arena<const N: usize>([u8; N]);

impl<const N: usize> Arena<N> {
    /// Zeroed memory.
    pub const fn new() -> Self {
        assert!(align_of::<Self>() == FILE_ALIGN);
        Self([0; N])
    }

    /// The bytes, for [`Session::new`].
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

impl<const N: usize> Default for Arena<N> {
    fn default() -> Self {
        Self::new()
    }
}

/// Element types of inputs and outputs.
#[diagnostic::on_unimplemented(
    message = "the file has no such input or output, or it has half precision and this program has no feature `fp16`",
    note = "`attn inspect` lists the inputs and outputs of an `.attn` file"
)]
pub trait Element:
    FromBytes + IntoBytes + Immutable + KnownLayout + sealed::Sealed + 'static
{
    /// The type's name in the file format.
    const DTYPE: DType;

    /// The element for a real value: the nearest, ties away from zero, limited to the type's range.
    fn from_real(x: f32, scale: f32, zero_point: i32) -> Self;

    /// The real value of the element.
    fn to_real(&self, scale: f32, zero_point: i32) -> f32;
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for i8 {}
    impl Sealed for i16 {}
    impl Sealed for i32 {}
    #[cfg(attn_half)]
    impl Sealed for crate::f16 {}
}

macro_rules! integer {
    ($type:ident, $dtype:ident) => {
        impl Element for $type {
            const DTYPE: DType = DType::$dtype;

            fn from_real(x: f32, scale: f32, zero_point: i32) -> Self {
                let q = quantize(x, scale, zero_point);
                q.clamp(Self::MIN as i32, Self::MAX as i32) as Self
            }

            fn to_real(&self, scale: f32, zero_point: i32) -> f32 {
                (*self as i32).wrapping_sub(zero_point) as f32 * scale
            }
        }
    };
}
integer!(i8, I8);
integer!(i16, I16);
integer!(i32, I32);

#[cfg(attn_half)]
impl Element for crate::f16 {
    const DTYPE: DType = DType::F16;

    fn from_real(x: f32, scale: f32, _: i32) -> Self {
        Self::from_f32(x / scale)
    }

    fn to_real(&self, scale: f32, _: i32) -> f32 {
        self.to_f32() * scale
    }
}

/// Why a session cannot do what was asked of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum SessionError {
    /// The arena has fewer bytes than the model needs.
    ArenaTooSmall {
        /// Bytes that the model needs.
        needed: usize,
        /// Bytes given.
        given: usize,
    },
    /// The arena does not start at a multiple of 16: use [`Arena`].
    ArenaMisaligned,
    /// The model has no entry point with this number.
    NoSuchEntry {
        /// Number asked for.
        entry: usize,
    },
    /// The entry point has no input or output with this number.
    NoSuchTensor {
        /// Number asked for.
        index: usize,
    },
    /// The tensor holds elements of another type.
    WrongType {
        /// The tensor's type.
        found: DType,
        /// Type asked for.
        asked: DType,
    },
    /// A sequence without elements, or longer than the model takes.
    LengthOutOfRange {
        /// Length asked for.
        length: usize,
        /// Greatest length that the model takes; 0: it has no axis of variable length.
        max: usize,
    },
    /// [`Session::run_ops`] without [`Session::start`] before it.
    NotStarted,
    /// A run is in progress: its inputs may be in use, its outputs are not ready, and its state is half-way.
    Unfinished,
    /// The outputs of an entry point that is not the last one that ran, or whose outputs an input, a length or a reset has made void.
    NotRun {
        /// The entry point.
        entry: usize,
    },
    /// An operator failed; a parsed model never does.
    Op(OpError),
}

impl fmt::Display for SessionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ArenaTooSmall { needed, given } => {
                write!(
                    f,
                    "the arena has {given} bytes, the model needs {needed}: size it with include_model!'s ARENA_LEN"
                )
            }
            Self::ArenaMisaligned => write!(
                f,
                "the arena does not start at a multiple of 16: use attn_runtime::Arena"
            ),
            Self::NoSuchEntry { entry } => write!(f, "the model has no entry point {entry}"),
            Self::NoSuchTensor { index } => {
                write!(f, "the entry point has no input or output {index}")
            }
            Self::WrongType { found, asked } => {
                write!(
                    f,
                    "the tensor holds {} elements, {} were asked for",
                    found.name(),
                    asked.name()
                )
            }
            Self::LengthOutOfRange { max: 0, .. } => {
                write!(f, "the model has no axis of variable length")
            }
            Self::LengthOutOfRange { length, max } => {
                write!(
                    f,
                    "a sequence of length {length}; the model takes 1 to {max}"
                )
            }
            Self::NotStarted => write!(f, "run_ops without start: call Session::start first"),
            Self::Unfinished => write!(
                f,
                "a run is in progress: finish it with Session::run_ops, or give it up with Session::reset"
            ),
            Self::NotRun { entry } => write!(
                f,
                "there are no outputs of entry point {entry}: run it, and read them before anything else is filled, run or reset"
            ),
            Self::Op(error) => write!(f, "an operator failed: {error}"),
        }
    }
}

impl core::error::Error for SessionError {}

impl From<OpError> for SessionError {
    fn from(error: OpError) -> Self {
        Self::Op(error)
    }
}

/// Whether a run that was cut into slices has reached its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Progress {
    /// Operators are left: call [`Session::run_ops`] again.
    More,
    /// The outputs are ready.
    Done,
}

/// A model running in an arena.
#[derive(Debug)]
pub struct Session<'m, 'a> {
    model: Model<'m>,
    arena: &'a mut [u8],
    /// Operators that are left of the run in progress.
    pending: core::ops::Range<usize>,
    /// Entry point of the run in progress, or of the last.
    running: usize,
    /// Its outputs can be read.
    ready: bool,
    /// Length of the sequence that is processed.
    length: usize,
}

impl<'m, 'a> Session<'m, 'a> {
    /// Puts `model` into `arena` and resets its state.
    ///
    /// # Errors
    /// [`SessionError::ArenaTooSmall`] or [`SessionError::ArenaMisaligned`].
    pub fn new(model: Model<'m>, arena: &'a mut [u8]) -> Result<Self, SessionError> {
        let (needed, given) = (model.arena_len(), arena.len());
        let aligned = (arena.as_ptr() as usize).is_multiple_of(FILE_ALIGN);
        require(aligned, SessionError::ArenaMisaligned)?;
        let arena = arena
            .get_mut(..needed)
            .ok_or(SessionError::ArenaTooSmall { needed, given })?;
        let mut session = Self {
            model,
            arena,
            pending: 0..0,
            running: 0,
            ready: false,
            length: model.max_length(),
        };
        session.reset();
        Ok(session)
    }

    /// The model.
    pub fn model(&self) -> Model<'m> {
        self.model
    }

    /// Resets every state tensor to its initial value. A run in progress is given up.
    pub fn reset(&mut self) {
        self.pending = 0..0;
        self.ready = false;
        let tensors = self.model.tensors().iter();
        for tensor in tensors.filter(|tensor| tensor.storage() == Storage::State) {
            let Some(bytes) = self.arena.get_mut(tensor.range()) else {
                continue;
            };
            let start = tensor.zero_point.to_le_bytes();
            let element = start.get(..tensor.dtype().size()).unwrap_or(&start);
            bytes
                .chunks_exact_mut(element.len())
                .for_each(|slot| slot.copy_from_slice(element));
        }
    }

    /// Sets the length of the sequence for the next runs: inputs and outputs then have that number of rows, and operators
    /// skip the others. The initial length is the greatest one. Inputs are filled afterwards; the outputs of earlier runs are void.
    ///
    /// # Errors
    /// [`SessionError::Unfinished`] in a run; [`SessionError::LengthOutOfRange`] for 0, for more than [`Model::max_length`], and for any length where the
    /// model has no axis of variable length.
    pub fn set_length(&mut self, length: usize) -> Result<(), SessionError> {
        let max = self.model.max_length();
        let in_range = (1..=max).contains(&length);
        require(in_range, SessionError::LengthOutOfRange { length, max })?;
        self.require_finished()?;
        self.length = length;
        self.ready = false;
        Ok(())
    }

    /// Length of the sequence that is processed; 0 for a model without an axis of variable length.
    pub fn length(&self) -> usize {
        self.length
    }

    /// Input number `index` of an entry point, to be filled before it runs. Outputs that share its bytes are void from here on.
    ///
    /// # Errors
    /// [`SessionError::Unfinished`] in a run; [`SessionError::NoSuchEntry`], [`SessionError::NoSuchTensor`], [`SessionError::WrongType`].
    pub fn input<T: Element>(
        &mut self,
        entry: usize,
        index: usize,
    ) -> Result<&mut [T], SessionError> {
        let tensor = self.io(entry, index, EntryRecord::inputs)?;
        expect::<T>(tensor)?;
        self.require_finished()?;
        self.ready = self.ready && !self.shares_outputs(tensor);
        let bytes = self
            .arena
            .get_mut(self.model.active_range(tensor, self.length))
            .ok_or(SessionError::NoSuchTensor { index })?;
        <[T]>::mut_from_bytes(bytes).map_err(|_| SessionError::NoSuchTensor { index })
    }

    /// Output number `index` of an entry point, from the end of its run to the next run, reset or length, or to an input that shares its
    /// bytes.
    ///
    /// # Errors
    /// [`SessionError::Unfinished`] in a run, [`SessionError::NotRun`] before it and when the outputs are void;
    /// [`SessionError::NoSuchEntry`], [`SessionError::NoSuchTensor`], [`SessionError::WrongType`].
    pub fn output<T: Element>(&self, entry: usize, index: usize) -> Result<&[T], SessionError> {
        let tensor = self.io(entry, index, EntryRecord::outputs)?;
        expect::<T>(tensor)?;
        self.require_finished()?;
        let ready = self.ready && self.running == entry;
        require(ready, SessionError::NotRun { entry })?;
        let bytes = self
            .arena
            .get(self.model.active_range(tensor, self.length))
            .ok_or(SessionError::NoSuchTensor { index })?;
        <[T]>::ref_from_bytes(bytes).map_err(|_| SessionError::NoSuchTensor { index })
    }

    /// The record of input number `index` of an entry point: its shape, scale and zero point.
    ///
    /// # Errors
    /// [`SessionError::NoSuchEntry`], [`SessionError::NoSuchTensor`].
    pub fn input_record(
        &self,
        entry: usize,
        index: usize,
    ) -> Result<&'m TensorRecord, SessionError> {
        self.io(entry, index, EntryRecord::inputs)
    }

    /// The record of output number `index` of an entry point: its shape, scale and zero point.
    ///
    /// # Errors
    /// [`SessionError::NoSuchEntry`], [`SessionError::NoSuchTensor`].
    pub fn output_record(
        &self,
        entry: usize,
        index: usize,
    ) -> Result<&'m TensorRecord, SessionError> {
        self.io(entry, index, EntryRecord::outputs)
    }

    /// Runs an entry point from start to end.
    ///
    /// # Errors
    /// [`SessionError::Unfinished`] in a run, [`SessionError::NoSuchEntry`].
    pub fn run(&mut self, entry: usize) -> Result<(), SessionError> {
        self.start(entry)?;
        self.run_ops(usize::MAX).map(drop)
    }

    /// Begins a run that [`Session::run_ops`] carries on in slices. Only [`Session::reset`] gives it up: half a run leaves the state
    /// half-way.
    ///
    /// # Errors
    /// [`SessionError::Unfinished`] in a run, [`SessionError::NoSuchEntry`].
    pub fn start(&mut self, entry: usize) -> Result<(), SessionError> {
        let ops = self.entry(entry)?.ops();
        self.require_finished()?;
        (self.pending, self.running, self.ready) = (ops, entry, false);
        Ok(())
    }

    /// Runs at most `count` operators of the run begun by [`Session::start`], so that a cooperative scheduler
    /// can do other work between slices.
    ///
    /// # Errors
    /// [`SessionError::NotStarted`].
    pub fn run_ops(&mut self, count: usize) -> Result<Progress, SessionError> {
        require(!self.pending.is_empty(), SessionError::NotStarted)?;
        let model = self.model;
        for id in self.pending.by_ref().take(count) {
            let op = model.op(id, self.length).ok_or(OpError::UnknownKind)?;
            op.run(self.arena)?;
        }
        self.ready = self.pending.is_empty();
        Ok(if self.ready {
            Progress::Done
        } else {
            Progress::More
        })
    }

    /// Whether a run was begun and is not over.
    pub fn is_running(&self) -> bool {
        !self.pending.is_empty()
    }

    /// The current bytes of tensor number `id` in the arena, for traces and tests. An arena tensor is
    /// meaningful only between the operator that writes it and the one that reuses its place.
    pub fn tensor_bytes(&self, id: usize) -> Option<&[u8]> {
        let range = self.model.active_range(self.model.tensor(id)?, self.length);
        self.arena.get(range)
    }

    /// The same, to be changed: for [`Session::start_at`].
    #[cfg(feature = "internals")]
    pub fn tensor_bytes_mut(&mut self, id: usize) -> Option<&mut [u8]> {
        let range = self.model.active_range(self.model.tensor(id)?, self.length);
        self.arena.get_mut(range)
    }

    /// Like [`Session::start`], from operator number `op` of the model on: the caller has put into the arena what the operators before it
    /// would have.
    ///
    /// # Errors
    /// [`SessionError::NoSuchEntry`].
    #[cfg(feature = "internals")]
    pub fn start_at(&mut self, entry: usize, op: usize) -> Result<(), SessionError> {
        let ops = self.entry(entry)?.ops();
        self.pending = op.clamp(ops.start, ops.end)..ops.end;
        (self.running, self.ready) = (entry, self.pending.is_empty());
        Ok(())
    }

    /// The first `len` bytes of the state, less if there are less.
    pub(crate) fn state(&mut self, len: usize) -> &mut [u8] {
        let len = len.min(self.arena.len());
        self.arena.get_mut(..len).unwrap_or_default()
    }

    fn require_finished(&self) -> Result<(), SessionError> {
        require(self.pending.is_empty(), SessionError::Unfinished)
    }

    /// Whether `tensor` has bytes in common with outputs of the last run.
    fn shares_outputs(&self, tensor: &TensorRecord) -> bool {
        let range = tensor.range();
        let entry = self.model.entries().get(self.running);
        let mut outputs = entry.into_iter().flat_map(EntryRecord::outputs);
        outputs.any(|id| {
            let output = self.model.tensor(id).map(TensorRecord::range);
            output.is_some_and(|output| output.start < range.end && range.start < output.end)
        })
    }

    fn entry(&self, entry: usize) -> Result<&'m EntryRecord, SessionError> {
        self.model
            .entries()
            .get(entry)
            .ok_or(SessionError::NoSuchEntry { entry })
    }

    fn io<I: Iterator<Item = usize>>(
        &self,
        entry: usize,
        index: usize,
        list: impl Fn(&'m EntryRecord) -> I,
    ) -> Result<&'m TensorRecord, SessionError> {
        let id = list(self.entry(entry)?).nth(index);
        id.and_then(|id| self.model.tensor(id))
            .ok_or(SessionError::NoSuchTensor { index })
    }
}

fn expect<T: Element>(tensor: &TensorRecord) -> Result<(), SessionError> {
    let (found, asked) = (tensor.dtype(), T::DTYPE);
    require(found == asked, SessionError::WrongType { found, asked })
}
