//! Protection against rapid reset, CVE-2023-44487: connections whose streams are abandoned repeatedly.
//!
//! The C core keeps each call until it is handed over. A client that resets a stream may open the next one immediately,
//! regardless of the stream limit, so a client that does only this makes the core keep an unbounded number of calls.

use crate::sync::Mutex;
use crate::transport::tcp_info::ConnectionSocket;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Maximum number of abandoned calls of one connection within [`WINDOW`], in addition to those it may have open.
const MAX_ABANDONED: u32 = 200;

const WINDOW: Duration = Duration::from_secs(10);

/// Maximum number of tracked connections; above it, counting restarts.
const CONNECTIONS: usize = 4096;

/// Counts the calls of each connection that were not served to their end. Which of them the client has reset is known
/// only later, when there may be a thousand more. But if there are more than it may have open, the excess must have
/// been reset.
pub(super) struct RapidReset {
    limit: u32,
    counts: Mutex<Counts>,
}

struct Counts {
    since: Instant,
    by_address: HashMap<String, u32>,
}

impl RapidReset {
    /// Creates a counter for a server on which each connection may have this number of open streams.
    pub(super) fn new(max_concurrent_streams: u32) -> RapidReset {
        let counts = Counts { since: Instant::now(), by_address: HashMap::new() };
        RapidReset { limit: max_concurrent_streams.saturating_add(MAX_ABANDONED), counts: Mutex::new(counts) }
    }

    /// Records a call from this address, `ip:port`. Returns `false` if the limit is exceeded and the call must not be
    /// served. The first such call shuts the connection down; later ones had already arrived.
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
    /// Records a call and returns the count of this address.
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
