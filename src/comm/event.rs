//! Events about connections and accepted messages.

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

/// An event. Received from [`Comm::events`](super::Comm::events).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// A peer was connected that was not connected before.
    Connected {
        /// The peer.
        info: Arc<ConnectionInfo>,
        /// The endpoint that we dialled; `None` if the peer dialled us.
        dialled: Option<String>,
    },
    /// A peer is no longer connected. Messages still owed to it are reported by [`Event::Undelivered`], unless an
    /// immediate redial succeeds.
    Disconnected {
        /// The peer.
        info: Arc<ConnectionInfo>,
        /// Human-readable reason.
        reason: String,
    },
    /// Authentication failed: either we refused an inbound peer, or a peer refused us after the handshake.
    Refused {
        /// The socket address or the dialled endpoint.
        endpoint: String,
        /// The peer, if known at that point.
        pki_id: Option<PkiId>,
        /// Whether the stream was inbound.
        inbound: bool,
        /// The failed check, or the peer's message.
        error: Arc<Error>,
    },
    /// Dialling a peer failed.
    DialFailed {
        /// The peer, as the caller addressed it.
        peer: RemotePeer,
        /// The step that failed and the reason.
        error: Arc<Error>,
    },
    /// Accepted messages will not be delivered: they were not written, or the peer refused us after they were written.
    Undelivered {
        /// The peer.
        peer: RemotePeer,
        /// The reason.
        error: Arc<Error>,
        /// The messages, in order.
        messages: Vec<SignedMessage>,
        /// Whether the messages were written to a new stream which the peer then ended with an error, before it had
        /// shown that it accepts us. A peer that refuses our handshake has read none of them; a peer that ends the
        /// stream for another reason may have read the first ones.
        written: bool,
    },
    /// A connection ended, and it is unknown whether the peer has read everything written to it. Either we gave the
    /// connection up because the peer did not end it in time or has reconnected, or the peer cancelled it before
    /// sending anything, or the peer refused us after more messages than [`Undelivered`](Self::Undelivered) can hold.
    Unconfirmed {
        /// The peer.
        info: Arc<ConnectionInfo>,
        /// The reason why the connection ended.
        reason: String,
        /// The number of messages written to it; the last of them may be lost.
        messages: u64,
    },
    /// A thread could not be started. The operation that needed it failed with the same error. Further failures within
    /// 100 ms are not reported.
    OutOfThreads {
        /// The cause, with the number of threads and the limit.
        error: Arc<Error>,
    },
    /// A peer of the same organisation answered with another identity than expected: the expected one is out of date.
    IdentitySwitch {
        /// The expected PKI-ID.
        expected: PkiId,
        /// The actual PKI-ID.
        actual: PkiId,
    },
    /// A peer could not be reached for a send, or not reached again after its connection was lost.
    PresumedDead {
        /// The peer.
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

/// The stream of all events, and Fabric's two streams of PKI-IDs. Those two are views of the event stream with their
/// own queues, so a flood of other events cannot displace a PKI-ID.
pub(super) struct EventStream {
    all: Demux<Event>,
    presumed_dead: Demux<PkiId>,
    identity_switch: Demux<PkiId>,
}

/// Capacity of the queue of PKI-IDs of a view.
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

    /// Publishes an event, first to the view. Does not wait for readers.
    pub fn publish(&self, event: &Event) {
        match event {
            Event::PresumedDead { pki_id } => drop(self.presumed_dead.publish(pki_id)),
            Event::IdentitySwitch { expected, .. } => drop(self.identity_switch.publish(expected)),
            _ => {}
        }
        self.all.publish(event);
    }

    /// Starts a batch, for events that appear in no view.
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
