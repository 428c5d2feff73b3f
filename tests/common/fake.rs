//! Cryptography as in Fabric's own tests: PKI-ID, identity and name are the same bytes, a signature is a keyed hash.

use fabric_gossip::crypto::{CryptoService, OrgId, PeerIdentity, PkiId, SecurityAdvisor};
use fabric_gossip::{Error, ErrorKind, Result};
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// The signature of `name` over `message`.
pub fn signature(name: &[u8], message: &[u8]) -> Vec<u8> {
    let length = (name.len() as u64).to_be_bytes();
    Sha256::new().chain_update(length).chain_update(name).chain_update(message).finalize().to_vec()
}

/// The organisation of each peer of one test, and the revoked peers. Clones share the same data.
#[derive(Clone, Default)]
pub struct World(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    orgs: HashMap<Vec<u8>, OrgId>,
    revoked: HashSet<Vec<u8>>,
}

impl World {
    /// Moves a peer to another organisation than the one that all are in.
    pub fn set_org(&self, name: &str, org: &str) {
        self.0.lock().orgs.insert(name.into(), OrgId::new(org));
    }

    /// From now on this identity is not valid.
    pub fn revoke(&self, name: &str) {
        self.0.lock().revoked.insert(name.into());
    }

    /// The crypto service of one peer.
    pub fn crypto(&self, name: &str) -> Arc<dyn CryptoService> {
        Arc::new(Fake { name: name.into(), world: self.clone() })
    }
}

impl SecurityAdvisor for World {
    fn org_by_peer_identity(&self, identity: &PeerIdentity) -> Option<OrgId> {
        Some(self.0.lock().orgs.get(identity.as_bytes()).cloned().unwrap_or_else(|| OrgId::new("everybody")))
    }
}

struct Fake {
    name: Vec<u8>,
    world: World,
}

impl CryptoService for Fake {
    fn pki_id(&self, identity: &PeerIdentity) -> Option<PkiId> {
        (!identity.is_empty()).then(|| PkiId::new(identity.to_bytes()))
    }

    fn validate_identity(&self, identity: &PeerIdentity) -> Result<()> {
        match self.world.0.lock().revoked.contains(identity.as_bytes()) {
            true => Err(Error::new(ErrorKind::Identity, "revoked")),
            false => Ok(()),
        }
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>> {
        Ok(signature(&self.name, message))
    }

    fn verify(&self, identity: &PeerIdentity, given: &[u8], message: &[u8]) -> Result<()> {
        match given == signature(identity.as_bytes(), message) {
            true => Ok(()),
            false => Err(Error::new(ErrorKind::Signature, "wrong signature")),
        }
    }

    fn expiration(&self, _: &PeerIdentity) -> Result<Option<SystemTime>> {
        Ok(Some(SystemTime::now() + Duration::from_secs(3600)))
    }
}
