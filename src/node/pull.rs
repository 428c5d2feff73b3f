//! The pull engine: hello, digest, request, response, with Fabric's waits.
//!
//! It performs no I/O and reads no clock: the caller passes in received messages and sends the returned ones. Items are
//! named by their digest. An unknown item is requested from one random peer that offers it. A response is accepted
//! once, if it was requested in this round from this peer with this nonce.

mod items;

use crate::crypto::PkiId;
use crate::random::Random;
use bytes::Bytes;
use items::Items;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::{Duration, Instant};

/// Time limits of the steps of an exchange, and limits on stored data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PullConfig {
    /// Time for which digests are accepted after the hello: `peer.gossip.digestWaitTime`, 1 s.
    pub digest_wait: Duration,
    /// Time for which requests are accepted after a hello that we answered: `peer.gossip.requestWaitTime`, 1.5 s.
    pub request_wait: Duration,
    /// Time for which responses are accepted after the request: `peer.gossip.responseWaitTime`, 2 s.
    pub response_wait: Duration,
    /// Maximum number of items kept, and of items requested in a round: 65,536.
    pub max_items: usize,
    /// Maximum number of hellos, new or repeated, that a peer may send within [`request_wait`](Self::request_wait): 8.
    /// Further ones are not answered.
    pub max_hellos_per_peer: usize,
    /// Maximum number of peers with open hellos: 4,096. Others are not answered.
    pub max_hello_peers: usize,
}

impl Default for PullConfig {
    fn default() -> Self {
        PullConfig {
            digest_wait: Duration::from_secs(1),
            request_wait: Duration::from_millis(1500),
            response_wait: Duration::from_secs(2),
            max_items: 65_536,
            max_hellos_per_peer: 8,
            max_hello_peers: 4096,
        }
    }
}

/// Maximum digest length in bytes; longer digests are not requested.
const MAX_DIGEST: usize = 256;

/// A message to send, without its envelope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PullSend<T> {
    /// The recipient.
    pub to: PkiId,
    /// The nonce of the exchange.
    pub nonce: u64,
    /// The step.
    pub step: PullStep<T>,
}

/// A step of an exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PullStep<T> {
    /// Asks for the peer's digests.
    Hello,
    /// Lists the offered digests.
    Digest(Vec<Bytes>),
    /// Requests the items with these digests.
    Request(Vec<Bytes>),
    /// Delivers the items.
    Response(Vec<T>),
}

/// The items held and the exchanges in progress.
#[derive(Debug)]
pub struct PullEngine<T> {
    config: PullConfig,
    items: Items<T>,
    round: Option<Round>,
    /// Nonces of hellos that we answered and that have not expired; by peer, oldest first.
    hellos: HashMap<PkiId, VecDeque<Hello>>,
}

/// A hello that we answered.
#[derive(Debug)]
struct Hello {
    nonce: u64,
    until: Instant,
    /// Number of requests received for it.
    requests: usize,
}

/// Number of requests answered per hello. (A Fabric peer sends one.)
const REQUESTS: usize = 2;

#[derive(Debug)]
struct Round {
    ends: Instant,
    nonces: BTreeMap<PkiId, u64>,
    /// Number of items that each of these peers was the first to offer.
    offered: BTreeMap<PkiId, usize>,
    phase: Phase,
}

#[derive(Debug)]
enum Phase {
    /// The peers that have offered each item.
    Digests(BTreeMap<Bytes, Vec<PkiId>>),
    /// The items requested from each peer and not received yet.
    Responses(BTreeMap<PkiId, BTreeSet<Bytes>>),
}

impl<T: Clone> PullEngine<T> {
    /// Returns an engine without items.
    pub fn new(config: PullConfig) -> Self {
        PullEngine { config, items: Items::new(), round: None, hellos: HashMap::new() }
    }

    /// Adds an item, or replaces it. Returns `false` if there is no room.
    pub fn add(&mut self, digest: Bytes, item: T) -> bool {
        if self.items.len() >= self.config.max_items && self.items.get(&digest).is_none() {
            return false;
        }
        self.items.insert(digest, item);
        true
    }

    /// Removes an item, if it is there.
    pub fn remove(&mut self, digest: &[u8]) {
        self.items.remove(digest);
    }

    /// Returns the item with this digest.
    pub fn item(&self, digest: &[u8]) -> Option<&T> {
        self.items.get(digest)
    }

    /// Returns the digests of all items, in order of arrival.
    pub fn digests(&self) -> impl Iterator<Item = &Bytes> {
        self.items.digests()
    }

    /// Starts a round with these peers and ends one in progress. Returns the hellos, each with a separate nonce. Also
    /// drops expired hellos of other peers.
    pub fn start_round(&mut self, peers: Vec<PkiId>, now: Instant, random: &mut dyn Random) -> Vec<PullSend<T>> {
        self.forget_old_hellos(now);
        let nonces: BTreeMap<PkiId, u64> = peers.into_iter().map(|peer| (peer, random.next_u64())).collect();
        let hello = |(to, nonce): (&PkiId, &u64)| PullSend { to: to.clone(), nonce: *nonce, step: PullStep::Hello };
        let hellos: Vec<_> = nonces.iter().map(hello).collect();
        let phase = Phase::Digests(BTreeMap::new());
        self.round = (!nonces.is_empty()).then(|| Round {
            ends: now + self.config.digest_wait,
            nonces,
            offered: BTreeMap::new(),
            phase,
        });
        hellos
    }

