//! The peers that are alive, as the node chooses from them.

use super::filter::select_peers;
use super::identities::Identities;
use crate::crypto::{OrgId, PkiId};
use crate::discovery::{Change, NetworkMember};
use crate::random::Random;

/// A peer that a message can go to; where it is the membership knows. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlivePeer {
    /// Who it is.
    pub pki_id: PkiId,
    /// Whether it has an endpoint for other organisations.
    pub external: bool,
    /// Its organisation, unless its identity is not known.
    pub org: Option<OrgId>,
}

impl AlivePeer {
    fn new(member: &NetworkMember, identities: &dyn Identities) -> AlivePeer {
        AlivePeer {
            pki_id: member.pki_id.clone(),
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
    peers: Vec<AlivePeer>,
}

impl AlivePeers {
    /// Takes note of a change.
    pub fn apply(&mut self, change: &Change, identities: &dyn Identities) {
        match change {
            // Who comes alive was not: nothing to look for among thousands.
            Change::Alive(member) => self.peers.push(AlivePeer::new(member, identities)),
            Change::Updated(member) => {
                if let Some(known) = self.peers.iter_mut().find(|known| known.pki_id == member.pki_id) {
                    *known = AlivePeer::new(member, identities);
                }
            }
            Change::Dead(member) | Change::Forgotten(member) => {
                self.peers.retain(|peer| peer.pki_id != member.pki_id);
            }
        }
    }

    /// Up to `count` peers that pass the filter, at random.
    pub fn select(
        &mut self,
        count: usize,
        random: &mut dyn Random,
        filter: impl FnMut(&AlivePeer) -> bool,
    ) -> Vec<AlivePeer> {
        select_peers(random, count, &mut self.peers, filter)
    }

    /// All of them, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = &AlivePeer> {
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
