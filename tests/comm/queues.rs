//! Behaviour when there is no room: queues to peers, subscriptions, events; and cases that must do no harm.

use crate::common::*;
use fabric_gossip::comm::{Event, RemotePeer};
use fabric_gossip::config::{SubscriptionOptions, WhenFull};
use fabric_gossip::metrics::DropReason;
use fabric_gossip::{message, ErrorKind};
use std::thread;
use std::time::{Duration, Instant};

for_each_transport!(
    a_queue_is_bounded_in_bytes,
    a_flush_waits_for_everything_accepted_and_says_what_is_left,
    a_flush_waits_for_a_connection_that_is_being_closed,
    a_send_with_a_timeout_waits_for_room,
    a_send_with_a_timeout_fails_when_the_peer_is_given_up,
    a_response_to_a_full_queue_fails_at_once,
    a_response_to_a_peer_that_left_fails,
    a_slow_subscription_misses_messages_and_no_other_does,
    a_subscription_that_drops_holds_nothing_up,
    a_slow_subscription_holds_up_no_other_connection,
    a_panicking_predicate_harms_nobody,
    unread_events_are_counted,
    acknowledgements_pass_a_subscription_that_is_not_read,
);

fn a_queue_is_bounded_in_bytes(net: &impl Form) {
    let size = blob(1, 1000).wire_len();
    let node = net.node_with("node", |config| config.send_buff_bytes = 2 * size);
    let server = RawServer::new(net, "silent");
    let peer = [RemotePeer::new(&server.endpoint)];
    (1..=2).for_each(|n| node.send(&blob(n, 1000), &peer).unwrap());
    let error = node.send(&data(3), &peer).unwrap_err();
    assert_eq!(error.not_sent[0].error.kind(), ErrorKind::Full);
    // One that is larger than the bound goes if it is alone.
    let other = RawServer::new(net, "other");
    let peer = [RemotePeer::new(&other.endpoint)];
    node.send(&blob(1, 10_000), &peer).unwrap();
    assert!(node.send(&data(2), &peer).is_err());
    assert_eq!(other.welcome().recv().nonce(), 1);
    node.send_timeout(&data(2), PATIENCE, &peer).unwrap();
}

fn a_flush_waits_for_everything_accepted_and_says_what_is_left(net: &impl Form) {
    let (node, server) = (net.node("node"), RawServer::new(net, "server"));
    let peer = [RemotePeer::new(&server.endpoint)];
    node.flush(Duration::ZERO).expect("there is nothing to wait for");
    (1..=3).for_each(|n| node.send(&data(n), &peer).unwrap());
    let error = node.flush(ms(50)).unwrap_err();
    assert_eq!(
        (error.kind(), error.message()),
        (ErrorKind::Timeout, "timed out: 3 messages to 1 peers are not written")
    );
    thread::scope(|scope| {
        let flush = scope.spawn(|| node.flush(PATIENCE));
        let accepted = server.welcome();
        flush.join().unwrap().unwrap();
        assert_eq!(node.metrics().gossip_comm_messages_sent, 3);
        assert_eq!([accepted.recv().nonce(), accepted.recv().nonce(), accepted.recv().nonce()], [1, 2, 3]);
    });
    // A flush does not wait for reported messages either.
    let refused = net.refused();
    node.send(&data(4), &[RemotePeer::new(&refused.endpoint)]).unwrap();
    node.flush(PATIENCE).unwrap();
}

fn a_flush_waits_for_a_connection_that_is_being_closed(net: &impl Form) {
    let node = net.node_with("node", |config| config.send_buff_size = 10);
    let server = RawServer::new(net, "server");
    let peer = RemotePeer::with_id(&server.endpoint, id("server"));
    node.send(&data(0), from_ref(&peer)).unwrap();
    let accepted = server.welcome();
    assert_eq!(accepted.recv().nonce(), 0);
    let last = fill(&node, &peer);
    node.close_conn(&peer);
    assert_eq!(node.flush(ms(50)).unwrap_err().kind(), ErrorKind::Timeout);
    for n in 1..=last {
        assert_eq!(accepted.recv().nonce(), n);
    }
    node.flush(PATIENCE).unwrap();
    accepted.end();
}

