//! Detects a peer that has come back under another PKI-ID.
//!
//! Gossip alone removes no member. When two alive members announce the same endpoint, it is dialled. The peer that
//! authenticates there replaces the other member, if both belong to the same organisation.

use crate::crypto::PkiId;
use crate::discovery::NetworkMember;
use crate::random::Random;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Maximum number of endpoints waiting for a check; a member beyond that simply expires.
const MAX_CHECKS: usize = 128;

/// The member last heard of at each endpoint, and the checks to make.
#[derive(Debug, Default)]
pub(super) struct Renewal {
    by_endpoint: HashMap<String, PkiId>,
    /// When the map reaches this size, endpoints that no member uses any more are removed.
    crowded: usize,
    checks: Vec<Check>,
}

/// An endpoint that two members announce.
#[derive(Debug)]
pub(super) struct Check {
    pub(super) at: Instant,
    pub(super) endpoint: String,
    /// The member known there before.
    pub(super) old: NetworkMember,
}

impl Renewal {
    /// Records a member's endpoint. If another member was there, the endpoint is checked after one to two `wait`s; if
    /// that member is still alive, it will have sent news by then.
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

    /// Schedules a check whether a member is still at its endpoint, after one to two `wait`s.
    pub(super) fn doubt(&mut self, member: &NetworkMember, wait: Duration, now: Instant, random: &mut dyn Random) {
        let endpoint = member.preferred_endpoint();
        let waits = self.checks.iter().any(|check| check.endpoint == endpoint);
        if !waits && self.checks.len() < MAX_CHECKS {
            let jitter = Duration::from_millis(random.below((wait.as_millis() as u64).max(1)));
            self.checks.push(Check { at: now + wait + jitter, endpoint: endpoint.to_owned(), old: member.clone() });
        }
    }

    /// Removes a member's endpoint.
    pub(super) fn forget(&mut self, member: &NetworkMember) {
        let endpoint = member.preferred_endpoint();
        if self.by_endpoint.get(endpoint) == Some(&member.pki_id) {
            self.by_endpoint.remove(endpoint);
        }
    }

    /// Returns the member last heard of at this endpoint.
    pub(super) fn at(&self, endpoint: &str) -> Option<&PkiId> {
        self.by_endpoint.get(endpoint)
    }

    /// Returns the endpoints whose check is due.
    pub(super) fn poll(&mut self, now: Instant) -> Vec<Check> {
        let (due, rest) = std::mem::take(&mut self.checks).into_iter().partition(|check| check.at <= now);
        self.checks = rest;
        due
    }

    /// Returns the time when [`poll`](Self::poll) will next return a check.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.checks.iter().map(|check| check.at).min()
    }
}
