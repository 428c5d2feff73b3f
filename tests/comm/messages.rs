//! Messages in transit, and the fate of connections meanwhile: rows C14, C15, C18–C21, C27–C31 and C46.

use crate::common::*;
use fabric_gossip::comm::{Event, RemotePeer};
use fabric_gossip::internals::message as wire;
use fabric_gossip::message::{self, Content, SignedMessage};
use fabric_gossip::transport::{Status, StreamEnd};
use fabric_gossip::ErrorKind;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

for_each_transport!(
    c14_a_peer_whose_connection_was_closed_cannot_write_for_long,
    c15_two_peers_that_send_at_once_both_receive,
    c18_a_response_reaches_the_sender,
    c19_subscriptions_get_what_they_asked_for_and_end_with_the_stop,
    c20_a_connection_carries_messages_both_ways,
    c21_a_peer_that_restarted_is_reached_again,
    c27_a_peer_that_stopped_is_presumed_dead_at_the_next_send,
    c28_a_malformed_message_ends_the_reading_with_one_report,
    c28_a_malformed_message_from_a_peer_that_we_dialled_ends_the_connection,
    c29_what_came_before_a_malformed_message_is_delivered,
    c30_sending_while_the_other_side_stops_loses_nothing_silently,
    c31_the_counters_count_by_one,
    c46_a_message_for_a_full_queue_comes_back_and_is_counted,
    c46_a_send_with_ack_waits_for_room,
    later_connection_messages_and_empty_ones_are_delivered_like_any_other,
    a_message_of_a_megabyte_arrives_whole,
    a_message_beyond_the_limit_comes_back,
    a_send_to_nobody_and_to_nothing,
    one_message_goes_to_many,
);

fn c14_a_peer_whose_connection_was_closed_cannot_write_for_long(net: &impl Form) {
    let node = net.node_with("server", |config| config.conn_timeout = ms(500));
    let events = node.events();
    let raw = Raw::connect(net, "client", &node.endpoint);
    await_connected(&events, "client");
    node.close_conn(&RemotePeer::with_id("", id("nobody")));
    assert_eq!(node.connection_count(), 1, "closing an unknown peer is nothing");
    node.close_conn(&RemotePeer::with_id("", id("client")));
    await_disconnected(&events, "client");
    let mut writes = 0;
    eventually("a write fails", || {
        writes += 1;
        raw.stream.send(blob(writes, 64 << 10).wire()).is_err()
    });
    assert_eq!(node.connection_count(), 0);
}

fn c15_two_peers_that_send_at_once_both_receive(net: &impl Form) {
    let [first, second] = ["first", "second"].map(|name| net.node(name));
    let inboxes = [first.inbox(), second.inbox()];
    thread::scope(|scope| {
        for (from, to) in [(&first, &second), (&second, &first)] {
            scope.spawn(|| (1..=100).for_each(|n| from.send(&data(n), &[to.peer()]).unwrap()));
        }
    });
    for inbox in inboxes {
        assert_eq!(next_nonces(&inbox, 100), Vec::from_iter(1..=100));
    }
}

fn c18_a_response_reaches_the_sender(net: &impl Form) {
    let [first, second] = ["first", "second"].map(|name| net.node(name));
    let (asked, answered) = (second.inbox(), first.inbox());
    first.send(&data(41), &[second.peer()]).unwrap();
    let question = next(&asked);
    question.respond(message::data(question.message().nonce() + 1, "channel", 0, "answer")).unwrap();
    let answer = next(&answered);
    assert_eq!((answer.message().nonce(), &answer.connection_info().id), (42, &second.id()));
    assert!(answer.message().envelope().signature.is_empty());
}

fn c19_subscriptions_get_what_they_asked_for_and_end_with_the_stop(net: &impl Form) {
    let [sender, receiver] = ["sender", "receiver"].map(|name| net.node(name));
    let by_parity = [0, 1].map(|parity| receiver.accept(move |m| m.message().nonce() % 2 == parity));
    (1..=200).for_each(|n| sender.send(&data(n), &[receiver.peer()]).unwrap());
    let [even, odd] = by_parity.map(|subscription| {
        let nonces = next_nonces(&subscription, 100);
        (subscription, nonces)
    });
    assert_eq!(even.1, Vec::from_iter((2..=200).step_by(2)));
    assert_eq!(odd.1, Vec::from_iter((1..=199).step_by(2)));
    receiver.stop();
    for subscription in [even.0, odd.0, receiver.inbox()] {
        assert_eq!(subscription.recv().unwrap_err().kind(), ErrorKind::Stopped);
    }
}

