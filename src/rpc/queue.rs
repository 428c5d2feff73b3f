//! The completion queue of one call.

use grpcio_sys::*;
use std::ffi::c_void;
use std::ptr::null_mut;
use std::time::{Duration, Instant};

/// How long to wait.
#[derive(Clone, Copy)]
pub(super) enum Wait {
    /// Not at all. The core still does the I/O that is due.
    Not,
    /// Until this moment. The core counts in milliseconds, rounded up.
    Until(Instant),
    Forever,
}

/// Ten years: what is longer has no end, and would overflow the core's arithmetic.
pub(super) const FOR_EVER: Duration = Duration::from_secs(10 * 365 * 86_400);

impl Wait {
    /// From a timeout, where `None` means for ever.
    pub(super) fn at_most(timeout: Option<Duration>) -> Wait {
        match timeout {
            Some(t) if t.is_zero() => Wait::Not,
            Some(t) if t > FOR_EVER => Wait::Forever,
            Some(t) => Wait::Until(Instant::now() + t),
            None => Wait::Forever,
        }
    }

    /// The same wait, but for at most `slice` now.
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

/// A *pluck* completion queue: whoever started an operation waits for exactly that one, by its tag.
pub(super) struct PluckQueue(*mut grpc_completion_queue);

// SAFETY: the core's queues are made to be used from any thread.
unsafe impl Send for PluckQueue {}
// SAFETY: as above; plucks of different tags may run at the same time. (Six at once at most; a call here has two or three.)
unsafe impl Sync for PluckQueue {}

impl PluckQueue {
    /// A queue. The core must be initialized and stay so while the queue lives.
    pub(super) fn new() -> PluckQueue {
        // SAFETY: the reserved argument is null, as asked for.
        PluckQueue(unsafe { grpc_completion_queue_create_for_pluck(null_mut()) })
    }

    pub(super) fn raw(&self) -> *mut grpc_completion_queue {
        self.0
    }

    /// Waits for the operation with this tag: `Some(success)`, or `None` if it is still under way after the wait.
    pub(super) fn pluck(&self, tag: usize, wait: Wait) -> Option<bool> {
        loop {
            // SAFETY: the queue lives as long as `self`.
            let event = unsafe { grpc_completion_queue_pluck(self.0, tag as *mut c_void, wait.deadline(), null_mut()) };
            if event.type_ == grpc_completion_type::GRPC_OP_COMPLETE {
                return Some(event.success != 0);
            }
            // The core also reports a timeout when too many threads wait, so ask the clock.
            if wait.is_over() {
                return None;
            }
            std::thread::yield_now();
        }
    }
}

impl Drop for PluckQueue {
    /// The owner has released the call and plucked all its operations before, so this does not block.
    fn drop(&mut self) {
        // SAFETY: nobody else has the queue any more; destroying it is allowed once it reports its shutdown.
        unsafe {
            grpc_completion_queue_shutdown(self.0);
            loop {
                let deadline = gpr_timespec::inf_future();
                let event = grpc_completion_queue_pluck(self.0, null_mut(), deadline, null_mut());
                if event.type_ == grpc_completion_type::GRPC_QUEUE_SHUTDOWN {
                    break;
                }
            }
            grpc_completion_queue_destroy(self.0);
        }
    }
}
