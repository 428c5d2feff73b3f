//! Items by digest, in order of arrival.

use bytes::Bytes;
use hashbrown::HashTable;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;

/// In a large network every node holds thousands of them, so each digest is stored only once.
#[derive(Debug)]
pub(super) struct Items<T> {
    list: Vec<(Bytes, T)>,
    /// Position of each digest in the list.
    index: HashTable<usize>,
    keys: RandomState,
}

impl<T> Items<T> {
    pub fn new() -> Self {
        Items { list: Vec::new(), index: HashTable::new(), keys: RandomState::new() }
    }

    pub fn len(&self) -> usize {
        self.list.len()
    }

    pub fn digests(&self) -> impl Iterator<Item = &Bytes> {
        self.list.iter().map(|(digest, _)| digest)
    }

    pub fn get(&self, digest: &[u8]) -> Option<&T> {
        self.find(digest).map(|at| &self.list[at].1)
    }

    /// Inserts an item; replaces an existing one with the same digest.
    pub fn insert(&mut self, digest: Bytes, item: T) {
        if let Some(at) = self.find(&digest) {
            self.list[at] = (digest, item);
            return;
        }
        self.list.push((digest, item));
        let Items { list, index, keys } = self;
        let hash = |at: &usize| keys.hash_one(&list[*at].0[..]);
        let last = list.len() - 1;
        index.insert_unique(hash(&last), last, hash);
    }

    pub fn remove(&mut self, digest: &[u8]) {
        let Some(removed) = self.find(digest) else { return };
        self.list.remove(removed);
        self.index.retain(|at| *at != removed);
        self.index.iter_mut().filter(|at| **at > removed).for_each(|at| *at -= 1);
    }

    fn find(&self, digest: &[u8]) -> Option<usize> {
        self.index.find(self.keys.hash_one(digest), |at| self.list[*at].0 == digest).copied()
    }
}
