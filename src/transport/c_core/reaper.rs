//! Releases operations of the C core that could not be released immediately because they end only with their
//! connection.

use crate::sync::{spawn, Condvar, Mutex};
use std::time::{Duration, Instant};

/// Tries to finish; returns `true` when done. Must not block.
pub(super) type Job = Box<dyn FnMut() -> bool + Send>;

struct State {
    jobs: Vec<Job>,
    running: bool,
}

static STATE: Mutex<State> = Mutex::new(State { jobs: Vec::new(), running: false });
/// Notified of each job.
static CAME: Condvar = Condvar::new();

/// Passes a job to the reaper thread, which runs while there are jobs and ends after the last one. If no thread can be
/// started, the job waits for the next call: its memory is kept, never freed too early.
pub(super) fn hand_over(job: Job) {
    let mut state = STATE.lock();
    state.jobs.push(job);
    CAME.notify_one();
    if !state.running {
        state.running = spawn("gossip-reaper", run).is_ok();
    }
}

/// Tries new jobs immediately, and retries the remaining ones after a pause. The core reports the end of an operation
/// only to a thread that waits for it, so every job must be polled.
fn run() {
    const SHORTEST: Duration = Duration::from_millis(2);
    const LONGEST: Duration = Duration::from_millis(100);
    let (mut pause, mut due) = (SHORTEST, Instant::now());
    let mut left: Vec<Job> = Vec::new();
    loop {
        let mut came = {
            let mut state = STATE.lock();
            while state.jobs.is_empty() && !left.is_empty() {
                if CAME.wait_until(&mut state, due).timed_out() {
                    break;
                }
            }
            if state.jobs.is_empty() && left.is_empty() {
                state.running = false;
                return;
            }
            std::mem::take(&mut state.jobs)
        };
        // Outside the lock: a finished job drops its contents, which may hand over more jobs.
        came.retain_mut(|job| !job());
        if Instant::now() >= due {
            left.retain_mut(|job| !job());
            pause = (pause * 2).min(LONGEST);
            due = Instant::now() + pause;
        }
        if !came.is_empty() {
            pause = SHORTEST;
            due = due.min(Instant::now() + pause);
            left.append(&mut came);
        }
    }
}
