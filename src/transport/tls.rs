//! Certificates and keys, checked before the C core sees them.

use super::server_name::check_pem;
use crate::error::{Error, ErrorKind, Result};
use crate::sync::{Mutex, RwLock};
use bytes::Bytes;
use grpcio_sys::*;
use openssl::asn1::Asn1Time;
use openssl::error::ErrorStack;
use openssl::pkey::{PKey, PKeyRef, Private};
use openssl::ssl::{SslContext, SslMethod};
use openssl::x509::X509;
use std::ffi::{c_char, c_int, c_void, CStr, CString};
use std::fmt;
use std::path::Path;
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// PEM text and where it came from, for error messages.
#[derive(Clone)]
pub struct Pem {
    source: String,
    text: Vec<u8>,
}

impl Pem {
    /// PEM text; `source` names it in errors.
    pub fn new(source: impl Into<String>, text: impl Into<Vec<u8>>) -> Pem {
        Pem { source: source.into(), text: text.into() }
    }

    /// The content of a file.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] if it cannot be read, naming it.
    pub fn file(path: impl AsRef<Path>) -> Result<Pem> {
        let path = path.as_ref();
        let text = std::fs::read(path).map_err(|e| config(format!("cannot read {}: {e}", path.display())).source(e))?;
        Ok(Pem { source: path.display().to_string(), text })
    }

    /// Several texts as one, for roots that come in several files.
    #[must_use]
    pub fn and(mut self, other: Pem) -> Pem {
        self.source = format!("{}, {}", self.source, other.source);
        self.text.push(b'\n');
        self.text.extend(other.text);
        self
    }

    /// The certificates in it, at least one.
    fn certificates(&self, what: &str) -> Result<Vec<X509>> {
        let certs = X509::stack_from_pem(&self.text)
            .map_err(|e| config(format!("{what} ({}): not readable as PEM: {e}", self.source)).source(e))?;
        if certs.is_empty() {
            return Err(config(format!("{what} ({}): holds no certificate", self.source)));
        }
        Ok(certs)
    }

    /// DER of the first certificate in it.
    #[cfg(feature = "host-server")]
    pub(crate) fn leaf(&self, what: &str) -> Result<Bytes> {
        let der = self.certificates(what)?.swap_remove(0).to_der();
        der.map(Bytes::from).map_err(|e| config(format!("{what} ({}): {e}", self.source)).source(e))
    }

    fn c_string(&self, what: &str) -> Result<CString> {
        let text = CString::new(self.text.clone());
        text.map_err(|_| config(format!("{what} ({}): contains a zero byte; PEM is text", self.source)))
    }
}

impl fmt::Debug for Pem {
    /// Only where it came from: it can be a private key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pem({})", self.source)
    }
}

/// What a server asks of its clients' certificates.
#[derive(Clone, Debug, Default)]
pub enum ClientAuth {
    /// Ask for one, and neither insist nor verify: Fabric's default. The gossip handshake authenticates, and refuses
    /// who has none.
    #[default]
    Request,
    /// Require one that these roots vouch for. Others get no connection.
    Verify(Pem),
}

/// Certificates, keys and roots for both directions. Everything is checked by [`Tls::new`].
#[derive(Clone, Debug)]
pub struct TlsConfig {
    server: Option<(Pem, Pem)>,
    client: Option<(Pem, Pem)>,
    roots: Pem,
    client_auth: ClientAuth,
    server_name: Option<String>,
}

impl TlsConfig {
    /// A certificate (followed by its intermediates, if any) and its key, shown in both directions, and the roots that
    /// vouch for the servers that are dialled.
    pub fn new(cert: Pem, key: Pem, roots: Pem) -> TlsConfig {
        TlsConfig { server: Some((cert, key)), ..Self::client_only(roots) }
    }

    /// Only to dial, with the roots that vouch for the servers, and without a certificate unless one is added with
    /// [`client_pair`](Self::client_pair). (A gossip handshake asks for one; a probe does not.)
    pub fn client_only(roots: Pem) -> TlsConfig {
        TlsConfig { server: None, client: None, roots, client_auth: ClientAuth::Request, server_name: None }
    }

    /// Another certificate and key to show when dialling.
    #[must_use]
    pub fn client_pair(mut self, cert: Pem, key: Pem) -> Self {
        self.client = Some((cert, key));
        self
    }

    /// What to ask of clients. The default is [`ClientAuth::Request`].
    #[must_use]
    pub fn client_auth(mut self, policy: ClientAuth) -> Self {
        self.client_auth = policy;
        self
    }

    /// Check dialled servers' certificates for this name instead of the one in the endpoint.
    #[must_use]
    pub fn server_name(mut self, name: impl Into<String>) -> Self {
        self.server_name = Some(name.into());
        self
    }
}

