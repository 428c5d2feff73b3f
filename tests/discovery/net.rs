//! A network of state machines: virtual time, messages that take a millisecond, signatures that anybody can compute.

use fabric_gossip::crypto::{OrgId, PeerIdentity, PkiId};
use fabric_gossip::internals::discovery::{
    Change, Context, Disclosure, DisclosurePolicy, Discovery, DiscoveryConfig, Effect, Event, NetworkMember, Notice,
    Remote, SelfInfo,
};
use fabric_gossip::internals::random::{choose, SeededRandom};
use fabric_gossip::message::{Content, GossipMessage, SignedMessage, Tag};
use fabric_gossip::proto::gossip::{AliveMessage, Member, MembershipRequest, MembershipResponse, PeerTime};
use fabric_gossip::{Error, ErrorKind};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

pub const MS: Duration = Duration::from_millis(1);
pub const SEC: Duration = Duration::from_secs(1);

/// The settings of the rows: alive 300 ms, expiration 3 s, check 300 ms, reconnect 3 s, factor 20. The periodic sync is
/// off unless a test turns it on.
pub fn row_config() -> DiscoveryConfig {
    let mut config = DiscoveryConfig::default();
    config.alive_time_interval = 300 * MS;
    config.alive_expiration_timeout = 3 * SEC;
    config.alive_expiration_check_interval = 300 * MS;
    config.reconnect_interval = 3 * SEC;
    config.sync_interval = None;
    config
}

/// The disclosure policy: of a remote node's name and a member's name.
pub type Policy = fn(&str, &str) -> Disclosure;

pub fn everything(_: &str, _: &str) -> Disclosure {
    Disclosure::Whole
}

pub struct Node {
    pub name: String,
    pub discovery: Discovery,
    pub up: bool,
    /// Whether the signing key works.
    pub can_sign: bool,
    /// Members that its own and others' alive messages are pushed to; all of them unless set.
    pub push: usize,
    /// Whether its seeds belong to its organisation.
    pub same_org: bool,
    pub verified: usize,
    pub signed: usize,
    pub pinged: Vec<(Duration, String)>,
    pub identified: Vec<(Duration, String)>,
    pub sent: Vec<(Duration, String, SignedMessage)>,
    pub gossiped: Vec<(Duration, SignedMessage)>,
    pub forwarded: Vec<SignedMessage>,
    pub received: Vec<SignedMessage>,
    pub closed: Vec<String>,
    pub changes: Vec<Change>,
}

pub struct Net {
    start: Instant,
    pub elapsed: Duration,
    pub nodes: Vec<Node>,
    pub policy: Policy,
    /// Links that carry nothing, by name.
    pub cut: fn(&str, &str) -> bool,
    random: SeededRandom,
    queue: BTreeMap<(Duration, u64), (usize, Event)>,
    next: u64,
}

pub fn endpoint(name: &str) -> String {
    format!("{name}:7051")
}

pub fn internal(name: &str) -> String {
    format!("{name}.internal:7051")
}

pub fn id(name: &str) -> PkiId {
    PkiId::from(name.as_bytes())
}

pub fn name_of(id: &PkiId) -> String {
    String::from_utf8_lossy(id.as_bytes()).into_owned()
}

/// The signature of `who` over `bytes`.
pub fn signature(who: &str, bytes: &[u8]) -> Vec<u8> {
    Sha256::new().chain_update(who).chain_update(bytes).finalize().to_vec()
}

pub fn sign(who: &str, message: GossipMessage, internal_endpoint: &str) -> SignedMessage {
    let signed = SignedMessage::sign(message, |bytes| Ok(signature(who, bytes))).unwrap();
    match internal_endpoint {
        "" => signed,
        endpoint => signed.sign_secret(endpoint, |bytes| Ok(signature(who, bytes))).unwrap(),
    }
}

pub fn is_authentic(message: &SignedMessage) -> bool {
    let Some(Content::AliveMsg(alive)) = message.content() else { return false };
    let who = String::from_utf8_lossy(&alive.membership.pki_id).into_owned();
    let verdict = message.verify(&PeerIdentity::from(&b"any"[..]), |_: &PeerIdentity, sig: &[u8], bytes: &[u8]| {
        let ok = sig == signature(&who, bytes);
        ok.then_some(()).ok_or_else(|| Error::new(ErrorKind::Signature, "wrong"))
    });
    verdict.is_ok()
}

