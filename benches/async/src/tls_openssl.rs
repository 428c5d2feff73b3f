//! The same TLS by OpenSSL, to be measured beside rustls.

use crate::crypto::sha256;
use crate::error::Result;
use crate::tls::{failed, Secured, Stream};
use openssl::error::ErrorStack;
use openssl::pkey::PKey;
use openssl::ssl::{
    AlpnError, Ssl, SslAcceptor, SslConnector, SslContextBuilder, SslMethod, SslSessionCacheMode, SslVerifyMode,
};
use openssl::x509::{store::X509StoreBuilder, X509};
use std::pin::Pin;
use tokio::net::TcpStream;
use tokio_openssl::SslStream;

#[derive(Clone)]
pub(crate) struct OpenSsl {
    connector: SslConnector,
    acceptor: SslAcceptor,
}

impl OpenSsl {
    pub(crate) fn new(cert: &[u8], key: &[u8], roots: &[u8]) -> std::result::Result<OpenSsl, ErrorStack> {
        let pair = |context: &mut SslContextBuilder| {
            context.set_certificate(&*X509::from_pem(cert)?)?;
            context.set_private_key(&*PKey::private_key_from_pem(key)?)?;
            context.set_session_cache_mode(SslSessionCacheMode::OFF);
            // Reads whole records, and the data after them, with one read.
            context.set_read_ahead(true);
            Ok::<_, ErrorStack>(())
        };
        let mut connector = SslConnector::builder(SslMethod::tls_client())?;
        pair(&mut connector)?;
        let mut store = X509StoreBuilder::new()?;
        for root in X509::stack_from_pem(roots)? {
            store.add_cert(root)?;
        }
        connector.set_cert_store(store.build());
        connector.set_alpn_protos(b"\x02h2")?;
        let mut acceptor = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server())?;
        pair(&mut acceptor)?;
        acceptor.set_num_tickets(0)?;
        acceptor.set_verify_callback(SslVerifyMode::PEER, |_, _| true);
        acceptor.set_alpn_select_callback(|_, offered| {
            openssl::ssl::select_next_proto(b"\x02h2", offered).ok_or(AlpnError::NOACK)
        });
        Ok(OpenSsl { connector: connector.build(), acceptor: acceptor.build() })
    }

    pub(crate) async fn connect(&self, host: &str, tcp: TcpStream) -> Result<Secured> {
        let ssl = self.connector.configure().and_then(|c| c.into_ssl(host)).map_err(|e| failed("TLS", e))?;
        let mut stream = SslStream::new(ssl, tcp).map_err(|e| failed("TLS", e))?;
        Pin::new(&mut stream).connect().await.map_err(|e| failed("TLS", e))?;
        secured(stream)
    }

    pub(crate) async fn accept(&self, tcp: TcpStream) -> Result<Secured> {
        let ssl = Ssl::new(self.acceptor.context()).map_err(|e| failed("TLS", e))?;
        let mut stream = SslStream::new(ssl, tcp).map_err(|e| failed("TLS", e))?;
        Pin::new(&mut stream).accept().await.map_err(|e| failed("TLS", e))?;
        secured(stream)
    }
}

fn secured(stream: SslStream<TcpStream>) -> Result<Secured> {
    let cert = stream.ssl().peer_certificate().map(|cert| cert.to_der()).transpose();
    let remote_cert_hash = cert.map_err(|e| failed("TLS", e))?.map(|der| sha256(&der));
    Ok(Secured { stream: Stream::OpenSsl(stream), remote_cert_hash })
}
