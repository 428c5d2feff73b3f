//! Keys and signatures: ECDSA with low S, as Fabric requires it for messages, and the signature algorithms of
//! certificates.

use super::algorithm::{Hash, HashFamily, KeyAlgorithm, SignatureAlgorithm, ED25519};
use super::der::{self, tag, Reader};
use crate::error::{Error, ErrorKind, Result};
use openssl::bn::{BigNum, BigNumContext, BigNumRef};
use openssl::ec::{EcGroup, EcKey, EcPoint};
use openssl::ecdsa::EcdsaSig;
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{Id, PKey, Public};
use openssl::rsa::{Padding, Rsa};
use openssl::sign::{RsaPssSaltlen, Verifier};

/// The public key of a certificate.
pub(super) struct PublicKey {
    /// The whole SubjectPublicKeyInfo; equal keys have equal bytes.
    info: Vec<u8>,
    pub(super) kind: Kind,
}

pub(super) enum Kind {
    Ecdsa {
        key: EcKey<Public>,
        order: BigNum,
        half: BigNum,
    },
    Ed25519(PKey<Public>),
    Rsa(PKey<Public>),
    /// A key of an unsupported kind.
    Unknown,
}

impl PublicKey {
    /// Parses a SubjectPublicKeyInfo. A key of an unknown kind is accepted; a malformed key of a known kind is an
    /// error.
    pub fn parse(info: &[u8]) -> Result<PublicKey, &'static str> {
        const MALFORMED: &str = "x509: malformed spki";
        let mut reader = Reader::new(info).sequence().ok_or(MALFORMED)?;
        let mut algorithm = reader.sequence().ok_or("x509: malformed public key algorithm identifier")?;
        let oid = algorithm.oid().ok_or("x509: malformed OID")?;
        let parameters = match algorithm.is_empty() {
            true => None,
            false => Some(algorithm.any().ok_or("x509: malformed parameters")?),
        };
        let bits = reader.bit_string_bytes().ok_or("x509: malformed subjectPublicKey")?;
        let kind = match oid {
            [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01] => {
                let curve = parameters.filter(|p| p.tag == tag::OID).ok_or("x509: invalid ECDSA parameters")?;
                let nid = curve_nid(curve.content).ok_or("x509: unsupported elliptic curve")?;
                ecdsa_key(nid, &bits).ok_or("x509: failed to unmarshal elliptic curve point")?
            }
            ED25519 if parameters.is_some() => return Err("x509: Ed25519 key encoded with illegal parameters"),
            ED25519 if bits.len() != 32 => return Err("x509: wrong Ed25519 public key size"),
            ED25519 => Kind::Ed25519(quiet(PKey::public_key_from_raw_bytes(&bits, Id::ED25519)).ok_or(MALFORMED)?),
            [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01] => {
                if parameters.is_none_or(|p| p.whole != [0x05, 0x00]) {
                    return Err("x509: RSA key missing NULL parameters");
                }
                Kind::Rsa(rsa_key(&bits).ok_or("x509: invalid RSA public key")?)
            }
            _ => Kind::Unknown,
        };
        Ok(PublicKey { info: info.to_vec(), kind })
    }

    pub fn algorithm(&self) -> KeyAlgorithm {
        match &self.kind {
            Kind::Ecdsa { .. } => KeyAlgorithm::Ecdsa,
            Kind::Ed25519(_) => KeyAlgorithm::Ed25519,
            Kind::Rsa(_) => KeyAlgorithm::Rsa,
            Kind::Unknown => KeyAlgorithm::Unknown,
        }
    }

    pub fn info(&self) -> &[u8] {
        &self.info
    }

    /// Verifies the signature of a certificate. High S is accepted; SHA-1 and encodings other than DER are not.
    pub fn verify_certificate(
        &self,
        algorithm: SignatureAlgorithm,
        signature: &[u8],
        signed: &[u8],
    ) -> Result<(), &'static str> {
        match algorithm {
            SignatureAlgorithm::Ecdsa(Hash::Sha1) | SignatureAlgorithm::Rsa(Hash::Sha1) => {
                Err("x509: cannot verify signature: insecure algorithm SHA1")
            }
            _ => self.verify_list(algorithm, signature, signed),
        }
    }

    /// Verifies the signature of a revocation list, for which Fabric accepts SHA-1.
    pub fn verify_list(
        &self,
        algorithm: SignatureAlgorithm,
        signature: &[u8],
        signed: &[u8],
    ) -> Result<(), &'static str> {
        match (algorithm, &self.kind) {
            (SignatureAlgorithm::Ecdsa(hash), Kind::Ecdsa { key, order, .. }) => {
                let valid = canonical_signature(signature)
                    .is_some_and(|(r, s)| ecdsa_verify(key, order, &r, &s, hash.digest(), signed));
                valid.then_some(()).ok_or("x509: ECDSA verification failure")
            }
            (SignatureAlgorithm::Rsa(_) | SignatureAlgorithm::RsaPss(_), Kind::Rsa(key)) if key.bits() < 1024 => {
                Err("crypto/rsa: keys of less than 1024 bits are insecure")
            }
            (SignatureAlgorithm::Rsa(hash), Kind::Rsa(key)) => {
                rsa_verify(key, hash, false, signature, signed).then_some(()).ok_or("crypto/rsa: verification error")
            }
            (SignatureAlgorithm::RsaPss(hash), Kind::Rsa(key)) => {
                rsa_verify(key, hash, true, signature, signed).then_some(()).ok_or("crypto/rsa: verification error")
            }
            (SignatureAlgorithm::Ed25519, Kind::Ed25519(key)) => {
                ed25519_verify(key, signature, signed).then_some(()).ok_or("x509: Ed25519 verification failure")
            }
            (SignatureAlgorithm::Unknown, _) => Err("x509: cannot verify signature: algorithm unimplemented"),
            _ => Err("x509: signature algorithm and public key do not belong together"),
        }
    }

    /// Verifies the signature of a message by Fabric's rules: low S is required, but bytes after the signature and
    /// elements after its two numbers are ignored.
    pub fn verify_message(&self, family: HashFamily, signature: &[u8], message: &[u8]) -> Result<()> {
        self.verify_hashed(family.digest(), signature, message)
    }

    /// Like [`verify_message`](Self::verify_message), for any hash.
    pub fn verify_hashed(&self, digest: MessageDigest, signature: &[u8], message: &[u8]) -> Result<()> {
        let undetermined = |why: String| {
            let text = format!("could not determine the validity of the signature: {why}");
            Error::new(ErrorKind::Signature, text)
        };
        if signature.is_empty() {
            return Err(undetermined("Invalid signature. Cannot be empty.".into()));
        }
        let valid = match &self.kind {
            Kind::Ecdsa { key, order, half } => {
                let malformed = |why: &str| {
                    undetermined(format!("Failed verifing with opts [<nil>]: Failed unmashalling signature [{why}]"))
                };
                let (r, s) = lenient_signature(signature).map_err(malformed)?;
                if *s > **half {
                    return Err(undetermined(format!(
                        "Failed verifing with opts [<nil>]: Invalid S. Must be smaller than half the order [{}][{}].",
                        decimal(&s),
                        decimal(half)
                    )));
                }
                ecdsa_verify(key, order, &r, &s, digest, message)
            }
            Kind::Ed25519(_) if message.is_empty() => {
                return Err(undetermined("Invalid digest. Cannot be empty.".into()));
            }
            Kind::Ed25519(key) => ed25519_verify(key, signature, message),
            Kind::Rsa(_) | Kind::Unknown => return Err(undetermined("Unsupported 'VerifyKey' provided".into())),
        };
        match valid {
            true => Ok(()),
            false => Err(Error::new(ErrorKind::Signature, "The signature is invalid")),
        }
    }

    /// Returns the same ECDSA signature, made under this key, with low S; `None` if it is not such a signature.
    pub fn to_low_s(&self, signature: &[u8]) -> Option<Vec<u8>> {
        let Kind::Ecdsa { order, half, .. } = &self.kind else { return None };
        let (r, s) = lenient_signature(signature).ok()?;
        encode_low_s(&r, s, order, half)
    }

    /// Returns an ECDSA signature with low S; `None` if it is not exactly one DER signature in the range of this key's
    /// curve.
    pub fn low_s_from_der(&self, signature: &[u8]) -> Option<Vec<u8>> {
        let (r, s) = canonical_signature(signature)?;
        self.low_s_of(&r, s)
    }

    /// Like [`low_s_from_der`](Self::low_s_from_der), from the concatenation of r and s.
    pub fn low_s_from_raw(&self, signature: &[u8]) -> Option<Vec<u8>> {
        if Some(signature.len()) != self.raw_signature_len() {
            return None;
        }
        let (r, s) = signature.split_at(signature.len() / 2);
        let positive = |bytes| quiet(BigNum::from_slice(bytes)).filter(|number| number.num_bits() > 0);
        let (r, s) = (positive(r)?, positive(s)?);
        self.low_s_of(&r, s)
    }

    fn low_s_of(&self, r: &BigNumRef, s: BigNum) -> Option<Vec<u8>> {
        let Kind::Ecdsa { order, half, .. } = &self.kind else { return None };
        let in_range = *r < **order && s < *order;
        in_range.then(|| encode_low_s(r, s, order, half)).flatten()
    }

    /// Returns the total length of r and s; `None` if the key is not ECDSA.
    pub fn raw_signature_len(&self) -> Option<usize> {
        let Kind::Ecdsa { order, .. } = &self.kind else { return None };
        usize::try_from(order.num_bytes()).ok().map(|len| 2 * len)
    }

    /// Recognises a signature of this key in another form, or over data other than the SHA-256 of the message, and
    /// returns the correction to make.
    pub fn signed_otherwise(&self, signature: &[u8], message: &[u8]) -> Option<&'static str> {
        const RAW: &str = "the signer returns r and s one after the other: encode them as ASN.1 DER, or use \
            SigningIdentity::with_signer and Signature::Raw";
        const TWICE: &str = "the signer hashes twice: it gets the message and must hash it once, with SHA-256";
        const UNHASHED: &str = "the signer signs the message as if it were a digest: hash it with SHA-256 first";
        const OTHER_HASH: &str =
            "the signer uses another hash: Fabric's signatures are over SHA-256, whatever the curve, or \
            over SHA3-256 where the MSP says so";
        let Kind::Ecdsa { key, .. } = &self.kind else { return None };
        if signature.len() == self.raw_signature_len()? && canonical_signature(signature).is_none() {
            return Some(RAW);
        }
        let (r, s) = canonical_signature(signature)?;
        let signature = quiet(EcdsaSig::from_private_components(r, s))?;
        let hash = |digest, bytes: &[u8]| quiet(openssl::hash::hash(digest, bytes)).map(|hash| hash.to_vec());
        let once = hash(MessageDigest::sha256(), message)?;
        let other = |digest| (hash(digest, message), OTHER_HASH);
        let candidates = [
            (hash(MessageDigest::sha256(), &once), TWICE),
            (Some(message.to_vec()), UNHASHED),
            other(MessageDigest::sha1()),
            other(MessageDigest::sha256()),
            other(MessageDigest::sha384()),
            other(MessageDigest::sha512()),
            other(MessageDigest::sha3_256()),
        ];
        let found = candidates.into_iter().find(|(digest, _)| {
            digest.as_ref().is_some_and(|digest| quiet(signature.verify(digest, key)).unwrap_or(false))
        });
        drain_errors();
        found.map(|(_, remedy)| remedy)
    }
}

