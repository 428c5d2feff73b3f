//! A refusal arrives as the refusal: for acknowledged sends, tracked sends and connects, as soon as the peer has said it.
//!
//! `FABRIC_GOSSIP_REFUSALS` sets how often each is tried over each form of network (20).

use crate::common::*;
use fabric_gossip::comm::{Event, RemotePeer};
use fabric_gossip::message;
use fabric_gossip::{Error, ErrorKind};
use parking_lot::Mutex;
use std::time::{Duration, Instant};

for_each_transport!(
    an_acknowledged_send_to_a_peer_that_refuses_us_fails_with_its_reason,
    a_tracked_send_to_a_peer_that_refuses_us_fails_with_its_reason,
    connecting_to_a_peer_that_refuses_us_fails_with_its_reason,
    connecting_on_a_connection_that_is_then_refused_fails_with_its_reason,
    a_silent_peer_is_connected_and_not_confirmed,
);

/// More than that has no result to wait for but a timeout.
const LIMIT_OF_A_CALL: Duration = Duration::from_secs(20);

/// How much later than the peer's status a result may come. (Measured without load: below 10 ms.)
const AFTER_THE_STATUS: Duration = Duration::from_millis(200);

fn times() -> usize {
    std::env::var("FABRIC_GOSSIP_REFUSALS").map_or(20, |text| text.parse().expect("a number"))
}

/// Asks a peer that has revoked us, repeatedly, and compares the errors, and their times, with the peer's status.
fn refused(net: &impl Form, ask: impl Fn(&Node, &RemotePeer) -> Option<Error>) {
    let [node, other] = ["node", "other"].map(|name| net.node(name));
    net.world().revoke("node");
    let theirs = other.events();
    let last_status = Mutex::new(Instant::now());
    let mut longest = Duration::ZERO;
    std::thread::scope(|scope| {
        let watching = scope.spawn(|| {
            for event in theirs.iter() {
                if matches!(event, Event::Refused { inbound: true, .. }) {
                    *last_status.lock() = Instant::now();
                }
            }
        });
        for _ in 0..times() {
            let asked = Instant::now();
            let error = ask(&node, &other.peer()).expect("it was refused");
            let at = Instant::now();
            assert_eq!((error.kind(), error.message()), (ErrorKind::Refused, "revoked"), "{error}");
            // A request during the handling of a refusal gets that refusal, without its own status.
            let status = (*last_status.lock()).max(asked);
            longest = longest.max(at.saturating_duration_since(status));
            eventually("the refused connection is over", || node.connection_count() == 0);
        }
        other.stop();
        watching.join().unwrap();
    });
    println!("longest wait after the peer's status: {longest:?}");
    assert!(longest < AFTER_THE_STATUS, "{longest:?}");
}

fn an_acknowledged_send_to_a_peer_that_refuses_us_fails_with_its_reason(net: &impl Form) {
    refused(net, |node, peer| {
        let message = message::data(0, "channel", 1, "block");
        let results = node.send_with_ack(message, LIMIT_OF_A_CALL, 1, from_ref(peer));
        results.first().and_then(|result| result.error.as_ref()).map(copy)
    });
}

fn a_tracked_send_to_a_peer_that_refuses_us_fails_with_its_reason(net: &impl Form) {
    refused(net, |node, peer| {
        let message = message::data(0, "channel", 1, "block");
        node.send_tracked(message, LIMIT_OF_A_CALL, peer).unwrap().finish(LIMIT_OF_A_CALL).error
    });
}

fn connecting_to_a_peer_that_refuses_us_fails_with_its_reason(net: &impl Form) {
    refused(net, |node, peer| node.connect(peer, LIMIT_OF_A_CALL).err());
}

fn connecting_on_a_connection_that_is_then_refused_fails_with_its_reason(net: &impl Form) {
    // The entry is dialled for the message; the verdict on its stream applies to callers of connect as well.
    refused(net, |node, peer| {
        node.send(&data(1), from_ref(peer)).unwrap();
        node.connect(peer, LIMIT_OF_A_CALL).err()
    });
}

fn a_silent_peer_is_connected_and_not_confirmed(net: &impl Form) {
    let node = net.node_with("node", |config| config.conn_timeout = ms(300));
    let server = RawServer::new(net, "server");
    let peer = RemotePeer::new(&server.endpoint);
    let events = node.events();
    node.send(&data(1), from_ref(&peer)).unwrap();
    let accepted = server.welcome();
    await_event(&events, |event| matches!(event, Event::Connected { .. }).then_some(()));
    let found = node.connect(&peer, LIMIT_OF_A_CALL).unwrap();
    assert_eq!((found.info.id, found.confirmed), (id("server"), false));
    accepted.send(&data(2));
    eventually("what it says confirms it", || node.metrics().gossip_comm_messages_received > 0);
    assert_eq!(accepted.recv().nonce(), 1);
}

fn copy(error: &Error) -> Error {
    Error::new(error.kind(), error.message())
}
