//! What happens to connections and to messages after they were accepted.

use super::bounded_queue::ByteSize;
use super::connection::ConnectionInfo;
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
    /// Messages that had been accepted will not be delivered: they were not written, or the peer refused us after that.
    Undelivered {
        /// To whom.
        peer: RemotePeer,
        /// Why.
        error: Arc<Error>,
        /// The messages, in order.
        messages: Vec<SignedMessage>,
        /// Whether they had been written to a new stream, which the peer then ended with an error before it had shown that it
        /// accepts us. A peer that refuses our handshake has read none of them; one that ends the stream for another reason
        /// may have read the first ones.
        written: bool,
    },
    /// A connection ended without our knowing whether the peer has read everything that was written to it: we gave it up
    /// because the peer did not end it in time or has connected anew, the peer cancelled it before it had sent anything, or
    /// the peer refused us after more than [`Undelivered`](Self::Undelivered) can hold.
    Unconfirmed {
        /// The peer.
        info: Arc<ConnectionInfo>,
        /// Why the connection ended.
        reason: String,
        /// The number of messages that were written to it; the last ones of them may be lost.
        messages: u64,
    },
    /// A thread could not be started. What was to be done on it has failed with the same error; further failures within a
    /// tenth of a second are not told.
    OutOfThreads {
        /// The cause, with the number of threads and the limit.
        error: Arc<Error>,
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

impl ByteSize for Event {
    fn byte_size(&self) -> usize {
        match self {
            Event::Undelivered { messages, .. } => messages.iter().map(SignedMessage::wire_len).sum(),
            _ => 0,
        }
    }
}

impl ByteSize for PkiId {}
