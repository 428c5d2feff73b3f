//! Limits on inbound streams, and the metrics that count them.

use crate::common::*;
use fabric_gossip::comm::{Event, RemotePeer};
use fabric_gossip::message;
use fabric_gossip::metrics::{DropReason, Refusal};
use fabric_gossip::transport::{Status, StreamEnd};
use fabric_gossip::ErrorKind;
use std::thread;

for_each_transport!(
    a_stream_too_many_from_one_address_is_refused,
    a_stream_too_many_of_one_peer_is_refused_and_the_others_live_on,
    every_refusal_is_counted_by_its_limit,
    a_flood_of_huge_first_messages_is_refused_and_disturbs_nobody,
    failed_dials_are_counted_by_kind,
    failed_handshakes_are_counted_by_kind,
    a_refusal_by_the_peer_is_counted,
    a_lost_connection_is_counted_and_so_is_its_renewal,
    what_waits_is_counted_until_it_is_written,
    acknowledgements_are_timed,
    drops_are_counted_by_peer_and_reason,
    identities_threads_and_expiry_are_told,
);

fn exhausted(text: &str) -> StreamEnd {
    StreamEnd::Remote(Status { code: 8, message: text.into() })
}

/// A stream that has been let in, and has not authenticated.
fn silent(net: &impl Form, name: &str, node: &Node) -> Raw {
    let raw = Raw::dial(net, name, &node.endpoint);
    conn_of(&raw.recv());
    raw
}

fn a_stream_too_many_from_one_address_is_refused(net: &impl Form) {
    let node = net.node_with("node", |config| config.max_connections_per_address = 2);
    let events = node.events();
    let first = Raw::connect(net, "first", &node.endpoint);
    await_connected(&events, "first");
    let second = silent(net, "second", &node);
    assert_eq!(node.metrics().gossip_comm_unauthenticated, 1);
    let third = Raw::dial(net, "third", &node.endpoint);
    assert_eq!(third.read_to_end(), (vec![], exhausted("too many connections from this address")));
    assert_eq!(node.metrics().inbound_refusals, [(Refusal::TooManyFromAddress, 1)]);
    // Those that are in are not disturbed, and make room when they go.
    let inbox = node.inbox();
    first.send(&data(1));
    assert_eq!(next_nonce(&inbox), 1);
    second.stream.cancel();
    eventually("there is room again", || node.metrics().gossip_comm_unauthenticated == 0);
    let _third = Raw::connect(net, "third", &node.endpoint);
    await_connected(&events, "third");
}

fn a_stream_too_many_of_one_peer_is_refused_and_the_others_live_on(net: &impl Form) {
    let node = net.node_with("node", |config| config.max_streams_per_identity = 1);
    let (events, inbox) = (node.events(), node.inbox());
    let first = Raw::connect(net, "client", &node.endpoint);
    await_connected(&events, "client");
    let second = Raw::connect(net, "client", &node.endpoint);
    assert_eq!(second.end(), exhausted("too many connections of this peer"));
    assert_eq!(node.metrics().inbound_refusals, [(Refusal::TooManyOfIdentity, 1)]);
    first.send(&data(1));
    assert_eq!(next_nonce(&inbox), 1);
    let _other = Raw::connect(net, "other", &node.endpoint);
    await_connected(&events, "other");
}

fn every_refusal_is_counted_by_its_limit(net: &impl Form) {
    let node = net.node_with("node", |config| {
        config.max_unauthenticated = 1;
        config.max_connections = 1;
    });
    let events = node.events();
    let _connected = Raw::connect(net, "first", &node.endpoint);
    await_connected(&events, "first");
    let beyond = Raw::connect(net, "second", &node.endpoint);
    assert_eq!(beyond.end(), exhausted("too many connections"));
    let _silent = silent(net, "third", &node);
    assert_eq!(Raw::dial(net, "fourth", &node.endpoint).end(), exhausted("too many unauthenticated streams"));
    let metrics = node.metrics();
    let counted = [(Refusal::TooManyUnauthenticated, 1), (Refusal::TooManyConnections, 1)];
    assert_eq!((metrics.inbound_refusals, metrics.gossip_comm_inbound_refusals), (counted.to_vec(), 2));
    assert_eq!(metrics.gossip_comm_handshake_failures, 0);
}

