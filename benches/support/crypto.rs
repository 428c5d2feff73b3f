//! Certificates, and a crypto service that costs nothing.

use fabric_gossip::crypto::{CryptoService, OrgId, PeerIdentity, PkiId, SecurityAdvisor};
use fabric_gossip::testing::cryptogen::{Member, Org};
use fabric_gossip::transport::{Pem, Tls, TlsConfig};
use fabric_gossip::Result;
use sha2::{Digest, Sha256};
use std::time::SystemTime;

/// As long as an ECDSA signature over P-256.
pub const SIGNATURE: [u8; 71] = [0x30; 71];

/// One organisation, and the TLS pair of one of its members, which all here use.
pub struct Certificates {
    pub org: Org,
    pub member: Member,
}

impl Certificates {
    pub fn new() -> Certificates {
        let org = Org::new("Org1MSP", "org1.example.com").expect("an organisation");
        let member = org.peer("peer0").expect("a member");
        Certificates { org, member }
    }

    pub fn tls(&self) -> Tls {
        tls(&self.member.tls_cert, &self.member.tls_key, &self.member.tls_ca_cert)
    }
}

pub fn tls(cert: &str, key: &str, roots: &str) -> Tls {
    Tls::new(TlsConfig::new(Pem::new("cert", cert), Pem::new("key", key), Pem::new("roots", roots))).expect("sound PEM")
}

/// Every identity is valid and every signature the same: for measurements without cryptography.
pub struct Free;

/// An identity for [`Free`], as long as a serialized one with a certificate.
pub fn free_identity(name: &str) -> PeerIdentity {
    let mut bytes = name.as_bytes().to_vec();
    bytes.resize(900, b'.');
    PeerIdentity::from(bytes)
}

fn id(identity: &PeerIdentity) -> Option<PkiId> {
    Some(PkiId::from(Sha256::digest(identity).to_vec()))
}

impl CryptoService for Free {
    fn pki_id(&self, identity: &PeerIdentity) -> Option<PkiId> {
        id(identity)
    }

    fn validate_identity(&self, _: &PeerIdentity) -> Result<()> {
        Ok(())
    }

    fn sign(&self, _: &[u8]) -> Result<Vec<u8>> {
        Ok(SIGNATURE.to_vec())
    }

    fn verify(&self, _: &PeerIdentity, _: &[u8], _: &[u8]) -> Result<()> {
        Ok(())
    }

    fn expiration(&self, _: &PeerIdentity) -> Result<Option<SystemTime>> {
        Ok(None)
    }
}

impl SecurityAdvisor for Free {
    fn org_by_peer_identity(&self, _: &PeerIdentity) -> Option<OrgId> {
        Some(OrgId::new("Org1MSP"))
    }
}
