//! Data of the host: its pointers, and the replies of its functions.

use super::error::Outcome;
use super::handle;
use gossip::error::{Error, ErrorKind, Result};
use gossip::msp::Signature;
use std::ffi::{c_char, c_void};

/// Frees the data of a callback. Called once, when the library no longer needs it, on any thread.
pub type gossip_free_callback = Option<unsafe extern "C" fn(user: *mut c_void)>;

/// A host's pointer, passed back to it with every call of its functions.
pub(super) struct User {
    pub pointer: *mut c_void,
    free: gossip_free_callback,
}

// SAFETY: the library only passes it back; the header documents on which threads, which the host accepts.
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
            // SAFETY: called once, with the pointer that belongs to it.
            unsafe { free(self.pointer) }
        }
    }
}

/// Reply of a callback. Lent for the duration of the call: the callback must not keep or free it.
pub struct gossip_reply {
    bytes: Vec<u8>,
    form: Form,
    error: Option<String>,
    refused: bool,
}

/// The form of the host's reply.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Bytes,
    Der,
    Raw,
}

/// Largest reply, in bytes. No signature, PKI-ID or name is larger; a larger reply is an error and is not copied.
const LARGEST: usize = 1 << 20;

impl gossip_reply {
    /// Returns the bytes that `call` replies with. If it returns false, returns the error that it gave, or a default
    /// one.
    pub(super) fn of(
        what: &'static str,
        kind: ErrorKind,
        call: impl FnOnce(*mut gossip_reply) -> bool,
    ) -> Result<Vec<u8>> {
        let reply = gossip_reply::after(what, kind, call)?;
        match reply.form {
            Form::Bytes => Ok(reply.bytes),
            Form::Der | Form::Raw => {
                let text = "gossip_reply_set_der and gossip_reply_set_raw are for the callback of \
                            gossip_crypto_new_signer; here it is gossip_reply_set";
                Err(Error::new(kind, format!("the host's {what} callback: {text}")))
            }
        }
    }

    /// Returns the signature of a digest that `call` replies with, in the form that `call` declares.
    pub(super) fn signature_of(call: impl FnOnce(*mut gossip_reply) -> bool) -> Result<Signature> {
        let reply = gossip_reply::after("sign_digest", ErrorKind::Signature, call)?;
        match reply.form {
            Form::Der => Ok(Signature::Der(reply.bytes)),
            Form::Raw => Ok(Signature::Raw(reply.bytes)),
            Form::Bytes => {
                let text = "the host's sign_digest callback does not say which form its signature has: use \
                            gossip_reply_set_der or gossip_reply_set_raw";
                Err(Error::new(ErrorKind::Signature, text))
            }
        }
    }

    fn after(
        what: &'static str,
        kind: ErrorKind,
        call: impl FnOnce(*mut gossip_reply) -> bool,
    ) -> Result<gossip_reply> {
        let mut reply = gossip_reply { bytes: Vec::new(), form: Form::Bytes, error: None, refused: false };
        let ok = call(&mut reply);
        if ok && !reply.refused {
            return Ok(reply);
        }
        let text = reply.error.unwrap_or_else(|| format!("the host's {what} callback failed"));
        Err(Error::new(kind, text))
    }

    fn set(&mut self, form: Form, data: Outcome<&[u8]>, len: usize) {
        match data {
            Ok(bytes) if len <= LARGEST => (self.form, self.bytes) = (form, bytes.to_vec()),
            _ => {
                self.refused = true;
                self.error = Some(format!("the host's callback returned {len} bytes; the limit is 1 MiB"));
            }
        }
    }
}

/// Replies with these bytes, which are copied; a further call replaces them. At most 1 MiB: with more, the callback
/// counts as failed.
///
/// Must be called from within the callback that `reply` was given to, by the callback's thread.
#[no_mangle]
pub unsafe extern "C" fn gossip_reply_set(reply: *mut gossip_reply, data: *const u8, len: usize) {
    let Ok(reply) = handle::get_mut(reply, "reply") else { return };
    reply.set(Form::Bytes, handle::array(data, len, "data"), len);
}

/// Replies to a gossip_sign_digest_callback with an ECDSA signature in ASN.1 DER, a SEQUENCE of the INTEGERs r and s,
/// as OpenSSL, Java and cloud key services return it. The bytes are copied; a further call replaces them.
///
/// Must be called from within the callback that `reply` was given to, by the callback's thread.
#[no_mangle]
pub unsafe extern "C" fn gossip_reply_set_der(reply: *mut gossip_reply, data: *const u8, len: usize) {
    let Ok(reply) = handle::get_mut(reply, "reply") else { return };
    reply.set(Form::Der, handle::array(data, len, "data"), len);
}

/// Replies to a gossip_sign_digest_callback with an ECDSA signature as r followed by s, each padded with zeros to the
/// length of the curve's order (64 bytes in total for P-256), as PKCS #11 returns it. The bytes are copied; a further
/// call replaces them.
///
/// Must be called from within the callback that `reply` was given to, by the callback's thread.
#[no_mangle]
pub unsafe extern "C" fn gossip_reply_set_raw(reply: *mut gossip_reply, data: *const u8, len: usize) {
    let Ok(reply) = handle::get_mut(reply, "reply") else { return };
    reply.set(Form::Raw, handle::array(data, len, "data"), len);
}

/// Sets the reason for which the callback fails; the callback must then return false. The text is copied and appears in
/// errors and the log.
///
/// Must be called from within the callback that `reply` was given to, by the callback's thread.
#[no_mangle]
pub unsafe extern "C" fn gossip_reply_fail(reply: *mut gossip_reply, text: *const c_char) {
    let Ok(reply) = handle::get_mut(reply, "reply") else { return };
    reply.error = Some(handle::text(text, "text").map_or_else(|_| "(no readable text)".into(), str::to_owned));
}