/// An alive message of `who`, with both endpoints.
pub fn alive(who: &str, incarnation: u64, sequence: u64) -> SignedMessage {
    sign(who, alive_unsigned(who, incarnation, sequence), &internal(who))
}

pub fn alive_unsigned(who: &str, incarnation: u64, sequence: u64) -> GossipMessage {
    let member = Member { endpoint: endpoint(who), pki_id: id(who).to_bytes(), ..Default::default() };
    let time = PeerTime { inc_num: incarnation, seq_num: sequence, ..Default::default() };
    let alive = AliveMessage { membership: Some(member).into(), timestamp: Some(time).into(), ..Default::default() };
    with_tag(0, Content::AliveMsg(alive))
}

pub fn with_tag(nonce: u64, content: Content) -> GossipMessage {
    GossipMessage { nonce, tag: Tag::EMPTY.into(), content: Some(content), ..Default::default() }
}

pub fn mem_req(nonce: u64, own: &SignedMessage) -> SignedMessage {
    let request = MembershipRequest { self_information: Some(own.to_proto()).into(), ..Default::default() };
    SignedMessage::noop_sign(with_tag(nonce, Content::MemReq(request))).unwrap()
}

pub fn mem_res(nonce: u64, alive: &[SignedMessage], dead: &[SignedMessage]) -> SignedMessage {
    let envelopes = |of: &[SignedMessage]| of.iter().map(SignedMessage::to_proto).collect();
    let response = MembershipResponse { alive: envelopes(alive), dead: envelopes(dead), ..Default::default() };
    SignedMessage::noop_sign(with_tag(nonce, Content::MemRes(response))).unwrap()
}

impl Net {
    pub fn new() -> Self {
        Net {
            start: Instant::now(),
            elapsed: Duration::ZERO,
            nodes: Vec::new(),
            policy: everything,
            cut: |_, _| false,
            random: SeededRandom::new(42),
            queue: BTreeMap::new(),
            next: 0,
        }
    }

    /// `count` nodes with names `prefix0`, `prefix1` and so on; returns the number of the first.
    pub fn add_nodes(&mut self, prefix: &str, count: usize, config: &DiscoveryConfig) -> usize {
        let first = self.nodes.len();
        for i in 0..count {
            self.add(&format!("{prefix}{i}"), config);
        }
        first
    }

    pub fn add(&mut self, name: &str, config: &DiscoveryConfig) -> usize {
        self.nodes.push(Node {
            name: name.into(),
            discovery: self.make(name, config),
            up: true,
            can_sign: true,
            push: usize::MAX,
            same_org: true,
            verified: 0,
            signed: 0,
            pinged: Vec::new(),
            identified: Vec::new(),
            sent: Vec::new(),
            gossiped: Vec::new(),
            forwarded: Vec::new(),
            received: Vec::new(),
            closed: Vec::new(),
            changes: Vec::new(),
        });
        self.nodes.len() - 1
    }

    fn make(&self, name: &str, config: &DiscoveryConfig) -> Discovery {
        // Later starts have later incarnations.
        Discovery::new(config.clone(), self_info(name), 1_000 + self.elapsed.as_nanos() as u64, self.now()).unwrap()
    }

    /// Stops a node: it neither answers nor hears.
    pub fn stop(&mut self, node: usize) {
        self.nodes[node].up = false;
        self.nodes[node].discovery.stop();
    }

    /// Starts it again, knowing nothing.
    pub fn restart(&mut self, node: usize, config: &DiscoveryConfig) {
        self.nodes[node].discovery = self.make(&self.nodes[node].name.clone(), config);
        self.nodes[node].up = true;
    }

    pub fn now(&self) -> Instant {
        self.start + self.elapsed
    }

    pub fn connect(&mut self, node: usize, endpoint: &str) {
        self.with(node, |discovery, cx| discovery.connect(endpoint, cx)).unwrap();
    }

    pub fn sync(&mut self, node: usize, count: usize) {
        self.with(node, |discovery, cx| discovery.sync(count, cx));
    }

    /// Passes an event to a node immediately.
    pub fn handle(&mut self, node: usize, event: Event) {
        self.with(node, |discovery, cx| discovery.handle(event, cx));
    }

