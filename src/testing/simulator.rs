//! A whole network of nodes in one process, on virtual time.
//!
//! Each node is the same [`NodeCore`] that a real node runs: membership, identity pull, channels, batching and
//! forwarding. What is simulated is what lies around it: time, links that delay, lose, duplicate and reorder messages and
//! that can be parted, keys that sign for nothing, and identities that each node has to learn before it can verify.
//! Every random number follows from one seed, so a run can be repeated to the letter: [`Simulator::trace`] is the same.
//!
//! ```
//! use fabric_gossip::testing::{Simulator, SimulatorConfig};
//! use std::time::Duration;
//!
//! let mut simulator = Simulator::new(SimulatorConfig { seed: 7, ..Default::default() });
//! for _ in 0..20 {
//!     simulator.add_node(&[0])?;
//! }
//! let converged = simulator.run_until_complete(Duration::from_secs(60));
//! assert!(converged.is_some());
//! println!("{}", simulator.report());
//! # Ok::<(), fabric_gossip::Error>(())
//! ```

mod links;
mod report;

pub use links::Links;
pub use report::Report;

use crate::crypto::{OrgId, PeerIdentity, PkiId};
use crate::discovery::{Change, SelfInfo};
use crate::error::{Error, ErrorKind, Result};
use crate::message::{Content, SignedMessage};
use crate::node::{Context, Effect, Event, NodeConfig, NodeCore, Notice, Remote, Token};
use crate::random::SeededRandom;
use links::Network;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// What a simulation starts from.
#[derive(Clone, Debug)]
pub struct SimulatorConfig {
    /// All randomness follows from it.
    pub seed: u64,
    /// The settings of every node; bootstrap endpoints are set for each.
    pub node: NodeConfig,
    /// How all links behave, until [`Simulator::set_links`].
    pub links: Links,
    /// The size of a serialized identity in bytes, 800: about that of an X.509 one.
    pub identity_size: usize,
}

impl Default for SimulatorConfig {
    fn default() -> Self {
        SimulatorConfig { seed: 1, node: NodeConfig::default(), links: Links::default(), identity_size: 800 }
    }
}

/// A node to be added, where it differs from the usual one.
#[derive(Clone, Debug)]
pub struct NodeSpec {
    /// The number of its organisation, 0 by default.
    pub org: u16,
    /// Whether it has an endpoint for other organisations, as by default.
    pub external: bool,
    /// The numbers of its bootstrap nodes.
    pub bootstrap: Vec<usize>,
}

impl Default for NodeSpec {
    fn default() -> Self {
        NodeSpec { org: 0, external: true, bootstrap: Vec::new() }
    }
}

/// A simulated network. See the [module documentation](self).
pub struct Simulator {
    config: SimulatorConfig,
    start: Instant,
    nodes: Vec<Node>,
    /// By their number.
    orgs: Vec<OrgId>,
    net: Network<Happening>,
    observer: Option<Observer>,
    report: Report,
    trace: u64,
    /// Empty between calls: kept for their room.
    effects: Vec<Effect>,
    answers: VecDeque<Event>,
}

type Observer = Box<dyn FnMut(usize, usize, &SignedMessage)>;

struct Node {
    spec: NodeSpec,
    /// None while it is down.
    core: Option<Box<NodeCore>>,
    /// Whether a connection to it, while it is down, is refused rather than lost in silence.
    refuses: bool,
    /// Whether nobody accepts its identity any more.
    revoked: bool,
    random: SeededRandom,
    pki_id: PkiId,
    identity: PeerIdentity,
    /// Counts its starts.
    epoch: u32,
    /// Counts its identities.
    generation: u32,
    known: Known,
    wakes_at: Option<u64>,
    delivered: Vec<SignedMessage>,
}

/// Which identities a node knows, by the number of the node.
#[derive(Default)]
struct Known(Vec<u64>);

impl Known {
    fn insert(&mut self, node: usize) {
        if self.0.len() <= node / 64 {
            self.0.resize(node / 64 + 1, 0);
        }
        self.0[node / 64] |= 1 << (node % 64);
    }

