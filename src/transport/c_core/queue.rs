//! The completion queue of one call.

use crate::sync::{Condvar, Mutex};
use grpcio_sys::*;
use std::ffi::c_void;
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicU32, AtomicU8, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Time limit of a wait.
#[derive(Clone, Copy)]
pub(super) enum Wait {
    /// Do not wait. The core still does the I/O that is due.
    Not,
    /// Until this moment. The core counts in milliseconds, rounded up.
    Until(Instant),
    Forever,
}

/// Ten years. A longer time counts as unlimited, since it would overflow the core's arithmetic.
pub(super) const FOR_EVER: Duration = Duration::from_secs(10 * 365 * 86_400);

impl Wait {
    /// Converts a timeout; `None` means no limit.
    pub(super) fn at_most(timeout: Option<Duration>) -> Wait {
        match timeout {
            Some(t) if t.is_zero() => Wait::Not,
            Some(t) if t > FOR_EVER => Wait::Forever,
            Some(t) => Wait::Until(Instant::now() + t),
            None => Wait::Forever,
        }
    }

    /// Returns the same wait, limited to `slice`.
    pub(super) fn capped(self, slice: Duration) -> Wait {
        match self {
            Wait::Not => Wait::Not,
            Wait::Until(at) => Wait::Until(at.min(Instant::now() + slice)),
            Wait::Forever => Wait::Until(Instant::now() + slice),
        }
    }

    pub(super) fn is_over(self) -> bool {
        match self {
            Wait::Not => true,
            Wait::Until(at) => Instant::now() >= at,
            Wait::Forever => false,
        }
    }

    fn deadline(self) -> gpr_timespec {
        match self {
            // SAFETY: pure functions of the core.
            Wait::Not => unsafe { gpr_inf_past(gpr_clock_type::GPR_CLOCK_MONOTONIC) },
            Wait::Until(at) => at.saturating_duration_since(Instant::now()).into(),
            Wait::Forever => gpr_timespec::inf_future(),
        }
    }
}

/// The completion queue of one call, for the threads that wait for its operations, each for a different operation.
///
/// One of them, the *leader*, polls the connection and passes on completions for the others. An operation that
/// completes while it is started, as most do, is caught in the core's *thread-local cache*: the thread that started it
/// finds it there without using queue or leader. (On a plucked queue it would wake the polling thread needlessly.)
pub(super) struct CallQueue {
    raw: *mut grpc_completion_queue,
    /// Three bits for each operation: started, completed, succeeded.
    operations: AtomicU32,
    /// The operation that the polling thread waits for, or `NOBODY`.
    leader: AtomicU8,
    /// Number of threads that wait for the leader.
    followers: AtomicUsize,
    door: Mutex<()>,
    passed_on: Condvar,
}

// SAFETY: the core's queues are made to be used from any thread.
unsafe impl Send for CallQueue {}
// SAFETY: as above.
unsafe impl Sync for CallQueue {}

const NOBODY: u8 = 0;
/// Tag of an event that only wakes the leader; no operation has it.
const WAKE: u8 = 128;

const fn started(op: u8) -> u32 {
    op as u32
}

const fn completed(op: u8) -> u32 {
    (op as u32) << 8
}

const fn succeeded(op: u8) -> u32 {
    (op as u32) << 16
}

impl CallQueue {
    /// Creates a queue. The core must stay initialized while the queue lives.
    pub(super) fn new() -> CallQueue {
        // SAFETY: the reserved argument is null, as asked for.
        let raw = unsafe { grpc_completion_queue_create_for_next(null_mut()) };
        CallQueue {
            raw,
            operations: AtomicU32::new(0),
            leader: AtomicU8::new(NOBODY),
            followers: AtomicUsize::new(0),
            door: Mutex::new(()),
            passed_on: Condvar::new(),
        }
    }

    pub(super) fn raw(&self) -> *mut grpc_completion_queue {
        self.raw
    }

