//! Certificates, keys and roots. They are checked before a transport uses them, and can be replaced at run time. This
//! module holds no TLS library's handles.

use crate::error::{Error, ErrorKind, Result};
use crate::sync::{Mutex, RwLock};
use bytes::Bytes;
use openssl::asn1::Asn1Time;
use openssl::error::ErrorStack;
use openssl::pkey::{PKey, PKeyRef, Private};
use openssl::ssl::{SslContext, SslMethod};
use openssl::x509::X509;
use std::any::Any;
use std::ffi::CString;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// PEM text and its source, for error messages.
#[derive(Clone, PartialEq, Eq)]
pub struct Pem {
    source: String,
    text: Vec<u8>,
}

impl Pem {
    /// Wraps PEM text; `source` names it in errors.
    pub fn new(source: impl Into<String>, text: impl Into<Vec<u8>>) -> Pem {
        Pem { source: source.into(), text: text.into() }
    }

    /// Reads a PEM file.
    ///
    /// # Errors
    /// [`ErrorKind::Config`], naming the file, if it cannot be read.
    pub fn file(path: impl AsRef<Path>) -> Result<Pem> {
        let path = path.as_ref();
        let text =
            std::fs::read(path).map_err(|e| config(format!("cannot read {}: {e}", path.display())).with_source(e))?;
        Ok(Pem { source: path.display().to_string(), text })
    }

    /// Joins several texts, for roots stored in several files.
    #[must_use]
    pub fn and(mut self, other: Pem) -> Pem {
        self.source = format!("{}, {}", self.source, other.source);
        self.text.push(b'\n');
        self.text.extend(other.text);
        self
    }

    /// Returns the certificates in it, at least one.
    fn certificates(&self, what: &str) -> Result<Vec<X509>> {
        let certs = X509::stack_from_pem(&self.text)
            .map_err(|e| config(format!("{what} ({}): not readable as PEM: {e}", self.source)).with_source(e))?;
        if certs.is_empty() {
            return Err(config(format!("{what} ({}): holds no certificate", self.source)));
        }
        Ok(certs)
    }

    /// Returns the first certificate in it, as DER.
    #[cfg(feature = "host-server")]
    pub(super) fn leaf(&self, what: &str) -> Result<Bytes> {
        let der = self.certificates(what)?.swap_remove(0).to_der();
        der.map(Bytes::from).map_err(|e| config(format!("{what} ({}): {e}", self.source)).with_source(e))
    }

    fn c_string(&self, what: &str) -> Result<CString> {
        let text = CString::new(self.text.clone());
        text.map_err(|_| config(format!("{what} ({}): contains a zero byte; PEM is text", self.source)))
    }
}

impl fmt::Debug for Pem {
    /// Prints only the source: the text can be a private key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pem({})", self.source)
    }
}

/// Client certificate policy of a server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ClientAuth {
    /// Request a certificate, but neither require nor verify it: Fabric's default. The gossip handshake authenticates,
    /// and refuses a peer without a certificate.
    #[default]
    Request,
    /// Require a certificate that chains to these roots. Other clients get no connection.
    Verify(Pem),
}

/// Certificates, keys and roots for both directions. [`Tls::new`] checks them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsConfig {
    server: Option<(Pem, Pem)>,
    client: Option<(Pem, Pem)>,
    roots: Pem,
    client_auth: ClientAuth,
    server_name: Option<String>,
}

impl TlsConfig {
    /// Uses a certificate (followed by its intermediates, if any) and its key, presented in both directions, and the
    /// roots for verifying dialled servers.
    pub fn new(cert: Pem, key: Pem, roots: Pem) -> TlsConfig {
        TlsConfig { server: Some((cert, key)), ..Self::client_only(roots) }
    }

    /// Configures dialling only, with the roots for verifying servers. Presents no certificate unless one is added with
    /// [`client_pair`](Self::client_pair). (A gossip handshake requires one; a probe does not.)
    pub fn client_only(roots: Pem) -> TlsConfig {
        TlsConfig { server: None, client: None, roots, client_auth: ClientAuth::Request, server_name: None }
    }

    /// Sets a different certificate and key to present when dialling.
    #[must_use]
    pub fn client_pair(mut self, cert: Pem, key: Pem) -> Self {
        self.client = Some((cert, key));
        self
    }

    /// Sets the client certificate policy. The default is [`ClientAuth::Request`].
    #[must_use]
    pub fn client_auth(mut self, policy: ClientAuth) -> Self {
        self.client_auth = policy;
        self
    }

    /// Sets the name against which dialled servers' certificates are checked, instead of the name in the endpoint.
    #[must_use]
    pub fn server_name(mut self, name: impl Into<String>) -> Self {
        self.server_name = Some(name.into());
        self
    }
}

/// The certificates in use. They are read at every dial and for every accepted connection, and can be replaced at any
/// time. Clones share the same configuration.
#[derive(Clone)]
pub struct Tls(Arc<RwLock<(u64, Arc<Checked>)>>);

impl Tls {
    /// Checks a configuration.
    ///
    /// # Errors
    /// [`ErrorKind::Config`], naming file and field: unreadable PEM, no certificate in it, or a key that does not match
    /// its certificate. (Dates and chains are not checked; the peer verifies them.)
    pub fn new(config: TlsConfig) -> Result<Tls> {
        Ok(Tls(Arc::new(RwLock::new((0, Arc::new(Checked::new(config)?))))))
    }

