//! One connection per peer: replacing, simultaneous dials, refusals, losses and limits. Row C48, and the rules that go
//! beyond Fabric's.

use crate::common::*;
use fabric_gossip::comm::{Event, RemotePeer};
use fabric_gossip::message::SignedMessage;
use fabric_gossip::testing::VirtualClock;
use fabric_gossip::transport::{Status, StreamEnd};
use fabric_gossip::ErrorKind;
use std::sync::Barrier;
use std::thread;

for_each_transport!(
    c48_a_new_inbound_stream_replaces_the_old_one,
    c48_an_inbound_stream_outside_the_window_replaces_the_one_we_dialled,
    the_end_of_a_replaced_stream_does_not_remove_its_successor,
    simultaneous_dials_lose_nothing,
    simultaneous_dials_by_address_lose_nothing,
    an_inbound_stream_within_the_window_is_read_beside_ours,
    the_larger_pki_id_gives_up_its_stream_after_the_window,
    the_smaller_pki_id_keeps_its_stream,
    an_inbound_stream_takes_the_place_of_a_dial_that_has_not_said_anything,
    a_dial_that_fails_leaves_the_inbound_stream_of_the_same_peer,
    what_was_sent_to_an_address_goes_out_first_and_in_order,
    the_initiator_learns_that_it_was_refused,
    what_a_refused_initiator_still_had_is_reported,
    a_lost_connection_is_dialled_again_once_and_then_presumed_dead,
    what_a_lost_connection_still_had_goes_out_on_the_next,
    a_connection_that_ended_well_is_neither_dialled_again_nor_presumed_dead,
    closing_a_connection_writes_what_is_queued,
    how_a_peer_ends_a_stream_that_we_closed_is_no_refusal,
    closing_an_inbound_connection_writes_what_is_queued,
    closing_while_dialling_reports_what_is_queued,
    a_connection_beyond_the_limit_is_refused,
    a_peer_beyond_the_limit_is_not_dialled,
    a_stream_too_many_that_has_not_authenticated_is_refused,
    parallel_senders_share_one_dial_and_keep_their_order,
);

fn c48_a_new_inbound_stream_replaces_the_old_one(net: &impl Form) {
    let node = net.node("node");
    let (events, inbox) = (node.events(), node.inbox());
    let old = Raw::connect(net, "client", &node.endpoint);
    assert!(!await_connected(&events, "client"));
    let new = Raw::connect(net, "client", &node.endpoint);
    old.end();
    new.send(&data(1));
    assert_eq!(next_nonce(&inbox), 1);
    node.send(&data(2), &[RemotePeer::with_id("", id("client"))]).unwrap();
    assert_eq!(new.recv().nonce(), 2);
    assert_eq!(node.connection_count(), 1);
    assert_nothing(&events);
}

fn c48_an_inbound_stream_outside_the_window_replaces_the_one_we_dialled(net: &impl Form) {
    let clock = VirtualClock::new();
    let (node, server) = (net.node_at("node", &clock, |_| {}), RawServer::new(net, "peer"));
    node.send(&data(1), &[RemotePeer::new(&server.endpoint)]).unwrap();
    let dialled = server.welcome();
    assert_eq!(dialled.recv().nonce(), 1);
    clock.advance(LIMIT + ms(1));
    let inbound = Raw::connect(net, "peer", &node.endpoint);
    dialled.end();
    node.send(&data(2), &[RemotePeer::with_id("", id("peer"))]).unwrap();
    assert_eq!(inbound.recv().nonce(), 2);
    assert_eq!(node.connection_count(), 1);
}

fn the_end_of_a_replaced_stream_does_not_remove_its_successor(net: &impl Form) {
    let node = net.node("node");
    let (events, inbox) = (node.events(), node.inbox());
    let mut streams = vec![Raw::connect(net, "client", &node.endpoint)];
    await_connected(&events, "client");
    for n in 1..=5 {
        streams.push(Raw::connect(net, "client", &node.endpoint));
        let old = streams.remove(0);
        old.end();
        drop(old);
        streams[0].send(&data(n));
        assert_eq!(next_nonce(&inbox), n);
        assert_eq!(node.connection_count(), 1);
        assert_nothing(&events);
    }
    drop(streams);
    await_disconnected(&events, "client");
    eventually("it is gone", || node.connection_count() == 0);
}

