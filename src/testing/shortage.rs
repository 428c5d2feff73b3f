//! Simulated failures to start threads and to open descriptors: switches for tests, for the whole process.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

type Refuse = Arc<dyn Fn(&str) -> bool + Send + Sync>;

static THREADS: Switch = Switch::new();
static DESCRIPTORS: Switch = Switch::new();

/// Decides which requests are refused, and counts the requests.
struct Switch(Mutex<State>);

struct State {
    refuse: Option<Refuse>,
    /// Number of requests of each kind, and of those refused.
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

/// Refuses threads until it is dropped. There is one per process: a new one replaces it.
#[must_use]
pub struct ThreadFaults(());

impl std::fmt::Debug for ThreadFaults {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ThreadFaults").finish_non_exhaustive()
    }
}

impl ThreadFaults {
    /// Calls `refuse` with the name of each thread that the library starts. If it returns `true`, the start fails with
    /// the system's error for the thread limit.
    pub fn new(refuse: impl Fn(&str) -> bool + Send + Sync + 'static) -> Self {
        THREADS.set(Some(Arc::new(refuse)));
        ThreadFaults(())
    }

    /// Returns the numbers of requested and of refused threads, by kind, since the process started. Threads with a
    /// number in their name are counted under the name before it.
    pub fn struck() -> BTreeMap<String, (u64, u64)> {
        THREADS.lock().counts.clone()
    }
}

impl Drop for ThreadFaults {
    fn drop(&mut self) {
        THREADS.set(None);
    }
}

/// Refuses file descriptors until it is dropped. There is one per process: a new one replaces it.
#[must_use]
pub struct DescriptorFaults(());

impl std::fmt::Debug for DescriptorFaults {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DescriptorFaults").finish_non_exhaustive()
    }
}

impl DescriptorFaults {
    /// Calls `refuse` at each place where the library, or the C core on its behalf, needs a descriptor. If it returns
    /// `true`, the operation fails as at the descriptor limit. The places are listed in `tests/descriptor_faults.rs`.
    pub fn new(refuse: impl Fn(&str) -> bool + Send + Sync + 'static) -> Self {
        DESCRIPTORS.set(Some(Arc::new(refuse)));
        DescriptorFaults(())
    }

    /// Returns the numbers of requested and of refused descriptors, by place, since the process started.
    pub fn struck() -> BTreeMap<String, (u64, u64)> {
        DESCRIPTORS.lock().counts.clone()
    }
}

impl Drop for DescriptorFaults {
    fn drop(&mut self) {
        DESCRIPTORS.set(None);
    }
}

/// Fails with EAGAIN if a thread of this name must not start.
pub(crate) fn thread(name: &str) -> io::Result<()> {
    let kind = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '-');
    if THREADS.refuses(kind) {
        return Err(io::Error::from_raw_os_error(11));
    }
    Ok(())
}

/// Fails with EMFILE if no descriptor is available at this place.
pub(crate) fn descriptor(place: &str) -> io::Result<()> {
    if DESCRIPTORS.refuses(place) {
        return Err(io::Error::from_raw_os_error(24));
    }
    Ok(())
}