/// Certificates in use: asked at every dial and for every accepted connection, and replaceable meanwhile. Clones are
/// handles on the same.
#[derive(Clone)]
pub struct Tls(Arc<RwLock<(u64, Arc<Checked>)>>);

impl Tls {
    /// Checks a configuration.
    ///
    /// # Errors
    /// [`ErrorKind::Config`], naming file and field: unreadable PEM, no certificate in it, a key that does not belong
    /// to its certificate. (Dates and chains are for the peer to judge.)
    pub fn new(config: TlsConfig) -> Result<Tls> {
        Ok(Tls(Arc::new(RwLock::new((0, Arc::new(Checked::new(config)?))))))
    }

    /// Replaces the configuration. The next dial and the next accepted connection use it; existing ones go on.
    ///
    /// # Errors
    /// As [`new`](Self::new), and if it changes between the two policies of [`ClientAuth`]: servers keep the one they
    /// started with (its roots may change). After an error the old configuration stays.
    pub fn replace(&self, config: TlsConfig) -> Result<()> {
        let checked = Checked::new(config)?;
        let mut current = self.0.write();
        if checked.client_roots.is_some() != current.1.client_roots.is_some() {
            return Err(config_error("the client authentication policy cannot change while running; restart instead"));
        }
        if checked.server.is_none() && current.1.server.is_some() {
            return Err(config_error("the server certificate cannot be taken away while running; restart instead"));
        }
        *current = (current.0 + 1, Arc::new(checked));
        Ok(())
    }

    fn current(&self) -> (u64, Arc<Checked>) {
        self.0.read().clone()
    }

    /// DER of the certificate that servers show now. (A stream on an older connection began with the one before.)
    pub(crate) fn server_cert(&self) -> Option<Bytes> {
        self.current().1.server.as_ref().map(|pair| pair.der.clone())
    }

    /// When the certificates that are shown now expire, the first of them; `None` if none is shown.
    pub fn expires(&self) -> Option<SystemTime> {
        let (_, checked) = self.current();
        checked.server.iter().chain(&checked.client).map(|pair| pair.expires).min()
    }

    /// What one dial needs: the credentials, the certificate that they show, and the name to check. `flaw` gets what is
    /// wrong with the name in the server's certificate.
    pub(super) fn dial(&self, flaw: &Flaw) -> (ChannelCredentials, Option<Bytes>, Option<CString>) {
        let (_, checked) = self.current();
        let client = checked.client.as_ref();
        let mut pair = client.map(Pair::raw);
        let pair = pair.as_mut().map_or(null_mut(), |pair| pair as *mut _);
        let verify = verify_peer_options {
            verify_peer_callback: Some(check_server),
            verify_peer_callback_userdata: Arc::into_raw(flaw.0.clone()).cast_mut().cast::<c_void>(),
            verify_peer_destruct: Some(release_flaw),
        };
        // SAFETY: the strings live in `checked` during the call; the core copies them and the options. The pair may be
        // null. The reference in the options is released by `release_flaw`, with the credentials.
        let raw = unsafe { grpc_ssl_credentials_create(checked.roots.as_ptr(), pair, &verify, null_mut()) };
        (ChannelCredentials(raw), client.map(|pair| pair.der.clone()), checked.server_name.clone())
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls(..)")
    }
}

/// A configuration that passed the checks, in the form in which the core takes it.
struct Checked {
    server: Option<Pair>,
    client: Option<Pair>,
    roots: CString,
    client_roots: Option<CString>,
    server_name: Option<CString>,
}

#[derive(Clone)]
struct Pair {
    chain: CString,
    key: CString,
    der: Bytes,
    expires: SystemTime,
}

fn end_of_validity(cert: &X509) -> Result<SystemTime, ErrorStack> {
    let distance = Asn1Time::from_unix(0)?.diff(cert.not_after())?;
    let seconds = i64::from(distance.days) * 86_400 + i64::from(distance.secs);
    let end = u64::try_from(seconds).ok().and_then(|seconds| UNIX_EPOCH.checked_add(Duration::from_secs(seconds)));
    // One that ended before 1970 has expired, whenever.
    Ok(end.unwrap_or(UNIX_EPOCH))
}

