//! OpenSSL's contexts, made once for each configuration and shared by the transports that use it.

use super::wire::{Wire, WireError};
use crate::error::Result;
use crate::sync::Mutex;
use crate::transport::server_name;
use crate::transport::tls::{config_error, Checked, Pair, Tls};
use bytes::Bytes;
use openssl::error::ErrorStack;
use openssl::pkey::PKey;
use openssl::ssl::{
    select_next_proto, AlpnError, Ssl, SslContext, SslContextBuilder, SslMethod, SslMode, SslOptions,
    SslSessionCacheMode, SslVerifyMode, SslVersion,
};
use openssl::x509::store::{X509Store, X509StoreBuilder};
use openssl::x509::verify::X509VerifyFlags;
use openssl::x509::X509;
use std::ffi::CStr;
use std::net::IpAddr;

/// The protocol that TLS negotiates, in TLS's notation.
const ALPN: &[u8] = b"\x02h2";

/// Makes TLS connections.
pub(super) struct Contexts {
    tls: Tls,
}

/// The contexts of a configuration. They are made for the first connection in their direction: that takes about a
/// millisecond.
#[derive(Default)]
struct Made {
    client: Mutex<Option<SslContext>>,
    server: Mutex<Option<SslContext>>,
}

/// A connection before its handshake, and the certificate that this side presents.
pub(super) struct Prepared {
    pub wire: Wire,
    pub local_cert: Option<Bytes>,
    /// The name for which a server's certificate must be.
    pub name: String,
}

impl Contexts {
    pub fn new(tls: Tls) -> Contexts {
        Contexts { tls }
    }

    /// Returns an error if there is no certificate for a server.
    pub fn check_server(&self) -> Result<()> {
        match self.tls.current().1.server {
            Some(_) => Ok(()),
            None => {
                Err(config_error("a server needs a certificate and a key; this configuration is only for dialling"))
            }
        }
    }

    /// Prepares a connection to `host`.
    pub fn client(&self, host: &str) -> Result<Prepared, ErrorStack> {
        let checked = self.tls.current().1;
        let context = once(&checked.derived.get::<Made>().client, || client_context(&checked))?;
        let name = match &checked.server_name {
            Some(name) => name.to_string_lossy().into_owned(),
            None => host.to_owned(),
        };
        let mut ssl = Ssl::new(&context)?;
        ssl.set_connect_state();
        let bare = name.strip_prefix('[').and_then(|n| n.strip_suffix(']')).unwrap_or(&name);
        if bare.parse::<IpAddr>().is_err() {
            ssl.set_hostname(bare.trim_end_matches('.'))?;
        }
        let local_cert = checked.client.as_ref().map(|pair| pair.der.clone());
        Ok(Prepared { wire: Wire::tls(ssl)?, local_cert, name })
    }

    /// Prepares an accepted connection.
    pub fn server(&self) -> Result<Prepared, ErrorStack> {
        let checked = self.tls.current().1;
        let pair = checked.server.as_ref().ok_or_else(ErrorStack::get)?;
        let context = once(&checked.derived.get::<Made>().server, || server_context(&checked, pair))?;
        let mut ssl = Ssl::new(&context)?;
        ssl.set_accept_state();
        Ok(Prepared { wire: Wire::tls(ssl)?, local_cert: Some(pair.der.clone()), name: String::new() })
    }
}

/// Returns the context, which is made by the first call that succeeds.
fn once(
    context: &Mutex<Option<SslContext>>,
    make: impl FnOnce() -> Result<SslContext, ErrorStack>,
) -> Result<SslContext, ErrorStack> {
    let mut context = context.lock();
    if let Some(context) = &*context {
        return Ok(context.clone());
    }
    Ok(context.insert(make()?).clone())
}

/// Checks an established TLS connection. Returns the certificate of the peer, as DER. `server` is the name for which a
/// server's certificate must be.
pub(super) fn check_peer(wire: &Wire, server: Option<&str>) -> Result<Option<Bytes>, WireError> {
    let Some(ssl) = wire.ssl() else { return Ok(None) };
    if ssl.selected_alpn_protocol() != Some(b"h2") {
        return Err(WireError::Tls("no ALPN: the peer did not agree on HTTP/2 (h2)".into()));
    }
    let certificate = ssl.peer_certificate();
    if let Some(name) = server {
        let flaw = match &certificate {
            Some(certificate) => server_name::check(certificate, name).err(),
            None => Some("is missing".into()),
        };
        if let Some(flaw) = flaw {
            return Err(WireError::Tls(format!("the server's TLS certificate {flaw}")));
        }
    }
    let der = certificate.map(|certificate| certificate.to_der()).transpose();
    let der = der.map_err(|e| WireError::Tls(format!("the peer's certificate cannot be read: {e}")))?;
    Ok(der.map(Bytes::from))
}

