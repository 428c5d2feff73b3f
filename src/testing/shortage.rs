//! Threads that do not start and descriptors that are not to be had: switches for tests, for the whole process.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

type Refuse = Arc<dyn Fn(&str) -> bool + Send + Sync>;

static THREADS: Switch = Switch::new();
static DESCRIPTORS: Switch = Switch::new();

/// Decides which requests are refused, and counts them.
struct Switch(Mutex<State>);

struct State {
    refuse: Option<Refuse>,
    /// How often each kind was asked for, and how often it was refused.
    counts: BTreeMap<String, (u64, u64)>,
}

impl Switch {
    const fn new() -> Self {
        Switch(Mutex::new(State { refuse: None, counts: BTreeMap::new() }))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, refuse: Option<Refuse>) {
        self.lock().refuse = refuse;
    }

    /// Returns whether a request of this kind is refused.
    fn refuses(&self, kind: &str) -> bool {
        let refuse = {
            let mut state = self.lock();
            state.counts.entry(kind.to_owned()).or_default().0 += 1;
            state.refuse.clone()
        };
        let refused = refuse.is_some_and(|refuse| refuse(kind));
        if refused {
            self.lock().counts.entry(kind.to_owned()).or_default().1 += 1;
        }
        refused
    }
}

/// Refuses threads until it is dropped. There is one for the process: a further one takes its place.
#[must_use]
pub struct ThreadFaults(());

impl ThreadFaults {
    /// Asks `refuse` for the name of each thread that the library starts: `true` makes the start fail, with the error that
    /// the system gives when the limit is reached.
    pub fn new(refuse: impl Fn(&str) -> bool + Send + Sync + 'static) -> Self {
        THREADS.set(Some(Arc::new(refuse)));
        ThreadFaults(())
    }

    /// Returns how often each kind of thread was asked for, and how often it was refused, since the process began. Threads
    /// that have a number in their name are counted under the name before it.
    pub fn struck() -> BTreeMap<String, (u64, u64)> {
        THREADS.lock().counts.clone()
    }
}

impl Drop for ThreadFaults {
    fn drop(&mut self) {
        THREADS.set(None);
    }
}

/// Refuses file descriptors until it is dropped. There is one for the process: a further one takes its place.
#[must_use]
pub struct DescriptorFaults(());

impl DescriptorFaults {
    /// Asks `refuse` at each place where the library, or the C core for it, needs a descriptor: `true` makes it fail as it
    /// does when the limit is reached. The places are listed in `tests/descriptor_faults.rs`.
    pub fn new(refuse: impl Fn(&str) -> bool + Send + Sync + 'static) -> Self {
        DESCRIPTORS.set(Some(Arc::new(refuse)));
        DescriptorFaults(())
    }

    /// Returns how often a descriptor was asked for at each place, and how often it was refused, since the process began.
    pub fn struck() -> BTreeMap<String, (u64, u64)> {
        DESCRIPTORS.lock().counts.clone()
    }
}

impl Drop for DescriptorFaults {
    fn drop(&mut self) {
        DESCRIPTORS.set(None);
    }
}

/// Fails with EAGAIN if a thread of this name is not to start.
pub(crate) fn thread(name: &str) -> io::Result<()> {
    let kind = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '-');
    if THREADS.refuses(kind) {
        return Err(io::Error::from_raw_os_error(11));
    }
    Ok(())
}

/// Fails with EMFILE if there is to be no descriptor at this place.
pub(crate) fn descriptor(place: &str) -> io::Result<()> {
    if DESCRIPTORS.refuses(place) {
        return Err(io::Error::from_raw_os_error(24));
    }
    Ok(())
}
