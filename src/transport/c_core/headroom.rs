//! File descriptors and threads that the C core takes without checking.
//!
//! Without descriptors for its pollers the core aborts the process. Without its timer thread it waits for that thread for
//! ever when it shuts down. So both are tried before the core is entered: as many are taken as it needs, and given back.

use crate::error::{Error, ErrorKind, Result};
use crate::sync::{channel, descriptor, spawn, threads_of_process};
use std::io;
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

/// Descriptors that must be free at the start. The core keeps four for its two pollers; the others are for one that it
/// opens and closes again, a socket to listen on, one connection, and a name look-up.
const DESCRIPTORS: usize = 8;

/// Threads of the core apart from those that depend on the number of processors: two executors and two for timers.
const FIXED_THREADS: usize = 4;

/// Threads that are started later: by the core another one for timers and another one for events, by a server two, and one
/// for its first stream.
const LATER_THREADS: usize = 5;

/// Descriptors that a dial needs: one for the connection, one for the name look-up.
const DIAL: usize = 2;

/// The longest wait until the system no longer counts the threads that were tried.
const SETTLE: Duration = Duration::from_millis(50);

/// Checks that the core can be initialized. Takes about a millisecond.
///
/// # Errors
/// [`ErrorKind::Full`], with the limit, how much is needed, and the remedy.
pub(super) fn check() -> Result<()> {
    if let Err((free, cause)) = try_descriptors("core", DESCRIPTORS) {
        let text = format!(
            "cannot start gRPC's C core: it needs {DESCRIPTORS} free file descriptors, and only {free} could be had: {cause}{}",
            remedy()
        );
        return Err(Error::new(ErrorKind::Full, text).step("start").source(cause));
    }
    let needed = threads();
    try_threads(needed).map_err(|(free, cause)| {
        let text = format!(
            "cannot start gRPC's C core: it needs {needed} threads, and only {free} could be started (RLIMIT_NPROC): {}",
            cause.message()
        );
        Error::new(ErrorKind::Full, text).step("start").source(cause)
    })
}

/// Returns what to say of a failed dial if it may have failed for lack of descriptors.
pub(super) fn shortage() -> Option<String> {
    let (free, cause) = try_descriptors("dial", DIAL).err()?;
    Some(format!("a dial needs {DIAL} file descriptors, and only {free} could be had: {cause}{}", remedy()))
}

/// Takes this many descriptors for this place and gives them back. Returns how many could be had, and why no more, if that
/// was fewer.
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

/// Runs this many threads beside each other. Returns how many could be started, and why no more, if that was fewer.
fn try_threads(count: usize) -> Result<(), (usize, Error)> {
    let before = threads_of_process();
    let (release, held) = channel::bounded::<()>(0);
    let mut running = Vec::with_capacity(count);
    let mut outcome = Ok(());
    while running.len() < count {
        let held = held.clone();
        // They end when `release` is dropped.
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
        // It cannot panic.
        let _ = thread.join();
    }
    // The system counts a thread a little longer than it can be joined, and the core is about to start as many.
    let until = Instant::now() + SETTLE;
    while threads_of_process() > before && Instant::now() < until {
        std::thread::yield_now();
    }
    outcome
}

/// Returns the number of threads that the core needs here.
fn threads() -> usize {
    // SAFETY: a pure function of the core, which needs no initialization.
    let processors = unsafe { grpcio_sys::gpr_cpu_num_cores() } as usize;
    FIXED_THREADS + processors.clamp(2, 16) + LATER_THREADS
}

/// Returns the text of this error of the system, with the limit and the remedy if descriptors are what is lacking.
pub(super) fn explain(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::EMFILE | libc::ENFILE) => format!("{error}{}", remedy()),
        _ => error.to_string(),
    }
}

/// Returns the limit of descriptors and what to do about it.
fn remedy() -> String {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the call writes to `limit` only.
    let known = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) } == 0;
    let value = if known { format!(" is {}", limit.rlim_cur) } else { String::new() };
    format!("; RLIMIT_NOFILE{value}: raise it (ulimit -n), or close what is not needed")
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
