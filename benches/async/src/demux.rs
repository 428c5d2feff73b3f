//! The demultiplexer: hands each item to every subscription whose predicate wants it.
//!
//! Each subscription has its own bound, so that one slow reader costs the publisher at most the wait it was given, and
//! the others nothing more.

use crate::bounded::{self, Receiver, Sender, Weigh};
use crate::config::SubscriptionOptions;
use parking_lot::RwLock;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::error::TrySendError;
use tokio_util::sync::CancellationToken;

/// Distributes items of one type to subscriptions.
pub(crate) struct Demux<T> {
    subscribers: RwLock<Arc<Vec<Arc<Subscriber<T>>>>>,
    closed: CancellationToken,
}

struct Subscriber<T> {
    predicate: Box<dyn Fn(&T) -> bool + Send + Sync>,
    items: Sender<T>,
    missed: Arc<AtomicU64>,
    wait: Duration,
    /// The publisher waited for it without success and it has had no room since.
    lagging: AtomicBool,
}

/// The receiving end of a subscription. Dropping it ends the subscription.
pub struct Subscription<T> {
    items: Receiver<T>,
    missed: Arc<AtomicU64>,
}

impl<T: Weigh> Subscription<T> {
    /// The next item; `None` once the publisher has stopped and everything it left was received.
    pub async fn recv(&mut self) -> Option<T> {
        self.items.recv().await
    }

    /// The next item if there is one now.
    pub fn try_recv(&mut self) -> Option<T> {
        self.items.try_recv()
    }

    /// How many matching items this subscription did not get because it was full.
    pub fn missed(&self) -> u64 {
        self.missed.load(Relaxed)
    }

    /// How many items wait to be received.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }
}

impl<T: Weigh + Clone + Send> Demux<T> {
    pub fn new() -> Self {
        Demux { subscribers: RwLock::default(), closed: CancellationToken::new() }
    }

    /// Subscribes to the items for which `predicate` is true. It must not block, and a panic in it counts as false.
    pub fn subscribe(
        &self,
        options: &SubscriptionOptions,
        predicate: impl Fn(&T) -> bool + Send + Sync + 'static,
    ) -> Subscription<T> {
        let (items, receiver) = bounded::queue(options.capacity, options.bytes);
        let missed = Arc::<AtomicU64>::default();
        let subscriber = Subscriber {
            predicate: Box::new(predicate),
            items,
            missed: missed.clone(),
            wait: options.wait,
            lagging: AtomicBool::new(false),
        };
        let mut subscribers = self.subscribers.write();
        if !self.closed.is_cancelled() {
            let subscribers = Arc::make_mut(&mut subscribers);
            subscribers.retain(|s| !s.items.is_closed());
            subscribers.push(Arc::new(subscriber));
        }
        Subscription { items: receiver, missed }
    }

    /// Gives `item` to every subscription that wants it. Waits where options say so, never longer than until
    /// [`close`](Self::close).
    pub async fn publish(&self, item: T) {
        let subscribers = self.subscribers.read().clone();
        let mut gone = false;
        for subscriber in subscribers.iter() {
            let wanted = catch_unwind(AssertUnwindSafe(|| (subscriber.predicate)(&item))).unwrap_or_else(|_| {
                log::error!("a subscription's predicate panicked; the message is not delivered to it");
                false
            });
            if wanted {
                match subscriber.items.try_send(item.clone()) {
                    Ok(()) if subscriber.lagging.load(Relaxed) => subscriber.lagging.store(false, Relaxed),
                    Ok(()) => {}
                    Err(TrySendError::Closed(_)) => gone = true,
                    Err(TrySendError::Full(item)) => {
                        self.closed.run_until_cancelled(subscriber.deliver(item)).await;
                    }
                }
            }
        }
        if gone {
            Arc::make_mut(&mut self.subscribers.write()).retain(|s| !s.items.is_closed());
        }
    }

    /// Ends every subscription: buffered items can still be received, a publisher that waits continues.
    pub fn close(&self) {
        self.closed.cancel();
        *self.subscribers.write() = Arc::default();
    }
}

impl<T: Weigh> Subscriber<T> {
    /// Waits for room, once, and after that drops until there is some.
    async fn deliver(&self, item: T) {
        let in_time = !self.lagging.load(Relaxed)
            && !self.wait.is_zero()
            && tokio::time::timeout(self.wait, self.items.send(item)).await.is_ok();
        if !in_time {
            self.missed.fetch_add(1, Relaxed);
            if !self.lagging.swap(true, Relaxed) {
                log::warn!("a subscription is full and its reader too slow: it is dropped until it has room");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(capacity: usize, wait: Duration) -> SubscriptionOptions {
        SubscriptionOptions { capacity, wait, ..SubscriptionOptions::default() }
    }

    #[tokio::test]
    async fn each_gets_what_its_predicate_wants_and_a_panic_is_a_no() {
        let demux = Demux::<usize>::new();
        let _broken = demux.subscribe(&SubscriptionOptions::default(), |_| panic!("user code"));
        let mut even = demux.subscribe(&SubscriptionOptions::default(), |n| n % 2 == 0);
        for n in 1..=4 {
            demux.publish(n).await;
        }
        demux.close();
        assert_eq!([even.recv().await, even.recv().await, even.recv().await], [Some(2), Some(4), None]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_waiting_publisher_gives_up_once_and_then_drops_until_there_is_room() {
        let demux = Demux::<usize>::new();
        let wait = Duration::from_secs(1);
        let mut slow = demux.subscribe(&options(1, wait), |_| true);
        let mut fast = demux.subscribe(&options(10, wait), |_| true);
        let started = tokio::time::Instant::now();
        for n in 1..=3 {
            demux.publish(n).await;
        }
        assert_eq!((started.elapsed(), slow.missed(), fast.len()), (wait, 2, 3));
        assert_eq!((slow.recv().await, fast.recv().await), (Some(1), Some(1)));
        demux.publish(4).await;
        assert_eq!((slow.recv().await, slow.missed()), (Some(4), 2));
    }

    #[tokio::test]
    async fn a_dropped_subscription_is_forgotten() {
        let demux = Demux::<usize>::new();
        drop(demux.subscribe(&SubscriptionOptions::default(), |_| true));
        demux.publish(1).await;
        assert!(demux.subscribers.read().is_empty());
    }
}