fn builder() -> Result<SslContextBuilder, ErrorStack> {
    let mut builder = SslContext::builder(SslMethod::tls())?;
    builder.set_min_proto_version(Some(SslVersion::TLS1_2))?;
    builder.set_cipher_list("ECDHE+AESGCM:ECDHE+CHACHA20")?;
    builder.set_options(SslOptions::NO_TICKET | SslOptions::NO_RENEGOTIATION | SslOptions::NO_COMPRESSION);
    builder.set_session_cache_mode(SslSessionCacheMode::OFF);
    builder.set_mode(SslMode::RELEASE_BUFFERS);
    Ok(builder)
}

fn present(builder: &mut SslContextBuilder, pair: &Pair) -> Result<(), ErrorStack> {
    let mut chain = X509::stack_from_pem(pair.chain.as_bytes())?.into_iter();
    if let Some(leaf) = chain.next() {
        builder.set_certificate(&leaf)?;
    }
    for issuer in chain {
        builder.add_extra_chain_cert(issuer)?;
    }
    // An encrypted key was refused before.
    builder.set_private_key(&*PKey::private_key_from_pem_callback(pair.key.as_bytes(), |_| Ok(0))?)
}

/// Returns a store in which every certificate is trusted, as in Go, also one that was issued by another.
fn store(pem: &CStr) -> Result<X509Store, ErrorStack> {
    let mut store = X509StoreBuilder::new()?;
    for root in X509::stack_from_pem(pem.to_bytes())? {
        store.add_cert(root)?;
    }
    store.set_flags(X509VerifyFlags::PARTIAL_CHAIN | X509VerifyFlags::TRUSTED_FIRST)?;
    Ok(store.build())
}

fn client_context(checked: &Checked) -> Result<SslContext, ErrorStack> {
    let mut builder = builder()?;
    if let Some(pair) = &checked.client {
        present(&mut builder, pair)?;
    }
    builder.set_cert_store(store(&checked.roots)?);
    builder.set_verify(SslVerifyMode::PEER);
    builder.set_alpn_protos(ALPN)?;
    Ok(builder.build())
}

fn server_context(checked: &Checked, pair: &Pair) -> Result<SslContext, ErrorStack> {
    let mut builder = builder()?;
    present(&mut builder, pair)?;
    builder.set_num_tickets(0)?;
    builder.set_session_id_context(b"gossip")?;
    match &checked.client_roots {
        // The gossip handshake authenticates.
        None => builder.set_verify_callback(SslVerifyMode::PEER, |_, _| true),
        Some(roots) => {
            builder.set_cert_store(store(roots)?);
            builder.set_verify(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT);
        }
    }
    builder.set_alpn_select_callback(|_, offered| select_next_proto(ALPN, offered).ok_or(AlpnError::ALERT_FATAL));
    Ok(builder.build())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::cryptogen::Org;
    use crate::transport::{Pem, TlsConfig};

    fn config(org: &Org) -> TlsConfig {
        let member = org.peer("peer0").unwrap();
        let pem = |text: String| Pem::new("test", text);
        TlsConfig::new(pem(member.tls_cert), pem(member.tls_key), pem(org.tls_ca_cert().unwrap()))
    }

    #[test]
    fn transports_with_the_same_configuration_share_its_contexts_until_it_is_replaced() {
        let org = Org::new("Org1MSP", "org1").unwrap();
        let tls = Tls::new(config(&org)).unwrap();
        let contexts = || {
            let other = Contexts::new(tls.clone());
            let ssl = |prepared: Prepared| prepared.wire.ssl().unwrap().ssl_context().to_owned();
            (ssl(other.client("localhost").unwrap()), ssl(other.server().unwrap()))
        };
        let same = |a: &SslContext, b: &SslContext| std::ptr::eq(&**a, &**b);
        let (first, second) = (contexts(), contexts());
        assert!(same(&first.0, &second.0) && same(&first.1, &second.1) && !same(&first.0, &first.1));
        tls.replace(config(&org)).unwrap();
        let third = contexts();
        assert!(!same(&first.0, &third.0) && !same(&first.1, &third.1));
    }
}
