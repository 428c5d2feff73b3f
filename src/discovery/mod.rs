//! Membership: which peers are alive, which have left, and which peers may know of each other.
//!
//! [`Discovery`] is a state machine without threads, locks, clock or random source. Its inputs are [`Event`]s and the
//! time, its outputs are [`Effect`]s; [`next_timeout`](Discovery::next_timeout) returns when it must be called next.
//! Signatures are requested and answered in the same way. A node drives it with threads, a simulation with a queue of
//! events; the same events always give the same effects.
//!
//! Its rules and messages are those of Fabric's `gossip/discovery`. `docs/conformance.md` lists the intended
//! differences.
//!
//! ```
//! use fabric_gossip::crypto::{OrgId, PeerIdentity, PkiId};
//! use fabric_gossip::internals::discovery::{Context, Disclosure, DisclosurePolicy, Discovery, DiscoveryConfig, Effect};
//! use fabric_gossip::internals::discovery::{NetworkMember, SelfInfo};
//! use fabric_gossip::internals::random::SeededRandom;
//! use std::time::Instant;
//!
//! let own = SelfInfo {
//!     pki_id: PkiId::from(&b"peer0"[..]),
//!     org: OrgId::new("Org1MSP"),
//!     identity: PeerIdentity::from(&b"peer0's certificate"[..]),
//!     endpoint: String::new(),
//!     internal_endpoint: "peer0:7051".into(),
//!     metadata: Default::default(),
//! };
//! let now = Instant::now();
//! let mut discovery = Discovery::new(DiscoveryConfig::default(), own, 1, now)?;
//! let (mut random, mut effects) = (SeededRandom::new(1), Vec::new());
//! let policy: &dyn DisclosurePolicy = &|_: &NetworkMember, _: &NetworkMember| Disclosure::Whole;
//! let mut context = Context { now, random: &mut random, peers: policy, effects: &mut effects };
//! discovery.connect("peer1:7051", &mut context)?;
//! assert!(matches!(&effects[..], [Effect::Handshake { endpoint, .. }] if endpoint == "peer1:7051"));
//! # Ok::<(), fabric_gossip::Error>(())
//! ```

mod alive;
mod budget;
mod concealed;
mod config;
mod dead_probe;
mod disclosure;
mod effect;
mod event;
mod limiter;
mod member;
mod own;
mod receive;
mod requests;
mod seeds;
mod table;
mod tasks;
mod verify;

pub use config::DiscoveryConfig;
pub use disclosure::{Disclosure, DisclosurePolicy};
pub use effect::{Change, Context, Effect, Notice};
pub use event::{Event, Remote, Token};
pub use member::{NetworkMember, Timestamp};
pub use own::{check_endpoint, SelfInfo};
pub use seeds::Seed;
pub use table::{Record, State};

use crate::crypto::PkiId;
use crate::error::{Error, ErrorKind, Result};
use crate::journal;
use crate::message::{GossipMessage, SignedMessage};
pub(crate) use budget::{Amount, Permit, VerificationBudget};
use bytes::Bytes;
use concealed::Concealed;
use dead_probe::DeadProbe;
pub(crate) use limiter::Limiter;
use own::Own;
use requests::Requests;
use seeds::Seeds;
use std::time::Instant;
use table::Table;
use tasks::SyncTimer;
use verify::Verifications;

/// The membership as one node sees it.
pub struct Discovery {
    config: DiscoveryConfig,
    own: Own,
    table: Table,
    seeds: Seeds,
    /// Rate limits for requests from, and responses of, each peer.
    asked: Limiter,
    responses: Limiter,
    verifications: Verifications,
    requests: Requests,
    answers: Answers,
    concealed: Concealed,
    dead_probe: DeadProbe,
    sync: SyncTimer,
    /// The heartbeat being signed.
    heartbeat: Option<Token>,
    next_heartbeat: Instant,
    next_check: Instant,
    tokens: u64,
    stopped: bool,
}

impl std::fmt::Debug for Discovery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Discovery").field("alive", &self.alive_count()).finish_non_exhaustive()
    }
}

/// Requests to answer once our first alive message is signed.
#[derive(Default)]
struct Answers {
    waiting: Vec<(NetworkMember, u64)>,
    signing: Option<Token>,
}

