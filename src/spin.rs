//! Polling for a moment before a thread sleeps, as long as that pays off.
//!
//! Waking a thread from an idle processor takes tens of microseconds; a reply on the same machine takes less. A thread
//! that polls gives its processor up to any other thread between two looks, and stops when one has used it.

use crate::sync::{self, thread, Mutex};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::OnceLock;
use std::time::Duration;

/// Number of consecutive failures after which polling is suspended.
const PATIENCE: u32 = 3;

/// Number of waits for which polling is suspended at first, and at most; doubled by each failure, halved by a success.
const PAUSE: std::ops::RangeInclusive<u32> = 8..=1024;

/// Time between two looks after which another thread has used the processor.
const TAKEN: Duration = Duration::from_micros(30);

/// Decides whether to poll. One per place where threads wait.
pub(crate) struct Spin {
    limit: Duration,
    /// Locked while a thread polls; others that wait at the same place sleep.
    history: Mutex<History>,
}

struct History {
    failures: u32,
    pause: u32,
    /// Number of waits until polling is tried again.
    suspended: u32,
}

impl Spin {
    /// Polls for at most `limit`; 0: never.
    pub fn new(limit: Duration) -> Spin {
        Spin { limit, history: Mutex::new(History { failures: 0, pause: *PAUSE.start(), suspended: 0 }) }
    }

    /// Calls `attempt` until it returns something, for a moment, if that has paid off lately.
    pub fn run<T>(&self, mut attempt: impl FnMut() -> Option<T>) -> Option<T> {
        if self.limit.is_zero() {
            return None;
        }
        let mut history = self.history.try_lock()?;
        if history.suspended > 0 {
            history.suspended -= 1;
            return None;
        }
        let _spinning = Spinning::begin()?;
        let mut looked = sync::now();
        let until = looked + self.limit;
        loop {
            if let Some(result) = attempt() {
                history.succeeded();
                return Some(result);
            }
            let now = sync::now();
            if now.saturating_duration_since(looked) > TAKEN {
                history.suspend();
                return None;
            }
            if now >= until {
                history.failed();
                return None;
            }
            looked = now;
            thread::yield_now();
        }
    }
}

impl History {
    fn succeeded(&mut self) {
        self.failures = 0;
        self.pause = (self.pause / 2).max(*PAUSE.start());
    }

    fn failed(&mut self) {
        self.failures += 1;
        if self.failures >= PATIENCE {
            self.suspend();
        }
    }

    fn suspend(&mut self) {
        self.suspended = self.pause;
        self.pause = (self.pause * 2).min(*PAUSE.end());
    }
}

/// One of the threads of this process that poll at the same time: at most as many as there are processors.
pub(crate) struct Spinning;

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polling_that_does_not_pay_off_is_suspended_longer_and_longer() {
        let spin = Spin::new(Duration::from_nanos(1));
        let mut tries = 0;
        for _ in 0..10_000 {
            let mut tried = false;
            let none: Option<()> = spin.run(|| {
                tried = true;
                None
            });
            assert_eq!(none, None);
            tries += u32::from(tried);
        }
        assert!(tries < 40, "{tries} of 10,000 waits were polled");
    }

    #[test]
    fn success_resumes_polling() {
        let spin = Spin::new(Duration::from_millis(1));
        spin.history.lock().suspend();
        let waits = spin.history.lock().suspended;
        (0..waits).for_each(|_| assert_eq!(spin.run(|| Some(1)), None));
        (0..100).for_each(|_| assert_eq!(spin.run(|| Some(1)), Some(1)));
        assert_eq!(spin.history.lock().pause, *PAUSE.start());
    }

    #[test]
    fn polling_stops_when_another_thread_used_the_processor() {
        let spin = Spin::new(Duration::from_secs(3600));
        let mut looks = 0;
        let none: Option<()> = spin.run(|| {
            looks += 1;
            let until = sync::now() + 2 * TAKEN;
            while sync::now() < until {}
            None
        });
        assert_eq!((none, looks), (None, 1));
        assert_eq!(spin.run(|| Some(1)), None, "suspended");
    }
}
