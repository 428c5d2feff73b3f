//! What a thread sleeps on until a future can go on.

use crate::sync::{Condvar, Mutex};
use std::sync::Arc;
use std::task::Wake;
use std::time::Instant;

/// Counts how often it was woken. Whoever waits says up to which count it has looked, so that no wake is lost between
/// looking and waiting, and any number of threads can wait.
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

    /// Waits until it is woken once more than `seen` times; `false` if it is not until then (`None`: no limit).
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