const ROUNDS: usize = 50;

/// Both peers of a pair send to each other at the same time, without a connection, repeatedly.
fn simultaneous(net: &impl Form, to: impl Fn(&Node) -> RemotePeer + Sync) {
    let both_dialled: usize = (0..ROUNDS)
        .map(|_| {
            let nodes = ["first", "second"].map(|name| net.node(name));
            let inboxes = nodes.each_ref().map(Node::inbox);
            let events = nodes.each_ref().map(|node| node.events());
            let start = Barrier::new(2);
            thread::scope(|scope| {
                for (from, other) in [(&nodes[0], &nodes[1]), (&nodes[1], &nodes[0])] {
                    let (start, to) = (&start, &to);
                    scope.spawn(move || {
                        start.wait();
                        (1..=20).for_each(|n| from.send(&data(n), &[to(other)]).unwrap());
                    });
                }
            });
            for inbox in &inboxes {
                assert_eq!(next_nonces(inbox, 20), Vec::from_iter(1..=20));
            }
            assert_eq!(nodes.each_ref().map(|node| node.connection_count()), [1, 1]);
            let dials = nodes.iter().all(|node| node.metrics().gossip_comm_dials == 1);
            for (node, events) in nodes.iter().zip(&events) {
                assert!(node.metrics().gossip_comm_dials <= 1);
                stop_and_account(node, events, 20);
            }
            inboxes.iter().for_each(assert_nothing);
            usize::from(dials)
        })
        .sum();
    assert!(both_dialled > 0, "no two dials were ever simultaneous: this tests nothing");
}

fn simultaneous_dials_lose_nothing(net: &impl Form) {
    simultaneous(net, Node::peer);
}

fn simultaneous_dials_by_address_lose_nothing(net: &impl Form) {
    simultaneous(net, Node::address);
}

/// A node that dialled `peer`, and the stream that `peer` dialled at the same time.
fn crossed(net: &impl Form, node: &Node, peer: &str) -> (RawServer, Accepted, Raw) {
    let server = RawServer::new(net, peer);
    node.send(&data(1), &[RemotePeer::with_id(&server.endpoint, id(peer))]).unwrap();
    let ours = server.accept();
    conn_of(&ours.recv());
    let inbox = node.inbox();
    let theirs = Raw::connect(net, peer, &node.endpoint);
    theirs.send(&data(0));
    assert_eq!(next_nonce(&inbox), 0, "now it has authenticated");
    ours.hello();
    assert_eq!(ours.recv().nonce(), 1, "the stream that the node dialled is the one it writes to");
    (server, ours, theirs)
}

fn an_inbound_stream_within_the_window_is_read_beside_ours(net: &impl Form) {
    let clock = VirtualClock::new();
    let node = net.node_at("node", &clock, |_| {});
    let events = node.events();
    let (_server, ours, theirs) = crossed(net, &node, "peer");
    let inbox = node.inbox();
    theirs.send(&data(2));
    assert_eq!(next_nonce(&inbox), 2);
    ours.send(&data(3));
    assert_eq!(next_nonce(&inbox), 3);
    node.send(&data(4), &[RemotePeer::with_id("", id("peer"))]).unwrap();
    assert_eq!(ours.recv().nonce(), 4);
    assert!(await_connected(&events, "peer"));
    assert_eq!(node.connection_count(), 1);
    // Its dialler ends it, and nothing happens.
    drop(theirs);
    ours.send(&data(5));
    assert_eq!(next_nonce(&inbox), 5);
    assert_nothing(&events);
    drop(ours);
    await_disconnected(&events, "peer");
}

fn the_larger_pki_id_gives_up_its_stream_after_the_window(net: &impl Form) {
    let clock = VirtualClock::new();
    let node = net.node_at("zebra", &clock, |_| {});
    let events = node.events();
    let (_server, ours, theirs) = crossed(net, &node, "ant");
    let inbox = node.inbox();
    clock.wait_for_timer(LIMIT / 2);
    clock.advance(LIMIT);
    assert_eq!(ours.end(), StreamEnd::Remote(Status::ok()), "half-closed, after all that was written");
    // Messages that still arrive on it are read.
    ours.send(&data(2));
    assert_eq!(next_nonce(&inbox), 2);
    drop(ours);
    node.send(&data(3), &[RemotePeer::with_id("", id("ant"))]).unwrap();
    assert_eq!(theirs.recv().nonce(), 3);
    assert!(await_connected(&events, "ant"));
    assert_nothing(&events);
    assert_eq!(node.connection_count(), 1);
}

