//! The demultiplexer: hands each item to every subscription whose predicate wants it.
//!
//! Subscriptions are asked in the order in which they were made. Each has its own bound and its own policy for when it
//! is full, so that one slow reader costs the publisher at most the wait it was given, and the others nothing more.

use crate::cancel::Cancel;
use crate::clock::Clock;
use crate::config::{SubscriptionOptions, WhenFull};
use crate::error::{Error, ErrorKind, Result};
use crate::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use crate::sync::channel::{bounded, select, Receiver, RecvTimeoutError, Sender, TryRecvError, TrySendError};
use crate::sync::RwLock;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// Something that takes room in a subscription.
pub trait Weigh {
    /// Its size in bytes.
    fn weight(&self) -> usize {
        0
    }
}

type Predicate<T> = Box<dyn Fn(&T) -> bool + Send + Sync>;

/// Distributes items of one type to subscriptions.
pub struct Demux<T> {
    subscribers: RwLock<Arc<Vec<Arc<Subscriber<T>>>>>,
    closed: Cancel,
    clock: Arc<dyn Clock>,
}

struct Subscriber<T> {
    predicate: Predicate<T>,
    items: Sender<T>,
    room: Receiver<()>,
    /// Behind `items`, so that it is dropped, and tells of the end, when that has come.
    shared: PublishersEnd,
    options: SubscriptionOptions,
    /// It made the publisher wait in vain and has had no room since.
    lagging: AtomicBool,
}

/// What the two ends of a subscription share.
struct Shared {
    bytes: AtomicUsize,
    missed: AtomicU64,
    /// Told after each item, and at the end.
    waker: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

impl Shared {
    fn wake(&self) {
        if let Some(wake) = self.waker.get() {
            wake();
        }
    }
}

struct PublishersEnd(Arc<Shared>);

impl Drop for PublishersEnd {
    fn drop(&mut self) {
        self.0.wake();
    }
}

/// The receiving end of a subscription. Clones share one queue: each item goes to one of them. Dropping the last one
/// ends the subscription.
pub struct Subscription<T> {
    items: Receiver<T>,
    /// Tells a publisher that bytes were taken; only held here, so that its end tells that nobody receives any more.
    room: Sender<()>,
    shared: Arc<Shared>,
}

impl<T> Clone for Subscription<T> {
    fn clone(&self) -> Self {
        Subscription { items: self.items.clone(), room: self.room.clone(), shared: self.shared.clone() }
    }
}

impl<T: Weigh> Subscription<T> {
    /// The next item. Blocks until there is one; fails with [`ErrorKind::Stopped`] once the publisher has stopped and
    /// everything it left was received.
    pub fn recv(&self) -> Result<T> {
        self.items.recv().map(|item| self.taken(item)).map_err(|_| ended())
    }

    /// As [`recv`](Self::recv), for at most `timeout` ([`ErrorKind::Timeout`]).
    pub fn recv_timeout(&self, timeout: Duration) -> Result<T> {
        self.items.recv_timeout(timeout).map(|item| self.taken(item)).map_err(|e| match e {
            RecvTimeoutError::Timeout => Error::new(ErrorKind::Timeout, "nothing received in time"),
            RecvTimeoutError::Disconnected => ended(),
        })
    }

    /// The next item if there is one now. Never blocks.
    pub fn try_recv(&self) -> Result<Option<T>> {
        match self.items.try_recv() {
            Ok(item) => Ok(Some(self.taken(item))),
            Err(TryRecvError::Empty) => Ok(None),
            Err(TryRecvError::Disconnected) => Err(ended()),
        }
    }

    /// Iterates over items as they come; ends when the publisher has stopped.
    pub fn iter(&self) -> impl Iterator<Item = T> + '_ {
        std::iter::from_fn(|| self.recv().ok())
    }

    /// Has `wake` called after each item that comes in, and when the subscription ends; also once now. For those who wait
    /// for other things as well: `wake` makes their poll return, and they [`try_recv`](Self::try_recv) until nothing is
    /// left. It is called on the threads that publish, and must not block. The first one that is set stays.
    pub fn on_ready(&self, wake: impl Fn() + Send + Sync + 'static) {
        let _ = self.shared.waker.set(Box::new(wake));
        self.shared.wake();
    }

    /// What it waits on, for a `select!` of ours; what is received there goes through [`taken`](Self::taken).
    pub(crate) fn items(&self) -> &Receiver<T> {
        &self.items
    }

    /// How many matching items this subscription did not get because it was full.
    pub fn missed(&self) -> u64 {
        self.shared.missed.load(Ordering::Relaxed)
    }

    /// How many items wait to be received.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    pub(crate) fn taken(&self, item: T) -> T {
        let weight = item.weight();
        if weight > 0 {
            self.shared.bytes.fetch_sub(weight, Ordering::Relaxed);
            let _ = self.room.try_send(());
        }
        item
    }
}