fn c20_a_connection_carries_messages_both_ways(net: &impl Form) {
    let [first, second] = ["first", "second"].map(|name| net.node(name));
    let inboxes = [first.inbox(), second.inbox()];
    first.send(&data(1), &[second.peer()]).unwrap();
    assert_eq!(next_nonce(&inboxes[1]), 1);
    second.send(&data(2), &[first.peer()]).unwrap();
    assert_eq!(next_nonce(&inboxes[0]), 2);
    assert_eq!((first.metrics().gossip_comm_dials, second.metrics().gossip_comm_dials), (1, 0));
    assert_eq!((first.connection_count(), second.connection_count()), (1, 1));
}

fn c21_a_peer_that_restarted_is_reached_again(net: &impl Form) {
    let [first, second] = ["first", "second"].map(|name| net.node(name));
    let inbox = second.inbox();
    first.send(&data(1), &[second.peer()]).unwrap();
    assert_eq!(next_nonce(&inbox), 1);
    second.leave(net);
    let restarted = net.node("second");
    let inbox = restarted.inbox();
    first.send(&data(2), &[restarted.peer()]).unwrap();
    assert_eq!(next_nonce(&inbox), 2);
}

fn c27_a_peer_that_stopped_is_presumed_dead_at_the_next_send(net: &impl Form) {
    let [first, second] = ["first", "second"].map(|name| net.node(name));
    let (inbox, events, dead) = (second.inbox(), first.events(), first.presumed_dead());
    first.send(&data(1), &[second.peer()]).unwrap();
    assert_eq!(next_nonce(&inbox), 1);
    second.leave(net);
    await_disconnected(&events, "second");
    assert_nothing(&dead);
    for n in 2..=6 {
        first.send(&data(n), &[second.peer()]).unwrap();
    }
    assert_eq!(next(&dead), second.id());
    await_event(&events, |e| match e {
        Event::PresumedDead { pki_id } => Some(assert_eq!(*pki_id, second.id())),
        _ => None,
    });
}

const MALFORMED: &[u8] = b"\x0a\x01\x01";

fn c28_a_malformed_message_ends_the_reading_with_one_report(net: &impl Form) {
    let node = net.node("server");
    let (events, inbox) = (node.events(), node.inbox());
    let raw = Raw::connect(net, "client", &node.endpoint);
    await_connected(&events, "client");
    raw.stream.send(MALFORMED.into()).unwrap();
    let reason = await_disconnected(&events, "client");
    assert!(reason.contains("malformed"), "{reason}");
    assert!(raw.refusal().starts_with("Failed unmarshalling GossipMessage from envelope: "));
    let _ = raw.stream.send(data(1).wire());
    assert_eq!((node.connection_count(), node.metrics().gossip_comm_messages_received), (0, 1));
    assert_nothing(&inbox);
    assert_nothing(&events);
}

fn c28_a_malformed_message_from_a_peer_that_we_dialled_ends_the_connection(net: &impl Form) {
    let (node, server) = (net.node("node"), RawServer::new(net, "server"));
    let (events, dead) = (node.events(), node.presumed_dead());
    node.send(&data(1), &[RemotePeer::new(&server.endpoint)]).unwrap();
    let accepted = server.welcome();
    assert_eq!(accepted.recv().nonce(), 1);
    // The connection may have ended before the write is reported as complete.
    let _ = accepted.stream.send(MALFORMED.into());
    await_connected(&events, "server");
    assert!(await_disconnected(&events, "server").contains("malformed"));
    accepted.end();
    eventually("the entry is gone", || node.connection_count() == 0);
    assert_nothing(&dead);
    // And the next message dials again.
    node.send(&data(2), &[RemotePeer::new(&server.endpoint)]).unwrap();
    assert_eq!(server.welcome().recv().nonce(), 2);
}

