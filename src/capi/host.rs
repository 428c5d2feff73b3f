//! What belongs to the host: its pointers, and what its functions answer.

use super::handle;
use crate::error::{Error, ErrorKind, Result};
use std::ffi::{c_char, c_void};

/// Frees what belongs to a callback. Called once, when the library needs it no more, on any thread.
pub type gossip_free_callback = Option<unsafe extern "C" fn(user: *mut c_void)>;

/// A host's pointer, handed back to it with every call of its functions.
pub(super) struct User {
    pub pointer: *mut c_void,
    free: gossip_free_callback,
}

// SAFETY: the library only hands it back; the header says on which threads, and the host agrees by giving it.
unsafe impl Send for User {}
// SAFETY: as above.
unsafe impl Sync for User {}

impl User {
    pub fn new(pointer: *mut c_void, free: gossip_free_callback) -> User {
        User { pointer, free }
    }
}

impl Drop for User {
    fn drop(&mut self) {
        if let Some(free) = self.free {
            // SAFETY: called once, with the pointer that it was given with.
            unsafe { free(self.pointer) }
        }
    }
}

/// What a callback answers with. Lent for the length of the call: not to be kept, nor freed.
pub struct gossip_reply {
    bytes: Vec<u8>,
    error: Option<String>,
    refused: bool,
}

/// No signature, PKI-ID or name is larger; more is an error and not copied.
const LARGEST: usize = 1 << 20;

impl gossip_reply {
    /// What `call` answers: its bytes, or the error that it gave or that its false stands for.
    pub(super) fn of(
        what: &'static str,
        kind: ErrorKind,
        call: impl FnOnce(*mut gossip_reply) -> bool,
    ) -> Result<Vec<u8>> {
        let mut reply = gossip_reply { bytes: Vec::new(), error: None, refused: false };
        let ok = call(&mut reply);
        if ok && !reply.refused {
            return Ok(reply.bytes);
        }
        let text = reply.error.unwrap_or_else(|| format!("the host's {what} callback failed"));
        Err(Error::new(kind, text))
    }
}

/// Answers with these bytes, which are copied; a further call replaces them. At most 1 MiB: with more the callback counts
/// as failed.
///
/// To be called from within the callback that it was given to, by its thread.
#[no_mangle]
pub unsafe extern "C" fn gossip_reply_set(reply: *mut gossip_reply, data: *const u8, len: usize) {
    let Ok(reply) = handle::get_mut(reply, "reply") else { return };
    match handle::array(data, len, "data") {
        Ok(bytes) if len <= LARGEST => reply.bytes = bytes.to_vec(),
        _ => {
            reply.refused = true;
            reply.error = Some(format!("the host's callback gave {len} bytes; 1 MiB is the limit"));
        }
    }
}

/// Says why the callback fails, which then has to return false. The text is copied; it goes into errors and the log.
///
/// To be called from within the callback that it was given to, by its thread.
#[no_mangle]
pub unsafe extern "C" fn gossip_reply_fail(reply: *mut gossip_reply, text: *const c_char) {
    let Ok(reply) = handle::get_mut(reply, "reply") else { return };
    reply.error = Some(handle::text(text, "text").map_or_else(|_| "(no readable text)".into(), str::to_owned));
}
