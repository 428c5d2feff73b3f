//! A report as JSON objects.

use super::changes::Change;
use super::{Finding, Peer, Report, Seconds};
use crate::rfc3339;
use crate::values::micros;
use serde_json::{json, Value};
use std::time::Duration;

pub fn peer(peer: &Peer, report: &Report) -> Value {
    let known = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let sees = |alive: bool| -> Option<Vec<&String>> {
        Some(peer.sees.as_ref()?.iter().filter(|(_, seen)| **seen == alive).map(|(id, _)| id).collect())
    };
    json!({
        "event": "peer", "pki_id": known(&peer.pki_id), "mspid": peer.mspid, "name": known(&peer.name),
        "endpoint": peer.endpoint, "external_endpoint": peer.external, "internal_endpoint": peer.internal,
        "reachable": peer.reachable, "rtt_us": peer.round_trip.map(micros), "error": peer.error,
        "alive_in": peer.alive_in, "dead_in": peer.dead_in, "views": report.views,
        "expires": peer.expires.map(rfc3339::seconds), "days_left": peer.days_left(report.now),
        "tls_expires": peer.tls_expires.map(rfc3339::seconds), "tls_days_left": peer.tls_days_left(report.now),
        "started": peer.started.map(|nanos| rfc3339::seconds(seconds(nanos))), "incarnation": peer.started,
        "sequence": peer.sequence, "verified": peer.verified, "sees_alive": sees(true), "sees_dead": sees(false),
    })
}

/// Converts nanoseconds to seconds.
pub fn seconds(nanos: u64) -> Seconds {
    Duration::from_nanos(nanos).as_secs() as Seconds
}

pub fn finding(finding: &Finding) -> Value {
    json!({"event": "finding", "severity": finding.severity.name(), "kind": finding.kind, "peers": finding.peers,
           "detail": finding.detail})
}

pub fn change(change: &Change) -> Value {
    json!({"event": "change", "kind": change.kind, "peers": change.peers, "detail": change.detail})
}

/// The summary.
pub fn summary(report: &Report, error: Option<&str>, elapsed: Duration) -> Value {
    use super::Severity::{Error, Warning};
    json!({"event": "survey", "ok": error.is_none(), "peers": report.peers.len(), "reachable": report.reachable(),
           "findings": report.findings.len(), "errors": report.count(Error), "warnings": report.count(Warning),
           "views": report.views, "elapsed_us": micros(elapsed), "error": error})
}
