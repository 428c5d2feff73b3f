//! Chains from a certificate to a root: their construction, and their validity at a given time. The rules are those of
//! Go's `crypto/x509`, which decide membership in a Fabric network. OpenSSL's own verifier differs in the pinned time,
//! in trusting partial chains and in whether it finds every chain.

use super::der::display_time;
use super::invalid;
use super::names::looks_like_host;
use super::policy;
use super::x509::{Certificate, EKU_ANY, EKU_SERVER_AUTH};
use crate::error::Result;
use std::sync::Arc;

/// Certificates from the leaf to the root.
pub(super) type Chain = Vec<Arc<Certificate>>;

/// Maximum number of signature checks for one certificate; more indicate an attempt to waste our CPU time.
const MAX_SIGNATURE_CHECKS: usize = 100;

/// The certificates of the authorities that an MSP trusts.
#[derive(Clone, Default)]
pub(super) struct Authorities {
    roots: Vec<Arc<Certificate>>,
    intermediates: Vec<Arc<Certificate>>,
}

#[derive(Clone, Copy, PartialEq)]
enum Role {
    Root,
    Intermediate,
}

/// The search for chains of one certificate.
struct Search<'a> {
    authorities: &'a Authorities,
    /// In seconds since 1970.
    at: i64,
    checks: usize,
    found: Vec<Chain>,
    /// Reason for rejecting the last issuer whose signature on the certificate below is valid.
    refused: Option<String>,
    /// Reason for not using the first issuer: wrong signature, or rejected.
    hint: Option<String>,
}

impl Authorities {
    pub fn new(roots: Vec<Arc<Certificate>>, intermediates: Vec<Arc<Certificate>>) -> Self {
        let mut authorities = Authorities::default();
        for (pool, certificates) in [(&mut authorities.roots, roots), (&mut authorities.intermediates, intermediates)] {
            for certificate in certificates {
                // A duplicate certificate would result in two chains.
                if !pool.iter().any(|c| c.raw == certificate.raw) {
                    pool.push(certificate);
                }
            }
        }
        authorities
    }

    /// Returns the same intermediates under another root.
    pub fn with_root(&self, root: Arc<Certificate>) -> Self {
        Authorities { roots: vec![root], intermediates: self.intermediates.clone() }
    }

    pub fn is_root(&self, certificate: &Certificate) -> bool {
        self.roots.iter().any(|c| c.raw == certificate.raw)
    }

    pub fn is_intermediate(&self, certificate: &Certificate) -> bool {
        self.intermediates.iter().any(|c| c.raw == certificate.raw)
    }

    /// Returns the only chain of a certificate, validated one second after the start of the certificate's own validity,
    /// so that certificates do not expire here. No chain, or more than one, is an error.
    pub fn unique_chain(&self, certificate: &Arc<Certificate>) -> Result<Chain> {
        let at = certificate.not_before.saturating_add(1);
        let mut chains = self.chains(certificate, at).map_err(not_valid)?;
        if chains.len() != 1 {
            let count = chains.len();
            return Err(invalid(format!("this MSP only supports a single validation chain, got {count}")));
        }
        let chain = chains.swap_remove(0);
        check_common_name(&chain).map_err(not_valid)?;
        Ok(chain)
    }

    fn chains(&self, certificate: &Arc<Certificate>, at: i64) -> Result<Vec<Chain>, String> {
        check_certificate(certificate, &[], None, at)?;
        let mut chains = if self.is_root(certificate) {
            vec![vec![certificate.clone()]]
        } else {
            let mut search = Search { authorities: self, at, checks: 0, found: vec![], refused: None, hint: None };
            search.extend(&vec![certificate.clone()])?;
            if search.found.is_empty() {
                return Err(search.refused.unwrap_or_else(|| {
                    let because = search.hint.map(|hint| format!(" (possibly because of {hint})")).unwrap_or_default();
                    format!("x509: certificate signed by unknown authority{because}")
                }));
            }
            search.found
        };
        let built = chains.len();
        chains.retain(|chain| policy::hold(chain));
        let with_policies = chains.len();
        chains.retain(|chain| allows_server_auth(chain));
        match (built - with_policies, with_policies - chains.len()) {
            _ if !chains.is_empty() => Ok(chains),
            (0, _) => Err("x509: certificate specifies an incompatible key usage".into()),
            (policies, usage) => {
                let usage = if usage > 0 { format!("{usage} with incompatible key usage, ") } else { String::new() };
                Err(format!("x509: no valid chains built: {usage}{policies} candidate chains with invalid policies"))
            }
        }
    }
}

