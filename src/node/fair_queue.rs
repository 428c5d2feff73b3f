//! Round-robin queues.

use crate::crypto::PkiId;
use std::collections::{HashMap, VecDeque};

/// One queue for each peer, served round-robin: a peer with many items delays mainly itself, and any other peer by at
/// most one item.
#[derive(Debug)]
pub(super) struct FairQueue<T> {
    queues: HashMap<PkiId, VecDeque<T>>,
    /// The peers with a non-empty queue, each once.
    turns: VecDeque<PkiId>,
    len: usize,
}

impl<T> Default for FairQueue<T> {
    fn default() -> Self {
        FairQueue { queues: HashMap::new(), turns: VecDeque::new(), len: 0 }
    }
}

impl<T> FairQueue<T> {
    pub fn push(&mut self, of: &PkiId, item: T) {
        let queue = self.queues.entry(of.clone()).or_default();
        if queue.is_empty() {
            self.turns.push_back(of.clone());
        }
        queue.push_back(item);
        self.len += 1;
    }

    pub fn pop(&mut self) -> Option<T> {
        let of = self.turns.pop_front()?;
        let queue = self.queues.get_mut(&of)?;
        let item = queue.pop_front();
        match queue.is_empty() {
            true => drop(self.queues.remove(&of)),
            false => self.turns.push_back(of),
        }
        self.len -= 1;
        item
    }

    pub fn len(&self) -> usize {
        self.len
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_has_a_turn_and_each_its_order() {
        let mut queue = FairQueue::default();
        let [flooder, other] = ["flooder", "other"].map(|name| PkiId::from(name.as_bytes()));
        (0..1000).for_each(|n| queue.push(&flooder, n));
        (0..2).for_each(|n| queue.push(&other, -n));
        let first: Vec<_> = std::iter::from_fn(|| queue.pop()).take(5).collect();
        assert_eq!((first, queue.len()), (vec![0, 0, 1, -1, 2], 997));
        while queue.pop().is_some() {}
        assert!(queue.queues.is_empty() && queue.turns.is_empty() && queue.len() == 0);
    }
}
