//! The demultiplexer: passes each item to every subscription whose predicate matches it.
//!
//! Subscriptions are evaluated in the order in which they were made. Each has its own bound and its own policy for a
//! full queue, so a slow reader delays the publisher by at most its configured wait, and does not affect the other
//! subscriptions. Sinks receive each item before the subscriptions, on the publisher's thread.

mod batch;

pub use batch::Batch;

use super::bounded_queue::{BoundedQueue, ByteSize, RecvError};
use crate::cancel::Cancel;
use crate::clock::Clock;
use crate::config::{SubscriptionOptions, WhenFull};
use crate::error::{Error, ErrorKind, Result};
use crate::sync::atomic::AtomicBool;
use crate::sync::channel::Receiver;
use crate::sync::{entering_user_code, RwLock};
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::Arc;
use std::time::Duration;

type Predicate<T> = Box<dyn Fn(&T) -> bool + Send + Sync>;

/// Distributes items of one type to subscriptions.
pub struct Demux<T> {
    subscribers: RwLock<Arc<Subscribers<T>>>,
    closed: Cancel,
    clock: Arc<dyn Clock>,
    /// How long receivers poll before they sleep.
    spin: Duration,
}

impl<T> std::fmt::Debug for Demux<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Demux").finish_non_exhaustive()
    }
}

struct Subscribers<T> {
    sinks: Vec<Arc<SinkSubscriber<T>>>,
    queues: Vec<Arc<Subscriber<T>>>,
}

impl<T> Default for Subscribers<T> {
    fn default() -> Self {
        Subscribers { sinks: Vec::new(), queues: Vec::new() }
    }
}

impl<T> Clone for Subscribers<T> {
    fn clone(&self) -> Self {
        Subscribers { sinks: self.sinks.clone(), queues: self.queues.clone() }
    }
}

/// The publisher's side of a sink.
struct SinkSubscriber<T> {
    deliver: Box<dyn Fn(&T) + Send + Sync>,
    ended: Cancel,
    left: Cancel,
}

impl<T> Drop for SinkSubscriber<T> {
    fn drop(&mut self) {
        self.ended.cancel();
    }
}

/// Keeps a function subscribed to every item. Dropping it ends the subscription.
pub(crate) struct Sink {
    ended: Cancel,
    left: Cancel,
}

impl Sink {
    /// Returns the token that is set when the publisher has stopped.
    pub fn ended(&self) -> &Cancel {
        &self.ended
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.left.cancel();
    }
}

struct Subscriber<T> {
    /// `None`: it receives every item.
    predicate: Option<Predicate<T>>,
    queue: PublishersEnd<T>,
    when_full: WhenFull,
    /// Set when the publisher has waited for it in vain and it has had no room since.
    lagging: AtomicBool,
}

impl<T> Subscriber<T> {
    fn wants(&self, item: &T) -> bool {
        let Some(predicate) = &self.predicate else { return true };
        entering_user_code();
        catch_unwind(AssertUnwindSafe(|| predicate(item))).unwrap_or_else(|_| {
            log::error!("a subscription's predicate panicked; the message is not delivered to it");
            false
        })
    }
}

struct PublishersEnd<T>(Arc<BoundedQueue<T>>);

impl<T> Drop for PublishersEnd<T> {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// The receiving end of a subscription. Clones share one queue: each item goes to one of them. Dropping the last clone
/// ends the subscription.
pub struct Subscription<T>(Arc<ReceiversEnd<T>>);

impl<T: ByteSize> std::fmt::Debug for Subscription<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Subscription").field("len", &self.len()).field("missed", &self.missed()).finish_non_exhaustive()
    }
}

struct ReceiversEnd<T>(Arc<BoundedQueue<T>>);

impl<T> Drop for ReceiversEnd<T> {
    fn drop(&mut self) {
        self.0.leave();
    }
}

impl<T> Clone for Subscription<T> {
    fn clone(&self) -> Self {
        Subscription(self.0.clone())
    }
}

impl<T: ByteSize> Subscription<T> {
    fn queue(&self) -> &BoundedQueue<T> {
        &self.0 .0
    }

    /// Returns the next item. Blocks until there is one. Fails with [`ErrorKind::Stopped`] once the publisher has
    /// stopped and all queued items were received.
    pub fn recv(&self) -> Result<T> {
        self.recv_while(None, || true)
    }

    /// Returns the next item as [`recv`](Self::recv) does, waiting for at most `timeout` ([`ErrorKind::Timeout`]).
    pub fn recv_timeout(&self, timeout: Duration) -> Result<T> {
        self.recv_while(Some(timeout), || true)
    }

    /// Returns the next item as the methods above do, while `wanted` returns `true` ([`ErrorKind::Stopped`]
    /// afterwards). `wanted` is called before the thread sleeps, and again on every [`interrupt`](Self::interrupt).
    pub fn recv_while(&self, timeout: Option<Duration>, wanted: impl Fn() -> bool) -> Result<T> {
        self.queue().recv(timeout, wanted).map_err(why_not)
    }

