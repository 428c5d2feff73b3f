//! Rate limit per peer: a burst of requests, then one per interval.

use crate::crypto::PkiId;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// For each recently active peer, the time when its full burst is available again.
#[derive(Debug)]
pub(crate) struct Limiter {
    full_at: HashMap<PkiId, Instant>,
    interval: Duration,
    burst: u32,
    capacity: usize,
}

impl Limiter {
    pub fn new(interval: Duration, burst: u32, capacity: usize) -> Self {
        Limiter { full_at: HashMap::new(), interval, burst, capacity }
    }

    /// Returns whether this peer may make a request now, and counts it if so.
    pub fn admit(&mut self, id: &PkiId, now: Instant) -> bool {
        let full_at = self.full_at.get(id).copied().unwrap_or(now).max(now);
        let spent = (full_at - now) + self.interval;
        let known = self.full_at.contains_key(id);
        if spent > self.interval.saturating_mul(self.burst) || (!known && self.full_at.len() >= self.capacity) {
            return false;
        }
        // Copied, because a slice would keep the whole message in memory.
        self.full_at.insert(PkiId::from(id.as_bytes()), full_at + self.interval);
        true
    }

    /// Removes the peers whose full burst is available again.
    pub fn clean(&mut self, now: Instant) {
        self.full_at.retain(|_, full_at| *full_at > now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_and_then_one_for_each_interval() {
        let (a, b) = (PkiId::from(&b"a"[..]), PkiId::from(&b"b"[..]));
        let mut limiter = Limiter::new(Duration::from_secs(1), 3, 10);
        let start = Instant::now();
        assert_eq!((0..5).filter(|_| limiter.admit(&a, start)).count(), 3);
        assert!(limiter.admit(&b, start), "another peer has its own");
        assert!(!limiter.admit(&a, start + Duration::from_millis(900)));
        assert!(limiter.admit(&a, start + Duration::from_millis(1000)));
        assert!(!limiter.admit(&a, start + Duration::from_millis(1000)));
        limiter.clean(start + Duration::from_secs(4));
        assert!(limiter.full_at.is_empty());
    }

    #[test]
    fn has_room_for_so_many_peers_and_no_more() {
        let mut limiter = Limiter::new(Duration::from_secs(1), 3, 2);
        let start = Instant::now();
        let admitted = (0..5u8).filter(|i| limiter.admit(&PkiId::from(vec![*i]), start)).count();
        assert_eq!(admitted, 2);
    }
}
