//! Seeds: the endpoints by which the network is found. They are tried until they answer, and never forgotten.

use super::{NetworkMember, Token};
use crate::crypto::PkiId;
use crate::journal;
use crate::random::Random;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How things stand with a seed: a bootstrap or anchor peer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Seed {
    /// Its endpoint, as it was given.
    pub endpoint: String,
    /// Who was found there last.
    pub pki_id: Option<PkiId>,
    /// Whether it has answered our membership request, and is not forgotten since.
    pub connected: bool,
    /// How often in a row contacting it has failed.
    pub attempts: u32,
    /// Why it failed last; none once it has answered.
    pub last_error: Option<String>,
    /// When it will be tried again; none while it is being tried and once it has answered.
    pub next_attempt: Option<Instant>,
}

/// How far the contact with a seed is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// To be tried at this time.
    Waiting(Instant),
    /// Somebody finds out who is there.
    Identifying(Token),
    /// Asked for the membership; to answer by this time.
    Asked(Instant),
    /// It has answered.
    Connected,
}

struct Entry {
    phase: Phase,
    found: Option<PkiId>,
    /// Whether the peer that was found belongs to another organisation.
    foreign: bool,
    /// The nonce of the requests to it, the same in all of them: a late answer counts too.
    nonce: u64,
    attempts: u32,
    last_error: Option<String>,
}

const UNANSWERED: &str = "no answer to the membership request";
const UNANSWERED_BY_FOREIGN: &str =
    "no answer to the membership request: a peer of another organisation gives none if it \
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

    /// Whether a member is at the endpoint of a seed.
    pub fn are_at(&self, member: &NetworkMember) -> bool {
        self.contains(&member.endpoint) || self.contains(&member.internal_endpoint)
    }

    /// Adds a seed, to be tried at once.
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

    /// A seed whose time has come. It has to be given a [`token`](Self::identify) then.
    pub fn due(&self, now: Instant) -> Option<String> {
        let due = |entry: &Entry| matches!(entry.phase, Phase::Waiting(at) if at <= now);
        self.entries.iter().find(|(_, entry)| due(entry)).map(|(endpoint, _)| endpoint.clone())
    }

    pub fn identify(&mut self, endpoint: &str, token: Token) {
        if let Some(entry) = self.entries.get_mut(endpoint) {
            entry.phase = Phase::Identifying(token);
        }
    }

    /// The seed that was found out about, to be asked for the membership by `deadline`: its endpoint and its nonce.
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

    /// The seed is ourselves by another name: nothing more to do.
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

    /// The request with this nonce cannot be made.
    pub fn not_asked(&mut self, nonce: u64, error: &str, now: Instant, random: &mut dyn Random) {
        let asked = |entry: &Entry| entry.nonce == nonce && matches!(entry.phase, Phase::Asked(_));
        let found = self.entries.iter().find(|(_, entry)| asked(entry));
        if let Some(endpoint) = found.map(|(endpoint, _)| endpoint.clone()) {
            self.failed(&endpoint, error, now, random);
        }
    }

    /// Gives up on those who have not answered in time.
    pub fn time_out(&mut self, now: Instant, random: &mut dyn Random) {
        let late = |entry: &Entry| matches!(entry.phase, Phase::Asked(deadline) if deadline <= now);
        let late: Vec<String> =
            self.entries.iter().filter(|(_, entry)| late(entry)).map(|(endpoint, _)| endpoint.clone()).collect();
        for endpoint in late {
            match self.entries.get(&endpoint).is_some_and(|entry| entry.foreign) {
                // It is there and accepts us: asking sooner gives nothing but another connection that it closes.
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

    /// Reports the cause once, and counts it from then on.
    fn retry_after(&mut self, endpoint: &str, error: &str, now: Instant, wait: Duration) {
        let Some(entry) = self.entries.get_mut(endpoint) else { return };
        entry.attempts = entry.attempts.saturating_add(1);
        match entry.last_error.as_deref() == Some(error) {
            false => journal::warning!("seed {endpoint}: {error}; next attempt in {wait:?}"),
            true => journal::debug!("seed {endpoint}: {error}; {} attempts by now, next in {wait:?}", entry.attempts),
        }
        entry.last_error = Some(error.to_owned());
        entry.phase = Phase::Waiting(now + wait);
    }

    /// Whether a message of `id` in a response with this nonce answers a seed's request.
    pub fn is_answer(&self, id: &PkiId, nonce: u64) -> bool {
        self.entries.values().any(|entry| entry.is_answer(id, nonce))
    }

    /// Such a message is authentic.
    pub fn answered(&mut self, id: &PkiId, nonce: u64) {
        self.entries.values_mut().filter(|entry| entry.is_answer(id, nonce)).for_each(Entry::answered);
    }

    /// A PKI-ID is no member any more: who was found by it is looked for again.
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
    /// A late answer counts too, while the next attempt waits or has begun.
    fn is_answer(&self, id: &PkiId, nonce: u64) -> bool {
        self.nonce == nonce && self.phase != Phase::Connected && self.found.as_ref() == Some(id)
    }

    fn answered(&mut self) {
        (self.phase, self.attempts, self.last_error) = (Phase::Connected, 0, None);
    }
}

/// Between half of this wait and all of it, so that who failed together does not try again together.
pub(super) fn jitter(wait: Duration, random: &mut dyn Random) -> Duration {
    let half = wait / 2;
    half + Duration::from_nanos(random.below(u64::try_from(half.as_nanos()).unwrap_or(u64::MAX).max(1)))
}