    fn remove(&mut self, node: usize) {
        if let Some(word) = self.0.get_mut(node / 64) {
            *word &= !(1 << (node % 64));
        }
    }

    fn contains(&self, node: usize) -> bool {
        self.0.get(node / 64).is_some_and(|word| word & (1 << (node % 64)) != 0)
    }
}

/// What is on its way to a node.
enum Happening {
    Message { message: SignedMessage, from: u32, to_epoch: u32 },
    Wake,
    Pinged { token: Token, to: u32, epoch: u32 },
    Handshake { token: Token, to: u32, epoch: u32 },
    Refused { peer: PkiId, epoch: u32 },
}

impl Simulator {
    /// A network without nodes.
    pub fn new(config: SimulatorConfig) -> Self {
        let net = Network::new(config.links.clone(), config.seed);
        let (report, trace) = (Report::default(), config.seed);
        Simulator {
            start: Instant::now(),
            nodes: Vec::new(),
            orgs: Vec::new(),
            net,
            observer: None,
            report,
            trace,
            effects: Vec::new(),
            answers: VecDeque::new(),
            config,
        }
    }

    /// Adds a node of organisation 0 with these bootstrap nodes, which may be added later, and starts it. Returns its
    /// number; they are numbered from 0.
    ///
    /// # Errors
    /// As [`NodeCore::new`].
    pub fn add_node(&mut self, bootstrap: &[usize]) -> Result<usize> {
        self.add(NodeSpec { bootstrap: bootstrap.to_vec(), ..NodeSpec::default() })
    }

    /// Adds a node and starts it. Returns its number.
    ///
    /// # Errors
    /// As [`NodeCore::new`].
    pub fn add(&mut self, spec: NodeSpec) -> Result<usize> {
        let number = self.nodes.len();
        let random = SeededRandom::new(self.config.seed ^ (number as u64 + 1).wrapping_mul(0xd134_2543_de82_ef95));
        self.nodes.push(Node {
            spec,
            core: None,
            refuses: false,
            revoked: false,
            random,
            pki_id: PkiId::default(),
            identity: PeerIdentity::default(),
            epoch: 0,
            generation: 0,
            known: Known::default(),
            wakes_at: None,
            delivered: Vec::new(),
        });
        self.report.add_node();
        let orgs = self.nodes.iter().map(|node| node.spec.org).max().unwrap_or_default();
        self.orgs.extend((self.orgs.len() as u16..=orgs).map(org));
        self.launch(number)?;
        Ok(number)
    }

    /// Takes a node away without a word: what is sent to it is lost.
    pub fn kill(&mut self, number: usize) {
        self.take_down(number, false);
    }

    /// Ends a node's process: who sends to it is refused, and presumes it dead.
    pub fn stop(&mut self, number: usize) {
        self.take_down(number, true);
    }

    /// Starts a node again that is down, with a later incarnation; with `renewed`, also under a new identity of the same
    /// organisation.
    ///
    /// # Errors
    /// As [`NodeCore::new`].
    pub fn restart(&mut self, number: usize, renewed: bool) -> Result<()> {
        self.nodes[number].generation += u32::from(renewed);
        self.launch(number)
    }

    /// Revokes a node's identity: nobody accepts it any more, and everybody else is told to forget it.
    pub fn revoke(&mut self, number: usize) {
        self.nodes[number].revoked = true;
        for other in (0..self.nodes.len()).filter(|other| *other != number) {
            self.forget_identity(other, number);
        }
    }

    /// A node's store of identities lets go of another one's, as it does of what was not used for long.
    pub fn forget_identity(&mut self, at: usize, of: usize) {
        self.nodes[at].known.remove(of);
        let pki_id = self.nodes[of].pki_id.clone();
        self.inject(at, Event::IdentityPurged(pki_id));
    }

    /// Parts the network: nodes reach each other only if `group` gives the same for both.
    pub fn partition(&mut self, group: impl Fn(usize) -> u32) {
        self.net.set_groups((0..self.nodes.len()).map(group).collect());
    }

    /// Ends a partition.
    pub fn heal(&mut self) {
        self.net.set_groups(Vec::new());
    }

