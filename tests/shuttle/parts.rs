//! The independent parts: the switch, the demultiplexer, topics, the identity mapper.

use crate::fake::World;
use crate::support::{check, clock, id, ms, task, together};
use fabric_gossip::cancel::Cancel;
use fabric_gossip::config::{SubscriptionOptions, WhenFull};
use fabric_gossip::crypto::PeerIdentity;
use fabric_gossip::identity::{IdentityConfig, IdentityMapper};
use fabric_gossip::internals::{ByteSize, Demux};
use fabric_gossip::ErrorKind;
use shuttle::sync::atomic::{AtomicU32, Ordering};
use std::sync::Arc;

#[test]
fn a_hook_runs_once_or_was_dropped_before() {
    check(|| {
        let (cancel, count) = (Cancel::new(), Arc::new(AtomicU32::new(0)));
        let hook = |count: &Arc<AtomicU32>| {
            let count = count.clone();
            move || {
                count.fetch_add(1, Ordering::SeqCst);
            }
        };
        let guards = together([
            task(|| Some(cancel.on_cancel(hook(&count)))),
            task(|| {
                drop(cancel.on_cancel(hook(&count)));
                None
            }),
            task(|| {
                cancel.cancel();
                None
            }),
            task(|| {
                assert!(cancel.signal().recv().is_err() && cancel.is_cancelled());
                None
            }),
        ]);
        let ran = count.load(Ordering::SeqCst);
        assert!((1..=2).contains(&ran), "{ran}");
        drop(guards);
        cancel.cancel();
        assert_eq!(count.load(Ordering::SeqCst), ran);
    });
}

#[derive(Clone, PartialEq, Debug)]
struct Item(u32);

impl ByteSize for Item {
    fn byte_size(&self) -> usize {
        10
    }
}

fn demux() -> Demux<Item> {
    Demux::new(clock())
}

#[test]
fn a_subscriber_gets_everything_once_and_in_order_though_others_come_and_go() {
    check(|| {
        let demux = demux();
        // Room for two items by number, and for one by weight.
        let options = || SubscriptionOptions::default().capacity(2).bytes(10).when_full(WhenFull::Wait(None));
        let subscription = demux.subscribe(options(), |_| true);
        together([
            task(|| (0..4).for_each(|n| assert_eq!(demux.publish(&Item(n)), 0))),
            task(|| drop(demux.subscribe(options(), |_| true))),
            task(|| (0..4).for_each(|n| assert_eq!(subscription.recv().unwrap(), Item(n)))),
        ]);
        assert_eq!((subscription.len(), subscription.missed()), (0, 0));
    });
}

#[test]
fn publishers_take_turns_for_room_and_receivers_share_what_comes() {
    check(|| {
        let demux = demux();
        let options = SubscriptionOptions::default().capacity(2).when_full(WhenFull::Wait(None));
        let subscription = demux.subscribe(options, |_| true);
        let publish = |from: u32| {
            let mut batch = demux.batch();
            (from..from + 3).for_each(|n| assert_eq!(batch.publish(Item(n)), 0));
            batch.flush();
            Vec::new()
        };
        let receive = |count: usize| subscription.iter().take(count).map(|Item(n)| n).collect::<Vec<_>>();
        let received = together([
            task(|| publish(0)),
            task(|| publish(10)),
            task(|| publish(20)),
            task(|| receive(4)),
            task(|| receive(5)),
        ]);
        for one in &received {
            let ordered = |from| one.iter().filter(|n| **n / 10 == from).is_sorted();
            assert!((0..3).all(ordered), "{received:?}");
        }
        let mut all = received.concat();
        all.sort();
        assert_eq!(all, [0, 1, 2, 10, 11, 12, 20, 21, 22]);
    });
}

#[test]
fn publishers_go_on_when_the_last_receiver_leaves() {
    check(|| {
        let demux = demux();
        let options = SubscriptionOptions::default().capacity(1).when_full(WhenFull::Wait(None));
        let subscription = demux.subscribe(options, |_| true);
        let clone = subscription.clone();
        together([
            task(|| (0..2).for_each(|n| assert_eq!(demux.publish(&Item(n)), 0))),
            task(|| (2..4).for_each(|n| assert_eq!(demux.publish(&Item(n)), 0))),
            task(|| (4..6).for_each(|n| assert_eq!(demux.publish(&Item(n)), 0))),
            task(|| drop(subscription)),
            task(|| drop((clone.recv(), clone))),
        ]);
    });
}

#[test]
fn closing_releases_publishers_and_receivers_and_leaves_what_is_buffered() {
    check(|| {
        let demux = demux();
        let options = SubscriptionOptions::default().capacity(1).when_full(WhenFull::Wait(None));
        let full = demux.subscribe(options, |_| true);
        let read = demux.subscribe(SubscriptionOptions::default(), |_| true);
        together([
            task(|| assert_eq!(demux.publish(&Item(0)), 0)),
            task(|| assert_eq!(demux.publish(&Item(1)), 0)),
            task(|| assert!(read.iter().count() <= 2)),
            task(|| demux.close()),
        ]);
        assert!(full.iter().count() <= 1);
        assert!(demux.subscribe(SubscriptionOptions::default(), |_| true).recv().is_err());
    });
}

#[test]
fn the_mapper_stops_beside_puts_and_removals() {
    check(|| {
        let world = World::default();
        let own = PeerIdentity::from("own".as_bytes());
        let purged = Arc::new(AtomicU32::new(0));
        let on_purge = {
            let purged = purged.clone();
            move |_: &_, _: &_| {
                purged.fetch_add(1, Ordering::SeqCst);
            }
        };
        let (crypto, advisor) = (world.crypto("own"), Arc::new(world.clone()));
        let mapper =
            IdentityMapper::new(IdentityConfig::default(), crypto, advisor, clock(), own.clone(), on_purge).unwrap();
        let other = PeerIdentity::from("other".as_bytes());
        together([
            task(|| {
                let put = mapper.put(&id("other"), &other).is_ok();
                assert!(put || mapper.get(&id("other")).is_err());
            }),
            task(|| {
                world.revoke("other");
                mapper.suspect_peers(|identity| *identity == other);
            }),
            task(|| mapper.stop()),
            task(|| mapper.stop()),
        ]);
        assert!(purged.load(Ordering::SeqCst) <= 1);
        assert!(mapper.get(&id("own")).is_ok());
    });
}
