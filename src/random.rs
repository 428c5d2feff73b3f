//! Injectable random numbers, so that a run can be repeated exactly.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};

/// A source of random numbers.
pub trait Random {
    /// Returns the next random 64-bit number.
    fn next_u64(&mut self) -> u64;

    /// Returns a random number below `bound`, which must not be zero. It takes a remainder; the resulting bias is
    /// negligible for the bounds used here.
    fn below(&mut self, bound: u64) -> u64 {
        self.next_u64() % bound
    }

    /// Returns `count` different numbers below `bound` in random order, or none if `count` exceeds `bound`. Fabric's
    /// `GetRandomIndices`.
    fn indices(&mut self, count: usize, bound: usize) -> Vec<usize> {
        if count > bound {
            return Vec::new();
        }
        let mut all: Vec<usize> = (0..bound).collect();
        for at in 0..count {
            let from = at + self.below((bound - at) as u64) as usize;
            all.swap(at, from);
        }
        all.truncate(count);
        all
    }
}

/// Returns up to `count` of `items`, in random order.
pub fn choose<T: Clone>(random: &mut dyn Random, count: usize, items: &[T]) -> Vec<T> {
    random.indices(count.min(items.len()), items.len()).into_iter().map(|at| items[at].clone()).collect()
}

/// Unpredictable numbers, from the keys that the standard library draws for its hash tables. Suitable for nonces and
/// for choosing peers; keys and signatures come from OpenSSL.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemRandom;

impl Random for SystemRandom {
    fn next_u64(&mut self) -> u64 {
        RandomState::new().build_hasher().finish()
    }
}

/// Numbers derived from a seed, identical on every machine (SplitMix64). For tests and simulations.
#[derive(Clone, Debug)]
pub struct SeededRandom(u64);

impl SeededRandom {
    /// Creates a generator with this seed.
    pub fn new(seed: u64) -> Self {
        SeededRandom(seed)
    }
}

impl Random for SeededRandom {
    fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn u7_random_indices_are_different_or_none() {
        let mut random = SeededRandom::new(7);
        assert!(random.indices(10, 6).is_empty());
        for bound in [10, 91] {
            let mut drawn = random.indices(10, bound);
            assert!(drawn.iter().all(|&i| i < bound));
            drawn.sort_unstable();
            drawn.dedup();
            assert_eq!(drawn.len(), 10);
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_choice() {
        let all: Vec<u32> = (0..100).collect();
        let drawn = choose(&mut SeededRandom::new(1), 3, &all);
        assert_eq!(drawn, choose(&mut SeededRandom::new(1), 3, &all));
        assert_ne!(drawn, choose(&mut SeededRandom::new(2), 3, &all));
        assert_eq!(choose(&mut SeededRandom::new(1), 200, &all).len(), 100);
    }

    #[test]
    fn nobody_gets_the_same_numbers_of_the_system() {
        assert_ne!(SystemRandom.next_u64(), SystemRandom.next_u64());
    }

    #[test]
    fn weakness_22_threads_share_no_state_when_they_draw() {
        let draw = || (0..1000).map(|_| SystemRandom.next_u64()).collect::<Vec<_>>();
        let threads: Vec<_> = (0..8).map(|_| std::thread::spawn(draw)).collect();
        let drawn = threads.into_iter().flat_map(|thread| thread.join().unwrap());
        assert_eq!(drawn.collect::<std::collections::HashSet<_>>().len(), 8000);
    }
}