fn curve_nid(oid: &[u8]) -> Option<Nid> {
    match oid {
        [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07] => Some(Nid::X9_62_PRIME256V1),
        [0x2b, 0x81, 0x04, 0x00, 0x21] => Some(Nid::SECP224R1),
        [0x2b, 0x81, 0x04, 0x00, 0x22] => Some(Nid::SECP384R1),
        [0x2b, 0x81, 0x04, 0x00, 0x23] => Some(Nid::SECP521R1),
        _ => None,
    }
}

/// Reads a SEQUENCE of modulus and exponent, and ignores any bytes after it.
fn rsa_key(bytes: &[u8]) -> Option<PKey<Public>> {
    let mut numbers = Reader::new(bytes).sequence()?;
    let modulus = positive(numbers.integer()?)?;
    let exponent = positive(numbers.integer().filter(|e| e.len() <= 8)?)?;
    quiet(Rsa::from_public_components(modulus, exponent).and_then(PKey::from_rsa))
}

fn ecdsa_key(nid: Nid, point: &[u8]) -> Option<Kind> {
    // Only the uncompressed form is accepted.
    if point.first() != Some(&4) {
        return None;
    }
    let make = || {
        let group = EcGroup::from_curve_name(nid)?;
        let point = EcPoint::from_bytes(&group, point, &mut *BigNumContext::new()?)?;
        let key = EcKey::from_public_key(&group, &point)?;
        Ok((group, key))
    };
    let (group, key) = quiet(make())?;
    let (order, half) = order(&group)?;
    Some(Kind::Ecdsa { key, order, half })
}

