//! The same names over the primitives of the model checker `shuttle`. Used only in its builds.
#![allow(missing_docs)]

pub mod channel;

pub use shuttle::sync::atomic;
pub use shuttle::{thread, thread_local};

use shuttle::rand::Rng;
use std::cell::Cell;
use std::ops::{Deref, DerefMut};
use std::sync::{LazyLock, PoisonError};
use std::time::{Duration, Instant};

std::thread_local! {
    static NOW: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

/// Returns a time that advances as the scheduler chooses: not at all, less than any pause of the library, or more.
pub fn now() -> Instant {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    let steps = [0, 10, 100, 10_000];
    let passed = Duration::from_micros(steps[shuttle::rand::thread_rng().gen_range(0..steps.len())]);
    NOW.set(NOW.get() + passed);
    *START + NOW.get()
}

/// Lets this time pass.
pub fn pass(time: Duration) {
    NOW.set(NOW.get() + time);
}

/// The model does not provide this.
pub fn has_ended(_: &thread::JoinHandle<()>) -> bool {
    false
}

/// `parking_lot`'s interface: no poisoning.
#[derive(Default)]
pub struct Mutex<T: ?Sized>(shuttle::sync::Mutex<T>);

/// `None` while a [`Condvar`] waits with it.
pub struct MutexGuard<'a, T: ?Sized>(Option<shuttle::sync::MutexGuard<'a, T>>);

impl<T> Mutex<T> {
    pub const fn new(value: T) -> Self {
        Mutex(shuttle::sync::Mutex::new(value))
    }
}

impl<T: ?Sized> Mutex<T> {
    pub fn lock(&self) -> MutexGuard<'_, T> {
        MutexGuard(Some(self.0.lock().unwrap_or_else(PoisonError::into_inner)))
    }

    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        self.0.try_lock().ok().map(|guard| MutexGuard(Some(guard)))
    }

    /// Gives the holder of the lock a few turns to release it.
    pub fn try_lock_for(&self, _: Duration) -> Option<MutexGuard<'_, T>> {
        (0..4).find_map(|_| {
            let guard = self.try_lock();
            if guard.is_none() {
                thread::yield_now();
            }
            guard
        })
    }
}

impl<T: ?Sized> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_ref().expect("held")
    }
}

impl<T: ?Sized> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.0.as_mut().expect("held")
    }
}

#[derive(Default)]
pub struct Condvar(shuttle::sync::Condvar);

pub struct TimedOut;

impl TimedOut {
    pub fn timed_out(&self) -> bool {
        false
    }
}

impl Condvar {
    pub const fn new() -> Self {
        Condvar(shuttle::sync::Condvar::new())
    }

    pub fn notify_all(&self) {
        self.0.notify_all();
    }

    pub fn notify_one(&self) {
        self.0.notify_one();
    }

    pub fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
        let held = guard.0.take().expect("held");
        guard.0 = Some(self.0.wait(held).unwrap_or_else(PoisonError::into_inner));
    }

    /// The time limit is never reached: a wait without a wake-up is a deadlock, which the model checker reports.
    pub fn wait_until<T>(&self, guard: &mut MutexGuard<'_, T>, _: Instant) -> TimedOut {
        self.wait(guard);
        TimedOut
    }
}

#[derive(Default)]
pub struct RwLock<T>(shuttle::sync::RwLock<T>);

pub use shuttle::sync::{RwLockReadGuard as ReadGuard, RwLockWriteGuard as WriteGuard};

impl<T> RwLock<T> {
    pub const fn new(value: T) -> Self {
        RwLock(shuttle::sync::RwLock::new(value))
    }

    pub fn read(&self) -> shuttle::sync::RwLockReadGuard<'_, T> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn write(&self) -> shuttle::sync::RwLockWriteGuard<'_, T> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}