fn the_smaller_pki_id_keeps_its_stream(net: &impl Form) {
    let clock = VirtualClock::new();
    let node = net.node_at("ant", &clock, |_| {});
    let events = node.events();
    let (_server, ours, theirs) = crossed(net, &node, "zebra");
    clock.advance(2 * LIMIT);
    theirs.stream.finish(&Status::ok()).unwrap();
    assert_eq!(theirs.end(), StreamEnd::Remote(Status::ok()));
    node.send(&data(2), &[RemotePeer::with_id("", id("zebra"))]).unwrap();
    assert_eq!(ours.recv().nonce(), 2);
    assert!(await_connected(&events, "zebra"));
    assert_nothing(&events);
}

fn an_inbound_stream_takes_the_place_of_a_dial_that_has_not_said_anything(net: &impl Form) {
    let node = net.node("node");
    let events = node.events();
    let mute = net.mute();
    let peer = RemotePeer::with_id(&mute.endpoint, id("peer"));
    (1..=3).for_each(|n| node.send(&data(n), from_ref(&peer)).unwrap());
    eventually("it dials", || node.metrics().gossip_comm_dials == 1);
    let inbound = Raw::connect(net, "peer", &node.endpoint);
    assert_eq!([inbound.recv().nonce(), inbound.recv().nonce(), inbound.recv().nonce()], [1, 2, 3]);
    assert!(!await_connected(&events, "peer"));
    assert_nothing(&events);
}

fn a_dial_that_fails_leaves_the_inbound_stream_of_the_same_peer(net: &impl Form) {
    let (node, server) = (net.node("node"), RawServer::new(net, "peer"));
    let (events, inbox) = (node.events(), node.inbox());
    node.send(&data(1), &[RemotePeer::with_id(&server.endpoint, id("peer"))]).unwrap();
    let dialled = server.accept();
    conn_of(&dialled.recv());
    let inbound = Raw::connect(net, "peer", &node.endpoint);
    inbound.send(&data(2));
    assert_eq!(next_nonce(&inbox), 2);
    dialled.end_with(Status::unknown("I have yours already"));
    assert_eq!(inbound.recv().nonce(), 1);
    assert!(!await_connected(&events, "peer"), "the first thing that is told");
    assert_eq!(node.connection_count(), 1);
    drop(inbound);
    await_disconnected(&events, "peer");
}

fn what_was_sent_to_an_address_goes_out_first_and_in_order(net: &impl Form) {
    let (node, server) = (net.node("node"), RawServer::new(net, "peer"));
    // It has an inbound stream of a peer of which it does not know that it is behind the address.
    let events = node.events();
    let inbound = Raw::connect(net, "peer", &node.endpoint);
    await_connected(&events, "peer");
    let address = RemotePeer::new(&server.endpoint);
    (1..=50).for_each(|n| node.send(&data(n), from_ref(&address)).unwrap());
    let dialled = server.accept();
    (51..=100).for_each(|n| node.send(&data(n), from_ref(&address)).unwrap());
    // Authenticates before the node does: the node has a stream to it, and does not open a second one.
    dialled.hello();
    assert!(matches!(dialled.read_to_end(), (seen, StreamEnd::Lost(_)) if seen.is_empty()));
    (101..=150).for_each(|n| node.send(&data(n), from_ref(&address)).unwrap());
    for n in 1..=150 {
        assert_eq!(inbound.recv().nonce(), n);
    }
    assert_eq!(node.connection_count(), 1);
    assert_nothing(&events);
    drop((dialled, inbound));
    await_disconnected(&events, "peer");
}

