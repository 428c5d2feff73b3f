//! A clock that advances only when a test advances it.

use crate::clock::Clock;
use crate::sync::channel::{bounded, Receiver, Sender};
use crate::sync::{Condvar, Mutex};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// A [`Clock`] under the test's control. Clones refer to the same clock.
#[derive(Clone)]
pub struct VirtualClock(Arc<ClockState>);

struct ClockState {
    start: Instant,
    start_wall: SystemTime,
    state: Mutex<State>,
    registered: Condvar,
}

struct State {
    elapsed: Duration,
    timers: Vec<(Duration, Sender<Instant>)>,
}

impl fmt::Debug for VirtualClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VirtualClock({:?})", self.elapsed())
    }
}

impl Default for VirtualClock {
    fn default() -> Self {
        Self::new()
    }
}

impl VirtualClock {
    /// Creates a clock that stands at the current time.
    pub fn new() -> Self {
        VirtualClock(Arc::new(ClockState {
            start: Instant::now(),
            start_wall: SystemTime::now(),
            state: Mutex::new(State { elapsed: Duration::ZERO, timers: Vec::new() }),
            registered: Condvar::new(),
        }))
    }

    /// Returns by how much it has been advanced.
    pub fn elapsed(&self) -> Duration {
        self.0.state.lock().elapsed
    }

    /// Advances the time. Timers that become due fire in order of their time.
    pub fn advance(&self, by: Duration) {
        let mut state = self.0.state.lock();
        state.elapsed += by;
        let now = state.elapsed;
        let (mut due, rest): (Vec<_>, Vec<_>) = state.timers.drain(..).partition(|(at, _)| *at <= now);
        state.timers = rest;
        due.sort_by_key(|(at, _)| *at);
        for (at, timer) in due {
            let _ = timer.try_send(self.0.start + at);
        }
    }

    /// Blocks until a thread waits for a time at least `from_now` ahead. Call it before advancing the clock past that
    /// time. Panics after 30 real seconds.
    pub fn wait_for_timer(&self, from_now: Duration) {
        let limit = Instant::now() + Duration::from_secs(30);
        let mut state = self.0.state.lock();
        while !state.timers.iter().any(|(at, _)| *at >= state.elapsed + from_now) {
            assert!(!self.0.registered.wait_until(&mut state, limit).timed_out(), "no thread waits for {from_now:?}");
        }
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> Instant {
        self.0.start + self.elapsed()
    }

    fn wall(&self) -> SystemTime {
        self.0.start_wall + self.elapsed()
    }

    fn after(&self, wait: Duration) -> Receiver<Instant> {
        let (fire, timer) = bounded(1);
        let mut state = self.0.state.lock();
        if wait.is_zero() {
            let _ = fire.try_send(self.0.start + state.elapsed);
        } else {
            let at = state.elapsed + wait;
            state.timers.push((at, fire));
            self.0.registered.notify_all();
        }
        timer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fires_when_moved_there_and_not_before() {
        let clock = VirtualClock::new();
        let timer = clock.after(Duration::from_secs(3));
        clock.wait_for_timer(Duration::from_secs(3));
        clock.advance(Duration::from_secs(2));
        assert!(timer.try_recv().is_err());
        clock.advance(Duration::from_secs(1));
        assert_eq!(timer.try_recv().unwrap(), clock.now());
    }
}
