//! A whole network of nodes in one process, on virtual time.
//!
//! Each node is the same [`NodeCore`] that a real node runs: membership, identity pull, channels, batching and
//! forwarding. The environment is simulated: time; links that delay, lose, duplicate and reorder messages and can be
//! partitioned; signatures without keys; and identities that each node must learn before it can verify. All random
//! numbers derive from one seed, so a run is exactly repeatable: [`Simulator::trace`] is the same.
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
mod names;
mod report;
mod run;

pub use links::Links;
pub use report::Report;

use crate::crypto::{OrgId, PeerIdentity, PkiId};
use crate::discovery::{Effect, Event, SelfInfo, Token};
use crate::error::Result;
use crate::message::SignedMessage;
use crate::node::core::{Context, NodeCore};
use crate::node::NodeConfig;
use crate::random::SeededRandom;
use links::Network;
use names::{identity, org, parts, pki_id, Known};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Settings of a [`Simulator`].
#[derive(Clone, Debug)]
pub struct SimulatorConfig {
    /// Seed of all random numbers.
    pub seed: u64,
    /// The settings of every node; bootstrap endpoints are set for each.
    pub node: NodeConfig,
    /// Behaviour of all links, until [`Simulator::set_links`].
    pub links: Links,
    /// Size of a serialized identity in bytes: 800, about that of an X.509 one.
    pub identity_size: usize,
}

impl Default for SimulatorConfig {
    fn default() -> Self {
        SimulatorConfig { seed: 1, node: NodeConfig::default(), links: Links::default(), identity_size: 800 }
    }
}

/// The settings of a node to add, where they differ from the default.
#[derive(Clone, Debug)]
pub struct NodeSpec {
    /// The number of its organisation, 0 by default.
    pub org: u16,
    /// Whether it has an endpoint for other organisations: `true` by default.
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
    /// Indexed by number.
    orgs: Vec<OrgId>,
    net: Network<Happening>,
    observer: Option<Observer>,
    report: Report,
    trace: u64,
    /// Empty between calls; kept to reuse the allocation.
    effects: Vec<Effect>,
    answers: VecDeque<Event>,
}

impl std::fmt::Debug for Simulator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Simulator").finish_non_exhaustive()
    }
}

type Observer = Box<dyn FnMut(usize, usize, &SignedMessage)>;

struct Node {
    spec: NodeSpec,
    /// `None` while it is down.
    core: Option<Box<NodeCore>>,
    /// Whether connections to it, while it is down, are refused rather than silently lost.
    refuses: bool,
    /// Whether its identity is revoked, so that no node accepts it.
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

/// An event in transit to a node.
enum Happening {
    Message { message: SignedMessage, from: u32, to_epoch: u32 },
    Wake,
    Pinged { token: Token, to: u32, epoch: u32 },
    Handshake { token: Token, to: u32, epoch: u32 },
    Refused { peer: PkiId, epoch: u32 },
}

impl Simulator {
    /// Creates a network without nodes.
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
    /// number; numbers start at 0.
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

    /// Kills a node silently: messages sent to it are lost.
    pub fn kill(&mut self, number: usize) {
        self.take_down(number, false);
    }

    /// Ends a node's process: peers that send to it are refused, and presume it dead.
    pub fn stop(&mut self, number: usize) {
        self.take_down(number, true);
    }

    /// Restarts a node that is down, with a later incarnation; with `renewed`, also under a new identity of the same
    /// organisation.
    ///
    /// # Errors
    /// As [`NodeCore::new`].
    pub fn restart(&mut self, number: usize, renewed: bool) -> Result<()> {
        self.nodes[number].generation += u32::from(renewed);
        self.launch(number)
    }

    /// Revokes a node's identity: no node accepts it any more, and all other nodes are notified to forget it.
    pub fn revoke(&mut self, number: usize) {
        self.nodes[number].revoked = true;
        for other in (0..self.nodes.len()).filter(|other| *other != number) {
            self.forget_identity(other, number);
        }
    }

    /// Removes another node's identity from a node's store, as happens to identities that were unused for too long.
    pub fn forget_identity(&mut self, at: usize, of: usize) {
        self.nodes[at].known.remove(of);
        let pki_id = self.nodes[of].pki_id.clone();
        self.inject(at, Event::IdentityPurged(pki_id));
    }

