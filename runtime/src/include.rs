//! `include_model!`: puts a file into flash, aligned, with its arena length known at compile time.

/// Bytes aligned as a model must be.
#[derive(Debug)]
#[repr(C, align(16))]
pub struct Aligned<B: ?Sized>(pub B);

/// Declares a module that holds a converted model.
///
/// The module has `model()`, which checks the file and gives the [`Model`](crate::Model), with the file's operators linked and
/// no other; `FILE: &'static [u8]`, its aligned bytes; `OPERATORS`, its [`OperatorSet`](crate::OperatorSet);
/// `Session`, a [`TypedSession`](crate::typed::TypedSession), and the types `Input<ENTRY, INDEX>` and `Output<ENTRY, INDEX>` of its inputs and
/// outputs, 0 and 0 where they are left out; `entry(name)`, `input(entry, name)` and `output(entry, name)`, the numbers of what has these
/// names, for constants; `ARENA_LEN: usize`, the bytes of arena that the model needs; `arena::<N>()`, an [`Arena`](crate::Arena)
/// that does not compile when `N` is below `ARENA_LEN`; and `beam_len(width)`, the bytes that a
/// [`Beam`](crate::seq2seq::Beam) needs. The path is relative to the source file, as for
/// [`include_bytes!`].
///
/// ```
/// attn_runtime::include_model!(mod tiny = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tiny.attn"));
///
/// let mut arena = tiny::arena::<{ tiny::ARENA_LEN }>();
/// let mut session = tiny::Session::new(arena.as_mut_slice())?;
/// session.quantize::<tiny::Input>([0.1, -0.2, 0.3, -0.4])?;
/// session.run(0)?;
/// let logits: Vec<f32> = session.dequantize::<tiny::Output>()?.collect();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Inputs and outputs have the types of the file, so what was written for another type does not compile:
/// ```compile_fail,E0308
/// attn_runtime::include_model!(mod tiny = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tiny.attn"));
///
/// fn fill(session: &mut tiny::Session) -> Result<(), attn_runtime::SessionError> {
///     let input: &mut [i16] = session.input::<tiny::Input>()?;
///     input.fill(1);
///     Ok(())
/// }
/// ```
///
/// The operators of the file are compiled with the crate that includes it. Where a profile makes small code, give that crate `opt-level = 2` as
/// well as `attn-runtime`: with "z" a hop of the shipped spotter takes 5 % more cycles.
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

            /// This file, as a type.
            #[derive(Debug)]
            pub struct File;

            impl $crate::typed::Included for File {
                fn model() -> ::core::result::Result<$crate::Model<'static>, $crate::ModelError> {
                    model()
                }
            }

            /// Input number `INDEX` of entry point number `ENTRY`, as a type.
            #[derive(Debug)]
            pub struct Input<const ENTRY: usize = 0, const INDEX: usize = 0>;

            /// Output number `INDEX` of entry point number `ENTRY`, as a type.
            #[derive(Debug)]
            pub struct Output<const ENTRY: usize = 0, const INDEX: usize = 0>;

            $crate::ports!($path);

            /// Number of the entry point of this name.
            #[allow(dead_code)]
            pub const fn entry(name: &str) -> usize {
                $crate::typed::entry_named(include_bytes!($path), name)
            }

            /// Number of the input of this name of an entry point.
            #[allow(dead_code)]
            pub const fn input(entry: usize, name: &str) -> usize {
                $crate::typed::port_named(include_bytes!($path), entry, name, false)
            }

            /// Number of the output of this name of an entry point.
            #[allow(dead_code)]
            pub const fn output(entry: usize, name: &str) -> usize {
                $crate::typed::port_named(include_bytes!($path), entry, name, true)
            }

            /// A session whose inputs and outputs have the types of the file.
            #[allow(dead_code)]
            pub type Session<'a> = $crate::typed::TypedSession<'a, File>;

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
