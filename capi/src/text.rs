//! Text and bytes passed to C.

use super::handle::Owned;
use bytes::Bytes;
use std::ffi::c_char;

/// Text that belongs to the handle that it was requested from, and is valid until that handle is freed. UTF-8. A zero
/// byte follows the last byte, so that `data` can be printed directly. Text from other peers can contain zero bytes, so
/// use `len`. Never NULL; empty if there is none.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct gossip_str {
    /// The first byte.
    pub data: *const c_char,
    /// Length in bytes, without the zero byte at the end.
    pub len: usize,
}

/// Bytes that belong to the handle that they were requested from, and are valid until that handle is freed. `data` is
/// never NULL, but must not be read if `len` is 0.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct gossip_bytes {
    /// The first byte.
    pub data: *const u8,
    /// Length in bytes.
    pub len: usize,
}

/// Bytes that belong to the caller.
pub struct gossip_buffer(Text);

impl Owned for gossip_buffer {}

/// Text followed by a zero byte.
#[derive(Clone)]
pub(super) struct Text(Vec<u8>);

impl<T: Into<String>> From<T> for Text {
    fn from(text: T) -> Self {
        let mut bytes = text.into().into_bytes();
        bytes.push(0);
        Text(bytes)
    }
}

impl Text {
    pub fn as_str(&self) -> gossip_str {
        gossip_str { data: self.0.as_ptr().cast(), len: self.0.len() - 1 }
    }
}

impl gossip_str {
    pub(super) const EMPTY: gossip_str = gossip_str { data: c"".as_ptr(), len: 0 };

    /// Lends text without a zero byte at the end, for a callback that uses the length.
    pub(super) fn lend(text: &str) -> gossip_str {
        gossip_str { data: text.as_ptr().cast(), len: text.len() }
    }
}

impl gossip_bytes {
    pub(super) const EMPTY: gossip_bytes = gossip_bytes { data: std::ptr::NonNull::dangling().as_ptr(), len: 0 };

    pub(super) fn of(bytes: &[u8]) -> gossip_bytes {
        gossip_bytes { data: bytes.as_ptr(), len: bytes.len() }
    }
}

impl From<&Bytes> for gossip_bytes {
    fn from(bytes: &Bytes) -> Self {
        gossip_bytes::of(bytes)
    }
}

impl gossip_buffer {
    pub(super) fn new(bytes: &[u8]) -> gossip_buffer {
        let mut ended = Vec::with_capacity(bytes.len() + 1);
        ended.extend_from_slice(bytes);
        ended.push(0);
        gossip_buffer(Text(ended))
    }
}

/// Returns the content of a buffer. A zero byte follows it, so that text can be printed. Empty for NULL.
///
/// Thread-safe. Does not block.
#[no_mangle]
pub unsafe extern "C" fn gossip_buffer_bytes(buffer: *const gossip_buffer) -> gossip_bytes {
    super::look(buffer, gossip_bytes::EMPTY, |buffer| gossip_bytes::of(&buffer.0 .0[..buffer.0 .0.len() - 1]))
}

/// Frees a buffer. Passing NULL is a no-op.
#[no_mangle]
pub unsafe extern "C" fn gossip_buffer_free(buffer: *mut gossip_buffer) {
    gossip_buffer::free(buffer);
}
