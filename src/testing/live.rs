//! Counts the library's live objects in this process, so that tests can find those that remain after a stop.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

static COUNTS: Mutex<BTreeMap<&'static str, usize>> = Mutex::new(BTreeMap::new());

/// Counts the object that contains it, until it is dropped.
pub(crate) struct Live(&'static str);

impl Live {
    /// Counts one more object of this kind.
    pub fn new(kind: &'static str) -> Self {
        *lock().entry(kind).or_default() += 1;
        Live(kind)
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        if let Some(count) = lock().get_mut(self.0) {
            *count -= 1;
        }
    }
}

fn lock() -> std::sync::MutexGuard<'static, BTreeMap<&'static str, usize>> {
    COUNTS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns the number of live objects of each kind in this process; kinds without any are omitted. The kinds are
/// `comm`, `peer` (an entry of the connection store), `connection`, and `memory stream`.
pub fn live_objects() -> Vec<(&'static str, usize)> {
    lock().iter().filter(|(_, count)| **count > 0).map(|(kind, count)| (*kind, *count)).collect()
}