fn a_send_with_a_timeout_waits_for_room(net: &impl Form) {
    let node = net.node_with("node", |config| config.send_buff_size = 1);
    let server = RawServer::new(net, "server");
    let peer = [RemotePeer::new(&server.endpoint)];
    node.send(&data(1), &peer).unwrap();
    let start = Instant::now();
    let error = node.send_timeout(&data(2), ms(100), &peer).unwrap_err();
    assert!(start.elapsed() >= ms(100));
    assert_eq!((error.not_sent[0].error.kind(), error.not_sent[0].message.nonce()), (ErrorKind::Full, 2));
    assert_eq!(node.metrics().gossip_comm_overflow_count, 1);
    thread::scope(|scope| {
        let sends = scope.spawn(|| (3..=5).try_for_each(|n| node.send_timeout(&data(n), PATIENCE, &peer)));
        let accepted = server.welcome();
        for n in [1, 3, 4, 5] {
            assert_eq!(accepted.recv().nonce(), n);
        }
        sends.join().unwrap().unwrap();
    });
}

fn a_send_with_a_timeout_fails_when_the_peer_is_given_up(net: &impl Form) {
    let node = net.node_with("node", |config| config.send_buff_size = 1);
    let mute = net.mute();
    let peer = [RemotePeer::new(&mute.endpoint)];
    node.send(&data(1), &peer).unwrap();
    thread::scope(|scope| {
        let send = scope.spawn(|| node.send_timeout(&data(2), PATIENCE, &peer));
        eventually("it dials", || node.metrics().gossip_comm_dials == 1);
        node.stop();
        assert_eq!(send.join().unwrap().unwrap_err().not_sent[0].error.kind(), ErrorKind::Stopped);
    });
}

fn a_response_to_a_full_queue_fails_at_once(net: &impl Form) {
    let node = net.node_with("node", |config| config.send_buff_size = 5);
    let inbox = node.inbox();
    let raw = Raw::connect(net, "client", &node.endpoint);
    raw.send(&data(1));
    let question = next(&inbox);
    let last = fill(&node, &RemotePeer::with_id("", id("client")));
    let error = question.respond(message::data(2, "channel", 0, "answer")).unwrap_err();
    assert_eq!((error.kind(), error.step()), (ErrorKind::Full, Some("respond")));
    let error = question.ack(None).unwrap_err();
    assert_eq!((error.kind(), error.step()), (ErrorKind::Full, Some("ack")));
    // After a failure it can be tried again.
    (1..=last).for_each(|n| assert_eq!(raw.recv().nonce(), n));
    eventually("there is room for the acknowledgement", || question.ack(None).is_ok());
    assert_eq!(question.ack(None).unwrap_err().kind(), ErrorKind::AlreadyAcknowledged);
}

fn a_response_to_a_peer_that_left_fails(net: &impl Form) {
    let node = net.node("node");
    let (inbox, events) = (node.inbox(), node.events());
    let raw = Raw::connect(net, "client", &node.endpoint);
    raw.send(&data(1));
    let question = next(&inbox);
    drop(raw);
    await_disconnected(&events, "client");
    eventually("the entry is gone", || {
        let error = question.respond(message::data(2, "channel", 0, "answer")).err();
        error.is_some_and(|e| e.kind() == ErrorKind::Disconnected)
    });
    node.stop();
    assert_eq!(question.ack(None).unwrap_err().kind(), ErrorKind::Stopped);
}

fn a_slow_subscription_misses_messages_and_no_other_does(net: &impl Form) {
    let [sender, receiver] = ["sender", "receiver"].map(|name| net.node(name));
    let options = SubscriptionOptions::default().capacity(2).when_full(WhenFull::Wait(Some(ms(50))));
    let slow = receiver.subscribe_with(options, |_| true);
    let other = receiver.inbox();
    (1..=10).for_each(|n| sender.send(&data(n), &[receiver.peer()]).unwrap());
    assert_eq!(next_nonces(&other, 10), Vec::from_iter(1..=10));
    // The other receiver does not wait for this one, which misses the rest after 50 ms.
    eventually("the slow one has missed eight", || slow.missed() == 8);
    assert_eq!((slow.len(), other.missed()), (2, 0));
    assert_eq!(next_nonces(&slow, 2), [1, 2]);
    sender.send(&data(11), &[receiver.peer()]).unwrap();
    assert_eq!((next_nonce(&slow), next_nonce(&other)), (11, 11));
    let drops = receiver.metrics().drops;
    let [of_sender] = &drops[..] else { panic!("{drops:?}") };
    assert_eq!((&of_sender.peer, of_sender.reason), (&Some(sender.id()), DropReason::SubscriptionFull));
    assert_eq!(of_sender.count, 8);
}

