//! What happens to connections and to messages after they were accepted.

use super::bounded_queue::ByteSize;
use super::connection::ConnectionInfo;
use super::demux::{Batch, Demux, Subscription};
use super::RemotePeer;
use crate::clock::Clock;
use crate::config::{SubscriptionOptions, WhenFull};
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

/// The one stream of events, and Fabric's two streams of PKI-IDs, which are views of it with queues of their own: a flood of
/// other events does not push a PKI-ID out.
pub(super) struct EventStream {
    all: Demux<Event>,
    presumed_dead: Demux<PkiId>,
    identity_switch: Demux<PkiId>,
}

/// The number of PKI-IDs that wait for a slow reader of a view.
const VIEW_CAPACITY: usize = 100;

impl EventStream {
    /// Creates a stream without subscriptions.
    pub fn new(clock: &Arc<dyn Clock>) -> Self {
        EventStream {
            all: Demux::new(clock.clone()),
            presumed_dead: Demux::new(clock.clone()),
            identity_switch: Demux::new(clock.clone()),
        }
    }

    /// Publishes an event, to the view first. Does not wait for a reader.
    pub fn publish(&self, event: &Event) {
        match event {
            Event::PresumedDead { pki_id } => drop(self.presumed_dead.publish(pki_id)),
            Event::IdentitySwitch { expected, .. } => drop(self.identity_switch.publish(expected)),
            _ => {}
        }
        self.all.publish(event);
    }

    /// Starts a batch, for events that are in no view.
    pub fn batch(&self) -> Batch<'_, Event> {
        self.all.batch()
    }

    /// Subscribes to all events.
    pub fn subscribe(&self, capacity: usize) -> Subscription<Event> {
        self.all.subscribe_all(dropping(capacity))
    }

    /// Subscribes to the PKI-IDs of [`Event::PresumedDead`].
    pub fn presumed_dead(&self) -> Subscription<PkiId> {
        self.presumed_dead.subscribe_all(dropping(VIEW_CAPACITY))
    }

    /// Subscribes to the expected PKI-IDs of [`Event::IdentitySwitch`].
    pub fn identity_switch(&self) -> Subscription<PkiId> {
        self.identity_switch.subscribe_all(dropping(VIEW_CAPACITY))
    }

    /// Ends all subscriptions.
    pub fn close(&self) {
        self.presumed_dead.close();
        self.identity_switch.close();
        self.all.close();
    }
}

fn dropping(capacity: usize) -> SubscriptionOptions {
    SubscriptionOptions::default().capacity(capacity).when_full(WhenFull::Drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;

    #[test]
    fn the_views_have_the_ids_of_their_events_whatever_else_comes() {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let stream = EventStream::new(&clock);
        let (all, dead, switched) = (stream.subscribe(2), stream.presumed_dead(), stream.identity_switch());
        let [a, b] = ["a", "b"].map(|name| PkiId::from(name.as_bytes()));
        stream.publish(&Event::PresumedDead { pki_id: a.clone() });
        let fail = || Event::OutOfThreads { error: Arc::new(Error::new(crate::ErrorKind::Full, "no thread")) };
        (0..1000).for_each(|_| stream.publish(&fail()));
        stream.publish(&Event::IdentitySwitch { expected: b.clone(), actual: a.clone() });
        assert_eq!((all.len(), all.missed()), (2, 1000));
        assert_eq!((dead.recv().unwrap(), switched.recv().unwrap()), (a, b));
        stream.close();
        assert!(dead.recv().is_err() && switched.recv().is_err());
    }
}
