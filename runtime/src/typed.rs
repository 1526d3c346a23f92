//! Typed sessions: [`include_model!`](crate::include_model) knows the element types, shapes and scales of its file, so firmware that was
//! written for other ones does not compile.

use crate::format::Port;
use crate::{DType, Element, Model, ModelError, Session, SessionError};
use core::fmt;
use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};

/// A file that [`include_model!`](crate::include_model) included.
pub trait Included: 'static {
    /// Checks the file and returns it as a model.
    ///
    /// # Errors
    /// [`ModelError`].
    fn model() -> Result<Model<'static>, ModelError>;
}

/// An input of an included file.
pub trait InputOf<M> {
    /// Type of its elements in this file; [`Absent`] if the file has no such port.
    type Element;
    /// Number of the entry point.
    const ENTRY: usize;
    /// Number among the inputs of the entry point.
    const INDEX: usize;
    /// Shape, scale and name.
    const PORT: Port;
}

/// An output of an included file.
pub trait OutputOf<M> {
    /// Type of its elements in this file; [`Absent`] if the file has no such port.
    type Element;
    /// Number of the entry point.
    const ENTRY: usize;
    /// Number among the outputs of the entry point.
    const INDEX: usize;
    /// Shape, scale and name.
    const PORT: Port;
}

/// The element type of what is not there, or has half precision in a program that reads none.
#[derive(Clone, Copy, Debug)]
pub struct Absent;

/// The element type with a code of [`DType`].
#[doc(hidden)]
pub struct Code<const CODE: u8>;

#[doc(hidden)]
pub trait ElementOf {
    type Element;
}

impl ElementOf for Code<0> {
    type Element = Absent;
}
impl ElementOf for Code<{ DType::I8 as u8 }> {
    type Element = i8;
}
impl ElementOf for Code<{ DType::I16 as u8 }> {
    type Element = i16;
}
impl ElementOf for Code<{ DType::I32 as u8 }> {
    type Element = i32;
}
impl ElementOf for Code<{ DType::F16 as u8 }> {
    #[cfg(attn_half)]
    type Element = crate::f16;
    #[cfg(not(attn_half))]
    type Element = Absent;
}

/// The integer of a real value: nearest step, ties away from zero, saturated to what 32 bits hold.
pub(crate) fn quantize(x: f32, scale: f32, zero_point: i32) -> i32 {
    let steps = x / scale;
    let whole = steps as i32;
    let rest = steps - whole as f32;
    let rounded = whole.saturating_add(i32::from(rest >= 0.5) - i32::from(rest <= -0.5));
    rounded.saturating_add(zero_point)
}

/// Why an included file cannot be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum StartError {
    /// The file is damaged.
    Model(ModelError),
    /// The arena does not fit.
    Session(SessionError),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Model(error) => error.fmt(f),
            Self::Session(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for StartError {}

/// A session of an included file. Its inputs and outputs have the types of the file: `session.input::<imu::Input>()`.
#[derive(Debug)]
pub struct TypedSession<'a, M> {
    session: Session<'static, 'a>,
    model: PhantomData<M>,
}

impl<'a, M: Included> TypedSession<'a, M> {
    /// Puts the model into `arena`, of at least its `ARENA_LEN` bytes, and resets its state.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn new(arena: &'a mut [u8]) -> Result<Self, StartError> {
        let model = M::model().map_err(StartError::Model)?;
        Ok(Self {
            session: Session::new(model, arena).map_err(StartError::Session)?,
            model: PhantomData,
        })
    }

    /// An input, to be filled before its entry point runs.
    ///
    /// # Errors
    /// As [`Session::input`], but never for its number or type.
    pub fn input<I: InputOf<M, Element: Element>>(
        &mut self,
    ) -> Result<&mut [I::Element], SessionError> {
        self.session.input(I::ENTRY, I::INDEX)
    }

    /// An output, after its entry point has run.
    ///
    /// # Errors
    /// As [`Session::output`], but never for its number or type.
    pub fn output<O: OutputOf<M, Element: Element>>(&self) -> Result<&[O::Element], SessionError> {
        self.session.output(O::ENTRY, O::INDEX)
    }

    /// Fills an input with real values, each rounded to the nearest step and limited to the range of the type. Elements without a value
    /// stay as they are.
    ///
    /// # Errors
    /// As [`TypedSession::input`].
    pub fn quantize<I: InputOf<M, Element: Element>>(
        &mut self,
        values: impl IntoIterator<Item = f32>,
    ) -> Result<(), SessionError> {
        let Port {
            scale, zero_point, ..
        } = I::PORT;
        for (element, value) in self.input::<I>()?.iter_mut().zip(values) {
            *element = I::Element::from_real(value, scale, zero_point);
        }
        Ok(())
    }

    /// The real values of an output.
    ///
    /// # Errors
    /// As [`TypedSession::output`].
    pub fn dequantize<O: OutputOf<M, Element: Element>>(
        &self,
    ) -> Result<impl Iterator<Item = f32>, SessionError> {
        let Port {
            scale, zero_point, ..
        } = O::PORT;
        let elements = self.output::<O>()?.iter();
        Ok(elements.map(move |element| element.to_real(scale, zero_point)))
    }
}

