//! The connection message: the first message of each side of a stream.

use crate::crypto::{PeerIdentity, PkiId};
use crate::error::{Error, ErrorKind, Result};
use crate::message::{self, Content, SignedMessage};
use crate::transport::StreamInfo;
use bytes::Bytes;
use sha2::{Digest, Sha256};

/// Maximum size of the first message in bytes. A connection message carries one certificate, so a larger message is
/// rejected without being decoded.
pub const MAX_CONN_MESSAGE: usize = 256 << 10;

/// The other side's connection message: decoded, but neither its identity nor its signature is verified.
#[derive(Debug)]
pub struct ConnMessage {
    /// The message as received, with its signature.
    pub message: SignedMessage,
    /// The claimed PKI-ID.
    pub pki_id: PkiId,
    /// The claimed identity.
    pub identity: PeerIdentity,
    /// The hash of the TLS certificate that the other side claims to use; empty without TLS.
    pub tls_hash: Bytes,
    /// Whether the other side only requests our identity.
    pub probe: bool,
}

impl ConnMessage {
    /// Returns our connection message for a stream, signed by `signer`.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`] if the other side has presented no TLS certificate; the signer's error.
    pub fn sign(
        pki_id: &PkiId,
        identity: &PeerIdentity,
        probe: bool,
        stream: &StreamInfo,
        signer: impl FnOnce(&[u8]) -> Result<Vec<u8>>,
    ) -> Result<SignedMessage> {
        if stream.tls && stream.remote_cert.is_none() {
            return Err(Error::new(ErrorKind::Refused, "no TLS certificate"));
        }
        let local_hash = stream.local_cert.as_deref().map(cert_hash).unwrap_or_default();
        let ours = message::conn(pki_id, identity, local_hash, probe);
        SignedMessage::sign(ours, signer)
            .map_err(|e| Error::new(e.kind(), format!("cannot sign our connection message: {e}")).with_source(e))
    }

    /// Decodes a received message.
    ///
    /// # Errors
    /// [`ErrorKind::Protocol`] if it is malformed, has another type, or names no PKI-ID.
    pub fn decode(wire: Bytes) -> Result<Self> {
        let message = SignedMessage::decode(wire)?;
        let Some(Content::Conn(conn)) = message.content() else {
            return Err(Error::new(ErrorKind::Protocol, "wrong type"));
        };
        if conn.pki_id.is_empty() {
            return Err(Error::new(ErrorKind::Protocol, "no PKI-ID"));
        }
        // A copy: tables of peers keep the ID longer than the connection, and a slice would keep the whole message
        // alive.
        let pki_id = PkiId::from(&conn.pki_id[..]);
        let (identity, tls_hash) = (PeerIdentity::new(conn.identity.clone()), conn.tls_cert_hash.clone());
        let probe = conn.probe;
        Ok(ConnMessage { message, pki_id, identity, tls_hash, probe })
    }

    /// Checks that the message names the TLS certificate that the other side has presented on this stream.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`] with Fabric's text.
    pub fn check_binding(&self, stream: &StreamInfo) -> Result<()> {
        let presented = stream.remote_cert.as_deref().map(cert_hash).filter(|_| stream.tls);
        match presented {
            Some(presented) if presented != self.tls_hash => {
                let (expected, got) = (go_bytes(&presented), go_bytes(&self.tls_hash));
                let text = format!("Expected {expected} in remote hash of TLS cert, but got {got}");
                Err(Error::new(ErrorKind::Refused, text))
            }
            _ => Ok(()),
        }
    }
}

/// Returns the SHA-256 hash of a certificate's DER.
fn cert_hash(der: &[u8]) -> Bytes {
    Bytes::copy_from_slice(&Sha256::digest(der))
}

/// Formats bytes as Go prints a byte slice, as in Fabric's text.
fn go_bytes(bytes: &[u8]) -> String {
    let numbers: Vec<_> = bytes.iter().map(u8::to_string).collect();
    format!("[{}]", numbers.join(" "))
}
