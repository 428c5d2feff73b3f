//! Injectable time, so that a test can run hours of protocol time in milliseconds.

use crate::sync::channel::Receiver;
use std::fmt;
use std::time::{Duration, Instant, SystemTime};

/// A source of time. The library reads the system clocks only through this trait.
pub trait Clock: Send + Sync + fmt::Debug {
    /// Returns the monotonic time.
    fn now(&self) -> Instant;
    /// Returns the wall-clock time, against which the validity of certificates is checked.
    fn wall(&self) -> SystemTime;
    /// Returns a channel that receives one value after `wait` has passed, for use in `select!`.
    fn after(&self, wait: Duration) -> Receiver<Instant>;
}

/// The system's clocks.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn wall(&self) -> SystemTime {
        SystemTime::now()
    }

    fn after(&self, wait: Duration) -> Receiver<Instant> {
        crate::sync::channel::after(wait)
    }
}
