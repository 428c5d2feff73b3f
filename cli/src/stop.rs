//! Stopping on Ctrl-C or SIGTERM, also during blocking calls that cannot be cancelled.

use crate::failure::{Failure, Result};
use crossbeam_channel::{after, bounded, select};
use fabric_gossip::cancel::Cancel;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// The signal that stopped the process.
#[derive(Clone, Default)]
pub struct Interrupted(Arc<AtomicI32>);

impl Interrupted {
    /// Returns the signal's number; `None` if there was no signal.
    pub fn signal(&self) -> Option<i32> {
        Some(self.0.load(Ordering::Acquire)).filter(|signal| *signal != 0)
    }

    /// Returns the reason that a summary gives for an unfinished command.
    pub fn reason(&self) -> &'static str {
        match self.signal() {
            Some(_) => "interrupted",
            None => "the output was closed",
        }
    }
}

/// Sets the switch on the first signal. A second one ends the process immediately.
pub fn on_signals() -> Result<(Cancel, Interrupted)> {
    let (stop, interrupted) = (Cancel::new(), Interrupted::default());
    let mut signals =
        Signals::new([SIGINT, SIGTERM]).map_err(|e| Failure::Peer(format!("cannot watch for signals: {e}")))?;
    let watch = {
        let (stop, interrupted) = (stop.clone(), interrupted.clone());
        move || {
            for signal in signals.forever() {
                if interrupted.signal().is_some() {
                    std::process::exit(128 + signal);
                }
                interrupted.0.store(signal, Ordering::Release);
                stop.cancel();
            }
        }
    };
    spawn("signals", watch)?;
    Ok((stop, interrupted))
}

pub fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<thread::JoinHandle<()>> {
    let thread = thread::Builder::new().name(name.into()).spawn(run);
    thread.map_err(|e| Failure::Peer(format!("cannot start the thread {name}: {e}; raise the limit (ulimit -u)")))
}

/// Runs a blocking function on a separate thread. Waits for it for at most `limit` (then returns `None`) or until
/// stopped.
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
