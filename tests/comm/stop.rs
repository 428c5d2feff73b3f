//! Stopping: from anywhere, at any time, more than once, and with an account of the messages not written.

use crate::common::*;
use fabric_gossip::comm::RemotePeer;
use fabric_gossip::config::{SubscriptionOptions, WhenFull};
use fabric_gossip::transport::StreamEnd;
use fabric_gossip::ErrorKind;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

for_each_transport!(
    a_second_stop_waits_for_the_first_and_does_nothing,
    a_stop_from_a_predicate_returns_and_everything_ends,
    a_stop_while_sending_accounts_for_every_message,
    a_stop_ends_a_dial_that_hangs,
    a_stop_ends_a_handshake_with_a_silent_peer,
    a_stop_ends_a_handshake_of_a_silent_client,
    a_stop_does_not_wait_for_a_peer_that_reads_nothing,
    a_stop_does_not_wait_for_a_closed_connection_that_nobody_reads,
    a_close_gives_up_a_peer_that_reads_nothing_after_the_connection_timeout,
    a_stop_releases_a_reader_that_waits_for_a_subscription,
    a_stop_ends_a_probe_and_a_handshake,
    the_last_handle_stops_when_it_is_dropped,
    a_stop_after_draining_writes_everything,
    what_was_written_before_the_stop_arrives,
    what_is_received_stays_to_be_read,
    nobody_is_accepted_after_the_stop,
);

/// Upper limit for everything that a stop must wait for; things that it must not wait for take twice as long.
const SOON: Duration = Duration::from_secs(10);

fn a_second_stop_waits_for_the_first_and_does_nothing(net: &impl Form) {
    let [node, other] = ["node", "other"].map(|name| net.node(name));
    let inbox = other.inbox();
    node.send(&data(1), &[other.peer()]).unwrap();
    assert_eq!(next_nonce(&inbox), 1);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                node.stop();
                assert!(node.events().recv().is_err(), "it is over for everybody");
            });
        }
    });
    node.stop();
    assert_eq!(node.connection_count(), 0);
}

fn a_stop_from_a_predicate_returns_and_everything_ends(net: &impl Form) {
    let [sender, receiver] = ["sender", "receiver"].map(|name| net.node(name));
    let returned = Arc::new(AtomicBool::new(false));
    let inbox = receiver.accept({
        let (comm, returned) = (Mutex::new(Some(receiver.comm.clone())), returned.clone());
        move |_| {
            if let Some(comm) = comm.lock().take() {
                comm.stop();
                comm.stop();
                returned.store(true, Ordering::SeqCst);
            }
            true
        }
    });
    sender.send(&data(1), &[receiver.peer()]).unwrap();
    assert!(inbox.iter().count() <= 1, "it ends");
    receiver.stop();
    assert!(returned.load(Ordering::SeqCst));
    assert_eq!(receiver.connection_count(), 0);
}

fn a_stop_while_sending_accounts_for_every_message(net: &impl Form) {
    for _ in 0..5 {
        let [node, other] = ["node", "other"].map(|name| net.node(name));
        let (inbox, events) = (other.inbox(), node.events());
        let accepted = thread::scope(|scope| {
            let senders = [1, 2].map(|t| {
                let (node, other) = (&node, &other);
                scope.spawn(move || send_until_stopped(node, &other.peer(), t * 1_000_000))
            });
            next_nonces(&inbox, 100);
            node.stop();
            senders.map(|sender| sender.join().unwrap()).iter().sum()
        });
        stop_and_account(&node, &events, accepted);
    }
}

/// How many messages were accepted.
fn send_until_stopped(node: &Node, to: &RemotePeer, first: u64) -> u64 {
    let mut accepted = 0;
    loop {
        match node.send(&data(first + accepted), from_ref(to)) {
            Ok(()) => accepted += 1,
            Err(e) if e.not_sent[0].error.kind() == ErrorKind::Full => thread::yield_now(),
            Err(e) => {
                assert_eq!(e.not_sent[0].error.kind(), ErrorKind::Stopped);
                return accepted;
            }
        }
    }
}

