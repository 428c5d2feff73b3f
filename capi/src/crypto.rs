//! Our own identity, and the validation of other peers' identities: Fabric's message crypto service.

use super::error::{gossip_error, gossip_result, Outcome};
use super::guard::guard;
use super::handle::{self, Out, Owned};
use super::host::{gossip_reply, User};
use super::msp::gossip_msp;
use super::text::{gossip_buffer, gossip_bytes};
use gossip::crypto::{CryptoService, OrgId, PeerIdentity, PkiId, SecurityAdvisor};
use gossip::error::{Error, ErrorKind, Result};
use gossip::internals::OwnKey;
use gossip::msp::{Channel, Msp, MspCryptoService, SigningIdentity};
use std::ffi::{c_char, c_void};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Our own identity and key, and the organisations that we trust. Can be used for any number of comms and nodes, and
/// changed while they run.
pub struct gossip_crypto {
    pub(super) identity: PeerIdentity,
    pki_id: PkiId,
    pub(super) service: Arc<dyn CryptoService>,
    pub(super) advisor: Arc<dyn SecurityAdvisor>,
    /// The MSP part, if there is one.
    msps: Option<Arc<MspCryptoService>>,
}

impl Owned for gossip_crypto {}

/// Converts a time to seconds since 1970, rounded down.
pub(super) fn unix_seconds(time: SystemTime) -> i64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_secs()).unwrap_or(i64::MAX),
        Err(before) => {
            let before = before.duration();
            let seconds = before.as_secs() + u64::from(before.subsec_nanos() > 0);
            i64::try_from(seconds).map_or(i64::MIN, |seconds| -seconds)
        }
    }
}

/// Signs `message` with the key of our identity; the signature goes into `reply`. Returns false on failure.
///
/// `message` is the whole message, not its digest. For X.509 identities the signature is ECDSA over the message's
/// SHA-256 digest (SHA3-256 where the MSP says so), for every curve, in ASN.1 DER; or Ed25519 over the message, where
/// the MSP's version allows it. S may be high: the library replaces it by n - s, since peers refuse high S. A signature
/// that is not a DER ECDSA signature of our certificate's curve is passed on unchanged. For a device that signs
/// digests, or that returns r and s without DER, use gossip_crypto_new_signer.
pub type gossip_sign_callback = Option<
    unsafe extern "C" fn(user: *mut c_void, message: *const u8, message_len: usize, reply: *mut gossip_reply) -> bool,
>;

/// Verifies a signature over `message` under the key of `identity`. Returns false if it is wrong.
pub type gossip_verify_callback = Option<
    unsafe extern "C" fn(
        user: *mut c_void,
        identity: gossip_bytes,
        signature: gossip_bytes,
        message: gossip_bytes,
        reply: *mut gossip_reply,
    ) -> bool,
>;

/// Verifies a signature over `message` under the key of `identity`, which must be a reader of `channel`. Returns false
/// if the signature is wrong or the identity is not a reader.
pub type gossip_verify_by_channel_callback = Option<
    unsafe extern "C" fn(
        user: *mut c_void,
        channel: gossip_bytes,
        identity: gossip_bytes,
        signature: gossip_bytes,
        message: gossip_bytes,
        reply: *mut gossip_reply,
    ) -> bool,
>;

/// Writes a property of an identity into `reply`: its PKI-ID or its organisation. Returns false if it has none.
pub type gossip_identity_callback =
    Option<unsafe extern "C" fn(user: *mut c_void, identity: gossip_bytes, reply: *mut gossip_reply) -> bool>;

/// Writes the time at which an identity expires into `seconds`: seconds since 1970, or INT64_MAX for never. Returns
/// false if it cannot be determined.
pub type gossip_expiration_callback = Option<
    unsafe extern "C" fn(
        user: *mut c_void,
        identity: gossip_bytes,
        seconds: *mut i64,
        reply: *mut gossip_reply,
    ) -> bool,
>;