impl Search<'_> {
    /// Adds every chain that begins with this one. An error ends the whole search.
    fn extend(&mut self, chain: &Chain) -> Result<(), String> {
        let Some(child) = chain.last() else { return Ok(()) };
        for (role, pool) in
            [(Role::Root, &self.authorities.roots), (Role::Intermediate, &self.authorities.intermediates)]
        {
            let mut candidates: Vec<_> = pool.iter().filter(|c| c.subject_raw == child.issuer_raw).collect();
            candidates.sort_by_key(|c| key_id_mismatch(child, c));
            for candidate in candidates {
                if in_chain(candidate, chain) {
                    continue;
                }
                self.checks += 1;
                if self.checks > MAX_SIGNATURE_CHECKS {
                    return Err("x509: signature check attempts limit reached while verifying certificate chain".into());
                }
                let name = candidate.subject.common_name();
                if let Err(e) = child.check_signature_from(candidate) {
                    let hint = format!("\"{e}\" while trying to verify candidate authority certificate \"{name}\"");
                    self.hint.get_or_insert(hint);
                    continue;
                }
                if let Err(e) = check_certificate(candidate, chain, Some(role), self.at) {
                    self.refused = Some(e);
                    continue;
                }
                let mut longer = chain.clone();
                longer.push(candidate.clone());
                match role {
                    Role::Root => self.found.push(longer),
                    Role::Intermediate => self.extend(&longer)?,
                }
            }
        }
        Ok(())
    }
}

/// Checks a certificate that would follow `below` in a chain; if `below` is empty, it is the leaf.
fn check_certificate(
    certificate: &Certificate,
    below: &[Arc<Certificate>],
    role: Option<Role>,
    at: i64,
) -> Result<(), String> {
    const EXPIRED: &str = "x509: certificate has expired or is not yet valid";
    let extensions = &certificate.extensions;
    if extensions.unhandled_critical {
        return Err("x509: unhandled critical extension".into());
    }
    if at < certificate.not_before {
        let begin = display_time(certificate.not_before);
        return Err(format!("{EXPIRED}: current time {} is before {begin}", display_time(at)));
    }
    if at > certificate.not_after {
        let end = display_time(certificate.not_after);
        return Err(format!("{EXPIRED}: current time {} is after {end}", display_time(at)));
    }
    if let Some(constraints) = &extensions.name_constraints {
        let names = below.iter().filter_map(|c| c.extensions.san.as_ref()).flat_map(|(_, names)| names);
        for name in names {
            constraints.check(name).map_err(|e| {
                format!("x509: a root or intermediate certificate is not authorized to sign for this name: {e}")
            })?;
        }
    }
    if role == Some(Role::Intermediate) && !certificate.is_ca() {
        return Err("x509: certificate is not authorized to sign other certificates".into());
    }
    let max_path_len = extensions.basic_constraints.and_then(|c| c.max_path_len);
    // The leaf does not count as an intermediate.
    if max_path_len.is_some_and(|max| below.len().saturating_sub(1) as u64 > max) {
        return Err("x509: too many intermediates for path length constraint".into());
    }
    Ok(())
}

/// Returns whether no certificate of the chain restricts its use to purposes other than server authentication.
fn allows_server_auth(chain: &[Arc<Certificate>]) -> bool {
    chain.iter().all(|certificate| {
        let usages = &certificate.extensions.ext_key_usage;
        usages.is_empty() || usages.iter().any(|u| u == EKU_SERVER_AUTH || u == EKU_ANY)
    })
}

/// Checks that, if an authority constrains names, a leaf without alternative names has no host name as common name.
fn check_common_name(chain: &[Arc<Certificate>]) -> Result<(), String> {
    let Some((leaf, authorities)) = chain.split_first() else { return Ok(()) };
    let constrained = authorities.iter().any(|c| c.extensions.name_constraints.is_some());
    match constrained && leaf.extensions.san.is_none() && looks_like_host(leaf.subject.common_name()) {
        true => Err("x509: issuer has name constraints but leaf doesn't have a SAN extension".into()),
        false => Ok(()),
    }
}

/// Returns the priority of an issuer: equal key identifiers first, then one of them missing, then different ones.
fn key_id_mismatch(child: &Certificate, parent: &Certificate) -> u8 {
    match (&child.extensions.authority_key_id, &parent.extensions.subject_key_id) {
        (authority, subject) if authority == subject => 0,
        (Some(_), None) | (None, Some(_)) => 1,
        _ => 2,
    }
}

/// Returns whether the chain already has the same authority, perhaps under another certificate.
fn in_chain(candidate: &Certificate, chain: &[Arc<Certificate>]) -> bool {
    let san = |c: &Certificate| c.extensions.san.as_ref().map(|(value, _)| value.clone());
    chain.iter().any(|c| {
        c.subject_raw == candidate.subject_raw
            && c.public_key.info() == candidate.public_key.info()
            && san(c) == san(candidate)
    })
}

fn not_valid(why: String) -> crate::error::Error {
    invalid(format!("the supplied identity is not valid: {why}"))
}
