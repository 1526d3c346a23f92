//! Which operators a program links: a table of their functions, made at compile time from a model's file or from a list.
//!
//! A function that no table names is not in the program. [`crate::include_model!`] makes the table of its file; a program that
//! receives its models at run time names a set, or takes [`Operators::all`].
//!
//! The largest families exist in variants, too: [`Uses`] says for which element types, and whether with everything that most files
//! do without. Parsing refuses an operator whose variant is not there.

use super::{OpError, OpKind, OpView, Sums};
use crate::format::{self, DType, Encoding, OpFacts, TensorRecord};
use crate::kernels::int::dot::ROWS;
use crate::model::Model;
use core::fmt;

/// Codes of operators are below this.
const CODES: usize = 72;
/// Encodings of an operator.
const ENCODINGS: usize = 3;

/// What an operator is used for, as bits: the const parameter of a family that exists in variants.
pub(super) struct Uses;

impl Uses {
    /// The first input is int8.
    pub const X8: u8 = 1;
    /// The first input is int16.
    pub const X16: u8 = 2;
    /// The first output is int8.
    pub const Y8: u8 = 4;
    /// The first output is int16.
    pub const Y16: u8 = 8;
    /// What its family calls extras.
    pub const EXTRAS: u8 = 16;
    /// The first output has rows enough for tiles.
    pub const ROWS: u8 = 32;
    /// Everything.
    pub const ALL: u8 = 63;

    /// The uses of one operator.
    pub const fn of(op: &OpFacts) -> u8 {
        let x = match op.inputs[0] {
            Some(DType::I8) => Self::X8,
            Some(DType::I16) => Self::X16,
            _ => 0,
        };
        let y = match op.outputs[0] {
            Some(DType::I8) => Self::Y8,
            Some(DType::I16) => Self::Y16,
            _ => 0,
        };
        let extras = if super::has_extras(op) {
            Self::EXTRAS
        } else {
            0
        };
        let rows = if op.rows >= ROWS { Self::ROWS } else { 0 };
        x | y | extras | rows
    }
}

/// The instance of a generic function for these [`Uses`]. Sets that are not in the list take all.
macro_rules! variant {
    // What the functions of a row are for: everything, if they do not exist in variants.
    (@uses $uses:ident) => {
        Uses::ALL
    };
    (@uses $uses:ident USES) => {
        $uses
    };
    ($family:ident::$run:ident, $uses:expr) => {
        $family::$run
    };
    ($family:ident::$run:ident<USES>, $uses:expr) => {
        variant!(@ $family::$run, $uses; 1 2 3 5 6 7 9 10 11 13 14 15 17 18 19 21 22 23 25 26 27 29 30 31 33 34 35 37 38 39 41 42 43 45 46 47 49 50 51 53 54 55 57 58 59 61 62)
    };
    (@ $family:ident::$run:ident, $uses:expr; $($bits:literal)*) => {
        match $uses {
            $($bits => $family::$run::<$bits>,)*
            _ => $family::$run::<{ Uses::ALL }>,
        }
    };
}
pub(super) use variant;

