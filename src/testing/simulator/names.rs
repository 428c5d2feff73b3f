//! Simulated names: PKI-IDs that contain the node's number, identities derived from them, endpoints with a number, and
//! signatures without cryptographic value.

use crate::crypto::{OrgId, PeerIdentity, PkiId};

/// Returns the organisation with this number.
pub(super) fn org(number: u16) -> OrgId {
    OrgId::new(format!("Org{}MSP", number + 1))
}

/// Returns a PKI-ID composed of number, organisation and generation.
pub(super) fn pki_id(number: usize, org: u16, generation: u32) -> PkiId {
    let mut id = Vec::with_capacity(32);
    id.extend((number as u32).to_be_bytes());
    id.extend(org.to_be_bytes());
    id.extend(generation.to_be_bytes());
    id.resize(32, 0x5a);
    PkiId::from(id)
}

pub(super) fn parts(pki_id: &PkiId) -> Option<(usize, u16)> {
    let number = pki_id.as_bytes().first_chunk::<4>()?;
    let org = pki_id.as_bytes().get(4..)?.first_chunk::<2>()?;
    Some((u32::from_be_bytes(*number) as usize, u16::from_be_bytes(*org)))
}

pub(super) fn identity(pki_id: &PkiId, size: usize) -> PeerIdentity {
    let mut identity = pki_id.as_bytes().to_vec();
    identity.resize(size.max(identity.len()), b'.');
    PeerIdentity::from(identity)
}

/// Returns a placeholder signature of the maximum length of a P-256 one. It begins with the length of the payload.
pub(super) fn signature(payload: &[u8]) -> Vec<u8> {
    let mut signature = payload.len().to_be_bytes().to_vec();
    signature.resize(72, 0);
    signature
}

/// Returns the number of the node at an endpoint, internal or external.
pub(super) fn node_at(endpoint: &str) -> Option<u32> {
    endpoint.strip_prefix('n')?.split(['.', ':']).next()?.parse().ok()
}

/// The identities that a node knows, as a bit set of node numbers.
#[derive(Default)]
pub(super) struct Known(Vec<u64>);

impl Known {
    pub(super) fn insert(&mut self, node: usize) {
        if self.0.len() <= node / 64 {
            self.0.resize(node / 64 + 1, 0);
        }
        self.0[node / 64] |= 1 << (node % 64);
    }

    pub(super) fn remove(&mut self, node: usize) {
        if let Some(word) = self.0.get_mut(node / 64) {
            *word &= !(1 << (node % 64));
        }
    }

    pub(super) fn contains(&self, node: usize) -> bool {
        self.0.get(node / 64).is_some_and(|word| word & (1 << (node % 64)) != 0)
    }
}
