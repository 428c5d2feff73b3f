//! The mutual authentication at the start of a stream. Each side sends a signed connection message that contains its
//! identity and binds it to its TLS certificate, and checks the other side's message. Fabric's
//! `authenticateRemotePeer`.

use super::connection::{AuthInfo, ConnectionInfo};
use crate::crypto::{PeerIdentity, PkiId};
use crate::error::{Error, ErrorKind, Result};
use crate::identity::IdentityMapper;
use crate::message::{self, Content, SignedMessage};
use crate::transport::{Stream, StreamEnd, StreamInfo};
use bytes::Bytes;
use sha2::{Digest, Sha256};
use std::time::Duration;

/// Maximum size of the first message. A connection message carries one certificate, so a larger message is rejected
/// without being decoded.
const MAX_CONN_MESSAGE: usize = 256 << 10;

/// Our side's data for a handshake.
pub(super) struct Handshaker {
    pub pki_id: PkiId,
    pub identity: PeerIdentity,
    pub mapper: IdentityMapper,
    pub conn_timeout: Duration,
}

/// Result of a handshake.
#[derive(Clone, Debug)]
pub struct Handshake {
    /// The peer that answered.
    pub info: ConnectionInfo,
    /// Whether the peer has confirmed that it accepts us. If a peer refuses, the handshake fails; if it does neither
    /// within the connection timeout, this is false.
    pub confirmed: bool,
}

/// The authenticated other side.
pub(super) struct Authenticated {
    pub info: ConnectionInfo,
    /// Whether the other side only requests our identity: the stream ends here.
    pub probe: bool,
}

/// Our signed connection message for one stream.
pub(super) struct Ours(SignedMessage);

impl Handshaker {
    /// Authenticates the other end of `stream` within the connection timeout: sends our connection message, then reads
    /// the other side's.
    pub fn authenticate(&self, stream: &dyn Stream, probe: bool) -> Result<Authenticated> {
        let ours = self.ours(stream, probe)?;
        self.introduce(stream, &ours)?;
        self.their_message(stream)
    }

    /// Signs our connection message for this stream.
    pub fn ours(&self, stream: &dyn Stream, probe: bool) -> Result<Ours> {
        self.sign(stream, probe).map_err(|e| on(stream, e))
    }

    fn sign(&self, stream: &dyn Stream, probe: bool) -> Result<Ours> {
        let StreamInfo { tls, remote_cert, local_cert, .. } = stream.info();
        if *tls && remote_cert.is_none() {
            return Err(Error::new(ErrorKind::Refused, "no TLS certificate"));
        }
        let local_hash = local_cert.as_deref().map(cert_hash).unwrap_or_default();
        let ours = message::conn(&self.pki_id, &self.identity, local_hash, probe);
        let ours = SignedMessage::sign(ours, |bytes| self.mapper.sign(bytes))
            .map_err(|e| Error::new(e.kind(), format!("cannot sign our connection message: {e}")).with_source(e))?;
        Ok(Ours(ours))
    }

    /// Sends our connection message, within the connection timeout.
    pub fn introduce(&self, stream: &dyn Stream, ours: &Ours) -> Result<()> {
        let send = || {
            stream.start_send(ours.0.wire()).map_err(ended_early)?;
            // A peer that does not accept our message must not delay us longer than a peer that does not answer it.
            if !stream.wait_sent(Some(self.conn_timeout)).map_err(ended_early)? {
                stream.cancel();
                let text = format!("timed out sending our connection message to {}", stream.info().remote_addr);
                return Err(Error::new(ErrorKind::Timeout, text));
            }
            Ok(())
        };
        send().map_err(|e| on(stream, e))
    }

    /// Reads and checks the other side's connection message if it arrives within `wait`; `None` if it does not.
    pub fn first_word(&self, stream: &dyn Stream, wait: Duration) -> Result<Option<Authenticated>> {
        let theirs = stream.recv_limited(wait, MAX_CONN_MESSAGE).map_err(|end| on(stream, ended_early(end)))?;
        theirs.map(|wire| self.check(stream, wire)).transpose().map_err(|e| on(stream, e))
    }