    /// Starts one operation, `op`, as this batch.
    ///
    /// # Safety
    /// The call must be valid and bound to this queue; the data that the batch points to must stay until `op` has
    /// completed; no other operation `op` may be under way.
    pub(super) unsafe fn start(&self, call: *mut grpc_call, op: u8, batch: &[grpc_op]) -> grpc_call_error {
        self.operations.fetch_or(started(op), Ordering::SeqCst);
        let (mut tag, mut success) = (null_mut(), 0);
        // SAFETY: by the caller's promise; the cache is opened and emptied by the same thread.
        let (result, cached) = unsafe {
            grpc_completion_queue_thread_local_cache_init(self.raw);
            let result =
                grpc_call_start_batch(call, batch.as_ptr(), batch.len(), usize::from(op) as *mut c_void, null_mut());
            (result, grpc_completion_queue_thread_local_cache_flush(self.raw, &mut tag, &mut success))
        };
        if cached != 0 {
            let other = tag as usize as u8;
            self.complete(other, success != 0);
            // The leader waits for this completion on the queue, where it will not arrive.
            if self.leader.load(Ordering::SeqCst) == other {
                // SAFETY: an empty batch completes immediately, in any state of the call, and points to nothing.
                unsafe { grpc_call_start_batch(call, null(), 0, usize::from(WAKE) as *mut c_void, null_mut()) };
            }
        }
        if result != grpc_call_error::GRPC_CALL_OK {
            self.operations.fetch_and(!started(op), Ordering::SeqCst);
        }
        result
    }

    /// Waits for a started operation. Returns its success, or `None` if it is still under way. Returns `Some(false)` if
    /// it was not started.
    pub(super) fn wait(&self, op: u8, wait: Wait) -> Option<bool> {
        loop {
            if let Some(success) = self.take(op) {
                return Some(success);
            }
            if self.leader.compare_exchange(NOBODY, op, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
                let result = self.lead(op, wait);
                self.leader.store(NOBODY, Ordering::SeqCst);
                // Another thread must poll now.
                self.call_followers();
                return result;
            }
            if wait.is_over() {
                return None;
            }
            self.follow(op, wait);
        }
    }

    fn lead(&self, op: u8, wait: Wait) -> Option<bool> {
        loop {
            if let Some(success) = self.take(op) {
                return Some(success);
            }
            // SAFETY: the queue lives as long as `self`.
            let event = unsafe { grpc_completion_queue_next(self.raw, wait.deadline(), null_mut()) };
            if event.type_ == grpc_completion_type::GRPC_OP_COMPLETE {
                self.complete(event.tag as usize as u8, event.success != 0);
            } else if wait.is_over() {
                return self.take(op);
            }
        }
    }

    /// Waits until the operation has completed, no thread polls any more, or the time limit has passed.
    fn follow(&self, op: u8, wait: Wait) {
        let mut door = self.door.lock();
        self.followers.fetch_add(1, Ordering::SeqCst);
        while !self.has_completed(op) && self.leader.load(Ordering::SeqCst) != NOBODY && !wait.is_over() {
            match wait {
                Wait::Until(at) => drop(self.passed_on.wait_until(&mut door, at)),
                _ => self.passed_on.wait(&mut door),
            }
        }
        self.followers.fetch_sub(1, Ordering::SeqCst);
    }

    fn complete(&self, op: u8, success: bool) {
        if op != WAKE {
            let result = if success { succeeded(op) } else { 0 };
            self.operations.fetch_or(completed(op) | result, Ordering::SeqCst);
            self.call_followers();
        }
    }

    /// Makes the followers check again. A follower counts itself before it checks, so none is missed.
    fn call_followers(&self) {
        if self.followers.load(Ordering::SeqCst) > 0 {
            drop(self.door.lock());
            self.passed_on.notify_all();
        }
    }

    fn has_completed(&self, op: u8) -> bool {
        self.operations.load(Ordering::SeqCst) & completed(op) != 0
    }

    pub(super) fn is_started(&self, op: u8) -> bool {
        self.operations.load(Ordering::SeqCst) & started(op) != 0
    }

    /// Returns the result of a completed operation, once. Returns `Some(false)` if it was not started.
    pub(super) fn take(&self, op: u8) -> Option<bool> {
        let now = self.operations.load(Ordering::SeqCst);
        if now & started(op) == 0 {
            return Some(false);
        }
        if now & completed(op) == 0 {
            return None;
        }
        self.operations.fetch_and(!(started(op) | completed(op) | succeeded(op)), Ordering::SeqCst);
        Some(now & succeeded(op) != 0)
    }
}

impl Drop for CallQueue {
    /// The owner has released the call and waited for all its operations, so this does not block.
    fn drop(&mut self) {
        // SAFETY: no other thread uses the queue any more; destroying it is allowed once it reports its shutdown.
        unsafe {
            grpc_completion_queue_shutdown(self.raw);
            loop {
                let event = grpc_completion_queue_next(self.raw, gpr_timespec::inf_future(), null_mut());
                if event.type_ == grpc_completion_type::GRPC_QUEUE_SHUTDOWN {
                    break;
                }
            }
            grpc_completion_queue_destroy(self.raw);
        }
    }
}
