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

/// How long no thread is asked for after one could not be started.
const PAUSE: Duration = Duration::from_millis(100);

crate::sync::thread_local! {
    static OURS: Cell<bool> = const { Cell::new(false) };
}

/// Marks the current thread as one that stopping has to wait for, and that so cannot itself wait for the stop.
pub struct LibraryThread {
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
    /// When a thread could last not be started, and why.
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
    /// Whether one was asked for. Otherwise the last attempt failed less than [`PAUSE`] ago.
    pub tried: bool,
}

impl Threads {
    /// Starts a thread. Those that have ended since are cleared away. After a failure the next attempts fail without
    /// asking the system, for [`PAUSE`].
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

type Work = Box<dyn FnOnce() + Send>;

/// A stop that is done once, and that every further call waits for.
///
/// Its thread exists from the start: a stop that is asked for on one of the threads that it has to join is done there, also
/// when no further thread can be started.
pub(crate) struct StopOnce {
    begun: AtomicBool,
    done: Cancel,
    /// The thread that does the work, on which a further call returns.
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

    /// Does `work`, or waits until an earlier call has done it. On one of our own threads, which `work` joins, neither:
    /// another thread does it.
    pub fn run(&self, work: impl FnOnce() + Send + 'static) {
        if self.begun.swap(true, Ordering::SeqCst) {
            // What the work calls, a callback of the user's among it, may stop again: that does not wait for itself.
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
