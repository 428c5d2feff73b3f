//! Weaknesses of Fabric's own communication layer that no other test shows to be absent here: see docs/weaknesses.md.

use crate::common::*;
use fabric_gossip::comm::RemotePeer;
use fabric_gossip::message;
use fabric_gossip::transport::Status;
use fabric_gossip::ErrorKind;
use std::time::{Duration, Instant};

for_each_transport!(
    weakness_6_no_send_outlives_its_timeout_though_the_queue_never_drains,
    weakness_7_all_senders_to_a_peer_that_cannot_be_reached_learn_it_from_one_dial,
    weakness_13_responses_that_cannot_be_written_are_told_and_the_next_connection_works,
    weakness_15_a_stream_that_ends_in_the_handshake_is_told_at_once,
    weakness_19_a_peer_costs_one_thread_whatever_waits_for_it,
);

/// Well below every limit of a node, well above the duration of every step here.
const AT_ONCE: Duration = Duration::from_secs(LIMIT.as_secs() / 2);

fn weakness_6_no_send_outlives_its_timeout_though_the_queue_never_drains(net: &impl Form) {
    let node = net.node_with("node", |config| config.send_buff_size = 1);
    // It accepts the stream and says nothing.
    let server = RawServer::new(net, "silent");
    let peer = RemotePeer::new(&server.endpoint);
    node.send(&data(1), from_ref(&peer)).unwrap();
    let begun = Instant::now();
    let results = node.send_with_ack(data(2).message().clone(), ms(100), 1, from_ref(&peer));
    assert_eq!(results[0].error.as_ref().unwrap().message(), "timed out");
    let refused = node.send_timeout(&data(3), ms(100), from_ref(&peer)).unwrap_err();
    assert_eq!(refused.not_sent[0].error.kind(), ErrorKind::Full);
    assert!(begun.elapsed() < AT_ONCE, "{:?}", begun.elapsed());
    assert_eq!(node.metrics().gossip_comm_queued_messages, 1, "the queue did not drain");
}

fn weakness_7_all_senders_to_a_peer_that_cannot_be_reached_learn_it_from_one_dial(net: &impl Form) {
    let (node, server) = (net.node("node"), RawServer::new(net, "server"));
    let peer = RemotePeer::new(&server.endpoint);
    let send = |n| node.send_tracked(data(n).message().clone(), PATIENCE, &peer).unwrap();
    let waiting: Vec<_> = (0..20).map(send).collect();
    server.accept().end_with(Status::unknown("go away"));
    for handle in waiting {
        let error = handle.wait(PATIENCE).expect("an outcome").error.expect("a failure");
        assert_eq!((error.kind(), error.message()), (ErrorKind::Refused, "go away"));
    }
    assert!(server.is_idle() && node.metrics().gossip_comm_dials == 1);
}

fn weakness_13_responses_that_cannot_be_written_are_told_and_the_next_connection_works(net: &impl Form) {
    let node = net.node("node");
    let (inbox, events) = (node.inbox(), node.events());
    let raw = Raw::connect(net, "client", &node.endpoint);
    raw.send(&data(1));
    let question = next(&inbox);
    drop(raw);
    let mut accepted = 0;
    let told = loop {
        match question.respond(message::data(2, "channel", 0, "answer")) {
            Ok(()) => accepted += 1,
            Err(e) if e.kind() == ErrorKind::Full => {}
            Err(e) => break e,
        }
    };
    assert_eq!(told.kind(), ErrorKind::Disconnected);
    let again = Raw::connect(net, "client", &node.endpoint);
    eventually("the client is connected again", || node.connection_count() == 1);
    node.send(&data(3), &[RemotePeer::with_id("", id("client"))]).unwrap();
    assert_eq!(again.recv().nonce(), 3);
    drop(again);
    stop_and_account(&node, &events, accepted + 1);
}

fn weakness_15_a_stream_that_ends_in_the_handshake_is_told_at_once(net: &impl Form) {
    let (node, server) = (net.node("node"), RawServer::new(net, "server"));
    let events = node.events();
    let begun = Instant::now();
    node.send(&data(1), &[RemotePeer::new(&server.endpoint)]).unwrap();
    server.accept().end_with(Status::ok());
    let (error, nonces) = await_undelivered(&events);
    assert_eq!((error.kind(), error.step(), nonces), (ErrorKind::Disconnected, Some("handshake"), vec![1]));
    // The same on the accepting side.
    drop(Raw::dial(net, "client", &node.endpoint));
    let (error, inbound) = await_refused(&events);
    assert_eq!((error.kind(), inbound), (ErrorKind::Disconnected, true), "{error}");
    assert!(begun.elapsed() < AT_ONCE, "{:?}", begun.elapsed());
}

fn weakness_19_a_peer_costs_one_thread_whatever_waits_for_it(net: &impl Form) {
    let (node, server) = (net.node("node"), RawServer::new(net, "server"));
    let before = node.metrics().gossip_comm_threads;
    let peer = RemotePeer::new(&server.endpoint);
    (0..150).for_each(|n| node.send(&data(n), from_ref(&peer)).unwrap());
    let accepted = server.accept();
    assert_eq!(node.metrics().gossip_comm_threads, before + 1, "the one that dials and writes");
    accepted.hello();
    conn_of(&accepted.recv());
    assert_eq!((0..150).map(|_| accepted.recv().nonce()).collect::<Vec<_>>(), Vec::from_iter(0..150));
    assert_eq!(node.metrics().gossip_comm_threads, before + 2, "and the one that reads");
}
