//! Limits of time on a machine that is busy with other things.

use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::LazyLock;
use std::thread;
use std::time::{Duration, Instant};

/// How long the pulse sleeps, and how many beats are remembered.
const BEAT: Duration = Duration::from_millis(5);
const BEATS: usize = 20_000;

/// When each beat of a thread that only sleeps was due, and when it came.
static PULSE: LazyLock<Mutex<VecDeque<(Instant, Instant)>>> = LazyLock::new(|| {
    thread::spawn(|| loop {
        let due = Instant::now() + BEAT;
        thread::sleep(BEAT);
        let mut pulse = PULSE.lock();
        pulse.push_back((due, Instant::now()));
        if pulse.len() > BEATS {
            pulse.pop_front();
        }
    });
    Mutex::default()
});

/// Checks that a call with this limit is over in time, give or take `slack` and the time for which the machine has kept a
/// sleeping thread from waking meanwhile.
pub fn within<T>(limit: Duration, slack: Duration, what: &str, call: impl FnOnce() -> T) -> T {
    LazyLock::force(&PULSE);
    let begun = Instant::now();
    let result = call();
    let took = begun.elapsed();
    if took > limit + slack {
        let end = Instant::now();
        // The beat that is due now may be the late one.
        super::eventually("the pulse beats", || PULSE.lock().back().is_some_and(|(_, came)| *came >= end));
        let late = |(due, came): &(Instant, Instant)| came.saturating_duration_since(begun.max(*due));
        let late: Duration = PULSE.lock().iter().map(late).sum();
        assert!(took <= limit + slack + late, "{what} took {took:?}, its limit is {limit:?}; the machine: {late:?}");
    }
    result
}
