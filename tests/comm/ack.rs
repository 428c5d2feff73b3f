//! Acknowledged sending: rows C16 and C32–C40.

use crate::common::*;
use fabric_gossip::comm::{AggregatedSendResult, RemotePeer};
use fabric_gossip::internals::message as wire;
use fabric_gossip::message::{GossipMessage, SignedMessage};
use fabric_gossip::transport::Status;
use fabric_gossip::ErrorKind;
use std::thread;
use std::time::{Duration, Instant};

for_each_transport!(
    c16_a_thousand_acknowledged_sends_each_way_at_once,
    c32_all_of_two_acknowledge,
    c33_enough_acknowledgements_end_the_wait,
    c34_an_acknowledgement_a_refusal_and_silence,
    c35_nobody_acknowledges,
    c36_the_aggregate_counts_and_has_fabrics_text,
    c37_a_send_to_nobody_has_no_results,
    c38_a_send_after_the_stop_fails_for_each_peer,
    c39_an_acknowledgement_reaches_only_who_waits_for_it,
    c40_another_message_with_the_same_nonce_is_no_acknowledgement,
    a_message_is_acknowledged_once,
    an_acknowledgement_from_another_peer_than_the_receiver_is_ignored,
    an_acknowledgement_that_comes_too_late_harms_nobody,
    an_unreachable_peer_is_reported_at_once,
    a_refused_connection_is_reported_as_such,
    the_timeout_covers_the_dial,
    a_peer_named_twice_has_to_acknowledge_twice,
    without_a_minimum_the_first_failure_ends_the_wait,
    a_stop_ends_the_wait,
    the_message_gets_a_fresh_nonce_and_no_signature,
);

const NACK: &str = "Failed processing message because reasons";
/// Long enough that it only passes where something is to time out.
const SHORT: Duration = Duration::from_millis(500);

fn message() -> GossipMessage {
    data(0).message().clone()
}

/// The behaviour of a node towards its messages, until it stops.
#[derive(Clone, Copy)]
enum Answer {
    Ack,
    Nack,
    Silence,
}

/// Runs `test` with one sender and one node for each of these answers.
fn with_receivers<F: Form>(net: &F, answers: &[Answer], test: impl FnOnce(&Node, &[RemotePeer])) {
    let sender = net.node("sender");
    let nodes: Vec<_> = (0..answers.len()).map(|i| net.node(&format!("receiver {i}"))).collect();
    let peers: Vec<_> = nodes.iter().map(Node::peer).collect();
    let subscriptions: Vec<_> = nodes.iter().map(Node::inbox).collect();
    thread::scope(|scope| {
        for (answer, inbox) in answers.iter().zip(&subscriptions) {
            scope.spawn(move || {
                for message in inbox.iter() {
                    match answer {
                        Answer::Ack => message.ack(None).unwrap(),
                        Answer::Nack => message.ack(Some(NACK)).unwrap(),
                        Answer::Silence => {}
                    }
                }
            });
        }
        test(&sender, &peers);
        nodes.iter().for_each(|node| node.stop());
    });
}

fn texts(results: &AggregatedSendResult) -> Vec<String> {
    let text = |r: &fabric_gossip::comm::SendResult| r.error.as_ref().map_or("", |e| e.message()).to_owned();
    let mut texts: Vec<_> = results.iter().map(text).collect();
    texts.sort();
    texts
}

fn c16_a_thousand_acknowledged_sends_each_way_at_once(net: &impl Form) {
    let nodes = ["first", "second"].map(|name| net.node(name));
    let inboxes = [nodes[0].inbox(), nodes[1].inbox()];
    nodes[0].send(&data(1), &[nodes[1].peer()]).unwrap();
    assert_eq!(next_nonce(&inboxes[1]), 1);
    thread::scope(|scope| {
        for inbox in &inboxes {
            scope.spawn(move || (0..1000).for_each(|_| next(inbox).ack(None).unwrap()));
        }
        for (from, to) in [(&nodes[0], &nodes[1]), (&nodes[1], &nodes[0])] {
            for _ in 0..4 {
                scope.spawn(move || {
                    for _ in 0..250 {
                        let results = from.send_with_ack(message(), PATIENCE, 1, &[to.peer()]);
                        assert_eq!(results.ack_count(), 1, "{results}");
                    }
                });
            }
        }
    });
    inboxes.iter().for_each(assert_nothing);
}

