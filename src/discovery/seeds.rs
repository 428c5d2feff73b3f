//! Seeds: the endpoints through which the network is found. They are retried until they answer, and never forgotten.

use super::{NetworkMember, Token};
use crate::crypto::PkiId;
use crate::journal;
use crate::random::Random;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// The state of a seed: a bootstrap or anchor peer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Seed {
    /// Its endpoint, as it was given.
    pub endpoint: String,
    /// The PKI-ID found there last.
    pub pki_id: Option<PkiId>,
    /// Whether it has answered our membership request and has not been forgotten since.
    pub connected: bool,
    /// Number of consecutive failed attempts to contact it.
    pub attempts: u32,
    /// The last error; `None` once it has answered.
    pub last_error: Option<String>,
    /// Time of the next attempt; `None` during an attempt and once it has answered.
    pub next_attempt: Option<Instant>,
}

/// The progress of the contact with a seed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Next attempt at this time.
    Waiting(Instant),
    /// A handshake determines the peer's identity.
    Identifying(Token),
    /// Membership requested; the answer is due by this time.
    Asked(Instant),
    /// It has answered.
    Connected,
}

struct Entry {
    phase: Phase,
    found: Option<PkiId>,
    /// Whether the peer that was found belongs to another organisation.
    foreign: bool,
    /// The nonce of all requests to it: always the same, so that a late answer is accepted too.
    nonce: u64,
    attempts: u32,
    last_error: Option<String>,
}

const UNANSWERED: &str = "no answer to the membership request";
const UNANSWERED_BY_FOREIGN: &str =
    "no answer to the membership request: a peer of another organisation does not answer if it \
    has no external endpoint (peer.gossip.externalEndpoint on its side), or we have none";

pub(super) struct Seeds {
    entries: BTreeMap<String, Entry>,
    first_wait: Duration,
    longest_wait: Duration,
}