fn the_initiator_learns_that_it_was_refused(net: &impl Form) {
    let [node, other] = ["node", "other"].map(|name| net.node(name));
    let (events, theirs) = (node.events(), other.events());
    net.world().revoke("node");
    node.send(&data(1), &[other.peer()]).unwrap();
    let (error, inbound) = await_refused(&events);
    assert_eq!((error.kind(), error.message(), inbound), (ErrorKind::Refused, "revoked", false));
    let (error, inbound) = await_refused(&theirs);
    assert_eq!((error.kind(), error.message(), inbound), (ErrorKind::Identity, "revoked", true));
    await_disconnected(&events, "other");
    eventually("it is forgotten", || node.connection_count() == 0);
}

fn what_a_refused_initiator_still_had_is_reported(net: &impl Form) {
    let node = net.node_with("node", |config| config.send_buff_size = 10);
    let server = RawServer::new(net, "server");
    let (events, dead) = (node.events(), node.presumed_dead());
    let peer = RemotePeer::with_id(&server.endpoint, id("server"));
    node.send(&data(0), from_ref(&peer)).unwrap();
    let accepted = server.welcome();
    assert_eq!(accepted.recv().nonce(), 0);
    let last = fill(&node, &peer);
    accepted.end_with(Status::unknown("not you"));
    let (error, inbound) = await_refused(&events);
    assert_eq!((error.message(), inbound), ("not you", false));
    let (mut refused, mut queued, mut unconfirmed) = (Vec::new(), Vec::new(), 0);
    while let Ok(event) = events.recv() {
        match event {
            Event::Undelivered { error, messages, written, .. } => {
                assert_eq!((error.kind(), error.message()), (ErrorKind::Refused, "not you"));
                let report = if written { &mut refused } else { &mut queued };
                report.extend(messages.iter().map(SignedMessage::nonce));
                if !written {
                    node.stop();
                }
            }
            Event::Unconfirmed { messages, .. } => unconfirmed = messages,
            _ => {}
        }
    }
    let sent = node.metrics().gossip_comm_messages_sent;
    assert!(refused.is_sorted() && refused.starts_with(&[0]), "what was written, in order: {refused:?}");
    assert_eq!(
        refused.len() as u64 + unconfirmed,
        sent,
        "all that was written: {refused:?}, {unconfirmed}, {queued:?}"
    );
    assert_eq!(queued, Vec::from_iter(sent..=last), "what was not written, in order");
    assert_eq!(node.metrics().gossip_comm_dials, 1, "it does not try again");
    assert!(dead.recv().is_err(), "who refuses is alive");
}

fn a_lost_connection_is_dialled_again_once_and_then_presumed_dead(net: &impl Form) {
    let [node, other] = ["node", "other"].map(|name| net.node(name));
    let (events, dead, inbox) = (node.events(), node.presumed_dead(), other.inbox());
    let link = net.link(&other.endpoint);
    node.send(&data(1), &[link.to(&other)]).unwrap();
    assert_eq!(next_nonce(&inbox), 1);
    assert!(await_connected(&events, "other"));

    link.cut();
    await_disconnected(&events, "other");
    assert!(await_connected(&events, "other"), "without anything to send");
    node.send(&data(2), &[link.to(&other)]).unwrap();
    assert_eq!(next_nonce(&inbox), 2);
    assert_nothing(&dead);

    link.close();
    await_disconnected(&events, "other");
    let peer = await_event(&events, |e| match e {
        Event::DialFailed { peer, .. } => Some(peer.clone()),
        _ => None,
    });
    assert_eq!(peer, link.to(&other));
    assert_eq!(next(&dead), other.id());
    assert_eq!(node.connection_count(), 0);
    node.stop();
    assert_eq!(node.metrics().gossip_comm_dials, 3);
    assert!(dead.recv().is_err(), "told once");
}

fn what_a_lost_connection_still_had_goes_out_on_the_next(net: &impl Form) {
    let node = net.node_with("node", |config| config.send_buff_size = 10);
    let server = RawServer::new(net, "server");
    let events = node.events();
    let link = net.link(&server.endpoint);
    let peer = RemotePeer::with_id(&link.endpoint, id("server"));
    node.send(&data(0), from_ref(&peer)).unwrap();
    let accepted = server.welcome();
    assert_eq!(accepted.recv().nonce(), 0);
    let last = fill(&node, &peer);
    link.cut();
    let next = server.welcome();
    let first = next.recv().nonce();
    assert!(0 < first && first <= last, "the queue held some: {first} of {last}");
    for n in first + 1..=last {
        assert_eq!(next.recv().nonce(), n);
    }
    await_disconnected(&events, "server");
    await_connected(&events, "server");
    drop(accepted);
}