impl Pair {
    fn new(role: &str, cert: &Pem, key: &Pem) -> Result<Pair> {
        let (cert_what, key_what) = (format!("{role} certificate"), format!("{role} key"));
        let leaf = cert.certificates(&cert_what)?.swap_remove(0);
        let unreadable =
            |e| config(format!("{key_what} ({}): not readable as PEM private key: {e}", key.source)).source(e);
        if is_encrypted(&key.text) {
            let source = &key.source;
            let text = format!("{key_what} ({source}): is encrypted; it has to be in plain PEM, as for Fabric's peer");
            return Err(config(text));
        }
        // An encrypted key must fail here, not ask for its passphrase on the terminal.
        let private = PKey::private_key_from_pem_callback(&key.text, |_| Ok(0)).map_err(unreadable)?;
        let internal = |e: ErrorStack| config(format!("{cert_what} ({}): {e}", cert.source)).source(e);
        if !leaf.public_key().map_err(internal)?.public_eq(&private) {
            let (key, cert) = (&key.source, &cert.source);
            return Err(config(format!("{key_what} ({key}) does not belong to the certificate in {cert}")));
        }
        check_usable(cert, &private).map_err(|why| config(format!("{cert_what} ({}): {why}", cert.source)))?;
        let der = leaf.to_der().map_err(internal)?.into();
        let expires = end_of_validity(&leaf).map_err(internal)?;
        Ok(Pair { expires, chain: cert.c_string(&cert_what)?, key: key.c_string(&key_what)?, der })
    }

    /// The core's form; it borrows from `self`.
    fn raw(&self) -> grpc_ssl_pem_key_cert_pair {
        grpc_ssl_pem_key_cert_pair { private_key: self.key.as_ptr(), cert_chain: self.chain.as_ptr() }
    }
}

/// Returns whether a private key in PEM needs a passphrase.
fn is_encrypted(pem: &[u8]) -> bool {
    let has = |part: &[u8]| pem.windows(part.len()).any(|window| window == part);
    has(b"BEGIN ENCRYPTED PRIVATE KEY") || (has(b"Proc-Type:") && has(b"ENCRYPTED"))
}

/// Checks that TLS accepts certificate and key. The core keeps the reason to itself, and a key that is too short would look like an
/// address that cannot be bound.
fn check_usable(cert: &Pem, key: &PKeyRef<Private>) -> std::result::Result<(), String> {
    let weak = |e: ErrorStack| {
        let reasons: Vec<&str> = e.errors().iter().filter_map(|e| e.reason()).collect();
        match key.rsa().is_ok() && reasons.contains(&"ee key too small") {
            true => format!("its RSA key has {} bits, which OpenSSL refuses; it needs 2,048 or more", key.bits()),
            false => format!("TLS cannot use it: {}", reasons.join("; ")),
        }
    };
    let mut context = SslContext::builder(SslMethod::tls()).map_err(weak)?;
    let mut chain = X509::stack_from_pem(&cert.text).map_err(weak)?.into_iter();
    if let Some(leaf) = chain.next() {
        context.set_certificate(&leaf).map_err(weak)?;
    }
    for issuer in chain {
        context.add_extra_chain_cert(issuer).map_err(weak)?;
    }
    context.set_private_key(key).map_err(weak)
}

impl Checked {
    fn new(config: TlsConfig) -> Result<Checked> {
        let roots = |what: &str, pem: &Pem| {
            pem.certificates(what)?;
            pem.c_string(what)
        };
        let pair =
            |role: &str, of: &Option<(Pem, Pem)>| of.as_ref().map(|(cert, key)| Pair::new(role, cert, key)).transpose();
        let server = pair("TLS", &config.server)?;
        let client = pair("TLS client", &config.client)?.or_else(|| server.clone());
        let client_roots = match &config.client_auth {
            ClientAuth::Request => None,
            ClientAuth::Verify(pem) => Some(roots("TLS client roots", pem)?),
        };
        let server_name = match config.server_name {
            Some(name) if name.is_empty() => return Err(config_error("the TLS server name is empty")),
            Some(name) => Some(CString::new(name).map_err(|_| config_error("the TLS server name has a zero byte"))?),
            None => None,
        };
        Ok(Checked { server, client, roots: roots("TLS roots", &config.roots)?, client_roots, server_name })
    }
}

fn config(message: String) -> Error {
    Error::new(ErrorKind::Config, message).step("TLS")
}

fn config_error(message: &str) -> Error {
    config(message.to_owned())
}

/// Credentials of a channel, released when dropped.
pub(super) struct ChannelCredentials(*mut grpc_channel_credentials);

impl ChannelCredentials {
    /// Without TLS.
    pub(super) fn insecure() -> Self {
        // SAFETY: takes nothing, returns an object of ours.
        ChannelCredentials(unsafe { grpc_insecure_credentials_create() })
    }

    pub(super) fn raw(&self) -> *mut grpc_channel_credentials {
        self.0
    }
}

impl Drop for ChannelCredentials {
    fn drop(&mut self) {
        // SAFETY: ours, released once; channels hold their own reference.
        unsafe { grpc_channel_credentials_release(self.0) }
    }
}

/// Holds why a server's certificate was rejected by checks beyond the core's. Clones share it.
#[derive(Clone, Default)]
pub(super) struct Flaw(Arc<Mutex<Option<String>>>);

