//! Panics that are expected of a library, kept from the rest of the program.
//!
//! The emulation of terminals panics on some combinations of wide characters and new sizes. What a container prints must
//! not end the console, nor may the panic hook put the terminal back meanwhile: it is passed over for these.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;

thread_local! {
    static CONTAINED: Cell<bool> = const { Cell::new(false) };
}

/// Runs something; `false` when it panicked, and what it worked on is to be thrown away.
pub(super) fn run(work: impl FnOnce()) -> bool {
    static HOOKED: Once = Once::new();
    HOOKED.call_once(|| {
        let hook = take_hook();
        set_hook(Box::new(move |info| match CONTAINED.get() {
            true => tracing::warn!(%info, "a panic was contained"),
            false => hook(info),
        }));
    });
    CONTAINED.set(true);
    let done = catch_unwind(AssertUnwindSafe(work)).is_ok();
    CONTAINED.set(false);
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_ends_there() {
        assert!(run(|| {}));
        assert!(!run(|| panic!("contained")));
        assert!(!CONTAINED.get());
    }
}
