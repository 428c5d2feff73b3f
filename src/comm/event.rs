//! What happens to connections and to messages after they were accepted.

use super::connection::ConnectionInfo;
use super::mailbox::Weigh;
use super::RemotePeer;
use crate::crypto::PkiId;
use crate::error::Error;
use crate::message::SignedMessage;
use std::sync::Arc;

/// Something that happened. Received from [`Comm::events`](super::Comm::events).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// A peer that was not connected is.
    Connected {
        /// Who.
        info: Arc<ConnectionInfo>,
        /// The endpoint that we dialled; `None` if the peer dialled us.
        dialled: Option<String>,
    },
    /// A peer is not connected any more. What it was still owed is reported by [`Event::Undelivered`], unless redialling
    /// it at once succeeds.
    Disconnected {
        /// Who.
        info: Arc<ConnectionInfo>,
        /// Why, for a person.
        reason: String,
    },
    /// An authentication failed: an inbound peer's, which we refused, or our own, which a peer refused after the fact.
    Refused {
        /// The socket address or the dialled endpoint.
        endpoint: String,
        /// Who it was, if it got so far.
        pki_id: Option<PkiId>,
        /// Whether it was an inbound stream.
        inbound: bool,
        /// Which check failed, or what the peer said.
        error: Arc<Error>,
    },
    /// A peer could not be connected to.
    DialFailed {
        /// As it was named to us.
        peer: RemotePeer,
        /// At which step, and why.
        error: Arc<Error>,
    },
    /// Messages that had been accepted were not written, and will not be.
    Undelivered {
        /// To whom.
        peer: RemotePeer,
        /// Why.
        error: Arc<Error>,
        /// The messages, in order.
        messages: Vec<SignedMessage>,
    },
    /// A peer answered with another identity of the same organisation than was expected: the expected one is out of date.
    IdentitySwitch {
        /// The expected PKI-ID.
        expected: PkiId,
        /// The one that it has.
        actual: PkiId,
    },
    /// A peer could not be reached for a send, or not reached again after its connection was lost.
    PresumedDead {
        /// Who.
        pki_id: PkiId,
    },
}

impl Weigh for Event {
    fn weight(&self) -> usize {
        match self {
            Event::Undelivered { messages, .. } => messages.iter().map(SignedMessage::wire_len).sum(),
            _ => 0,
        }
    }
}

impl Weigh for PkiId {}