fn a_stop_ends_a_dial_that_hangs(net: &impl Form) {
    let node = net.node("node");
    let (events, mute) = (node.events(), net.mute());
    (1..=2).for_each(|n| node.send(&data(n), &[RemotePeer::new(&mute.endpoint)]).unwrap());
    eventually("it dials", || node.metrics().gossip_comm_dials == 1);
    let start = Instant::now();
    node.stop();
    assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
    let (error, nonces) = await_undelivered(&events);
    assert_eq!((error.kind(), nonces), (ErrorKind::Stopped, vec![1, 2]));
}

fn a_stop_ends_a_handshake_with_a_silent_peer(net: &impl Form) {
    let (node, server) = (net.node("node"), RawServer::new(net, "server"));
    let events = node.events();
    node.send(&data(1), &[RemotePeer::new(&server.endpoint)]).unwrap();
    let accepted = server.accept();
    conn_of(&accepted.recv());
    let start = Instant::now();
    node.stop();
    assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
    assert_eq!(await_undelivered(&events).1, [1]);
}

fn a_stop_ends_a_handshake_of_a_silent_client(net: &impl Form) {
    let node = net.node("node");
    let raw = Raw::dial(net, "client", &node.endpoint);
    conn_of(&raw.recv());
    let start = Instant::now();
    node.stop();
    assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
    raw.end();
}

/// A node that has a connection to a peer that reads nothing, and more to write to it than the transport takes.
fn stuck(net: &impl Form) -> (Node, RawServer, Accepted, u64) {
    let node = net.node_with("node", |config| {
        config.send_buff_size = 10;
        config.conn_timeout = ms(1000);
    });
    let server = RawServer::new(net, "server");
    let peer = RemotePeer::with_id(&server.endpoint, id("server"));
    node.send(&data(0), from_ref(&peer)).unwrap();
    let accepted = server.welcome();
    assert_eq!(accepted.recv().nonce(), 0);
    let last = fill(&node, &peer);
    (node, server, accepted, last)
}

fn a_stop_does_not_wait_for_a_peer_that_reads_nothing(net: &impl Form) {
    let (node, _server, _accepted, last) = stuck(net);
    let events = node.events();
    let start = Instant::now();
    let (_, undelivered) = stop_and_account(&node, &events, last + 1);
    assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
    assert!(undelivered > 0);
}

fn a_stop_does_not_wait_for_a_closed_connection_that_nobody_reads(net: &impl Form) {
    let (node, _server, _accepted, last) = stuck(net);
    let events = node.events();
    node.close_conn(&RemotePeer::with_id("", id("server")));
    let start = Instant::now();
    let (_, undelivered) = stop_and_account(&node, &events, last + 1);
    assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
    assert!(undelivered > 0);
}

fn a_stop_releases_a_reader_that_waits_for_a_subscription(net: &impl Form) {
    let node = net.node("node");
    let options = SubscriptionOptions::default().capacity(1).when_full(WhenFull::Wait(None));
    let full = node.subscribe_with(options, |_| true);
    let raw = Raw::connect(net, "client", &node.endpoint);
    (1..=3).for_each(|n| raw.send(&data(n)));
    eventually("it waits", || node.metrics().gossip_comm_messages_received >= 2);
    let start = Instant::now();
    thread::scope(|scope| {
        scope.spawn(|| node.stop());
        raw.end();
        drop(raw);
    });
    assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
    assert_eq!(Vec::from_iter(full.iter().map(|m| m.message().nonce())), [1]);
}

fn a_stop_ends_a_probe_and_a_handshake(net: &impl Form) {
    let node = net.node("node");
    let mute = net.mute();
    let server = RawServer::new(net, "silent");
    thread::scope(|scope| {
        let probe = scope.spawn(|| node.probe(&RemotePeer::new(&mute.endpoint)));
        let handshake = scope.spawn(|| node.handshake(&RemotePeer::new(&server.endpoint)));
        conn_of(&server.accept().recv());
        let start = Instant::now();
        node.stop();
        assert_eq!(probe.join().unwrap().unwrap_err().kind(), ErrorKind::Stopped);
        assert!(handshake.join().unwrap().is_err());
        assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
    });
    assert_eq!(node.probe(&RemotePeer::new(&mute.endpoint)).unwrap_err().message(), "comm is stopping");
}

