//! Rounds of pings to dead members.

use super::Token;
use crate::crypto::PkiId;
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

/// Consecutive rounds: the next begins one interval after all pings of the current one were answered.
pub(super) struct DeadProbe {
    waiting: VecDeque<PkiId>,
    pinging: BTreeMap<Token, PkiId>,
    /// Time when the next round begins; `None` during a round.
    next: Option<Instant>,
}

impl DeadProbe {
    pub fn new(first: Instant) -> Self {
        DeadProbe { waiting: VecDeque::new(), pinging: BTreeMap::new(), next: Some(first) }
    }

    pub fn next_round(&self) -> Option<Instant> {
        self.next
    }

    pub fn begin(&mut self, dead: impl Iterator<Item = PkiId>) {
        self.next = None;
        self.waiting.extend(dead);
    }

    /// Returns the next member to ping, unless `max` pings are already in progress.
    pub fn next_ping(&mut self, max: usize) -> Option<PkiId> {
        match self.pinging.len() < max {
            true => self.waiting.pop_front(),
            false => None,
        }
    }

    pub fn pinging(&mut self, token: Token, id: PkiId) {
        self.pinging.insert(token, id);
    }

    pub fn pinged(&mut self, token: Token) -> Option<PkiId> {
        self.pinging.remove(&token)
    }

    /// Ends the round if no members are left.
    pub fn end_if_done(&mut self, interval: Duration, now: Instant) {
        if self.next.is_none() && self.waiting.is_empty() && self.pinging.is_empty() {
            self.next = Some(now + interval);
        }
    }
}
