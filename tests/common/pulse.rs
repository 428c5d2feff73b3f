//! Limits of time on a machine that is busy with other things.

use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::LazyLock;
use std::thread;
use std::time::{Duration, Instant};

/// How long the pulse sleeps, and how many beats are remembered.
const BEAT: Duration = Duration::from_millis(5);
const BEATS: usize = 20_000;

/// When each beat of a thread that only sleeps was due, and how late it came.
static LATE: LazyLock<Mutex<VecDeque<(Instant, Duration)>>> = LazyLock::new(|| {
    thread::spawn(|| loop {
        let due = Instant::now() + BEAT;
        thread::sleep(BEAT);
        let mut late = LATE.lock();
        late.push_back((due, due.elapsed()));
        if late.len() > BEATS {
            late.pop_front();
        }
    });
    Mutex::default()
});

/// Checks that a call with this limit is over in time, give or take `slack` and the time for which the machine has kept a
/// sleeping thread from waking meanwhile.
pub fn within<T>(limit: Duration, slack: Duration, what: &str, call: impl FnOnce() -> T) -> T {
    LazyLock::force(&LATE);
    let begun = Instant::now();
    let result = call();
    let took = begun.elapsed();
    if took > limit + slack {
        // The beat that is due now tells too.
        thread::sleep(2 * BEAT);
        let late: Duration = LATE.lock().iter().filter(|(due, _)| *due >= begun).map(|(_, late)| late).sum();
        assert!(took <= limit + slack + late, "{what} took {took:?}, its limit is {limit:?}; the machine: {late:?}");
    }
    result
}
