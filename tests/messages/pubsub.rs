//! Topics with a deadline, by a clock that only the test moves.

use fabric_gossip::cancel::Cancel;
use fabric_gossip::clock::Clock;
use fabric_gossip::crypto::PkiId;
use fabric_gossip::pubsub::{NoSubscribers, PubSub, SUBSCRIPTION_BUFFER};
use fabric_gossip::testing::VirtualClock;
use fabric_gossip::ErrorKind;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn pubsub<T>() -> (PubSub<String, T>, VirtualClock) {
    let clock = VirtualClock::new();
    (PubSub::new(Arc::new(clock.clone())), clock)
}

/// A topic as Fabric names it: nonce in decimal, PKI-ID in hex.
fn topic(nonce: u64, id: &PkiId) -> String {
    format!("{nonce} {id}")
}

#[test]
fn u1_a_subscriber_gets_what_is_published() {
    let (pubsub, _clock) = pubsub();
    let topic = topic(7, &PkiId::new("peer"));
    let subscription = pubsub.subscribe(topic.clone(), SECOND);
    pubsub.publish(&topic, 42).unwrap();
    assert_eq!(subscription.listen(&Cancel::new()).unwrap(), 42);
}

#[test]
fn u1_also_while_it_is_waiting_already() {
    let (pubsub, clock) = pubsub();
    let subscription = pubsub.subscribe("t".into(), SECOND);
    let waiter = thread::spawn(move || subscription.listen(&Cancel::new()).unwrap());
    clock.wait_for_timer(SECOND);
    pubsub.publish(&"t".into(), 42).unwrap();
    assert_eq!(waiter.join().unwrap(), 42);
}

#[test]
fn u2_without_subscriber_publishing_fails() {
    let (pubsub, _clock) = pubsub();
    let _other = pubsub.subscribe("other".into(), SECOND);
    assert_eq!(pubsub.publish(&"t".into(), 42), Err(NoSubscribers));
    assert_eq!(NoSubscribers.to_string(), "no subscribers");
}

#[test]
fn u3_what_comes_too_late_is_not_delivered() {
    let (pubsub, clock) = pubsub();
    let subscription = pubsub.subscribe("t".into(), SECOND);
    clock.advance(2 * SECOND);
    assert_eq!(pubsub.publish(&"t".into(), 42), Err(NoSubscribers));
    let error = subscription.listen(&Cancel::new()).unwrap_err();
    assert_eq!((error.kind(), error.message()), (ErrorKind::Timeout, "timed out"));
}

#[test]
fn u3_a_wait_ends_at_the_deadline() {
    let (pubsub, clock) = pubsub::<u32>();
    let subscription = pubsub.subscribe("t".into(), SECOND);
    let waiter = thread::spawn(move || subscription.listen(&Cancel::new()).unwrap_err());
    clock.wait_for_timer(SECOND);
    clock.advance(SECOND);
    assert_eq!(waiter.join().unwrap().message(), "timed out");
}

#[test]
fn u4_each_subscriber_keeps_fifty() {
    let (pubsub, clock) = pubsub();
    let subscriptions: Vec<_> = (0..100).map(|_| pubsub.subscribe("t".into(), SECOND)).collect();
    (1..=51).for_each(|item| pubsub.publish(&"t".into(), item).unwrap());
    clock.advance(SECOND);
    for subscription in subscriptions {
        for item in 1..=50 {
            assert_eq!(subscription.listen(&Cancel::new()).unwrap(), item);
        }
        assert_eq!(subscription.listen(&Cancel::new()).unwrap_err().message(), "timed out");
    }
}

#[test]
fn u5_the_table_empties_when_the_time_has_passed() {
    let (pubsub, clock) = pubsub::<u32>();
    let _held: Vec<_> = (0..10).map(|i| pubsub.subscribe(i.to_string(), i * SECOND)).collect();
    assert_eq!(pubsub.topic_count(), 10);
    clock.advance(5 * SECOND);
    pubsub.purge_expired(clock.now());
    assert_eq!(pubsub.topic_count(), 4);
    clock.advance(5 * SECOND);
    pubsub.purge_expired(clock.now());
    assert_eq!(pubsub.topic_count(), 0);
}

#[test]
fn u5_and_at_once_when_a_subscription_is_dropped() {
    let (pubsub, _clock) = pubsub();
    let first = pubsub.subscribe("t".into(), SECOND);
    let second = pubsub.subscribe("t".into(), SECOND);
    drop(first);
    pubsub.publish(&"t".into(), 1).unwrap();
    drop(second);
    assert_eq!(pubsub.topic_count(), 0);
    assert_eq!(pubsub.publish(&"t".into(), 1), Err(NoSubscribers));
}

#[test]
fn a_wait_can_be_cancelled() {
    let (pubsub, clock) = pubsub::<u32>();
    let cancel = Cancel::new();
    let subscription = pubsub.subscribe("t".into(), SECOND);
    let waiter = thread::spawn({
        let cancel = cancel.clone();
        move || subscription.listen(&cancel).unwrap_err()
    });
    clock.wait_for_timer(SECOND);
    cancel.cancel();
    assert_eq!(waiter.join().unwrap().kind(), ErrorKind::Stopped);
    assert_eq!(pubsub.topic_count(), 0);
}

#[test]
fn several_topics_share_one_queue() {
    let clock = VirtualClock::new();
    let pubsub: PubSub<(u64, PkiId), PkiId> = PubSub::new(Arc::new(clock));
    let peers: Vec<PkiId> = (0..100).map(|i| PkiId::new(format!("peer{i}"))).collect();
    // A peer named twice counts once.
    let topics = peers.iter().chain(&peers[..1]).map(|id| (7, id.clone()));
    let subscription = pubsub.subscribe_all(topics, SECOND);
    peers.iter().rev().for_each(|id| pubsub.publish(&(7, id.clone()), id.clone()).unwrap());
    assert_eq!(subscription.items().len(), 100);
    for id in peers.iter().rev() {
        assert_eq!(&subscription.listen(&Cancel::new()).unwrap(), id);
    }
    assert_eq!(SUBSCRIPTION_BUFFER, 50);
    drop(subscription);
    assert_eq!(pubsub.topic_count(), 0);
}
