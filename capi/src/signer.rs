//! Our own identity with a key behind a function that signs digests, as HSMs do.

use super::crypto::gossip_crypto;
use super::error::{gossip_error, gossip_result};
use super::guard::guard;
use super::handle::{self, Out};
use super::host::{gossip_free_callback, gossip_reply, User};
use super::msp::gossip_msp;
use gossip::msp::SigningIdentity;
use std::ffi::c_void;
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

/// Signs a digest with the key of our identity, without hashing it again. `digest` is the 32-byte SHA-256 (SHA3-256
/// where the MSP says so) of the data that the library signs. The ECDSA signature goes into `reply` with
/// gossip_reply_set_der or gossip_reply_set_raw, depending on the form that the device returns; S may be high. Returns
/// false on failure, with the reason given by gossip_reply_fail.
///
/// Called on any of the library's threads, several at the same time, never with a lock of the library held; it may
/// block.
pub type gossip_sign_digest_callback = Option<
    unsafe extern "C" fn(user: *mut c_void, digest: *const u8, digest_len: usize, reply: *mut gossip_reply) -> bool,
>;

/// The host's function and pointer.
struct Signer {
    sign: unsafe extern "C" fn(*mut c_void, *const u8, usize, *mut gossip_reply) -> bool,
    user: User,
    /// Frees the pointer; set once nothing can fail any more.
    owned: OnceLock<User>,
}

/// Creates our identity with a private key outside of the process: a member of `msp`, with its PEM certificate, whose
/// key is ECDSA, and `sign`, which signs digests with the key. The bytes are copied; `msp` remains the caller's. `user`
/// is passed to `sign` and belongs to the library after a success: `free`, which may be NULL, is called on it when
/// nothing needs it any more. Free the identity with gossip_crypto_free.
///
/// Calls `sign` once. GOSSIP_CONFIG, GOSSIP_IDENTITY and others: the MSP does not accept the certificate as one of its
/// members, the certificate has expired, its key is not ECDSA, or the first signature does not verify under it.
/// GOSSIP_SIGNATURE: the first signature failed, or does not have the declared form.
#[no_mangle]
pub unsafe extern "C" fn gossip_crypto_new_signer(
    msp: *const gossip_msp,
    cert: *const u8,
    cert_len: usize,
    sign: gossip_sign_digest_callback,
    user: *mut c_void,
    free: gossip_free_callback,
    crypto: *mut *mut gossip_crypto,
    error: *mut *mut gossip_error,
) -> gossip_result {
    guard(error, || {
        let crypto = Out::new(crypto, "crypto")?;
        let msp = handle::get(msp, "msp")?.msp.clone();
        let cert = handle::array(cert, cert_len, "cert")?;
        let sign = sign.ok_or_else(|| super::null("sign"))?;
        let signer = Arc::new(Signer { sign, user: User::new(user, None), owned: OnceLock::new() });
        let called = signer.clone();
        let identity = SigningIdentity::with_signer(&msp, cert, SystemTime::now(), move |digest| {
            let digest = digest.as_bytes();
            gossip_reply::signature_of(|reply| {
                // SAFETY: the host's function, called with its own pointer; the digest lives during the call.
                unsafe { (called.sign)(called.user.pointer, digest.as_ptr(), digest.len(), reply) }
            })
        })?;
        // The pointer remains the host's until here.
        let _ = signer.owned.set(User::new(user, free));
        crypto.give(gossip_crypto::of_msp(msp, identity))
    })
}
