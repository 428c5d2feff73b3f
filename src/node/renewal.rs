//! Finds out whether a peer has come back under another PKI-ID.
//!
//! Gossip alone removes nobody: two alive members that name the same endpoint are a reason to look who is there. Whoever
//! proves to be there, over a connection that we dialled, takes the place of another of its organisation.

use crate::crypto::PkiId;
use crate::discovery::NetworkMember;
use crate::random::Random;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// How many endpoints wait to be looked at, at most; a peer that is left out expires like any other.
const MAX_CHECKS: usize = 128;

/// Who was last heard of at which endpoint, and where to look.
#[derive(Debug, Default)]
pub(super) struct Renewal {
    by_endpoint: HashMap<String, PkiId>,
    /// At this many endpoints it is time to forget those where nobody is any more.
    crowded: usize,
    checks: Vec<Check>,
}

/// An endpoint that two members name.
#[derive(Debug)]
pub(super) struct Check {
    pub(super) at: Instant,
    pub(super) endpoint: String,
    /// Who was known to be there before.
    pub(super) old: NetworkMember,
}

impl Renewal {
    /// Takes note of where a member is. If another one was there, that is looked into in one to two `wait`s: if it is
    /// still about, it will have told so by then.
    pub(super) fn learn<'a>(
        &mut self,
        member: &NetworkMember,
        known: impl Fn(&PkiId) -> Option<&'a NetworkMember>,
        wait: Duration,
        now: Instant,
        random: &mut dyn Random,
    ) {
        let endpoint = member.preferred_endpoint();
        if endpoint.is_empty() {
            return;
        }
        if self.by_endpoint.len() >= self.crowded.max(64) {
            let is_there =
                |endpoint: &str, id: &PkiId| known(id).is_some_and(|known| known.preferred_endpoint() == endpoint);
            self.by_endpoint.retain(|endpoint, id| is_there(endpoint, id));
            self.crowded = 2 * self.by_endpoint.len();
        }
        let Some(old) = self.by_endpoint.insert(endpoint.to_owned(), member.pki_id.clone()) else { return };
        let Some(old) = known(&old).filter(|_| old != member.pki_id) else { return };
        if old.preferred_endpoint() == endpoint {
            self.doubt(old, wait, now, random);
        }
    }

    /// Looks into whether a member is still where it was, in one to two `wait`s.
    pub(super) fn doubt(&mut self, member: &NetworkMember, wait: Duration, now: Instant, random: &mut dyn Random) {
        let endpoint = member.preferred_endpoint();
        let waits = self.checks.iter().any(|check| check.endpoint == endpoint);
        if !waits && self.checks.len() < MAX_CHECKS {
            let jitter = Duration::from_millis(random.below((wait.as_millis() as u64).max(1)));
            self.checks.push(Check { at: now + wait + jitter, endpoint: endpoint.to_owned(), old: member.clone() });
        }
    }

    /// Forgets where a member was.
    pub(super) fn forget(&mut self, member: &NetworkMember) {
        let endpoint = member.preferred_endpoint();
        if self.by_endpoint.get(endpoint) == Some(&member.pki_id) {
            self.by_endpoint.remove(endpoint);
        }
    }

    /// Who was last heard of at this endpoint.
    pub(super) fn at(&self, endpoint: &str) -> Option<&PkiId> {
        self.by_endpoint.get(endpoint)
    }

    /// The endpoints that it is time to look at.
    pub(super) fn poll(&mut self, now: Instant) -> Vec<Check> {
        let (due, rest) = std::mem::take(&mut self.checks).into_iter().partition(|check| check.at <= now);
        self.checks = rest;
        due
    }

    /// When [`poll`](Self::poll) has something to give.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.checks.iter().map(|check| check.at).min()
    }
}
