//! Keeps panics out of C: unwinding through C frames would be undefined behaviour.

use super::error::{gossip_error, Outcome};
use super::gossip_result;
use std::panic::{catch_unwind, AssertUnwindSafe};

/// Runs the body of a function that can fail. The error is written where the caller asked for it, if it did. After a
/// success null is written there, so that the caller never sees the error of an earlier call, which may have been
/// freed.
pub(super) unsafe fn guard(error: *mut *mut gossip_error, work: impl FnOnce() -> Outcome<()>) -> gossip_result {
    // State that the work was changing when it panicked is behind locks that do not poison, or is dropped.
    let outcome = catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic_text(&*panic);
        std::mem::forget(panic);
        Err(gossip_error::new(gossip_result::GOSSIP_PANIC, text))
    });
    let code = outcome.as_ref().map_or_else(|failure| failure.code(), |()| gossip_result::GOSSIP_OK);
    if !error.is_null() && error.is_aligned() {
        // SAFETY: not null, aligned, and the caller's to be written to by the contract.
        unsafe { error.write(outcome.map_or_else(Box::into_raw, |()| std::ptr::null_mut())) };
    }
    code
}

/// Runs the body of a function that cannot fail; returns `otherwise` if it panics nevertheless.
pub(super) fn quietly<T>(otherwise: T, work: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        log::error!("{}", panic_text(&*panic));
        std::mem::forget(panic);
        otherwise
    })
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("a fault in the library, please report it: {}", text.unwrap_or("no text"))
}