impl Flaw {
    /// Returns the reason of the last rejection.
    pub(super) fn reason(&self) -> Option<String> {
        self.0.lock().clone()
    }
}

/// Called by the core with a certificate that passed its own checks, on a thread that polls: it neither blocks nor
/// panics.
unsafe extern "C" fn check_server(name: *const c_char, pem: *const c_char, flaw: *mut c_void) -> c_int {
    let checked = std::panic::catch_unwind(|| {
        // SAFETY: the core passes two NUL-terminated strings that live during the call, and the reference of `dial`,
        // which lives as long as the credentials.
        let (name, pem, flaw) =
            unsafe { (CStr::from_ptr(name), CStr::from_ptr(pem), &*flaw.cast::<Mutex<Option<String>>>()) };
        match check_pem(pem.to_bytes(), &name.to_string_lossy()) {
            Ok(()) => 0,
            Err(why) => {
                *flaw.lock() = Some(format!("the server's TLS certificate {why}"));
                1
            }
        }
    });
    checked.unwrap_or(1)
}

/// Called by the core when the credentials go.
unsafe extern "C" fn release_flaw(flaw: *mut c_void) {
    // SAFETY: the reference that `dial` gave to the core, released once.
    drop(unsafe { Arc::from_raw(flaw.cast::<Mutex<Option<String>>>()) });
}

/// Credentials of a server, released when dropped. With TLS the core asks `fetch` for each connection, so the state
/// must live until the server is destroyed.
pub(super) struct ServerCredentials {
    raw: *mut grpc_server_credentials,
    _fetch: Option<Box<Fetch>>,
}

// SAFETY: only created, passed to the core and released, and the core's reference counts are atomic.
unsafe impl Send for ServerCredentials {}

struct Fetch {
    tls: Tls,
    /// The generation that the core has; `u64::MAX` before it asked.
    known: AtomicU64,
}

impl ServerCredentials {
    /// Of a server with TLS, or without.
    pub(super) fn new(tls: Option<Tls>) -> Result<Self> {
        let Some(tls) = tls else {
            // SAFETY: takes nothing, returns an object of ours.
            return Ok(ServerCredentials { raw: unsafe { grpc_insecure_server_credentials_create() }, _fetch: None });
        };
        if tls.current().1.server.is_none() {
            return Err(config_error(
                "a server needs a certificate and a key; this configuration is only for dialling",
            ));
        }
        use grpc_ssl_client_certificate_request_type as Policy;
        let policy = match tls.current().1.client_roots {
            None => Policy::GRPC_SSL_REQUEST_CLIENT_CERTIFICATE_BUT_DONT_VERIFY,
            Some(_) => Policy::GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY,
        };
        let fetch = Box::new(Fetch { tls, known: AtomicU64::new(u64::MAX) });
        let state = (&raw const *fetch).cast_mut().cast::<c_void>();
        // SAFETY: `fetch` is on the heap and lives until this object is dropped, after the server. The credentials take
        // over the options.
        let raw = unsafe {
            let options =
                grpc_ssl_server_credentials_create_options_using_config_fetcher(policy, Some(fetch_config), state);
            grpc_ssl_server_credentials_create_with_options(options)
        };
        Ok(ServerCredentials { raw, _fetch: Some(fetch) })
    }

    pub(super) fn raw(&self) -> *mut grpc_server_credentials {
        self.raw
    }
}

impl Drop for ServerCredentials {
    fn drop(&mut self) {
        // SAFETY: ours, released once; the server held its own reference.
        unsafe { grpc_server_credentials_release(self.raw) }
    }
}

/// Called by the core before each inbound handshake, on a thread that polls: it neither blocks nor panics.
unsafe extern "C" fn fetch_config(
    state: *mut c_void,
    config: *mut *mut grpc_ssl_server_certificate_config,
) -> grpc_ssl_certificate_config_reload_status {
    // SAFETY: `state` is the `Fetch` of `ServerCredentials::new`, alive while the server is.
    let fetch = unsafe { &*state.cast::<Fetch>() };
    let (generation, checked) = fetch.tls.current();
    if fetch.known.swap(generation, Ordering::Relaxed) == generation {
        return grpc_ssl_certificate_config_reload_status::GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_UNCHANGED;
    }
    let Some(pair) = checked.server.as_ref().map(Pair::raw) else {
        return grpc_ssl_certificate_config_reload_status::GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_FAIL;
    };
    let roots = checked.client_roots.as_ref().map_or(null(), |roots| roots.as_ptr());
    // SAFETY: the core copies the strings, which live in `checked`, and takes over the object it is given.
    unsafe { *config = grpc_ssl_server_certificate_config_create(roots, &pair, 1) };
    grpc_ssl_certificate_config_reload_status::GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_NEW
}
