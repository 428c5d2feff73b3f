//! Private keys: parsing and signing.

use super::algorithm::HashFamily;
use super::key::{encode_low_s, internal, order, quiet, Kind, PublicKey};
use super::{invalid, pem};
use crate::error::{Error, ErrorKind, Result};
use openssl::bn::{BigNum, BigNumContext};
use openssl::ec::EcKey;
use openssl::ecdsa::EcdsaSig;
use openssl::pkey::{Id, PKey, Private};
use openssl::sign::Signer;
use std::fmt;

/// A private key. Its `Debug` form does not reveal it.
pub(super) struct PrivateKey(PrivateKind);

enum PrivateKind {
    Ecdsa { key: EcKey<Private>, order: BigNum, half: BigNum },
    Ed25519(PKey<Private>),
}

impl PrivateKey {
    /// Reads an unencrypted key in PEM, PKCS#8 or SEC 1. The first block is used, whatever its label, as in Fabric.
    pub fn from_pem(pem: &[u8]) -> Result<PrivateKey> {
        let block = pem::decode(pem).ok_or_else(|| invalid("not a private key in PEM"))?;
        if block.is_encrypted() {
            return Err(invalid("the private key is encrypted; store it without a passphrase"));
        }
        if block.label == b"EC PARAMETERS" {
            return Err(invalid(
                "the first block is EC PARAMETERS and Fabric reads only the first; remove it (openssl ecparam -noout)",
            ));
        }
        let pkcs8 = || PKey::private_key_from_pkcs8(&block.bytes);
        let sec1 = || PKey::from_ec_key(EcKey::private_key_from_der(&block.bytes)?);
        let key = quiet(pkcs8()).or_else(|| quiet(sec1()));
        let key = key.ok_or_else(|| invalid("not an unencrypted private key of PKCS#8 or SEC 1"))?;
        match key.id() {
            Id::ED25519 => Ok(PrivateKey(PrivateKind::Ed25519(key))),
            Id::EC => {
                let key = key.ec_key().map_err(internal)?;
                let (order, half) = order(key.group()).ok_or_else(|| invalid("the private key has no curve"))?;
                Ok(PrivateKey(PrivateKind::Ecdsa { key, order, half }))
            }
            _ => Err(invalid("the private key is neither ECDSA nor Ed25519")),
        }
    }

    /// Returns whether it matches this public key.
    pub fn fits(&self, public: &PublicKey) -> bool {
        match (&self.0, &public.kind) {
            (PrivateKind::Ecdsa { key, .. }, Kind::Ecdsa { key: other, .. }) => {
                let same = || {
                    let mut context = BigNumContext::new()?;
                    Ok(key.group().curve_name() == other.group().curve_name()
                        && key.public_key().eq(other.group(), other.public_key(), &mut context)?)
                };
                quiet(same()).unwrap_or(false)
            }
            (PrivateKind::Ed25519(key), Kind::Ed25519(other)) => key.public_eq(other),
            _ => false,
        }
    }

    /// Signs as Fabric does: ECDSA over the hash, with low S, or Ed25519 over the message itself.
    pub fn sign(&self, family: HashFamily, message: &[u8]) -> Result<Vec<u8>> {
        match &self.0 {
            PrivateKind::Ecdsa { key, order, half } => {
                let hash = openssl::hash::hash(family.digest(), message).map_err(internal)?;
                let signature = EcdsaSig::sign(&hash, key).map_err(internal)?;
                let (r, s) = (signature.r(), signature.s().to_owned().map_err(internal)?);
                encode_low_s(r, s, order, half).ok_or_else(|| Error::new(ErrorKind::Internal, "could not sign"))
            }
            PrivateKind::Ed25519(key) => {
                let mut signer = Signer::new_without_digest(key).map_err(internal)?;
                signer.sign_oneshot_to_vec(message).map_err(internal)
            }
        }
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey(…)")
    }
}
