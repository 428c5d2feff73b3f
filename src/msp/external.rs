//! A signing key outside the process: the library computes the digest, a function of the host signs it.

use super::algorithm::HashFamily;
use super::key::PublicKey;
use crate::error::{Error, ErrorKind, Result};
use std::fmt;
use std::sync::Arc;

/// The digest of a message. The function of [`SigningIdentity::with_signer`](super::SigningIdentity::with_signer) signs
/// it as it is, without hashing it again.
///
/// It has 32 bytes: SHA-256, or SHA3-256 if the MSP's hash family says so. Sign it with `CKM_ECDSA` in PKCS #11, or
/// with the "digest" (not "raw" or "message") form of a cloud's key service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digest {
    bytes: Vec<u8>,
    family: HashFamily,
}

impl Digest {
    fn of(family: HashFamily, message: &[u8]) -> Result<Digest> {
        Ok(Digest { bytes: family.hash(message)?, family })
    }

    /// Returns the digest's 32 bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns the hash that the digest was computed with.
    pub fn hash_family(&self) -> HashFamily {
        self.family
    }
}

impl AsRef<[u8]> for Digest {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// An ECDSA signature in the form returned by the signer. S may be high: the library normalises it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signature {
    /// ASN.1 DER, a SEQUENCE of the INTEGERs r and s: OpenSSL, Java, cloud key services.
    Der(Vec<u8>),
    /// r and s concatenated, each padded with zeros to the length of the curve's order (64 bytes in total for P-256):
    /// PKCS #11, WebCrypto, JOSE.
    Raw(Vec<u8>),
}

type DigestSigner = dyn Fn(&Digest) -> Result<Signature> + Send + Sync;

/// The host's signing function. Called on any of the library's threads, concurrently.
#[derive(Clone)]
pub(super) struct ExternalKey(Arc<DigestSigner>);

impl ExternalKey {
    pub fn new(sign: impl Fn(&Digest) -> Result<Signature> + Send + Sync + 'static) -> ExternalKey {
        ExternalKey(Arc::new(sign))
    }

    /// Signs the digest of a message. The result is DER with low S.
    pub fn sign(&self, public: &PublicKey, family: HashFamily, message: &[u8]) -> Result<Vec<u8>> {
        let signature = (self.0)(&Digest::of(family, message)?)?;
        normalise(public, &signature).map_err(|why| Error::new(ErrorKind::Signature, why))
    }
}

/// Returns the signature as DER with low S, or else the reason and the remedy.
fn normalise(public: &PublicKey, signature: &Signature) -> Result<Vec<u8>, String> {
    match signature {
        Signature::Der(der) => public.low_s_from_der(der).ok_or_else(|| {
            let raw = Some(der.len()) == public.raw_signature_len();
            let remedy = if raw {
                "; it has the length of a raw one: return it as Signature::Raw (in C: gossip_reply_set_raw)"
            } else {
                ""
            };
            format!("the signing function returned {} bytes that are not a DER ECDSA signature{remedy}", der.len())
        }),
        Signature::Raw(raw) => public.low_s_from_raw(raw).ok_or_else(|| {
            let (len, expected) = (raw.len(), public.raw_signature_len().unwrap_or_default());
            let remedy = match public.low_s_from_der(raw) {
                Some(_) => "; it is a DER signature: return it as Signature::Der (in C: gossip_reply_set_der)",
                None => "",
            };
            format!(
                "the signing function returned {len} bytes as a raw signature, which must be r and s of the identity's \
                 curve, {expected} bytes in all{remedy}"
            )
        }),
    }
}

impl fmt::Debug for ExternalKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ExternalKey(…)")
    }
}
