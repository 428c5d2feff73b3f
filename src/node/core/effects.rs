//! What the membership wants done, and to whom messages go.

use super::{NodeCore, KEPT_ROOM};
use crate::crypto::PkiId;
use crate::discovery::{self, Change, Discovery, NetworkMember};
use crate::message::SignedMessage;
use crate::node::disclosure::OrgDisclosure;
use crate::node::event::{Asked, Context, Effect, Notice, Token};
use crate::node::forward::{Gossip, Router};
use std::sync::Arc;

impl NodeCore {
    /// Hands an event to discovery, and has done what it wants.
    pub(super) fn discover(&mut self, event: discovery::Event, cx: &mut Context<'_>) {
        self.with_discovery(cx, |discovery, cx| discovery.handle(event, cx));
    }

    pub(super) fn with_discovery<T>(
        &mut self,
        cx: &mut Context<'_>,
        call: impl FnOnce(&mut Discovery, &mut discovery::Context<'_>) -> T,
    ) -> T {
        let policy = OrgDisclosure { own_org: &self.own_org, identities: cx.identities };
        let mut wanted = std::mem::take(&mut self.wanted);
        let mut inner =
            discovery::Context { now: cx.now, random: &mut *cx.random, policy: &policy, effects: &mut wanted };
        let result = call(&mut self.discovery, &mut inner);
        wanted.drain(..).for_each(|effect| self.carry_out(effect, cx));
        wanted.shrink_to(KEPT_ROOM);
        self.wanted = wanted;
        result
    }

    fn carry_out(&mut self, effect: discovery::Effect, cx: &mut Context<'_>) {
        let asked = |token| Token(Asked::ByDiscovery(token));
        match effect {
            discovery::Effect::Verify { token, message, from } => {
                cx.effects.push(Effect::Verify { token: asked(token), message, from });
            }
            discovery::Effect::Sign { token, message, internal_endpoint } => {
                cx.effects.push(Effect::Sign { token: asked(token), message, internal_endpoint });
            }
            discovery::Effect::Gossip(message) => self.emit(Gossip { message, from: None }, cx),
            discovery::Effect::Forward { message, from } => self.emit(Gossip { message, from: Some(from) }, cx),
            discovery::Effect::Send { to, endpoint, message } => {
                cx.effects.push(Effect::Send { to, endpoint: endpoint.into(), message });
            }
            discovery::Effect::Ping { token, pki_id, endpoint } => {
                cx.effects.push(Effect::Ping { token: asked(token), pki_id, endpoint });
            }
            discovery::Effect::Identify { token, endpoint } => {
                self.seeds.asked(token, endpoint.clone());
                cx.effects.push(Effect::Handshake { token: asked(token), endpoint });
            }
            discovery::Effect::Close(id) => cx.effects.push(Effect::Close(id)),
            discovery::Effect::Changed(change) => self.on_changed(change, cx),
        }
    }

    fn on_changed(&mut self, change: Change, cx: &mut Context<'_>) {
        let was_alone = self.peers.is_empty();
        self.peers.apply(&change, cx.identities);
        match &change {
            Change::Alive(member) | Change::Updated(member) => self.note_endpoint(member, cx),
            Change::Forgotten(member) => self.renewal.forget(member),
            Change::Dead(_) => {}
        }
        if was_alone && !self.peers.is_empty() {
            // Who has just found the network need not wait its turn.
            self.timers.pull = cx.now;
            self.timers.publish_state = cx.now;
            self.timers.request_state = cx.now;
        }
        cx.effects.push(Effect::Notify(Notice::Membership(change)));
    }

    pub(super) fn emit(&mut self, gossip: Gossip, cx: &mut Context<'_>) {
        let batch = self.emitter.add(gossip, cx.now);
        self.route(batch, cx);
    }

    pub(super) fn route(&mut self, batch: Vec<Gossip>, cx: &mut Context<'_>) {
        if batch.is_empty() {
            return;
        }
        let discovery = &self.discovery;
        let router = Router {
            own_org: &self.own_org,
            identities: cx.identities,
            channels: &self.channels,
            propagate_peer_num: self.config.propagate_peer_num,
            has_external: &|id| has_external(discovery, id),
        };
        let sends = router.route(batch, &mut self.peers, cx.random);
        self.send_all(sends.into_iter().map(|(peer, message)| (peer.pki_id, message)), cx);
    }

    /// Sends to peers that are named by their PKI-ID.
    pub(super) fn send_all(&self, sends: impl IntoIterator<Item = (PkiId, SignedMessage)>, cx: &mut Context<'_>) {
        for (to, message) in sends {
            let endpoint = endpoint_of(&self.discovery, &to);
            cx.effects.push(Effect::Send { to, endpoint, message });
        }
    }
}

/// Where a member is reached: the internal endpoint if we know it, else the external one. Empty if we know neither, and then
/// only an open connection reaches it.
pub(super) fn endpoint_of(discovery: &Discovery, id: &PkiId) -> Arc<str> {
    discovery.member(id).map_or("", NetworkMember::preferred_endpoint).into()
}

/// Whether a peer, alive or not, or we ourselves, have an endpoint for other organisations.
pub(super) fn has_external(discovery: &Discovery, id: &PkiId) -> bool {
    match discovery.member(id) {
        Some(member) => !member.endpoint.is_empty(),
        None => discovery.lookup(id).is_some_and(|own| !own.endpoint.is_empty()),
    }
}