    /// Hands a received message to a node, and all that follows of that within the node.
    pub fn receive(&mut self, node: usize, message: &SignedMessage) {
        self.handle(node, Event::Received { message: message.clone(), from: id("somebody") });
        self.settle();
    }

    /// Carries out everything that is due now.
    pub fn settle(&mut self) {
        self.run_for(Duration::ZERO);
    }

    pub fn with<R>(&mut self, node: usize, act: impl FnOnce(&mut Discovery, &mut Context<'_>) -> R) -> R {
        let (now, policy) = (self.now(), self.policy);
        let disclose =
            |remote: &NetworkMember, member: &NetworkMember| policy(&name_of(&remote.pki_id), &name_of(&member.pki_id));
        let mut effects = Vec::new();
        let peers: &dyn DisclosurePolicy = &disclose;
        let mut cx = Context { now, random: &mut self.random, peers, effects: &mut effects };
        let result = act(&mut self.nodes[node].discovery, &mut cx);
        effects.into_iter().for_each(|effect| self.carry_out(node, effect));
        result
    }

    fn queue(&mut self, after: Duration, node: usize, event: Event) {
        self.next += 1;
        self.queue.insert((self.elapsed + after, self.next), (node, event));
    }

    fn carry_out(&mut self, at: usize, effect: Effect) {
        let (elapsed, name) = (self.elapsed, self.nodes[at].name.clone());
        match effect {
            Effect::Verify { token, message, .. } => {
                self.nodes[at].verified += 1;
                self.queue(Duration::ZERO, at, Event::Verified { token, valid: is_authentic(&message) });
            }
            Effect::Sign { token, message, internal_endpoint } => {
                self.nodes[at].signed += 1;
                let result = match self.nodes[at].can_sign {
                    true => Ok(sign(&name, message, &internal_endpoint)),
                    false => Err(Error::new(ErrorKind::Internal, "the key is locked")),
                };
                self.queue(Duration::ZERO, at, Event::Signed { token, result });
            }
            Effect::Gossip { message, from: None } => {
                self.nodes[at].gossiped.push((elapsed, message.clone()));
                self.push(at, &message, None);
            }
            Effect::Gossip { message, from: Some(from) } => {
                self.nodes[at].forwarded.push(message.clone());
                self.push(at, &message, Some(from));
            }
            Effect::Send { to, endpoint, message } => {
                self.nodes[at].sent.push((elapsed, endpoint.to_string(), message.clone()));
                if let Some(there) =
                    self.reach(&name, &endpoint).filter(|&there| self.nodes[there].name == name_of(&to))
                {
                    self.deliver(there, message, id(&name));
                }
            }
            Effect::Ping { token, endpoint, .. } => {
                self.nodes[at].pinged.push((elapsed, endpoint.clone()));
                let reachable = self.reach(&name, &endpoint).is_some();
                self.queue(MS, at, Event::Pinged { token, reachable });
            }
            Effect::Handshake { token, endpoint } => {
                self.nodes[at].identified.push((elapsed, endpoint.clone()));
                let org = Some(OrgId::new(if self.nodes[at].same_org { "own" } else { "other" }));
                let result = match self.reach(&name, &endpoint) {
                    Some(there) => Ok(Remote { pki_id: id(&self.nodes[there].name), org }),
                    None => Err(Error::new(ErrorKind::Unreachable, "connection refused")),
                };
                self.queue(MS, at, Event::Handshaken { token, result });
            }
            Effect::Close(peer) => self.nodes[at].closed.push(name_of(&peer)),
            Effect::Notify(Notice::Membership(change)) => self.nodes[at].changes.push(change),
            other => panic!("{other:?}"),
        }
    }

    /// The node that listens at an endpoint.
    fn reach(&self, from: &str, at: &str) -> Option<usize> {
        let there = |node: &Node| node.up && !(self.cut)(from, &node.name);
        self.nodes
            .iter()
            .position(|node| there(node) && [endpoint(&node.name), internal(&node.name)].contains(&at.into()))
    }

    fn push(&mut self, at: usize, message: &SignedMessage, except: Option<PkiId>) {
        let node = &self.nodes[at];
        let members: Vec<NetworkMember> = node.discovery.membership();
        let name = node.name.clone();
        let Some(Content::AliveMsg(alive)) = message.content() else { panic!("not alive") };
        let about = String::from_utf8_lossy(&alive.membership.pki_id).into_owned();
        for member in choose(&mut self.random, node.push, &members) {
            let to = name_of(&member.pki_id);
            let message = match (self.policy)(&to, &about) {
                _ if Some(&member.pki_id) == except.as_ref() => continue,
                Disclosure::Nothing => continue,
                Disclosure::WithoutSecret => message.without_secret(),
                Disclosure::Whole => message.clone(),
            };
            if let Some(there) = self.reach(&name, member.preferred_endpoint()) {
                self.deliver(there, message, id(&name));
            }
        }
    }

    fn deliver(&mut self, to: usize, message: SignedMessage, from: PkiId) {
        self.queue(MS, to, Event::Received { message, from });
    }

    /// When something happens next.
    fn next_at(&self) -> Option<Duration> {
        let timer = |node: &Node| node.discovery.next_timeout().map(|at| at.saturating_duration_since(self.start));
        let timers = self.nodes.iter().filter_map(timer).min();
        let queued = self.queue.keys().next().map(|(at, _)| *at);
        timers.into_iter().chain(queued).min()
    }

    fn step(&mut self) {
        let Some(at) = self.next_at() else { return };
        self.elapsed = self.elapsed.max(at);
        if self.queue.keys().next().is_some_and(|(at, _)| *at <= self.elapsed) {
            let Some((_, (node, event))) = self.queue.pop_first() else { return };
            if self.nodes[node].up {
                if let Event::Received { message, .. } = &event {
                    self.nodes[node].received.push(message.clone());
                }
                self.handle(node, event);
            }
            return;
        }
        let now = self.now();
        let due = |node: &Node| node.discovery.next_timeout().is_some_and(|at| at <= now);
        if let Some(node) = self.nodes.iter().position(due) {
            self.handle(node, Event::Timeout);
        }
    }

    pub fn run_for(&mut self, time: Duration) {
        let end = self.elapsed + time;
        while self.next_at().is_some_and(|at| at <= end) {
            self.step();
        }
        self.elapsed = end;
    }

    /// Runs until `done`, at most 15 s, and returns how long that took. The rows' "eventually".
    pub fn eventually(&mut self, what: &str, done: impl Fn(&Net) -> bool) -> Duration {
        let (begin, end) = (self.elapsed, self.elapsed + 15 * SEC);
        while !done(self) {
            assert!(self.next_at().is_some_and(|at| at <= end), "not within 15 s: {what}");
            self.step();
        }
        self.elapsed - begin
    }

    /// The names of the members that a node sees alive, sorted.
    pub fn sees(&self, node: usize) -> Vec<String> {
        names(&self.nodes[node].discovery.membership())
    }

    /// The names of those that it knows to be dead, sorted.
    pub fn knows_dead(&self, node: usize) -> Vec<String> {
        names(&self.nodes[node].discovery.dead())
    }

    pub fn all_see(&self, count: usize) -> bool {
        self.nodes.iter().filter(|node| node.up).all(|node| node.discovery.alive_count() == count)
    }

    /// The membership responses that a node got.
    pub fn responses(&self, node: usize) -> Vec<(usize, usize)> {
        let count = |message: &SignedMessage| match message.content() {
            Some(Content::MemRes(response)) => Some((response.alive.len(), response.dead.len())),
            _ => None,
        };
        self.nodes[node].received.iter().filter_map(count).collect()
    }
}

pub fn self_info(name: &str) -> SelfInfo {
    SelfInfo {
        pki_id: id(name),
        org: OrgId::new("own"),
        identity: PeerIdentity::from(name.as_bytes()),
        endpoint: endpoint(name),
        internal_endpoint: internal(name),
        metadata: Default::default(),
    }
}

fn names(members: &[NetworkMember]) -> Vec<String> {
    let mut names: Vec<String> = members.iter().map(|member| name_of(&member.pki_id)).collect();
    names.sort();
    names
}

/// The alive message inside a membership request.
pub fn requester(message: &SignedMessage) -> Option<SignedMessage> {
    match message.content() {
        Some(Content::MemReq(request)) => {
            let own = request.self_information.as_ref()?.clone();
            SignedMessage::from_envelope(Some(own.into())).ok()
        }
        _ => None,
    }
}
