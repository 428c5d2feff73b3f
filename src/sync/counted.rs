//! Locks that count how many of them the current thread holds, so that calling user code under a lock is detected.
//!
//! Used in builds with the feature `testing` and with the model checker; other builds use the plain locks.

use super::base;
use std::cell::Cell;
use std::ops::{Deref, DerefMut};
use std::time::{Duration, Instant};

base::thread_local! {
    static HELD: Cell<usize> = const { Cell::new(0) };
}

/// Counts one held lock until it is dropped. The guard is dropped before the count; see the order of fields below.
struct Count;

impl Count {
    fn new() -> Self {
        HELD.with(|held| held.set(held.get() + 1));
        Count
    }
}

impl Drop for Count {
    fn drop(&mut self) {
        HELD.with(|held| held.set(held.get() - 1));
    }
}

/// Returns the number of the library's locks that the current thread holds.
pub fn locks_held() -> usize {
    HELD.with(Cell::get)
}

/// Marks a place where user code is called: a callback, a predicate, a waker, a service.
///
/// # Panics
/// If the current thread holds a lock: the user code may call the library, which would deadlock.
#[track_caller]
pub(crate) fn entering_user_code() {
    let held = locks_held();
    assert!(held == 0 || std::thread::panicking(), "user code is entered with {held} locks held");
}

#[derive(Default)]
pub struct Mutex<T: ?Sized>(base::Mutex<T>);

pub struct MutexGuard<'a, T: ?Sized> {
    guard: base::MutexGuard<'a, T>,
    _count: Count,
}

impl<T> Mutex<T> {
    pub const fn new(value: T) -> Self {
        Mutex(base::Mutex::new(value))
    }
}

impl<T: ?Sized> Mutex<T> {
    pub fn lock(&self) -> MutexGuard<'_, T> {
        MutexGuard { guard: self.0.lock(), _count: Count::new() }
    }

    #[allow(dead_code)]
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        Some(MutexGuard { guard: self.0.try_lock()?, _count: Count::new() })
    }

    pub fn try_lock_for(&self, limit: Duration) -> Option<MutexGuard<'_, T>> {
        Some(MutexGuard { guard: self.0.try_lock_for(limit)?, _count: Count::new() })
    }
}

impl<T: ?Sized> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.guard
    }
}

impl<T: ?Sized> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.guard
    }
}

#[derive(Default)]
pub struct Condvar(base::Condvar);

impl Condvar {
    pub const fn new() -> Self {
        Condvar(base::Condvar::new())
    }

    pub fn notify_all(&self) {
        self.0.notify_all();
    }

    pub fn notify_one(&self) {
        self.0.notify_one();
    }

    pub fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
        self.0.wait(&mut guard.guard);
    }

    #[cfg(feature = "c-core")]
    pub fn wait_for<T>(&self, guard: &mut MutexGuard<'_, T>, limit: Duration) -> base::TimedOut {
        self.0.wait_for(&mut guard.guard, limit)
    }

    pub fn wait_until<T>(&self, guard: &mut MutexGuard<'_, T>, deadline: Instant) -> base::TimedOut {
        self.0.wait_until(&mut guard.guard, deadline)
    }
}

#[derive(Default)]
pub struct RwLock<T>(base::RwLock<T>);

pub struct ReadGuard<'a, T> {
    guard: base::ReadGuard<'a, T>,
    _count: Count,
}

pub struct WriteGuard<'a, T> {
    guard: base::WriteGuard<'a, T>,
    _count: Count,
}

impl<T> RwLock<T> {
    #[allow(dead_code)]
    pub const fn new(value: T) -> Self {
        RwLock(base::RwLock::new(value))
    }

    pub fn read(&self) -> ReadGuard<'_, T> {
        ReadGuard { guard: self.0.read(), _count: Count::new() }
    }

    pub fn write(&self) -> WriteGuard<'_, T> {
        WriteGuard { guard: self.0.write(), _count: Count::new() }
    }
}

impl<T> Deref for ReadGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.guard
    }
}

impl<T> Deref for WriteGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.guard
    }
}

impl<T> DerefMut for WriteGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.guard
    }
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    use super::*;
    use std::panic::catch_unwind;

    #[test]
    fn user_code_under_a_lock_is_an_error() {
        let (mutex, lock) = (Mutex::new(1), RwLock::new(2));
        entering_user_code();
        assert!(catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _held = mutex.lock();
            entering_user_code();
        }))
        .is_err());
        assert!(catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _held = lock.read();
            entering_user_code();
        }))
        .is_err());
        assert_eq!(locks_held(), 0);
        let mut waiting = mutex.lock();
        assert!(Condvar::new().wait_until(&mut waiting, Instant::now()).timed_out());
        assert_eq!(locks_held(), 1);
    }
}