    /// Changes how all links behave from now on.
    pub fn set_links(&mut self, links: Links) {
        self.net.set_links(links);
    }

    /// Has every message looked at that arrives: from whom, to whom, which.
    pub fn observe(&mut self, observer: impl FnMut(usize, usize, &SignedMessage) + 'static) {
        self.observer = Some(Box::new(observer));
    }

    /// How far virtual time has come.
    pub fn elapsed(&self) -> Duration {
        Duration::from_millis(self.net.now())
    }

    /// Lets time pass.
    pub fn run_for(&mut self, time: Duration) {
        let until = self.net.now() + time.as_millis() as u64;
        while let Some((to, happening)) = self.net.next(until) {
            self.happen(to as usize, happening);
        }
    }

    /// Lets time pass until a condition holds, which is looked at every 100 ms. Returns how long that took, or `None` if
    /// it took longer than the limit.
    pub fn run_until(&mut self, limit: Duration, mut holds: impl FnMut(&Simulator) -> bool) -> Option<Duration> {
        let from = self.elapsed();
        loop {
            if holds(self) {
                return Some(self.elapsed() - from);
            }
            if self.elapsed() >= from + limit {
                return None;
            }
            self.run_for(Duration::from_millis(100));
        }
    }

    /// Lets time pass until every node that is up sees all the others as alive and nobody else; notes in the report how
    /// long it took. `None` if it took longer than the limit.
    pub fn run_until_complete(&mut self, limit: Duration) -> Option<Duration> {
        self.report.convergence = self.run_until(limit, Simulator::is_complete);
        self.report.convergence
    }

    /// Whether every node that is up sees all the others as alive, and nobody else.
    pub fn is_complete(&self) -> bool {
        let up = self.nodes.iter().filter(|node| node.core.is_some()).count();
        let views = || self.nodes.iter().filter_map(|node| node.core.as_deref());
        views().all(|core| core.alive_count() + 1 == up) && {
            let is_up = |id: &PkiId| self.number_of(id).is_some_and(|it| self.nodes[it].core.is_some());
            let members = |core: &NodeCore| {
                (0..core.alive_count())
                    .all(|at| core.discovery().alive_at(at).is_some_and(|member| is_up(&member.pki_id)))
            };
            views().all(members)
        }
    }

    /// How many nodes there are, up or down.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// A node; `None` while it is down.
    pub fn node(&self, number: usize) -> Option<&NodeCore> {
        self.nodes[number].core.as_deref()
    }