/// An operator in one encoding: the functions of its family.
#[derive(Clone, Copy)]
#[doc(hidden)]
pub struct Linked {
    /// The [`Uses`] that they are for.
    pub(super) uses: u8,
    pub(super) check: fn(&OpView<'_>) -> Result<(), OpError>,
    pub(super) run: fn(&OpView<'_>, &mut [u8]) -> Result<(), OpError>,
    /// Of joined weights, the largest magnitude of a result: [`Sums::largest_joined`].
    pub(super) joined: Option<Largest>,
}

/// The largest magnitude of a sum over weights at an offset.
pub(super) type Largest = fn(&Sums<'_>, u32) -> Result<i32, OpError>;

/// The bit of an operator that is in a set.
const LINKED: u8 = 128;

/// A set of operators, for [`operators!`](crate::operators).
#[derive(Clone, Copy)]
pub struct OperatorSet {
    /// By place (see [`place`]): [`Uses`], and [`LINKED`] for an operator of the set.
    uses: [u8; CODES * ENCODINGS],
    /// Whether models have rows that vary with the length of a sequence.
    rows_vary: bool,
    /// Whether a file may lack operators of it, so that errors need the names of operators.
    named: bool,
}

/// Place of an operator in the tables.
const fn place(code: u16, encoding: u16) -> Option<usize> {
    if (code as usize) < CODES && (encoding as usize) < ENCODINGS {
        Some(code as usize * ENCODINGS + encoding as usize)
    } else {
        None
    }
}

impl OperatorSet {
    /// No operators.
    pub const NONE: Self = Self {
        uses: [0; CODES * ENCODINGS],
        rows_vary: false,
        named: false,
    };

    /// Every operator that this runtime has.
    pub const ALL: Self = Self::of(OpKind::ALL);

    /// These operators, in every encoding that this runtime has.
    pub const fn of(kinds: &[OpKind]) -> Self {
        let mut set = Self::NONE;
        (set.named, set.rows_vary) = (true, true);
        let mut at = 0;
        while at < kinds.len() {
            set = set.with(kinds[at] as u16, Encoding::Int8 as u16, Uses::ALL);
            set = set.with(kinds[at] as u16, Encoding::Half as u16, Uses::ALL);
            set = set.with(kinds[at] as u16, Encoding::Joined as u16, Uses::ALL);
            at += 1;
        }
        set
    }

    /// The operators of an `.attn` file, in the encodings that it has. Compilation fails for what is no such file.
    pub const fn of_file(file: &[u8]) -> Self {
        let mut set = Self::NONE;
        set.rows_vary = format::has_lengths(file);
        let mut at = 0;
        while let Some(op) = format::op_at(file, at) {
            let uses = match Encoding::from_code(op.encoding) {
                Some(Encoding::Int8 | Encoding::Joined) => Uses::of(&op),
                _ => Uses::ALL,
            };
            set = set.with(op.code, op.encoding, uses);
            at += 1;
        }
        set
    }

    /// The operators of both sets.
    pub const fn and(mut self, other: Self) -> Self {
        let mut at = 0;
        while at < self.uses.len() {
            self.uses[at] |= other.uses[at];
            at += 1;
        }
        self.rows_vary |= other.rows_vary;
        self.named |= other.named;
        self
    }

    const fn with(mut self, code: u16, encoding: u16, uses: u8) -> Self {
        // What this runtime does not have is left out: parsing gives the error.
        if let (Some(at), Some(_)) = (place(code, encoding), super::linked(code, encoding, uses)) {
            self.uses[at] |= LINKED | uses;
        }
        self
    }

    /// Number of operators, each encoding counted.
    #[doc(hidden)]
    pub const fn count(&self) -> usize {
        let (mut count, mut at) = (0, 0);
        while at < self.uses.len() {
            count += (self.uses[at] >= LINKED) as usize;
            at += 1;
        }
        count
    }

    /// The functions of the `N` operators, in the order of their places.
    #[doc(hidden)]
    pub const fn linked<const N: usize>(&self) -> [Linked; N] {
        let mut linked = [Linked {
            uses: 0,
            check: |_| Err(OpError::NotLinked),
            run: |_, _| Err(OpError::NotLinked),
            joined: None,
        }; N];
        let (mut count, mut at) = (0, 0);
        while at < self.uses.len() {
            let [code, encoding] = [at / ENCODINGS, at % ENCODINGS];
            let uses = self.uses[at] & !LINKED;
            if self.uses[at] >= LINKED
                && let Some(operator) = super::linked(code as u16, encoding as u16, uses)
            {
                linked[count] = operator;
                count += 1;
            }
            at += 1;
        }
        linked
    }
}

/// The operators that a program links. [`operators!`](crate::operators) makes one.
pub struct Operators {
    /// By place: number of the operator in `linked`, from 1; 0: it is not linked.
    numbers: [u8; CODES * ENCODINGS],
    linked: &'static [Linked],
    name: fn(OpKind) -> &'static str,
    /// `None` where no rows vary.
    rows: Option<fn(&Model<'_>, &TensorRecord, usize) -> usize>,
}

impl Operators {
    /// Every operator that this runtime has.
    pub fn all() -> &'static Self {
        crate::operators!(set OperatorSet::ALL)
    }

    /// The table of a set with its functions.
    #[doc(hidden)]
    pub const fn new(set: &OperatorSet, linked: &'static [Linked]) -> Self {
        let mut numbers = [0; CODES * ENCODINGS];
        let (mut count, mut at) = (0, 0);
        while at < numbers.len() {
            if set.uses[at] >= LINKED {
                count += 1;
                numbers[at] = count;
            }
            at += 1;
        }
        Self {
            numbers,
            linked,
            name: if set.named { OpKind::name } else { |_| "" },
            rows: if set.rows_vary {
                Some(|model, tensor, length| model.varying_rows(tensor, length))
            } else {
                None
            },
        }
    }

    pub(super) fn get(&self, code: u16, encoding: u16) -> Option<&'static Linked> {
        let number = *self.numbers.get(place(code, encoding)?)?;
        // Of 0, what no table has.
        self.linked.get(usize::from(number).wrapping_sub(1))
    }

    /// Whether models may have rows that vary with the length of a sequence.
    pub(crate) fn rows_vary(&self) -> bool {
        self.rows.is_some()
    }

    /// Valid rows of `tensor` in a sequence of `length`.
    pub(crate) fn rows(&self, model: &Model<'_>, tensor: &TensorRecord, length: usize) -> usize {
        match self.rows {
            Some(rows) if tensor.rows_rule != 0 => rows(model, tensor, length),
            _ => tensor.rows(),
        }
    }

    /// The operator's name; empty where the set is that of a file, which lacks none.
    pub(crate) fn name(&self, kind: OpKind) -> &'static str {
        (self.name)(kind)
    }
}

impl fmt::Debug for Operators {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Operators({})", self.linked.len())
    }
}