impl Seeds {
    pub fn new(first_wait: Duration, longest_wait: Duration) -> Self {
        Seeds { entries: BTreeMap::new(), first_wait: first_wait.min(longest_wait), longest_wait }
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn contains(&self, endpoint: &str) -> bool {
        self.entries.contains_key(endpoint)
    }

    /// Returns whether a member is at the endpoint of a seed.
    pub fn are_at(&self, member: &NetworkMember) -> bool {
        self.contains(&member.endpoint) || self.contains(&member.internal_endpoint)
    }

    /// Adds a seed, to be contacted immediately.
    pub fn add(&mut self, endpoint: &str, now: Instant, random: &mut dyn Random) {
        // Zero means no nonce.
        let nonce = random.next_u64().max(1);
        let entry =
            Entry { phase: Phase::Waiting(now), found: None, foreign: false, nonce, attempts: 0, last_error: None };
        self.entries.insert(endpoint.to_owned(), entry);
    }

    pub fn remove(&mut self, endpoint: &str) {
        self.entries.remove(endpoint);
    }

    /// Returns a seed whose attempt is due. The caller must then give it a [`token`](Self::identify).
    pub fn due(&self, now: Instant) -> Option<String> {
        let due = |entry: &Entry| matches!(entry.phase, Phase::Waiting(at) if at <= now);
        self.entries.iter().find(|(_, entry)| due(entry)).map(|(endpoint, _)| endpoint.clone())
    }

    pub fn identify(&mut self, endpoint: &str, token: Token) {
        if let Some(entry) = self.entries.get_mut(endpoint) {
            entry.phase = Phase::Identifying(token);
        }
    }

    /// Marks a seed as identified, with the membership answer due by `deadline`. Returns its endpoint and nonce.
    pub fn identified(
        &mut self,
        token: Token,
        found: &PkiId,
        same_org: bool,
        deadline: Instant,
    ) -> Option<(String, u64)> {
        let (endpoint, entry) = self.entries.iter_mut().find(|(_, e)| e.phase == Phase::Identifying(token))?;
        entry.phase = Phase::Asked(deadline);
        entry.found = Some(found.clone());
        entry.foreign = !same_org;
        Some((endpoint.clone(), entry.nonce))
    }

    /// Marks the seed as our own node under another name; it is not contacted any more.
    pub fn identified_as_self(&mut self, token: Token) {
        if let Some(entry) = self.entries.values_mut().find(|entry| entry.phase == Phase::Identifying(token)) {
            entry.answered();
        }
    }

    pub fn not_identified(&mut self, token: Token, error: &str, now: Instant, random: &mut dyn Random) {
        let found = self.entries.iter().find(|(_, entry)| entry.phase == Phase::Identifying(token));
        if let Some(endpoint) = found.map(|(endpoint, _)| endpoint.clone()) {
            self.failed(&endpoint, error, now, random);
        }
    }

    /// Records that the request with this nonce could not be made.
    pub fn not_asked(&mut self, nonce: u64, error: &str, now: Instant, random: &mut dyn Random) {
        let asked = |entry: &Entry| entry.nonce == nonce && matches!(entry.phase, Phase::Asked(_));
        let found = self.entries.iter().find(|(_, entry)| asked(entry));
        if let Some(endpoint) = found.map(|(endpoint, _)| endpoint.clone()) {
            self.failed(&endpoint, error, now, random);
        }
    }

    /// Fails the attempts whose answer is overdue.
    pub fn time_out(&mut self, now: Instant, random: &mut dyn Random) {
        let late = |entry: &Entry| matches!(entry.phase, Phase::Asked(deadline) if deadline <= now);
        let late: Vec<String> =
            self.entries.iter().filter(|(_, entry)| late(entry)).map(|(endpoint, _)| endpoint.clone()).collect();
        for endpoint in late {
            match self.entries.get(&endpoint).is_some_and(|entry| entry.foreign) {
                // It is there and accepts us; asking sooner would only make it close another connection.
                true => self.retry_after(&endpoint, UNANSWERED_BY_FOREIGN, now, self.longest_wait),
                false => self.failed(&endpoint, UNANSWERED, now, random),
            }
        }
    }

    fn failed(&mut self, endpoint: &str, error: &str, now: Instant, random: &mut dyn Random) {
        let Some(entry) = self.entries.get(endpoint) else { return };
        let doubled = self.first_wait.saturating_mul(1 << entry.attempts.min(31)).min(self.longest_wait);
        self.retry_after(endpoint, error, now, jitter(doubled, random));
    }

    /// Schedules the next attempt. Reports the cause once, then counts it.
    fn retry_after(&mut self, endpoint: &str, error: &str, now: Instant, wait: Duration) {
        let Some(entry) = self.entries.get_mut(endpoint) else { return };
        entry.attempts = entry.attempts.saturating_add(1);
        match entry.last_error.as_deref() == Some(error) {
            false => journal::warning!("seed {endpoint}: {error}; next attempt in {wait:?}"),
            true => journal::debug!("seed {endpoint}: {error}; {} attempts so far, next in {wait:?}", entry.attempts),
        }
        entry.last_error = Some(error.to_owned());
        entry.phase = Phase::Waiting(now + wait);
    }

    /// Returns whether a message of `id` in a response with this nonce answers a seed's request.
    pub fn is_answer(&self, id: &PkiId, nonce: u64) -> bool {
        self.entries.values().any(|entry| entry.is_answer(id, nonce))
    }

    /// Records that such a message is authentic.
    pub fn answered(&mut self, id: &PkiId, nonce: u64) {
        self.entries.values_mut().filter(|entry| entry.is_answer(id, nonce)).for_each(Entry::answered);
    }

    /// Handles the loss of a member: the seeds where it was found are contacted again.
    pub fn lost(&mut self, id: &PkiId, now: Instant, random: &mut dyn Random) {
        for entry in self.entries.values_mut() {
            if entry.phase == Phase::Connected && entry.found.as_ref() == Some(id) {
                entry.phase = Phase::Waiting(now + jitter(self.first_wait, random));
            }
        }
    }

    pub fn next_timeout(&self) -> Option<Instant> {
        let time = |entry: &Entry| match entry.phase {
            Phase::Waiting(at) | Phase::Asked(at) => Some(at),
            Phase::Identifying(_) | Phase::Connected => None,
        };
        self.entries.values().filter_map(time).min()
    }

    pub fn list(&self) -> Vec<Seed> {
        let seed = |(endpoint, entry): (&String, &Entry)| Seed {
            endpoint: endpoint.clone(),
            pki_id: entry.found.clone(),
            connected: entry.phase == Phase::Connected,
            attempts: entry.attempts,
            last_error: entry.last_error.clone(),
            next_attempt: match entry.phase {
                Phase::Waiting(at) => Some(at),
                _ => None,
            },
        };
        self.entries.iter().map(seed).collect()
    }
}

impl Entry {
    /// A late answer is accepted too, while the next attempt waits or is in progress.
    fn is_answer(&self, id: &PkiId, nonce: u64) -> bool {
        self.nonce == nonce && self.phase != Phase::Connected && self.found.as_ref() == Some(id)
    }

    fn answered(&mut self) {
        (self.phase, self.attempts, self.last_error) = (Phase::Connected, 0, None);
    }
}

/// Returns a random wait between half of `wait` and all of it, so that seeds that failed together are not retried
/// together.
pub(super) fn jitter(wait: Duration, random: &mut dyn Random) -> Duration {
    let half = wait / 2;
    half + Duration::from_nanos(random.below(u64::try_from(half.as_nanos()).unwrap_or(u64::MAX).max(1)))
}
