//! Cancellation: a one-way switch that any thread can set once and that ends every wait on it.

use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::channel::{bounded, Receiver, Sender};
use crate::sync::Mutex;
use std::sync::Arc;

/// A cancellation token. Clones share the same switch.
#[derive(Clone)]
pub struct Cancel(Arc<Switch>);

impl std::fmt::Debug for Cancel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cancel").field("cancelled", &self.is_cancelled()).finish_non_exhaustive()
    }
}

type Hook = Box<dyn FnOnce() + Send>;

struct Switch {
    cancelled: AtomicBool,
    /// Dropping the sender is the signal: it reaches any number of receivers and needs no queue space.
    state: Mutex<State>,
    signal: Receiver<()>,
}

struct State {
    keep: Option<Sender<()>>,
    next: u64,
    hooks: Vec<(u64, Hook)>,
}

impl Default for Cancel {
    fn default() -> Self {
        Self::new()
    }
}

impl Cancel {
    /// Creates a token that is not cancelled.
    pub fn new() -> Self {
        let (keep, signal) = bounded(0);
        let state = State { keep: Some(keep), next: 0, hooks: Vec::new() };
        Cancel(Arc::new(Switch { cancelled: AtomicBool::new(false), state: Mutex::new(state), signal }))
    }

    /// Sets the switch and runs the hooks on this thread. Further calls have no effect.
    pub fn cancel(&self) {
        let hooks = {
            let mut state = self.0.state.lock();
            self.0.cancelled.store(true, Ordering::SeqCst);
            state.keep = None;
            std::mem::take(&mut state.hooks)
        };
        hooks.into_iter().for_each(|(_, hook)| hook());
    }

    /// Returns whether the switch is set.
    pub fn is_cancelled(&self) -> bool {
        self.0.cancelled.load(Ordering::SeqCst)
    }

    /// Returns a channel that never carries a value and is disconnected when the switch is set, for use in `select!`.
    #[doc(hidden)]
    pub fn signal(&self) -> &Receiver<()> {
        &self.0.signal
    }

    /// Registers `hook` to run when the switch is set. If it is already set, `hook` runs immediately on this thread.
    /// Dropping the guard first unregisters the hook. The hook must not block.
    pub fn on_cancel(&self, hook: impl FnOnce() + Send + 'static) -> HookGuard {
        let mut state = self.0.state.lock();
        if state.keep.is_none() {
            drop(state);
            hook();
            return HookGuard { cancel: self.clone(), id: u64::MAX };
        }
        let id = state.next;
        state.next += 1;
        state.hooks.push((id, Box::new(hook)));
        HookGuard { cancel: self.clone(), id }
    }
}

/// Keeps a hook of [`Cancel::on_cancel`] registered. Dropping it does not wait for a hook that is already running.
#[must_use]
pub struct HookGuard {
    cancel: Cancel,
    id: u64,
}

impl std::fmt::Debug for HookGuard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HookGuard").finish_non_exhaustive()
    }
}

impl Drop for HookGuard {
    fn drop(&mut self) {
        self.cancel.0.state.lock().hooks.retain(|(id, _)| *id != self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::atomic::AtomicU32;

    #[test]
    fn hooks_run_once_and_only_while_guarded() {
        let count = Arc::new(AtomicU32::new(0));
        let cancel = Cancel::new();
        let add = |n: u32| {
            let count = count.clone();
            move || {
                count.fetch_add(n, Ordering::SeqCst);
            }
        };
        let _kept = cancel.on_cancel(add(1));
        drop(cancel.on_cancel(add(100)));
        cancel.cancel();
        cancel.cancel();
        let _late = cancel.on_cancel(add(10));
        assert_eq!(count.load(Ordering::SeqCst), 11);
        assert!(cancel.is_cancelled());
        assert!(cancel.signal().recv().is_err());
    }
}
