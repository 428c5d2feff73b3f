//! Time as something that is handed in, so that what takes hours in the protocol takes milliseconds in a test.

use crate::sync::channel::Receiver;
use std::fmt;
use std::time::{Duration, Instant, SystemTime};

/// A source of time. The library never reads the system's clocks but through this.
pub trait Clock: Send + Sync + fmt::Debug {
    /// Monotonic time.
    fn now(&self) -> Instant;
    /// Wall-clock time: what certificates' validity is judged by.
    fn wall(&self) -> SystemTime;
    /// A channel that receives one value when `wait` has passed: an arm for `select!`.
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
