//! Polling a socket for a moment before blocking on it, as long as that pays off.

use crate::sync;
use crate::transport::spinning::Spinning;
use std::time::Duration;

/// Number of consecutive failures after which polling is suspended.
const PATIENCE: u32 = 3;

/// Number of waits for which polling is suspended at first, and at most; doubled by each failure.
const PAUSE: std::ops::RangeInclusive<u32> = 8..=1024;

/// Decides whether to poll. One per stream.
pub(super) struct Spin {
    limit: Duration,
    failures: u32,
    pause: u32,
    /// Number of waits until polling is tried again.
    suspended: u32,
}

impl Spin {
    pub fn new(limit: Duration) -> Spin {
        Spin { limit, failures: 0, pause: *PAUSE.start(), suspended: 0 }
    }

    /// Calls `attempt` until it returns something, for a moment, if that has paid off lately.
    pub fn run<T>(&mut self, mut attempt: impl FnMut() -> Option<T>) -> Option<T> {
        if self.limit.is_zero() {
            return None;
        }
        if self.suspended > 0 {
            self.suspended -= 1;
            return None;
        }
        let _spinning = Spinning::begin()?;
        let until = sync::now() + self.limit;
        loop {
            if let Some(result) = attempt() {
                self.record(true);
                return Some(result);
            }
            if sync::now() >= until {
                self.record(false);
                return None;
            }
            std::hint::spin_loop();
        }
    }

    fn record(&mut self, success: bool) {
        if success {
            self.failures = 0;
            self.pause = *PAUSE.start();
            return;
        }
        self.failures += 1;
        if self.failures >= PATIENCE {
            self.suspended = self.pause;
            self.pause = (self.pause * 2).min(*PAUSE.end());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polling_that_does_not_pay_off_is_suspended_longer_and_longer() {
        let mut spin = Spin::new(Duration::from_nanos(1));
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
        let mut spin = Spin::new(Duration::from_millis(1));
        spin.failures = PATIENCE - 1;
        spin.record(false);
        let waits = spin.suspended;
        (0..waits).for_each(|_| assert_eq!(spin.run(|| Some(1)), None));
        (0..100).for_each(|_| assert_eq!(spin.run(|| Some(1)), Some(1)));
    }
}
