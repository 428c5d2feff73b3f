//! A bounded cache that evicts entries not used recently.

use crate::sync::RwLock;
use std::collections::HashMap;
use std::hash::Hash;

/// Two generations of at most half the bound each. When the young generation is full, it replaces the old one, whose
/// entries not used since are dropped. A hit in the young generation takes only a shared lock.
pub(super) struct Cache<K, V> {
    half: usize,
    generations: RwLock<Generations<K, V>>,
}

struct Generations<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
}

impl<K: Eq + Hash + Clone, V: Clone> Cache<K, V> {
    pub fn new(bound: usize) -> Self {
        let generations = Generations { young: HashMap::new(), old: HashMap::new() };
        Cache { half: (bound / 2).max(1), generations: RwLock::new(generations) }
    }

    pub fn get(&self, key: &K) -> Option<V> {
        {
            let generations = self.generations.read();
            if let Some(value) = generations.young.get(key) {
                return Some(value.clone());
            }
            if !generations.old.contains_key(key) {
                return None;
            }
        }
        let value = self.generations.write().old.remove(key)?;
        self.insert(key.clone(), value.clone());
        Some(value)
    }

    pub fn insert(&self, key: K, value: V) {
        let mut generations = self.generations.write();
        generations.young.insert(key, value);
        if generations.young.len() >= self.half {
            generations.old = std::mem::take(&mut generations.young);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_what_is_used_and_is_bounded() {
        let cache = Cache::new(10);
        cache.insert(0, 0);
        for i in 1..1000 {
            cache.insert(i, i);
            assert_eq!(cache.get(&0), Some(0));
            assert_eq!(cache.get(&i), Some(i));
        }
        assert_eq!(cache.get(&1), None);
        let generations = cache.generations.read();
        assert!(generations.young.len() + generations.old.len() <= 10);
    }
}