fn c32_all_of_two_acknowledge(net: &impl Form) {
    with_receivers(net, &[Answer::Ack, Answer::Ack], |sender, peers| {
        let results = sender.send_with_ack(message(), PATIENCE, 2, peers);
        assert_eq!(texts(&results), ["", ""]);
        let mut acknowledged: Vec<_> = results.iter().map(|r| r.peer.clone()).collect();
        acknowledged.sort_by(|a, b| a.pki_id.cmp(&b.pki_id));
        assert_eq!(acknowledged, peers);
    });
}

fn c33_enough_acknowledgements_end_the_wait(net: &impl Form) {
    with_receivers(net, &[Answer::Ack, Answer::Silence, Answer::Ack], |sender, peers| {
        let start = Instant::now();
        let results = sender.send_with_ack(message(), PATIENCE, 2, peers);
        assert_eq!(texts(&results), ["", ""]);
        assert!(start.elapsed() < PATIENCE / 2);
    });
}

fn c34_an_acknowledgement_a_refusal_and_silence(net: &impl Form) {
    with_receivers(net, &[Answer::Ack, Answer::Nack, Answer::Silence], |sender, peers| {
        connect(sender, peers);
        let results = sender.send_with_ack(message(), SHORT, 2, peers);
        assert_eq!(texts(&results), ["", NACK, "timed out"]);
        let of = |i: usize| results.iter().find(|r| r.peer == peers[i]).unwrap().error.as_ref().map(|e| e.kind());
        assert_eq!([of(0), of(1), of(2)], [None, Some(ErrorKind::Nack), Some(ErrorKind::Timeout)]);
    });
}

/// Connects beforehand, so that the next send with a short limit waits for its answer only.
fn connect(sender: &Node, peers: &[RemotePeer]) {
    let events = sender.events();
    sender.send(&data(1), peers).unwrap();
    for _ in peers {
        await_event(&events, |e| matches!(e, fabric_gossip::comm::Event::Connected { .. }).then_some(()));
    }
    sender.flush(PATIENCE).unwrap();
}

fn c35_nobody_acknowledges(net: &impl Form) {
    with_receivers(net, &[Answer::Silence, Answer::Silence], |sender, peers| {
        connect(sender, peers);
        let start = Instant::now();
        let results = sender.send_with_ack(message(), SHORT, 2, peers);
        assert_eq!(texts(&results), ["timed out", "timed out"]);
        assert!(start.elapsed() >= SHORT);
    });
}

