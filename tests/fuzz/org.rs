//! The organisations of the recordings, and an authority whose keys are known here, so that made-up certificates can be
//! signed.

use bytes::Bytes;
use fabric_gossip::msp::{Msp, MspConfig, NodeOus, OuIdentifier, PemFile};
use fabric_gossip::proto::{self, msp::SerializedIdentity};
use openssl::hash::MessageDigest;
use openssl::pkey::{Id, PKey, Private};
use openssl::sign::Signer;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::sync::{Arc, LazyLock};

pub static RECORDED: LazyLock<Value> = LazyLock::new(|| parse(include_str!("../vectors/msp.json")));

/// A member of a recorded organisation: MSP id, certificate and private key.
pub fn member(name: &str) -> (&'static str, &'static str, &'static str) {
    let member = RECORDED["members"].as_array().and_then(|m| m.iter().find(|m| m["name"] == name)).expect("a member");
    let text = |key: &str| member[key].as_str().expect("text");
    (text("mspid"), text("certificate_pem"), text("private_key_pem"))
}

/// A recorded organisation.
pub fn recorded(id: &str) -> Arc<Msp> {
    let entry = RECORDED["msps"].as_array().and_then(|m| m.iter().find(|m| m["id"] == id)).expect("an MSP");
    let file = |path: &str| PemFile::new(path, entry["files"][path].as_str().expect("a file"));
    let mut config = config(entry["mspid"].as_str().expect("an MSP id"), file("cacerts/ca.pem"));
    config.intermediate_certs = match entry["files"]["intermediatecerts/ica.pem"].is_null() {
        true => Vec::new(),
        false => vec![file("intermediatecerts/ica.pem")],
    };
    Arc::new(Msp::new(config).expect("an MSP"))
}

/// An organisation with this root authority and the usual roles.
pub fn config(mspid: &str, root: PemFile) -> MspConfig {
    let role = |ou: &str| Some(OuIdentifier { organizational_unit_identifier: ou.into(), certificate: None });
    let (client, peer, admin, orderer) = (role("client"), role("peer"), role("admin"), role("orderer"));
    let node_ous = Some(NodeOus { enable: true, client, peer, admin, orderer });
    MspConfig { mspid: mspid.into(), root_certs: vec![root], node_ous, ..MspConfig::default() }
}

/// The PKI-ID that belongs to a serialized identity.
pub fn pki_id(identity: &[u8]) -> Vec<u8> {
    let identity: SerializedIdentity = proto::decode(&Bytes::copy_from_slice(identity)).unwrap_or_default();
    Sha256::new().chain_update(&identity.mspid).chain_update(&identity.id_bytes).finalize().to_vec()
}

/// Two authorities of one name, whose keys are ECDSA and Ed25519. The first one revoked serial number 66.
pub struct Authority {
    pub msp: Msp,
    ecdsa: PKey<Private>,
    ed25519: PKey<Private>,
}

pub static AUTHORITY: LazyLock<Authority> = LazyLock::new(|| {
    let key = |pem: &str| PKey::private_key_from_pem(pem.as_bytes()).expect("a key");
    let mut config = config("FuzzMSP", PemFile::new("ecdsa-ca", include_str!("authority/ecdsa-ca.pem")));
    config.root_certs.push(PemFile::new("ed25519-ca", include_str!("authority/ed25519-ca.pem")));
    config.revocation_lists.push(PemFile::new("crl", include_str!("authority/crl.pem")));
    Authority {
        msp: Msp::new(config).expect("an MSP"),
        ecdsa: key(include_str!("authority/ecdsa-ca.key")),
        ed25519: key(include_str!("authority/ed25519-ca.key")),
    }
});

impl Authority {
    /// The certificate with the authority's signature, if it has the outer form of one.
    pub fn sign(&self, certificate: &[u8]) -> Option<Vec<u8>> {
        let (content, _) = element(certificate, 0x30)?;
        let (_, tbs) = element(content, 0x30)?;
        let (_, algorithm) = element(&content[tbs.len()..], 0x30)?;
        let ed25519 = algorithm.ends_with(&[0x2b, 0x65, 0x70]);
        let (key, digest) = match ed25519 {
            true => (&self.ed25519, None),
            false => (&self.ecdsa, Some(MessageDigest::sha256())),
        };
        let mut signer = match digest {
            Some(digest) => Signer::new(digest, key),
            None => Signer::new_without_digest(key),
        }
        .expect("a signer");
        debug_assert!(ed25519 == (key.id() == Id::ED25519));
        let signature = signer.sign_oneshot_to_vec(tbs).expect("a signature");
        Some(encode(0x30, &[tbs, algorithm, &encode(0x03, &[&[0], &signature])]))
    }
}

/// Content and whole of the element that stands first.
fn element(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&found, &first) = (bytes.first()?, bytes.get(1)?);
    let digits = match first {
        0..=0x7f => 0,
        0x81..=0x84 => usize::from(first & 0x7f),
        _ => return None,
    };
    let header = 2 + digits;
    let len = match digits {
        0 => usize::from(first),
        _ => bytes.get(2..header)?.iter().fold(0, |len, d| len << 8 | usize::from(*d)),
    };
    let whole = bytes.get(..header.checked_add(len)?)?;
    (found == tag).then_some((&whole[header..], whole))
}

fn encode(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let len: usize = parts.iter().map(|p| p.len()).sum();
    let mut out = vec![tag];
    match len {
        0..=0x7f => out.push(len as u8),
        0x80..=0xff => out.extend([0x81, len as u8]),
        0x100..=0xffff => out.extend([0x82, (len >> 8) as u8, len as u8]),
        _ => out.extend([0x83, (len >> 16) as u8, (len >> 8) as u8, len as u8]),
    }
    out.extend(parts.concat());
    out
}

pub fn parse(json: &str) -> Value {
    serde_json::from_str(json).expect("JSON")
}
