//! The hashes and signature algorithms of certificates and messages.

use super::der::{tag, Reader};
use super::key::internal;
use crate::error::Result;
use openssl::hash::MessageDigest;
use std::fmt;

/// The object identifier of Ed25519.
pub(super) const ED25519: &[u8] = &[0x2b, 0x65, 0x70];

/// The hash under a message's signature: `SignatureHashFamily` of an MSP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum HashFamily {
    /// SHA-256.
    #[default]
    Sha2,
    /// SHA3-256.
    Sha3,
}

impl HashFamily {
    pub(super) fn digest(self) -> MessageDigest {
        match self {
            HashFamily::Sha2 => MessageDigest::sha256(),
            HashFamily::Sha3 => MessageDigest::sha3_256(),
        }
    }

    pub(super) fn hash(self, message: &[u8]) -> Result<Vec<u8>> {
        openssl::hash::hash(self.digest(), message).map(|hash| hash.to_vec()).map_err(internal)
    }
}

/// The kind of a certificate's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeyAlgorithm {
    Ecdsa,
    Ed25519,
    Rsa,
    Unknown,
}

impl fmt::Display for KeyAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            KeyAlgorithm::Ecdsa => "ECDSA",
            KeyAlgorithm::Ed25519 => "Ed25519",
            KeyAlgorithm::Rsa => "RSA",
            KeyAlgorithm::Unknown => "unknown",
        })
    }
}

/// The signature algorithm of a certificate or a CRL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SignatureAlgorithm {
    Ecdsa(Hash),
    /// PKCS #1, version 1.5.
    Rsa(Hash),
    /// RSA-PSS with one hash for all purposes and a salt of the same length.
    RsaPss(Hash),
    Ed25519,
    Unknown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hash {
    /// Insecure: accepted for revocation lists only.
    Sha1,
    Sha256,
    Sha384,
    Sha512,
}

impl Hash {
    pub(super) fn digest(self) -> MessageDigest {
        match self {
            Hash::Sha1 => MessageDigest::sha1(),
            Hash::Sha256 => MessageDigest::sha256(),
            Hash::Sha384 => MessageDigest::sha384(),
            Hash::Sha512 => MessageDigest::sha512(),
        }
    }
}

impl SignatureAlgorithm {
    /// Parses the content of an AlgorithmIdentifier.
    pub fn parse(identifier: &[u8]) -> Option<Self> {
        const ECDSA: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04];
        const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01];
        let mut reader = Reader::new(identifier);
        let oid = reader.oid()?;
        let parameters = if reader.is_empty() { &[][..] } else { reader.any()?.whole };
        Some(match (oid.strip_prefix(ECDSA), oid.strip_prefix(RSA)) {
            (Some([0x01]), _) => SignatureAlgorithm::Ecdsa(Hash::Sha1),
            (Some([0x03, 0x02]), _) => SignatureAlgorithm::Ecdsa(Hash::Sha256),
            (Some([0x03, 0x03]), _) => SignatureAlgorithm::Ecdsa(Hash::Sha384),
            (Some([0x03, 0x04]), _) => SignatureAlgorithm::Ecdsa(Hash::Sha512),
            (_, Some([0x05])) => SignatureAlgorithm::Rsa(Hash::Sha1),
            (_, Some([0x0b])) => SignatureAlgorithm::Rsa(Hash::Sha256),
            (_, Some([0x0c])) => SignatureAlgorithm::Rsa(Hash::Sha384),
            (_, Some([0x0d])) => SignatureAlgorithm::Rsa(Hash::Sha512),
            (_, Some([0x0a])) => pss_hash(parameters).map_or(SignatureAlgorithm::Unknown, SignatureAlgorithm::RsaPss),
            _ if oid == ED25519 && parameters.is_empty() => SignatureAlgorithm::Ed25519,
            _ => SignatureAlgorithm::Unknown,
        })
    }

    pub fn is_ecdsa(self) -> bool {
        matches!(self, SignatureAlgorithm::Ecdsa(_))
    }
}

/// Returns the hash of RSA-PSS parameters, if Go supports them: SHA-2, the same hash for the mask, a salt of the hash's
/// length, and the usual trailer.
fn pss_hash(parameters: &[u8]) -> Option<Hash> {
    const MGF1: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x08];
    const SHA2: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02];
    let hash_oid = |mut identifier: Reader<'_>| {
        let oid = identifier.oid()?.to_vec();
        let null = identifier.is_empty() || identifier.any()?.whole == [0x05, 0x00];
        null.then_some(oid)
    };
    let mut fields = Reader::new(parameters).sequence()?;
    let hash = hash_oid(Reader::new(fields.content(tag::explicit(0))?).sequence()?)?;
    let mut mask = Reader::new(fields.content(tag::explicit(1))?).sequence()?;
    let mgf1 = mask.oid()? == MGF1 && hash_oid(mask.sequence()?)? == hash;
    let salt = Reader::new(fields.content(tag::explicit(2))?).small_integer()?;
    let trailer = match fields.optional(tag::explicit(3))? {
        Some(trailer) => Reader::new(trailer).small_integer()?,
        None => 1,
    };
    match (hash.strip_prefix(SHA2)?, salt) {
        _ if !mgf1 || trailer != 1 => None,
        ([1], 32) => Some(Hash::Sha256),
        ([2], 48) => Some(Hash::Sha384),
        ([3], 64) => Some(Hash::Sha512),
        _ => None,
    }
}
