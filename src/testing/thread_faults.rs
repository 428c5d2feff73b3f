//! Threads that do not start: a switch for tests, for the whole process.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

type Refuse = Arc<dyn Fn(&str) -> bool + Send + Sync>;

static SWITCH: Mutex<Switch> = Mutex::new(Switch { refuse: None, refused: BTreeMap::new(), asked: BTreeMap::new() });

struct Switch {
    refuse: Option<Refuse>,
    refused: BTreeMap<String, u64>,
    asked: BTreeMap<String, u64>,
}

/// Refuses threads until it is dropped. There is one for the process: a further one takes its place.
#[must_use]
pub struct ThreadFaults(());

impl ThreadFaults {
    /// Asks `refuse` for the name of each thread that the library starts: `true` makes the start fail, with the error that
    /// the system gives when the limit is reached.
    pub fn new(refuse: impl Fn(&str) -> bool + Send + Sync + 'static) -> Self {
        lock().refuse = Some(Arc::new(refuse));
        ThreadFaults(())
    }

    /// Returns how often each kind of thread was asked for, and how often it was refused, since the process began. Threads
    /// that have a number in their name are counted under the name before it.
    pub fn struck() -> BTreeMap<String, (u64, u64)> {
        let switch = lock();
        let refused = |name: &String| switch.refused.get(name).copied().unwrap_or(0);
        switch.asked.iter().map(|(name, asked)| (name.clone(), (*asked, refused(name)))).collect()
    }
}

impl Drop for ThreadFaults {
    fn drop(&mut self) {
        lock().refuse = None;
    }
}

fn lock() -> std::sync::MutexGuard<'static, Switch> {
    SWITCH.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn check(name: &str) -> io::Result<()> {
    let kind = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '-').to_owned();
    let refuse = {
        let mut switch = lock();
        *switch.asked.entry(kind.clone()).or_default() += 1;
        switch.refuse.clone()
    };
    if refuse.is_some_and(|refuse| refuse(&kind)) {
        *lock().refused.entry(kind).or_default() += 1;
        // EAGAIN
        return Err(io::Error::from_raw_os_error(11));
    }
    Ok(())
}
