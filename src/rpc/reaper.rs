//! Collects what could not be collected at once: operations of the C core that end only with their connection.

use parking_lot::Mutex;
use std::time::Duration;

/// Tries to finish; `true` when done. Must not block.
pub(super) type Job = Box<dyn FnMut() -> bool + Send>;

struct State {
    jobs: Vec<Job>,
    running: bool,
}

static STATE: Mutex<State> = Mutex::new(State { jobs: Vec::new(), running: false });

/// Hands a job to the reaper thread, which runs while there are jobs and ends after the last one. If no thread can be
/// started the job waits for the next hand-over: its memory is kept, never freed too early.
pub(super) fn hand_over(job: Job) {
    let mut state = STATE.lock();
    state.jobs.push(job);
    if !state.running {
        state.running = std::thread::Builder::new().name("gossip-reaper".into()).spawn(run).is_ok();
    }
}

fn run() {
    const SHORTEST: Duration = Duration::from_millis(2);
    const LONGEST: Duration = Duration::from_millis(100);
    let mut pause = SHORTEST;
    let mut jobs: Vec<Job> = Vec::new();
    loop {
        {
            let mut state = STATE.lock();
            if !state.jobs.is_empty() {
                pause = SHORTEST;
            }
            jobs.append(&mut state.jobs);
            if jobs.is_empty() {
                state.running = false;
                return;
            }
        }
        // Outside the lock: a job that ends drops what it holds, and that may hand over more.
        jobs.retain_mut(|job| !job());
        if !jobs.is_empty() {
            std::thread::sleep(pause);
            pause = (pause * 2).min(LONGEST);
        }
    }
}
