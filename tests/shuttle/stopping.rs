//! Stop beside everything else.

use crate::support::{check, data, ms, task, together, Net, Node, LIMIT};
use fabric_gossip::config::{SubscriptionOptions, WhenFull};
use fabric_gossip::{message, ErrorKind};

#[test]
fn what_is_sent_beside_a_stop_is_refused_or_accounted_for() {
    check(|| {
        let net = Net::new();
        let [node, other] = ["node", "other"].map(|name| net.node(name));
        let accepted = together([
            task(|| node.send_until_stopped(&other.peer(), 0..3)),
            task(|| node.send_until_stopped(&other.peer(), 10..13)),
            task(|| {
                node.stop();
                0
            }),
        ]);
        net.end(node, accepted.iter().sum());
        net.end(other, 0);
    });
}

#[test]
fn two_peers_that_stop_while_they_send_to_each_other_end() {
    check(|| {
        let net = Net::new();
        let [node, other] = ["node", "other"].map(|name| net.node(name));
        let send_and_stop = |from: &Node, to: &Node| {
            let sent = from.send_until_stopped(&to.peer(), 1..3);
            from.stop();
            sent
        };
        let accepted = together([task(|| send_and_stop(&node, &other)), task(|| send_and_stop(&other, &node))]);
        net.end(node, accepted[0]);
        net.end(other, accepted[1]);
    });
}

#[test]
fn a_stop_releases_who_waits_for_an_acknowledgement_for_room_and_for_messages() {
    check(|| {
        let net = Net::new();
        let node = net.node_with("node", "1", |config| config.send_buff_size = 1);
        let other = net.node("other");
        let inbox = node.inbox();
        let [_, sent, _, _] = together([
            task(|| {
                // No peer acknowledges it.
                let results = node.send_with_ack(message::data(0, "channel", 1, "block"), ms(1), 1, &[other.peer()]);
                assert_eq!((results.len(), results.ack_count()), (1, 0));
                0
            }),
            task(|| u64::from(node.send_timeout(&data(1), ms(1), &[other.peer()]).is_ok())),
            task(|| {
                assert_eq!(inbox.recv().unwrap_err().kind(), ErrorKind::Stopped);
                0
            }),
            task(|| {
                node.stop();
                0
            }),
        ]);
        drop(inbox);
        net.end_within(node, sent..=1 + sent);
        net.end(other, 0);
    });
}

#[test]
fn every_stop_returns_when_all_is_over_and_one_in_a_predicate_at_once() {
    check(|| {
        let net = Net::new();
        let [node, other] = ["node", "other"].map(|name| net.node(name));
        let inner = std::sync::Mutex::new(Some((*node).clone()));
        let inbox = node.accept(move |_| {
            let comm = inner.lock().unwrap().take();
            comm.into_iter().for_each(|comm| comm.stop());
            true
        });
        other.send_all(&node.peer(), [1]);
        assert!(inbox.iter().count() <= 1);
        let stopped = || {
            node.stop();
            assert_eq!(node.metrics().gossip_comm_threads, 0);
        };
        together([task(stopped), task(stopped)]);
        drop(inbox);
        net.end(other, 1);
        net.end(node, 0);
    });
}

#[test]
fn a_slow_subscriber_does_not_hold_up_a_stop() {
    check(|| {
        let net = Net::new();
        let [node, other] = ["node", "other"].map(|name| net.node(name));
        let options = SubscriptionOptions::default().capacity(1).when_full(WhenFull::Wait(None));
        let never_read = node.subscribe_with(options, |_| true);
        other.send_all(&node.peer(), 1..=3);
        let _ = never_read.recv().unwrap();
        net.end(node, 0);
        assert!(never_read.iter().count() <= 2);
        drop(never_read);
        net.end(other, 3);
    });
}

#[test]
fn a_stop_that_takes_too_long_still_accounts_for_everything() {
    check(|| {
        let net = Net::new();
        let [node, other] = ["node", "other"].map(|name| net.node(name));
        // The limit of the stop passes at any moment, that between making an entry and starting its writer too.
        let accepted = net.ticking(LIMIT, || {
            together([
                task(|| node.send_until_stopped(&other.peer(), 0..2)),
                task(|| node.send_until_stopped(&other.peer(), 10..12)),
                task(|| {
                    node.stop();
                    0
                }),
            ])
        });
        net.end(node, accepted.iter().sum());
        net.end(other, 0);
    });
}