fn a_connection_that_ended_well_is_neither_dialled_again_nor_presumed_dead(net: &impl Form) {
    let (node, server) = (net.node("node"), RawServer::new(net, "server"));
    let (events, dead) = (node.events(), node.presumed_dead());
    node.send(&data(1), &[RemotePeer::with_id(&server.endpoint, id("server"))]).unwrap();
    let accepted = server.welcome();
    assert_eq!(accepted.recv().nonce(), 1);
    drop(accepted);
    await_disconnected(&events, "server");
    eventually("the entry is gone", || node.connection_count() == 0);
    // Nor is our own closing one.
    node.send(&data(2), &[RemotePeer::with_id(&server.endpoint, id("server"))]).unwrap();
    let accepted = server.welcome();
    assert_eq!(accepted.recv().nonce(), 2);
    node.close_conn(&RemotePeer::with_id("", id("server")));
    accepted.end();
    drop(accepted);
    await_connected(&events, "server");
    await_disconnected(&events, "server");
    node.stop();
    assert_eq!(node.metrics().gossip_comm_dials, 2);
    assert!(dead.recv().is_err());
}

fn closing_a_connection_writes_what_is_queued(net: &impl Form) {
    let [node, other] = ["node", "other"].map(|name| net.node(name));
    let (events, inbox) = (node.events(), other.inbox());
    for round in 0..20 {
        (1..=100).for_each(|n| node.send(&blob(n, 2000), &[other.peer()]).unwrap());
        if round == 0 {
            await_connected(&events, "other");
        }
        node.flush(PATIENCE).unwrap();
        (101..=200).for_each(|n| node.send(&blob(n, 2000), &[other.peer()]).unwrap());
        node.close_conn(&other.peer());
        assert_eq!(node.connection_count(), 0);
        assert_eq!(next_nonces(&inbox, 200), Vec::from_iter(1..=200));
        await_disconnected(&events, "other");
    }
    stop_and_account(&node, &events, 20 * 200);
}

/// A Fabric peer ends it with the error that it read: EOF.
fn how_a_peer_ends_a_stream_that_we_closed_is_no_refusal(net: &impl Form) {
    let (node, server) = (net.node("node"), RawServer::new(net, "server"));
    let events = node.events();
    node.send(&data(1), &[RemotePeer::new(&server.endpoint)]).unwrap();
    let accepted = server.welcome();
    await_connected(&events, "server");
    node.close_conn(&RemotePeer::with_id("", id("server")));
    assert_eq!(accepted.read_to_end().0, [1]);
    accepted.end_with(Status::unknown("EOF"));
    let ended = await_event(&events, |e| match e {
        Event::Refused { .. } | Event::Disconnected { .. } => Some(e.clone()),
        _ => None,
    });
    assert!(matches!(ended, Event::Disconnected { .. }), "{ended:?}");
    assert_eq!(node.metrics().gossip_comm_refused_by_peer, 0);
}

fn closing_an_inbound_connection_writes_what_is_queued(net: &impl Form) {
    let [node, other] = ["node", "other"].map(|name| net.node(name));
    let (events, inbox, outbox) = (node.events(), node.inbox(), other.inbox());
    for _ in 0..20 {
        other.send(&data(1), &[node.peer()]).unwrap();
        assert_eq!(next_nonce(&inbox), 1);
        let back = RemotePeer::with_id("", other.id());
        (1..=200).for_each(|n| node.send(&blob(n, 2000), from_ref(&back)).unwrap());
        node.close_conn(&back);
        assert_eq!(next_nonces(&outbox, 200), Vec::from_iter(1..=200));
        await_disconnected(&events, "other");
        eventually("the other side has noticed", || other.connection_count() == 0);
    }
}

fn closing_while_dialling_reports_what_is_queued(net: &impl Form) {
    let node = net.node("node");
    let (events, mute) = (node.events(), net.mute());
    let peer = RemotePeer::new(&mute.endpoint);
    (1..=3).for_each(|n| node.send(&data(n), from_ref(&peer)).unwrap());
    node.close_conn(&peer);
    let (error, nonces) = await_undelivered(&events);
    assert_eq!((error.kind(), nonces), (ErrorKind::Stopped, vec![1, 2, 3]));
}

