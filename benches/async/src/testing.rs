//! An organisation made up on the spot, for tests and for the benchmark when it is given no certificates.

use crate::crypto::{sha256, Crypto, Msp, PkiId};
use crate::error::{Error, ErrorKind, Result};
use crate::tls::{Provider, Tls};
use bytes::Bytes;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, KeyUsagePurpose};
use std::path::Path;

/// An organisation with an authority, which certifies identities and TLS pairs alike.
pub struct Org {
    mspid: String,
    ca: CertifiedIssuer<'static, KeyPair>,
}

/// A member: all of it PEM.
#[derive(Clone)]
#[allow(missing_docs)]
pub struct Member {
    pub mspid: String,
    pub ca: String,
    pub cert: String,
    pub key: String,
    pub tls_ca: String,
    pub tls_cert: String,
    pub tls_key: String,
}

impl Org {
    /// A new one.
    pub fn new(mspid: &str) -> Org {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        params.distinguished_name.push(rcgen::DnType::CommonName, format!("ca.{mspid}"));
        let key = KeyPair::generate().expect("a key");
        Org { mspid: mspid.into(), ca: CertifiedIssuer::self_signed(params, key).expect("a certificate") }
    }

    /// A new member, reachable on loopback.
    pub fn member(&self, name: &str) -> Member {
        let issue = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|n| (*n).into()).collect();
            let mut params = CertificateParams::new(names).expect("names");
            params.distinguished_name.push(rcgen::DnType::CommonName, name);
            let key = KeyPair::generate().expect("a key");
            let cert = params.signed_by(&key, &self.ca).expect("a certificate");
            (cert.pem(), key.serialize_pem())
        };
        let (cert, key) = issue(&[]);
        let (tls_cert, tls_key) = issue(&["localhost", "127.0.0.1"]);
        let (ca, mspid) = (self.ca.pem(), self.mspid.clone());
        Member { mspid, tls_ca: ca.clone(), ca, cert, key, tls_cert, tls_key }
    }
}

impl Member {
    /// Reads `mspid`, `ca.pem`, `cert.pem`, `key.pem`, `tls-ca.pem`, `tls-cert.pem` and `tls-key.pem` of a folder.
    pub fn read(folder: &Path) -> Result<Member> {
        let read = |name: &str| {
            let path = folder.join(name);
            std::fs::read_to_string(&path)
                .map_err(|e| Error::new(ErrorKind::Config, format!("cannot read {}: {e}", path.display())))
        };
        Ok(Member {
            mspid: read("mspid")?.trim().into(),
            ca: read("ca.pem")?,
            cert: read("cert.pem")?,
            key: read("key.pem")?,
            tls_ca: read("tls-ca.pem")?,
            tls_cert: read("tls-cert.pem")?,
            tls_key: read("tls-key.pem")?,
        })
    }

    /// The identity as it travels.
    pub fn identity(&self) -> Bytes {
        Msp::identity(&self.mspid, self.cert.as_bytes())
    }

    /// The crypto service of this member.
    pub fn msp(&self) -> Msp {
        Msp::new(&self.mspid, self.ca.as_bytes(), self.key.as_bytes()).expect("sound PEM")
    }

    /// Its TLS pair.
    pub fn tls(&self, provider: Provider) -> Tls {
        Tls::new(provider, self.tls_cert.as_bytes(), self.tls_key.as_bytes(), self.tls_ca.as_bytes())
            .expect("sound PEM")
    }
}

/// Accepts every peer, and signs with a constant as long as an ECDSA signature over P-256: for measurements without
/// cryptography.
pub struct Free;

/// The signature that [`Free`] makes.
pub const SIGNATURE: [u8; 71] = [0x30; 71];

/// An identity for [`Free`], as long as one with a certificate.
pub fn free_identity(name: &str) -> Bytes {
    let mut bytes = name.as_bytes().to_vec();
    bytes.resize(900, b'.');
    bytes.into()
}

impl Crypto for Free {
    fn pki_id(&self, identity: &Bytes) -> Option<PkiId> {
        Some(PkiId(sha256(identity)))
    }

    fn validate(&self, _: &Bytes) -> Result<()> {
        Ok(())
    }

    fn sign(&self, _: &[u8]) -> Result<Vec<u8>> {
        Ok(SIGNATURE.to_vec())
    }

    fn verify(&self, _: &Bytes, _: &[u8], _: &[u8]) -> Result<()> {
        Ok(())
    }
}
