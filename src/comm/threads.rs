//! The threads of one Comm: named, counted, and joined.

use crate::error::{Error, ErrorKind, Result};
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::sync::thread::{self, JoinHandle};
use crate::sync::{has_ended, Mutex};
use std::cell::Cell;
use std::sync::Arc;

crate::sync::thread_local! {
    static OURS: Cell<bool> = const { Cell::new(false) };
}

/// Marks the current thread as one that stopping has to wait for, and that so cannot itself wait for the stop.
pub(super) struct LibraryThread;

impl LibraryThread {
    /// Marks it until the value is dropped.
    pub fn mark() -> Self {
        OURS.with(|ours| ours.set(true));
        LibraryThread
    }

    /// Whether the current thread is marked.
    pub fn is_current() -> bool {
        OURS.with(Cell::get)
    }
}

impl Drop for LibraryThread {
    fn drop(&mut self) {
        OURS.with(|ours| ours.set(false));
    }
}

#[derive(Default)]
pub(super) struct Threads {
    started: Mutex<Vec<JoinHandle<()>>>,
    running: Arc<AtomicUsize>,
}

/// Counts one thread, until it is dropped.
struct Running(Arc<AtomicUsize>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Threads {
    /// Starts a thread. Those that have ended since are cleared away.
    pub fn spawn(&self, name: &str, run: impl FnOnce() + Send + 'static) -> Result<()> {
        self.running.fetch_add(1, Ordering::Relaxed);
        let running = Running(self.running.clone());
        let run = move || {
            let _running = running;
            let _marked = LibraryThread::mark();
            run();
        };
        let thread = thread::Builder::new().name(name.into()).spawn(run).map_err(|e| {
            let text = format!("cannot start thread {name} ({e}): raise the limit of threads");
            Error::new(ErrorKind::Full, text).source(e)
        })?;
        let mut threads = self.started.lock();
        threads.retain(|t| !has_ended(t));
        threads.push(thread);
        Ok(())
    }

    /// How many run now.
    pub fn running(&self) -> usize {
        self.running.load(Ordering::Relaxed)
    }

    /// Waits for all of them. Not to be called on one of them.
    pub fn join(&self) {
        loop {
            let threads = std::mem::take(&mut *self.started.lock());
            if threads.is_empty() {
                return;
            }
            for thread in threads {
                if thread.join().is_err() {
                    log::error!("a thread of the communication layer panicked");
                }
            }
        }
    }
}
