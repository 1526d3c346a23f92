//! `include_model!`: puts a file into flash, aligned, with its arena length known at compile time.

/// Bytes aligned as a model must be.
#[derive(Debug)]
#[repr(C, align(16))]
pub struct Aligned<B: ?Sized>(pub B);

/// Declares a module that holds a converted model.
///
/// The module has `FILE: &'static [u8]`, the aligned bytes for [`Model::parse`](crate::Model::parse);
/// `ARENA_LEN: usize`, the bytes of arena that the model needs; and `arena::<N>()`, an [`Arena`](crate::Arena)
/// that does not compile when `N` is below `ARENA_LEN`. The path is relative to the source file, as for
/// [`include_bytes!`].
///
/// ```ignore
/// attn_runtime::include_model!(mod kws = "../models/kws.attn");
///
/// static ARENA: ConstStaticCell<Arena<{ kws::ARENA_LEN }>> = ConstStaticCell::new(kws::arena());
/// let model = Model::parse(kws::FILE)?;
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

            /// Bytes of arena that the model needs.
            pub const ARENA_LEN: usize = $crate::format::arena_len(include_bytes!($path));

            /// An arena for the model; too small an `N` does not compile.
            pub const fn arena<const N: usize>() -> $crate::Arena<N> {
                const { assert!(N >= ARENA_LEN, "the arena is smaller than the model's ARENA_LEN") };
                $crate::Arena::new()
            }
        }
    };
}
