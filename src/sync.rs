//! Locks, channels, threads and monotonic time for all multi-threaded code of the library.
//!
//! They come from `parking_lot`, `crossbeam-channel` and the standard library. With `--cfg shuttle` they come from the
//! model checker instead, whose scheduler then chooses the next thread at every lock, atomic and channel operation: see
//! `tests/shuttle`. Only code that shares nothing but counters bypasses this module.
//!
//! Tests count the locks held by each thread, and [`entering_user_code`] fails while one is held.

use crate::error::{Error, ErrorKind};

#[cfg(not(shuttle))]
mod base {
    pub use crossbeam_channel as channel;
    pub use parking_lot::{Condvar, Mutex, RwLock};
    #[cfg(any(test, feature = "testing"))]
    pub use parking_lot::{
        MutexGuard, RwLockReadGuard as ReadGuard, RwLockWriteGuard as WriteGuard, WaitTimeoutResult as TimedOut,
    };
    pub use std::sync::atomic;
    pub use std::{thread, thread_local};

    /// Returns whether a thread has ended.
    pub fn has_ended(thread: &thread::JoinHandle<()>) -> bool {
        thread.is_finished()
    }

    /// Returns the current time, for the time limits of a transport and for pauses of microseconds, which do not use a
    /// [`Clock`](crate::clock::Clock).
    pub fn now() -> std::time::Instant {
        std::time::Instant::now()
    }
}

#[cfg(shuttle)]
pub mod model;

#[cfg(shuttle)]
use model as base;

pub(crate) use base::{atomic, channel, has_ended, now, thread, thread_local};

#[cfg(any(test, shuttle, feature = "testing"))]
pub(crate) mod counted;

#[cfg(any(test, shuttle, feature = "testing"))]
pub(crate) use counted::{entering_user_code, Condvar, Mutex, RwLock};

#[cfg(not(any(test, shuttle, feature = "testing")))]
pub(crate) use base::{Condvar, Mutex, RwLock};

/// Marks a place where user code is called; checked in tests only.
#[cfg(not(any(test, shuttle, feature = "testing")))]
pub(crate) fn entering_user_code() {}

/// Starts a thread. The only place in the library that does so.
///
/// # Errors
/// [`ErrorKind::Full`](crate::ErrorKind::Full), with the cause, the number of threads, and the limit.
pub fn spawn<T: Send + 'static>(
    name: &str,
    run: impl FnOnce() -> T + Send + 'static,
) -> crate::error::Result<thread::JoinHandle<T>> {
    let start = || {
        #[cfg(feature = "testing")]
        crate::testing::shortage::thread(name)?;
        thread::Builder::new().name(name.into()).spawn(run)
    };
    start().map_err(|e| cannot_start(name, e))
}

fn cannot_start(name: &str, cause: std::io::Error) -> Error {
    let mut text = format!("cannot start a thread ({name}): {cause}");
    if let Some(running) = threads_of_process() {
        text += &format!("; {running} threads run in this process");
    }
    if let Some(limit) = limit_of_threads() {
        text += &format!(", the limit of threads and processes of this user is {limit}");
    }
    text += ": raise the limit (ulimit -u, or pids.max of the control group)";
    Error::new(ErrorKind::Full, text).with_source(cause)
}

/// Asks the test hook whether a file descriptor is available here. Called before every request for one.
///
/// # Errors
/// EMFILE, in tests only.
#[cfg(any(feature = "c-core", feature = "http2", feature = "testing"))]
pub(crate) fn descriptor(place: &str) -> std::io::Result<()> {
    #[cfg(feature = "testing")]
    crate::testing::shortage::descriptor(place)?;
    let _ = place;
    Ok(())
}

/// Returns the number of threads in this process.
pub(crate) fn threads_of_process() -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    status.lines().find_map(|line| line.strip_prefix("Threads:"))?.trim().parse().ok()
}

/// Returns `RLIMIT_NPROC` as the system prints it.
fn limit_of_threads() -> Option<String> {
    let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
    let soft = limits.lines().find_map(|line| line.strip_prefix("Max processes"))?;
    soft.split_whitespace().next().map(str::to_owned)
}