fn a_subscription_that_drops_holds_nothing_up(net: &impl Form) {
    let [sender, receiver] = ["sender", "receiver"].map(|name| net.node(name));
    let size = data(1).wire_len();
    let options = SubscriptionOptions::default().bytes(3 * size).when_full(WhenFull::Drop);
    let narrow = receiver.subscribe_with(options, |_| true);
    let other = receiver.inbox();
    (1..=100).for_each(|n| sender.send(&data(n), &[receiver.peer()]).unwrap());
    assert_eq!(next_nonces(&other, 100), Vec::from_iter(1..=100));
    assert_eq!((narrow.missed(), next_nonces(&narrow, 3)), (97, vec![1, 2, 3]));
}

fn a_slow_subscription_holds_up_no_other_connection(net: &impl Form) {
    let receiver = net.node("receiver");
    let stuck = SubscriptionOptions::default().capacity(1).when_full(WhenFull::Wait(None));
    let stuck = receiver.subscribe_with(stuck, |m| m.connection_info().id == id("first"));
    let others = receiver.subscribe(|m| m.connection_info().id == id("second"));
    let [first, second] = ["first", "second"].map(|name| Raw::connect(net, name, &receiver.endpoint));
    (1..=2).for_each(|n| first.send(&data(n)));
    eventually("it is stuck", || receiver.metrics().gossip_comm_messages_received >= 2);
    (1..=20).for_each(|n| second.send(&data(n)));
    assert_eq!(next_nonces(&others, 20), Vec::from_iter(1..=20));
    assert_eq!(next_nonces(&stuck, 2), [1, 2]);
}

fn a_panicking_predicate_harms_nobody(net: &impl Form) {
    let [sender, receiver] = ["sender", "receiver"].map(|name| net.node(name));
    let _broken = receiver.subscribe(|m| if m.message().nonce() == 1 { panic!("a user's mistake") } else { false });
    let inbox = receiver.inbox();
    (1..=2).for_each(|n| sender.send(&data(n), &[receiver.peer()]).unwrap());
    assert_eq!(next_nonces(&inbox, 2), [1, 2]);
    assert_eq!(receiver.connection_count(), 1);
}

fn unread_events_are_counted(net: &impl Form) {
    let node = net.node_with("node", |config| config.event_buff_size = 2);
    let (unread, refused) = (node.events(), net.refused());
    // Undelivered, presumed dead, dial failed.
    node.send(&data(1), &[RemotePeer::with_id(&refused.endpoint, id("gone"))]).unwrap();
    eventually("there are three", || unread.missed() == 1);
    assert_eq!(unread.len(), 2);
    assert!(matches!(unread.recv().unwrap(), Event::Undelivered { .. }));
}

fn acknowledgements_pass_a_subscription_that_is_not_read(net: &impl Form) {
    let [sender, receiver] = ["sender", "receiver"].map(|name| net.node(name));
    let options = SubscriptionOptions::default().capacity(1).when_full(WhenFull::Wait(Some(ms(50))));
    let _unread = sender.subscribe_with(options, |_| true);
    let inbox = receiver.inbox();
    thread::scope(|scope| {
        let message = data(0).message().clone();
        let results = scope.spawn(|| sender.send_with_ack(message, PATIENCE, 1, &[receiver.peer()]));
        let question = next(&inbox);
        (1..=5).for_each(|n| question.respond(message::data(n, "channel", n, "")).unwrap());
        question.ack(None).unwrap();
        assert_eq!(results.join().unwrap().ack_count(), 1);
    });
}