fn ended() -> Error {
    Error::new(ErrorKind::Stopped, "the subscription ended: its publisher was stopped")
}

impl<T: Weigh + Clone + Send> Demux<T> {
    /// One without subscriptions.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Demux { subscribers: RwLock::default(), closed: Cancel::new(), clock }
    }

    /// Subscribes to the items for which `predicate` is true. It runs on the publisher's thread, must not block, and a
    /// panic in it counts as false. After [`close`](Self::close) the subscription has ended already.
    pub fn subscribe(
        &self,
        options: SubscriptionOptions,
        predicate: impl Fn(&T) -> bool + Send + Sync + 'static,
    ) -> Subscription<T> {
        let (items, receiver) = bounded(options.capacity);
        let (room, has_room) = bounded(1);
        let shared = Arc::new(Shared { bytes: AtomicUsize::new(0), missed: AtomicU64::new(0), waker: OnceLock::new() });
        let subscriber = Arc::new(Subscriber {
            predicate: Box::new(predicate),
            items,
            room: has_room,
            shared: PublishersEnd(shared.clone()),
            options,
            lagging: AtomicBool::new(false),
        });
        let mut subscribers = self.subscribers.write();
        let gone = if self.closed.is_cancelled() {
            vec![subscriber]
        } else {
            let subscribers = Arc::make_mut(&mut subscribers);
            let gone = take_gone(subscribers);
            subscribers.push(subscriber);
            gone
        };
        drop(subscribers);
        // Not under the lock: what a predicate owns may, when it is dropped, come here again.
        drop(gone);
        Subscription { items: receiver, room, shared }
    }

    /// Gives `item` to every subscription that wants it; returns how many wanted it but had no room. Waits where a
    /// policy says so, never longer than until [`close`](Self::close).
    pub fn publish(&self, item: &T) -> usize {
        let subscribers = self.subscribers.read().clone();
        let mut dropped = 0;
        let mut gone = false;
        for subscriber in subscribers.iter() {
            if self.closed.is_cancelled() {
                break;
            }
            let wanted = catch_unwind(AssertUnwindSafe(|| (subscriber.predicate)(item))).unwrap_or_else(|_| {
                log::error!("a subscription's predicate panicked; the message counts as not wanted");
                false
            });
            if !wanted {
                continue;
            }
            match self.deliver(subscriber, item.clone()) {
                Delivery::Done => subscriber.shared.0.wake(),
                Delivery::NoRoom => {
                    subscriber.shared.0.missed.fetch_add(1, Ordering::Relaxed);
                    dropped += 1;
                }
                Delivery::Gone => gone = true,
            }
        }
        if gone {
            let gone = take_gone(Arc::make_mut(&mut self.subscribers.write()));
            // Not under the lock, as above.
            drop(gone);
        }
        dropped
    }

    /// Ends every subscription: what is buffered can still be received, a publisher that waits goes on. Idempotent.
    pub fn close(&self) {
        self.closed.cancel();
        let ended = std::mem::take(&mut *self.subscribers.write());
        // Not under the lock, as above.
        drop(ended);
    }

    fn deliver(&self, subscriber: &Subscriber<T>, mut item: T) -> Delivery {
        let weight = item.weight();
        let shared = &subscriber.shared.0;
        let has_room = || {
            let held = shared.bytes.load(Ordering::Relaxed);
            held == 0 || held.saturating_add(weight) <= subscriber.options.bytes
        };
        if has_room() {
            // Counted before it is sent: the receiver may take it, and count it off, at once.
            shared.bytes.fetch_add(weight, Ordering::Relaxed);
            match subscriber.items.try_send(item) {
                Ok(()) => {
                    subscriber.lagging.store(false, Ordering::Relaxed);
                    return Delivery::Done;
                }
                Err(e) => {
                    shared.bytes.fetch_sub(weight, Ordering::Relaxed);
                    if matches!(e, TrySendError::Disconnected(_)) {
                        return Delivery::Gone;
                    }
                    item = e.into_inner();
                }
            }
        }
        let limit = match subscriber.options.when_full {
            WhenFull::Drop => return Delivery::NoRoom,
            WhenFull::Wait(_) if subscriber.lagging.load(Ordering::Relaxed) => return Delivery::NoRoom,
            WhenFull::Wait(limit) => limit,
        };
        let timeout = limit.map_or_else(crate::sync::channel::never, |limit| self.clock.after(limit));
        let closed = self.closed.signal();
        while !has_room() {
            select! {
                recv(subscriber.room) -> room => if room.is_err() { return Delivery::Gone },
                recv(timeout) -> _ => return self.waited_in_vain(subscriber),
                recv(closed) -> _ => return Delivery::Done,
            }
        }
        shared.bytes.fetch_add(weight, Ordering::Relaxed);
        let delivery = select! {
            send(subscriber.items, item) -> sent => return if sent.is_ok() { Delivery::Done } else { Delivery::Gone },
            recv(timeout) -> _ => self.waited_in_vain(subscriber),
            recv(closed) -> _ => Delivery::Done,
        };
        shared.bytes.fetch_sub(weight, Ordering::Relaxed);
        delivery
    }

    fn waited_in_vain(&self, subscriber: &Subscriber<T>) -> Delivery {
        if !subscriber.lagging.swap(true, Ordering::Relaxed) {
            log::warn!("a subscription is full and its reader too slow: messages for it are dropped until it has room");
        }
        Delivery::NoRoom
    }
}