    /// Handles a hello. The answer lists the items for which `egress` returns true for this peer; there is no answer if
    /// there are none.
    pub fn on_hello(
        &mut self,
        from: &PkiId,
        nonce: u64,
        now: Instant,
        egress: impl Fn(&Bytes) -> bool,
    ) -> Option<PullSend<T>> {
        if !self.remember_hello(from, nonce, now) {
            return None;
        }
        let digests: Vec<Bytes> = self.items.digests().filter(|digest| egress(digest)).cloned().collect();
        (!digests.is_empty()).then(|| PullSend { to: from.clone(), nonce, step: PullStep::Digest(digests) })
    }

    /// Handles a digest. It is accepted while digests are awaited, if it answers our hello to that peer; `ingress`
    /// selects the items that we want.
    pub fn on_digest(&mut self, from: &PkiId, nonce: u64, digests: &[Bytes], ingress: impl Fn(&Bytes) -> bool) {
        let Some(Round { nonces, offered, phase: Phase::Digests(owners), .. }) = &mut self.round else { return };
        if nonces.get(from) != Some(&nonce) {
            return;
        }
        let most = (self.config.max_items / nonces.len()).max(1);
        let offered = offered.entry(from.clone()).or_default();
        for digest in digests {
            if digest.len() > MAX_DIGEST || self.items.get(digest).is_some() || !ingress(digest) {
                continue;
            }
            if !owners.contains_key(digest) {
                // A peer that offers without limit must leave room for the offers of others.
                if *offered >= most {
                    continue;
                }
                *offered += 1;
            }
            let owners = owners.entry(Bytes::copy_from_slice(digest)).or_default();
            if !owners.contains(from) {
                owners.push(from.clone());
            }
        }
    }

    /// Handles a request. At most two requests are answered per hello of that peer. The answer contains the requested
    /// items that we have and for which `egress` returns true, each once.
    pub fn on_request(
        &mut self,
        from: &PkiId,
        nonce: u64,
        digests: &[Bytes],
        now: Instant,
        egress: impl Fn(&Bytes) -> bool,
    ) -> Option<PullSend<T>> {
        let open = |hello: &&mut Hello| hello.nonce == nonce && hello.until > now && hello.requests < REQUESTS;
        self.hellos.get_mut(from)?.iter_mut().find(open)?.requests += 1;
        let wanted: BTreeSet<&Bytes> = digests.iter().collect();
        let has = |digest: &&Bytes| Some(self.items.get(digest)?.clone()).filter(|_| egress(digest));
        let items: Vec<T> = wanted.iter().filter_map(has).collect();
        (!items.is_empty()).then(|| PullSend { to: from.clone(), nonce, step: PullStep::Response(items) })
    }

    /// Handles a response. Returns the items that we requested from the peer in this round and have not received yet.
    /// They are not added: the caller adds them after verification, possibly in another form.
    pub fn on_response<U>(
        &mut self,
        from: &PkiId,
        nonce: u64,
        items: impl IntoIterator<Item = (Bytes, U)>,
    ) -> Vec<(Bytes, U)> {
        let Some(Round { nonces, phase: Phase::Responses(requested), .. }) = &mut self.round else { return Vec::new() };
        match requested.get_mut(from) {
            Some(requested) if nonces.get(from) == Some(&nonce) => {
                items.into_iter().filter(|(digest, _)| requested.remove(digest)).collect()
            }
            _ => Vec::new(),
        }
    }

    /// Advances to the next step when it is due. Returns the requests.
    pub fn poll(&mut self, now: Instant, random: &mut dyn Random) -> Vec<PullSend<T>> {
        let Some(round) = self.round.take_if(|round| round.ends <= now) else { return Vec::new() };
        let Phase::Digests(owners) = round.phase else { return Vec::new() };
        let mut requested: BTreeMap<PkiId, BTreeSet<Bytes>> = BTreeMap::new();
        for (digest, owners) in owners {
            let owner = owners[random.below(owners.len() as u64) as usize].clone();
            requested.entry(owner).or_default().insert(digest);
        }
        let request = |(to, digests): (&PkiId, &BTreeSet<Bytes>)| {
            let step = PullStep::Request(digests.iter().cloned().collect());
            PullSend { to: to.clone(), nonce: round.nonces[to], step }
        };
        let requests: Vec<_> = requested.iter().map(request).collect();
        if !requests.is_empty() {
            let (ends, phase) = (now + self.config.response_wait, Phase::Responses(requested));
            self.round = Some(Round { ends, phase, ..round });
        }
        requests
    }

    /// Returns when [`poll`](Self::poll) must be called next.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.round.as_ref().map(|round| round.ends)
    }

    /// Ends the round in progress and drops all answered hellos.
    pub fn stop(&mut self) {
        self.round = None;
        self.hellos.clear();
    }

    fn forget_old_hellos(&mut self, now: Instant) {
        self.hellos.retain(|_, open| {
            open.retain(|hello| hello.until > now);
            !open.is_empty()
        });
    }

    /// Records a hello. Returns `false` if the peer has too many open already.
    fn remember_hello(&mut self, from: &PkiId, nonce: u64, now: Instant) -> bool {
        let until = now + self.config.request_wait;
        if let Some(open) = self.hellos.get_mut(from) {
            open.retain(|hello| hello.until > now);
            if open.len() >= self.config.max_hellos_per_peer {
                return false;
            }
            open.push_back(Hello { nonce, until, requests: 0 });
            return true;
        }
        if self.hellos.len() >= self.config.max_hello_peers {
            self.forget_old_hellos(now);
        }
        if self.hellos.len() >= self.config.max_hello_peers {
            return false;
        }
        self.hellos.insert(from.clone(), VecDeque::from([Hello { nonce, until, requests: 0 }]));
        true
    }
}

#[cfg(test)]
mod tests;
