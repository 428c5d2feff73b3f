//! Rounds of trying to reach the dead.

use super::Token;
use crate::crypto::PkiId;
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

/// One round after the other: the next begins an interval after all pings of this one were answered.
pub(super) struct DeadProbe {
    waiting: VecDeque<PkiId>,
    pinging: BTreeMap<Token, PkiId>,
    /// When the next round begins; none while one is under way.
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

    /// Who is to be pinged next, unless `max` are already.
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

    /// Ends the round if there is nobody left.
    pub fn end_if_done(&mut self, interval: Duration, now: Instant) {
        if self.next.is_none() && self.waiting.is_empty() && self.pinging.is_empty() {
            self.next = Some(now + interval);
        }
    }
}
