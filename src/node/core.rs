//! The node without threads, clock, network or keys: events in, effects out.
//!
//! Combines membership, identities, channels and gossip. A thin driver around a [`NodeCore`] owns threads and timers
//! and carries out its effects; a simulation does the same for thousands of cores on a virtual clock.

mod channels;
mod effects;
mod identities;
mod seeds;

use super::cert_store::CertStore;
use super::channel::Channel;
use super::config::NodeConfig;
use super::emitter::Emitter;
use super::expiry::Expiry;
use super::forward::Gossip;
use super::identities::Identities;
use super::peers::AlivePeers;
use super::renewal::Renewal;
use crate::crypto::{OrgId, PkiId};
use crate::discovery::{
    Amount, Discovery, Effect, Event, NetworkMember, Notice, Permit, SelfInfo, Token, VerificationBudget,
};
use crate::error::{Error, ErrorKind, Result};
use crate::journal;
use crate::message::{self, Content, GossipMessage, PullMsgType, SignedMessage};
use crate::proto::gossip::MembershipRequest;
use bytes::Bytes;
use channels::Outside;
use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

pub use seeds::SeedRole;

use seeds::SeedRoles;

/// The context of a call to [`NodeCore`].
pub type Context<'a> = crate::discovery::Context<'a, dyn Identities + 'a>;

/// The criteria of [`NodeCore::select`]: the selection part of Fabric's `SendCriteria`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Criteria<'a> {
    /// Only peers of this channel.
    pub channel: Option<&'a [u8]>,
    /// Maximum number of peers.
    pub max_peers: usize,
    /// Minimum number of peers; fewer is an error.
    pub min_ack: usize,
}

impl Criteria<'_> {
    /// Returns the first `eligible` candidates, up to `max_peers`.
    ///
    /// # Errors
    /// [`ErrorKind::Config`], with Fabric's text: fewer candidates than must acknowledge.
    pub fn choose(
        &self,
        mut candidates: Vec<NetworkMember>,
        mut eligible: impl FnMut(&NetworkMember) -> bool,
    ) -> Result<Vec<NetworkMember>> {
        let mut found = 0;
        candidates.retain(|member| {
            let chosen = found < self.max_peers && eligible(member);
            found += usize::from(chosen);
            chosen
        });
        if found < self.min_ack && self.max_peers > 0 {
            let wanted = self.min_ack;
            let text = format!("requested to send to at least {wanted} peers, but know only of {found} suitable peers");
            return Err(Error::new(ErrorKind::Config, text));
        }
        Ok(candidates)
    }
}

/// The node as a state machine.
pub struct NodeCore {
    config: NodeConfig,
    own: PkiId,
    own_org: OrgId,
    /// The endpoint for our own organisation.
    own_endpoint: String,
    incarnation: u64,
    discovery: Discovery,
    /// Our identity message, until it is signed.
    own_identity: Option<GossipMessage>,
    certs: CertStore,
    emitter: Emitter<Gossip>,
    peers: AlivePeers,
    channels: BTreeMap<Bytes, Channel>,
    outside: Outside,
    /// Whether the warning about a missing external endpoint was logged.
    warned_unreachable: bool,
    /// Sequence number of our state information.
    state_sequence: u64,
    seeds: SeedRoles,
    renewal: Renewal,
    expiry: Option<Expiry>,
    pending: HashMap<Token, Pending>,
    budget: VerificationBudget,
    /// The budget permit of each verification in progress.
    permits: HashMap<Token, Permit>,
    timers: Timers,
    stopped: bool,
    /// Effects from discovery; empty between calls, kept to reuse the allocation.
    wanted: Vec<Effect>,
}

impl std::fmt::Debug for NodeCore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NodeCore").field("alive", &self.alive_count()).finish_non_exhaustive()
    }
}

/// The purpose of a pending request.
enum Pending {
    /// Our identity message, signed.
    OwnIdentity,
    /// Our state information in a channel, signed.
    OwnState(Bytes),
    /// An identity message, verified.
    Identity(SignedMessage),
    /// State information of a peer in one of our channels, verified; to be forwarded if it did not come in a snapshot.
    State { channel: Bytes, message: SignedMessage, from: Option<PkiId> },
    /// State information of a peer of our organisation in a channel that we are not in, verified.
    OutsideState { message: SignedMessage, from: PkiId },
    /// A block, verified.
    Block { message: SignedMessage, from: PkiId },
    /// The peer at an endpoint where this member was known to be.
    Renewal { endpoint: String, old: Box<NetworkMember> },
}

