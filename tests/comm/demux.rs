//! The demultiplexer by itself: rows C41–C45, and the cost of a slow reader.

use crate::common::*;
use fabric_gossip::clock::SystemClock;
use fabric_gossip::config::{SubscriptionOptions, WhenFull};
use fabric_gossip::internals::{ByteSize, Demux};
use fabric_gossip::testing::VirtualClock;
use fabric_gossip::ErrorKind;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq)]
struct Number(u64);

impl ByteSize for Number {
    fn byte_size(&self) -> usize {
        1
    }
}

fn demux() -> Demux<Number> {
    Demux::new(Arc::new(SystemClock))
}

fn options() -> SubscriptionOptions {
    SubscriptionOptions::default()
}

#[test]
fn c41_each_subscription_gets_its_parity() {
    let demux = demux();
    let [even, odd] = [0, 1].map(|parity| demux.subscribe(options(), move |n: &Number| n.0 % 2 == parity));
    (0..20).for_each(|n| assert_eq!(demux.publish(&Number(n)), 0));
    assert_eq!((even.len(), odd.len()), (10, 10));
    demux.close();
    assert_eq!(Vec::from_iter(even.iter().map(|n| n.0)), Vec::from_iter((0..20).step_by(2)));
    assert_eq!(Vec::from_iter(odd.iter().map(|n| n.0)), Vec::from_iter((1..20).step_by(2)));
}

#[test]
fn c42_closing_twice_is_harmless_and_leaves_what_is_buffered() {
    let demux = demux();
    let subscription = demux.subscribe(options(), |_| true);
    (1..=2).for_each(|n| assert_eq!(demux.publish(&Number(n)), 0));
    demux.close();
    demux.close();
    assert_eq!(subscription.recv().unwrap(), Number(1));
    assert_eq!(subscription.try_recv().unwrap(), Some(Number(2)));
    assert_eq!(subscription.try_recv().unwrap_err().kind(), ErrorKind::Stopped);
    assert_eq!(subscription.recv().unwrap_err().kind(), ErrorKind::Stopped);
    assert_eq!(subscription.recv_timeout(PATIENCE).unwrap_err().kind(), ErrorKind::Stopped);
}

#[test]
fn an_interrupted_wait_goes_on_until_it_is_no_longer_wanted() {
    let demux = demux();
    let subscription = demux.subscribe(options(), |_| true);
    let (wanted, asked) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicUsize::new(0)));
    let waiting = {
        let (subscription, wanted, asked) = (subscription.clone(), wanted.clone(), asked.clone());
        let wanted = move || {
            asked.fetch_add(1, Ordering::SeqCst);
            wanted.load(Ordering::SeqCst)
        };
        thread::spawn(move || subscription.recv_while(None, wanted))
    };
    eventually("it waits", || asked.load(Ordering::SeqCst) > 0);
    let before = asked.load(Ordering::SeqCst);
    subscription.interrupt();
    eventually("it has asked again", || asked.load(Ordering::SeqCst) > before);
    assert!(!waiting.is_finished());
    wanted.store(false, Ordering::SeqCst);
    subscription.interrupt();
    assert_eq!(waiting.join().unwrap().unwrap_err().kind(), ErrorKind::Stopped);
}

#[test]
fn c43_after_closing_subscriptions_have_ended_and_predicates_are_not_asked() {
    let demux = demux();
    let asked = Arc::new(AtomicUsize::new(0));
    let predicate = |asked: &Arc<AtomicUsize>| {
        let asked = asked.clone();
        move |_: &Number| {
            asked.fetch_add(1, Ordering::SeqCst);
            true
        }
    };
    let before = demux.subscribe(options(), predicate(&asked));
    demux.publish(&Number(1));
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    demux.close();
    let after = demux.subscribe(options(), predicate(&asked));
    assert_eq!(demux.publish(&Number(2)), 0);
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    assert_eq!(before.recv().unwrap(), Number(1));
    for subscription in [before, after] {
        assert_eq!(subscription.recv().unwrap_err().kind(), ErrorKind::Stopped);
    }
}

#[test]
fn c44_closing_releases_a_publisher_that_waits_for_room() {
    let clock = VirtualClock::new();
    for (capacity, bytes) in [(1, 1000), (1000, 1)] {
        for limit in [None, Some(Duration::from_secs(3600))] {
            let demux = Demux::new(Arc::new(clock.clone()));
            let options = options().capacity(capacity).bytes(bytes).when_full(WhenFull::Wait(limit));
            let subscription = demux.subscribe(options, |_| true);
            demux.publish(&Number(1));
            let publishing = AtomicBool::new(false);
            thread::scope(|scope| {
                let publisher = scope.spawn(|| {
                    publishing.store(true, Ordering::SeqCst);
                    demux.publish(&Number(2))
                });
                match limit {
                    Some(limit) => clock.wait_for_timer(limit),
                    None => eventually("it publishes", || publishing.load(Ordering::SeqCst)),
                }
                demux.close();
                publisher.join().unwrap();
            });
            assert_eq!(subscription.recv().unwrap(), Number(1));
            assert!(subscription.recv().is_err());
            clock.advance(Duration::from_secs(7200));
        }
    }
}