    /// Wakes the threads that wait in [`recv_while`](Self::recv_while), which then call `wanted` again.
    pub fn interrupt(&self) {
        self.queue().interrupt();
    }

    /// Returns the next item if there is one. Never blocks.
    pub fn try_recv(&self) -> Result<Option<T>> {
        match self.queue().try_recv() {
            Ok(item) => Ok(Some(item)),
            Err(RecvError::Closed) => Err(why_not(RecvError::Closed)),
            Err(_) => Ok(None),
        }
    }

    /// Returns an iterator over items as they arrive. It ends when the publisher has stopped.
    pub fn iter(&self) -> impl Iterator<Item = T> + '_ {
        std::iter::from_fn(|| self.recv().ok())
    }

    /// Registers `wake`, for receivers that also wait for other things. `wake` is called after items arrived, once for
    /// each item or for several together, when the subscription ends, and once immediately. It should make the
    /// receiver's poll return; the receiver then calls [`try_recv`](Self::try_recv) until nothing is left. It is called
    /// on the publishing threads and must not block. Only the first registration counts.
    pub fn on_ready(&self, wake: impl Fn() + Send + Sync + 'static) {
        self.queue().set_waker(Box::new(wake));
    }

    /// Returns a channel for `select!` that signals the one waiting thread that there is something to
    /// [`try_recv`](Self::try_recv), or that the subscription has ended. Request it again for each selection.
    pub(crate) fn signal(&self) -> &Receiver<()> {
        self.queue().signal()
    }

    /// Returns the number of matching items that were dropped because this subscription was full.
    pub fn missed(&self) -> u64 {
        self.queue().missed()
    }

    /// Returns the number of queued items.
    pub fn len(&self) -> usize {
        self.queue().len()
    }

    /// Returns whether no item is queued.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

fn why_not(nothing: RecvError) -> Error {
    match nothing {
        RecvError::Timeout => Error::new(ErrorKind::Timeout, "timed out: nothing was received"),
        RecvError::Closed => Error::new(ErrorKind::Stopped, "the subscription ended: its publisher was stopped"),
        RecvError::Interrupted => Error::new(ErrorKind::Stopped, "the subscription was closed"),
    }
}

impl<T: ByteSize + Clone + Send> Demux<T> {
    /// Creates a demultiplexer without subscriptions.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self::with_spin(clock, Duration::ZERO)
    }

    /// Creates a demultiplexer whose receivers poll for `spin` before they sleep, while that pays off.
    pub(super) fn with_spin(clock: Arc<dyn Clock>, spin: Duration) -> Self {
        Demux { subscribers: RwLock::default(), closed: Cancel::new(), clock, spin }
    }

    /// Subscribes to the items for which `predicate` is true. The predicate runs on the publisher's thread and must not
    /// block; a panic in it counts as false. After [`close`](Self::close), the subscription has already ended.
    pub fn subscribe(
        &self,
        options: SubscriptionOptions,
        predicate: impl Fn(&T) -> bool + Send + Sync + 'static,
    ) -> Subscription<T> {
        self.add(options, Some(Box::new(predicate)))
    }

    /// Subscribes to all items.
    pub(crate) fn subscribe_all(&self, options: SubscriptionOptions) -> Subscription<T> {
        self.add(options, None)
    }

    /// Calls `deliver` with each item, on the publisher's thread and before the subscriptions. Unlike a predicate it
    /// may block; the publisher, and so the connection that it reads, waits meanwhile. After [`close`](Self::close),
    /// the sink has already ended.
    pub(crate) fn add_sink(&self, deliver: impl Fn(&T) + Send + Sync + 'static) -> Sink {
        let (ended, left) = (Cancel::new(), Cancel::new());
        let sink = Sink { ended: ended.clone(), left: left.clone() };
        let subscriber = Arc::new(SinkSubscriber { deliver: Box::new(deliver), ended, left });
        let rejected = {
            let mut subscribers = self.subscribers.write();
            if self.closed.is_cancelled() {
                Some(subscriber)
            } else {
                Arc::make_mut(&mut subscribers).sinks.push(subscriber);
                None
            }
        };
        // Outside the lock: dropping the function may drop user data whose destructor calls this type.
        drop(rejected);
        sink
    }

    fn add(&self, options: SubscriptionOptions, predicate: Option<Predicate<T>>) -> Subscription<T> {
        let queue = Arc::new(BoundedQueue::new(options.capacity, options.bytes, self.spin));
        let subscriber = Arc::new(Subscriber {
            predicate,
            queue: PublishersEnd(queue.clone()),
            when_full: options.when_full,
            lagging: AtomicBool::new(false),
        });
        let mut subscribers = self.subscribers.write();
        let gone = if self.closed.is_cancelled() {
            Subscribers { sinks: Vec::new(), queues: vec![subscriber] }
        } else {
            let subscribers = Arc::make_mut(&mut subscribers);
            let gone = take_gone(subscribers);
            subscribers.queues.push(subscriber);
            gone
        };
        drop(subscribers);
        // Outside the lock: dropping a predicate may drop user data whose destructor calls this type.
        drop(gone);
        Subscription(Arc::new(ReceiversEnd(queue)))
    }

    /// Delivers `item` to every matching subscription. Returns the number of matching subscriptions that had no room.
    /// Waits where a policy says so, at the latest until [`close`](Self::close).
    pub fn publish(&self, item: &T) -> usize {
        let mut batch = self.batch();
        batch.publish(item.clone()) + batch.flush()
    }

    /// Starts a batch, for several consecutive items.
    pub fn batch(&self) -> Batch<'_, T> {
        Batch::new(self)
    }

    /// Ends every subscription: queued items can still be received, and a waiting publisher continues. Idempotent.
    pub fn close(&self) {
        self.closed.cancel();
        let ended = std::mem::take(&mut *self.subscribers.write());
        // Outside the lock, as above.
        drop(ended);
    }

    fn forget_gone(&self) {
        let gone = take_gone(Arc::make_mut(&mut self.subscribers.write()));
        // Outside the lock, as above.
        drop(gone);
    }
}

