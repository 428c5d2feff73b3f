//! Queue, close, replace and acknowledge.

use crate::support::{check, data, id, ms, nonces, task, together, Net};
use fabric_gossip::{message, ErrorKind, RemotePeer};
use shuttle::thread;
use std::time::Duration;

#[test]
fn what_is_sent_by_two_threads_arrives_in_the_order_of_each() {
    check(|| {
        let net = Net::new();
        let [node, other] = ["node", "other"].map(|name| net.node(name));
        let inbox = other.inbox();
        together([
            task(|| node.send_all(&other.peer(), [1, 2, 3])),
            task(|| node.send_all(&other.peer(), [11, 12, 13])),
        ]);
        let all = nonces(&inbox, 6);
        for first in [1, 11] {
            let of_one: Vec<u64> = all.iter().copied().filter(|n| (first..first + 3).contains(n)).collect();
            assert_eq!(of_one, [first, first + 1, first + 2]);
        }
        drop(inbox);
        assert_eq!(net.end(node, 6), 0);
        net.end(other, 0);
    });
}

#[test]
fn what_is_sent_while_its_connection_is_closed_is_accounted_for() {
    check(|| {
        let net = Net::new();
        let [node, other] = ["node", "other"].map(|name| net.node(name));
        together([
            task(|| node.send_all(&other.peer(), [1, 2])),
            task(|| node.send_all(&other.peer(), [3, 4])),
            task(|| (0..2).for_each(|_| node.close_conn(&other.peer()))),
        ]);
        net.end(node, 4);
        net.end(other, 0);
    });
}

#[test]
fn what_is_sent_while_the_line_is_cut_is_accounted_for() {
    check(|| {
        let net = Net::new();
        let [node, other] = ["node", "other"].map(|name| net.node(name));
        together([
            task(|| node.send_all(&other.peer(), 1..=4)),
            task(|| (0..2).for_each(|_| net.network.cut(&other.endpoint))),
            task(|| other.send_all(&node.peer(), 1..=2)),
        ]);
        net.end(node, 4);
        net.end(other, 2);
    });
}

#[test]
fn simultaneous_dials_lose_nothing() {
    check(|| {
        let net = Net::new();
        let [node, other] = ["node", "other"].map(|name| net.node(name));
        let inboxes = [node.inbox(), other.inbox()];
        together([task(|| node.send_all(&other.peer(), [1, 2])), task(|| other.send_all(&node.peer(), [3, 4]))]);
        assert_eq!((nonces(&inboxes[1], 2), nonces(&inboxes[0], 2)), (vec![1, 2], vec![3, 4]));
        assert_eq!((node.connection_count(), other.connection_count()), (1, 1));
        drop(inboxes);
        assert_eq!((net.end(node, 2), net.end(other, 2)), (0, 0));
    });
}

#[test]
fn a_peer_that_comes_back_takes_the_place_of_what_it_was() {
    check(|| {
        let net = Net::new();
        let node = net.node("node");
        // One identity, two processes: the second connects while the first is still there.
        let [before, after] = ["1", "2"].map(|port| net.node_with("other", port, |_| {}));
        let inbox = node.inbox();
        before.send_all(&node.peer(), [1]);
        assert_eq!(nonces(&inbox, 1), [1]);
        together([
            task(|| after.send_all(&node.peer(), [2])),
            task(|| node.send_all(&RemotePeer::with_id("", id("other")), [3, 4])),
        ]);
        assert_eq!(nonces(&inbox, 1), [2]);
        // The end of the stream that was replaced did not take its successor away.
        assert_eq!(node.connection_count(), 1);
        drop(inbox);
        net.end(before, 1);
        let inbox = after.inbox();
        node.send_all(&after.peer(), [5]);
        while nonces(&inbox, 1) != [5] {}
        drop(inbox);
        net.end(node, 3);
        net.end(after, 1);
    });
}

#[test]
fn messages_by_address_and_by_pki_id_keep_their_order_and_are_accounted_for() {
    check(|| {
        let net = Net::new();
        let [node, other] = ["node", "other"].map(|name| net.node(name));
        let inbox = other.inbox();
        together([task(|| node.send_all(&other.peer(), [1, 2])), task(|| node.send_all(&other.address(), [11, 12]))]);
        net.end(node, 4);
        let _ = other.flush(ms(0));
        let got: Vec<u64> =
            std::iter::from_fn(|| inbox.try_recv().ok().flatten()).map(|m| m.message().nonce()).collect();
        for pair in [[1, 2], [11, 12]] {
            let at = |n| got.iter().position(|g| *g == n);
            if let (Some(first), Some(second)) = (at(pair[0]), at(pair[1])) {
                assert!(first < second, "{got:?}");
            }
        }
        drop(inbox);
        net.end(other, 0);
    });
}

#[test]
fn a_full_queue_refuses_or_makes_wait_and_wakes_who_waited() {
    check(|| {
        let net = Net::new();
        let node = net.node_with("node", "1", |config| config.send_buff_size = 1);
        let other = net.node("other");
        let accepted = net.ticking(ms(20), || {
            let wait = |nonce| node.send_timeout(&data(nonce), Duration::MAX, &[other.peer()]).map_or(0, |()| 1);
            together([
                task(|| wait(1)),
                task(|| wait(2)),
                task(|| node.send(&data(3), &[other.peer()]).map_or(0, |()| 1)),
            ])
        });
        assert_eq!(accepted[..2], [1, 1], "who waits gets room");
        node.flush(ms(1)).unwrap_or_else(|e| assert_eq!(e.kind(), ErrorKind::Timeout));
        net.end(node, accepted.iter().sum());
        net.end(other, 0);
    });
}

