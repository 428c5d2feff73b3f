//! Certificate policies along a chain: RFC 5280, section 6.1, as RFC 9618 simplifies it. No policy in particular is asked
//! for, so what can fail are the demands that authorities make of those below them: that some policy holds, or that
//! policies are not mapped.

use super::der::{tag, Reader};
use super::x509::Certificate;
use std::collections::BTreeMap;
use std::sync::Arc;

type Oid = Vec<u8>;

const ANY_POLICY: &[u8] = &[0x55, 0x1d, 0x20, 0x00];

/// What the extensions about policies say.
#[derive(Default)]
pub(super) struct Policies {
    /// `certificatePolicies`; empty if there are none.
    asserted: Vec<Oid>,
    /// `policyMappings`: what means what in the authority's domain and in its subjects'.
    mappings: Vec<(Oid, Oid)>,
    /// After so many certificates a policy has to hold.
    require_explicit: Option<u64>,
    /// After so many certificates policies are not mapped.
    inhibit_mapping: Option<u64>,
    /// After so many certificates `anyPolicy` stands for nothing.
    inhibit_any: Option<u64>,
}

impl Policies {
    /// Reads `certificatePolicies`.
    pub fn read_asserted(&mut self, value: &[u8]) -> Option<()> {
        let mut list = Reader::new(value).sequence()?;
        while !list.is_empty() {
            let oid = list.sequence()?.oid()?.to_vec();
            if self.asserted.contains(&oid) {
                return None;
            }
            self.asserted.push(oid);
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

/// The content of an INTEGER that fits; a negative one says nothing.
fn number(bytes: &[u8]) -> Option<Option<u64>> {
    let encoded = super::der::encode(tag::INTEGER, bytes);
    let bytes = Reader::new(&encoded).integer().filter(|b| b.len() <= 8)?;
    let value = bytes.iter().fold(0, |n, b| n << 8 | u64::from(*b));
    Some((bytes[0] & 0x80 == 0).then_some(value))
}

/// The policies that hold at one certificate, each with what is expected of the next one for it to go on holding. All
/// that hold hang together with the root, so nothing of the certificates above needs to be kept.
type Level = BTreeMap<Oid, Vec<Oid>>;

/// Whether the policies along a chain, from the leaf to the root, are what its authorities demand.
pub(super) fn hold(chain: &[Arc<Certificate>]) -> bool {
    let Some((_root, below)) = chain.split_last().filter(|(_, below)| !below.is_empty()) else { return true };
    let n = below.len() as u64;
    // Reaches zero where the demand begins.
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

/// What holds at a certificate below those for which `above` holds.
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

/// Maps policies for the certificates below, or takes those out that would be mapped. False if `anyPolicy` is mapped.
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
