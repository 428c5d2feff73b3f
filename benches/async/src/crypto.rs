//! Identities, their PKI-IDs, and the service that judges and signs.

use crate::error::{Error, ErrorKind, Result};
use crate::wire::proto::msp::SerializedIdentity;
use aws_lc_rs::digest::{digest, Context, SHA256};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{EcdsaKeyPair, ECDSA_P256_SHA256_FIXED_SIGNING};
use bytes::Bytes;
use parking_lot::Mutex;
use prost::Message;
use std::collections::HashMap;
use std::fmt;
use std::time::{Duration, SystemTime};
use tokio_rustls::rustls::pki_types::{pem::PemObject, CertificateDer, PrivatePkcs8KeyDer, TrustAnchor, UnixTime};
use webpki::{anchor_from_trusted_cert, EndEntityCert, KeyUsage};

/// The name of an identity: a hash of it.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct PkiId(pub Bytes);

impl fmt::Display for PkiId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for PkiId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PkiId({self})")
    }
}

/// SHA-256.
pub fn sha256(bytes: &[u8]) -> Bytes {
    Bytes::copy_from_slice(digest(&SHA256, bytes).as_ref())
}

/// Judges identities, signs and verifies. Its methods compute and do not wait: some 100 µs at most, once or twice for
/// each connection.
pub trait Crypto: Send + Sync + 'static {
    /// The PKI-ID of an identity; `None` if it is not one.
    fn pki_id(&self, identity: &Bytes) -> Option<PkiId>;
    /// Checks whether the identity is valid.
    fn validate(&self, identity: &Bytes) -> Result<()>;
    /// Signs in our own name.
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>>;
    /// Checks the signature of a valid identity.
    fn verify(&self, identity: &Bytes, signature: &[u8], message: &[u8]) -> Result<()>;
}

/// How many verdicts an [`Msp`] remembers.
const VERDICTS: usize = 1024;

/// One organisation of X.509 identities, judged by its certificate authority: ECDSA over P-256, signatures with the low
/// S that Fabric asks for.
pub struct Msp {
    mspid: String,
    authority: TrustAnchor<'static>,
    signer: EcdsaKeyPair,
    random: SystemRandom,
    /// Identities that were found valid, until they are validated again.
    valid: Mutex<HashMap<Bytes, SystemTime>>,
}

/// How long a verdict on an identity holds: its certificate may expire.
const VERDICT_HOLDS: Duration = Duration::from_secs(60);

impl Msp {
    /// From PEM: the authority's certificate, and the private key (PKCS#8) that signs for us.
    pub fn new(mspid: &str, authority: &[u8], key: &[u8]) -> Result<Msp> {
        let wrong = |what: &str| Error::new(ErrorKind::Config, format!("no usable {what}"));
        let ca = CertificateDer::from_pem_slice(authority).map_err(|_| wrong("authority"))?;
        let anchor = anchor_from_trusted_cert(&ca).map_err(|_| wrong("authority"))?.to_owned();
        let key = PrivatePkcs8KeyDer::from_pem_slice(key).map_err(|_| wrong("private key"))?;
        let signer = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, key.secret_pkcs8_der())
            .map_err(|_| wrong("private key"))?;
        let random = SystemRandom::new();
        Ok(Msp { mspid: mspid.into(), authority: anchor, signer, random, valid: Mutex::default() })
    }

    /// A certificate (PEM) as the identity that travels.
    pub fn identity(mspid: &str, cert: &[u8]) -> Bytes {
        SerializedIdentity { mspid: mspid.into(), id_bytes: Bytes::copy_from_slice(cert) }.encode_to_vec().into()
    }

    fn judge(&self, identity: &Bytes) -> Result<()> {
        let (mspid, cert) = certificate(identity)?;
        if mspid != self.mspid {
            return Err(refused(format!("MSP {mspid} is unknown")));
        }
        let cert = EndEntityCert::try_from(&cert).map_err(|e| refused(e.to_string()))?;
        cert.verify_for_usage(
            &[webpki::aws_lc_rs::ECDSA_P256_SHA256],
            std::slice::from_ref(&self.authority),
            &[],
            UnixTime::now(),
            KeyUsage::client_auth(),
            None,
            None,
        )
        .map(drop)
        .map_err(|e| refused(e.to_string()))
    }
}

fn refused(text: String) -> Error {
    Error::new(ErrorKind::Identity, text)
}

fn certificate(identity: &Bytes) -> Result<(String, CertificateDer<'static>)> {
    let identity = SerializedIdentity::decode(identity.clone()).map_err(|e| refused(e.to_string()))?;
    let cert = CertificateDer::from_pem_slice(&identity.id_bytes).map_err(|e| refused(e.to_string()))?;
    Ok((identity.mspid, cert))
}

impl Crypto for Msp {
    fn pki_id(&self, identity: &Bytes) -> Option<PkiId> {
        let identity = SerializedIdentity::decode(identity.clone()).ok().filter(|id| !id.id_bytes.is_empty())?;
        let mut hash = Context::new(&SHA256);
        hash.update(identity.mspid.as_bytes());
        hash.update(&identity.id_bytes);
        Some(PkiId(Bytes::copy_from_slice(hash.finish().as_ref())))
    }