#[test]
fn a_flush_ends_when_everything_before_it_is_settled() {
    check(|| {
        let net = Net::new();
        let [node, other] = ["node", "other"].map(|name| net.node(name));
        together([task(|| node.send_all(&other.peer(), [1, 2])), task(|| node.close_conn(&other.peer()))]);
        // Without a clock that moves it ends only because all is settled.
        node.flush(ms(1)).unwrap();
        assert_eq!(node.metrics().gossip_comm_queued_messages, 0);
        net.end(node, 2);
        net.end(other, 0);
    });
}

#[test]
fn an_acknowledged_send_has_one_outcome_whatever_happens_to_its_connection() {
    check(|| {
        let net = Net::new();
        let [node, other] = ["node", "other"].map(|name| net.node(name));
        let inbox = other.inbox();
        let acks = thread::spawn(move || inbox.iter().filter(|received| received.ack(None).is_ok()).count() as u64);
        let message = || message::data(0, "channel", 1, "block");
        // Time moves on, for the acknowledgements that are lost with their connection.
        let outcomes = net.ticking(ms(1000), || {
            together([
                task(|| {
                    let handle = node.send_tracked(message(), ms(1), &other.peer()).unwrap();
                    let acknowledged = handle.wait(Duration::from_secs(1)).is_some_and(|r| r.error.is_none());
                    assert!(!acknowledged || handle.wait(Duration::ZERO).is_none());
                    u64::from(acknowledged)
                }),
                task(|| {
                    let results = node.send_with_ack(message(), Duration::from_secs(1), 1, &[other.peer()]);
                    assert_eq!(results.len(), 1);
                    results.ack_count() as u64
                }),
                task(|| {
                    node.close_conn(&other.peer());
                    0
                }),
            ])
        });
        let acknowledged: u64 = outcomes.iter().sum();
        other.stop();
        let acks = acks.join().unwrap();
        assert!(acknowledged <= acks, "{acknowledged} acknowledged, {acks} acknowledgements given");
        net.end(other, acks);
        // A failed one is reported to the waiting caller, and not as an event.
        net.end_within(node, acknowledged..=2);
    });
}

#[test]
fn messages_under_two_names_are_accounted_for_while_connections_come_and_go() {
    check(|| {
        let net = Net::new();
        let [node, other] = ["node", "other"].map(|name| net.node(name));
        together([
            task(|| node.send_all(&other.peer(), [1, 2])),
            task(|| node.send_all(&other.address(), [11, 12])),
            task(|| {
                net.network.cut(&other.endpoint);
                node.close_conn(&other.peer());
                node.close_conn(&other.address());
            }),
        ]);
        net.end(node, 4);
        net.end(other, 0);
    });
}

#[test]
fn a_peer_gets_nothing_that_was_meant_for_the_one_that_answered_in_its_place() {
    check(|| {
        let net = Net::new();
        let [node, other, third] = ["node", "other", "third"].map(|name| net.node(name));
        let inbox = other.inbox();
        together([
            // Another one answers where it was expected, and it dials us itself.
            task(|| node.send_all(&RemotePeer::with_id(&third.endpoint, id("other")), [1])),
            task(|| other.send_all(&node.peer(), [2])),
        ]);
        together([task(|| net.network.cut(&third.endpoint)), task(|| node.send_all(&third.peer(), [3, 4]))]);
        net.end(node, 3);
        net.end(third, 0);
        net.end(other, 1);
        let got: Vec<u64> = inbox.iter().map(|m| m.message().nonce()).collect();
        assert!(!got.contains(&3) && !got.contains(&4), "{got:?}");
    });
}

#[test]
fn what_a_sender_writes_itself_is_accounted_for_when_its_connection_ends() {
    check(|| {
        let net = Net::new();
        let [node, other] = ["node", "other"].map(|name| net.node(name));
        let inbox = other.inbox();
        node.send_all(&other.peer(), [1]);
        assert_eq!(nonces(&inbox, 1), [1]);
        // The connection is idle: the sender writes inline.
        together([
            task(|| node.send_all(&other.peer(), [2])),
            task(|| node.send_all(&other.peer(), [3])),
            task(|| node.close_conn(&other.peer())),
        ]);
        drop(inbox);
        net.end(node, 3);
        net.end(other, 0);
    });
}

#[test]
fn what_a_sender_writes_itself_is_accounted_for_when_the_line_is_cut() {
    check(|| {
        let net = Net::new();
        let [node, other] = ["node", "other"].map(|name| net.node(name));
        let inbox = other.inbox();
        node.send_all(&other.peer(), [1]);
        assert_eq!(nonces(&inbox, 1), [1]);
        together([task(|| node.send_all(&other.peer(), [2, 3])), task(|| net.network.unlisten(&other.endpoint))]);
        drop(inbox);
        net.end(node, 3);
        net.end(other, 0);
    });
}

#[test]
fn who_connects_is_told_once_who_answered_or_why_nobody_did() {
    check(|| {
        let net = Net::new();
        let [node, other] = ["node", "other"].map(|name| net.node(name));
        const LONG: Duration = Duration::from_secs(1 << 30);
        // Time moves on, for a peer that says nothing.
        net.ticking(ms(1000), || {
            together([
                task(|| {
                    let found = node.connect(&other.address(), LONG);
                    assert_eq!(found.map_or(id("other"), |found| found.info.id), id("other"));
                }),
                task(|| match node.connect(&other.peer(), LONG) {
                    Ok(found) => assert_eq!(found.info.id, id("other")),
                    Err(e) => assert_ne!(e.kind(), ErrorKind::Timeout),
                }),
                task(|| node.send_all(&other.peer(), [1])),
                task(|| node.close_conn(&other.peer())),
            ])
        });
        net.end(node, 1);
        net.end(other, 0);
    });
}
