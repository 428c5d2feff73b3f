//! Certificates, and two crypto services: one that costs nothing, and one with real signatures.

use fabric_gossip::crypto::{CryptoService, OrgId, PeerIdentity, PkiId, SecurityAdvisor};
use fabric_gossip::rpc::{Pem, Tls, TlsConfig};
use fabric_gossip::testing::cryptogen::Org;
use fabric_gossip::{Error, ErrorKind, Result};
use openssl::hash::MessageDigest;
use openssl::pkey::{PKey, Private};
use openssl::sign::{Signer, Verifier};
use openssl::x509::X509;
use sha2::{Digest, Sha256};
use std::time::SystemTime;

/// As long as an ECDSA signature over P-256.
pub const SIGNATURE: [u8; 71] = [0x30; 71];

/// PEM texts of one organisation and one member.
pub struct Certificates {
    pub ca: String,
    pub cert: String,
    pub key: String,
    pub tls_ca: String,
    pub tls_cert: String,
    pub tls_key: String,
}

impl Certificates {
    pub fn new() -> Certificates {
        let org = Org::new("Org1MSP", "org1.example.com").expect("an organisation");
        let member = org.peer("peer0").expect("a member");
        Certificates {
            ca: member.ca_cert,
            cert: member.cert,
            key: member.key,
            tls_ca: member.tls_ca_cert,
            tls_cert: member.tls_cert,
            tls_key: member.tls_key,
        }
    }

    pub fn tls(&self) -> Tls {
        tls(&self.tls_cert, &self.tls_key, &self.tls_ca)
    }
}

pub fn tls(cert: &str, key: &str, roots: &str) -> Tls {
    Tls::new(TlsConfig::new(Pem::new("cert", cert), Pem::new("key", key), Pem::new("roots", roots))).expect("sound PEM")
}

/// Every identity is valid and every signature the same: for what is not to measure cryptography.
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

/// Identities are certificates (PEM) of one authority, signatures ECDSA over P-256 with SHA-256: the work that a handshake
/// with an MSP does.
pub struct Ecdsa {
    key: PKey<Private>,
    ca: X509,
}

impl Ecdsa {
    pub fn new(certificates: &Certificates) -> Ecdsa {
        Ecdsa {
            key: PKey::private_key_from_pem(certificates.key.as_bytes()).expect("sound PEM"),
            ca: X509::from_pem(certificates.ca.as_bytes()).expect("sound PEM"),
        }
    }
}

fn failed(e: openssl::error::ErrorStack) -> Error {
    Error::new(ErrorKind::Signature, "the cryptography library failed").source(e)
}

impl CryptoService for Ecdsa {
    fn pki_id(&self, identity: &PeerIdentity) -> Option<PkiId> {
        id(identity)
    }

    fn validate_identity(&self, identity: &PeerIdentity) -> Result<()> {
        let issued = || X509::from_pem(identity.as_bytes())?.verify(&*self.ca.public_key()?);
        match issued().map_err(failed)? {
            true => Ok(()),
            false => Err(Error::new(ErrorKind::Identity, "not issued by our authority")),
        }
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>> {
        let sign = || Signer::new(MessageDigest::sha256(), &self.key)?.sign_oneshot_to_vec(message);
        sign().map_err(failed)
    }

    fn verify(&self, identity: &PeerIdentity, signature: &[u8], message: &[u8]) -> Result<()> {
        let verify = || {
            let key = X509::from_pem(identity.as_bytes())?.public_key()?;
            let mut verifier = Verifier::new(MessageDigest::sha256(), &key)?;
            verifier.verify_oneshot(signature, message)
        };
        match verify().map_err(failed)? {
            true => Ok(()),
            false => Err(Error::new(ErrorKind::Signature, "wrong signature")),
        }
    }

    fn expiration(&self, _: &PeerIdentity) -> Result<Option<SystemTime>> {
        Ok(None)
    }
}
