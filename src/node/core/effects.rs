//! Effects of the membership, and the routing of messages.

use super::Context;
use super::{NodeCore, KEPT_ROOM};
use crate::crypto::PkiId;
use crate::discovery::{self, Change, DisclosurePolicy, Discovery, Effect, Event, NetworkMember, Notice};
use crate::message::SignedMessage;
use crate::node::disclosure::OrgDisclosure;
use crate::node::forward::{Gossip, Router};
use std::sync::Arc;

impl NodeCore {
    /// Passes an event to discovery and handles its effects.
    pub(super) fn discover(&mut self, event: Event, cx: &mut Context<'_>) {
        self.with_discovery(cx, |discovery, cx| discovery.handle(event, cx));
    }

    pub(super) fn with_discovery<T>(
        &mut self,
        cx: &mut Context<'_>,
        call: impl FnOnce(&mut Discovery, &mut discovery::Context<'_>) -> T,
    ) -> T {
        let policy: &dyn DisclosurePolicy = &OrgDisclosure { own_org: &self.own_org, identities: cx.peers };
        let mut wanted = std::mem::take(&mut self.wanted);
        let mut inner =
            discovery::Context { now: cx.now, random: &mut *cx.random, peers: policy, effects: &mut wanted };
        let result = call(&mut self.discovery, &mut inner);
        wanted.drain(..).for_each(|effect| self.relay(effect, cx));
        wanted.shrink_to(KEPT_ROOM);
        self.wanted = wanted;
        result
    }

    /// Passes on an effect of discovery, except those that the node handles itself.
    fn relay(&mut self, effect: Effect, cx: &mut Context<'_>) {
        match effect {
            Effect::Gossip { message, from } => return self.emit(Gossip { message, from }, cx),
            Effect::Notify(Notice::Membership(change)) => return self.on_changed(change, cx),
            Effect::Handshake { token, ref endpoint } => self.seeds.asked(token, endpoint.clone()),
            _ => {}
        }
        cx.effects.push(effect);
    }

    fn on_changed(&mut self, change: Change, cx: &mut Context<'_>) {
        let was_alone = self.peers.is_empty();
        self.peers.apply(&change, cx.peers);
        match &change {
            Change::Alive(member) | Change::Updated(member) => self.note_endpoint(member, cx),
            Change::Forgotten(member) => self.renewal.forget(member),
            Change::Dead(_) => {}
        }
        if was_alone && !self.peers.is_empty() {
            // A node that has just found the network pulls identities immediately.
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
            identities: cx.peers,
            channels: &self.channels,
            propagate_peer_num: self.config.propagate_peer_num,
            has_external: &|id| has_external(discovery, id),
        };
        let sends = router.route(batch, &mut self.peers, cx.random);
        self.send_all(sends.into_iter().map(|(peer, message)| (peer.pki_id, message)), cx);
    }

    /// Sends messages to peers named by their PKI-ID.
    pub(super) fn send_all(&self, sends: impl IntoIterator<Item = (PkiId, SignedMessage)>, cx: &mut Context<'_>) {
        for (to, message) in sends {
            let endpoint = endpoint_of(&self.discovery, &to);
            cx.effects.push(Effect::Send { to, endpoint, message });
        }
    }
}

/// Returns the endpoint where a member is reached: the internal one if we know it, else the external one. Empty if we
/// know neither; then the member is reachable only over an open connection.
pub(super) fn endpoint_of(discovery: &Discovery, id: &PkiId) -> Arc<str> {
    discovery.member(id).map_or("", NetworkMember::preferred_endpoint).into()
}

/// Returns whether a peer (alive or not, or this node) has an endpoint for other organisations.
pub(super) fn has_external(discovery: &Discovery, id: &PkiId) -> bool {
    match discovery.member(id) {
        Some(member) => !member.endpoint.is_empty(),
        None => discovery.lookup(id).is_some_and(|own| !own.endpoint.is_empty()),
    }
}
