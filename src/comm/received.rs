//! A received message, with the means to answer its sender.

use super::bounded_queue::ByteSize;
use super::connection::ConnectionInfo;
use super::outbox::{Item, NotTaken};
use super::peer_entry::PeerEntry;
use super::state::CommState;
use crate::error::{Error, ErrorKind, Result};
use crate::message::{self, GossipMessage, SignedMessage};
use std::fmt;
use std::sync::{Arc, Weak};

/// A received message. Clones are the same message: the first acknowledgement counts, and further ones fail.
#[derive(Clone)]
pub struct ReceivedMessage {
    message: SignedMessage,
    origin: Arc<Origin>,
}

/// The connection on which messages arrive, and the way back to its peer.
pub(super) struct Origin {
    pub info: Arc<ConnectionInfo>,
    pub peer: Arc<PeerEntry>,
    pub comm: Weak<CommState>,
}

impl ReceivedMessage {
    pub(super) fn new(message: SignedMessage, origin: Arc<Origin>) -> Self {
        ReceivedMessage { message, origin }
    }

    /// Returns the message, with its envelope as received.
    pub fn message(&self) -> &SignedMessage {
        &self.message
    }

    /// Returns the sender: the peer at the other end of the connection, not necessarily the message's author.
    pub fn connection_info(&self) -> &ConnectionInfo {
        &self.origin.info
    }

    /// Sends an unsigned message back to the peer that sent this one. Does not block. Fails with [`ErrorKind::Full`] if
    /// the queue to the peer is full, and with [`ErrorKind::Disconnected`] if the peer is no longer connected.
    pub fn respond(&self, message: GossipMessage) -> Result<()> {
        self.send_back(SignedMessage::noop_sign(message)?)
            .map_err(|e| e.with_peer(self.peer_name()).with_step("respond"))
    }

    /// Acknowledges the message to its waiting sender: `None` means success, otherwise the text of the error. Does not
    /// block. Fails as [`respond`](Self::respond) does, and with [`ErrorKind::AlreadyAcknowledged`] if the message was
    /// already acknowledged. If sending fails, the call can be repeated.
    pub fn ack(&self, error: Option<&str>) -> Result<()> {
        let failed = |e: Error| e.with_peer(self.peer_name()).with_step("ack");
        let ack = SignedMessage::noop_sign(message::ack(self.message.nonce(), error.unwrap_or_default()))?;
        if self.message.set_acknowledged(true) {
            return Err(failed(Error::new(ErrorKind::AlreadyAcknowledged, "already acknowledged")));
        }
        self.send_back(ack).map_err(|e| {
            self.message.set_acknowledged(false);
            failed(e)
        })
    }

    fn peer_name(&self) -> String {
        format!("{} ({})", self.origin.info.endpoint, self.origin.info.id)
    }

    fn send_back(&self, message: SignedMessage) -> Result<()> {
        let comm = self.origin.comm.upgrade().filter(|comm| !comm.stopping.is_cancelled());
        let comm = comm.ok_or_else(|| Error::new(ErrorKind::Stopped, "comm is stopping"))?;
        comm.push(&self.origin.peer, Item::Message { message, tracker: None }).map_err(|(_, why)| match why {
            NotTaken::Full => Error::new(ErrorKind::Full, "the queue to the peer is full"),
            NotTaken::Closed => Error::new(ErrorKind::Disconnected, "the peer is no longer connected"),
        })
    }
}

impl ByteSize for ReceivedMessage {
    fn byte_size(&self) -> usize {
        self.message.wire_len()
    }
}

impl fmt::Debug for ReceivedMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReceivedMessage({:?} from {})", self.message, self.peer_name())
    }
}
