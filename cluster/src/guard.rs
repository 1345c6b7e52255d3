//! Work of a library that panics on input that it should refuse: the panic becomes an error, and leaves no trace of a
//! panic in the log. For opening files that a disk may have altered; never for code of our own.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;

thread_local! {
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// Runs `work` on this thread; a panic in it is an error with the panic's text. What `work` was changing is to be dropped
/// then. Needs unwinding, which every profile of ours has.
///
/// # Errors
/// `work` panicked.
pub fn guard<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = take_hook();
        set_hook(Box::new(move |panic| {
            if !GUARDED.get() {
                usual(panic);
            }
        }));
    });
    let before = GUARDED.replace(true);
    let outcome = catch_unwind(AssertUnwindSafe(work));
    GUARDED.set(before);
    outcome.map_err(|panic| panic_text(&*panic))
}

/// The text of a caught panic.
pub fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("a panic without text").to_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::panic)]

    use super::*;

    #[test]
    fn a_panic_is_an_error_with_its_text() {
        assert_eq!(guard(|| 7), Ok(7));
        let nested = guard(|| {
            let inner = guard(|| -> u8 { panic!("page {}", 3) });
            assert!(GUARDED.get(), "the inner guard took the outer one away");
            inner
        });
        assert_eq!(nested, Ok(Err("page 3".to_owned())));
        assert!(!GUARDED.get());
    }
}