fn a_connection_beyond_the_limit_is_refused(net: &impl Form) {
    let node = net.node_with("node", |config| config.max_connections = 2);
    let events = node.events();
    let kept = ["first", "second"].map(|name| {
        let raw = Raw::connect(net, name, &node.endpoint);
        assert!(!await_connected(&events, name));
        raw
    });
    let third = Raw::dial(net, "third", &node.endpoint);
    third.hello();
    let full = StreamEnd::Remote(Status { code: 8, message: "too many connections".into() });
    assert_eq!(third.end(), full);
    // One of a peer that is connected already is none more.
    let again = Raw::connect(net, "second", &node.endpoint);
    kept[1].end();
    node.send(&data(1), &[RemotePeer::with_id("", id("second"))]).unwrap();
    assert_eq!(again.recv().nonce(), 1);
    drop((kept, again));
    await_disconnected(&events, "first");
    // The entry goes a moment after the news of it.
    eventually("there is room", || {
        let _third = Raw::connect(net, "third", &node.endpoint);
        (0..5).any(|_| match events.recv_timeout(ms(100)) {
            Ok(Event::Connected { info, .. }) => info.id == id("third"),
            _ => false,
        })
    });
}

fn a_peer_beyond_the_limit_is_not_dialled(net: &impl Form) {
    let node = net.node_with("node", |config| config.max_connections = 2);
    let others = ["first", "second", "third"].map(|name| net.node(name));
    let (events, inbox) = (node.events(), others[1].inbox());
    let inbound = Raw::connect(net, "inbound", &node.endpoint);
    assert!(!await_connected(&events, "inbound"));
    // By its address, under which it is known as well as under its PKI-ID later.
    node.send(&data(1), &[others[1].address()]).unwrap();
    assert_eq!(next_nonce(&inbox), 1);
    await_connected(&events, "second");
    let error = node.send(&data(2), &[others[2].peer()]).unwrap_err();
    assert_eq!((error.not_sent.len(), error.not_sent[0].error.kind()), (1, ErrorKind::Full));
    drop(inbound);
    await_disconnected(&events, "inbound");
    eventually("there is room", || node.send(&data(3), &[others[2].peer()]).is_ok());
    await_connected(&events, "third");
}

fn a_stream_too_many_that_has_not_authenticated_is_refused(net: &impl Form) {
    let node = net.node_with("node", |config| config.max_unauthenticated = 2);
    let events = node.events();
    let silent = ["first", "second"].map(|name| {
        let raw = Raw::dial(net, name, &node.endpoint);
        conn_of(&raw.recv());
        raw
    });
    let third = Raw::dial(net, "third", &node.endpoint);
    let full = StreamEnd::Remote(Status { code: 8, message: "too many unauthenticated streams".into() });
    assert_eq!(third.read_to_end(), (vec![], full));
    silent.iter().for_each(Raw::hello);
    ["first", "second"].iter().for_each(|_| {
        await_event(&events, |e| matches!(e, Event::Connected { .. }).then_some(()));
    });
    let _third = Raw::connect(net, "third", &node.endpoint);
    await_connected(&events, "third");
}

fn parallel_senders_share_one_dial_and_keep_their_order(net: &impl Form) {
    let node = net.node_with("node", |config| config.send_buff_size = 10_000);
    let other = net.node("other");
    let (inbox, events) = (other.inbox(), node.events());
    thread::scope(|scope| {
        for t in 1..=4 {
            let (node, other) = (&node, &other);
            scope.spawn(move || (0..500).for_each(|n| node.send(&data(t * 1000 + n), &[other.peer()]).unwrap()));
        }
        let all = next_nonces(&inbox, 2000);
        for t in 1..=4 {
            let of: Vec<_> = all.iter().filter(|n| **n / 1000 == t).map(|n| n % 1000).collect();
            assert_eq!(of, Vec::from_iter(0..500));
        }
    });
    assert_eq!(node.metrics().gossip_comm_dials, 1);
    stop_and_account(&node, &events, 2000);
}
