//! Links between simulated nodes, and what is on its way over them.

use crate::random::{Random, SeededRandom};
use std::collections::{BTreeMap, VecDeque};
use std::ops::RangeInclusive;

/// How links behave. Messages overtake one another when their delays say so.
#[derive(Clone, Debug)]
pub struct Links {
    /// How many milliseconds a message takes, evenly distributed: 1 to 20.
    pub delay_ms: RangeInclusive<u64>,
    /// How many of a thousand messages are lost: none.
    pub loss_per_mille: u64,
    /// How many of a thousand messages arrive twice: none.
    pub duplication_per_mille: u64,
}

impl Default for Links {
    fn default() -> Self {
        Links { delay_ms: 1..=20, loss_per_mille: 0, duplication_per_mille: 0 }
    }
}

/// How far ahead events lie in slots of a millisecond each; those beyond, few as they are, are kept apart. So many slots
/// that messages lie in them, and so few that their memory, each as large as its largest millisecond, stays in the cache.
const HORIZON: u64 = 128;

/// Events to come, in the order of their time and then of their making; and who reaches whom. Time counts in
/// milliseconds from 0.
pub(super) struct Network<T> {
    links: Links,
    random: SeededRandom,
    /// Which part of the network each node is in; all are in the same if this is empty.
    groups: Vec<u32>,
    now: u64,
    slots: Vec<VecDeque<(u32, T)>>,
    far: BTreeMap<u64, Vec<(u32, T)>>,
}

impl<T> Network<T> {
    pub(super) fn new(links: Links, seed: u64) -> Self {
        let slots = (0..HORIZON).map(|_| VecDeque::new()).collect();
        let random = SeededRandom::new(seed);
        Network { links, random, groups: Vec::new(), now: 0, slots, far: BTreeMap::new() }
    }

    pub(super) fn set_links(&mut self, links: Links) {
        self.links = links;
    }

    pub(super) fn set_groups(&mut self, groups: Vec<u32>) {
        self.groups = groups;
    }

    /// The present.
    pub(super) fn now(&self) -> u64 {
        self.now
    }

    /// Whether two nodes reach each other.
    pub(super) fn connects(&self, one: u32, other: u32) -> bool {
        self.groups.get(one as usize) == self.groups.get(other as usize)
    }

    /// How many copies of a message arrive.
    pub(super) fn copies(&mut self, from: u32, to: u32) -> usize {
        if !self.connects(from, to) || self.happens(self.links.loss_per_mille) {
            return 0;
        }
        1 + usize::from(self.happens(self.links.duplication_per_mille))
    }

    fn happens(&mut self, per_mille: u64) -> bool {
        per_mille > 0 && self.random.below(1000) < per_mille
    }

    /// How long a message takes.
    pub(super) fn delay(&mut self) -> u64 {
        let (first, last) = (*self.links.delay_ms.start(), *self.links.delay_ms.end());
        (first + self.random.below(last.saturating_sub(first) + 1)).max(1)
    }

    /// How long a question and its answer take.
    pub(super) fn round_trip(&mut self) -> u64 {
        self.delay() + self.delay()
    }

    /// Something is to happen at a node, later than now.
    pub(super) fn schedule(&mut self, at: u64, node: u32, happening: T) {
        debug_assert!(at > self.now);
        if at - self.now < HORIZON {
            self.slots[(at % HORIZON) as usize].push_back((node, happening));
        } else {
            self.far.entry(at).or_default().push((node, happening));
        }
    }

    /// What happens next, up to `until`; time goes on to that, or to `until`.
    pub(super) fn next(&mut self, until: u64) -> Option<(u32, T)> {
        loop {
            if let Some(next) = self.slots[(self.now % HORIZON) as usize].pop_front() {
                return Some(next);
            }
            if self.now >= until {
                return None;
            }
            self.now += 1;
            // What lay beyond the horizon was made before anything that could have come into its slot since.
            if let Some(early) = self.far.remove(&(self.now + HORIZON - 1)) {
                self.slots[((self.now + HORIZON - 1) % HORIZON) as usize].extend(early);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn things_happen_in_the_order_of_their_time() {
        let mut network: Network<u64> = Network::new(Links::default(), 1);
        let times = [5, 9000, 100_000, 5, 127, 128, 129, 1, 100_001];
        times.iter().for_each(|at| network.schedule(*at, 0, *at));
        let mut seen = Vec::new();
        for until in [6, 120, 128, 200_000] {
            while let Some((_, at)) = network.next(until) {
                assert_eq!(network.now(), at);
                seen.push(at);
            }
            assert_eq!(network.now(), until);
        }
        assert_eq!(seen, [1, 5, 5, 127, 128, 129, 9000, 100_000, 100_001]);
    }
}