/// Returns the order n of the curve's group, and n/2.
pub(super) fn order(group: &openssl::ec::EcGroupRef) -> Option<(BigNum, BigNum)> {
    let make = || {
        let (mut order, mut half) = (BigNum::new()?, BigNum::new()?);
        group.order(&mut order, &mut *BigNumContext::new()?)?;
        half.rshift1(&order)?;
        Ok((order, half))
    };
    quiet(make())
}

fn ecdsa_verify(
    key: &EcKey<Public>,
    order: &BigNum,
    r: &BigNumRef,
    s: &BigNumRef,
    digest: MessageDigest,
    message: &[u8],
) -> bool {
    if *r >= **order || *s >= **order {
        return false;
    }
    let check = || {
        let hash = openssl::hash::hash(digest, message)?;
        EcdsaSig::from_private_components(r.to_owned()?, s.to_owned()?)?.verify(&hash, key)
    };
    let valid = quiet(check()).unwrap_or(false);
    if !valid {
        drain_errors();
    }
    valid
}

fn rsa_verify(key: &PKey<Public>, hash: Hash, pss: bool, signature: &[u8], message: &[u8]) -> bool {
    let check = || {
        let mut verifier = Verifier::new(hash.digest(), key)?;
        if pss {
            verifier.set_rsa_padding(Padding::PKCS1_PSS)?;
            verifier.set_rsa_mgf1_md(hash.digest())?;
            verifier.set_rsa_pss_saltlen(RsaPssSaltlen::DIGEST_LENGTH)?;
        }
        verifier.verify_oneshot(signature, message)
    };
    let valid = quiet(check()).unwrap_or(false);
    if !valid {
        drain_errors();
    }
    valid
}

