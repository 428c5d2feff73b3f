//! What belongs to the host: its pointers, and what its functions answer.

use super::error::Outcome;
use super::handle;
use gossip::error::{Error, ErrorKind, Result};
use gossip::msp::Signature;
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
    form: Form,
    error: Option<String>,
    refused: bool,
}

/// The form that the host gave its answer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Bytes,
    Der,
    Raw,
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

    /// The signature of a digest that `call` answers with, in the form that it names.
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
                self.error = Some(format!("the host's callback gave {len} bytes; 1 MiB is the limit"));
            }
        }
    }
}

/// Answers with these bytes, which are copied; a further call replaces them. At most 1 MiB: with more the callback counts
/// as failed.
///
/// To be called from within the callback that it was given to, by its thread.
#[no_mangle]
pub unsafe extern "C" fn gossip_reply_set(reply: *mut gossip_reply, data: *const u8, len: usize) {
    let Ok(reply) = handle::get_mut(reply, "reply") else { return };
    reply.set(Form::Bytes, handle::array(data, len, "data"), len);
}

/// Answers a gossip_sign_digest_callback with an ECDSA signature in ASN.1 DER, a SEQUENCE of the INTEGERs r and s, as
/// OpenSSL, Java and the key services of clouds give it. The bytes are copied; a further call replaces them.
///
/// To be called from within the callback that it was given to, by its thread.
#[no_mangle]
pub unsafe extern "C" fn gossip_reply_set_der(reply: *mut gossip_reply, data: *const u8, len: usize) {
    let Ok(reply) = handle::get_mut(reply, "reply") else { return };
    reply.set(Form::Der, handle::array(data, len, "data"), len);
}

/// Answers a gossip_sign_digest_callback with an ECDSA signature as r and s one after the other, each padded with zeros to the
/// length of the curve's order (64 bytes in all for P-256), as PKCS #11 gives it. The bytes are copied; a further call
/// replaces them.
///
/// To be called from within the callback that it was given to, by its thread.
#[no_mangle]
pub unsafe extern "C" fn gossip_reply_set_raw(reply: *mut gossip_reply, data: *const u8, len: usize) {
    let Ok(reply) = handle::get_mut(reply, "reply") else { return };
    reply.set(Form::Raw, handle::array(data, len, "data"), len);
}

/// Says why the callback fails, which then has to return false. The text is copied; it goes into errors and the log.
///
/// To be called from within the callback that it was given to, by its thread.
#[no_mangle]
pub unsafe extern "C" fn gossip_reply_fail(reply: *mut gossip_reply, text: *const c_char) {
    let Ok(reply) = handle::get_mut(reply, "reply") else { return };
    reply.error = Some(handle::text(text, "text").map_or_else(|_| "(no readable text)".into(), str::to_owned));
}
