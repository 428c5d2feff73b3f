//! A store of messages that supersede one another and expire. Channels keep the state information of their members in
//! one. The membership does not: its table of members remembers the times itself, without a second copy of each
//! message.

use crate::message::InvalidationResult;
use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

/// The relation of the first message to the second, which is already stored.
pub type Policy<M> = fn(&M, &M) -> InvalidationResult;

/// Messages under keys (Fabric's message store). Only messages under the same key are compared. A store of one message
/// per peer uses the PKI-ID as key; one where each message may affect all others uses `()`.
///
/// A message expires when its age reaches the TTL. It is then no longer among the [`messages`](Self::messages), but
/// until twice the TTL it still blocks messages that it supersedes. The store has neither thread nor clock: call
/// [`expire`](Self::expire) when [`next_expiry`](Self::next_expiry) is reached.
#[derive(Debug)]
pub struct MessageStore<K, M> {
    entries: HashMap<K, Vec<Entry<M>>>,
    policy: Policy<M>,
    ttl: Option<Duration>,
    capacity: usize,
    /// Number of entries, including expired ones.
    len: usize,
    /// The number of the next entry; entries are returned in insertion order.
    next: u64,
}

#[derive(Debug)]
struct Entry<M> {
    message: M,
    added: Instant,
    number: u64,
    expired: bool,
}

impl<K: Eq + Hash, M> MessageStore<K, M> {
    /// Creates a store for at most `capacity` messages, including expired ones. Without a `ttl`, messages do not
    /// expire.
    pub fn new(policy: Policy<M>, ttl: Option<Duration>, capacity: usize) -> Self {
        MessageStore { entries: HashMap::new(), policy, ttl, capacity, len: 0, next: 0 }
    }

    /// Returns whether no message under this key supersedes this one or is equivalent.
    pub fn check_valid(&self, key: &K, message: &M) -> bool {
        let invalidated = |entry: &Entry<M>| (self.policy)(message, &entry.message) == InvalidationResult::Invalidated;
        !self.entries.get(key).into_iter().flatten().any(invalidated)
    }

    /// Adds a message. Returns the messages that it superseded, oldest first and without expired ones; `None` if it is
    /// superseded itself, or if there is no room.
    pub fn add(&mut self, key: K, message: M, now: Instant) -> Option<Vec<M>> {
        if !self.check_valid(&key, &message) {
            return None;
        }
        let policy = self.policy;
        let superseded = |entry: &Entry<M>| policy(&message, &entry.message) == InvalidationResult::Invalidates;
        let out = self.entries.get_mut(&key).map(|entries| take_if(entries, superseded)).unwrap_or_default();
        self.len -= out.len();
        if self.len >= self.capacity {
            log::debug!("the message store is full");
            return None;
        }
        let entry = Entry { message, added: now, number: self.next, expired: false };
        // Most keys only ever have one message.
        self.entries.entry(key).or_insert_with(|| Vec::with_capacity(1)).push(entry);
        (self.next, self.len) = (self.next + 1, self.len + 1);
        Some(messages(out.into_iter().filter(|entry| !entry.expired).collect()))
    }

    /// Marks messages whose age has reached the TTL as expired and returns copies of them, oldest first. Removes
    /// messages whose age has reached twice the TTL.
    pub fn expire(&mut self, now: Instant) -> Vec<M>
    where
        M: Clone,
    {
        let Some(ttl) = self.ttl else { return Vec::new() };
        let mut expired = Vec::new();
        for entries in self.entries.values_mut() {
            for entry in entries.iter_mut().filter(|entry| !entry.expired && now - entry.added >= ttl) {
                entry.expired = true;
                expired.push((entry.number, entry.message.clone()));
            }
        }
        self.remove(|entry| now - entry.added >= 2 * ttl);
        expired.sort_by_key(|(number, _)| *number);
        expired.into_iter().map(|(_, message)| message).collect()
    }

    /// Returns the time when [`expire`](Self::expire) must be called next.
    pub fn next_expiry(&self) -> Option<Instant> {
        let ttl = self.ttl?;
        let time = |entry: &Entry<M>| entry.added + if entry.expired { 2 * ttl } else { ttl };
        self.entries.values().flatten().map(time).min()
    }

    /// Removes the messages for which `predicate` returns true, and returns them, oldest first. Expired ones are
    /// removed without being returned.
    pub fn purge(&mut self, predicate: impl Fn(&M) -> bool) -> Vec<M> {
        let removed = self.remove(|entry| predicate(&entry.message));
        messages(removed.into_iter().filter(|entry| !entry.expired).collect())
    }

    /// Returns the last added message under this key that has not expired.
    pub fn latest(&self, key: &K) -> Option<&M> {
        self.entries.get(key)?.iter().rfind(|entry| !entry.expired).map(|entry| &entry.message)
    }

    /// Returns the messages that have not expired, oldest first.
    pub fn messages(&self) -> Vec<&M> {
        let mut entries: Vec<&Entry<M>> = self.live().collect();
        entries.sort_by_key(|entry| entry.number);
        entries.into_iter().map(|entry| &entry.message).collect()
    }

    /// Returns the number of messages that have not expired.
    pub fn len(&self) -> usize {
        match self.ttl {
            None => self.len,
            Some(_) => self.live().count(),
        }
    }

    /// Returns whether there are no messages that have not expired.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn live(&self) -> impl Iterator<Item = &Entry<M>> {
        self.entries.values().flatten().filter(|entry| !entry.expired)
    }

    fn remove(&mut self, predicate: impl Fn(&Entry<M>) -> bool) -> Vec<Entry<M>> {
        let mut removed = Vec::new();
        self.entries.retain(|_, entries| {
            removed.extend(take_if(entries, &predicate));
            !entries.is_empty()
        });
        self.len -= removed.len();
        removed
    }
}