fn the_last_handle_stops_when_it_is_dropped(net: &impl Form) {
    let [node, other] = ["node", "other"].map(|name| net.node(name));
    let (inbox, theirs, events) = (node.inbox(), other.inbox(), other.events());
    node.send(&data(1), &[other.peer()]).unwrap();
    let received = next(&theirs);
    let clone = node.comm.clone();
    drop(node);
    clone.send(&data(2), &[other.peer()]).unwrap();
    assert_eq!(next_nonce(&theirs), 2);
    drop(clone);
    await_disconnected(&events, "node");
    assert_eq!(inbox.recv().unwrap_err().kind(), ErrorKind::Stopped);
    // A message that outlives its Comm keeps nothing of it alive.
    drop(other);
    assert_eq!(received.ack(None).unwrap_err().kind(), ErrorKind::Stopped);
}

fn a_stop_after_draining_writes_everything(net: &impl Form) {
    let [node, other] = ["node", "other"].map(|name| net.node(name));
    let (inbox, events) = (other.inbox(), node.events());
    (1..=200).for_each(|n| node.send(&blob(n, 5000), &[other.peer()]).unwrap());
    node.stop_after_drain(PATIENCE).unwrap();
    assert_eq!(next_nonces(&inbox, 200), Vec::from_iter(1..=200));
    assert_eq!(stop_and_account(&node, &events, 200), (200, 0));

    let node = net.node("node");
    let mute = net.mute();
    node.send(&data(1), &[RemotePeer::new(&mute.endpoint)]).unwrap();
    assert_eq!(node.stop_after_drain(ms(50)).unwrap_err().kind(), ErrorKind::Timeout);
    assert!(node.send(&data(2), &[other.peer()]).is_err(), "stopped all the same");
}

fn what_was_written_before_the_stop_arrives(net: &impl Form) {
    for _ in 0..10 {
        let [node, other] = ["node", "other"].map(|name| net.node(name));
        let (inbox, events) = (other.inbox(), node.events());
        (1..=200).for_each(|n| node.send(&blob(n, 5000), &[other.peer()]).unwrap());
        assert_eq!(next_nonce(&inbox), 1);
        let (written, _) = stop_and_account(&node, &events, 200);
        assert_eq!(next_nonces(&inbox, written as usize - 1), Vec::from_iter(2..=written));
    }
}

fn what_is_received_stays_to_be_read(net: &impl Form) {
    let [node, other] = ["node", "other"].map(|name| net.node(name));
    let inbox = other.inbox();
    (1..=10).for_each(|n| node.send(&data(n), &[other.peer()]).unwrap());
    eventually("all came", || inbox.len() == 10);
    other.stop();
    assert_eq!(Vec::from_iter(inbox.iter().map(|m| m.message().nonce())), Vec::from_iter(1..=10));
    assert_eq!(other.inbox().recv().unwrap_err().kind(), ErrorKind::Stopped);
}

fn nobody_is_accepted_after_the_stop(net: &impl Form) {
    let node = net.node("node");
    let acceptor = node.acceptor();
    node.stop();
    // A server that is not its own may still hand it streams.
    let served = net.serve("node", Security::Mutual, acceptor);
    let raw = Raw::dial(net, "client", &served.endpoint);
    let (seen, end) = raw.read_to_end();
    assert!(seen.is_empty());
    assert!(matches!(&end, StreamEnd::Remote(s) if s.code == 2 && s.message == "shutting down"), "{end:?}");
}

fn a_close_gives_up_a_peer_that_reads_nothing_after_the_connection_timeout(net: &impl Form) {
    let (node, _server, _accepted, last) = stuck(net);
    let events = node.events();
    node.close_conn(&RemotePeer::with_id("", id("server")));
    let (error, nonces) = await_undelivered(&events);
    assert_eq!((error.kind(), error.message()), (ErrorKind::Stopped, "closed by us"));
    assert_eq!(nonces.last(), Some(&last));
    assert_eq!(node.metrics().gossip_comm_queued_messages, 0);
    eventually("its threads end", || node.metrics().gossip_comm_threads == 0);
}
