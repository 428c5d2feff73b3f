//! Connections whose streams are abandoned again and again: the rapid reset attack, CVE-2023-44487.
//!
//! The C core keeps each call until it is handed over, and a client that resets a stream may open the next one at once,
//! whatever the limit of streams is. So a client that does nothing else makes it keep ever more of them.

use crate::sync::Mutex;
use crate::transport::tcp_info::ConnectionSocket;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Calls of one connection that may be abandoned within [`WINDOW`], besides those that it may have open.
const MAX_ABANDONED: u32 = 200;

const WINDOW: Duration = Duration::from_secs(10);

/// Connections that are remembered; with more, counting starts anew.
const CONNECTIONS: usize = 4096;

/// Counts the calls of each connection that were not served to their end. Which of them the client has reset is known
/// only later, when there may be a thousand more; but if they are more than it may have open, the others must have been.
pub(super) struct RapidReset {
    limit: u32,
    counts: Mutex<Counts>,
}

struct Counts {
    since: Instant,
    by_address: HashMap<String, u32>,
}

impl RapidReset {
    /// Counts for a server on which each connection may have this number of streams open.
    pub(super) fn new(max_concurrent_streams: u32) -> RapidReset {
        let counts = Counts { since: Instant::now(), by_address: HashMap::new() };
        RapidReset { limit: max_concurrent_streams.saturating_add(MAX_ABANDONED), counts: Mutex::new(counts) }
    }

    /// Records a call from this address, `ip:port`. `false`: one too many, and not to be served. The first of these
    /// shuts its connection down; those behind it are what had arrived before.
    pub(super) fn record_call(&self, address: &str) -> bool {
        let count = self.counts.lock().record_call(address, Instant::now());
        if count == self.limit.saturating_add(1) {
            let closed = ConnectionSocket::from(address).shut_down();
            let done = if closed { "shutting its connection down" } else { "dropping its calls" };
            log::warn!("{address}: more than {MAX_ABANDONED} streams reset or refused within {WINDOW:?}, {done}");
        }
        count <= self.limit
    }

    /// Records that a call from this address was served to its end.
    pub(super) fn served(&self, address: &str) {
        if let Some(count) = self.counts.lock().by_address.get_mut(address) {
            *count = count.saturating_sub(1);
        }
    }
}

impl Counts {
    /// Returns the number of this address now.
    fn record_call(&mut self, address: &str, now: Instant) -> u32 {
        let full = self.by_address.len() >= CONNECTIONS && !self.by_address.contains_key(address);
        if full || now.saturating_duration_since(self.since) >= WINDOW {
            self.since = now;
            self.by_address.clear();
        }
        if let Some(count) = self.by_address.get_mut(address) {
            *count = count.saturating_add(1);
            return *count;
        }
        self.by_address.insert(address.to_owned(), 1);
        1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_served_does_not_count() {
        let resets = RapidReset::new(64);
        for _ in 0..10 * MAX_ABANDONED {
            assert!(resets.record_call("a:1"));
            resets.served("a:1");
        }
        let open = (0..1000).filter(|_| resets.record_call("a:1")).count();
        assert_eq!(open as u32, 64 + MAX_ABANDONED);
        assert!(resets.record_call("a:2"), "another is another");
    }

    #[test]
    fn counting_starts_anew_with_each_window_and_when_there_is_no_room() {
        let start = Instant::now();
        let mut counts = Counts { since: start, by_address: HashMap::new() };
        assert_eq!([1, 2, 3].map(|_| counts.record_call("a:1", start)), [1, 2, 3]);
        assert_eq!(counts.record_call("a:1", start + WINDOW), 1);
        for port in 0..3 * CONNECTIONS {
            counts.record_call(&format!("b:{port}"), start + WINDOW);
            assert!(counts.by_address.len() <= CONNECTIONS);
        }
        assert_eq!(counts.record_call("a:1", start + WINDOW), 1);
    }
}
