//! The time in which a peer that we dialled may still refuse us.
//!
//! A peer judges our connection message after it has sent its own: when the handshake is over on our side, its verdict is
//! still under way. Fabric says nothing when it accepts and ends the stream with an error when it does not, before it
//! reads anything else. So what is written is kept until the peer has sent a message or enough time has passed; if it
//! refuses before that, all of it comes back.

use super::outbox::Item;
use crate::cancel::Cancel;
use crate::error::Error;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::Mutex;
use std::sync::Arc;

/// How many bytes are kept: HTTP/2's first window, which is all that a peer takes before it reads. Of messages beyond that
/// only the number is known.
const MAX_BYTES: usize = 64 << 10;

pub(super) struct Probation {
    /// A copy of whether `state` is `Over`, to be read without its lock.
    over: AtomicBool,
    state: Mutex<State>,
    /// Set when the peer has shown that it accepts us.
    proven: Cancel,
}

/// What was written to a peer that may still refuse us.
#[derive(Default)]
pub(super) struct Kept {
    /// In order.
    pub items: Vec<Item>,
    bytes: usize,
    /// How many messages there was no room for.
    pub beyond: u64,
}

enum State {
    Open(Kept),
    Over,
    Refused {
        error: Arc<Error>,
        /// What was written at the same time, until the refusal has been reported.
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

    /// Set when the peer has shown that it accepts us.
    pub fn is_proven(&self) -> &Cancel {
        &self.proven
    }

    /// The error with which the peer refused us, once it has.
    pub fn refusal(&self) -> Option<Arc<Error>> {
        match &*self.state.lock() {
            State::Refused { error, .. } => Some(error.clone()),
            _ => None,
        }
    }

    /// Ends it: the peer has sent something.
    pub fn prove(&self) {
        if !self.over.load(Ordering::Relaxed) && self.lapse() {
            self.proven.cancel();
        }
    }

    /// Ends it: enough time has passed, or the stream has ended otherwise. Returns whether it was open.
    pub fn lapse(&self) -> bool {
        let mut state = self.state.lock();
        if !matches!(*state, State::Open(_)) {
            return false;
        }
        self.over.store(true, Ordering::Relaxed);
        let kept = std::mem::replace(&mut *state, State::Over);
        // Items may own what user code made: not under the lock.
        drop(state);
        drop(kept);
        true
    }

    /// Whether the peer may still refuse us, as far as is known.
    pub fn is_open(&self) -> bool {
        !self.over.load(Ordering::Relaxed)
    }

    /// Ends it: the peer has refused us. Returns what was written to it; once that is reported, the rest follows with
    /// [`take_late`](Self::take_late).
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

    /// Returns what was written while the refusal was being reported. What is written after that comes back from
    /// [`keep`](Self::keep).
    pub fn take_late(&self) -> Vec<Item> {
        match &mut *self.state.lock() {
            State::Refused { late, .. } => late.take().unwrap_or_default(),
            State::Open(_) | State::Over => Vec::new(),
        }
    }

    /// Keeps a message that was written, for as long as the peer may refuse it. If it has, the message comes back.
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