fn ed25519_verify(key: &PKey<Public>, signature: &[u8], message: &[u8]) -> bool {
    let check = || Verifier::new_without_digest(key)?.verify_oneshot(signature, message);
    let valid = signature.len() == 64 && quiet(check()).unwrap_or(false);
    if !valid {
        drain_errors();
    }
    valid
}

/// Returns r and s of a signature that is exactly one SEQUENCE of two positive INTEGERs.
fn canonical_signature(signature: &[u8]) -> Option<(BigNum, BigNum)> {
    let mut reader = Reader::new(signature);
    let mut numbers = reader.sequence()?;
    let (r, s) = (positive(numbers.integer()?)?, positive(numbers.integer()?)?);
    (reader.is_empty() && numbers.is_empty()).then_some((r, s))
}

/// Returns the two numbers at the start of a SEQUENCE, and ignores anything after them, inside or outside.
fn lenient_signature(signature: &[u8]) -> Result<(BigNum, BigNum), &'static str> {
    const MALFORMED: &str = "failed unmashalling signature [asn1: not a sequence of two integers]";
    let mut numbers = Reader::new(signature).sequence().ok_or(MALFORMED)?;
    let (r, s) = (numbers.integer().ok_or(MALFORMED)?, numbers.integer().ok_or(MALFORMED)?);
    let r = positive(r).ok_or("invalid signature, R must be larger than zero")?;
    let s = positive(s).ok_or("invalid signature, S must be larger than zero")?;
    Ok((r, s))
}