/// Cryptography implemented by the host. Each function is called on any of the library's threads, several at the same
/// time, never with a lock of the library held. It may block, and may call the library. Its arguments are lent for the
/// duration of the call. It must return: no exception, no longjmp. Functions that are NULL are replaced by those of the
/// MSP given to gossip_crypto_new_callbacks.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct gossip_crypto_callbacks {
    /// sizeof(gossip_crypto_callbacks), so that a later version can recognise the host's version of the structure.
    pub size: usize,
    /// Passed to each of the functions.
    pub user: *mut c_void,
    /// Called on `user` when nothing needs it any more, on any thread. May be NULL.
    pub free: super::host::gossip_free_callback,
    /// Signs a message (not a digest) with our own key, in DER; see gossip_sign_callback.
    pub sign: gossip_sign_callback,
    /// Verifies a signature.
    pub verify: gossip_verify_callback,
    /// Verifies a signature against the readers of a channel. If NULL, and without an MSP, no signature is accepted.
    pub verify_by_channel: gossip_verify_by_channel_callback,
    /// Returns the PKI-ID of an identity: its short name in the whole network.
    pub pki_id: gossip_identity_callback,
    /// Validates an identity. `reply` accepts only gossip_reply_fail.
    pub validate_identity: gossip_identity_callback,
    /// Returns the time at which an identity expires.
    pub expiration: gossip_expiration_callback,
    /// Returns the MSP id of the organisation that an identity belongs to.
    pub org: gossip_identity_callback,
}

/// The host's functions, with the MSP's as a fallback.
struct HostCrypto {
    functions: gossip_crypto_callbacks,
    user: User,
    msps: Option<Arc<MspCryptoService>>,
    key: OwnKey,
}

// SAFETY: function pointers, and a pointer that only `user` uses; see there.
unsafe impl Send for HostCrypto {}
// SAFETY: as above.
unsafe impl Sync for HostCrypto {}

fn missing(what: &str) -> Error {
    Error::new(ErrorKind::Config, format!("the {what} callback is missing, and no MSP is set"))
}

impl HostCrypto {
    fn msps(&self, what: &str) -> Result<&MspCryptoService> {
        self.msps.as_deref().ok_or_else(|| missing(what))
    }
}

impl CryptoService for HostCrypto {
    fn pki_id(&self, identity: &PeerIdentity) -> Option<PkiId> {
        let Some(ask) = self.functions.pki_id else { return self.msps.as_ref()?.pki_id(identity) };
        let answer = gossip_reply::of("pki_id", ErrorKind::Identity, |reply| {
            // SAFETY: the host's function, called with its own pointer; its arguments live during the call.
            unsafe { ask(self.user.pointer, gossip_bytes::of(identity.as_bytes()), reply) }
        });
        answer.ok().filter(|id| !id.is_empty()).map(PkiId::from)
    }

    fn validate_identity(&self, identity: &PeerIdentity) -> Result<()> {
        let Some(ask) = self.functions.validate_identity else {
            return self.msps("validate_identity")?.validate_identity(identity);
        };
        let answer = gossip_reply::of("validate_identity", ErrorKind::Identity, |reply| {
            // SAFETY: as above.
            unsafe { ask(self.user.pointer, gossip_bytes::of(identity.as_bytes()), reply) }
        });
        answer.map(drop)
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>> {
        let Some(sign) = self.functions.sign else { return self.msps("sign")?.sign(message) };
        let signature = gossip_reply::of("sign", ErrorKind::Signature, |reply| {
            // SAFETY: as above.
            unsafe { sign(self.user.pointer, message.as_ptr(), message.len(), reply) }
        })?;
        Ok(self.key.low_s(signature))
    }

    fn verify(&self, identity: &PeerIdentity, signature: &[u8], message: &[u8]) -> Result<()> {
        let Some(verify) = self.functions.verify else {
            return self.msps("verify")?.verify(identity, signature, message);
        };
        let (identity, signature, message) =
            (gossip_bytes::of(identity.as_bytes()), gossip_bytes::of(signature), gossip_bytes::of(message));
        let answer = gossip_reply::of("verify", ErrorKind::Signature, |reply| {
            // SAFETY: as above.
            unsafe { verify(self.user.pointer, identity, signature, message, reply) }
        });
        answer.map(drop)
    }

    fn verify_by_channel(
        &self,
        channel: &[u8],
        identity: &PeerIdentity,
        signature: &[u8],
        message: &[u8],
    ) -> Result<()> {
        let Some(verify) = self.functions.verify_by_channel else {
            return self.msps("verify_by_channel")?.verify_by_channel(channel, identity, signature, message);
        };
        let identity = gossip_bytes::of(identity.as_bytes());
        let (channel, signature, message) =
            (gossip_bytes::of(channel), gossip_bytes::of(signature), gossip_bytes::of(message));
        let answer = gossip_reply::of("verify_by_channel", ErrorKind::Signature, |reply| {
            // SAFETY: as above.
            unsafe { verify(self.user.pointer, channel, identity, signature, message, reply) }
        });
        answer.map(drop)
    }

    fn expiration(&self, identity: &PeerIdentity) -> Result<Option<SystemTime>> {
        let Some(ask) = self.functions.expiration else { return self.msps("expiration")?.expiration(identity) };
        let mut seconds = i64::MAX;
        gossip_reply::of("expiration", ErrorKind::Identity, |reply| {
            // SAFETY: as above.
            unsafe { ask(self.user.pointer, gossip_bytes::of(identity.as_bytes()), &mut seconds, reply) }
        })?;
        // A time before 1970 has expired; a time that no clock can represent means never.
        let since_epoch = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
        Ok(if seconds == i64::MAX { None } else { UNIX_EPOCH.checked_add(since_epoch) })
    }
}

impl SecurityAdvisor for HostCrypto {
    fn org_by_peer_identity(&self, identity: &PeerIdentity) -> Option<OrgId> {
        let Some(ask) = self.functions.org else { return self.msps.as_ref()?.org_by_peer_identity(identity) };
        let answer = gossip_reply::of("org", ErrorKind::Identity, |reply| {
            // SAFETY: as above.
            unsafe { ask(self.user.pointer, gossip_bytes::of(identity.as_bytes()), reply) }
        });
        String::from_utf8(answer.ok()?).ok().filter(|org| !org.is_empty()).map(OrgId::new)
    }
}

impl gossip_crypto {
    pub(super) fn of_msp(msp: Arc<Msp>, signer: SigningIdentity) -> gossip_crypto {
        let (identity, pki_id) = (signer.serialize(), signer.pki_id());
        let msps = Arc::new(MspCryptoService::new(msp, Some(signer)));
        gossip_crypto { identity, pki_id, service: msps.clone(), advisor: msps.clone(), msps: Some(msps) }
    }

