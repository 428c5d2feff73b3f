//! A node of ours in Fabric's place: the core with real keys, on virtual time.

use crate::orgs::Orgs;
use crate::record::Record;
use crate::support::unhex;
use bytes::Bytes;
use fabric_gossip::clock::SystemClock;
use fabric_gossip::crypto::{CryptoService, PkiId};
use fabric_gossip::identity::{IdentityConfig, IdentityMapper};
use fabric_gossip::internals::discovery::{Effect, Event, SelfInfo};
use fabric_gossip::internals::node::{identities, Context, NodeCore};
use fabric_gossip::internals::random::SeededRandom;
use fabric_gossip::message::SignedMessage;
use fabric_gossip::msp::MspCryptoService;
use fabric_gossip::node::NodeConfig;
use fabric_gossip::SecurityAdvisor;
use serde_json::json;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The recorded channel that two organisations share, or none.
pub fn channels(shared: bool) -> Record {
    Record::from(match shared {
        true => json!({"channel": {"msps": ["org1", "org2"], "readers": ["Org1MSP", "Org2MSP"]}}),
        false => json!({}),
    })
}

/// A mapper of this member.
pub fn mapper(orgs: &Orgs, service: &Arc<MspCryptoService>, member: &str) -> IdentityMapper {
    let (config, clock) = (IdentityConfig::default(), Arc::new(SystemClock));
    let own = orgs.identity_of(member);
    IdentityMapper::new(config, service.clone(), service.clone(), clock, own, |_, _| {}).expect("a mapper")
}

pub struct TestNode {
    pub core: NodeCore,
    pub mapper: IdentityMapper,
    pub service: Arc<MspCryptoService>,
    random: SeededRandom,
    now: Instant,
    /// The messages it sent since they were last taken, and their recipients.
    pub sent: Vec<(PkiId, SignedMessage)>,
    /// The peers whose connection it closed.
    pub closed: Vec<PkiId>,
}

impl TestNode {
    pub fn new(orgs: &Orgs, msp: &str, member: &str, external: &str, channels: &Record) -> TestNode {
        TestNode::with_config(orgs, msp, member, external, channels, NodeConfig::default())
    }

    pub fn with_config(
        orgs: &Orgs,
        msp: &str,
        member: &str,
        external: &str,
        channels: &Record,
        config: NodeConfig,
    ) -> TestNode {
        let service = orgs.service(msp, member, channels);
        let mapper = mapper(orgs, &service, member);
        let identity = orgs.identity_of(member);
        let own = SelfInfo {
            pki_id: mapper.self_pki_id().clone(),
            org: service.org_by_peer_identity(&identity).expect("an organisation"),
            endpoint: external.to_owned(),
            internal_endpoint: "127.0.0.1:7051".into(),
            metadata: Bytes::new(),
            identity: identity.clone(),
        };
        let now = Instant::now();
        let core = NodeCore::new(config, own, 1, now).expect("a node");
        let random = SeededRandom::new(1);
        let mut node = TestNode { core, mapper, service, random, now, sent: Vec::new(), closed: Vec::new() };
        node.drive(NodeCore::start);
        node
    }

    pub fn handle(&mut self, event: Event) {
        self.drive(|core, cx| core.handle(event, cx));
    }

    pub fn receive(&mut self, from: &PkiId, message: SignedMessage) {
        self.handle(Event::Received { message, from: from.clone() });
    }

    /// Lets time pass, timeout by timeout.
    pub fn advance(&mut self, by: Duration) {
        let until = self.now + by;
        while let Some(at) = self.core.next_timeout().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            self.handle(Event::Timeout);
        }
        self.now = until;
    }

    fn drive(&mut self, call: impl FnOnce(&mut NodeCore, &mut Context<'_>)) {
        let mut effects = Vec::new();
        let (now, peers) = (self.now, &self.mapper);
        call(&mut self.core, &mut Context { now, random: &mut self.random, peers, effects: &mut effects });
        let mut effects = VecDeque::from(effects);
        while let Some(effect) = effects.pop_front() {
            let Some(answer) = self.carry_out(effect) else { continue };
            let mut more = Vec::new();
            let (random, effects_of) = (&mut self.random, &mut more);
            self.core.handle(answer, &mut Context { now, random, peers: &self.mapper, effects: effects_of });
            effects.extend(more);
        }
    }

    fn carry_out(&mut self, effect: Effect) -> Option<Event> {
        let service = self.service.clone();
        match effect {
            Effect::Send { to, message, .. } => self.sent.push((to, message)),
            Effect::Close(id) => self.closed.push(id),
            Effect::Verify { token, message, .. } => {
                let valid = identities::verify(&message, &self.mapper, &*service).is_ok();
                return Some(Event::Verified { token, valid });
            }
            Effect::Sign { token, message, internal_endpoint } => {
                let signed = SignedMessage::sign(message, |payload| service.sign(payload));
                let result = signed.and_then(|message| match internal_endpoint.as_str() {
                    "" => Ok(message),
                    endpoint => message.sign_secret(endpoint, |payload| service.sign(payload)),
                });
                return Some(Event::Signed { token, result });
            }
            _ => {}
        }
        None
    }
}

/// The recorded envelope.
pub fn envelope(hex: &Record) -> fabric_gossip::Result<SignedMessage> {
    SignedMessage::decode(unhex(hex.as_str().expect("hex")).into())
}