    fn validate(&self, identity: &Bytes) -> Result<()> {
        let now = SystemTime::now();
        if self.valid.lock().get(identity).is_some_and(|until| now < *until) {
            return Ok(());
        }
        self.judge(identity)?;
        let mut valid = self.valid.lock();
        if valid.len() >= VERDICTS {
            valid.clear();
        }
        valid.insert(identity.clone(), now + VERDICT_HOLDS);
        Ok(())
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>> {
        let signature = self.signer.sign(&self.random, message);
        let signature = signature.map_err(|_| Error::new(ErrorKind::Config, "cannot sign"))?;
        let (r, s) = signature.as_ref().split_at(32);
        Ok(der(r, &low(s)))
    }

    fn verify(&self, identity: &Bytes, signature: &[u8], message: &[u8]) -> Result<()> {
        self.validate(identity)?;
        let (_, cert) = certificate(identity)?;
        let invalid = || Error::new(ErrorKind::Refused, "The signature is invalid");
        if s_of(signature).is_none_or(|s| s > HALF_ORDER) {
            return Err(invalid());
        }
        let cert = EndEntityCert::try_from(&cert).map_err(|e| refused(e.to_string()))?;
        cert.verify_signature(webpki::aws_lc_rs::ECDSA_P256_SHA256, message, signature).map_err(|_| invalid())
    }
}

/// The order of P-256.
const ORDER: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6, 0xfa,
    0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];

/// Half of it, rounded down.
const HALF_ORDER: [u8; 32] = [
    0x7f, 0xff, 0xff, 0xff, 0x80, 0x00, 0x00, 0x00, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xde, 0x73, 0x7d,
    0x56, 0xd3, 0x8b, 0xcf, 0x42, 0x79, 0xdc, 0xe5, 0x61, 0x7e, 0x31, 0x92, 0xa8,
];

/// `s`, or the order less `s`: both are right, and Fabric takes the lower one only.
fn low(s: &[u8]) -> [u8; 32] {
    let mut result = [0; 32];
    result.copy_from_slice(s);
    if result > HALF_ORDER {
        let mut borrow = 0;
        for i in (0..32).rev() {
            let difference = i16::from(ORDER[i]) - i16::from(result[i]) - borrow;
            borrow = i16::from(difference < 0);
            result[i] = difference as u8;
        }
    }
    result
}

/// A signature in DER.
fn der(r: &[u8], s: &[u8]) -> Vec<u8> {
    let mut body = Vec::with_capacity(72);
    for number in [r, s] {
        let digits = &number[number.iter().position(|b| *b != 0).unwrap_or(number.len() - 1)..];
        let sign = usize::from(digits[0] >= 0x80);
        body.extend([2, (digits.len() + sign) as u8]);
        body.extend(&[0][..sign]);
        body.extend(digits);
    }
    [&[0x30, body.len() as u8], &body[..]].concat()
}

/// The digits of S in a signature's DER, padded to 32 bytes.
fn s_of(signature: &[u8]) -> Option<[u8; 32]> {
    let body = signature.strip_prefix(&[0x30]).and_then(|rest| rest.get(1..))?;
    let (_, rest) = integer(body)?;
    let (s, _) = integer(rest)?;
    let digits = s.strip_prefix(&[0]).unwrap_or(s);
    let mut padded = [0; 32];
    padded.get_mut(32usize.checked_sub(digits.len())?..)?.copy_from_slice(digits);
    Some(padded)
}

fn integer(der: &[u8]) -> Option<(&[u8], &[u8])> {
    match der {
        [2, length, rest @ ..] => rest.split_at_checked(usize::from(*length)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Org;

    #[test]
    fn every_signature_has_a_low_s_and_verifies() {
        let org = Org::new("Org1MSP");
        let member = org.member("peer0");
        let msp = member.msp();
        let identity = member.identity();
        for n in 0..50u8 {
            let signature = msp.sign(&[n]).unwrap();
            assert!(s_of(&signature).unwrap() <= HALF_ORDER);
            msp.verify(&identity, &signature, &[n]).unwrap();
            assert!(msp.verify(&identity, &signature, &[n, 0]).is_err());
        }
    }

    #[test]
    fn a_high_s_is_refused_though_the_mathematics_accept_it() {
        let member = Org::new("Org1MSP").member("peer0");
        let msp = member.msp();
        let fixed = msp.signer.sign(&msp.random, b"m").unwrap();
        let (r, s) = fixed.as_ref().split_at(32);
        let mut high = low(s);
        let mut borrow = 0;
        for i in (0..32).rev() {
            let difference = i16::from(ORDER[i]) - i16::from(high[i]) - borrow;
            borrow = i16::from(difference < 0);
            high[i] = difference as u8;
        }
        msp.verify(&member.identity(), &der(r, &low(s)), b"m").unwrap();
        assert!(msp.verify(&member.identity(), &der(r, &high), b"m").is_err());
    }

    #[test]
    fn only_identities_of_the_organisation_are_valid() {
        let (org, other) = (Org::new("Org1MSP"), Org::new("Org1MSP"));
        let msp = org.member("peer0").msp();
        msp.validate(&org.member("peer1").identity()).unwrap();
        assert!(msp.validate(&other.member("peer1").identity()).is_err());
        assert!(msp.validate(&Bytes::from_static(b"nonsense")).is_err());
    }
}