/// Removes and returns the subscribers whose other end is gone.
fn take_gone<T>(subscribers: &mut Subscribers<T>) -> Subscribers<T> {
    let Subscribers { sinks, queues } = std::mem::take(subscribers);
    let (gone_sinks, sinks) = sinks.into_iter().partition(|sink| sink.left.is_cancelled());
    let (gone_queues, queues) = queues.into_iter().partition(|subscriber| subscriber.queue.0.is_gone());
    *subscribers = Subscribers { sinks, queues };
    Subscribers { sinks: gone_sinks, queues: gone_queues }
}

#[cfg(test)]
mod tests {
    use super::batch::{AT_ONCE, BYTES_AT_ONCE};
    use super::*;
    use crate::clock::SystemClock;
    use crate::sync::channel::bounded;

    impl ByteSize for u32 {
        fn byte_size(&self) -> usize {
            *self as usize
        }
    }

    fn demux() -> Demux<u32> {
        Demux::new(Arc::new(SystemClock))
    }

    #[test]
    fn a_sink_gets_every_item_until_it_is_dropped_or_the_publisher_stops() {
        let demux = demux();
        let (send, items) = bounded(10);
        let sink = |send: &crate::sync::channel::Sender<u32>| {
            let send = send.clone();
            demux.add_sink(move |item: &u32| send.send(*item).unwrap())
        };
        let (dropped, kept) = (sink(&send), sink(&send));
        demux.publish(&1);
        drop(dropped);
        demux.publish(&2);
        assert_eq!(items.try_iter().collect::<Vec<_>>(), [1, 1, 2]);
        assert_eq!(demux.subscribers.read().sinks.len(), 1, "what has left is forgotten");
        assert!(!kept.ended().is_cancelled());
        demux.close();
        assert!(kept.ended().is_cancelled() && sink(&send).ended().is_cancelled());
        demux.publish(&3);
        assert_eq!(items.try_iter().count(), 0);
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
        assert!(demux.subscribers.read().queues.is_empty());
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
    fn receivers_are_told_of_several_items_at_once() {
        let demux = demux();
        let subscription = demux.subscribe(SubscriptionOptions::default(), |_| true);
        let (woken, wakes) = bounded(100);
        subscription.on_ready(move || {
            let _ = woken.send(());
        });
        let mut batch = demux.batch();
        (0..5).for_each(|n| assert_eq!(batch.publish(n), 0));
        assert_eq!((wakes.try_iter().count(), subscription.len()), (1, 0), "the one for what was there before");
        assert_eq!(batch.flush(), 0);
        assert_eq!((wakes.try_iter().count(), subscription.len()), (1, 5));
        (0..2 * AT_ONCE).for_each(|_| assert_eq!(batch.publish(0), 0));
        assert_eq!(batch.publish(0), 0);
        assert_eq!(wakes.try_iter().count(), 2);
        batch.publish(BYTES_AT_ONCE as u32);
        assert_eq!(wakes.try_iter().count(), 1, "one wake-up for several messages");
        drop(batch);
        assert_eq!(wakes.try_iter().count(), 0, "no second wake-up");
    }

    #[test]
    fn a_batch_drops_what_has_no_room_counts_it_and_delays_no_other_subscription() {
        let demux = demux();
        let options = |capacity| SubscriptionOptions::default().capacity(capacity).when_full(WhenFull::Drop);
        let (narrow, wide) = (demux.subscribe(options(2), |_| true), demux.subscribe(options(10), |n| n % 2 == 1));
        let mut batch = demux.batch();
        assert_eq!((0..5).map(|n| batch.publish(n)).sum::<usize>(), 0);
        assert_eq!(batch.flush(), 3);
        assert_eq!((narrow.len(), narrow.missed(), wide.len(), wide.missed()), (2, 3, 2, 0));
        assert_eq!([narrow.recv().unwrap(), narrow.recv().unwrap()], [0, 1]);
        assert_eq!([wide.recv().unwrap(), wide.recv().unwrap()], [1, 3]);
        let late = demux.subscribe(options(2), |_| true);
        batch.publish(7);
        drop(batch);
        assert_eq!([&narrow, &wide, &late].map(|it| it.recv().unwrap()), [7; 3]);
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
