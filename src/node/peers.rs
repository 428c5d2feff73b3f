//! The peers that are alive, as the node chooses from them.

use super::filter::select_peers;
use super::identities::Identities;
use crate::crypto::{OrgId, PkiId};
use crate::discovery::{Change, NetworkMember};
use crate::random::Random;
use std::collections::HashSet;
use std::sync::Arc;

/// A peer that a message can go to. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Who it is.
    pub pki_id: PkiId,
    /// Where it is reached: the internal endpoint if we know it, else the external one. Empty if we know neither, and
    /// then only an open connection reaches it.
    pub endpoint: Arc<str>,
    /// Whether it has an endpoint for other organisations.
    pub external: bool,
    /// Its organisation, unless its identity is not known.
    pub org: Option<OrgId>,
}

impl Peer {
    fn new(member: &NetworkMember, identities: &dyn Identities) -> Peer {
        Peer {
            pki_id: member.pki_id.clone(),
            endpoint: member.preferred_endpoint().into(),
            external: !member.endpoint.is_empty(),
            org: identities.org(&member.pki_id),
        }
    }

    /// Whether it belongs to this organisation.
    pub fn is_of(&self, org: &OrgId) -> bool {
        self.org.as_ref() == Some(org)
    }
}

/// All peers that are alive, kept by what the membership tells of its changes.
#[derive(Debug, Default)]
pub struct AlivePeers {
    /// In an order that choosing keeps shuffling.
    peers: Vec<Peer>,
    /// Who is among them, so that only changes, which are rare, look through all.
    known: HashSet<PkiId>,
}

impl AlivePeers {
    /// Takes note of a change.
    pub fn apply(&mut self, change: &Change, identities: &dyn Identities) {
        match change {
            Change::Alive(member) | Change::Updated(member) => {
                let peer = Peer::new(member, identities);
                if self.known.insert(peer.pki_id.clone()) {
                    self.peers.push(peer);
                } else if let Some(known) = self.peers.iter_mut().find(|known| known.pki_id == peer.pki_id) {
                    *known = peer;
                }
            }
            Change::Dead(member) | Change::Forgotten(member) => {
                if self.known.remove(&member.pki_id) {
                    self.peers.retain(|peer| peer.pki_id != member.pki_id);
                }
            }
        }
    }

    /// Up to `count` peers that pass the filter, at random.
    pub fn select(&mut self, count: usize, random: &mut dyn Random, filter: impl FnMut(&Peer) -> bool) -> Vec<Peer> {
        select_peers(random, count, &mut self.peers, filter)
    }

    /// All of them, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = &Peer> {
        self.peers.iter()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.peers.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.peers.is_empty()
    }
}
