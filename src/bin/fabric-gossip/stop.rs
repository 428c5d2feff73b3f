//! Stopping: by Ctrl-C or SIGTERM, and what blocks without knowing of it.

use crate::failure::{Failure, Result};
use crossbeam_channel::{after, bounded, select};
use fabric_gossip::cancel::Cancel;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::thread;
use std::time::Duration;

/// The first signal sets the switch. A second one ends the process at once.
pub fn on_signals() -> Result<Cancel> {
    let stop = Cancel::new();
    let mut signals =
        Signals::new([SIGINT, SIGTERM]).map_err(|e| Failure::Peer(format!("cannot watch for signals: {e}")))?;
    let watch = {
        let stop = stop.clone();
        move || {
            for signal in signals.forever() {
                if stop.is_cancelled() {
                    std::process::exit(128 + signal);
                }
                stop.cancel();
            }
        }
    };
    spawn("signals", watch)?;
    Ok(stop)
}

pub fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<thread::JoinHandle<()>> {
    let thread = thread::Builder::new().name(name.into()).spawn(run);
    thread.map_err(|e| Failure::Peer(format!("cannot start the thread {name}: {e}; raise the limit (ulimit -u)")))
}

/// Does what may block, on a thread of its own, and waits for it no longer than `limit` (`None`) or until stopped.
pub fn within<T: Send + 'static>(
    stop: &Cancel,
    limit: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<Option<T>> {
    let (done, result) = bounded(1);
    spawn("blocking", move || drop(done.send(work())))?;
    select! {
        recv(result) -> result => Ok(result.ok()),
        recv(after(limit)) -> _ => Ok(None),
        recv(stop.signal()) -> _ => Err(Failure::Stopped),
    }
}
