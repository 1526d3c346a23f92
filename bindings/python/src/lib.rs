//! The native half of the Python package `attn`: calls of the converter's library, without the interpreter's lock and without panics.
//! What Python does better lives in `python/attn`: arguments, export from PyTorch, temporary files, results as objects.

mod convert;
mod errors;
mod file;
mod work;

/// The module as Python sees it; `python/attn/_native.pyi` has its types.
#[pyo3::pymodule(name = "_native")]
mod native {
    #[pymodule_export]
    use crate::convert::convert;
    #[pymodule_export]
    use crate::file::{File, features};

    /// Version of the package.
    #[pymodule_export]
    #[allow(non_upper_case_globals)]
    const __version__: &str = env!("CARGO_PKG_VERSION");
}
