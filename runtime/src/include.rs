//! `include_model!`: puts a file into flash, aligned, with its arena length known at compile time.

/// Bytes aligned as a model must be.
#[derive(Debug)]
#[repr(C, align(16))]
pub struct Aligned<B: ?Sized>(pub B);

/// Declares a module that holds a converted model.
///
/// The module has `model()`, which checks the file and gives the [`Model`](crate::Model), with the file's operators linked and
/// no other; `FILE: &'static [u8]`, its aligned bytes; `OPERATORS`, its [`OperatorSet`](crate::OperatorSet);
/// `ARENA_LEN: usize`, the bytes of arena that the model needs; `arena::<N>()`, an [`Arena`](crate::Arena)
/// that does not compile when `N` is below `ARENA_LEN`; and `beam_len(width)`, the bytes that a
/// [`Beam`](crate::seq2seq::Beam) needs. The path is relative to the source file, as for
/// [`include_bytes!`].
///
/// ```
/// use attn_runtime::Session;
///
/// attn_runtime::include_model!(mod tiny = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tiny.attn"));
///
/// let mut arena = tiny::arena::<{ tiny::ARENA_LEN }>();
/// let mut session = Session::new(tiny::model()?, arena.as_mut_slice())?;
/// session.input::<i8>(0, 0)?.copy_from_slice(&[1, -2, 3, -4]);
/// session.run(0)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// A file of another version of the format does not compile:
/// ```compile_fail
/// attn_runtime::include_model!(mod old = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/version1.attn"));
///
/// let model = old::model();
/// ```
///
/// An arena that is too small does not compile:
/// ```compile_fail
/// attn_runtime::include_model!(mod tiny = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tiny.attn"));
///
/// let mut arena = tiny::arena::<{ tiny::ARENA_LEN - 1 }>();
/// ```
#[macro_export]
macro_rules! include_model {
    ($(#[$meta:meta])* $visibility:vis mod $name:ident = $path:expr) => {
        $(#[$meta])*
        $visibility mod $name {
            /// The `.attn` file, aligned.
            pub static FILE: &[u8] = {
                static ALIGNED: &$crate::Aligned<[u8]> = &$crate::Aligned(*include_bytes!($path));
                &ALIGNED.0
            };

            /// The operators of the file: what [`model`] links.
            pub const OPERATORS: $crate::OperatorSet = $crate::OperatorSet::of_file(include_bytes!($path));

            /// Checks the file and returns it as a model. The program has its operators and no other.
            ///
            /// # Errors
            /// [`ModelError`]($crate::ModelError), for a file that was damaged or made by hand.
            pub fn model() -> ::core::result::Result<$crate::Model<'static>, $crate::ModelError> {
                $crate::Model::parse_linked(FILE, $crate::operators!(set OPERATORS))
            }

            /// Bytes of arena that the model needs.
            pub const ARENA_LEN: usize = $crate::arena_len(include_bytes!($path));

            /// Bytes of memory that a beam of `width` hypotheses needs; 0 for a model that does not decode.
            #[allow(dead_code)]
            pub const fn beam_len(width: usize) -> usize {
                $crate::beam_len(include_bytes!($path), width)
            }

            /// An arena for the model; too small an `N` does not compile.
            pub const fn arena<const N: usize>() -> $crate::Arena<N> {
                const { assert!(N >= ARENA_LEN, "the arena is smaller than the model's ARENA_LEN") };
                $crate::Arena::new()
            }
        }
    };
}
