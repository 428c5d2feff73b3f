//! One peer that is sent to under several names at the same time: one stream, nothing lost, each sender's order kept.
//!
//! `FABRIC_GOSSIP_NAME_TRIES` sets how often each series is run (in memory 200 times, over gRPC 40 times).

use crate::common::*;
use fabric_gossip::comm::{Event, ReceivedMessage, RemotePeer, Subscription};
use fabric_gossip::message::SignedMessage;
use std::sync::Barrier;
use std::thread;

/// How many messages each sender sends.
const MESSAGES: u64 = 20;

/// Sends under all names at the same time, from a thread for each, and compares the messages received with those
/// accepted. A message's nonce is the number of its sender in thousands and its place.
fn send_under(node: &Node, inbox: &Subscription<ReceivedMessage>, names: &[RemotePeer]) {
    let events = node.events();
    let start = Barrier::new(names.len());
    thread::scope(|scope| {
        for (sender, name) in (1..).zip(names) {
            let start = &start;
            scope.spawn(move || {
                start.wait();
                for place in 0..MESSAGES {
                    node.send(&data(sender * 1000 + place), std::slice::from_ref(name)).unwrap();
                }
            });
        }
    });
    node.flush(PATIENCE).unwrap();
    assert_eq!(node.connection_count(), 1);
    // Ends the stream gently: when it is over, the peer has read everything.
    node.stop();
    let mut reported = Vec::new();
    for event in events.iter() {
        match event {
            Event::Undelivered { messages, .. } => reported.extend(messages.iter().map(SignedMessage::nonce)),
            Event::Unconfirmed { reason, .. } => panic!("given up although nothing failed: {reason}"),
            _ => {}
        }
    }
    let expected = names.len() as u64 * MESSAGES - reported.len() as u64;
    let received = next_nonces(inbox, expected as usize);
    for sender in 1..=names.len() as u64 {
        let of_sender = |nonces: &[u64]| Vec::from_iter(nonces.iter().copied().filter(|n| n / 1000 == sender));
        let (received, reported) = (of_sender(&received), of_sender(&reported));
        assert!(received.is_sorted(), "the order of sender {sender}: {received:?}");
        let mut all = [received, reported].concat();
        all.sort_unstable();
        assert_eq!(all, Vec::from_iter((0..MESSAGES).map(|place| sender * 1000 + place)), "of sender {sender}");
    }
    assert_nothing(inbox);
}

fn tries(default: usize) -> usize {
    std::env::var("FABRIC_GOSSIP_NAME_TRIES").map_or(default, |text| text.parse().expect("a number"))
}

fn by_pki_id_and_address(net: &impl Form, times: usize) {
    let peer = net.node("peer");
    let inbox = peer.inbox();
    for _ in 0..times {
        send_under(&net.node("node"), &inbox, &[peer.peer(), peer.address()]);
    }
}

fn by_two_addresses(net: &impl Form, times: usize, peer: &Node, alias: &str) {
    let inbox = peer.inbox();
    for _ in 0..times {
        let names = [peer.address(), RemotePeer::new(alias), RemotePeer::with_id(alias, peer.id())];
        send_under(&net.node("node"), &inbox, &names);
    }
}

#[test]
fn memory_by_pki_id_and_by_address_nothing_is_lost() {
    by_pki_id_and_address(&Memory::new(), tries(200));
}

#[test]
fn memory_by_two_addresses_nothing_is_lost() {
    let net = Memory::new();
    let peer = net.node("peer");
    net.network.listen("alias:1", cert("peer", Security::Mutual), peer.acceptor());
    by_two_addresses(&net, tries(200), &peer, "alias:1");
}

#[test]
#[cfg(feature = "c-core")]
fn grpc_by_pki_id_and_by_address_nothing_is_lost() {
    by_pki_id_and_address(&Grpc::new(), tries(40));
}

#[test]
#[cfg(feature = "http2")]
fn http2_by_pki_id_and_by_address_nothing_is_lost() {
    by_pki_id_and_address(&Nghttp2::new(), tries(40));
}

#[cfg(any(feature = "c-core", feature = "http2"))]
fn by_two_spellings_of_the_address(net: &impl Form) {
    let peer = net.node("peer");
    let alias = peer.endpoint.replace("127.0.0.1", "localhost");
    by_two_addresses(net, tries(40), &peer, &alias);
}

#[test]
#[cfg(feature = "c-core")]
fn grpc_by_two_spellings_of_the_address_nothing_is_lost() {
    by_two_spellings_of_the_address(&Grpc::new());
}

#[test]
#[cfg(feature = "http2")]
fn http2_by_two_spellings_of_the_address_nothing_is_lost() {
    by_two_spellings_of_the_address(&Nghttp2::new());
}

#[test]
fn what_is_sent_while_the_connection_is_closed_by_name_waits_for_its_end() {
    let net = Memory::new();
    let (peer, node) = (net.node("peer"), net.node("node"));
    let inbox = peer.inbox();
    let events = node.events();
    for round in 0..200 {
        let first = round * 20;
        (first..first + 10).for_each(|n| node.send(&data(n), &[peer.peer()]).unwrap());
        node.close_conn(&peer.peer());
        (first + 10..first + 20).for_each(|n| node.send(&data(n), &[peer.peer()]).unwrap());
    }
    node.stop();
    let mut reported = Vec::new();
    for event in events.iter() {
        match event {
            Event::Undelivered { messages, .. } => reported.extend(messages.iter().map(SignedMessage::nonce)),
            Event::Unconfirmed { reason, .. } => panic!("given up although nothing failed: {reason}"),
            _ => {}
        }
    }
    let mut all = next_nonces(&inbox, 4000 - reported.len());
    assert!(all.is_sorted(), "{all:?}");
    all.extend(reported);
    all.sort_unstable();
    assert_eq!(all, Vec::from_iter(0..4000));
}
