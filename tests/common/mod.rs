//! Shared code of the tests of the communication layer: fake cryptography, three forms of network, peers spoken by
//! hand.
//!
//! Every behaviour is a function over a [`Form`], which [`for_each_transport!`] turns into one test for each form: in memory;
//! with the feature `c-core` over gRPC's C core with mutual TLS; and with the feature `host-server` the same with the
//! service on a host's own server. Tests wait for events, never for time to pass; every
//! expected event gets [`PATIENCE`], which only a failing test uses up.
#![allow(dead_code, unused_imports)]

mod fake;
mod form;
#[cfg(feature = "c-core")]
pub mod grpc;
#[cfg(feature = "host-server")]
pub mod host;
#[cfg(any(feature = "c-core", feature = "http2"))]
pub mod http2;
pub mod live;
mod memory;
mod pulse;
mod raw;

pub use fake::{signature, World};
pub use form::{Form, Link, Node, Security, Served, LIMIT};
#[cfg(feature = "c-core")]
pub use grpc::Grpc;
#[cfg(feature = "host-server")]
pub use host::Host;
pub use memory::{cert, Memory};
pub use pulse::within as within_slack;
pub use raw::{conn_of, hash_of, Accepted, Raw, RawServer};

use fabric_gossip::comm::{ByteSize, Event, ReceivedMessage, RemotePeer, Subscription};
use fabric_gossip::crypto::{PeerIdentity, PkiId};
use fabric_gossip::message::{self, SignedMessage};
use fabric_gossip::{Error, ErrorKind};
pub use std::slice::from_ref;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Time limit for an expected event.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// One test per form for each of these functions.
#[macro_export]
macro_rules! for_each_transport {
    ($($name:ident),* $(,)?) => {
        mod memory {
            $(#[test]
            fn $name() {
                super::$name(&<$crate::common::Memory as $crate::common::Form>::new());
            })*
        }
        #[cfg(feature = "c-core")]
        mod grpc {
            $(#[test]
            fn $name() {
                super::$name(&<$crate::common::Grpc as $crate::common::Form>::new());
            })*
        }
        #[cfg(feature = "host-server")]
        mod host {
            $(#[test]
            fn $name() {
                super::$name(&<$crate::common::Host as $crate::common::Form>::new());
            })*
        }
    };
}

pub fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

pub fn id(name: &str) -> PkiId {
    PkiId::from(name.as_bytes())
}

pub fn identity(name: &str) -> PeerIdentity {
    PeerIdentity::from(name.as_bytes())
}

/// A data message with this nonce.
pub fn data(nonce: u64) -> SignedMessage {
    blob(nonce, 10)
}

/// A data message with this many bytes of content.
pub fn blob(nonce: u64, size: usize) -> SignedMessage {
    SignedMessage::noop_sign(message::data(nonce, "channel", nonce, vec![7; size])).unwrap()
}

/// Returns the next item, which must arrive.
pub fn next<T: ByteSize>(subscription: &Subscription<T>) -> T {
    subscription.recv_timeout(PATIENCE).expect("nothing came")
}

/// Returns the nonce of the next message, which must arrive.
pub fn next_nonce(inbox: &Subscription<ReceivedMessage>) -> u64 {
    next(inbox).message().nonce()
}

/// Returns the nonces of the next messages, which must arrive.
pub fn next_nonces(inbox: &Subscription<ReceivedMessage>, count: usize) -> Vec<u64> {
    (0..count).map(|_| next_nonce(inbox)).collect()
}

/// Nothing is in the subscription now.
pub fn assert_nothing<T: ByteSize + std::fmt::Debug>(subscription: &Subscription<T>) {
    if let Ok(Some(item)) = subscription.try_recv() {
        panic!("unexpected: {item:?}");
    }
}

/// Waits for the event that `pick` picks.
pub fn await_event<T>(events: &Subscription<Event>, mut pick: impl FnMut(&Event) -> Option<T>) -> T {
    let until = Instant::now() + PATIENCE;
    let mut seen = Vec::new();
    loop {
        match events.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(event) => match pick(&event) {
                Some(picked) => return picked,
                None => seen.push(event),
            },
            Err(e) => panic!("the event did not come ({e}), but these did: {seen:?}"),
        }
    }
}

/// Waits until this peer is connected: whether we dialled it.
pub fn await_connected(events: &Subscription<Event>, name: &str) -> bool {
    await_event(events, |e| match e {
        Event::Connected { info, dialled } if info.id == id(name) => Some(dialled.is_some()),
        _ => None,
    })
}

/// Waits until this peer is disconnected: the reason.
pub fn await_disconnected(events: &Subscription<Event>, name: &str) -> String {
    await_event(events, |e| match e {
        Event::Disconnected { info, reason } if info.id == id(name) => Some(reason.clone()),
        _ => None,
    })
}

/// Waits for a refusal: the error, and whether it was an inbound stream.
pub fn await_refused(events: &Subscription<Event>) -> (Arc<Error>, bool) {
    await_event(events, |e| match e {
        Event::Refused { error, inbound, .. } => Some((error.clone(), *inbound)),
        _ => None,
    })
}

/// Waits for a report of messages that were not written: the error, and their nonces.
pub fn await_undelivered(events: &Subscription<Event>) -> (Arc<Error>, Vec<u64>) {
    await_event(events, |e| match e {
        Event::Undelivered { error, messages, written: false, .. } => {
            Some((error.clone(), messages.iter().map(SignedMessage::nonce).collect()))
        }
        _ => None,
    })
}

/// Polls a condition that no event reports until it is true.
pub fn eventually(what: &str, mut so: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !so() {
        assert!(Instant::now() < until, "not in time: {what}");
        std::thread::park_timeout(ms(1));
    }
}

/// Sends large messages to a peer that does not read until one finds no room for a while: how many were accepted.
pub fn fill(node: &Node, peer: &RemotePeer) -> u64 {
    (1..10_000)
        .find(|&nonce| match node.send_timeout(&blob(nonce, 64 << 10), ms(500), from_ref(peer)) {
            Ok(()) => false,
            Err(e) => {
                assert_eq!(e.not_sent[0].error.kind(), ErrorKind::Full, "{e}");
                true
            }
        })
        .expect("the queue is never full")
        - 1
}

/// Stops the node. Everything it accepted was either written or reported undelivered: the numbers of both.
pub fn stop_and_account(node: &Node, events: &Subscription<Event>, accepted: u64) -> (u64, u64) {
    node.stop();
    let undelivered: usize = events
        .iter()
        .map(|event| match event {
            Event::Undelivered { messages, written: false, .. } => messages.len(),
            _ => 0,
        })
        .sum();
    assert_eq!(events.missed(), 0, "too many events to account for");
    let (written, undelivered) = (node.metrics().gossip_comm_messages_sent, undelivered as u64);
    assert_eq!(written + undelivered, accepted, "written {written}, undelivered {undelivered}");
    (written, undelivered)
}
