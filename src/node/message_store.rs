//! A store of messages that supersede one another. Channels keep the state information of their members in one.

use crate::message::InvalidationResult;
use std::collections::HashMap;
use std::hash::Hash;

/// The relation of the first message to the second, which is already stored.
pub type Policy<M> = fn(&M, &M) -> InvalidationResult;

/// Messages under keys (Fabric's message store). Only messages under the same key are compared.
#[derive(Debug)]
pub struct MessageStore<K, M> {
    entries: HashMap<K, Vec<Entry<M>>>,
    policy: Policy<M>,
    capacity: usize,
    /// Number of entries.
    len: usize,
    /// The number of the next entry; entries are returned in insertion order.
    next: u64,
}

#[derive(Debug)]
struct Entry<M> {
    message: M,
    number: u64,
}

impl<K: Eq + Hash, M> MessageStore<K, M> {
    /// Creates a store for at most `capacity` messages.
    pub fn new(policy: Policy<M>, capacity: usize) -> Self {
        MessageStore { entries: HashMap::new(), policy, capacity, len: 0, next: 0 }
    }

    /// Returns whether no message under this key supersedes this one or is equivalent.
    pub fn check_valid(&self, key: &K, message: &M) -> bool {
        let invalidated = |entry: &Entry<M>| (self.policy)(message, &entry.message) == InvalidationResult::Invalidated;
        !self.entries.get(key).into_iter().flatten().any(invalidated)
    }

    /// Adds a message. Returns the messages that it superseded, oldest first; `None` if it is superseded itself, or if
    /// there is no room.
    pub fn add(&mut self, key: K, message: M) -> Option<Vec<M>> {
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
        let entry = Entry { message, number: self.next };
        // Most keys only ever have one message.
        self.entries.entry(key).or_insert_with(|| Vec::with_capacity(1)).push(entry);
        (self.next, self.len) = (self.next + 1, self.len + 1);
        Some(messages(out))
    }

    /// Removes the messages for which `predicate` returns true, and returns them, oldest first.
    pub fn purge(&mut self, predicate: impl Fn(&M) -> bool) -> Vec<M> {
        let mut removed = Vec::new();
        self.entries.retain(|_, entries| {
            removed.extend(take_if(entries, |entry| predicate(&entry.message)));
            !entries.is_empty()
        });
        self.len -= removed.len();
        messages(removed)
    }

    /// Returns the message added last under this key.
    pub fn latest(&self, key: &K) -> Option<&M> {
        self.entries.get(key)?.last().map(|entry| &entry.message)
    }

    /// Returns all messages, oldest first.
    pub fn messages(&self) -> Vec<&M> {
        let mut entries: Vec<&Entry<M>> = self.entries.values().flatten().collect();
        entries.sort_by_key(|entry| entry.number);
        entries.into_iter().map(|entry| &entry.message).collect()
    }

    /// Returns the number of messages.
    pub fn len(&self) -> usize {
        self.len
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

    fn add_all(store: &mut MessageStore<(), u32>, messages: impl IntoIterator<Item = u32>) -> usize {
        messages.into_iter().filter(|message| store.add((), *message).is_some()).count()
    }

    #[test]
    fn u8_a_newer_message_supersedes_the_one_before() {
        let mut store = MessageStore::new(larger_wins, 100);
        for message in 0..10 {
            assert!(store.check_valid(&(), &message));
            let superseded = store.add((), message);
            assert_eq!(superseded, Some(message.checked_sub(1).into_iter().collect()));
            assert_eq!(store.len(), 1);
        }
    }

    #[test]
    fn u9_an_older_message_is_refused() {
        let mut store = MessageStore::new(larger_wins, 100);
        assert_eq!(add_all(&mut store, [10]), 1);
        assert_eq!(add_all(&mut store, (0..10).rev()), 0);
        assert_eq!(store.messages(), [&10]);
    }

    #[test]
    fn u13_purging_removes_what_matches_in_order() {
        let mut store = MessageStore::new(unrelated, 100);
        assert_eq!(add_all(&mut store, 0..10), 10);
        assert_eq!(store.purge(|message| message % 2 == 1), [1, 3, 5, 7, 9]);
        assert_eq!(store.messages(), [&0, &2, &4, &6, &8]);
        assert!(store.purge(|message| *message > 100).is_empty());
    }

    #[test]
    fn only_messages_under_one_key_are_compared() {
        let mut store = MessageStore::new(larger_wins, 100);
        assert!(store.add("a", 5).is_some());
        assert!(store.check_valid(&"b", &4));
        assert!(!store.check_valid(&"a", &4));
        assert_eq!(store.add("b", 4), Some(vec![]));
        assert_eq!(store.messages(), [&5, &4]);
        assert_eq!((store.latest(&"a"), store.latest(&"b"), store.latest(&"c")), (Some(&5), Some(&4), None));
    }

    #[test]
    fn a_full_store_takes_only_what_supersedes_another_message() {
        let mut store = MessageStore::new(equal_is_rejected, 3);
        assert_eq!(add_all(&mut store, 0..5), 3);
        assert_eq!(store.messages(), [&0, &1, &2]);
        let mut store = MessageStore::new(larger_wins, 1);
        assert_eq!(add_all(&mut store, 0..5), 5);
    }
}
