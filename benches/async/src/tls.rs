//! Mutual TLS by rustls, done by ourselves on both sides: the gossip handshake needs the other side's certificate, which
//! tonic shows to servers only.

use crate::crypto::sha256;
use crate::error::{Error, ErrorKind, Result};
use bytes::Bytes;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::rustls::client::danger::HandshakeSignatureValid;
use tokio_rustls::rustls::crypto::{self, CryptoProvider};
use tokio_rustls::rustls::pki_types::{pem::PemObject, CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use tokio_rustls::rustls::{
    self, ClientConfig, DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig, SignatureScheme,
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// The library that does the cryptography of TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Provider {
    /// rustls on aws-lc-rs, its own default.
    #[default]
    AwsLc,
    /// rustls on ring.
    #[cfg(feature = "ring")]
    Ring,
    /// OpenSSL instead of rustls.
    #[cfg(feature = "openssl")]
    OpenSsl,
}

/// One TLS pair, which is presented both when dialling and when accepting, and the roots that servers are held against.
/// Clients are asked for a certificate and not verified, as Fabric does: the gossip handshake, in which the
/// certificate's hash is signed, authenticates them.
#[derive(Clone)]
pub struct Tls {
    engine: Engine,
    cert_hash: Bytes,
}

#[derive(Clone)]
enum Engine {
    Rustls {
        connector: TlsConnector,
        acceptor: TlsAcceptor,
    },
    #[cfg(feature = "openssl")]
    OpenSsl(crate::tls_openssl::OpenSsl),
}

/// A connection after the TLS handshake.
pub(crate) struct Secured {
    pub stream: Stream,
    /// SHA-256 of the certificate that the other side presented.
    pub remote_cert_hash: Option<Bytes>,
}

pub(crate) fn failed(what: &str, e: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Disconnected, format!("{what}: {e}"))
}

impl Tls {
    /// From PEM. `cert` may be followed by intermediates; `roots` may be several.
    pub fn new(provider: Provider, cert: &[u8], key: &[u8], roots: &[u8]) -> Result<Tls> {
        let wrong = |e: &dyn std::fmt::Display| Error::new(ErrorKind::Config, format!("TLS: {e}"));
        let chain: Vec<CertificateDer> =
            CertificateDer::pem_slice_iter(cert).collect::<std::result::Result<_, _>>().map_err(|e| wrong(&e))?;
        let cert_hash = chain.first().map(|leaf| sha256(leaf)).ok_or_else(|| wrong(&"no certificate"))?;
        let provider = match provider {
            Provider::AwsLc => crypto::aws_lc_rs::default_provider(),
            #[cfg(feature = "ring")]
            Provider::Ring => crypto::ring::default_provider(),
            #[cfg(feature = "openssl")]
            Provider::OpenSsl => {
                let engine = crate::tls_openssl::OpenSsl::new(cert, key, roots).map_err(|e| wrong(&e))?;
                return Ok(Tls { engine: Engine::OpenSsl(engine), cert_hash });
            }
        };
        let provider = Arc::new(provider);
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|e| wrong(&e))?;
        let mut store = RootCertStore::empty();
        for root in CertificateDer::pem_slice_iter(roots) {
            store.add(root.map_err(|e| wrong(&e))?).map_err(|e| wrong(&e))?;
        }
        let mut client = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|e| wrong(&e))?
            .with_root_certificates(store)
            .with_client_auth_cert(chain.clone(), key.clone_key())
            .map_err(|e| wrong(&e))?;
        client.alpn_protocols = vec![b"h2".to_vec()];
        // Every connection authenticates the peer again.
        client.resumption = rustls::client::Resumption::disabled();
        let mut server = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|e| wrong(&e))?
            .with_client_cert_verifier(Arc::new(AnyClient(provider)))
            .with_single_cert(chain, key)
            .map_err(|e| wrong(&e))?;
        server.alpn_protocols = vec![b"h2".to_vec()];
        server.send_tls13_tickets = 0;
        let engine = Engine::Rustls { connector: Arc::new(client).into(), acceptor: Arc::new(server).into() };
        Ok(Tls { engine, cert_hash })
    }

    /// SHA-256 of our certificate.
    pub(crate) fn cert_hash(&self) -> Bytes {
        self.cert_hash.clone()
    }

    /// `host` is the name that the server's certificate must have.
    pub(crate) async fn connect(&self, host: &str, tcp: TcpStream) -> Result<Secured> {
        match &self.engine {
            Engine::Rustls { connector, .. } => {
                let name = ServerName::try_from(host.to_owned()).map_err(|e| failed("TLS", e))?;
                let stream = connector.connect(name, tcp).await.map_err(|e| failed("TLS", e))?;
                Ok(Secured::rustls(stream.into()))
            }
            #[cfg(feature = "openssl")]
            Engine::OpenSsl(engine) => engine.connect(host, tcp).await,
        }
    }

    pub(crate) async fn accept(&self, tcp: TcpStream) -> Result<Secured> {
        match &self.engine {
            Engine::Rustls { acceptor, .. } => {
                Ok(Secured::rustls(acceptor.accept(tcp).await.map_err(|e| failed("TLS", e))?.into()))
            }
            #[cfg(feature = "openssl")]
            Engine::OpenSsl(engine) => engine.accept(tcp).await,
        }
    }
}

impl Secured {
    fn rustls(stream: tokio_rustls::TlsStream<TcpStream>) -> Secured {
        let certs = stream.get_ref().1.peer_certificates();
        let remote_cert_hash = certs.and_then(|certs| certs.first()).map(|cert| sha256(cert));
        Secured { stream: Stream::Rustls(Box::new(stream)), remote_cert_hash }
    }
}

/// The properties of its connection that every accepted stream gets.
#[derive(Clone)]
pub(crate) struct Remote {
    pub addr: SocketAddr,
    pub cert_hash: Option<Bytes>,
}

/// Asks for a certificate, and checks that the client has its key and nothing else.
#[derive(Debug)]
struct AnyClient(Arc<CryptoProvider>);

impl ClientCertVerifier for AnyClient {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> std::result::Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        crypto::verify_tls12_signature(message, cert, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        crypto::verify_tls13_signature(message, cert, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// A byte stream, encrypted by its transport.
pub(crate) enum Stream {
    Rustls(Box<tokio_rustls::TlsStream<TcpStream>>),
    #[cfg(feature = "openssl")]
    OpenSsl(tokio_openssl::SslStream<TcpStream>),
}

macro_rules! either {
    ($self:ident, $method:ident $(, $argument:expr)*) => {
        match $self.get_mut() {
            Stream::Rustls(stream) => Pin::new(stream).$method($($argument),*),
            #[cfg(feature = "openssl")]
            Stream::OpenSsl(stream) => Pin::new(stream).$method($($argument),*),
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        either!(self, poll_read, cx, buf)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        either!(self, poll_write, cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        either!(self, poll_write_vectored, cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Stream::Rustls(stream) => stream.is_write_vectored(),
            #[cfg(feature = "openssl")]
            Stream::OpenSsl(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, poll_flush, cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, poll_shutdown, cx)
    }
}