#[test]
fn c45_subscribing_publishing_and_closing_at_once_ends() {
    for _ in 0..20 {
        let demux = demux();
        thread::scope(|scope| {
            for t in 0..3 {
                let demux = &demux;
                scope.spawn(move || (0..100).for_each(|n| assert!(demux.publish(&Number(t * 1000 + n)) < 1000)));
                scope.spawn(move || {
                    for _ in 0..50 {
                        let subscription = demux.subscribe(options().capacity(5), |n: &Number| n.0 % 2 == 0);
                        let _ = subscription.try_recv();
                    }
                });
            }
            scope.spawn(|| demux.close());
        });
    }
}

#[test]
fn a_slow_reader_makes_the_publisher_wait_once_and_misses_the_rest() {
    let clock = VirtualClock::new();
    let demux = Demux::new(Arc::new(clock.clone()));
    let limit = Duration::from_secs(1);
    let slow = demux.subscribe(options().capacity(2).when_full(WhenFull::Wait(Some(limit))), |_| true);
    let other = demux.subscribe(options(), |_| true);
    (1..=2).for_each(|n| assert_eq!(demux.publish(&Number(n)), 0));
    thread::scope(|scope| {
        let publisher = scope.spawn(|| demux.publish(&Number(3)));
        clock.wait_for_timer(limit);
        clock.advance(limit);
        assert_eq!(publisher.join().unwrap(), 1);
    });
    // After waiting without success, it does not wait again.
    (4..=5).for_each(|n| assert_eq!(demux.publish(&Number(n)), 1));
    assert_eq!(slow.missed(), 3);
    assert_eq!(slow.recv().unwrap(), Number(1));
    assert_eq!(demux.publish(&Number(6)), 0);
    assert_eq!([slow.recv().unwrap(), slow.recv().unwrap()], [Number(2), Number(6)]);
    assert_eq!((slow.missed(), other.missed()), (3, 0));
    demux.close();
    assert_eq!(Vec::from_iter(other.iter().map(|n| n.0)), [1, 2, 3, 4, 5, 6]);
}

#[test]
fn a_reader_that_makes_room_in_time_misses_nothing() {
    let demux = demux();
    let narrow = demux.subscribe(options().capacity(1).when_full(WhenFull::Wait(None)), |_| true);
    let light = demux.subscribe(options().bytes(1).when_full(WhenFull::Wait(None)), |_| true);
    thread::scope(|scope| {
        for t in 0..2u64 {
            let demux = &demux;
            scope.spawn(move || (0..200).for_each(|n| assert_eq!(demux.publish(&Number(t * 1000 + n)), 0)));
        }
        for subscription in [&narrow, &light] {
            scope.spawn(|| {
                let got: Vec<_> = (0..400).map(|_| next(subscription).0).collect();
                for t in 0..2 {
                    let of: Vec<_> = got.iter().filter(|n| **n / 1000 == t).map(|n| n % 1000).collect();
                    assert_eq!(of, Vec::from_iter(0..200), "in order per publisher");
                }
            });
        }
    });
    assert_eq!((narrow.missed(), light.missed()), (0, 0));
}

#[test]
fn a_dropped_subscription_releases_a_publisher_that_waits_for_it() {
    let clock = VirtualClock::new();
    let demux = Demux::new(Arc::new(clock.clone()));
    let limit = Duration::from_secs(3600);
    for (capacity, bytes) in [(1, 1000), (1000, 1)] {
        let options = options().capacity(capacity).bytes(bytes).when_full(WhenFull::Wait(Some(limit)));
        let subscription = demux.subscribe(options, |_| true);
        demux.publish(&Number(1));
        thread::scope(|scope| {
            let publisher = scope.spawn(|| demux.publish(&Number(2)));
            clock.wait_for_timer(limit);
            drop(subscription);
            assert_eq!(publisher.join().unwrap(), 0);
        });
        clock.advance(2 * limit);
    }
}

#[test]
fn clones_share_one_queue() {
    let demux = demux();
    let first = demux.subscribe(options(), |_| true);
    let second = first.clone();
    (1..=2).for_each(|n| assert_eq!(demux.publish(&Number(n)), 0));
    assert_eq!([first.recv().unwrap(), second.recv().unwrap()], [Number(1), Number(2)]);
    drop(first);
    demux.publish(&Number(3));
    assert_eq!(second.recv().unwrap(), Number(3));
}