fn c29_what_came_before_a_malformed_message_is_delivered(net: &impl Form) {
    let node = net.node("server");
    let inbox = node.inbox();
    let raw = Raw::connect(net, "client", &node.endpoint);
    let sent = data(1);
    raw.send(&sent);
    eventually("a write fails", || raw.stream.send(MALFORMED.into()).is_err());
    assert_eq!(next(&inbox).message().envelope().payload, sent.envelope().payload);
    let end = raw.end();
    assert!(matches!(&end, StreamEnd::Remote(status) if status.code == 2), "{end:?}");
    assert_nothing(&inbox);
}

fn c30_sending_while_the_other_side_stops_loses_nothing_silently(net: &impl Form) {
    let [first, second] = ["first", "second"].map(|name| net.node(name));
    let (inbox, events) = (second.inbox(), first.events());
    let stopped = AtomicBool::new(false);
    let accepted = thread::scope(|scope| {
        let sender = scope.spawn(|| {
            let mut accepted = 0;
            while !stopped.load(Ordering::SeqCst) {
                accepted += u64::from(first.send(&data(accepted + 1), &[second.peer()]).is_ok());
            }
            accepted
        });
        next_nonces(&inbox, 50);
        second.leave(net);
        stopped.store(true, Ordering::SeqCst);
        sender.join().unwrap()
    });
    stop_and_account(&first, &events, accepted);
}

fn c31_the_counters_count_by_one(net: &impl Form) {
    let [sender, receiver] = ["sender", "receiver"].map(|name| net.node(name));
    let inbox = receiver.inbox();
    for n in 1..=10 {
        sender.send(&data(n), &[receiver.peer()]).unwrap();
        assert_eq!(next_nonce(&inbox), n);
        assert_eq!(receiver.metrics().gossip_comm_messages_received, n);
    }
    sender.flush(PATIENCE).unwrap();
    let metrics = sender.metrics();
    assert_eq!((metrics.gossip_comm_messages_sent, metrics.gossip_comm_messages_received), (10, 0));
    assert_eq!((metrics.gossip_comm_dials, metrics.gossip_comm_handshakes, metrics.gossip_comm_connections), (1, 1, 1));
    assert_eq!(metrics.gossip_comm_overflow_count, 0);
}

fn c46_a_message_for_a_full_queue_comes_back_and_is_counted(net: &impl Form) {
    let node = net.node_with("node", |config| config.send_buff_size = 3);
    let (events, server) = (node.events(), RawServer::new(net, "slow"));
    let peer = RemotePeer::with_id(&server.endpoint, id("slow"));
    // The handshake has not been answered, so everything waits.
    (1..=3).for_each(|n| node.send(&data(n), from_ref(&peer)).unwrap());
    for rejected in 1..=2 {
        let message = data(9);
        let error = node.send(&message, from_ref(&peer)).unwrap_err();
        let [not_sent] = &error.not_sent[..] else { panic!("{error}") };
        assert_eq!((&not_sent.peer, not_sent.message.wire()), (&peer, message.wire()));
        assert_eq!(not_sent.error.kind(), ErrorKind::Full);
        assert_eq!(node.metrics().gossip_comm_overflow_count, rejected);
    }
    // A slow reader on a live connection has the same effect, after the transport's buffers are full.
    let accepted = server.welcome();
    assert_eq!([accepted.recv().nonce(), accepted.recv().nonce(), accepted.recv().nonce()], [1, 2, 3]);
    fill(&node, &peer);
    assert_eq!(node.metrics().gossip_comm_overflow_count, 3);
    assert!(await_connected(&events, "slow"));
    assert_eq!(node.connection_count(), 1, "a full queue is no reason to disconnect");
    accepted.end_with(Status::ok());
}

fn c46_a_send_with_ack_waits_for_room(net: &impl Form) {
    let node = net.node_with("node", |config| config.send_buff_size = 1);
    let server = RawServer::new(net, "slow");
    let peer = RemotePeer::with_id(&server.endpoint, id("slow"));
    node.send(&data(1), from_ref(&peer)).unwrap();
    let dialling = server.accept();
    thread::scope(|scope| {
        let results = scope.spawn(|| node.send_with_ack(data(0).message().clone(), PATIENCE, 1, from_ref(&peer)));
        // The queue is full until the handshake is answered.
        dialling.hello();
        conn_of(&dialling.recv());
        assert_eq!(dialling.recv().nonce(), 1);
        let nonce = dialling.recv().nonce();
        dialling.send(&SignedMessage::noop_sign(wire::ack(nonce, "")).unwrap());
        let results = results.join().unwrap();
        assert_eq!((results.len(), results.ack_count()), (1, 1), "{results}");
    });
    assert_eq!(node.metrics().gossip_comm_overflow_count, 0);
}