impl<'a, M> Deref for TypedSession<'a, M> {
    type Target = Session<'static, 'a>;

    fn deref(&self) -> &Self::Target {
        &self.session
    }
}

impl<M> DerefMut for TypedSession<'_, M> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.session
    }
}

/// Implements [`InputOf`] and [`OutputOf`] for the ports of a file: entry points 0 to 3, as many inputs and outputs as an entry point can have.
#[doc(hidden)]
#[macro_export]
macro_rules! ports {
    ($path:expr) => {
        $crate::ports!(@entry 0, $path);
        $crate::ports!(@entry 1, $path);
        $crate::ports!(@entry 2, $path);
        $crate::ports!(@entry 3, $path);
    };
    (@entry $entry:literal, $path:expr) => {
        $crate::ports!(@port $entry, Input, InputOf, false, $path; 0 1 2 3 4 5 6 7);
        $crate::ports!(@port $entry, Output, OutputOf, true, $path; 0 1 2 3 4 5 6 7);
    };
    (@port $entry:literal, $marker:ident, $trait:ident, $output:literal, $path:expr; $($index:literal)*) => {
        $(
            impl $crate::typed::$trait<File> for $marker<$entry, $index>
            {
                type Element = <$crate::typed::Code<
                    { $crate::typed::code(include_bytes!($path), $entry, $index, $output) },
                > as $crate::typed::ElementOf>::Element;
                const ENTRY: usize = $entry;
                const INDEX: usize = $index;
                const PORT: $crate::Port = $crate::typed::port(include_bytes!($path), $entry, $index, $output);
            }
        )*
    };
}

/// Code of a port's type; 0 where there is none.
#[doc(hidden)]
pub const fn code(file: &'static [u8], entry: usize, index: usize, output: bool) -> u8 {
    match crate::format::port_at(file, entry, index, output) {
        Some(port) => port.dtype,
        None => 0,
    }
}

/// A port that is there.
#[doc(hidden)]
pub const fn port(file: &'static [u8], entry: usize, index: usize, output: bool) -> Port {
    match crate::format::port_at(file, entry, index, output) {
        Some(port) => port,
        None => panic!("the file has no such input or output: `attn inspect` lists them"),
    }
}
#[doc(hidden)]
pub use crate::format::{entry_named, port_named};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reals_are_rounded_to_the_nearest_step() {
        for (x, q) in [
            (0.0, 3),
            (0.24, 3),
            (0.25, 4),
            (-0.25, 2),
            (0.2499, 3),
            (-0.74, 2),
        ] {
            assert_eq!(quantize(x, 0.5, 3), q, "{x}");
        }
        assert_eq!(quantize(f32::INFINITY, 0.5, 3), i32::MAX);
        assert_eq!(quantize(f32::NAN, 0.5, 3), 3);
        assert_eq!(i8::from_real(1e9, 0.5, 3), 127);
        assert_eq!(i8::from_real(-1e9, 0.5, 3), -128);
        assert_eq!(i16::from_real(7.0, 0.5, 0).to_real(0.5, 0), 7.0);
        assert_eq!(quantize(0.49999997, 1.0, 0), 0);
    }
}
