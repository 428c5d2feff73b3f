//! Conversion of bytes to and from the C core.

use bytes::Bytes;
use grpcio_sys::*;
use std::ffi::c_void;
use std::ptr::null_mut;

/// Size below which copying is cheaper than sharing, which takes two allocations.
const COPY_BELOW: usize = 1024;

/// Returns a new slice with a copy of these bytes.
pub(super) fn copied(bytes: &[u8]) -> grpc_slice {
    // SAFETY: the core copies `len` readable bytes.
    unsafe { grpc_slice_from_copied_buffer(bytes.as_ptr().cast(), bytes.len()) }
}

/// Returns the contents of a slice.
///
/// # Safety
/// The slice must be valid, and stay referenced and in place for `'a`.
pub(super) unsafe fn view<'a>(slice: *const grpc_slice) -> &'a [u8] {
    // SAFETY: without a reference count the bytes are inlined (`length` of them), with one they are behind a pointer.
    unsafe {
        let (bytes, len) = if (*slice).refcount.is_null() {
            let inlined = &raw const (*slice).data.inlined;
            ((&raw const (*inlined).bytes).cast::<u8>(), usize::from((*inlined).length))
        } else {
            let counted = (*slice).data.refcounted;
            (counted.bytes.cast_const(), counted.length)
        };
        if len == 0 {
            return &[];
        }
        std::slice::from_raw_parts(bytes, len)
    }
}

/// Returns a byte buffer to send. Larger messages are shared, not copied: the core holds the `Bytes` until it has
/// finished with them, which can be after the operation completed.
pub(super) fn to_buffer(message: Bytes) -> *mut grpc_byte_buffer {
    // SAFETY: the shared slice points into `message`, which the box keeps alive until the core calls `drop_bytes`,
    // once; `Bytes` is `Send`, so that may be on any thread. The buffer takes its own reference, and ours is released.
    unsafe {
        let mut slice = if message.len() < COPY_BELOW {
            copied(&message)
        } else {
            let (bytes, len) = (message.as_ptr(), message.len());
            let owner = Box::into_raw(Box::new(message));
            grpc_slice_new_with_user_data(bytes.cast_mut().cast(), len, Some(drop_bytes), owner.cast())
        };
        let buffer = grpc_raw_byte_buffer_create(&mut slice, 1);
        grpc_slice_unref(slice);
        buffer
    }
}

unsafe extern "C" fn drop_bytes(owner: *mut c_void) {
    // SAFETY: the pointer comes from `to_buffer`, and the core calls this once.
    drop(unsafe { Box::from_raw(owner.cast::<Bytes>()) });
}

/// Copies a received buffer into one contiguous piece.
///
/// # Safety
/// The buffer must be valid.
pub(super) unsafe fn from_buffer(buffer: *mut grpc_byte_buffer) -> Bytes {
    // SAFETY: the reader borrows the buffer, which outlives it here, and each peeked slice stays valid that long.
    unsafe {
        let mut bytes = Vec::with_capacity(grpc_byte_buffer_length(buffer));
        let mut reader: grpc_byte_buffer_reader = std::mem::zeroed();
        if grpc_byte_buffer_reader_init(&mut reader, buffer) != 0 {
            let mut slice: *mut grpc_slice = null_mut();
            while grpc_byte_buffer_reader_peek(&mut reader, &mut slice) != 0 {
                bytes.extend_from_slice(view(slice));
            }
            grpc_byte_buffer_reader_destroy(&mut reader);
        }
        Bytes::from(bytes)
    }
}
