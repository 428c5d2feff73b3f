//! Links between simulated nodes, and the events in transit.

use crate::random::{Random, SeededRandom};
use std::collections::{BTreeMap, VecDeque};
use std::ops::RangeInclusive;

/// The behaviour of links. Messages overtake one another according to their delays.
#[derive(Clone, Debug)]
pub struct Links {
    /// Range of a message's delay in milliseconds, uniformly distributed: 1 to 20.
    pub delay_ms: RangeInclusive<u64>,
    /// Number of lost messages per thousand: 0.
    pub loss_per_mille: u64,
    /// Number of duplicated messages per thousand: 0.
    pub duplication_per_mille: u64,
}

impl Default for Links {
    fn default() -> Self {
        Links { delay_ms: 1..=20, loss_per_mille: 0, duplication_per_mille: 0 }
    }
}

/// Number of slots of one millisecond each for future events; the few events beyond are stored separately. Large enough
/// that messages fall into them, and small enough that their memory, each as large as its largest millisecond, stays in
/// the cache.
const HORIZON: u64 = 128;

/// Future events, sorted by time and then by creation, and the partition of the network. Time is in milliseconds from
/// 0.
pub(super) struct Network<T> {
    links: Links,
    random: SeededRandom,
    /// The partition that each node is in; if empty, all nodes are in the same.
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

    /// Returns the current time.
    pub(super) fn now(&self) -> u64 {
        self.now
    }

    /// Returns whether two nodes can reach each other.
    pub(super) fn connects(&self, one: u32, other: u32) -> bool {
        self.groups.get(one as usize) == self.groups.get(other as usize)
    }

    /// Returns the number of copies of a message that arrive.
    pub(super) fn copies(&mut self, from: u32, to: u32) -> usize {
        if !self.connects(from, to) || self.happens(self.links.loss_per_mille) {
            return 0;
        }
        1 + usize::from(self.happens(self.links.duplication_per_mille))
    }

    fn happens(&mut self, per_mille: u64) -> bool {
        per_mille > 0 && self.random.below(1000) < per_mille
    }

    /// Returns the delay of a message.
    pub(super) fn delay(&mut self) -> u64 {
        let (first, last) = (*self.links.delay_ms.start(), *self.links.delay_ms.end());
        (first + self.random.below(last.saturating_sub(first) + 1)).max(1)
    }

    /// Returns the delay of a request and its answer.
    pub(super) fn round_trip(&mut self) -> u64 {
        self.delay() + self.delay()
    }

    /// Schedules an event at a node; `at` must be later than now.
    pub(super) fn schedule(&mut self, at: u64, node: u32, happening: T) {
        debug_assert!(at > self.now);
        if at - self.now < HORIZON {
            self.slots[(at % HORIZON) as usize].push_back((node, happening));
        } else {
            self.far.entry(at).or_default().push((node, happening));
        }
    }

    /// Returns the next event up to `until`, and advances the time to it, or to `until` if there is none.
    pub(super) fn next(&mut self, until: u64) -> Option<(u32, T)> {
        loop {
            if let Some(next) = self.slots[(self.now % HORIZON) as usize].pop_front() {
                return Some(next);
            }
            if self.now >= until {
                return None;
            }
            self.now += 1;
            // Events from beyond the horizon were created before any event that could be in their slot now.
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
