//! Identities: ours as others pull it, theirs as we pull them, and their removal.

use super::effects::has_external;
use super::Context;
use super::{NodeCore, Pending};
use crate::crypto::{OrgId, PkiId};
use crate::discovery::{Effect, Event};
use crate::journal;
use crate::message::SignedMessage;
use bytes::Bytes;

impl NodeCore {
    pub(super) fn on_identity_pull(&mut self, message: &SignedMessage, from: &PkiId, cx: &mut Context<'_>) {
        let org = cx.peers.org(from);
        let (own_org, discovery) = (&self.own_org, &self.discovery);
        // Others get identities of their own organisation and of ours, and only of peers that they may contact.
        let may_have = |id: &Bytes| match &org {
            None => false,
            Some(org) if org == own_org => true,
            Some(org) => {
                let (id, shared) = (PkiId::new(id.clone()), |of: OrgId| of == *own_org || of == *org);
                cx.peers.org(&id).is_some_and(shared) && has_external(discovery, &id)
            }
        };
        let (answer, items) = self.certs.handle(from, message, cx.now, may_have);
        self.send_all(answer, cx);
        for item in items {
            self.verify(item.clone(), from, Pending::Identity(item), cx);
        }
    }

    pub(super) fn pull_identities(&mut self, cx: &mut Context<'_>) {
        self.sign_own_identity(cx);
        let peers = self.peers.select(self.config.pull_peer_num, cx.random, |_| true);
        let peers = peers.into_iter().map(|peer| peer.pki_id).collect();
        let hellos = self.certs.start_round(peers, cx.now, cx.random);
        self.send_all(hellos, cx);
    }

    pub(super) fn sign_own_identity(&mut self, cx: &mut Context<'_>) {
        if let Some(message) = self.own_identity.clone() {
            self.sign(message, Pending::OwnIdentity, cx);
        }
    }

    /// Handles the removal of an identity: its peer is forgotten too.
    pub(super) fn on_identity_purged(&mut self, id: PkiId, cx: &mut Context<'_>) {
        if id == self.own {
            return journal::error!("our own identity is not valid any more");
        }
        self.certs.remove(&id);
        self.channels.values_mut().for_each(|channel| channel.retain_states(|known| *known != id));
        self.discover(Event::IdentityPurged(id.clone()), cx);
        cx.effects.push(Effect::Close(id));
    }
}