    /// Partitions the network: nodes reach each other only if `group` returns the same value for both.
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

    /// Calls `observer` for every message that arrives: sender, recipient, message.
    pub fn observe(&mut self, observer: impl FnMut(usize, usize, &SignedMessage) + 'static) {
        self.observer = Some(Box::new(observer));
    }

    /// Returns the virtual time since the start.
    pub fn elapsed(&self) -> Duration {
        Duration::from_millis(self.net.now())
    }

    /// Advances the virtual time.
    pub fn run_for(&mut self, time: Duration) {
        let until = self.net.now() + time.as_millis() as u64;
        while let Some((to, happening)) = self.net.next(until) {
            self.happen(to as usize, happening);
        }
    }

    /// Advances the virtual time until a condition holds, which is checked every 100 ms. Returns the time taken, or
    /// `None` if the limit was exceeded.
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

    /// Advances the virtual time until every node that is up sees exactly the other such nodes as alive, and records
    /// the time taken in the report. Returns `None` if the limit was exceeded.
    pub fn run_until_complete(&mut self, limit: Duration) -> Option<Duration> {
        self.report.convergence = self.run_until(limit, Simulator::is_complete);
        self.report.convergence
    }

    /// Returns whether every node that is up sees exactly the other such nodes as alive.
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

    /// Returns the number of nodes, up or down.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Returns whether there are no nodes.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Returns a node; `None` while it is down.
    pub fn node(&self, number: usize) -> Option<&NodeCore> {
        self.nodes[number].core.as_deref()
    }

    /// Calls a node that is up, and carries out its effects.
    pub fn with_node<T>(
        &mut self,
        number: usize,
        call: impl FnOnce(&mut NodeCore, &mut Context<'_>) -> T,
    ) -> Option<T> {
        let mut result = None;
        self.drive(number, |core, cx| result = Some(call(core, cx)));
        result
    }

    /// Passes an event to a node, as if it had happened.
    pub fn inject(&mut self, number: usize, event: Event) {
        self.drive(number, |core, cx| core.handle(event, cx));
    }

    /// Returns the organisation with this number.
    pub fn org(&self, number: u16) -> OrgId {
        org(number)
    }

    /// Returns a node's PKI-ID; while it is down, the last one.
    pub fn pki_id(&self, number: usize) -> &PkiId {
        &self.nodes[number].pki_id
    }

    /// Returns the endpoint of a node for its own organisation, even if the node is down or does not exist.
    pub fn internal_endpoint(&self, number: usize) -> String {
        format!("n{number}:7051")
    }

    /// Returns the endpoint of a node for other organisations, if it has one.
    pub fn external_endpoint(&self, number: usize) -> String {
        format!("n{number}.example.com:7051")
    }

    /// Returns the number of the node that has this PKI-ID, or had it before a renewal.
    pub fn number_of(&self, pki_id: &PkiId) -> Option<usize> {
        let (number, _) = parts(pki_id)?;
        Some(number).filter(|number| *number < self.nodes.len())
    }

    /// Returns the data messages delivered to a node, each once.
    pub fn delivered(&self, number: usize) -> &[SignedMessage] {
        &self.nodes[number].delivered
    }

    /// Returns the statistics so far.
    pub fn report(&self) -> Report {
        Report { elapsed: self.elapsed(), ..self.report.clone() }
    }

    /// Resets the counts of messages, bytes and false deaths to zero.
    pub fn reset_report(&mut self) {
        self.report = Report::default();
        self.nodes.iter().for_each(|_| self.report.add_node());
    }

    /// Returns a hash over every message that arrived: time, sender, recipient, length. The same configuration and the
    /// same calls give the same hash.
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
            org,
            identity: node.identity.clone(),
            endpoint: if node.spec.external { external } else { String::new() },
            internal_endpoint: internal,
            metadata: Default::default(),
        };
        let mut config = self.config.node.clone();
        config.bootstrap = endpoints;
        // Later at each start, like a clock's nanoseconds.
        let incarnation = 1_700_000_000_000_000_000 + self.net.now() * 1_000_000 + u64::from(node.epoch);
        node.core = Some(Box::new(NodeCore::new(config, own, incarnation, now)?));
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
}
