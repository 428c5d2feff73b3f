//! The thread that polls those connections of a server on which no stream is read.
//!
//! The reader of a stream polls its connection. If this thread polls it as well, the two take turns and wake each
//! other: all arriving data costs a thread switch and a check of all connections. So while there is traffic, this
//! thread polls only occasionally.

use crate::error::Result;
use crate::sync::{spawn, Condvar, Mutex};
use grpcio_sys::*;
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Time that connections without a stream being read wait while there is traffic.
const REST: Duration = Duration::from_millis(5);

/// There is traffic when this number of reads had to wait ...
const MANY: usize = 32;

/// ... within this time: a thousand a second.
const BRIEF: Duration = Duration::from_millis(32);

/// Traffic has ended when fewer reads had to wait during this many rests: a hundred a second.
const FEW: usize = 5;
const RESTS: usize = 10;

/// A server's queue that a separate thread polls until this is dropped.
pub(super) struct Poller {
    queue: *mut grpc_completion_queue,
    thread: Option<JoinHandle<()>>,
    traffic: Arc<Traffic>,
}

/// Counts the reads of a server's streams.
pub(super) struct Traffic {
    started: Instant,
    reads: AtomicUsize,
    /// Time at which reads were last counted, in microseconds.
    counted: AtomicU64,
    /// Whether the thread rests or is about to.
    resting: AtomicBool,
    bell: Mutex<Option<Bell>>,
    rung: Condvar,
}

/// Makes the polling thread return: an empty operation on a call without a destination.
struct Bell {
    channel: *mut grpc_channel,
    call: *mut grpc_call,
}

// SAFETY: channels and calls of the core may be used from any thread.
unsafe impl Send for Bell {}

impl Bell {
    /// The queue must be valid until this is dropped.
    unsafe fn new(queue: *mut grpc_completion_queue) -> Bell {
        // SAFETY: text and method are static; host, parent and the reserved argument may be null.
        unsafe {
            let (code, text) = (grpc_status_code::GRPC_STATUS_UNAVAILABLE, c"a bell".as_ptr());
            let channel = grpc_lame_client_channel_create(null(), code, text);
            let (method, deadline) = (grpc_slice_from_static_string(c"/bell".as_ptr()), gpr_timespec::inf_future());
            let call = grpc_channel_create_call(channel, null_mut(), 0, queue, method, null(), deadline, null_mut());
            Bell { channel, call }
        }
    }

    fn ring(&self) {
        // SAFETY: an empty batch completes immediately and points to nothing; the queue is not shut down while there is
        // a bell.
        unsafe { grpc_call_start_batch(self.call, null(), 0, null_mut(), null_mut()) };
    }
}

impl Drop for Bell {
    fn drop(&mut self) {
        // SAFETY: ours, released once; no operation is under way.
        unsafe {
            grpc_call_unref(self.call);
            grpc_channel_destroy(self.channel);
        }
    }
}

impl Traffic {
    /// Records a read that had to wait for data.
    pub(super) fn read(&self) {
        let reads = self.reads.fetch_add(1, Ordering::Relaxed);
        if reads % MANY != 0 || self.resting.load(Ordering::Relaxed) {
            return;
        }
        let now = self.started.elapsed().as_micros() as u64;
        let last = self.counted.swap(now, Ordering::Relaxed);
        if now.saturating_sub(last) < BRIEF.as_micros() as u64 && !self.resting.swap(true, Ordering::Relaxed) {
            if let Some(bell) = &*self.bell.lock() {
                bell.ring();
            }
        }
    }

    /// Waits for the duration of a rest, or until the end.
    fn rest(&self) {
        let mut bell = self.bell.lock();
        if bell.is_some() {
            self.rung.wait_for(&mut bell, REST);
        }
    }
}

/// The queue, as owned by the polling thread.
struct Polled(*mut grpc_completion_queue);

// SAFETY: queues of the core may be used from any thread.
unsafe impl Send for Polled {}

impl Polled {
    /// Polls until the queue is shut down.
    fn poll(&self, traffic: &Traffic) {
        loop {
            match self.look(gpr_timespec::inf_future()) {
                grpc_completion_type::GRPC_QUEUE_SHUTDOWN => return,
                grpc_completion_type::GRPC_OP_COMPLETE => {}
                _ => continue,
            }
            // The bell was rung.
            let mut reads = usize::MAX;
            while reads >= FEW {
                let before = traffic.reads.load(Ordering::Relaxed);
                for _ in 0..RESTS {
                    traffic.rest();
                    // SAFETY: a pure function of the core.
                    let at_once = unsafe { gpr_inf_past(gpr_clock_type::GPR_CLOCK_MONOTONIC) };
                    if self.look(at_once) == grpc_completion_type::GRPC_QUEUE_SHUTDOWN {
                        return;
                    }
                }
                reads = traffic.reads.load(Ordering::Relaxed).wrapping_sub(before);
            }
            traffic.resting.store(false, Ordering::Relaxed);
        }
    }

    fn look(&self, deadline: gpr_timespec) -> grpc_completion_type {
        // SAFETY: the queue is destroyed after this thread was joined.
        unsafe { grpc_completion_queue_next(self.0, deadline, null_mut()) }.type_
    }
}

impl Poller {
    /// Creates the queue and starts its polling thread. The core must stay initialized until this is dropped.
    pub(super) fn start() -> Result<Poller> {
        // SAFETY: the reserved argument is null.
        let queue = unsafe { grpc_completion_queue_create_for_next(null_mut()) };
        let traffic = Arc::new(Traffic {
            started: Instant::now(),
            reads: AtomicUsize::new(1),
            counted: AtomicU64::new(0),
            resting: AtomicBool::new(false),
            // SAFETY: the queue is valid; it is shut down, and destroyed, after the bell was taken away.
            bell: Mutex::new(Some(unsafe { Bell::new(queue) })),
            rung: Condvar::new(),
        });
        let (polled, watched) = (Polled(queue), traffic.clone());
        let thread = spawn("gossip-poll", move || polled.poll(&watched));
        let mut poller = Poller { queue, thread: None, traffic };
        poller.thread = Some(thread?);
        Ok(poller)
    }

    pub(super) fn queue(&self) -> *mut grpc_completion_queue {
        self.queue
    }

    /// Returns the read counter for the server's streams, which may outlive the server.
    pub(super) fn traffic(&self) -> &Arc<Traffic> {
        &self.traffic
    }
}

impl Drop for Poller {
    /// Runs after the server was destroyed.
    fn drop(&mut self) {
        let bell = self.traffic.bell.lock().take();
        drop(bell);
        self.traffic.rung.notify_all();
        // SAFETY: nothing is started on the queue any more. The one thread that waits on it returns and is joined; if
        // there is none, the shutdown is collected here.
        unsafe {
            grpc_completion_queue_shutdown(self.queue);
            match self.thread.take() {
                Some(thread) => drop(thread.join()),
                None => Polled(self.queue).poll(&self.traffic),
            }
            grpc_completion_queue_destroy(self.queue);
        }
    }
}
