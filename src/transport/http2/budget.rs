//! The memory budget of a transport: what its connections have received and nobody has taken yet.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts received data. Above the limit, connections return no window to their peers until there is room again.
pub(super) struct Budget {
    used: AtomicUsize,
    limit: usize,
}

impl Budget {
    /// Creates a budget of this many bytes; `None` means no limit.
    pub fn new(limit: Option<usize>) -> Budget {
        Budget { used: AtomicUsize::new(0), limit: limit.unwrap_or(usize::MAX) }
    }

    /// Records that something that took `before` bytes takes `after` bytes now.
    pub fn changed(&self, before: usize, after: usize) {
        match after.checked_sub(before) {
            Some(0) => {}
            Some(more) => drop(self.used.fetch_add(more, Ordering::Relaxed)),
            None => drop(self.used.fetch_sub(before - after, Ordering::Relaxed)),
        }
    }

    /// Returns the number of bytes that are counted.
    #[cfg(feature = "testing")]
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Returns whether more may be received.
    pub fn has_room(&self) -> bool {
        self.used.load(Ordering::Relaxed) < self.limit
    }
}
