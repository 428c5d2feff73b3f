//! Certificate policies along a chain: RFC 5280, section 6.1, as simplified by RFC 9618. The verifier requires no
//! particular policy. Only the requirements of authorities for the certificates below them can fail: that some policy
//! is valid, or that policies are not mapped.

use super::der::{tag, Reader};
use super::x509::Certificate;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

type Oid = Vec<u8>;

const ANY_POLICY: &[u8] = &[0x55, 0x1d, 0x20, 0x00];

/// The content of the policy extensions.
#[derive(Default)]
pub(super) struct Policies {
    /// `certificatePolicies`; empty if there are none.
    asserted: Vec<Oid>,
    /// `policyMappings`: pairs of equivalent policies in the authority's domain and in its subjects'.
    mappings: Vec<(Oid, Oid)>,
    /// Number of certificates after which an explicit policy is required.
    require_explicit: Option<u64>,
    /// Number of certificates after which policy mapping is inhibited.
    inhibit_mapping: Option<u64>,
    /// Number of certificates after which `anyPolicy` is inhibited.
    inhibit_any: Option<u64>,
}

impl Policies {
    /// Reads `certificatePolicies`.
    pub fn read_asserted(&mut self, value: &[u8]) -> Option<()> {
        let mut list = Reader::new(value).sequence()?;
        let mut seen = HashSet::new();
        while !list.is_empty() {
            let oid = list.sequence()?.long_oid()?;
            if !seen.insert(oid) {
                return None;
            }
            self.asserted.push(oid.to_vec());
        }
        Some(())
    }

    /// Reads `policyMappings`.
    pub fn read_mappings(&mut self, value: &[u8]) -> Option<()> {
        let mut list = Reader::new(value).sequence()?;
        while !list.is_empty() {
            let mut pair = list.sequence()?;
            self.mappings.push((pair.content(tag::OID)?.to_vec(), pair.content(tag::OID)?.to_vec()));
        }
        Some(())
    }

    /// Reads `policyConstraints`.
    pub fn read_constraints(&mut self, value: &[u8]) -> Option<()> {
        let mut r = Reader::new(value).sequence()?;
        if let Some(bytes) = r.optional(tag::context(0))? {
            self.require_explicit = number(bytes)?;
        }
        if let Some(bytes) = r.optional(tag::context(1))? {
            self.inhibit_mapping = number(bytes)?;
        }
        Some(())
    }

    /// Reads `inhibitAnyPolicy`.
    pub fn read_inhibit_any(&mut self, value: &[u8]) -> Option<()> {
        self.inhibit_any = number(Reader::new(value).content(tag::INTEGER)?)?;
        Some(())
    }
}

/// Parses the content of an INTEGER that fits; a negative one has no effect.
fn number(bytes: &[u8]) -> Option<Option<u64>> {
    let encoded = super::der::encode(tag::INTEGER, bytes);
    let bytes = Reader::new(&encoded).integer().filter(|b| b.len() <= 8)?;
    let value = bytes.iter().fold(0, |n, b| n << 8 | u64::from(*b));
    Some((bytes[0] & 0x80 == 0).then_some(value))
}

/// The policies valid at one certificate, each with the policies that the next one must assert to keep it valid. All
/// valid policies are connected to the root, so nothing about the certificates above needs to be kept.
type Level = BTreeMap<Oid, Vec<Oid>>;

/// Returns whether the policies along a chain, from the leaf to the root, meet the requirements of its authorities.
pub(super) fn hold(chain: &[Arc<Certificate>]) -> bool {
    let Some((_root, below)) = chain.split_last().filter(|(_, below)| !below.is_empty()) else { return true };
    let n = below.len() as u64;
    // Each count reaches zero where the requirement begins.
    let (mut explicit, mut mapping, mut any) = (n + 1, n + 1, n + 1);
    let mut level = Some(Level::from([(ANY_POLICY.to_vec(), vec![ANY_POLICY.to_vec()])]));
    for (i, certificate) in below.iter().enumerate().rev() {
        let policies = &certificate.extensions.policies;
        let self_issued = certificate.issuer_raw == certificate.subject_raw;
        let leaf = i == 0;
        if policies.asserted.is_empty() {
            level = None;
        }
        if explicit == 0 && level.is_none() {
            return false;
        }
        level = level.map(|above| next(&above, policies, any > 0 || (!leaf && self_issued)));
        if leaf {
            break;
        }
        if let Some(level) = &mut level {
            if !map(level, policies, mapping > 0) {
                return false;
            }
        }
        if !self_issued {
            for count in [&mut explicit, &mut mapping, &mut any] {
                *count = count.saturating_sub(1);
            }
        }
        explicit = explicit.min(policies.require_explicit.unwrap_or(u64::MAX));
        mapping = mapping.min(policies.inhibit_mapping.unwrap_or(u64::MAX));
        any = any.min(policies.inhibit_any.unwrap_or(u64::MAX));
    }
    explicit = explicit.saturating_sub(1);
    if below[0].extensions.policies.require_explicit == Some(0) {
        explicit = 0;
    }
    explicit > 0 || level.is_some_and(|level| !level.is_empty())
}

