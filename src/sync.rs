//! Locks, channels, threads and short times, as everything that runs on several threads gets them.
//!
//! They are `parking_lot`'s, `crossbeam-channel`'s and the standard library's. Built with `--cfg shuttle` they are the
//! model checker's instead, whose scheduler then decides which thread goes on at every lock, atomic and channel: see
//! `tests/shuttle`. Only what touches no shared state but counters stays outside.

#[cfg(not(shuttle))]
mod real {
    pub use crossbeam_channel as channel;
    pub use parking_lot::{Condvar, Mutex, RwLock};
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

#[cfg(not(shuttle))]
pub(crate) use real::*;

#[cfg(shuttle)]
pub mod model;

#[cfg(shuttle)]
pub(crate) use model::*;