fn later_connection_messages_and_empty_ones_are_delivered_like_any_other(net: &impl Form) {
    let node = net.node("server");
    let inbox = node.inbox();
    let raw = Raw::connect(net, "client", &node.endpoint);
    raw.hello();
    raw.send(&SignedMessage::noop_sign(message::empty(7)).unwrap());
    raw.stream.send(bytes::Bytes::new()).unwrap();
    assert!(matches!(next(&inbox).message().message().content, Some(Content::Conn(_))));
    assert_eq!(next_nonce(&inbox), 7);
    assert!(next(&inbox).message().content().is_none());
}

fn a_message_of_a_megabyte_arrives_whole(net: &impl Form) {
    let [sender, receiver] = ["sender", "receiver"].map(|name| net.node(name));
    let inbox = receiver.inbox();
    let messages = [blob(1, 1 << 20), data(2), blob(3, 5 << 20)];
    messages.iter().for_each(|m| sender.send(m, &[receiver.peer()]).unwrap());
    for sent in &messages {
        assert!(next(&inbox).message().wire() == sent.wire(), "message {} changed", sent.nonce());
    }
}

fn a_message_beyond_the_limit_comes_back(net: &impl Form) {
    let limit = blob(1, 1000).wire_len();
    let sender = net.node_with("sender", |config| config.max_message_size = limit);
    let receiver = net.node("receiver");
    let inbox = receiver.inbox();
    let error = sender.send(&blob(1, 1001), &[receiver.peer()]).unwrap_err();
    assert_eq!(error.not_sent[0].error.kind(), ErrorKind::TooLarge);
    let results = sender.send_with_ack(blob(1, 1001).message().clone(), PATIENCE, 1, &[receiver.peer()]);
    assert_eq!(results[0].error.as_ref().unwrap().kind(), ErrorKind::TooLarge);
    sender.send(&blob(1, 1000), &[receiver.peer()]).unwrap();
    assert_eq!(next_nonce(&inbox), 1);
}

fn a_send_to_nobody_and_to_nothing(net: &impl Form) {
    let node = net.node("node");
    node.send(&data(1), &[]).unwrap();
    let error = node.send(&data(1), &[RemotePeer::new("")]).unwrap_err();
    assert_eq!(error.not_sent[0].error.kind(), ErrorKind::Config);
    // Known by a name that is not connected, and no idea where it is.
    let events = node.events();
    node.send(&data(2), &[RemotePeer::with_id("", id("somebody"))]).unwrap();
    let (error, nonces) = await_undelivered(&events);
    assert_eq!((error.kind(), &*nonces), (ErrorKind::Unreachable, &[2][..]));
    node.stop();
    node.send(&data(1), &[]).unwrap();
    let error = node.send(&data(1), &[RemotePeer::new("h:1")]).unwrap_err();
    assert_eq!(error.not_sent[0].error.kind(), ErrorKind::Stopped);
    // A function that returns the library's `Result` can use `?`.
    let text = error.to_string();
    let error = fabric_gossip::Error::from(error);
    assert_eq!((error.kind(), error.message()), (ErrorKind::Stopped, &*text));
    assert!(std::error::Error::source(&error).is_some_and(|source| source.is::<fabric_gossip::comm::SendError>()));
}

fn one_message_goes_to_many(net: &impl Form) {
    let sender = net.node("sender");
    let nodes: Vec<_> = (0..5).map(|i| net.node(&format!("receiver {i}"))).collect();
    let inboxes: Vec<_> = nodes.iter().map(Node::inbox).collect();
    let peers: Vec<_> = nodes.iter().map(Node::peer).collect();
    (1..=20).for_each(|n| sender.send(&data(n), &peers).unwrap());
    for inbox in &inboxes {
        assert_eq!(next_nonces(inbox, 20), Vec::from_iter(1..=20));
    }
}