fn a_flood_of_huge_first_messages_is_refused_and_disturbs_nobody(net: &impl Form) {
    const EACH: u64 = 8;
    let node = net.node("node");
    let (events, inbox) = (node.events(), node.inbox());
    let friend = Raw::connect(net, "friend", &node.endpoint);
    await_connected(&events, "friend");
    thread::scope(|scope| {
        for attacker in ["first", "second", "third"] {
            let node = &node;
            scope.spawn(move || {
                for _ in 0..EACH {
                    let raw = Raw::dial(net, attacker, &node.endpoint);
                    raw.send(&blob(0, 1 << 20));
                    let text = raw.refusal();
                    assert!(text.starts_with("connection message of ") && text.ends_with(" are accepted"), "{text}");
                }
            });
        }
        for nonce in 1..=50 {
            friend.send(&data(nonce));
            assert_eq!(next_nonce(&inbox), nonce);
        }
    });
    let metrics = node.metrics();
    assert_eq!(metrics.handshake_failures, [(ErrorKind::TooLarge, 3 * EACH)]);
    assert_eq!((metrics.gossip_comm_connections, metrics.gossip_comm_disconnects), (1, 0));
    eventually("all of them are gone", || node.metrics().gossip_comm_unauthenticated == 0);
}

fn failed_dials_are_counted_by_kind(net: &impl Form) {
    let [node, other] = ["node", "other"].map(|name| net.node(name));
    let (events, refused) = (node.events(), net.refused());
    node.send(&data(1), &[RemotePeer::new(&refused.endpoint)]).unwrap();
    await_undelivered(&events);
    net.world().set_org("other", "elsewhere");
    node.identity_mapper().put(&id("expected"), &identity("expected")).unwrap();
    node.send(&data(2), &[RemotePeer::with_id(&other.endpoint, id("expected"))]).unwrap();
    await_undelivered(&events);
    let metrics = node.metrics();
    let kinds: Vec<_> = metrics.dial_failures.iter().map(|(kind, _)| *kind).collect();
    assert_eq!(kinds, [ErrorKind::Unreachable, ErrorKind::Refused]);
    // A dial can fail before the message that it is for is queued: then the message asks for another.
    let failures = metrics.dial_failures.iter().map(|(_, count)| count).sum();
    assert!(metrics.gossip_comm_dials >= 2);
    assert_eq!((metrics.gossip_comm_dials, metrics.gossip_comm_dial_failures), (failures, failures));
    assert_eq!((metrics.gossip_comm_handshakes, metrics.gossip_comm_reconnects), (0, 0));
}

fn failed_handshakes_are_counted_by_kind(net: &impl Form) {
    let node = net.node("node");
    let faults: [fn(&Raw); 3] = [
        |raw| raw.hello_signed(|signature| [&*signature, b"\0"].concat()),
        |raw| raw.hello_with(|conn| conn.pki_id.clear()),
        |raw| raw.send(&data(0)),
    ];
    for fault in faults {
        let raw = Raw::dial(net, "client", &node.endpoint);
        fault(&raw);
        raw.refusal();
    }
    let _client = Raw::connect(net, "client", &node.endpoint);
    eventually("one got in", || node.metrics().gossip_comm_handshakes == 1);
    let metrics = node.metrics();
    assert_eq!(metrics.handshake_failures, [(ErrorKind::Protocol, 2), (ErrorKind::Signature, 1)]);
    assert_eq!((metrics.gossip_comm_handshake_failures, metrics.gossip_comm_inbound_refusals), (3, 0));
}

fn a_refusal_by_the_peer_is_counted(net: &impl Form) {
    let (node, server) = (net.node("node"), RawServer::new(net, "server"));
    let events = node.events();
    node.send(&data(1), &[RemotePeer::new(&server.endpoint)]).unwrap();
    let accepted = server.welcome();
    assert_eq!(accepted.recv().nonce(), 1);
    accepted.end_with(Status::unknown("not you"));
    assert_eq!(await_refused(&events).0.message(), "not you");
    eventually("it is disconnected", || node.metrics().gossip_comm_disconnects == 1);
    assert_eq!(node.metrics().gossip_comm_refused_by_peer, 1);
    assert_eq!(node.metrics().gossip_comm_reconnects, 0, "who was refused does not try again");
}

fn a_lost_connection_is_counted_and_so_is_its_renewal(net: &impl Form) {
    let [node, other] = ["node", "other"].map(|name| net.node(name));
    let (events, link) = (node.events(), net.link(&other.endpoint));
    node.send(&data(1), &[link.to(&other)]).unwrap();
    await_connected(&events, "other");
    eventually("the other side has it", || other.connection_count() == 1);
    assert_eq!(node.metrics().gossip_comm_disconnects, 0);
    link.cut();
    eventually("it is connected again", || {
        let metrics = node.metrics();
        metrics.gossip_comm_handshakes == 2 && metrics.gossip_comm_disconnects == 1
    });
    let metrics = node.metrics();
    assert_eq!(metrics.gossip_comm_reconnects, 1);
    assert_eq!((metrics.gossip_comm_dials, metrics.gossip_comm_dial_failures), (2, 0));
}