struct Timers {
    pull: Instant,
    publish_state: Instant,
    request_state: Instant,
    sweep_states: Instant,
}

impl NodeCore {
    /// Creates a node that knows no other peer. `incarnation` is the wall clock in nanoseconds since 1970, later than
    /// at any earlier start of this peer.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] names the wrong setting or endpoint.
    pub fn new(config: NodeConfig, own: SelfInfo, incarnation: u64, now: Instant) -> Result<Self> {
        config.validate()?;
        let max = Amount { count: config.max_verifications, bytes: config.discovery.max_verification_bytes };
        Ok(NodeCore {
            own: own.pki_id.clone(),
            own_org: own.org.clone(),
            own_endpoint: own.internal_endpoint.clone(),
            incarnation,
            own_identity: Some(message::peer_identity(&own.pki_id, &own.identity)),
            discovery: Discovery::new(config.discovery.clone(), own, incarnation, now)?,
            certs: CertStore::new(config.pull),
            emitter: Emitter::new(config.emitter),
            peers: AlivePeers::default(),
            channels: BTreeMap::new(),
            outside: Outside::default(),
            warned_unreachable: false,
            state_sequence: 0,
            seeds: SeedRoles::default(),
            renewal: Renewal::default(),
            expiry: None,
            pending: HashMap::new(),
            budget: VerificationBudget::new(max).first_of_any_size(),
            permits: HashMap::new(),
            timers: Timers {
                pull: now + config.pull_interval,
                publish_state: now + config.channel.publish_state_info_interval,
                request_state: now + config.channel.request_state_info_interval,
                sweep_states: now + 5 * config.pull_interval,
            },
            stopped: false,
            wanted: Vec::new(),
            config,
        })
    }

