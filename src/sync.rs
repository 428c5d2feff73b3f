//! Locks, channels, threads and short times, as everything that runs on several threads gets them.
//!
//! They are `parking_lot`'s, `crossbeam-channel`'s and the standard library's. Built with `--cfg shuttle` they are the
//! model checker's instead, whose scheduler then decides which thread goes on at every lock, atomic and channel: see
//! `tests/shuttle`. Only what touches no shared state but counters stays outside.
//!
//! Under tests the locks are counted for each thread, and [`entering_user_code`] fails while one is held.

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

    /// Whether a thread has ended.
    pub fn has_ended(thread: &thread::JoinHandle<()>) -> bool {
        thread.is_finished()
    }

    /// For waits and pauses of microseconds, which are none of the [`Clock`](crate::clock::Clock)'s business.
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

/// Marks the place where code of the user's is entered; checked in tests only.
#[cfg(not(any(test, shuttle, feature = "testing")))]
pub(crate) fn entering_user_code() {}

/// Starts a thread. The only place where the library does.
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
    Error::new(ErrorKind::Full, text).source(cause)
}

/// Asks the tests whether a file descriptor is to be had at this place. Stands before every request for one.
///
/// # Errors
/// EMFILE, in tests only.
#[cfg(any(feature = "grpc", feature = "testing"))]
pub(crate) fn descriptor(place: &str) -> std::io::Result<()> {
    #[cfg(feature = "testing")]
    crate::testing::shortage::descriptor(place)?;
    let _ = place;
    Ok(())
}

/// Returns the number of threads that run in this process.
pub(crate) fn threads_of_process() -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    status.lines().find_map(|line| line.strip_prefix("Threads:"))?.trim().parse().ok()
}

/// `RLIMIT_NPROC`, as the system prints it.
fn limit_of_threads() -> Option<String> {
    let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
    let soft = limits.lines().find_map(|line| line.strip_prefix("Max processes"))?;
    soft.split_whitespace().next().map(str::to_owned)
}
