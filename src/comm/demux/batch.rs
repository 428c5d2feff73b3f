//! A batch of consecutive items, and how it gets into the queues.

use super::super::bounded_queue::{ByteSize, NotPut};
use super::{Demux, Subscriber, Subscribers};
use crate::config::WhenFull;
use crate::sync::atomic::Ordering;
use crate::sync::channel::{never, select};
use std::collections::VecDeque;
use std::sync::Arc;

/// Number of items, or of bytes, after which receivers are notified even if more items are at hand.
pub(super) const AT_ONCE: usize = 64;
pub(super) const BYTES_AT_ONCE: usize = 64 << 10;

/// Number of items that a publisher puts in after waiting for room before the next publisher's turn.
const TURN: usize = 32;

/// A batch of consecutive items: they are put into the queues together, and sleeping receivers are notified of several
/// items together. After its last item, the publisher must call [`flush`](Self::flush) before it waits for anything.
pub struct Batch<'a, T: ByteSize + Clone + Send> {
    demux: &'a Demux<T>,
    /// The subscribers at the time of the first item since the last flush.
    subscribers: Option<Arc<Subscribers<T>>>,
    /// Items to put into the queue of each of them.
    waiting: Vec<VecDeque<T>>,
    /// Subscribers to be notified.
    owed: Vec<Arc<Subscriber<T>>>,
    /// Number of items that may still be put in before those of other waiting publishers, after this one has waited for
    /// room.
    turn: usize,
    items: usize,
    bytes: usize,
    /// Whether some subscriptions have ended and must be removed.
    gone: bool,
}

impl<T: ByteSize + Clone + Send> std::fmt::Debug for Batch<'_, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Batch").finish_non_exhaustive()
    }
}

impl<'a, T: ByteSize + Clone + Send> Batch<'a, T> {
    pub(super) fn new(demux: &'a Demux<T>) -> Self {
        Batch {
            demux,
            subscribers: None,
            waiting: Vec::new(),
            owed: Vec::new(),
            turn: 0,
            items: 0,
            bytes: 0,
            gone: false,
        }
    }
}

