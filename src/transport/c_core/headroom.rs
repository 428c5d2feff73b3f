//! Checks that the file descriptors and threads are available which the C core takes without checking.
//!
//! If descriptors for its pollers are missing, the core aborts the process. If its timer thread is missing, the core
//! waits for that thread indefinitely when it shuts down. Both are therefore tested before the core is started: as many
//! as it needs are acquired and then released.

use crate::error::{Error, ErrorKind, Result};
use crate::sync::{channel, descriptor, spawn, threads_of_process};
use std::io;
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

/// Number of descriptors that must be free at the start. The core keeps four for its two pollers. The others are for
/// one that it opens and closes again, a listening socket, one connection, and a name look-up.
const DESCRIPTORS: usize = 8;

/// Number of core threads that does not depend on the number of processors: two executors and two for timers.
const FIXED_THREADS: usize = 4;

/// Number of threads started later: by the core one more for timers and one more for events, by a server two and one
/// for its first stream.
const LATER_THREADS: usize = 5;

/// Number of descriptors that a dial needs: one for the connection, one for the name look-up.
const DIAL: usize = 2;

/// Maximum time until the system no longer counts the test threads.
const SETTLE: Duration = Duration::from_millis(50);

/// Checks that the core can be initialized. Takes about a millisecond.
///
/// # Errors
/// [`ErrorKind::Full`], with the limit, the number needed, and the remedy.
pub(super) fn check() -> Result<()> {
    if let Err((free, cause)) = try_descriptors("core", DESCRIPTORS) {
        let text = format!(
            "cannot start gRPC's C core: it needs {DESCRIPTORS} free file descriptors, and only {free} are available: {cause}{}",
            remedy()
        );
        return Err(Error::new(ErrorKind::Full, text).with_step("start").with_source(cause));
    }
    let needed = threads();
    try_threads(needed).map_err(|(free, cause)| {
        let text = format!(
            "cannot start gRPC's C core: it needs {needed} threads, and only {free} could be started (RLIMIT_NPROC): {}",
            cause.message()
        );
        Error::new(ErrorKind::Full, text).with_step("start").with_source(cause)
    })
}

/// Returns the text to add to a failed dial if it may have failed for lack of descriptors.
pub(super) fn shortage() -> Option<String> {
    let (free, cause) = try_descriptors("dial", DIAL).err()?;
    Some(format!("a dial needs {DIAL} file descriptors, and only {free} are available: {cause}{}", remedy()))
}

/// Acquires `count` descriptors for this place and releases them. If too few are available, returns their number and
/// the cause.
fn try_descriptors(place: &str, count: usize) -> Result<(), (usize, io::Error)> {
    let mut taken = Vec::with_capacity(count);
    while taken.len() < count {
        match descriptor(place).and_then(|()| UnixDatagram::unbound()) {
            Ok(socket) => taken.push(socket),
            Err(e) => return Err((taken.len(), e)),
        }
    }
    Ok(())
}

/// Runs `count` threads in parallel. If too few can be started, returns their number and the cause.
fn try_threads(count: usize) -> Result<(), (usize, Error)> {
    let before = threads_of_process();
    let (release, held) = channel::bounded::<()>(0);
    let mut running = Vec::with_capacity(count);
    let mut outcome = Ok(());
    while running.len() < count {
        let held = held.clone();
        // The threads end when `release` is dropped.
        let wait = move || {
            let _ = held.recv();
        };
        match spawn("gossip-probe", wait) {
            Ok(thread) => running.push(thread),
            Err(e) => {
                outcome = Err((running.len(), e));
                break;
            }
        }
    }
    drop(release);
    for thread in running {
        // The thread cannot panic.
        let _ = thread.join();
    }
    // The system counts a thread slightly longer than joining takes, and the core is about to start as many.
    let until = Instant::now() + SETTLE;
    while threads_of_process() > before && Instant::now() < until {
        std::thread::yield_now();
    }
    outcome
}

/// Returns the number of threads that the core needs on this machine.
fn threads() -> usize {
    // SAFETY: a pure function of the core, which needs no initialization.
    let processors = unsafe { grpcio_sys::gpr_cpu_num_cores() } as usize;
    FIXED_THREADS + processors.clamp(2, 16) + LATER_THREADS
}

/// Returns the text of this system error, with the limit and the remedy if descriptors are exhausted.
pub(super) fn explain(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::EMFILE | libc::ENFILE) => format!("{error}{}", remedy()),
        _ => error.to_string(),
    }
}

/// Returns the descriptor limit and the remedy.
fn remedy() -> String {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the call writes to `limit` only.
    let known = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) } == 0;
    let value = if known { format!(" is {}", limit.rlim_cur) } else { String::new() };
    format!("; RLIMIT_NOFILE{value}: raise it (ulimit -n), or close unused descriptors")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_room_here() {
        check().unwrap();
        assert!(shortage().is_none());
    }
}