/// Returns the policies valid at a certificate, given those of the certificate above.
fn next(above: &Level, policies: &Policies, any_counts: bool) -> Level {
    let mut level = Level::new();
    let expected = |oid: &Oid| above.values().any(|expected| expected.contains(oid));
    for oid in policies.asserted.iter().filter(|oid| *oid != ANY_POLICY) {
        if expected(oid) || above.contains_key(ANY_POLICY) {
            level.insert(oid.clone(), vec![oid.clone()]);
        }
    }
    if any_counts && policies.asserted.iter().any(|oid| oid == ANY_POLICY) {
        for oid in above.values().flatten() {
            level.entry(oid.clone()).or_insert_with(|| vec![oid.clone()]);
        }
    }
    level
}

/// Maps policies for the certificates below, or removes those with a mapping if it is inhibited. Returns `false` if
/// `anyPolicy` is mapped.
fn map(level: &mut Level, policies: &Policies, allowed: bool) -> bool {
    let mut mapped = Level::new();
    for (theirs, subjects) in &policies.mappings {
        if !allowed {
            level.remove(theirs);
        } else if theirs == ANY_POLICY || subjects == ANY_POLICY {
            return false;
        } else {
            mapped.entry(theirs.clone()).or_default().push(subjects.clone());
        }
    }
    let any = level.contains_key(ANY_POLICY);
    for (theirs, subjects) in mapped {
        if any || level.contains_key(&theirs) {
            level.insert(theirs, subjects);
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::super::der::encode;
    use super::*;

    fn oid(letter: u8) -> Vec<u8> {
        match letter {
            b'*' => ANY_POLICY.to_vec(),
            letter => vec![0x2a, 3, letter],
        }
    }

    fn sequence(parts: &[Vec<u8>]) -> Vec<u8> {
        encode(tag::SEQUENCE, &parts.concat())
    }

    fn extension(number: u8, value: &[u8]) -> Vec<u8> {
        sequence(&[encode(tag::OID, &[0x55, 0x1d, number]), encode(tag::OCTET_STRING, value)])
    }

    /// Returns the extensions for a line in `policies.txt`, one per word.
    fn extensions(words: &str) -> Vec<Vec<u8>> {
        let (mut extensions, mut constraints) = (Vec::new(), Vec::new());
        let encode_oid = |letter: u8| encode(tag::OID, &oid(letter));
        for word in words.split_whitespace() {
            let number = |digit: &str| digit.parse::<u8>().unwrap();
            match word.split_once('=') {
                Some(("e", digit)) => constraints.push(encode(tag::context(0), &[number(digit)])),
                Some(("i", digit)) => constraints.push(encode(tag::context(1), &[number(digit)])),
                Some(("n", digit)) => extensions.push(extension(54, &encode(tag::INTEGER, &[number(digit)]))),
                Some(("m", pairs)) => {
                    let pair = |pair: &str| sequence(&pair.bytes().map(encode_oid).collect::<Vec<_>>());
                    extensions.push(extension(33, &sequence(&pairs.split(',').map(pair).collect::<Vec<_>>())));
                }
                Some(other) => panic!("{other:?}"),
                None if word == "self" => {}
                None => {
                    let policies: Vec<_> = word.bytes().map(|letter| sequence(&[encode_oid(letter)])).collect();
                    extensions.push(extension(32, &sequence(&policies)));
                }
            }
        }
        if !constraints.is_empty() {
            extensions.push(extension(36, &sequence(&constraints)));
        }
        extensions
    }

    fn name(number: usize) -> Vec<u8> {
        let text = encode(tag::PRINTABLE_STRING, number.to_string().as_bytes());
        let attribute = sequence(&[encode(tag::OID, &[0x55, 4, 3]), text]);
        sequence(&[encode(tag::SET, &attribute)])
    }

    /// Returns a certificate whose key and signature are of an unknown kind; the policy check ignores them.
    fn certificate(subject: usize, issuer: usize, extensions: &[Vec<u8>]) -> Arc<Certificate> {
        let unknown = sequence(&[encode(tag::OID, &[0x2a, 3])]);
        let bits = encode(tag::BIT_STRING, &[0]);
        let time = encode(tag::UTC_TIME, b"200101000000Z");
        let mut tbs = vec![
            encode(tag::explicit(0), &[2, 1, 2]),
            encode(tag::INTEGER, &[1]),
            unknown.clone(),
            name(issuer),
            sequence(&[time.clone(), time]),
            name(subject),
            sequence(&[unknown.clone(), bits.clone()]),
        ];
        tbs.push(encode(tag::explicit(3), &sequence(extensions)));
        let der = sequence(&[sequence(&tbs), unknown, bits]);
        Arc::new(Certificate::parse(&der).unwrap())
    }

    #[test]
    fn policies_hold_where_they_do_for_go() {
        let lines = include_str!("../../tests/msp/data/policies.txt").lines().filter(|line| !line.starts_with('#'));
        let mut verdicts = [0, 0];
        for line in lines {
            let (verdict, chain) = line.split_once(':').unwrap();
            let words: Vec<&str> = chain.split('|').collect();
            let subject = |mut at: usize| {
                while words.get(at).is_some_and(|words| words.ends_with("self") || words.ends_with("self ")) {
                    at += 1;
                }
                at.min(words.len() - 1)
            };
            let chain: Vec<_> =
                (0..words.len()).map(|at| certificate(subject(at), subject(at + 1), &extensions(words[at]))).collect();
            assert_eq!(hold(&chain), verdict == "ok", "{line}");
            verdicts[usize::from(verdict == "ok")] += 1;
        }
        println!("{} chains refused, {} accepted", verdicts[0], verdicts[1]);
        assert!(verdicts.iter().all(|count| *count > 100), "{verdicts:?}");
    }
}
