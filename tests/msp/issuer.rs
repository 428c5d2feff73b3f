//! An authority that issues certificates that no sound one would: any key, any signature, lists of revoked
//! certificates.

use fabric_gossip::crypto::PeerIdentity;
use fabric_gossip::msp::{serialized_identity, Msp, MspConfig, MspVersion, NodeOus, OuIdentifier, PemFile};
use openssl::asn1::{Asn1Integer, Asn1Time};
use openssl::bn::{BigNum, BigNumContext};
use openssl::ec::{EcGroup, EcKey};
use openssl::ecdsa::EcdsaSig;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{HasPublic, PKey, PKeyRef, Private};
use openssl::sign::Signer;
use openssl::x509::extension::{AuthorityKeyIdentifier, BasicConstraints, KeyUsage, SubjectKeyIdentifier};
use openssl::x509::{X509Builder, X509NameBuilder, X509};

pub const MSPID: &str = "IssuerMSP";

pub const ECDSA_WITH_SHA256: [u8; 10] = [0x06, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];

pub struct Issuer {
    pub key: PKey<Private>,
    pub cert: X509,
}

pub fn ec_key(curve: Nid) -> PKey<Private> {
    PKey::from_ec_key(EcKey::generate(&EcGroup::from_curve_name(curve).unwrap()).unwrap()).unwrap()
}

impl Issuer {
    /// A root authority with a P-256 key.
    pub fn new() -> Issuer {
        Issuer::with_key(ec_key(Nid::X9_62_PRIME256V1))
    }

    pub fn with_key(key: PKey<Private>) -> Issuer {
        let cert = build(1, "ca", &key, None, &key);
        Issuer { key, cert }
    }

    /// A certificate of a peer with this key.
    pub fn issue<T: HasPublic>(&self, serial: u32, key: &PKeyRef<T>) -> X509 {
        build(serial, "peer", key, Some(&self.cert), &self.key)
    }

    /// The organisation with these revocation lists (DER).
    pub fn msp(&self, version: MspVersion, lists: &[Vec<u8>]) -> Msp {
        let role = |ou: &str| Some(OuIdentifier { organizational_unit_identifier: ou.into(), certificate: None });
        let (client, peer, admin) = (role("client"), role("peer"), role("admin"));
        let config = MspConfig {
            mspid: MSPID.into(),
            version,
            root_certs: vec![PemFile::new("ca", self.cert.to_pem().unwrap())],
            revocation_lists: lists.iter().map(|list| PemFile::new("crl", list.clone())).collect(),
            node_ous: Some(NodeOus { enable: true, client, peer, admin, orderer: None }),
            ..MspConfig::default()
        };
        Msp::new(config).expect("an MSP")
    }

