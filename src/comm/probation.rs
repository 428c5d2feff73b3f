//! The period in which a peer that we dialled may still refuse us.
//!
//! A peer verifies our connection message after it has sent its own, so its verdict is still under way when the
//! handshake ends on our side. Fabric sends nothing when it accepts, and ends the stream with an error when it refuses,
//! before it reads anything else. Written messages are therefore kept until the peer has sent a message or enough time
//! has passed. If the peer refuses before that, all of them are returned.

use super::outbox::Item;
use crate::cancel::Cancel;
use crate::error::Error;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::Mutex;
use std::sync::Arc;

/// Number of bytes to keep: HTTP/2's initial window, which is all that a peer accepts before it reads. Messages beyond
/// it are only counted.
const MAX_BYTES: usize = 64 << 10;

pub(super) struct Probation {
    /// A copy of whether `state` is `Over`, for reading without its lock.
    over: AtomicBool,
    state: Mutex<State>,
    /// Set when the peer has shown that it accepts us.
    proven: Cancel,
}

/// Messages written to a peer that may still refuse us.
#[derive(Default)]
pub(super) struct Kept {
    /// The messages, in order.
    pub items: Vec<Item>,
    bytes: usize,
    /// Number of messages that did not fit.
    pub beyond: u64,
}

enum State {
    Open(Kept),
    Over,
    Refused {
        error: Arc<Error>,
        /// Messages written at the same time, kept until the refusal has been reported.
        late: Option<Vec<Item>>,
    },
}

impl Probation {
    pub fn open() -> Self {
        Probation {
            over: AtomicBool::new(false),
            state: Mutex::new(State::Open(Kept::default())),
            proven: Cancel::new(),
        }
    }

    pub fn proven() -> Self {
        let (over, state) = (AtomicBool::new(true), Mutex::new(State::Over));
        let probation = Probation { over, state, proven: Cancel::new() };
        probation.proven.cancel();
        probation
    }

    /// Returns the token that is set when the peer has shown that it accepts us.
    pub fn is_proven(&self) -> &Cancel {
        &self.proven
    }

    /// Returns the error with which the peer refused us, if it has.
    pub fn refusal(&self) -> Option<Arc<Error>> {
        match &*self.state.lock() {
            State::Refused { error, .. } => Some(error.clone()),
            _ => None,
        }
    }

    /// Ends the probation: the peer has sent something.
    pub fn prove(&self) {
        if !self.over.load(Ordering::Relaxed) && self.lapse() {
            self.proven.cancel();
        }
    }

    /// Ends the probation: enough time has passed, or the stream has ended without a refusal. Returns whether it was
    /// open.
    pub fn lapse(&self) -> bool {
        let mut state = self.state.lock();
        if !matches!(*state, State::Open(_)) {
            return false;
        }
        self.over.store(true, Ordering::Relaxed);
        let kept = std::mem::replace(&mut *state, State::Over);
        // Outside the lock: items may own objects of user code.
        drop(state);
        drop(kept);
        true
    }

    /// Returns whether the peer may still refuse us, as far as is known.
    pub fn is_open(&self) -> bool {
        !self.over.load(Ordering::Relaxed)
    }

    /// Ends the probation: the peer has refused us. Returns the messages written to it. Once they are reported,
    /// [`take_late`](Self::take_late) returns the rest.
    pub fn refuse(&self, error: &Arc<Error>) -> Kept {
        let mut state = self.state.lock();
        match &mut *state {
            State::Open(kept) => {
                let kept = std::mem::take(kept);
                *state = State::Refused { error: error.clone(), late: Some(Vec::new()) };
                kept
            }
            State::Over | State::Refused { .. } => Kept::default(),
        }
    }

    /// Returns the messages written while the refusal was being reported. From then on, [`keep`](Self::keep) returns
    /// messages.
    pub fn take_late(&self) -> Vec<Item> {
        match &mut *self.state.lock() {
            State::Refused { late, .. } => late.take().unwrap_or_default(),
            State::Open(_) | State::Over => Vec::new(),
        }
    }

    /// Keeps a written message for as long as the peer may refuse it. If the peer has refused, returns the message.
    pub fn keep(&self, item: Item) -> Result<(), (Item, Arc<Error>)> {
        if self.over.load(Ordering::Relaxed) {
            return Ok(());
        }
        match &mut *self.state.lock() {
            State::Open(kept) => {
                if kept.bytes < MAX_BYTES {
                    kept.bytes += item.len() + std::mem::size_of::<Item>();
                    kept.items.push(item);
                } else {
                    kept.beyond += 1;
                }
                Ok(())
            }
            State::Over => Ok(()),
            State::Refused { late: Some(late), .. } => {
                late.push(item);
                Ok(())
            }
            State::Refused { error, late: None } => Err((item, error.clone())),
        }
    }
}