    fn msps(&self) -> Outcome<&MspCryptoService> {
        self.msps.as_deref().ok_or_else(|| super::invalid("this crypto has no MSP: it uses the host's callbacks only"))
    }
}

/// Loads our identity from the folder of our local MSP: the certificate from `signcerts/`, the key from `keystore/`,
/// and our organisation from the rest. GOSSIP_CONFIG, GOSSIP_IDENTITY and others: the error names the file and the
/// rule. Free it with gossip_crypto_free.
///
/// Reads files.
#[no_mangle]
pub unsafe extern "C" fn gossip_crypto_load(
    folder: *const c_char,
    mspid: *const c_char,
    crypto: *mut *mut gossip_crypto,
    error: *mut *mut gossip_error,
) -> gossip_result {
    guard(error, || {
        let crypto = Out::new(crypto, "crypto")?;
        let (folder, mspid) = (handle::text(folder, "folder")?, handle::text(mspid, "mspid")?);
        let msp = Arc::new(Msp::load(folder, mspid)?);
        let signer = SigningIdentity::load(&msp, folder, SystemTime::now())?;
        crypto.give(gossip_crypto::of_msp(msp, signer))
    })
}

/// Creates our identity from memory: a member of `msp`, with its certificate and its unencrypted private key, both PEM.
/// The bytes are copied; `msp` remains the caller's. Free it with gossip_crypto_free.
///
/// GOSSIP_IDENTITY and others: the MSP does not accept the certificate as one of its members, the certificate has
/// expired, or the key does not belong to it.
#[no_mangle]
pub unsafe extern "C" fn gossip_crypto_new(
    msp: *const gossip_msp,
    cert: *const u8,
    cert_len: usize,
    key: *const u8,
    key_len: usize,
    crypto: *mut *mut gossip_crypto,
    error: *mut *mut gossip_error,
) -> gossip_result {
    guard(error, || {
        let crypto = Out::new(crypto, "crypto")?;
        let msp = handle::get(msp, "msp")?.msp.clone();
        let (cert, key) = (handle::array(cert, cert_len, "cert")?, handle::array(key, key_len, "key")?);
        let signer = SigningIdentity::new(&msp, cert, key, SystemTime::now())?;
        crypto.give(gossip_crypto::of_msp(msp, signer))
    })
}

/// Creates our identity with cryptography implemented by the host. `identity` is our identity as it is sent to peers:
/// with an MSP, a serialized `msp.SerializedIdentity` (see gossip_serialized_identity). `msp`, which may be NULL,
/// provides the functions that the callbacks leave out. `callbacks` is copied; its `user` belongs to the library after
/// a success. Free it with gossip_crypto_free.
///
/// GOSSIP_INVALID_ARGUMENT: the size is unknown; `sign` is NULL; or there is no MSP and one of `verify`, `pki_id`,
/// `validate_identity`, `expiration` and `org` is NULL. GOSSIP_IDENTITY: our identity has no PKI-ID.
#[no_mangle]
pub unsafe extern "C" fn gossip_crypto_new_callbacks(
    identity: *const u8,
    identity_len: usize,
    callbacks: *const gossip_crypto_callbacks,
    msp: *const gossip_msp,
    crypto: *mut *mut gossip_crypto,
    error: *mut *mut gossip_error,
) -> gossip_result {
    guard(error, || {
        let crypto = Out::new(crypto, "crypto")?;
        let identity = PeerIdentity::from(handle::array(identity, identity_len, "identity")?);
        let functions = *handle::get(callbacks, "callbacks")?;
        if functions.size != size_of::<gossip_crypto_callbacks>() {
            let text = format!("callbacks.size is {}: set it to sizeof(gossip_crypto_callbacks)", functions.size);
            return Err(super::invalid(text));
        }
        let msp = handle::get_optional(msp, "msp")?;
        let needed = [
            ("sign", functions.sign.is_some()),
            ("verify", functions.verify.is_some()),
            ("pki_id", functions.pki_id.is_some()),
            ("validate_identity", functions.validate_identity.is_some()),
            ("expiration", functions.expiration.is_some()),
            ("org", functions.org.is_some()),
        ];
        match needed.iter().find(|(name, there)| !there && (msp.is_none() || *name == "sign")) {
            Some((name, _)) if *name == "sign" => {
                return Err(super::invalid(
                    "callbacks.sign is NULL: an MSP holds no private key, so the host must sign",
                ))
            }
            Some((name, _)) => return Err(super::invalid(format!("callbacks.{name} is NULL, and no MSP is set"))),
            None => {}
        }
        let msps = msp.map(|msp| Arc::new(MspCryptoService::new(msp.msp.clone(), None)));
        // The pointer remains the host's until nothing can fail any more.
        let (key, user) = (OwnKey::of(&identity), User::new(functions.user, None));
        let mut host = HostCrypto { functions, user, msps: msps.clone(), key };
        let no_id = || Error::new(ErrorKind::Identity, "our own identity has no PKI-ID");
        let pki_id = host.pki_id(&identity).ok_or_else(no_id)?;
        host.user = User::new(functions.user, functions.free);
        let host = Arc::new(host);
        crypto.give(gossip_crypto { identity, pki_id, service: host.clone(), advisor: host, msps })
    })
}

/// Serializes the identity of a member: a `msp.SerializedIdentity` of its MSP id and its PEM certificate. Free it with
/// gossip_buffer_free.
#[no_mangle]
pub unsafe extern "C" fn gossip_serialized_identity(
    mspid: *const c_char,
    cert: *const u8,
    cert_len: usize,
    identity: *mut *mut gossip_buffer,
    error: *mut *mut gossip_error,
) -> gossip_result {
    guard(error, || {
        let identity = Out::new(identity, "identity")?;
        let cert = handle::array(cert, cert_len, "cert")?;
        let serialized = gossip::msp::serialized_identity(handle::text(mspid, "mspid")?, cert);
        identity.give(gossip_buffer::new(serialized.as_bytes()))
    })
}

/// Returns our identity as it is sent to peers.
///
/// Thread-safe. Does not block.
#[no_mangle]
pub unsafe extern "C" fn gossip_crypto_identity(crypto: *const gossip_crypto) -> gossip_bytes {
    super::look(crypto, gossip_bytes::EMPTY, |crypto| gossip_bytes::of(crypto.identity.as_bytes()))
}

/// Returns our PKI-ID: our short name in the whole network.
///
/// Thread-safe. Does not block.
#[no_mangle]
pub unsafe extern "C" fn gossip_crypto_pki_id(crypto: *const gossip_crypto) -> gossip_bytes {
    super::look(crypto, gossip_bytes::EMPTY, |crypto| gossip_bytes::of(crypto.pki_id.as_bytes()))
}

/// Trusts the members of a further organisation. `msp` remains the caller's.
///
/// Thread-safe. Does not block.
#[no_mangle]
pub unsafe extern "C" fn gossip_crypto_trust(
    crypto: *const gossip_crypto,
    msp: *const gossip_msp,
    error: *mut *mut gossip_error,
) -> gossip_result {
    guard(error, || {
        handle::get(crypto, "crypto")?.msps()?.trust(handle::get(msp, "msp")?.msp.clone());
        Ok(())
    })
}

/// Stops trusting an organisation's members. Connected members stay connected until gossip_node_suspect_peers is called
/// or their identity expires.
///
/// Thread-safe. Does not block.
#[no_mangle]
pub unsafe extern "C" fn gossip_crypto_distrust(
    crypto: *const gossip_crypto,
    mspid: *const c_char,
    error: *mut *mut gossip_error,
) -> gossip_result {
    guard(error, || {
        handle::get(crypto, "crypto")?.msps()?.distrust(handle::text(mspid, "mspid")?);
        Ok(())
    })
}

/// Sets the organisations of a channel, whose members are trusted, and the MSP ids whose members may read it. If
/// `readers` is NULL the channel has no policies, and no signature of another organisation's member is accepted.
///
/// Thread-safe. Does not block.
#[no_mangle]
pub unsafe extern "C" fn gossip_crypto_set_channel(
    crypto: *const gossip_crypto,
    channel: *const c_char,
    msps: *const *const gossip_msp,
    msp_count: usize,
    readers: *const *const c_char,
    reader_count: usize,
    error: *mut *mut gossip_error,
) -> gossip_result {
    guard(error, || {
        let crypto = handle::get(crypto, "crypto")?.msps()?;
        let mut of_channel = Vec::new();
        for msp in handle::array(msps, msp_count, "msps")? {
            of_channel.push(handle::get(*msp, "an element of msps")?.msp.clone());
        }
        let mut may_read = Vec::new();
        for reader in handle::array(readers, reader_count, "readers")? {
            may_read.push(handle::text(*reader, "an element of readers")?.to_owned());
        }
        let may_read = (!readers.is_null()).then_some(may_read);
        crypto.set_channel(handle::text(channel, "channel")?, Channel::new(of_channel, may_read));
        Ok(())
    })
}

/// Removes a channel's organisations.
///
/// Thread-safe. Does not block.
#[no_mangle]
pub unsafe extern "C" fn gossip_crypto_remove_channel(
    crypto: *const gossip_crypto,
    channel: *const c_char,
    error: *mut *mut gossip_error,
) -> gossip_result {
    guard(error, || {
        handle::get(crypto, "crypto")?.msps()?.remove_channel(handle::text(channel, "channel")?);
        Ok(())
    })
}

/// Signs `data`, the message and not its digest, with our own key. ECDSA signatures are DER with low S. Free the
/// signature with gossip_buffer_free.
///
/// Thread-safe. Blocks as long as a host's callback does.
#[no_mangle]
pub unsafe extern "C" fn gossip_crypto_sign(
    crypto: *const gossip_crypto,
    data: *const u8,
    len: usize,
    signature: *mut *mut gossip_buffer,
    error: *mut *mut gossip_error,
) -> gossip_result {
    guard(error, || {
        let signature = Out::new(signature, "signature")?;
        let signed = handle::get(crypto, "crypto")?.service.sign(handle::array(data, len, "data")?)?;
        signature.give(gossip_buffer::new(&signed))
    })
}

/// Verifies a signature over `data` under the key of `identity`, which must be valid. GOSSIP_SIGNATURE,
/// GOSSIP_IDENTITY: the signature is not accepted.
///
/// Thread-safe. Blocks as long as a host's callback does.
#[no_mangle]
pub unsafe extern "C" fn gossip_crypto_verify(
    crypto: *const gossip_crypto,
    identity: *const u8,
    identity_len: usize,
    signature: *const u8,
    signature_len: usize,
    data: *const u8,
    len: usize,
    error: *mut *mut gossip_error,
) -> gossip_result {
    guard(error, || {
        let crypto = handle::get(crypto, "crypto")?;
        let identity = PeerIdentity::from(handle::array(identity, identity_len, "identity")?);
        let signature = handle::array(signature, signature_len, "signature")?;
        Ok(crypto.service.verify(&identity, signature, handle::array(data, len, "data")?)?)
    })
}

/// Frees the handle. Comms and nodes that use it continue to do so. Passing NULL is a no-op.
#[no_mangle]
pub unsafe extern "C" fn gossip_crypto_free(crypto: *mut gossip_crypto) {
    gossip_crypto::free(crypto);
}
