//! Topics with a deadline: publishes items to the current subscribers of a topic.
//!
//! Fabric routes acknowledgements and membership responses through it. It is provided for programs that wait for their
//! own messages. The library itself does not use it: an acknowledgement is accepted only from the peer that the message
//! was written to, which a topic cannot express, and membership responses are matched by a state machine that never
//! waits.
//!
//! It has no thread. A subscription ends when it is dropped or its time has passed. Expiry is noticed when its topic is
//! used, or when a timer calls [`PubSub::purge_expired`].
//!
//! ```
//! use fabric_gossip::{cancel::Cancel, clock::SystemClock, pubsub::PubSub};
//! use std::{sync::Arc, time::Duration};
//!
//! let pubsub = PubSub::new(Arc::new(SystemClock));
//! let subscription = pubsub.subscribe("topic", Duration::from_secs(1));
//! pubsub.publish(&"topic", 42).unwrap();
//! assert_eq!(subscription.listen(&Cancel::new()).unwrap(), 42);
//! ```

use crate::cancel::Cancel;
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::sync::channel::{select, unbounded, Receiver, Sender};
use crate::sync::Mutex;
use std::collections::hash_map::{Entry, HashMap};
use std::fmt;
use std::hash::Hash;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Maximum number of items waiting in a subscription, for each of its topics. Further ones are dropped (Fabric's
/// `subscriptionBuffSize`).
pub const SUBSCRIPTION_BUFFER: usize = 50;

/// Topics of type `K` that carry items of type `T`. Clones refer to the same table.
pub struct PubSub<K, T>(Arc<Topics<K, T>>);

struct Topics<K, T> {
    clock: Arc<dyn Clock>,
    table: Mutex<Table<K, T>>,
}

struct Table<K, T> {
    topics: HashMap<K, Vec<Subscriber<T>>>,
    next_id: u64,
}

struct Subscriber<T> {
    id: u64,
    expires: Instant,
    /// Filled only under the table's lock, so that its length is reliable. Not a bounded channel, because that
    /// allocates all its capacity when created, and most subscriptions get one item.
    queue: Sender<T>,
    capacity: usize,
}

/// The topic has no subscriber.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoSubscribers;

impl fmt::Display for NoSubscribers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no subscribers")
    }
}

impl std::error::Error for NoSubscribers {}

impl<K, T> Clone for PubSub<K, T> {
    fn clone(&self) -> Self {
        PubSub(self.0.clone())
    }
}

impl<K: Eq + Hash + Clone, T> PubSub<K, T> {
    /// Creates an empty table whose subscriptions expire by this clock.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let table = Mutex::new(Table { topics: HashMap::new(), next_id: 0 });
        PubSub(Arc::new(Topics { clock, table }))
    }

    /// Subscribes to a topic for the time `ttl`.
    pub fn subscribe(&self, topic: K, ttl: Duration) -> Subscription<K, T> {
        self.subscribe_all([topic], ttl)
    }

    /// Subscribes to several topics with one subscription. Their items arrive through one queue, in the order of
    /// publication, so that a single wait covers all topics.
    pub fn subscribe_all(&self, topics: impl IntoIterator<Item = K>, ttl: Duration) -> Subscription<K, T> {
        let topics: Vec<K> = topics.into_iter().collect();
        let expires = self.0.clock.now() + ttl;
        let (queue, items) = unbounded();
        let capacity = SUBSCRIPTION_BUFFER * topics.len();
        let mut table = self.0.table.lock();
        let id = table.next_id;
        table.next_id += 1;
        for topic in &topics {
            let subscribers = table.topics.entry(topic.clone()).or_default();
            // Duplicate topics are ignored.
            if subscribers.last().is_none_or(|last| last.id != id) {
                subscribers.push(Subscriber { id, expires, queue: queue.clone(), capacity });
            }
        }
        drop(table);
        Subscription { pubsub: self.clone(), topics, id, expires, items }
    }

    /// Delivers an item to every subscriber of the topic that has room for it. Never blocks.
    ///
    /// # Errors
    /// [`NoSubscribers`] if the topic has no subscriber (any more).
    pub fn publish(&self, topic: &K, item: T) -> Result<(), NoSubscribers>
    where
        T: Clone,
    {
        let now = self.0.clock.now();
        let mut table = self.0.table.lock();
        let subscribers = table.topics.get_mut(topic).ok_or(NoSubscribers)?;
        subscribers.retain(|subscriber| subscriber.expires > now);
        let Some((last, others)) = subscribers.split_last() else {
            table.topics.remove(topic);
            return Err(NoSubscribers);
        };
        others.iter().for_each(|subscriber| subscriber.offer(|| item.clone()));
        last.offer(|| item);
        Ok(())
    }

    /// Removes all expired subscriptions. They receive no items even without this call; it only frees their memory.
    pub fn purge_expired(&self, now: Instant) {
        self.0.table.lock().topics.retain(|_, subscribers| {
            subscribers.retain(|subscriber| subscriber.expires > now);
            !subscribers.is_empty()
        });
    }

    /// Returns the number of topics in the table, including expired ones not yet noticed.
    pub fn topic_count(&self) -> usize {
        self.0.table.lock().topics.len()
    }
}

impl<T> Subscriber<T> {
    fn offer(&self, item: impl FnOnce() -> T) {
        if self.queue.len() < self.capacity {
            // The receiver is dropped after its entry in the table, so the send succeeds.
            let _ = self.queue.send(item());
        }
    }
}

/// A subscription; it ends when it is dropped.
pub struct Subscription<K: Eq + Hash, T> {
    pubsub: PubSub<K, T>,
    topics: Vec<K>,
    id: u64,
    expires: Instant,
    items: Receiver<T>,
}

impl<K: Eq + Hash + Clone, T> Subscription<K, T> {
    /// Returns the next item, waiting for it until the subscription expires. Items that arrived before are still
    /// returned afterwards.
    ///
    /// # Errors
    /// [`ErrorKind::Timeout`] (`timed out`) if no item arrived in time, [`ErrorKind::Stopped`] if `cancel` was set
    /// first.
    pub fn listen(&self, cancel: &Cancel) -> Result<T> {
        if let Ok(item) = self.items.try_recv() {
            return Ok(item);
        }
        let clock = &self.pubsub.0.clock;
        let timer = clock.after(self.expires.saturating_duration_since(clock.now()));
        let missed = select! {
            recv(self.items) -> item => match item {
                Ok(item) => return Ok(item),
                // All topics were removed.
                Err(_) => Error::new(ErrorKind::Timeout, "timed out"),
            },
            recv(timer) -> _ => Error::new(ErrorKind::Timeout, "timed out"),
            recv(cancel.signal()) -> _ => Error::new(ErrorKind::Stopped, "stopped"),
        };
        // An item that arrived at the last moment is still returned.
        self.items.try_recv().map_err(|_| missed)
    }

    /// Returns when the subscription expires.
    pub fn expires(&self) -> Instant {
        self.expires
    }

    /// Returns the queue itself, for use in `select!`.
    pub fn items(&self) -> &Receiver<T> {
        &self.items
    }
}

impl<K: Eq + Hash, T> Drop for Subscription<K, T> {
    fn drop(&mut self) {
        let mut table = self.pubsub.0.table.lock();
        for topic in self.topics.drain(..) {
            if let Entry::Occupied(mut entry) = table.topics.entry(topic) {
                entry.get_mut().retain(|subscriber| subscriber.id != self.id);
                if entry.get().is_empty() {
                    entry.remove();
                }
            }
        }
    }
}
