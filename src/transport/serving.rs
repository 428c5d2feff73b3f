//! Serves each stream on its own thread, bounds the number of threads, and joins all of them.

use super::status::{code, Status};
use crate::sync::thread::{self, JoinHandle};
use crate::sync::{spawn, Condvar, Mutex};
use std::collections::HashMap;
use std::sync::{Arc, Weak};

use std::time::Instant;

/// The streams being served.
pub(super) struct Serving<S> {
    max: usize,
    state: Mutex<State<S>>,
    /// Signalled when a stream has been served to its end.
    ended: Condvar,
}

struct State<S> {
    stopping: bool,
    next_id: u64,
    running: HashMap<u64, Task<S>>,
    ended: Vec<JoinHandle<()>>,
}

struct Task<S> {
    stream: Weak<S>,
    thread: JoinHandle<()>,
}

impl<S: Send + Sync + 'static> Serving<S> {
    /// Serves at most `max` streams at the same time.
    pub fn new(max: usize) -> Arc<Self> {
        let state = State { stopping: false, next_id: 0, running: HashMap::new(), ended: Vec::new() };
        Arc::new(Serving { max, state: Mutex::new(state), ended: Condvar::new() })
    }

    /// Returns the number of streams being served.
    pub fn count(&self) -> usize {
        self.state.lock().running.len()
    }

    /// Returns whether [`refuse`](Self::refuse) was called.
    #[cfg(feature = "host-server")]
    pub fn is_stopping(&self) -> bool {
        self.state.lock().stopping
    }

    /// Starts the thread that serves a stream, `gossip-in-<n>`. Does not block.
    ///
    /// # Errors
    /// The status with which to refuse the stream: no thread can be started, too many run, or the server is stopping.
    pub fn serve(
        self: &Arc<Self>,
        address: &str,
        stream: &Arc<S>,
        run: impl FnOnce(Arc<S>) + Send + 'static,
    ) -> Result<(), Status> {
        // Held to the end, so that the new thread finds itself registered.
        let mut state = self.state.lock();
        if state.stopping {
            return Err(Status::new(code::UNAVAILABLE, "the server is stopping"));
        }
        if state.running.len() >= self.max {
            let text = format!("too many streams: {} are being served", state.running.len());
            return Err(Status::new(code::RESOURCE_EXHAUSTED, text));
        }
        let id = state.next_id;
        state.next_id += 1;
        let (serving, owned) = (self.clone(), stream.clone());
        let thread = spawn(&format!("gossip-in-{}", id % 100_000), move || {
            run(owned);
            serving.has_ended(id);
        });
        match thread {
            Ok(thread) => {
                state.running.insert(id, Task { stream: Arc::downgrade(stream), thread });
                Ok(())
            }
            Err(e) => {
                log::error!("{address}: refused: {e}");
                Err(Status::new(code::RESOURCE_EXHAUSTED, "cannot start a thread for the stream"))
            }
        }
    }

    fn has_ended(&self, id: u64) {
        let mut state = self.state.lock();
        if let Some(task) = state.running.remove(&id) {
            state.ended.push(task.thread);
        }
        self.ended.notify_all();
    }

    /// Refuses all further streams.
    pub fn refuse(&self) {
        self.state.lock().stopping = true;
    }

    /// Returns the streams being served.
    pub fn streams(&self) -> Vec<Arc<S>> {
        // Upgraded after the lock is released: the last handle may be dropped here.
        let streams: Vec<_> = self.state.lock().running.values().map(|task| task.stream.clone()).collect();
        streams.iter().filter_map(Weak::upgrade).collect()
    }

    /// Blocks until no stream is served, except by the calling thread, or until the deadline `until`. Returns whether
    /// all streams have ended.
    pub fn await_end(&self, until: Instant) -> bool {
        let me = thread::current().id();
        let mut state = self.state.lock();
        loop {
            if state.running.values().all(|task| task.thread.thread().id() == me) {
                return true;
            }
            if self.ended.wait_until(&mut state, until).timed_out() {
                return state.running.values().all(|task| task.thread.thread().id() == me);
            }
        }
    }

    /// Joins the threads that have finished serving their stream; joining them does not block.
    pub fn join_ended(&self) {
        let ended = std::mem::take(&mut self.state.lock().ended);
        for thread in ended {
            // The acceptor's panic was already caught.
            let _ = thread.join();
        }
    }
}
