//! The alive peers from which the node selects recipients.

use super::filter::select_peers;
use super::identities::Identities;
use crate::crypto::{OrgId, PkiId};
use crate::discovery::{Change, NetworkMember};
use crate::random::Random;

/// A possible recipient; its endpoint is looked up in the membership. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlivePeer {
    /// Its PKI-ID.
    pub pki_id: PkiId,
    /// Whether it has an endpoint for other organisations.
    pub external: bool,
    /// Its organisation; `None` if its identity is not known.
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

    /// Returns whether it belongs to this organisation.
    pub fn is_of(&self, org: &OrgId) -> bool {
        self.org.as_ref() == Some(org)
    }
}

/// All alive peers, updated by the membership's changes.
#[derive(Debug, Default)]
pub struct AlivePeers {
    /// In an order that each selection shuffles.
    peers: Vec<AlivePeer>,
}

impl AlivePeers {
    /// Applies a change.
    pub fn apply(&mut self, change: &Change, identities: &dyn Identities) {
        match change {
            // A peer that becomes alive was not in the list, so no search is needed.
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

    /// Returns up to `count` random peers that pass the filter.
    pub fn select(
        &mut self,
        count: usize,
        random: &mut dyn Random,
        filter: impl FnMut(&AlivePeer) -> bool,
    ) -> Vec<AlivePeer> {
        select_peers(random, count, &mut self.peers, filter)
    }

    /// Returns all peers, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = &AlivePeer> {
        self.peers.iter()
    }

    /// Returns the number of peers.
    pub fn len(&self) -> usize {
        self.peers.len()
    }

    /// Returns whether there are no peers.
    pub fn is_empty(&self) -> bool {
        self.peers.is_empty()
    }
}
