//! Routing of gossiped messages: by organisation, external endpoint, tag and channel.

use super::channel::Channel;
use super::identities::Identities;
use super::peers::{AlivePeer, AlivePeers};
use crate::crypto::{OrgId, PkiId};
use crate::journal;
use crate::message::{Content, SignedMessage};
use crate::proto::gossip::{AliveMessage, StateInfo};
use crate::random::Random;
use bytes::Bytes;
use std::collections::BTreeMap;

/// A message to gossip.
#[derive(Clone, Debug)]
pub(super) struct Gossip {
    pub(super) message: SignedMessage,
    /// The peer that it came from, which does not get it back; `None` for our own messages.
    pub(super) from: Option<PkiId>,
}

impl Gossip {
    fn goes_back_to(&self, peer: &AlivePeer) -> bool {
        self.from.as_ref() == Some(&peer.pki_id)
    }
}

/// The routing rules and the state that they depend on.
pub(super) struct Router<'a> {
    pub(super) own_org: &'a OrgId,
    pub(super) identities: &'a dyn Identities,
    pub(super) channels: &'a BTreeMap<Bytes, Channel>,
    /// Number of peers that a message is pushed to.
    pub(super) propagate_peer_num: usize,
    /// Returns whether a peer, alive or not, has an endpoint for other organisations.
    pub(super) has_external: &'a dyn Fn(&PkiId) -> bool,
}

/// Messages and their recipients.
pub(super) type Sends = Vec<(AlivePeer, SignedMessage)>;

impl Router<'_> {
    /// Routes a batch by the rules of Fabric's `gossipBatch`. Within a batch, the blocks of a channel go to the same
    /// peers, and so do the messages restricted to the organisation.
    pub(super) fn route(&self, batch: Vec<Gossip>, peers: &mut AlivePeers, random: &mut dyn Random) -> Sends {
        let mut sends = Sends::new();
        let mut blocks: BTreeMap<Bytes, Vec<Gossip>> = BTreeMap::new();
        let mut of_org = Vec::new();
        for gossip in batch {
            match gossip.message.content() {
                Some(Content::DataMsg(_)) => {
                    blocks.entry(gossip.message.message().channel.clone()).or_default().push(gossip);
                }
                Some(Content::StateInfo(info)) => self.route_state_info(&gossip, info, peers, random, &mut sends),
                Some(Content::AliveMsg(alive)) => {
                    let org = self.identities.org(&origin(alive));
                    let endpoint = alive.membership.as_ref().is_some_and(|member| !member.endpoint.is_empty());
                    match org {
                        Some(org) if org == *self.own_org && !endpoint => of_org.push(gossip),
                        Some(org) => self.route_alive(&gossip, &org, peers, random, &mut sends),
                        None => {}
                    }
                }
                _ if gossip.message.message().is_org_restricted() => of_org.push(gossip),
                _ => journal::warning!("no peer to gossip to: {}", gossip.message),
            }
        }
        for (name, blocks) in blocks {
            let Some(channel) = self.channels.get(&name) else { continue };
            self.route_alike(blocks, |peer| channel.has_peer(peer), peers, random, &mut sends);
        }
        self.route_alike(of_org, |_| true, peers, random, &mut sends);
        sends
    }

    /// Selects the same peers of our organisation for all messages; no message goes back to the peer that it came from.
    fn route_alike(
        &self,
        batch: Vec<Gossip>,
        filter: impl Fn(&AlivePeer) -> bool,
        peers: &mut AlivePeers,
        random: &mut dyn Random,
        sends: &mut Sends,
    ) {
        if batch.is_empty() {
            return;
        }
        let chosen = peers.select(self.propagate_peer_num, random, |peer| peer.is_of(self.own_org) && filter(peer));
        for gossip in batch {
            let to = chosen.iter().filter(|peer| !gossip.goes_back_to(peer));
            sends.extend(to.map(|peer| (peer.clone(), gossip.message.clone())));
        }
    }

    /// Routes state information. That of a peer with an external endpoint goes to the organisations of its channel; all
    /// other goes only to ours.
    fn route_state_info(
        &self,
        gossip: &Gossip,
        info: &StateInfo,
        peers: &mut AlivePeers,
        random: &mut dyn Random,
        sends: &mut Sends,
    ) {
        let pki_id = PkiId::new(info.pki_id.clone());
        let channel = self.channels.values().find(|channel| channel.has_mac(&pki_id, &info.channel_MAC));
        let channel = channel.filter(|_| (self.has_external)(&pki_id));
        let may_have = |peer: &AlivePeer| match channel {
            Some(channel) => channel.has_org(peer.org.as_ref()),
            None => peer.is_of(self.own_org),
        };
        let chosen = peers.select(self.propagate_peer_num, random, |peer| may_have(peer) && !gossip.goes_back_to(peer));
        sends.extend(chosen.into_iter().map(|peer| (peer, gossip.message.clone())));
    }

    /// Routes alive messages. Those of our organisation go to any peer. Those of another organisation go to that
    /// organisation and to ours, but only to peers with an external endpoint. The secret envelope stays in our
    /// organisation.
    fn route_alive(
        &self,
        gossip: &Gossip,
        org: &OrgId,
        peers: &mut AlivePeers,
        random: &mut dyn Random,
        sends: &mut Sends,
    ) {
        let ours = org == self.own_org;
        let may_have = |peer: &AlivePeer| ours || peer.is_of(self.own_org) || peer.is_of(org);
        let chosen = peers.select(self.propagate_peer_num, random, |peer| may_have(peer) && !gossip.goes_back_to(peer));
        for peer in chosen.into_iter().filter(|peer| ours || peer.external) {
            let within = peer.is_of(self.own_org);
            let message = if within { gossip.message.clone() } else { gossip.message.without_secret() };
            sends.push((peer, message));
        }
    }
}

fn origin(alive: &AliveMessage) -> PkiId {
    alive.membership.as_ref().map(|member| PkiId::new(member.pki_id.clone())).unwrap_or_default()
}