fn c36_the_aggregate_counts_and_has_fabrics_text(net: &impl Form) {
    with_receivers(net, &[Answer::Ack, Answer::Nack, Answer::Silence], |sender, peers| {
        connect(sender, peers);
        let results = sender.send_with_ack(message(), SHORT, 2, peers);
        assert_eq!((results.ack_count(), results.nack_count()), (1, 2));
        let expected = format!(r#"{{"failures":{{"{NACK}":1,"timed out":1}},"successes":1}}"#);
        assert_eq!(results.to_string(), expected);
    });
}

fn c37_a_send_to_nobody_has_no_results(net: &impl Form) {
    let node = net.node("node");
    assert!(node.send_with_ack(message(), PATIENCE, 1, &[]).is_empty());
    node.stop();
    assert!(node.send_with_ack(message(), PATIENCE, 1, &[]).is_empty());
}

fn c38_a_send_after_the_stop_fails_for_each_peer(net: &impl Form) {
    let node = net.node("node");
    node.stop();
    let peers = ["a:1", "b:1", "c:1"].map(RemotePeer::new);
    let results = node.send_with_ack(message(), PATIENCE, 1, &peers);
    assert_eq!(texts(&results), ["comm is stopping"; 3]);
}

/// A node that sends one message with this limit, while `answer` plays its receiver.
fn sent_to_raw(
    net: &impl Form,
    limit: Duration,
    answer: impl FnOnce(&Node, &Raw, u64),
) -> (Node, AggregatedSendResult) {
    let (node, server) = (net.node("node"), RawServer::new(net, "server"));
    let peer = RemotePeer::with_id(&server.endpoint, id("server"));
    node.send(&data(1), from_ref(&peer)).unwrap();
    let accepted = server.welcome();
    assert_eq!(accepted.recv().nonce(), 1);
    let results = thread::scope(|scope| {
        let results = scope.spawn(|| node.send_with_ack(message(), limit, 1, from_ref(&peer)));
        answer(&node, &accepted, accepted.recv().nonce());
        results.join().unwrap()
    });
    (node, results)
}

fn ack(nonce: u64, text: &str) -> SignedMessage {
    SignedMessage::noop_sign(wire::ack(nonce, text)).unwrap()
}

fn c39_an_acknowledgement_reaches_only_who_waits_for_it(net: &impl Form) {
    let (_node, results) = sent_to_raw(net, PATIENCE, |node, raw, nonce| {
        let inbox = node.inbox();
        raw.send(&ack(nonce.wrapping_add(1), ""));
        raw.send(&ack(nonce, "no"));
        raw.send(&data(77));
        assert_eq!(next_nonce(&inbox), 77, "and neither acknowledgement before it");
    });
    assert_eq!(texts(&results), ["no"]);
}

fn c40_another_message_with_the_same_nonce_is_no_acknowledgement(net: &impl Form) {
    let mut seen = 0;
    let (_node, results) = sent_to_raw(net, SHORT, |node, raw, nonce| {
        let inbox = node.inbox();
        raw.send(&data(nonce));
        seen = next_nonce(&inbox);
        assert_eq!(seen, nonce);
    });
    assert_eq!(texts(&results), ["timed out"]);
}

fn a_message_is_acknowledged_once(net: &impl Form) {
    let [sender, receiver] = ["sender", "receiver"].map(|name| net.node(name));
    let inboxes = [receiver.inbox(), receiver.inbox()];
    thread::scope(|scope| {
        let results = scope.spawn(|| sender.send_with_ack(message(), PATIENCE, 1, &[receiver.peer()]));
        let copies = inboxes.each_ref().map(next);
        copies[0].ack(None).unwrap();
        assert_eq!(copies[1].ack(Some("too late")).unwrap_err().kind(), ErrorKind::AlreadyAcknowledged);
        assert_eq!(copies[0].clone().ack(None).unwrap_err().kind(), ErrorKind::AlreadyAcknowledged);
        assert_eq!(texts(&results.join().unwrap()), [""]);
    });
}

fn an_acknowledgement_from_another_peer_than_the_receiver_is_ignored(net: &impl Form) {
    let (_node, results) = sent_to_raw(net, PATIENCE, |node, raw, nonce| {
        let inbox = node.inbox();
        let other = Raw::connect(net, "other", &node.endpoint);
        other.send(&ack(nonce, "from somebody else"));
        other.send(&data(5));
        assert_eq!(next_nonce(&inbox), 5, "now the node has seen it");
        raw.send(&ack(nonce, ""));
    });
    assert_eq!(texts(&results), [""]);
}

fn an_acknowledgement_that_comes_too_late_harms_nobody(net: &impl Form) {
    let [sender, receiver] = ["sender", "receiver"].map(|name| net.node(name));
    let inbox = receiver.inbox();
    connect(&sender, &[receiver.peer()]);
    assert_eq!(next_nonce(&inbox), 1);
    let results = sender.send_with_ack(message(), ms(1), 1, &[receiver.peer()]);
    assert_eq!(texts(&results), ["timed out"]);
    next(&inbox).ack(None).unwrap();
    thread::scope(|scope| {
        let results = scope.spawn(|| sender.send_with_ack(message(), PATIENCE, 1, &[receiver.peer()]));
        next(&inbox).ack(None).unwrap();
        assert_eq!(texts(&results.join().unwrap()), [""]);
    });
}

fn an_unreachable_peer_is_reported_at_once(net: &impl Form) {
    with_receivers(net, &[Answer::Ack], |sender, peers| {
        let refused = net.refused();
        let gone = RemotePeer::with_id(&refused.endpoint, id("gone"));
        let start = Instant::now();
        let results = sender.send_with_ack(message(), PATIENCE, 2, &[peers[0].clone(), gone.clone()]);
        assert!(start.elapsed() < PATIENCE / 2, "{:?}", start.elapsed());
        assert_eq!(results.ack_count(), 1);
        let failed = results.iter().find(|r| r.peer == gone).unwrap().error.as_ref().unwrap();
        assert_eq!((failed.kind(), failed.step()), (ErrorKind::Unreachable, Some("dial")));
    });
}

fn a_refused_connection_is_reported_as_such(net: &impl Form) {
    let (node, server) = (net.node("node"), RawServer::new(net, "server"));
    thread::scope(|scope| {
        let peer = RemotePeer::new(&server.endpoint);
        let results = scope.spawn(|| node.send_with_ack(message(), PATIENCE, 1, &[peer]));
        server.accept().end_with(Status::unknown("not you"));
        let results = results.join().unwrap();
        let error = results[0].error.as_ref().unwrap();
        assert_eq!((error.kind(), error.message()), (ErrorKind::Refused, "not you"));
    });
}

fn the_timeout_covers_the_dial(net: &impl Form) {
    let node = net.node("node");
    let server = RawServer::new(net, "silent");
    let start = Instant::now();
    let results = node.send_with_ack(message(), SHORT, 1, &[RemotePeer::new(&server.endpoint)]);
    assert_eq!(texts(&results), ["timed out"]);
    assert!(start.elapsed() >= SHORT && start.elapsed() < Duration::from_secs(15), "{:?}", start.elapsed());
}

fn a_peer_named_twice_has_to_acknowledge_twice(net: &impl Form) {
    with_receivers(net, &[Answer::Ack], |sender, peers| {
        let results = sender.send_with_ack(message(), PATIENCE, 2, &[peers[0].clone(), peers[0].clone()]);
        assert_eq!(texts(&results), ["", ""]);
    });
}

fn without_a_minimum_the_first_failure_ends_the_wait(net: &impl Form) {
    with_receivers(net, &[Answer::Nack, Answer::Silence], |sender, peers| {
        let results = sender.send_with_ack(message(), PATIENCE, 0, peers);
        assert_eq!(texts(&results), [NACK]);
    });
    with_receivers(net, &[Answer::Ack, Answer::Ack], |sender, peers| {
        let results = sender.send_with_ack(message(), PATIENCE, 0, peers);
        assert_eq!(texts(&results), ["", ""], "otherwise it waits for everybody");
    });
}

fn a_stop_ends_the_wait(net: &impl Form) {
    let node = net.node_with("node", |config| config.conn_timeout = ms(300));
    let server = RawServer::new(net, "server");
    let peer = RemotePeer::new(&server.endpoint);
    thread::scope(|scope| {
        let results = scope.spawn(|| node.send_with_ack(message(), PATIENCE, 1, &[peer]));
        let accepted = server.welcome();
        accepted.recv();
        node.stop();
        let results = results.join().unwrap();
        assert_eq!(texts(&results), ["comm is stopping"]);
        drop(accepted);
    });
}

fn the_message_gets_a_fresh_nonce_and_no_signature(net: &impl Form) {
    let [sender, receiver] = ["sender", "receiver"].map(|name| net.node(name));
    let inbox = receiver.inbox();
    connect(&sender, &[receiver.peer()]);
    assert_eq!(next_nonce(&inbox), 1);
    let mut nonces = Vec::new();
    for _ in 0..2 {
        sender.send_with_ack(GossipMessage { nonce: 9, ..message() }, ms(1), 1, &[receiver.peer()]);
        let received = next(&inbox);
        assert!(received.message().envelope().signature.is_empty());
        nonces.push(received.message().nonce());
    }
    assert!(nonces[0] != nonces[1] && !nonces.contains(&9), "{nonces:?}");
}
