//! Turns panics of libraries into errors, without output on the terminal.
//!
//! tract panics on some damaged models, and on some valid ones that it does not expect. The user gets an ordinary error.

use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe, catch_unwind};
use std::sync::Once;

thread_local! {
    /// True while panics of this thread become errors.
    static CAUGHT: Cell<bool> = const { Cell::new(false) };
}

/// Runs `work`. If it panics, the panic's message is the error.
///
/// The program's panic hook is replaced once, by one that is silent where a panic is caught here.
///
/// # Errors
/// The panic's message.
pub fn guarded<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !CAUGHT.get() {
                before(info);
            }
        }));
    });
    let outside = CAUGHT.replace(true);
    // State that `work` may leave incomplete is dropped with it.
    let result = catch_unwind(AssertUnwindSafe(work));
    CAUGHT.set(outside);
    result.map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        text.unwrap_or("no reason given").to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error_with_its_message() {
        assert_eq!(guarded(|| 7), Ok(7));
        let (index, list) = (9, [0; 3]);
        let error = guarded(|| list.get(index..).expect("no such range").len()).unwrap_err();
        assert_eq!(error, "no such range");
        let nested = guarded(|| guarded(|| panic!("inner")).unwrap_err());
        assert_eq!(nested, Ok("inner".to_owned()));
    }
}
