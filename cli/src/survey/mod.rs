//! A comparison of the views that the peers of a network have of each other.
//!
//! [`crawl`] asks the peers, [`compare`](compare::compare) turns their answers into a [`Report`], and [`table`],
//! [`json`], [`page`] and [`dot`] present it. [`changes`] compares two reports.

pub mod changes;
pub mod compare;
pub mod crawl;
pub mod dot;
pub mod json;
pub mod page;
mod svg;
pub mod table;

use crate::values::{brief, Endpoint};
use std::collections::BTreeMap;
use std::time::Duration;

/// Nanoseconds since 1970.
pub type Nanos = u64;
/// Seconds since 1970.
pub type Seconds = i64;

/// A member in a list of one peer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Member {
    /// In hex, as everywhere in this module.
    pub pki_id: String,
    /// Endpoint for other organisations; empty if there is none.
    pub external: String,
    /// Endpoint inside the organisation; empty if it was not disclosed.
    pub internal: String,
    /// Start time of its process.
    pub started: Nanos,
    /// Number of its message since the start.
    pub sequence: u64,
    /// Whether its own signature is valid; `None` if its identity is not known.
    pub verified: Option<bool>,
}

/// The lists of one peer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    pub alive: Vec<Member>,
    pub dead: Vec<Member>,
}

/// An identity that a peer authenticated with, or that was pulled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    pub mspid: String,
    /// Common name in the certificate.
    pub name: String,
    /// End of the certificate's validity.
    pub expires: Option<Seconds>,
    /// Reason why the identity is not valid for us.
    pub invalid: Option<String>,
}

/// The outcome of visiting one endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Visit {
    pub endpoint: String,
    /// Whether the endpoint was named on the command line.
    pub given: bool,
    /// The peer that others expect at the endpoint.
    pub expected: Option<String>,
    /// Time of a Ping, if it was answered.
    pub round_trip: Option<Duration>,
    /// End of the validity of the server's TLS certificate, if it presented one.
    pub tls_expires: Option<Seconds>,
    /// The peer that authenticated itself.
    pub peer: Option<String>,
    /// Its lists of members. Peers of other organisations are not asked.
    pub view: Option<View>,
    /// Reason why the visit ended early.
    pub error: Option<String>,
}

/// All answers of a network.
#[derive(Clone, Debug, Default)]
pub struct Answers {
    pub visits: Vec<Visit>,
    pub identities: BTreeMap<String, Identity>,
    /// Number of known peers that were not visited, because of the limit.
    pub left_out: usize,
}

/// The result of a survey.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Sorted by organisation, name and PKI-ID.
    pub peers: Vec<Peer>,
    /// Errors first, then warnings.
    pub findings: Vec<Finding>,
    /// Number of peers whose lists were compared.
    pub views: usize,
    /// Time of the comparison.
    pub now: Seconds,
}

/// A peer, as all views together describe it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peer {
    /// Empty if the peer has not authenticated itself and nobody lists it.
    pub pki_id: String,
    pub name: String,
    pub mspid: Option<String>,
    /// The endpoint that was visited, else the preferred one that it publishes.
    pub endpoint: String,
    pub external: String,
    pub internal: String,
    /// `None` if it was not visited.
    pub reachable: Option<bool>,
    pub round_trip: Option<Duration>,
    pub error: Option<String>,
    /// Number of views that list it as alive, and as dead.
    pub alive_in: usize,
    pub dead_in: usize,
    /// End of the validity of its identity, and of its server's TLS certificate.
    pub expires: Option<Seconds>,
    pub tls_expires: Option<Seconds>,
    pub started: Option<Nanos>,
    pub sequence: u64,
    pub verified: Option<bool>,
    /// The peers that it lists, by PKI-ID, and whether as alive; `None` if it was not asked or did not answer.
    pub sees: Option<BTreeMap<String, bool>>,
}

impl Peer {
    /// Returns the name and a part of the PKI-ID, or the endpoint of an unknown peer.
    pub fn label(&self) -> String {
        match (self.name.as_str(), self.pki_id.as_str()) {
            ("", "") => self.endpoint.clone(),
            ("", id) => brief(id),
            (name, id) => format!("{name} ({})", brief(id)),
        }
    }

    /// Returns the name, else a part of the PKI-ID, else the endpoint.
    pub fn short_label(&self) -> String {
        match (self.name.as_str(), self.pki_id.as_str()) {
            ("", "") => self.endpoint.clone(),
            ("", id) => brief(id),
            (name, _) => name.to_owned(),
        }
    }

    /// Returns the PKI-ID, or the endpoint of an unknown peer.
    pub fn key(&self) -> &str {
        match self.pki_id.is_empty() {
            true => &self.endpoint,
            false => &self.pki_id,
        }
    }

    pub fn is_dead(&self) -> bool {
        self.dead_in > 0 && self.alive_in == 0
    }

    /// Returns the full days until its identity expires; negative afterwards.
    pub fn days_left(&self, now: Seconds) -> Option<i64> {
        self.expires.map(|expires| days_until(expires, now))
    }

    /// Returns the full days until its TLS certificate expires; negative afterwards.
    pub fn tls_days_left(&self, now: Seconds) -> Option<i64> {
        self.tls_expires.map(|expires| days_until(expires, now))
    }
}

fn days_until(end: Seconds, now: Seconds) -> i64 {
    end.saturating_sub(now).div_euclid(DAY)
}

const DAY: Seconds = 86_400;

/// Severity of a finding, the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    Error,
    Warning,
    Info,
}

impl Severity {
    pub fn name(self) -> &'static str {
        match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Info => "info",
        }
    }
}

/// An irregularity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub severity: Severity,
    /// A name for scripts, listed in `docs/json.md`.
    pub kind: &'static str,
    /// PKI-IDs of the peers concerned, or endpoints of unknown peers.
    pub peers: Vec<String>,
    pub detail: String,
}

impl Report {
    /// Returns the peer with this PKI-ID, or the unknown peer at this endpoint.
    pub fn peer(&self, key: &str) -> Option<&Peer> {
        self.peers.iter().find(|peer| peer.key() == key)
    }

    pub fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|finding| finding.severity == severity).count()
    }

    pub fn reachable(&self) -> usize {
        self.peers.iter().filter(|peer| peer.reachable == Some(true)).count()
    }

    /// Returns the findings in groups of one severity and kind. Both sort them.
    pub fn grouped(&self) -> impl Iterator<Item = &[Finding]> {
        self.findings.chunk_by(|a, b| (a.severity, a.kind) == (b.severity, b.kind))
    }

    /// Returns the first error, with the number of further ones.
    pub fn error(&self) -> Option<String> {
        let errors = self.count(Severity::Error);
        let first = self.findings.iter().find(|finding| finding.severity == Severity::Error)?;
        Some(match errors {
            1 => first.detail.clone(),
            2 => format!("{} (and 1 more error)", first.detail),
            more => format!("{} (and {} more errors)", first.detail, more - 1),
        })
    }
}

/// Returns whether the endpoint names the machine itself.
fn is_loopback(endpoint: &str) -> bool {
    let Ok(Endpoint { host, .. }) = endpoint.parse() else { return false };
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}
