//! The threads of one Comm or node: named, counted, and joined.

use crate::cancel::Cancel;
use crate::error::{Error, ErrorKind, Result};
use crate::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use crate::sync::thread::{self, JoinHandle};
use crate::sync::{has_ended, Mutex};
use std::cell::Cell;
use std::sync::Arc;

crate::sync::thread_local! {
    static OURS: Cell<bool> = const { Cell::new(false) };
}

/// Marks the current thread as one that stopping has to wait for, and that so cannot itself wait for the stop.
pub(crate) struct LibraryThread {
    /// Marked already by somebody further out.
    before: bool,
}

impl LibraryThread {
    /// Marks it until the value is dropped.
    pub fn mark() -> Self {
        LibraryThread { before: OURS.with(|ours| ours.replace(true)) }
    }

    /// Whether the current thread is marked.
    pub fn is_current() -> bool {
        OURS.with(Cell::get)
    }
}

impl Drop for LibraryThread {
    fn drop(&mut self) {
        OURS.with(|ours| ours.set(self.before));
    }
}

#[derive(Default)]
pub(crate) struct Threads {
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
                    log::error!("one of our threads panicked");
                }
            }
        }
    }
}

/// A stop that is done once, and that every further call waits for.
pub(crate) struct StopOnce {
    begun: AtomicBool,
    done: Cancel,
}

impl StopOnce {
    pub fn new() -> Self {
        StopOnce { begun: AtomicBool::new(false), done: Cancel::new() }
    }

    /// Does `work`, or waits until an earlier call has done it. On one of our own threads, which `work` joins, neither:
    /// another thread does it.
    pub fn run(&self, work: impl FnOnce() + Send + 'static) {
        if self.begun.swap(true, Ordering::SeqCst) {
            if !LibraryThread::is_current() {
                let _ = self.done.signal().recv();
            }
            return;
        }
        let done = self.done.clone();
        let work = move || {
            work();
            done.cancel();
        };
        if !LibraryThread::is_current() {
            return work();
        }
        // Not one of the counted threads, which this one joins; whoever stops again elsewhere can wait for it.
        if let Err(e) = thread::Builder::new().name("gossip-stop".into()).spawn(work) {
            log::error!("cannot start a thread to stop in, everything is left as it is: {e}");
        }
    }
}
