//! A wake-up signal for a thread that waits for a future.

use crate::sync::{Condvar, Mutex};
use std::sync::Arc;
use std::task::Wake;
use std::time::Instant;

/// Counts its wake-ups. A waiter passes the count it has already seen, so that no wake-up between checking and waiting
/// is lost, and any number of threads can wait.
#[derive(Default)]
pub(super) struct Signal {
    count: Mutex<u64>,
    woken: Condvar,
}

impl Signal {
    pub fn count(&self) -> u64 {
        *self.count.lock()
    }

    pub fn set(&self) {
        *self.count.lock() += 1;
        self.woken.notify_all();
    }

    /// Waits until the number of wake-ups exceeds `seen`. Returns `false` if it does not by `until` (`None`: no limit).
    pub fn wait(&self, seen: u64, until: Option<Instant>) -> bool {
        let mut count = self.count.lock();
        while *count == seen {
            match until {
                None => self.woken.wait(&mut count),
                Some(until) if self.woken.wait_until(&mut count, until).timed_out() => return *count != seen,
                Some(_) => {}
            }
        }
        true
    }
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.set();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.set();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Waker;

    #[test]
    fn a_wake_between_looking_and_waiting_is_not_lost() {
        let signal = Arc::new(Signal::default());
        let waker = Waker::from(signal.clone());
        let seen = signal.count();
        waker.wake_by_ref();
        assert!(signal.wait(seen, None));
        assert!(!signal.wait(signal.count(), Some(Instant::now())));
    }

    #[test]
    fn every_waiting_thread_is_woken() {
        let signal = Arc::new(Signal::default());
        let seen = signal.count();
        std::thread::scope(|scope| {
            let waiting = [0, 1].map(|_| scope.spawn(|| signal.wait(seen, None)));
            signal.set();
            assert!(waiting.into_iter().all(|thread| thread.join().unwrap()));
        });
    }
}