impl Discovery {
    /// Creates a membership with no other members. `incarnation` is the wall clock in nanoseconds since 1970, later
    /// than at any earlier start of this peer. If it is not, the node switches to a later one when it learns of the
    /// earlier incarnation.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] names the wrong setting or endpoint.
    pub fn new(config: DiscoveryConfig, own: SelfInfo, incarnation: u64, now: Instant) -> Result<Self> {
        config.validate()?;
        let limiter = || Limiter::new(config.request_interval, config.request_burst, config.max_members);
        let max = Amount { count: config.max_verifications, bytes: config.max_verification_bytes };
        Ok(Discovery {
            own: Own::new(own, incarnation, config.publish_cert_period, now)?,
            table: Table::new(config.max_members, config.message_ttl()),
            seeds: Seeds::new(config.seed_retry_wait, config.reconnect_interval),
            asked: limiter(),
            responses: limiter(),
            verifications: Verifications::new(max, config.max_verifications_per_member),
            requests: Requests::default(),
            answers: Answers::default(),
            concealed: Concealed::default(),
            dead_probe: DeadProbe::new(now),
            sync: SyncTimer::new(config.sync_interval, now),
            heartbeat: None,
            next_heartbeat: now + config.alive_time_interval,
            next_check: now + config.alive_expiration_check_interval,
            tokens: 0,
            stopped: false,
            config,
        })
    }

    /// Handles an event and appends the resulting effects to the context. After [`stop`](Self::stop), events are
    /// ignored.
    pub fn handle(&mut self, event: Event, cx: &mut Context<'_>) {
        if self.stopped {
            return;
        }
        match event {
            Event::Timeout => self.on_timeout(cx),
            Event::Received { message, from } => self.on_received(message, from, cx),
            Event::Verified { token, valid } => self.on_verified(token, valid, cx),
            Event::Signed { token, result } => self.on_signed(token, result, cx),
            Event::Pinged { token, reachable } => self.on_pinged(token, reachable, cx),
            Event::Handshaken { token, result } => self.on_handshaken(token, result, cx),
            Event::Dialled { .. } => {}
            Event::PresumedDead(id) => {
                if let Some(member) = self.table.bury(&id) {
                    self.on_dead(member, cx);
                }
            }
            Event::IdentitySwitch(id) | Event::IdentityPurged(id) => {
                let member = self.table.forget(&id, cx.now);
                self.on_forgotten(&id, member, cx);
            }
        }
    }

    /// Returns the time when [`Event::Timeout`] is due; `None` after a stop.
    pub fn next_timeout(&self) -> Option<Instant> {
        if self.stopped {
            return None;
        }
        let always = self.next_heartbeat.min(self.next_check);
        let others = [self.dead_probe.next_round(), self.sync.next(), self.seeds.next_timeout()];
        others.into_iter().flatten().chain([always]).min()
    }

    /// Adds a seed: the endpoint of a bootstrap or anchor peer, through which the network is found. It is contacted
    /// immediately and until it answers; the peer found there is never forgotten. Our own endpoint and existing seeds
    /// are ignored.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] names an endpoint that is not `host:port`; [`ErrorKind::Full`] beyond
    /// [`max_seeds`](DiscoveryConfig::max_seeds), [`ErrorKind::Stopped`] after a stop.
    pub fn connect(&mut self, endpoint: &str, cx: &mut Context<'_>) -> Result<()> {
        check_endpoint(endpoint)?;
        if self.stopped {
            return Err(Error::new(ErrorKind::Stopped, "the node is stopped").with_peer(endpoint));
        }
        if self.own.is_at(endpoint) || self.seeds.contains(endpoint) {
            journal::debug!("no need to connect to {endpoint}");
            return Ok(());
        }
        if self.seeds.len() >= self.config.max_seeds {
            return Err(Error::new(ErrorKind::Full, "too many seeds").with_peer(endpoint));
        }
        self.seeds.add(endpoint, cx.now, cx.random);
        self.contact_seeds(cx);
        Ok(())
    }

    /// Removes a seed, such as a former anchor peer. A member at its endpoint remains a member while it is alive.
    pub fn remove_seed(&mut self, endpoint: &str) {
        self.seeds.remove(endpoint);
    }

    /// Asks up to `count` random alive members for their membership; does nothing if there are none.
    pub fn sync(&mut self, count: usize, cx: &mut Context<'_>) {
        if !self.stopped {
            self.request_from_alive(count, cx);
        }
    }

    /// Changes our metadata, from the next alive message on.
    pub fn update_metadata(&mut self, metadata: impl Into<Bytes>) {
        self.own.member.metadata = metadata.into();
    }

    /// Changes our endpoint for other organisations, from the next alive message on. An empty endpoint makes us
    /// unreachable for them.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] names an endpoint that is not `host:port`.
    pub fn update_endpoint(&mut self, endpoint: &str) -> Result<()> {
        own::check_external(endpoint)?;
        self.own.member.endpoint = endpoint.to_owned();
        Ok(())
    }