    /// Replaces the configuration. The next dial and the next accepted connection use it; existing connections are
    /// unaffected.
    ///
    /// # Errors
    /// As [`new`](Self::new), and if it switches to the other policy of [`ClientAuth`]: servers keep the policy they
    /// started with (its roots may change). After an error the old configuration stays.
    pub fn replace(&self, config: TlsConfig) -> Result<()> {
        let checked = Checked::new(config)?;
        let mut current = self.0.write();
        if checked.client_roots.is_some() != current.1.client_roots.is_some() {
            return Err(config_error("the client authentication policy cannot change while running; restart instead"));
        }
        if checked.server.is_none() && current.1.server.is_some() {
            return Err(config_error("the server certificate cannot be removed while running; restart instead"));
        }
        *current = (current.0 + 1, Arc::new(checked));
        Ok(())
    }

    /// Returns the number of replacements so far and the configuration in use.
    pub(super) fn current(&self) -> (u64, Arc<Checked>) {
        self.0.read().clone()
    }

    /// Returns the certificate that servers present now, as DER. (A stream on an older connection began with the
    /// previous one.)
    #[cfg(feature = "c-core")]
    pub(super) fn server_cert(&self) -> Option<Bytes> {
        self.current().1.server.as_ref().map(|pair| pair.der.clone())
    }

    /// Returns the earliest expiry time of the certificates presented now; `None` if none is presented.
    pub fn expires(&self) -> Option<SystemTime> {
        let (_, checked) = self.current();
        checked.server.iter().chain(&checked.client).map(|pair| pair.expires).min()
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls(..)")
    }
}

/// A configuration that passed the checks.
pub(super) struct Checked {
    pub server: Option<Pair>,
    pub client: Option<Pair>,
    /// PEM, as all texts in this module.
    pub roots: CString,
    pub client_roots: Option<CString>,
    pub server_name: Option<CString>,
    pub derived: Derived,
}

/// The value that a transport derives from a configuration, such as a TLS library's contexts. All transports that use
/// the configuration share it.
#[derive(Default)]
pub(super) struct Derived(Mutex<Option<Arc<dyn Any + Send + Sync>>>);

impl Derived {
    /// Returns the value, which begins as its default.
    pub fn get<T: Default + Send + Sync + 'static>(&self) -> Arc<T> {
        let mut value = self.0.lock();
        if let Some(known) = value.as_ref().and_then(|value| value.clone().downcast().ok()) {
            return known;
        }
        let made = Arc::new(T::default());
        *value = Some(made.clone());
        made
    }
}

/// A certificate and its key.
#[derive(Clone)]
pub(super) struct Pair {
    /// The leaf certificate, followed by its intermediates.
    pub chain: CString,
    pub key: CString,
    /// The leaf certificate, as DER.
    pub der: Bytes,
    pub expires: SystemTime,
}

fn end_of_validity(cert: &X509) -> Result<SystemTime, ErrorStack> {
    let distance = Asn1Time::from_unix(0)?.diff(cert.not_after())?;
    let seconds = i64::from(distance.days) * 86_400 + i64::from(distance.secs);
    let end = u64::try_from(seconds).ok().and_then(|seconds| UNIX_EPOCH.checked_add(Duration::from_secs(seconds)));
    // A certificate that ended before 1970 has expired; the exact time does not matter.
    Ok(end.unwrap_or(UNIX_EPOCH))
}

impl Pair {
    fn new(role: &str, cert: &Pem, key: &Pem) -> Result<Pair> {
        let (cert_what, key_what) = (format!("{role} certificate"), format!("{role} key"));
        let leaf = cert.certificates(&cert_what)?.swap_remove(0);
        let unreadable =
            |e| config(format!("{key_what} ({}): not readable as PEM private key: {e}", key.source)).with_source(e);
        if is_encrypted(&key.text) {
            let source = &key.source;
            let text = format!("{key_what} ({source}): is encrypted; it must be unencrypted PEM, as for Fabric's peer");
            return Err(config(text));
        }
        // An encrypted key must fail here, not ask for its passphrase on the terminal.
        let private = PKey::private_key_from_pem_callback(&key.text, |_| Ok(0)).map_err(unreadable)?;
        let internal = |e: ErrorStack| config(format!("{cert_what} ({}): {e}", cert.source)).with_source(e);
        if !leaf.public_key().map_err(internal)?.public_eq(&private) {
            let (key, cert) = (&key.source, &cert.source);
            return Err(config(format!("{key_what} ({key}) does not belong to the certificate in {cert}")));
        }
        check_usable(cert, &private).map_err(|why| config(format!("{cert_what} ({}): {why}", cert.source)))?;
        let der = leaf.to_der().map_err(internal)?.into();
        let expires = end_of_validity(&leaf).map_err(internal)?;
        Ok(Pair { expires, chain: cert.c_string(&cert_what)?, key: key.c_string(&key_what)?, der })
    }
}

/// Returns whether a private key in PEM needs a passphrase.
fn is_encrypted(pem: &[u8]) -> bool {
    let has = |part: &[u8]| pem.windows(part.len()).any(|window| window == part);
    has(b"BEGIN ENCRYPTED PRIVATE KEY") || (has(b"Proc-Type:") && has(b"ENCRYPTED"))
}

/// Checks that TLS accepts certificate and key. The C core does not report the reason, and a key that is too short
/// would look like an address that cannot be bound.
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
        let roots = roots("TLS roots", &config.roots)?;
        Ok(Checked { server, client, roots, client_roots, server_name, derived: Derived::default() })
    }
}

fn config(message: String) -> Error {
    Error::new(ErrorKind::Config, message).with_step("TLS")
}

pub(super) fn config_error(message: &str) -> Error {
    config(message.to_owned())
}