    /// Calls a node that is up, and has done what it wants.
    pub fn with_node<T>(
        &mut self,
        number: usize,
        call: impl FnOnce(&mut NodeCore, &mut Context<'_>) -> T,
    ) -> Option<T> {
        let mut result = None;
        self.drive(number, |core, cx| result = Some(call(core, cx)));
        result
    }

    /// Hands an event to a node, as if it had happened.
    pub fn inject(&mut self, number: usize, event: Event) {
        self.drive(number, |core, cx| core.handle(event, cx));
    }

    /// The organisation of this number.
    pub fn org(&self, number: u16) -> OrgId {
        org(number)
    }

    /// The PKI-ID that a node has, or had when it was last up.
    pub fn pki_id(&self, number: usize) -> &PkiId {
        &self.nodes[number].pki_id
    }

    /// The endpoint of a node inside its organisation, up or not, present or not.
    pub fn internal_endpoint(&self, number: usize) -> String {
        format!("n{number}:7051")
    }

    /// The endpoint that a node has for other organisations, if it has one.
    pub fn external_endpoint(&self, number: usize) -> String {
        format!("n{number}.example.com:7051")
    }

    /// The node that this PKI-ID belongs to, or belonged to before it was renewed.
    pub fn number_of(&self, pki_id: &PkiId) -> Option<usize> {
        let (number, _) = parts(pki_id)?;
        Some(number).filter(|number| *number < self.nodes.len())
    }

    /// The data messages that came to a node, each once.
    pub fn delivered(&self, number: usize) -> &[SignedMessage] {
        &self.nodes[number].delivered
    }

    /// What has happened so far.
    pub fn report(&self) -> Report {
        Report { elapsed: self.elapsed(), ..self.report.clone() }
    }

    /// Messages and bytes are counted from zero again, and false deaths, too.
    pub fn reset_report(&mut self) {
        self.report = Report::default();
        self.nodes.iter().for_each(|_| self.report.add_node());
    }

    /// A hash over every message that arrived: when, from whom, to whom, how long. The same configuration and the same
    /// calls give the same.
    pub fn trace(&self) -> u64 {
        self.trace
    }

    fn launch(&mut self, number: usize) -> Result<()> {
        let now = self.start + self.elapsed();
        let endpoints: Vec<String> =
            self.nodes[number].spec.bootstrap.iter().map(|peer| self.internal_endpoint(*peer)).collect();
        let org = self.orgs[usize::from(self.nodes[number].spec.org)].clone();
        let (internal, external) = (self.internal_endpoint(number), self.external_endpoint(number));
        let node = &mut self.nodes[number];
        node.pki_id = pki_id(number, node.spec.org, node.generation);
        node.identity = identity(&node.pki_id, self.config.identity_size);
        let own = SelfInfo {
            pki_id: node.pki_id.clone(),
            identity: node.identity.clone(),
            endpoint: if node.spec.external { external } else { String::new() },
            internal_endpoint: internal,
            metadata: Default::default(),
        };
        let mut config = self.config.node.clone();
        config.bootstrap = endpoints;
        // Later at each start, as a clock's nanoseconds are.
        let incarnation = 1_700_000_000_000_000_000 + self.net.now() * 1_000_000 + u64::from(node.epoch);
        node.core = Some(Box::new(NodeCore::new(config, own, org, incarnation, now)?));
        node.epoch += 1;
        node.known = Known::default();
        node.known.insert(number);
        node.wakes_at = None;
        self.drive(number, NodeCore::start);
        Ok(())
    }

    fn take_down(&mut self, number: usize, refuses: bool) {
        let node = &mut self.nodes[number];
        node.core = None;
        node.refuses = refuses;
    }

    fn happen(&mut self, to: usize, happening: Happening) {
        let now = self.net.now();
        match happening {
            Happening::Wake => {
                if self.nodes[to].wakes_at == Some(now) {
                    self.nodes[to].wakes_at = None;
                    self.inject(to, Event::Timeout);
                    self.wake(to);
                }
            }
            Happening::Message { message, from, to_epoch } => {
                let from = from as usize;
                if self.nodes[to].core.is_none() || self.nodes[to].epoch != to_epoch {
                    return;
                }
                self.meet(from, to);
                self.note(from, to, &message);
                let from = self.nodes[from].pki_id.clone();
                self.inject(to, Event::Received { message, from });
            }
            Happening::Pinged { token, to: peer, epoch } => {
                let reachable = self.nodes.get(peer as usize).is_some_and(|peer| peer.core.is_some());
                if self.nodes[to].epoch == epoch {
                    self.inject(
                        to,
                        Event::Pinged { token, reachable: reachable && self.net.connects(to as u32, peer) },
                    );
                }
            }
            Happening::Handshake { token, to: peer, epoch } => {
                if self.nodes[to].epoch == epoch {
                    let result = self.handshake(to, peer as usize);
                    self.inject(to, Event::Handshaken { token, result });
                }
            }
            Happening::Refused { peer, epoch } => {
                if self.nodes[to].epoch == epoch {
                    self.inject(to, Event::PresumedDead(peer));
                }
            }
        }
    }

    fn handshake(&mut self, from: usize, to: usize) -> Result<Remote> {
        let up = self.nodes.get(to).is_some_and(|node| node.core.is_some());
        if !up || !self.connect(from, to) {
            return Err(Error::new(ErrorKind::Unreachable, "context deadline exceeded"));
        }
        self.meet(from, to);
        Ok(Remote {
            pki_id: self.nodes[to].pki_id.clone(),
            org: Some(self.orgs[usize::from(self.nodes[to].spec.org)].clone()),
        })
    }

    /// Whether two nodes can have a connection.
    fn connect(&self, one: usize, other: usize) -> bool {
        let refused = self.nodes[one].revoked || self.nodes[other].revoked;
        !refused && self.net.connects(one as u32, other as u32)
    }

    /// Two nodes that have a connection know each other's identity.
    fn meet(&mut self, one: usize, other: usize) {
        self.nodes[one].known.insert(other);
        self.nodes[other].known.insert(one);
    }

    fn note(&mut self, from: usize, to: usize, message: &SignedMessage) {
        for part in [self.net.now(), from as u64, to as u64, message.wire_len() as u64] {
            self.trace = (self.trace.rotate_left(5) ^ part).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        }
        if let Some(observer) = &mut self.observer {
            observer(from, to, message);
        }
    }

    /// Calls a node, answers at once what can be, and sends the rest on its way.
    fn drive(&mut self, number: usize, call: impl FnOnce(&mut NodeCore, &mut Context<'_>)) {
        let now = self.start + self.elapsed();
        let Some(mut core) = self.nodes[number].core.take() else { return };
        let mut effects = std::mem::take(&mut self.effects);
        let mut answers = std::mem::take(&mut self.answers);
        let mut active = false;
        self.enter(number, now, &mut effects, |cx| call(&mut core, cx));
        loop {
            active |= !effects.is_empty();
            for effect in effects.drain(..) {
                answers.extend(self.carry_out(number, effect));
            }
            let Some(event) = answers.pop_front() else { break };
            self.enter(number, now, &mut effects, |cx| core.handle(event, cx));
        }
        self.nodes[number].core = Some(core);
        (self.effects, self.answers) = (effects, answers);
        // What has no effect makes nothing due sooner.
        if active {
            self.wake(number);
        }
    }

    fn enter(&mut self, number: usize, now: Instant, effects: &mut Vec<Effect>, call: impl FnOnce(&mut Context<'_>)) {
        let Node { random, known, .. } = &mut self.nodes[number];
        let orgs = &self.orgs;
        let of = |id: &PkiId| {
            let (_, org) = parts(id).filter(|(number, _)| known.contains(*number))?;
            orgs.get(usize::from(org)).cloned()
        };
        call(&mut Context { now, random, identities: &of, effects });
    }

    /// Sees to it that the node wakes when it wants to.
    fn wake(&mut self, number: usize) {
        let node = &mut self.nodes[number];
        let Some(at) = node.core.as_deref().and_then(NodeCore::next_timeout) else { return };
        let nanos = at.saturating_duration_since(self.start).as_nanos();
        let at = (nanos.div_ceil(1_000_000) as u64).max(self.net.now() + 1);
        if node.wakes_at.is_none_or(|wakes_at| at < wakes_at) {
            node.wakes_at = Some(at);
            self.net.schedule(at, number as u32, Happening::Wake);
        }
    }

    /// Does what a node wants done; some of it is answered at once.
    fn carry_out(&mut self, number: usize, effect: Effect) -> Option<Event> {
        let epoch = self.nodes[number].epoch;
        match effect {
            Effect::Send { to, message, .. } => self.send(number, &to, message),
            Effect::Verify { token, message, .. } => {
                let valid = self.verify(number, &message);
                return Some(Event::Verified { token, valid });
            }
            Effect::Sign { token, message, internal_endpoint } => {
                let sign = |payload: &[u8]| Ok(signature(payload));
                let result = SignedMessage::sign(message, sign).and_then(|message| match internal_endpoint.as_str() {
                    "" => Ok(message),
                    endpoint => message.sign_secret(endpoint, sign),
                });
                return Some(Event::Signed { token, result });
            }
            Effect::Ping { token, pki_id, .. } => {
                let to = self.number_of(&pki_id).unwrap_or(usize::MAX) as u32;
                let at = self.net.now() + self.net.round_trip();
                self.net.schedule(at, number as u32, Happening::Pinged { token, to, epoch });
            }
            Effect::Handshake { token, endpoint } => {
                let to = node_at(&endpoint).unwrap_or(u32::MAX);
                let at = self.net.now() + self.net.round_trip();
                self.net.schedule(at, number as u32, Happening::Handshake { token, to, epoch });
            }
            Effect::Deliver { message, .. } => self.nodes[number].delivered.push(message),
            Effect::Notify(Notice::Membership(Change::Dead(member))) => {
                let peer = self.number_of(&member.pki_id);
                let connected = |it: &usize| self.connect(number, *it);
                let is_up = |it: &usize| self.nodes[*it].pki_id == member.pki_id && self.nodes[*it].core.is_some();
                if peer.is_some_and(|it| is_up(&it) && connected(&it)) {
                    self.report.false_deaths += 1;
                }
            }
            Effect::Close(_) | Effect::Notify(_) => {}
        }
        None
    }

    fn send(&mut self, number: usize, to: &PkiId, message: SignedMessage) {
        let size = message.wire_len() as u64;
        self.report.count(number, size);
        let Some(to_number) = self.number_of(to).filter(|to| self.connect(number, *to)) else { return };
        let peer = &self.nodes[to_number];
        if peer.core.is_none() || peer.pki_id != *to {
            if peer.refuses {
                let (epoch, at) = (self.nodes[number].epoch, self.net.now() + self.net.round_trip());
                self.net.schedule(at, number as u32, Happening::Refused { peer: to.clone(), epoch });
            }
            return;
        }
        let to_epoch = peer.epoch;
        let copies = self.net.copies(number as u32, to_number as u32);
        for _ in 0..copies {
            let at = self.net.now() + self.net.delay();
            let happening = Happening::Message { message: message.clone(), from: number as u32, to_epoch };
            self.net.schedule(at, to_number as u32, happening);
        }
    }

    /// A message counts if its sender's identity is known, or comes with it. There is nobody here who forges.
    fn verify(&mut self, number: usize, message: &SignedMessage) -> bool {
        let (id, brings) = match message.content() {
            Some(Content::AliveMsg(alive)) => {
                let id = alive.membership.as_ref().map(|member| member.pki_id.clone()).unwrap_or_default();
                (id, !alive.identity.is_empty())
            }
            Some(Content::PeerIdentity(identity)) => (identity.pki_id.clone(), true),
            Some(Content::StateInfo(info)) => (info.pki_id.clone(), false),
            Some(Content::DataMsg(_)) => return true,
            _ => return false,
        };
        let of = self.number_of(&PkiId::new(id)).filter(|of| !self.nodes[*of].revoked);
        let Some(of) = of else { return false };
        let known = &mut self.nodes[number].known;
        if brings {
            known.insert(of);
        }
        known.contains(of)
    }
}

/// The organisation of this number.
fn org(number: u16) -> OrgId {
    OrgId::new(format!("Org{}MSP", number + 1))
}

/// A PKI-ID that says whose it is: number, organisation, generation.
fn pki_id(number: usize, org: u16, generation: u32) -> PkiId {
    let mut id = Vec::with_capacity(32);
    id.extend((number as u32).to_be_bytes());
    id.extend(org.to_be_bytes());
    id.extend(generation.to_be_bytes());
    id.resize(32, 0x5a);
    PkiId::from(id)
}

fn parts(pki_id: &PkiId) -> Option<(usize, u16)> {
    let number = pki_id.as_bytes().first_chunk::<4>()?;
    let org = pki_id.as_bytes().get(4..)?.first_chunk::<2>()?;
    Some((u32::from_be_bytes(*number) as usize, u16::from_be_bytes(*org)))
}

fn identity(pki_id: &PkiId, size: usize) -> PeerIdentity {
    let mut identity = pki_id.as_bytes().to_vec();
    identity.resize(size.max(identity.len()), b'.');
    PeerIdentity::from(identity)
}

/// As long as a signature with P-256 is at most. It begins with the length of what it covers, and proves nothing.
fn signature(payload: &[u8]) -> Vec<u8> {
    let mut signature = payload.len().to_be_bytes().to_vec();
    signature.resize(72, 0);
    signature
}

/// The number of the node at an endpoint, inside or outside of its organisation.
fn node_at(endpoint: &str) -> Option<u32> {
    endpoint.strip_prefix('n')?.split(['.', ':']).next()?.parse().ok()
}
