//! The mutual authentication at the start of a stream. Each side sends a signed connection message that contains its
//! identity and binds it to its TLS certificate, and checks the other side's message. Fabric's
//! `authenticateRemotePeer`.

use super::conn_message::{ConnMessage, MAX_CONN_MESSAGE};
use super::connection::{AuthInfo, ConnectionInfo};
use crate::crypto::{PeerIdentity, PkiId};
use crate::error::{Error, ErrorKind, Result};
use crate::identity::IdentityMapper;
use crate::message::SignedMessage;
use crate::transport::{Stream, StreamEnd};
use bytes::Bytes;
use std::time::Duration;

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
        let signed =
            ConnMessage::sign(&self.pki_id, &self.identity, probe, stream.info(), |bytes| self.mapper.sign(bytes));
        signed.map(Ours).map_err(|e| on(stream, e))
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
        let theirs = ConnMessage::decode(wire)?;
        self.mapper.put(&theirs.pki_id, &theirs.identity)?;
        theirs.check_binding(stream.info())?;
        theirs.message.verify(&theirs.identity, |identity: &PeerIdentity, signature: &[u8], signed: &[u8]| {
            let id = self.mapper.pki_id_of(identity).unwrap_or_default();
            self.mapper.verify(&id, signature, signed)
        })?;
        let envelope = theirs.message.envelope();
        let auth = AuthInfo { signed_data: envelope.payload.clone(), signature: envelope.signature.clone() };
        let endpoint = stream.info().remote_addr.clone();
        let info = ConnectionInfo { id: theirs.pki_id, identity: theirs.identity, endpoint, auth };
        Ok(Authenticated { info, probe: theirs.probe })
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