/// Returns the canonical encoding of a signature that may have trailing data, or else its defect.
pub(super) fn canonical_form(signature: &[u8]) -> Result<Vec<u8>, &'static str> {
    let (r, s) = lenient_signature(signature)?;
    Ok(encode_signature(&r, &s))
}

fn positive(integer: &[u8]) -> Option<BigNum> {
    let positive = integer[0] & 0x80 == 0 && integer != [0];
    positive.then(|| quiet(BigNum::from_slice(integer))).flatten()
}

pub(super) fn encode_low_s(r: &BigNumRef, s: BigNum, order: &BigNum, half: &BigNum) -> Option<Vec<u8>> {
    let s = match s > *half {
        true => {
            let low = || {
                let mut low = BigNum::new()?;
                low.checked_sub(order, &s)?;
                Ok(low)
            };
            quiet(low())?
        }
        false => s,
    };
    Some(encode_signature(r, &s))
}

fn encode_signature(r: &BigNumRef, s: &BigNumRef) -> Vec<u8> {
    let mut numbers = der::encode_unsigned(&r.to_vec());
    numbers.extend_from_slice(&der::encode_unsigned(&s.to_vec()));
    der::encode(tag::SEQUENCE, &numbers)
}

/// Formats a number in decimal, unless it is so long that formatting would be costly.
fn decimal(number: &BigNumRef) -> String {
    match number.num_bits() {
        0..=8192 => number.to_dec_str().map(|s| s.to_string()).unwrap_or_default(),
        bits => format!("{bits} bits"),
    }
}

/// Discards OpenSSL's reasons for rejecting untrusted input.
pub(super) fn quiet<T>(result: Result<T, ErrorStack>) -> Option<T> {
    result.ok()
}

/// Clears the thread's OpenSSL error queue. A failed verification may leave its reason there, which would disturb TLS
/// on the same thread.
fn drain_errors() {
    let _ = ErrorStack::get();
}

pub(super) fn internal(e: ErrorStack) -> Error {
    Error::new(ErrorKind::Internal, "OpenSSL failed").with_source(e)
}

#[cfg(test)]
mod tests {
    use super::*;
    use openssl::sign::Signer;

    #[test]
    fn rsa_pss_counts_with_one_hash_and_a_salt_of_its_length() {
        const PSS: &[u8] = &[0x06, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 0x0a];
        const MGF1: &[u8] = &[0x06, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 8];
        let explicit = |n, content: &[u8]| der::encode(tag::explicit(n), content);
        let hash = |n| der::encode(tag::SEQUENCE, &[0x06, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, n, 5, 0]);
        let parse = |first: u8, mask: u8, salt: u8| {
            let mask = der::encode(tag::SEQUENCE, &[MGF1, &hash(mask)].concat());
            let fields = [explicit(0, &hash(first)), explicit(1, &mask), explicit(2, &[2, 1, salt])].concat();
            SignatureAlgorithm::parse(&[PSS, &der::encode(tag::SEQUENCE, &fields)].concat()).unwrap()
        };
        assert_eq!(parse(2, 2, 48), SignatureAlgorithm::RsaPss(Hash::Sha384));
        for (first, mask, salt) in [(1, 1, 20), (1, 2, 32), (4, 4, 28)] {
            assert_eq!(parse(first, mask, salt), SignatureAlgorithm::Unknown);
        }
        for (bits, good) in [(2048, true), (512, false)] {
            let key = PKey::from_rsa(Rsa::generate(bits).unwrap()).unwrap();
            let public = PublicKey::parse(&key.public_key_to_der().unwrap()).unwrap();
            let mut signer = Signer::new(MessageDigest::sha256(), &key).unwrap();
            if good {
                signer.set_rsa_padding(Padding::PKCS1_PSS).unwrap();
                signer.set_rsa_pss_saltlen(RsaPssSaltlen::DIGEST_LENGTH).unwrap();
            }
            let signature = signer.sign_oneshot_to_vec(b"foo").unwrap();
            let algorithm = if good { parse(1, 1, 32) } else { SignatureAlgorithm::Rsa(Hash::Sha256) };
            assert_eq!(public.verify_certificate(algorithm, &signature, b"foo").is_ok(), good);
            assert!(public.verify_certificate(algorithm, &signature, b"bar").is_err());
        }
    }
}
