//! The memory budget of a transport: what its connections have received and nobody has taken yet.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Nobody.
const NONE: u64 = u64::MAX;

/// Counts received data. Above the limit, connections return no window to their peers until there is room again. One
/// connection at a time may then go on slowly, so that messages of which parts have arrived can be completed.
pub(super) struct Budget {
    used: AtomicUsize,
    limit: usize,
    /// The connection that may go on without room.
    overdrawing: AtomicU64,
}

impl Budget {
    /// Creates a budget of this many bytes; `None` means no limit.
    pub fn new(limit: Option<usize>) -> Budget {
        let limit = limit.unwrap_or(usize::MAX);
        Budget { used: AtomicUsize::new(0), limit, overdrawing: AtomicU64::new(NONE) }
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

    /// Returns whether this connection is the one that may go on without room.
    pub fn may_overdraw(&self, connection: u64) -> bool {
        match self.overdrawing.compare_exchange(NONE, connection, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => true,
            Err(other) => other == connection,
        }
    }

    /// Records that this connection does not need to go on without room.
    pub fn stop_overdrawing(&self, connection: u64) {
        // An error means that it was not the one.
        let _ = self.overdrawing.compare_exchange(connection, NONE, Ordering::Relaxed, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::Budget;

    #[test]
    fn room_is_what_is_not_used() {
        let budget = Budget::new(Some(100));
        budget.changed(0, 99);
        assert!(budget.has_room());
        budget.changed(99, 150);
        assert!(!budget.has_room());
        budget.changed(150, 0);
        assert!(budget.has_room());
        assert!(Budget::new(None).has_room());
    }

    #[test]
    fn one_connection_at_a_time_goes_on_without_room() {
        let budget = Budget::new(Some(1));
        assert!(budget.may_overdraw(1) && budget.may_overdraw(1) && !budget.may_overdraw(2));
        budget.stop_overdrawing(2);
        assert!(!budget.may_overdraw(2));
        budget.stop_overdrawing(1);
        assert!(budget.may_overdraw(2) && !budget.may_overdraw(1));
    }
}