    /// Starts the node: contacts the bootstrap peers and signs our identity message for others to pull. One beyond
    /// `max_seeds` is reported as a [`Notice::SeedFailed`]; the others are still contacted.
    pub fn start(&mut self, cx: &mut Context<'_>) {
        self.sign_own_identity(cx);
        for endpoint in self.config.bootstrap.clone() {
            if let Err(e) = self.connect(&endpoint, SeedRole::Bootstrap, cx) {
                journal::error!("bootstrap peer {endpoint}: {e}");
                cx.effects.push(Effect::Notify(Notice::SeedFailed { endpoint, reason: e.to_string() }));
            }
        }
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
            Event::Verified { token, valid } if self.pending.contains_key(&token) => self.on_verified(token, valid, cx),
            Event::Signed { token, result } if self.pending.contains_key(&token) => self.on_signed(token, result),
            Event::Handshaken { token, result } => self.on_handshaken(token, result, cx),
            Event::Dialled { endpoint, remote } => self.on_proof(&endpoint, &remote, cx),
            Event::IdentitySwitch(id) => self.retire(&id, None, cx),
            Event::IdentityPurged(id) => self.on_identity_purged(id, cx),
            // All other events belong to the membership, as do answers to requests that the node did not make itself.
            event => self.discover(event, cx),
        }
    }

    /// Returns the time when [`Event::Timeout`] is due; `None` after a stop.
    pub fn next_timeout(&self) -> Option<Instant> {
        if self.stopped {
            return None;
        }
        let timers = &self.timers;
        let of_channels = [timers.publish_state, timers.request_state, timers.sweep_states];
        let of_channels = of_channels.into_iter().filter(|_| !self.channels.is_empty());
        let others = [
            self.discovery.next_timeout(),
            self.emitter.next_deadline(),
            self.certs.next_deadline(),
            self.renewal.next_deadline(),
            self.expiry.as_ref().and_then(Expiry::next_deadline),
        ];
        of_channels.chain(others.into_iter().flatten()).chain([timers.pull]).min()
    }

    /// Gossips our own message, a block of a channel that we are in, to the peers of the channel in our organisation. A
    /// later [`Event::Received`] with the same block is ignored.
    ///
    /// # Errors
    /// [`ErrorKind::Protocol`] if the tag does not fit the content (where Fabric crashes) or the message has no
    /// possible recipient; [`ErrorKind::Config`] for a channel that we are not in; [`ErrorKind::Stopped`] after a stop.
    pub fn gossip(&mut self, message: SignedMessage, cx: &mut Context<'_>) -> Result<()> {
        self.check_running()?;
        message.message().check_tag()?;
        self.note_own_block(&message, cx.now)?;
        self.emit(Gossip { message, from: None }, cx);
        Ok(())
    }

    /// Selects random peers that are alive, match the criteria and for which `eligible` returns true. Selects none if
    /// `max_peers` is 0.
    ///
    /// # Errors
    /// With Fabric's texts: a channel that we are not in, or fewer peers than `min_ack`.
    pub fn select(
        &mut self,
        criteria: Criteria<'_>,
        cx: &mut Context<'_>,
        eligible: impl FnMut(&NetworkMember) -> bool,
    ) -> Result<Vec<NetworkMember>> {
        criteria.choose(self.candidates(criteria, cx)?, eligible)
    }

    /// Returns all peers that are alive and in the criteria's channel, in random order.
    ///
    /// # Errors
    /// [`ErrorKind::Config`]: a channel that we are not in.
    pub fn candidates(&mut self, criteria: Criteria<'_>, cx: &mut Context<'_>) -> Result<Vec<NetworkMember>> {
        self.check_running()?;
        if criteria.max_peers == 0 {
            return Ok(Vec::new());
        }
        let no_channel = |name: &[u8]| {
            let name = String::from_utf8_lossy(name);
            let text = format!("requested to Send for channel {name}, but no such channel exists");
            Error::new(ErrorKind::Config, text)
        };
        let channel = match criteria.channel {
            Some(name) => Some(self.channels.get(name).ok_or_else(|| no_channel(name))?),
            None => None,
        };
        let in_channel =
            |peer: &super::peers::AlivePeer| channel.is_none_or(|channel| !channel.left() && channel.has_peer(peer));
        let peers = self.peers.select(usize::MAX, cx.random, in_channel);
        Ok(peers.iter().filter_map(|peer| self.discovery.member(&peer.pki_id).cloned()).collect())
    }

    /// Asks up to `count` random members for their membership now.
    pub fn sync(&mut self, count: usize, cx: &mut Context<'_>) {
        self.with_discovery(cx, |discovery, cx| discovery.sync(count, cx));
    }

    /// Changes our metadata, from the next alive message on.
    pub fn update_metadata(&mut self, metadata: impl Into<Bytes>) {
        self.discovery.update_metadata(metadata);
    }

    /// Changes our endpoint for other organisations, from the next alive message on. An empty endpoint makes us
    /// unreachable for them.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] names an endpoint that is not `host:port`; [`ErrorKind::Stopped`] after a stop.
    pub fn update_endpoint(&mut self, endpoint: &str) -> Result<()> {
        self.check_running()?;
        self.discovery.update_endpoint(endpoint)
    }

    /// Sets the time when our identity expires. It is [announced](Notice::IdentityExpires) a week, a day and an hour
    /// before, and when it is reached.
    pub fn set_expiry(&mut self, at: Option<Instant>) {
        self.expiry = at.map(Expiry::new);
    }

    /// Stops the node; it produces no more effects. Further calls have no effect.
    pub fn stop(&mut self) {
        self.stopped = true;
        self.discovery.stop();
        self.certs.stop();
        self.emitter.stop();
        self.pending.clear();
        self.permits.clear();
        self.budget.reset();
    }

    /// Returns the membership: alive and dead members, seeds, and this node.
    pub fn discovery(&self) -> &Discovery {
        &self.discovery
    }

    /// Returns the members that are alive, without this node.
    pub fn peers(&self) -> Vec<NetworkMember> {
        self.discovery.membership()
    }

    /// Returns the number of members that are alive, without this node.
    pub fn alive_count(&self) -> usize {
        self.discovery.alive_count()
    }

    /// Returns the PKI-IDs of the identities that others can pull from us, in the order in which we learned them.
    pub fn offered_identities(&self) -> impl Iterator<Item = PkiId> + '_ {
        self.certs.pki_ids()
    }

    fn check_running(&self) -> Result<()> {
        match self.stopped {
            true => Err(Error::new(ErrorKind::Stopped, "the node is stopped")),
            false => Ok(()),
        }
    }

    fn on_timeout(&mut self, cx: &mut Context<'_>) {
        if self.discovery.next_timeout().is_some_and(|at| at <= cx.now) {
            self.discover(Event::Timeout, cx);
        }
        let batch = self.emitter.poll(cx.now);
        self.route(batch, cx);
        let requests = self.certs.poll(cx.now, cx.random);
        self.send_all(requests, cx);
        if self.timers.pull <= cx.now {
            self.timers.pull = cx.now + self.config.pull_interval;
            self.pull_identities(cx);
        }
        self.check_renewals(cx);
        if let Some(remaining) = self.expiry.as_mut().and_then(|expiry| expiry.poll(cx.now)) {
            journal::warning!("our identity expires in {} s", remaining.as_secs());
            cx.effects.push(Effect::Notify(Notice::IdentityExpires { remaining }));
        }
        self.on_channel_timeout(cx);
    }

    fn on_received(&mut self, message: SignedMessage, from: PkiId, cx: &mut Context<'_>) {
        let gossip = message.message();
        if let Err(e) = gossip.check_tag() {
            return journal::warning!("{from} sent a message that is not valid: {e}");
        }
        if gossip.is_channel_restricted() {
            return self.on_channel_message(message, from, cx);
        }
        match message.content() {
            Some(Content::AliveMsg(_) | Content::MemRes(_)) => {
                self.discover(Event::Received { message, from }, cx);
            }
            // A peer may only ask in its own name.
            Some(Content::MemReq(request)) => match asker(request) {
                Some(asker) if asker == from => self.discover(Event::Received { message, from }, cx),
                _ => journal::warning!("{from} asks for membership in another peer's name"),
            },
            _ if gossip.is_pull() && gossip.pull_type() == PullMsgType::IDENTITY_MSG.into() => {
                self.on_identity_pull(&message, &from, cx);
            }
            _ => journal::debug!("no handler for {message}"),
        }
    }

    fn on_verified(&mut self, token: Token, valid: bool, cx: &mut Context<'_>) {
        let Some(pending) = self.pending.remove(&token) else { return };
        if self.pending.is_empty() {
            self.pending.shrink_to(KEPT_ROOM);
            self.permits.shrink_to(KEPT_ROOM);
        }
        if let Some(permit) = self.permits.remove(&token) {
            self.budget.release(permit);
        }
        if !valid {
            return;
        }
        match pending {
            Pending::Identity(message) => drop(self.certs.add(&message)),
            Pending::State { channel, message, from } => self.learn_state(&channel, message, from, cx),
            Pending::OutsideState { message, from } => self.learn_outside_state(message, from, cx),
            Pending::Block { message, from } => self.learn_block(message, from, cx),
            // These are never sent for verification.
            Pending::OwnIdentity | Pending::OwnState(_) | Pending::Renewal { .. } => {}
        }
    }

    fn on_signed(&mut self, token: Token, result: Result<SignedMessage>) {
        let Some(pending) = self.pending.remove(&token) else { return };
        match (pending, result) {
            (Pending::OwnIdentity, Ok(message)) => {
                self.own_identity = None;
                self.certs.add(&message);
            }
            (Pending::OwnState(channel), Ok(message)) => {
                if let Some(channel) = self.channels.get_mut(&channel) {
                    channel.set_own_state(message);
                }
            }
            (Pending::OwnState(channel), Err(e)) => {
                journal::error!("cannot sign our state information: {e}");
                if let Some(channel) = self.channels.get_mut(&channel) {
                    channel.state_changed();
                }
            }
            (_, Err(e)) => journal::error!("cannot sign our identity: {e}"),
            _ => {}
        }
    }

    /// Requests a verification, if the budget allows one more.
    fn verify(&mut self, message: SignedMessage, from: &PkiId, pending: Pending, cx: &mut Context<'_>) {
        let Some(permit) = self.budget.try_acquire(from, message.wire_len()) else {
            return journal::debug!("too many verifications pending: dropped {message}");
        };
        let token = self.ask(pending);
        self.permits.insert(token, permit);
        cx.effects.push(Effect::Verify { token, message, from: from.clone() });
    }

    fn sign(&mut self, message: GossipMessage, pending: Pending, cx: &mut Context<'_>) {
        let token = self.ask(pending);
        cx.effects.push(Effect::Sign { token, message, internal_endpoint: String::new() });
    }

    fn ask(&mut self, pending: Pending) -> Token {
        let token = self.discovery.next_token();
        self.pending.insert(token, pending);
        token
    }
}

/// Capacity kept for effects and for pending requests.
const KEPT_ROOM: usize = 64;

/// Returns the PKI-ID in whose name a membership request is made.
fn asker(request: &MembershipRequest) -> Option<PkiId> {
    let envelope = request.self_information.as_ref()?.clone();
    let own = SignedMessage::from_envelope(Some(envelope.into())).ok()?;
    match own.content() {
        Some(Content::AliveMsg(alive)) => Some(PkiId::new(alive.membership.as_ref()?.pki_id.clone())),
        _ => None,
    }
}