/// A table of operators, made at compile time: `&'static` [`Operators`] from names of operators, or as `operators!(set SET)` from an
/// [`OperatorSet`].
///
/// ```
/// use attn_runtime::{Model, ModelError, Operators};
///
/// // What a model that arrives later may use.
/// static OPERATORS: &Operators = attn_runtime::operators![Linear, LayerNorm, Attention, Add];
///
/// fn load(file: &[u8]) -> Result<Model<'_>, ModelError> {
///     Model::parse_linked(file, OPERATORS)
/// }
/// ```
#[macro_export]
macro_rules! operators {
    ($($kind:ident),+ $(,)?) => {
        $crate::operators!(set $crate::OperatorSet::of(&[$($crate::OpKind::$kind),+]))
    };
    (set $set:expr) => {{
        const LINKED_SET: $crate::OperatorSet = $set;
        static LINKED: [$crate::Linked; LINKED_SET.count()] = LINKED_SET.linked();
        static LINKED_OPERATORS: $crate::Operators = $crate::Operators::new(&LINKED_SET, &LINKED);
        &LINKED_OPERATORS
    }};
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_has_its_operators_and_no_other() {
        let two = crate::operators![Linear, Softmax];
        for &kind in OpKind::ALL {
            let wanted = matches!(kind, OpKind::Linear | OpKind::Softmax);
            let found = two.get(kind as u16, Encoding::Int8 as u16).is_some();
            assert_eq!(found, wanted, "{kind:?}");
            assert!(Operators::all().get(kind as u16, 0).is_some(), "{kind:?}");
        }
        assert!(two.get(u16::MAX, 0).is_none() && two.get(1, 3).is_none());
    }

    #[test]
    fn sets_add_up() {
        const ONE: OperatorSet = OperatorSet::of(&[OpKind::Linear]);
        const OTHER: OperatorSet = OperatorSet::of(&[OpKind::Linear, OpKind::Gru]);
        let both = crate::operators!(set ONE.and(OTHER));
        assert_eq!(both.linked.len(), OTHER.count());
        assert!(both.get(OpKind::Gru as u16, 0).is_some());
    }

    #[test]
    fn codes_have_places() {
        assert!(OpKind::ALL.iter().all(|&kind| (kind as usize) < CODES));
        assert!(usize::from(u8::MAX) >= OperatorSet::ALL.count());
    }
}