/// Takes out those whose other end is gone.
fn take_gone<T>(subscribers: &mut Vec<Arc<Subscriber<T>>>) -> Vec<Arc<Subscriber<T>>> {
    let (gone, here) = std::mem::take(subscribers).into_iter().partition(|subscriber| subscriber.is_gone());
    *subscribers = here;
    gone
}

impl<T> Subscriber<T> {
    /// Whether nobody can receive any more: a sender cannot be asked that, but the receiving ends hold `shared` too.
    fn is_gone(&self) -> bool {
        Arc::strong_count(&self.shared.0) == 1
    }
}

enum Delivery {
    Done,
    NoRoom,
    /// Nobody receives any more.
    Gone,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;

    impl Weigh for u32 {
        fn weight(&self) -> usize {
            *self as usize
        }
    }

    fn demux() -> Demux<u32> {
        Demux::new(Arc::new(SystemClock))
    }

    #[test]
    fn bytes_bound_a_subscription_but_a_single_large_item_passes() {
        let demux = demux();
        let options = SubscriptionOptions::default().bytes(10).when_full(WhenFull::Drop);
        let subscription = demux.subscribe(options, |_| true);
        assert_eq!(demux.publish(&100), 0);
        assert_eq!(demux.publish(&1), 1);
        assert_eq!(subscription.recv().unwrap(), 100);
        assert_eq!(demux.publish(&10), 0);
        assert_eq!((subscription.missed(), subscription.len()), (1, 1));
    }

    #[test]
    fn what_a_predicate_owns_may_subscribe_when_it_is_dropped() {
        struct Subscribes(Arc<Demux<u32>>);
        impl Drop for Subscribes {
            fn drop(&mut self) {
                self.0.subscribe(SubscriptionOptions::default(), |_| true);
            }
        }
        let demux = Arc::new(demux());
        let subscribe = || {
            let owned = Subscribes(demux.clone());
            demux.subscribe(SubscriptionOptions::default(), move |_| std::ptr::from_ref(&owned) as usize != 0)
        };
        drop(subscribe());
        drop(subscribe());
        demux.publish(&7);
        let kept = subscribe();
        demux.close();
        assert_eq!(kept.recv().unwrap_err().kind(), ErrorKind::Stopped);
        drop(subscribe());
    }

    #[test]
    fn a_panicking_predicate_is_a_no_and_harms_nobody() {
        let demux = demux();
        let _broken = demux.subscribe(SubscriptionOptions::default(), |_| panic!("user code"));
        let fine = demux.subscribe(SubscriptionOptions::default(), |_| true);
        demux.publish(&7);
        assert_eq!(fine.recv().unwrap(), 7);
    }

    #[test]
    fn a_dropped_subscription_is_forgotten() {
        let demux = demux();
        drop(demux.subscribe(SubscriptionOptions::default(), |_| true));
        demux.publish(&1);
        assert!(demux.subscribers.read().is_empty());
    }

    #[test]
    fn a_waker_is_told_of_what_is_there_of_what_comes_and_of_the_end() {
        let demux = demux();
        let subscription = demux.subscribe(SubscriptionOptions::default(), |n| *n != 2);
        let (woken, wakes) = bounded(10);
        subscription.on_ready(move || woken.send(()).unwrap());
        assert_eq!(wakes.try_iter().count(), 1);
        assert_eq!([1, 2, 3].map(|n| demux.publish(&n)), [0, 0, 0]);
        assert_eq!(wakes.try_iter().count(), 2);
        assert_eq!([subscription.recv().unwrap(), subscription.recv().unwrap()], [1, 3]);
        demux.close();
        assert_eq!(wakes.try_iter().count(), 1);
        assert_eq!(subscription.try_recv().unwrap_err().kind(), ErrorKind::Stopped);
    }

    #[test]
    fn a_waiting_publisher_gives_up_once_and_then_drops_until_there_is_room() {
        let demux = demux();
        let limit = WhenFull::Wait(Some(Duration::from_millis(1)));
        let subscription = demux.subscribe(SubscriptionOptions::default().capacity(1).when_full(limit), |_| true);
        assert_eq!([1, 2, 3].map(|n| demux.publish(&n)), [0, 1, 1]);
        assert_eq!(subscription.recv().unwrap(), 1);
        assert_eq!(demux.publish(&4), 0);
        assert_eq!((subscription.recv().unwrap(), subscription.missed()), (4, 2));
    }
}