    /// Reads and checks the other side's connection message, within the connection timeout.
    pub fn their_message(&self, stream: &dyn Stream) -> Result<Authenticated> {
        self.first_word(stream, self.conn_timeout)?.ok_or_else(|| {
            let text = format!("timed out waiting for connection message from {}", stream.info().remote_addr);
            on(stream, Error::new(ErrorKind::Timeout, text))
        })
    }

    fn check(&self, stream: &dyn Stream, wire: Bytes) -> Result<Authenticated> {
        let StreamInfo { tls, remote_cert, .. } = stream.info();
        let remote_hash = remote_cert.as_deref().map(cert_hash);
        let theirs = SignedMessage::decode(wire)?;
        let Some(Content::Conn(conn)) = theirs.content() else {
            return Err(Error::new(ErrorKind::Protocol, "wrong type"));
        };
        if conn.pki_id.is_empty() {
            return Err(Error::new(ErrorKind::Protocol, "no PKI-ID"));
        }
        // A copy: tables of peers keep the ID longer than the connection, and a slice would keep the whole message
        // alive.
        let id = PkiId::from(&conn.pki_id[..]);
        let identity = PeerIdentity::new(conn.identity.clone());
        self.mapper.put(&id, &identity)?;
        if let Some(presented) = remote_hash.filter(|presented| *tls && *presented != conn.tls_cert_hash) {
            let (expected, got) = (go_bytes(&presented), go_bytes(&conn.tls_cert_hash));
            let text = format!("Expected {expected} in remote hash of TLS cert, but got {got}");
            return Err(Error::new(ErrorKind::Refused, text));
        }
        theirs.verify(&identity, |identity: &PeerIdentity, signature: &[u8], signed: &[u8]| {
            let id = self.mapper.pki_id_of(identity).unwrap_or_default();
            self.mapper.verify(&id, signature, signed)
        })?;
        let info = ConnectionInfo {
            id,
            identity,
            endpoint: stream.info().remote_addr.clone(),
            auth: AuthInfo {
                signed_data: theirs.envelope().payload.clone(),
                signature: theirs.envelope().signature.clone(),
            },
        };
        Ok(Authenticated { info, probe: conn.probe })
    }
}

fn on(stream: &dyn Stream, error: Error) -> Error {
    error.with_step("handshake").with_peer(&stream.info().remote_addr)
}

fn too_large(how_large: &str) -> Error {
    let text = format!("connection message {how_large}; at most {MAX_CONN_MESSAGE} bytes are accepted");
    Error::new(ErrorKind::TooLarge, text)
}

/// Returns the error for a stream that ended before the other side authenticated: the reason is the other side's
/// status. (Fabric waits for its timeout.)
fn ended_early(end: StreamEnd) -> Error {
    match end {
        StreamEnd::Remote(status) if status.code != 0 => Error::new(ErrorKind::Refused, status.message),
        StreamEnd::Local => Error::new(ErrorKind::Stopped, "closed by us during the handshake"),
        StreamEnd::TooLarge(Some(size)) => too_large(&format!("of {size} bytes")),
        StreamEnd::TooLarge(None) => too_large("that has not ended yet"),
        end => Error::new(ErrorKind::Disconnected, format!("the stream ended during the handshake: {end}")),
    }
}

/// Returns the SHA-256 hash of a certificate's DER.
pub(super) fn cert_hash(der: &[u8]) -> Bytes {
    Bytes::copy_from_slice(&Sha256::digest(der))
}

/// Formats bytes as Go prints a byte slice, as in Fabric's text.
fn go_bytes(bytes: &[u8]) -> String {
    let numbers: Vec<_> = bytes.iter().map(u8::to_string).collect();
    format!("[{}]", numbers.join(" "))
}
