//! Runs Project Wycheproof's ECDSA vectors against both signature checks: that of messages, with Fabric's rules, and
//! that of certificates, with Go's.

use super::algorithm::{Hash, SignatureAlgorithm};
use super::der::{encode, tag, Reader};
use super::key::PublicKey;
use openssl::bn::{BigNum, BigNumContext};
use openssl::ec::EcKey;
use openssl::ecdsa::EcdsaSig;
use openssl::hash::{hash, MessageDigest};
use openssl::pkey::Public;
use std::collections::BTreeMap;
use wycheproof::ecdsa::{TestName, TestSet};
use wycheproof::TestResult;

/// One test vector.
struct Case {
    name: String,
    key: Vec<u8>,
    message: Vec<u8>,
    signature: Vec<u8>,
    valid: bool,
    comment: String,
}

fn cases(set: TestName) -> Vec<Case> {
    let mut cases = Vec::new();
    for group in TestSet::load(set).unwrap().test_groups {
        for test in group.tests {
            cases.push(Case {
                name: format!("{set:?} {}", test.tc_id),
                key: group.der.to_vec(),
                message: test.msg.to_vec(),
                signature: test.sig.to_vec(),
                valid: test.result == TestResult::Valid,
                comment: test.comment,
            });
        }
    }
    cases
}

impl Case {
    fn public_key(&self) -> PublicKey {
        PublicKey::parse(&self.key).unwrap_or_else(|e| panic!("{}: {e}", self.name))
    }

    /// Returns OpenSSL's own verdict on a signature.
    fn openssl_agrees(&self, digest: MessageDigest, signature: &[u8]) -> bool {
        let key: EcKey<Public> = EcKey::public_key_from_der(&self.key).unwrap();
        let hash = hash(digest, &self.message).unwrap();
        EcdsaSig::from_der(signature).is_ok_and(|s| s.verify(&hash, &key).unwrap_or(false))
    }

    /// Returns the same signature with n − s for s, if s is high.
    fn with_low_s(&self, signature: &[u8]) -> Option<Vec<u8>> {
        let key: EcKey<Public> = EcKey::public_key_from_der(&self.key).unwrap();
        let (mut order, mut low) = (BigNum::new().unwrap(), BigNum::new().unwrap());
        key.group().order(&mut order, &mut BigNumContext::new().unwrap()).unwrap();
        let signature = EcdsaSig::from_der(signature).unwrap();
        low.checked_sub(&order, signature.s()).unwrap();
        let is_high = *signature.s() > low;
        let r = signature.r().to_owned().unwrap();
        is_high.then(|| EcdsaSig::from_private_components(r, low).unwrap().to_der().unwrap())
    }
}

/// Returns the signature without any data after its two numbers, inside or after the sequence, if there is some: Fabric
/// ignores such data, Wycheproof calls the signature invalid.
fn without_more(signature: &[u8]) -> Option<Vec<u8>> {
    let mut numbers = Reader::new(signature).sequence()?;
    let (r, s) = (numbers.element(tag::INTEGER)?, numbers.element(tag::INTEGER)?);
    let bare = encode(tag::SEQUENCE, &[r.whole, s.whole].concat());
    (bare != signature).then_some(bare)
}

#[test]
fn messages_with_low_s_alone() {
    let (sha3, sha512) = (MessageDigest::sha3_256(), MessageDigest::sha512());
    let sets = [
        (TestName::EcdsaSecp224r1Sha224, MessageDigest::sha224()),
        (TestName::EcdsaSecp224r1Sha256, MessageDigest::sha256()),
        (TestName::EcdsaSecp224r1Sha512, sha512),
        (TestName::EcdsaSecp224r1Sha3_256, sha3),
        (TestName::EcdsaSecp256r1Sha256, MessageDigest::sha256()),
        (TestName::EcdsaSecp256r1Sha512, sha512),
        (TestName::EcdsaSecp256r1Sha3_256, sha3),
        (TestName::EcdsaSecp384r1Sha256, MessageDigest::sha256()),
        (TestName::EcdsaSecp384r1Sha384, MessageDigest::sha384()),
        (TestName::EcdsaSecp384r1Sha512, sha512),
        (TestName::EcdsaSecp521r1Sha512, sha512),
    ];
    let (mut count, mut high, mut wrong) = (0, 0, Vec::new());
    let mut lenient: BTreeMap<String, usize> = BTreeMap::new();
    for (set, digest) in sets {
        for case in cases(set) {
            count += 1;
            let key = case.public_key();
            let accepts = |signature: &[u8]| key.verify_hashed(digest, signature, &case.message).is_ok();
            let bare = without_more(&case.signature).filter(|bare| case.openssl_agrees(digest, bare));
            let expected = match &bare {
                _ if case.valid => match case.with_low_s(&case.signature) {
                    Some(low) => {
                        high += 1;
                        assert!(accepts(&low), "{}: with low s", case.name);
                        false
                    }
                    None => true,
                },
                Some(bare) => {
                    *lenient.entry(case.comment.clone()).or_default() += 1;
                    case.with_low_s(bare).is_none()
                }
                None => false,
            };
            if accepts(&case.signature) != expected {
                wrong.push(format!("{}: {}: expected {expected}", case.name, case.comment));
            }
        }
    }
    println!(
        "Wycheproof, messages: {} of {count} cases agree; {high} valid ones have high s, refused",
        count - wrong.len()
    );
    println!("more than two numbers, which is judged without the rest: {lenient:#?}");
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn certificates_in_canonical_form_alone() {
    let sets = [
        (TestName::EcdsaSecp224r1Sha256, Hash::Sha256),
        (TestName::EcdsaSecp224r1Sha512, Hash::Sha512),
        (TestName::EcdsaSecp256r1Sha256, Hash::Sha256),
        (TestName::EcdsaSecp256r1Sha512, Hash::Sha512),
        (TestName::EcdsaSecp384r1Sha256, Hash::Sha256),
        (TestName::EcdsaSecp384r1Sha384, Hash::Sha384),
        (TestName::EcdsaSecp384r1Sha512, Hash::Sha512),
        (TestName::EcdsaSecp521r1Sha512, Hash::Sha512),
    ];
    let (mut count, mut wrong) = (0, Vec::new());
    for (set, hash) in sets {
        for case in cases(set) {
            count += 1;
            let verdict =
                case.public_key().verify_certificate(SignatureAlgorithm::Ecdsa(hash), &case.signature, &case.message);
            if verdict.is_ok() != case.valid {
                wrong.push(format!("{}: {}: {verdict:?}", case.name, case.comment));
            }
        }
    }
    println!("Wycheproof, certificates: {} of {count} cases agree", count - wrong.len());
    assert!(wrong.is_empty(), "{wrong:#?}");
}