impl<T: ByteSize + Clone + Send> Batch<'_, T> {
    /// Adds an item for every matching subscription. Delivers when enough items are waiting; the rest is delivered by
    /// [`flush`](Self::flush). Returns the number of items that were dropped for want of room.
    pub fn publish(&mut self, item: T) -> usize {
        let subscribers = self.subscribers.get_or_insert_with(|| self.demux.subscribers.read().clone());
        self.waiting.resize_with(subscribers.queues.len().max(self.waiting.len()), VecDeque::new);
        if self.demux.closed.is_cancelled() {
            return 0;
        }
        self.gone |= deliver_to_sinks(self.demux, subscribers, &item);
        self.items += 1;
        self.bytes += item.byte_size();
        // The last one to want it gets the item itself.
        let mut last = None;
        for (subscriber, waiting) in subscribers.queues.iter().zip(&mut self.waiting) {
            if subscriber.wants(&item) {
                if let Some(earlier) = last.replace(waiting) {
                    VecDeque::push_back(earlier, item.clone());
                }
            }
        }
        if let Some(waiting) = last {
            waiting.push_back(item);
        }
        if self.items >= AT_ONCE || self.bytes >= BYTES_AT_ONCE {
            self.flush()
        } else {
            0
        }
    }

    /// Publishes an item immediately, but wakes no receiver before [`flush`](Self::flush). If there is no sink, and no
    /// subscription has a predicate or waits for room, this neither blocks nor enters user code.
    pub(in crate::comm) fn put(&mut self, item: &T) {
        let subscribers = self.demux.subscribers.read().clone();
        self.gone |= deliver_to_sinks(self.demux, &subscribers, item);
        for subscriber in &subscribers.queues {
            if self.demux.closed.is_cancelled() {
                break;
            }
            if subscriber.wants(item) {
                self.deliver(subscriber, item.clone());
            }
        }
    }

    /// Delivers what is waiting, and notifies sleeping receivers. Waits for room where a policy says so. Returns the
    /// number of items that were dropped for want of room.
    pub fn flush(&mut self) -> usize {
        (self.items, self.bytes) = (0, 0);
        let mut dropped = 0;
        if let Some(subscribers) = self.subscribers.take() {
            let mut waiting = std::mem::take(&mut self.waiting);
            for (subscriber, items) in subscribers.queues.iter().zip(&mut waiting) {
                if !items.is_empty() && self.turn == 0 {
                    self.deliver_many(subscriber, items);
                }
            }
            // Before it waits for room in one queue, the other receivers know of their items.
            self.notify();
            for (subscriber, items) in subscribers.queues.iter().zip(&mut waiting) {
                while let Some(item) = items.pop_front() {
                    if self.demux.closed.is_cancelled() {
                        items.clear();
                    } else {
                        dropped += self.deliver(subscriber, item);
                    }
                }
            }
            self.waiting = waiting;
        }
        self.notify();
        if std::mem::take(&mut self.gone) {
            self.demux.forget_gone();
        }
        dropped
    }

    /// Puts in as many items as there is room for.
    fn deliver_many(&mut self, subscriber: &Arc<Subscriber<T>>, items: &mut VecDeque<T>) {
        match subscriber.queue.0.put_many(items) {
            Some(owed) => {
                if items.is_empty() {
                    subscriber.lagging.store(false, Ordering::Relaxed);
                }
                self.owe(subscriber, owed);
            }
            None => {
                self.gone = true;
                items.clear();
            }
        }
    }

    /// Delivers one item. Returns the number of items dropped.
    fn deliver(&mut self, subscriber: &Arc<Subscriber<T>>, item: T) -> usize {
        match self.try_deliver(subscriber, item) {
            Delivery::Done => 0,
            Delivery::NoRoom => {
                subscriber.queue.0.miss();
                1
            }
            Delivery::Gone => {
                self.gone = true;
                0
            }
        }
    }

    fn try_deliver(&mut self, subscriber: &Arc<Subscriber<T>>, item: T) -> Delivery {
        let queue = &subscriber.queue.0;
        let turn = self.turn > 0;
        self.turn = self.turn.saturating_sub(1);
        let mut item = match queue.put(item, turn) {
            Ok(owed) => {
                subscriber.lagging.store(false, Ordering::Relaxed);
                self.owe(subscriber, owed);
                return Delivery::Done;
            }
            Err(NotPut::Gone) => return Delivery::Gone,
            Err(NotPut::NoRoom(item)) => item,
        };
        let limit = match subscriber.when_full {
            WhenFull::Drop => return Delivery::NoRoom,
            WhenFull::Wait(_) if subscriber.lagging.load(Ordering::Relaxed) => return Delivery::NoRoom,
            WhenFull::Wait(limit) => limit,
        };
        self.notify();
        let timeout = limit.map_or_else(never, |limit| self.demux.clock.after(limit));
        let closed = self.demux.closed.signal();
        let _waiting = queue.await_room();
        let (mut turn, mut last) = (false, false);
        loop {
            item = match queue.put(item, turn || last) {
                Ok(_) => {
                    // In any case: other waiting publishers must be notified of the remaining room.
                    self.owe(subscriber, true);
                    return Delivery::Done;
                }
                Err(NotPut::Gone) => return Delivery::Gone,
                Err(NotPut::NoRoom(_)) if last => {
                    if !subscriber.lagging.swap(true, Ordering::Relaxed) {
                        log::warn!(
                            "a subscription is full and its reader too slow: messages for it are dropped until it has room"
                        );
                    }
                    return Delivery::NoRoom;
                }
                Err(NotPut::NoRoom(item)) => item,
            };
            select! {
                recv(queue.room()) -> _ => (turn, self.turn) = (true, TURN),
                // Room that appeared slowly and then stopped growing is not signalled.
                recv(timeout) -> _ => last = true,
                recv(closed) -> _ => return Delivery::Done,
            }
        }
    }

    fn owe(&mut self, subscriber: &Arc<Subscriber<T>>, owed: bool) {
        if owed && !self.owed.iter().any(|other| Arc::ptr_eq(other, subscriber)) {
            self.owed.push(subscriber.clone());
        }
    }

    /// Notifies sleeping receivers of new items.
    fn notify(&mut self) {
        self.owed.drain(..).for_each(|subscriber| subscriber.queue.0.tell());
    }
}

impl<T: ByteSize + Clone + Send> Drop for Batch<'_, T> {
    fn drop(&mut self) {
        self.flush();
    }
}

/// Calls the sinks with an item. Returns whether some have left.
fn deliver_to_sinks<T>(demux: &Demux<T>, subscribers: &Subscribers<T>, item: &T) -> bool {
    let mut gone = false;
    for sink in &subscribers.sinks {
        if demux.closed.is_cancelled() {
            break;
        }
        match sink.left.is_cancelled() {
            true => gone = true,
            false => (sink.deliver)(item),
        }
    }
    gone
}

enum Delivery {
    Done,
    NoRoom,
    /// The receiving end is gone.
    Gone,
}
