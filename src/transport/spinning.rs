//! Bounds the number of threads that poll at the same time to the number of processors.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::OnceLock;

/// One of the threads of this process that are allowed to spin at the same time.
pub(super) struct Spinning;

static SPINNING: AtomicUsize = AtomicUsize::new(0);

impl Spinning {
    /// Returns `None` if as many threads as there are processors poll already.
    pub fn begin() -> Option<Spinning> {
        static MOST: OnceLock<usize> = OnceLock::new();
        let most = *MOST.get_or_init(|| std::thread::available_parallelism().map_or(1, usize::from));
        let claim = |now| (now < most).then_some(now + 1);
        SPINNING.fetch_update(Ordering::Relaxed, Ordering::Relaxed, claim).ok().map(|_| Spinning)
    }
}

impl Drop for Spinning {
    fn drop(&mut self) {
        SPINNING.fetch_sub(1, Ordering::Relaxed);
    }
}