/// Removes and returns the entries for which `wanted` returns true; all keep their order.
fn take_if<M>(entries: &mut Vec<Entry<M>>, wanted: impl Fn(&Entry<M>) -> bool) -> Vec<Entry<M>> {
    let (taken, rest) = std::mem::take(entries).into_iter().partition(wanted);
    *entries = rest;
    taken
}

fn messages<M>(mut entries: Vec<Entry<M>>) -> Vec<M> {
    entries.sort_by_key(|entry| entry.number);
    entries.into_iter().map(|entry| entry.message).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use InvalidationResult::{Invalidated, Invalidates, NoAction};

    const SEC: Duration = Duration::from_secs(1);

    fn larger_wins(this: &u32, that: &u32) -> InvalidationResult {
        match this > that {
            true => Invalidates,
            false => Invalidated,
        }
    }

    fn equal_is_rejected(this: &u32, that: &u32) -> InvalidationResult {
        match this == that {
            true => Invalidated,
            false => NoAction,
        }
    }

    fn unrelated(_: &u32, _: &u32) -> InvalidationResult {
        NoAction
    }

    fn add_all(store: &mut MessageStore<(), u32>, messages: impl IntoIterator<Item = u32>, now: Instant) -> usize {
        messages.into_iter().filter(|message| store.add((), *message, now).is_some()).count()
    }

    #[test]
    fn u8_a_newer_message_supersedes_the_one_before() {
        let mut store = MessageStore::new(larger_wins, None, 100);
        for message in 0..10 {
            assert!(store.check_valid(&(), &message));
            let superseded = store.add((), message, Instant::now());
            assert_eq!(superseded, Some(message.checked_sub(1).into_iter().collect()));
            assert_eq!(store.len(), 1);
        }
    }

    #[test]
    fn u9_an_older_message_is_refused() {
        let mut store = MessageStore::new(larger_wins, None, 100);
        assert_eq!(add_all(&mut store, [10], Instant::now()), 1);
        assert_eq!(add_all(&mut store, (0..10).rev(), Instant::now()), 0);
        assert_eq!(store.messages(), [&10]);
    }

    #[test]
    fn u10_messages_expire_after_the_ttl_and_are_remembered_until_twice_that() {
        let start = Instant::now();
        let mut store = MessageStore::new(equal_is_rejected, Some(3 * SEC), 100);
        assert_eq!(add_all(&mut store, 0..10, start), 10);
        assert_eq!(store.next_expiry(), Some(start + 3 * SEC));
        let at = start + 2 * SEC;
        assert!(store.expire(at).is_empty());
        assert_eq!((add_all(&mut store, 0..10, at), add_all(&mut store, 10..20, at), store.len()), (0, 10, 20));
        let at = start + 4 * SEC;
        assert_eq!(store.expire(at), (0..10).collect::<Vec<u32>>());
        assert_eq!((store.len(), add_all(&mut store, 0..20, at)), (10, 0));
        assert_eq!(store.next_expiry(), Some(start + 5 * SEC));
        let at = start + 7 * SEC;
        assert_eq!(store.expire(at), (10..20).collect::<Vec<u32>>());
        assert!(store.is_empty() && store.messages().is_empty());
        assert_eq!((add_all(&mut store, 0..10, at), add_all(&mut store, 10..20, at)), (10, 0));
        store.expire(start + 8 * SEC);
        assert_eq!(add_all(&mut store, 10..20, at), 10);
        store.expire(start + 20 * SEC);
        assert_eq!((store.entries.len(), store.len, store.next_expiry()), (0, 0, None));
    }

    #[test]
    fn u13_purging_removes_what_matches_in_order() {
        let mut store = MessageStore::new(unrelated, None, 100);
        assert_eq!(add_all(&mut store, 0..10, Instant::now()), 10);
        assert_eq!(store.purge(|message| message % 2 == 1), [1, 3, 5, 7, 9]);
        assert_eq!(store.messages(), [&0, &2, &4, &6, &8]);
        assert!(store.purge(|message| *message > 100).is_empty());
    }

    #[test]
    fn only_messages_under_one_key_are_compared() {
        let mut store = MessageStore::new(larger_wins, None, 100);
        assert!(store.add("a", 5, Instant::now()).is_some());
        assert!(store.check_valid(&"b", &4));
        assert!(!store.check_valid(&"a", &4));
        assert_eq!(store.add("b", 4, Instant::now()), Some(vec![]));
        assert_eq!(store.messages(), [&5, &4]);
        assert_eq!((store.latest(&"a"), store.latest(&"b"), store.latest(&"c")), (Some(&5), Some(&4), None));
    }

    #[test]
    fn has_room_for_so_many_and_expired_ones_count() {
        let start = Instant::now();
        let mut store = MessageStore::new(equal_is_rejected, Some(SEC), 3);
        assert_eq!(add_all(&mut store, 0..5, start), 3);
        store.expire(start + SEC);
        assert_eq!(add_all(&mut store, 5..9, start + SEC), 0);
        store.expire(start + 2 * SEC);
        assert_eq!(add_all(&mut store, 5..9, start + 2 * SEC), 3);
        let mut store = MessageStore::new(larger_wins, None, 1);
        assert_eq!(add_all(&mut store, 0..5, start), 5, "what supersedes takes the place of the other");
    }
}