fn what_waits_is_counted_until_it_is_written(net: &impl Form) {
    let (node, server) = (net.node("node"), RawServer::new(net, "server"));
    let peer = RemotePeer::new(&server.endpoint);
    let messages = [data(1), data(2), data(3)];
    messages.iter().for_each(|message| node.send(message, std::slice::from_ref(&peer)).unwrap());
    // The handshake has not been answered.
    let bytes = messages.iter().map(|message| message.wire().len() as u64).sum::<u64>();
    let metrics = node.metrics();
    assert_eq!((metrics.gossip_comm_queued_messages, metrics.gossip_comm_queued_bytes), (3, bytes));
    let _accepted = server.welcome();
    node.flush(PATIENCE).unwrap();
    let metrics = node.metrics();
    assert_eq!((metrics.gossip_comm_queued_messages, metrics.gossip_comm_queued_bytes), (0, 0));
    assert_eq!(metrics.gossip_comm_messages_sent, 3);
}

fn acknowledgements_are_timed(net: &impl Form) {
    let [node, other] = ["node", "other"].map(|name| net.node(name));
    let inbox = other.inbox();
    thread::scope(|scope| {
        scope.spawn(|| {
            next(&inbox).ack(None).unwrap();
            next(&inbox).ack(Some("no")).unwrap();
        });
        for acknowledged in [1, 0] {
            let message = message::data(0, "channel", 1, "block");
            let result = node.send_with_ack(message, PATIENCE, 1, &[other.peer()]);
            assert_eq!(result.ack_count(), acknowledged);
        }
    });
    let times = node.metrics().gossip_comm_ack_round_trip;
    assert_eq!(times.count, 2, "a refusal is an answer too");
    assert!(times.max > ms(0) && times.max <= times.sum && times.sum < PATIENCE, "{times:?}");
    assert!(times.buckets.last().unwrap().1 <= times.count);
    assert_eq!(other.metrics().gossip_comm_ack_round_trip.count, 0);
}

fn drops_are_counted_by_peer_and_reason(net: &impl Form) {
    let node = net.node_with("node", |config| config.send_buff_size = 2);
    let (events, server) = (node.events(), RawServer::new(net, "slow"));
    let peer = RemotePeer::with_id(&server.endpoint, id("slow"));
    (1..=2).for_each(|n| node.send(&data(n), std::slice::from_ref(&peer)).unwrap());
    node.send(&data(3), std::slice::from_ref(&peer)).unwrap_err();
    server.accept().end_with(Status::unknown("not now"));
    await_undelivered(&events);
    let metrics = node.metrics();
    let drops: Vec<_> = metrics.drops.iter().map(|d| (d.peer.clone(), d.reason, d.count)).collect();
    let slow = || Some(id("slow"));
    assert_eq!(drops, [(slow(), DropReason::SendQueueFull, 1), (slow(), DropReason::Undelivered, 2)]);
    assert_eq!(metrics.gossip_comm_overflow_count, 1);
    let text = metrics.to_prometheus();
    let line = format!("gossip_comm_dropped_messages{{peer=\"{}\",reason=\"undelivered\"}} 2", id("slow"));
    assert!(text.contains(&line), "{text}");
}

fn identities_threads_and_expiry_are_told(net: &impl Form) {
    let [node, other] = ["node", "other"].map(|name| net.node(name));
    let before = node.metrics();
    assert_eq!((before.gossip_comm_identities, before.gossip_comm_threads), (1, 0));
    // The identities of these tests are valid for an hour.
    let left = before.gossip_comm_identity_expires_in.unwrap();
    assert!((3500..=3600).contains(&left), "{left}");
    let (dialled, accepted) = (node.events(), other.events());
    node.send(&data(1), &[other.peer()]).unwrap();
    await_connected(&dialled, "other");
    await_event(&accepted, |e| matches!(e, Event::Connected { .. }).then_some(()));
    for comm in [&node, &other] {
        assert_eq!(comm.metrics().gossip_comm_identities, 2);
        // The connection is reported before its reader has started.
        eventually("a writer and a reader at either end", || comm.metrics().gossip_comm_threads == 2);
    }
    node.stop();
    let after = node.metrics();
    assert_eq!(
        (after.gossip_comm_connections, after.gossip_comm_threads, after.gossip_comm_queued_messages),
        (0, 0, 0)
    );
}

#[cfg(feature = "c-core")]
#[test]
fn the_expiry_of_the_tls_certificate_is_told_over_the_c_core() {
    the_expiry_of_the_tls_certificate_is_told(&Grpc::new());
}

#[cfg(feature = "http2")]
#[test]
fn the_expiry_of_the_tls_certificate_is_told_over_http2() {
    the_expiry_of_the_tls_certificate_is_told(&Nghttp2::new());
}

#[cfg(any(feature = "c-core", feature = "http2"))]
fn the_expiry_of_the_tls_certificate_is_told(net: &impl Form) {
    let left = net.node("node").metrics().gossip_comm_tls_expires_in.unwrap();
    let year = 365 * 24 * 3600;
    assert!((9 * year..11 * year).contains(&left), "test certificates are valid for ten years, not {left} s");
    assert_eq!(net.node_as("plain", Security::Plain, |_| {}).metrics().gossip_comm_tls_expires_in, None);
}