    /// Returns a list that revokes this serial number, with the signature that `sign` makes of its content.
    pub fn revoke(&self, serial: u8, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> Vec<u8> {
        self.revoke_by(&der(0x30, &[&ECDSA_WITH_SHA256]), serial, sign)
    }

    /// As [`revoke`](Self::revoke), with this AlgorithmIdentifier.
    pub fn revoke_by(&self, algorithm: &[u8], serial: u8, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> Vec<u8> {
        self.list(algorithm, &[2, 1, serial], sign)
    }

    /// Returns a list that revokes this serial number, an INTEGER.
    pub fn list(&self, algorithm: &[u8], serial: &[u8], sign: impl FnOnce(&[u8]) -> Vec<u8>) -> Vec<u8> {
        let time = der(0x17, &[b"200101000000Z"]);
        let entry = der(0x30, &[serial, &time]);
        let key_id = der(0x30, &[&der(0x80, &[self.cert.subject_key_id().unwrap().as_slice()])]);
        let extension = der(0x30, &[&[0x06, 3, 0x55, 0x1d, 0x23], &der(0x04, &[&key_id])]);
        let extensions = der(0xa0, &[&der(0x30, &[&extension])]);
        let issuer = self.cert.subject_name().to_der().unwrap();
        let content = der(0x30, &[&[2, 1, 1], algorithm, &issuer, &time, &der(0x30, &[&entry]), &extensions]);
        let signature = sign(&content);
        der(0x30, &[&content, algorithm, &der(0x03, &[&[0], &signature])])
    }

    /// Its signature over this content.
    pub fn sign(&self, content: &[u8]) -> Vec<u8> {
        self.sign_over(MessageDigest::sha256(), content)
    }

    /// Its signature over this content's hash.
    pub fn sign_over(&self, digest: MessageDigest, content: &[u8]) -> Vec<u8> {
        Signer::new(digest, &self.key).unwrap().sign_oneshot_to_vec(content).unwrap()
    }

    /// The certificate (DER) with another AlgorithmIdentifier, signed anew. Before it was `old`.
    pub fn sign_by(&self, old: &[u8], algorithm: &[u8], digest: MessageDigest, cert: &X509) -> Vec<u8> {
        let content = signed_content(&cert.to_der().unwrap());
        let at = content.windows(old.len()).position(|part| part == old).unwrap();
        let content = der(0x30, &[&content[..at], algorithm, &content[at + old.len()..]]);
        der(0x30, &[&content, algorithm, &der(0x03, &[&[0], &self.sign_over(digest, &content)])])
    }
}

fn build<T: HasPublic>(serial: u32, ou: &str, key: &PKeyRef<T>, issuer: Option<&X509>, by: &PKey<Private>) -> X509 {
    let mut name = X509NameBuilder::new().unwrap();
    name.append_entry_by_nid(Nid::ORGANIZATIONALUNITNAME, ou).unwrap();
    name.append_entry_by_nid(Nid::COMMONNAME, &format!("{ou}{serial}")).unwrap();
    let name = name.build();
    let mut b = X509Builder::new().unwrap();
    b.set_version(2).unwrap();
    b.set_serial_number(&Asn1Integer::from_bn(&BigNum::from_u32(serial).unwrap()).unwrap()).unwrap();
    b.set_subject_name(&name).unwrap();
    b.set_issuer_name(issuer.map_or(&name, |i| i.subject_name())).unwrap();
    b.set_pubkey(key).unwrap();
    b.set_not_before(&Asn1Time::days_from_now(0).unwrap()).unwrap();
    b.set_not_after(&Asn1Time::days_from_now(30).unwrap()).unwrap();
    let issuer = issuer.map(|i| &**i);
    match issuer {
        None => {
            b.append_extension(BasicConstraints::new().critical().ca().build().unwrap()).unwrap();
            b.append_extension(KeyUsage::new().critical().key_cert_sign().crl_sign().build().unwrap()).unwrap();
            let id = SubjectKeyIdentifier::new().build(&b.x509v3_context(None, None)).unwrap();
            b.append_extension(id).unwrap();
        }
        Some(_) => {
            let id = AuthorityKeyIdentifier::new().keyid(true).build(&b.x509v3_context(issuer, None)).unwrap();
            b.append_extension(id).unwrap();
        }
    }
    b.sign(by, MessageDigest::sha256()).unwrap();
    b.build()
}

/// An element with this tag, made of these parts.
pub fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let len = content.len();
    let header = match len {
        0..=0x7f => vec![tag, len as u8],
        0x80..=0xff => vec![tag, 0x81, len as u8],
        _ => vec![tag, 0x82, (len >> 8) as u8, len as u8],
    };
    [header, content].concat()
}

/// Returns the signed part of a certificate.
pub fn signed_content(cert: &[u8]) -> Vec<u8> {
    let content = |element: &[u8]| {
        let digits = if element[1] < 0x80 { 0 } else { usize::from(element[1] & 0x7f) };
        let length = match digits {
            0 => usize::from(element[1]),
            _ => element[2..2 + digits].iter().fold(0, |n, d| n << 8 | usize::from(*d)),
        };
        element[2 + digits..2 + digits + length].to_vec()
    };
    content(&content(cert))
}

/// Returns the same certificate with its signature changed by `change`.
pub fn with_signature(cert: &X509, change: impl FnOnce(&[u8]) -> Vec<u8>) -> Vec<u8> {
    let whole = cert.to_der().unwrap();
    let signature = cert.signature().as_slice();
    let old = der(0x03, &[&[0], signature]);
    let before = whole.len() - old.len();
    assert_eq!(whole[before..], old);
    // The header of a certificate is four bytes long.
    assert_eq!(whole[1], 0x82);
    der(0x30, &[&whole[4..before], &der(0x03, &[&[0], &change(signature)])])
}

/// The same numbers, and one more.
pub fn with_a_third_number(signature: &[u8]) -> Vec<u8> {
    der(0x30, &[&signature[2..], &[2, 1, 7]])
}

/// The same ECDSA signature with S on the other side of half the order of P-256, or where it is wished.
pub fn with_s(high: bool, signature: &[u8]) -> Vec<u8> {
    let signature = EcdsaSig::from_der(signature).unwrap();
    let (mut order, mut half, mut other) = (BigNum::new().unwrap(), BigNum::new().unwrap(), BigNum::new().unwrap());
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    group.order(&mut order, &mut BigNumContext::new().unwrap()).unwrap();
    half.rshift1(&order).unwrap();
    if (*signature.s() > *half) == high {
        return signature.to_der().unwrap();
    }
    other.checked_sub(&order, signature.s()).unwrap();
    let r = signature.r().to_owned().unwrap();
    EcdsaSig::from_private_components(r, other).unwrap().to_der().unwrap()
}

pub fn pem(label: &str, der: &[u8]) -> String {
    let text = openssl::base64::encode_block(der);
    let lines: Vec<&str> = text.as_bytes().chunks(64).map(|l| std::str::from_utf8(l).unwrap()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

/// The identity with this certificate (DER).
pub fn identity(der: &[u8]) -> PeerIdentity {
    serialized_identity(MSPID, pem("CERTIFICATE", der).as_bytes())
}
