//! Selects the recipients of a message.

use crate::random::Random;

/// Returns up to `count` random elements of `pool` that pass the filter. Fabric's `SelectPeers`.
///
/// Reorders the pool, which stays uniformly random. A few elements can thus be found in a pool of thousands without
/// scanning it, unless hardly any pass the filter.
pub fn select_peers<T: Clone>(
    random: &mut dyn Random,
    count: usize,
    pool: &mut [T],
    mut filter: impl FnMut(&T) -> bool,
) -> Vec<T> {
    let mut chosen = Vec::with_capacity(count.min(pool.len()));
    for at in 0..pool.len() {
        if chosen.len() == count {
            break;
        }
        let from = at + random.below((pool.len() - at) as u64) as usize;
        pool.swap(at, from);
        if filter(&pool[at]) {
            chosen.push(pool[at].clone());
        }
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::SeededRandom;

    #[test]
    fn g32_no_more_are_selected_than_asked_for_and_only_those_that_pass() {
        let mut random = SeededRandom::new(32);
        let mut pool: Vec<u32> = (0..100).collect();
        for count in [0, 1, 3, 100, 200] {
            let chosen = select_peers(&mut random, count, &mut pool, |_| true);
            assert_eq!(chosen.len(), count.min(100));
        }
        // A conjunction of filters is a single filter.
        let even = |n: &u32| n % 2 == 0;
        let mut chosen = select_peers(&mut random, 10, &mut pool, |n| even(n) && *n < 10);
        chosen.sort_unstable();
        assert_eq!(chosen, [0, 2, 4, 6, 8]);
        assert!(select_peers(&mut random, 10, &mut pool, |_| false).is_empty());
        pool.sort_unstable();
        assert_eq!(pool, (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn everybody_is_selected_about_as_often() {
        let mut random = SeededRandom::new(1);
        let mut pool: Vec<usize> = (0..10).collect();
        let mut seen = [0u32; 10];
        for _ in 0..10_000 {
            select_peers(&mut random, 3, &mut pool, |n| *n != 9).into_iter().for_each(|n| seen[n] += 1);
        }
        assert_eq!(seen[9], 0);
        assert!(seen[..9].iter().all(|n| (3000..3700).contains(n)), "{seen:?}");
    }
}
