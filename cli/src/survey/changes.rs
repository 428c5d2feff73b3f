//! The differences between two reports, one line each.

use super::{Finding, Peer, Report, Severity};
use std::collections::BTreeSet;

/// A difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Severity of a finding that appeared.
    pub severity: Severity,
    /// `appeared`, `vanished`, `reachable`, `unreachable`, `alive`, `dead`, `restarted`, `finding` or `resolved`.
    pub kind: &'static str,
    pub peers: Vec<String>,
    pub detail: String,
}

/// Returns what changed between two reports.
pub fn changes(before: &Report, after: &Report) -> Vec<Change> {
    let mut changes = Vec::new();
    let mut add = |severity, kind, peers: &[String], detail: String| {
        changes.push(Change { severity, kind, peers: peers.to_vec(), detail });
    };
    for peer in &after.peers {
        let (key, label) = (&[peer.key().to_owned()], peer.label());
        let Some(old) = before.peer(peer.key()) else {
            add(Severity::Info, "appeared", key, format!("{label} at {}", peer.endpoint));
            continue;
        };
        match (old.reachable, peer.reachable) {
            (Some(true), Some(false)) => {
                let error = peer.error.as_deref().unwrap_or("no reason is known");
                add(Severity::Error, "unreachable", key, format!("{label}: {error}"));
            }
            (Some(false), Some(true)) => add(Severity::Info, "reachable", key, label.clone()),
            _ => {}
        }
        match (old.is_dead(), peer.is_dead()) {
            (false, true) => add(Severity::Warning, "dead", key, format!("{label} is listed as dead")),
            (true, false) if peer.alive_in > 0 => add(Severity::Info, "alive", key, format!("{label} is alive again")),
            _ => {}
        }
        if old.started.is_some() && peer.started > old.started {
            add(Severity::Info, "restarted", key, format!("{label} was restarted"));
        }
    }
    for peer in before.peers.iter().filter(|peer| after.peer(peer.key()).is_none()) {
        add(Severity::Warning, "vanished", &[peer.key().to_owned()], Peer::label(peer));
    }
    // The detail of a finding contains times and causes that change.
    let same = |finding: &Finding| (finding.kind, finding.peers.clone());
    let (old, new): (BTreeSet<_>, BTreeSet<_>) =
        (before.findings.iter().map(same).collect(), after.findings.iter().map(same).collect());
    for finding in after.findings.iter().filter(|finding| !old.contains(&same(finding))) {
        add(finding.severity, "finding", &finding.peers, finding.detail.clone());
    }
    for finding in before.findings.iter().filter(|finding| !new.contains(&same(finding))) {
        add(Severity::Info, "resolved", &finding.peers, finding.detail.clone());
    }
    changes
}
