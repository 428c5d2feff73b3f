//! The threads of one Comm or node: named, counted, and joined.

use crate::cancel::Cancel;
use crate::error::{Error, ErrorKind, Result};
use crate::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use crate::sync::channel::{bounded, Sender};
use crate::sync::thread::{self, JoinHandle, ThreadId};
use crate::sync::{has_ended, now, spawn, Mutex};
use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Time after a failed start during which no thread is requested.
const PAUSE: Duration = Duration::from_millis(100);

crate::sync::thread_local! {
    static OURS: Cell<bool> = const { Cell::new(false) };
}

/// Marks the current thread as one that a stop must join, and that therefore cannot wait for the stop itself.
pub struct LibraryThread {
    /// Whether an outer call had marked the thread already.
    before: bool,
}

impl std::fmt::Debug for LibraryThread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LibraryThread").finish_non_exhaustive()
    }
}

impl LibraryThread {
    /// Marks the current thread until the value is dropped.
    pub fn mark() -> Self {
        LibraryThread { before: OURS.with(|ours| ours.replace(true)) }
    }

    /// Returns whether the current thread is marked.
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
    /// Time and cause of the last failed start.
    failed: Mutex<Option<(Instant, String)>>,
}

/// Counts one thread, until it is dropped.
struct Running(Arc<AtomicUsize>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A thread that could not be started.
pub(crate) struct NoThread {
    /// The cause, with the number of threads and the limit.
    pub error: Error,
    /// Whether a thread was requested. Otherwise the last attempt failed less than [`PAUSE`] ago.
    pub tried: bool,
}

impl Threads {
    /// Starts a thread, and joins those that have ended. After a failure, further attempts fail for [`PAUSE`] without a
    /// request to the system.
    pub fn spawn(&self, name: &str, run: impl FnOnce() + Send + 'static) -> Result<(), NoThread> {
        if let Some((at, text)) = &*self.failed.lock() {
            if now().saturating_duration_since(*at) < PAUSE {
                return Err(NoThread { error: Error::new(ErrorKind::Full, text.as_str()), tried: false });
            }
        }
        self.running.fetch_add(1, Ordering::Relaxed);
        let running = Running(self.running.clone());
        let started = spawn(name, move || {
            let _running = running;
            let _marked = LibraryThread::mark();
            run();
        });
        let thread = match started {
            Ok(thread) => thread,
            Err(error) => {
                *self.failed.lock() = Some((now(), error.message().to_owned()));
                return Err(NoThread { error, tried: true });
            }
        };
        self.failed.lock().take();
        let mut threads = self.started.lock();
        threads.retain(|t| !has_ended(t));
        threads.push(thread);
        Ok(())
    }

    /// Returns the number of running threads.
    pub fn running(&self) -> usize {
        self.running.load(Ordering::Relaxed)
    }

    /// Waits for all threads. Must not be called on one of them.
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

type Work = Box<dyn FnOnce() + Send>;

/// A stop that runs once; every further call waits for it.
///
/// Its thread exists from the start. A stop requested on one of the threads that it must join runs there, even if no
/// further thread can be started.
pub(crate) struct StopOnce {
    begun: AtomicBool,
    done: Cancel,
    /// The thread that does the work. A further call on it returns immediately.
    worker: Arc<Mutex<Option<ThreadId>>>,
    thread: Mutex<Option<(Sender<Work>, JoinHandle<()>)>>,
}

impl StopOnce {
    /// Starts the thread.
    ///
    /// # Errors
    /// [`ErrorKind::Full`] if it cannot be started.
    pub fn new() -> Result<Self> {
        let (hand_over, handed) = bounded::<Work>(1);
        let thread = spawn("gossip-stop", move || {
            if let Ok(work) = handed.recv() {
                work();
            }
        });
        let thread = Mutex::new(Some((hand_over, thread?)));
        Ok(StopOnce { begun: AtomicBool::new(false), done: Cancel::new(), worker: Arc::default(), thread })
    }

    /// Runs `work`, or waits until an earlier call has completed it. On one of our own threads, which `work` joins, it
    /// does neither: another thread runs the work.
    pub fn run(&self, work: impl FnOnce() + Send + 'static) {
        if self.begun.swap(true, Ordering::SeqCst) {
            // The work may call user callbacks, which may stop again; that call must not wait for itself.
            let within = *self.worker.lock() == Some(thread::current().id());
            if !within && !LibraryThread::is_current() {
                let _ = self.done.signal().recv();
            }
            return;
        }
        let Some((hand_over, thread)) = self.thread.lock().take() else { return };
        let (worker, done) = (self.worker.clone(), self.done.clone());
        let work = move || {
            *worker.lock() = Some(thread::current().id());
            work();
            *worker.lock() = None;
            done.cancel();
        };
        if LibraryThread::is_current() {
            // There is room: this is the only work.
            let _ = hand_over.try_send(Box::new(work));
            return;
        }
        work();
        drop(hand_over);
        let _ = thread.join();
    }
}
