//! Pointers from C and to C: the only place where one becomes a reference or a value.
//!
//! Soundness rests on the contract at the head of the header. A pointer that is not null points to a value of its type
//! for the duration of the call. A handle comes from this library, was not freed, and is freed by one thread while no
//! other uses it. Everything that can be checked without that contract is checked: null, alignment, absurd lengths.

use super::error::{gossip_error, Outcome};
use super::gossip_result;
use std::ffi::{c_char, CStr};
use std::ptr::NonNull;

/// Upper limit for the number of elements of an array: more cannot exist.
const ABSURD: usize = isize::MAX as usize;

/// A handle that C owns from the function that creates it until its `_free`, and may move to any thread. Handles that
/// are only lent to C do not implement this, so that a `_free` for them does not compile.
pub(super) trait Owned: Sized + Send + Sync {
    /// Gives ownership to C.
    fn into_raw(self) -> *mut Self {
        Box::into_raw(Box::new(self))
    }

    /// Takes ownership back and drops the value; null is a no-op.
    unsafe fn free(handle: *mut Self) {
        super::guard::quietly((), || {
            if !handle.is_null() {
                // SAFETY: from `into_raw` and freed once, by the contract.
                drop(unsafe { Box::from_raw(handle) });
            }
        });
    }
}

fn check<T>(pointer: *const T, name: &str) -> Outcome<()> {
    if pointer.is_null() {
        return Err(gossip_error::new(gossip_result::GOSSIP_NULL_POINTER, format!("{name} is NULL")));
    }
    if !pointer.is_aligned() {
        let text = format!("{name} is not aligned for its type");
        return Err(gossip_error::new(gossip_result::GOSSIP_INVALID_ARGUMENT, text));
    }
    Ok(())
}

/// Returns a reference to the value behind `pointer`, valid for the duration of a call. `name` is the argument's name,
/// for the error.
pub(super) unsafe fn get<'a, T>(pointer: *const T, name: &str) -> Outcome<&'a T> {
    check(pointer, name)?;
    // SAFETY: not null, aligned, and valid by the contract.
    Ok(unsafe { &*pointer })
}

/// Does the same as [`get`] for a value to be changed, which the contract restricts to one thread at a time.
pub(super) unsafe fn get_mut<'a, T>(pointer: *mut T, name: &str) -> Outcome<&'a mut T> {
    check(pointer, name)?;
    // SAFETY: not null, aligned, valid and not shared by the contract.
    Ok(unsafe { &mut *pointer })
}

/// Does the same as [`get`], but returns `None` for null.
pub(super) unsafe fn get_optional<'a, T>(pointer: *const T, name: &str) -> Outcome<Option<&'a T>> {
    match pointer.is_null() {
        true => Ok(None),
        // SAFETY: required of our caller.
        false => unsafe { get(pointer, name) }.map(Some),
    }
}

/// Returns an array; null is allowed for an empty one.
pub(super) unsafe fn array<'a, T>(pointer: *const T, len: usize, name: &str) -> Outcome<&'a [T]> {
    if len == 0 {
        return Ok(&[]);
    }
    check(pointer, name)?;
    if len.checked_mul(size_of::<T>()).is_none_or(|size| size > ABSURD) {
        let text = format!("{name}: the length {len} is larger than any array can be");
        return Err(gossip_error::new(gossip_result::GOSSIP_INVALID_ARGUMENT, text));
    }
    // SAFETY: not null, aligned, of a possible length, and valid by the contract.
    Ok(unsafe { std::slice::from_raw_parts(pointer, len) })
}

/// Returns text that ends with a zero byte and is UTF-8.
pub(super) unsafe fn text<'a>(pointer: *const c_char, name: &str) -> Outcome<&'a str> {
    check(pointer, name)?;
    // SAFETY: not null, and ends with a zero byte by the contract.
    let text = unsafe { CStr::from_ptr(pointer) };
    text.to_str().map_err(|_| gossip_error::new(gossip_result::GOSSIP_INVALID_UTF8, format!("{name} is not UTF-8")))
}

/// Does the same as [`text`], but returns `None` for null.
pub(super) unsafe fn optional_text<'a>(pointer: *const c_char, name: &str) -> Outcome<Option<&'a str>> {
    match pointer.is_null() {
        true => Ok(None),
        // SAFETY: required of our caller.
        false => unsafe { text(pointer, name) }.map(Some),
    }
}

/// Location for a result: checked before anything is done, written only after a success.
pub(super) struct Out<T>(NonNull<T>);

impl<T> Out<T> {
    pub unsafe fn new(pointer: *mut T, name: &str) -> Outcome<Out<T>> {
        check(pointer, name)?;
        // SAFETY: checked.
        Ok(Out(unsafe { NonNull::new_unchecked(pointer) }))
    }

    /// Checks the location of a result that the caller may not want.
    pub unsafe fn optional(pointer: *mut T, name: &str) -> Outcome<Option<Out<T>>> {
        match pointer.is_null() {
            true => Ok(None),
            // SAFETY: required of our caller.
            false => unsafe { Out::new(pointer, name) }.map(Some),
        }
    }

    pub fn set(self, value: T) -> Outcome<()> {
        // SAFETY: `new` checked it, and by the contract it is the caller's to be written to. The previous value is
        // not dropped: it may never have been set.
        unsafe { self.0.write(value) };
        Ok(())
    }
}

impl<T: Owned> Out<*mut T> {
    /// Writes a new handle, owned by C.
    pub fn give(self, value: T) -> Outcome<()> {
        self.set(value.into_raw())
    }
}