    /// Stops the membership: no more effects and no more members. Further calls have no effect.
    pub fn stop(&mut self) {
        self.stopped = true;
        self.verifications.clear();
        (self.requests, self.answers) = Default::default();
    }

    /// Returns this node; the envelope is our newest alive message, if one has been signed.
    pub fn self_member(&self) -> NetworkMember {
        let envelope = self.own_alive().map(|message| message.envelope().clone());
        NetworkMember { envelope, ..self.own.member.clone() }
    }

    /// Returns our newest alive message for all peers.
    pub fn own_alive(&self) -> Option<&SignedMessage> {
        self.own.latest.as_ref()
    }

    /// Returns the members that are alive, without this node; empty after a stop.
    pub fn membership(&self) -> Vec<NetworkMember> {
        self.alive().iter().map(|record| record.member.clone()).collect()
    }

    /// Returns the members that are dead and not forgotten yet.
    pub fn dead(&self) -> Vec<NetworkMember> {
        self.table.dead().iter().map(|record| record.member.clone()).collect()
    }

    /// Returns the member with this PKI-ID, alive or dead; it may be this node.
    pub fn lookup(&self, id: &PkiId) -> Option<NetworkMember> {
        match *id == self.own.member.pki_id {
            true => Some(self.self_member()),
            false => self.member(id).cloned(),
        }
    }

    /// Returns the member with this PKI-ID, alive or dead, but not this node.
    pub fn member(&self, id: &PkiId) -> Option<&NetworkMember> {
        self.table.member(id).map(|(record, _)| &record.member)
    }

    /// Returns whether the member with this PKI-ID is alive.
    pub fn is_alive(&self, id: &PkiId) -> bool {
        matches!(self.table.get(id), Some((_, State::Alive)))
    }

    /// Returns the number of members that are alive, without this node.
    pub fn alive_count(&self) -> usize {
        self.alive().len()
    }

    /// Returns the n-th alive member, in no particular order: for drawing some without copying all.
    pub fn alive_at(&self, index: usize) -> Option<&NetworkMember> {
        self.alive().get(index).map(|record| &record.member)
    }

    fn alive(&self) -> &[Record] {
        match self.stopped {
            true => &[],
            false => self.table.alive(),
        }
    }

    /// Returns the state of each seed, by endpoint.
    pub fn seeds(&self) -> Vec<Seed> {
        self.seeds.list()
    }

    /// Returns all records of the table, including forgotten members; also available after a stop.
    pub fn records(&self) -> impl Iterator<Item = (&Record, State)> {
        self.table.records()
    }

    /// Returns the newest gossiped message of each peer that is still remembered (Fabric's message store): PKI-ID,
    /// time, and whether it has expired.
    pub fn message_store(&self, now: Instant) -> impl Iterator<Item = (&PkiId, Timestamp, bool)> {
        let ttl = self.config.message_ttl();
        self.table.records().filter_map(move |(record, _)| {
            record.gossiped(now, ttl).map(|(time, expired)| (&record.member.pki_id, time, expired))
        })
    }

    /// Returns the number of verifications in progress.
    pub fn verifications(&self) -> usize {
        self.verifications.len()
    }

    /// Returns a token that was not used before: the only source for discovery and the node around it.
    pub(crate) fn next_token(&mut self) -> Token {
        self.tokens += 1;
        Token(self.tokens)
    }

    /// Requests a signature for our next alive message.
    fn sign(&mut self, cx: &mut Context<'_>) -> Token {
        let token = self.next_token();
        let message: GossipMessage = self.own.next_alive(cx.now);
        let internal_endpoint = self.own.member.internal_endpoint.clone();
        cx.effects.push(Effect::Sign { token, message, internal_endpoint });
        token
    }

    fn on_dead(&mut self, member: NetworkMember, cx: &mut Context<'_>) {
        journal::warning!("{member} is dead");
        cx.effects.push(Effect::Close(member.pki_id.clone()));
        cx.effects.push(Effect::Notify(Notice::Membership(Change::Dead(member))));
    }

    fn on_forgotten(&mut self, id: &PkiId, member: Option<NetworkMember>, cx: &mut Context<'_>) {
        if let Some(member) = member {
            journal::info!("Removing member: {member}");
            cx.effects.push(Effect::Notify(Notice::Membership(Change::Forgotten(member))));
        }
        self.seeds.lost(id, cx.now, cx.random);
    }
}
