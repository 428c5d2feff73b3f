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
    /// Whether another change of the same peer says the same: a finding that it is dead, and its change to dead.
    pub repeats: bool,
}

/// The changes of a peer, and the kind of finding that appears or is resolved with each.
const TOGETHER: [(&str, &str); 5] = [
    ("unreachable", "unreachable"),
    ("reachable", "unreachable"),
    ("dead", "dead_entry"),
    ("alive", "dead_entry"),
    ("restarted", "restarted"),
];

/// Returns what changed between two reports.
pub fn changes(before: &Report, after: &Report) -> Vec<Change> {
    let mut changes = Vec::new();
    let mut add = |severity, kind, peers: &[String], detail: String| {
        changes.push(Change { severity, kind, peers: peers.to_vec(), detail, repeats: false });
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
    let appeared = after.findings.iter().filter(|finding| !old.contains(&same(finding)));
    let resolved = before.findings.iter().filter(|finding| !new.contains(&same(finding)));
    let appeared = appeared.map(|finding| (finding.severity, "finding", finding));
    for (severity, kind, finding) in appeared.chain(resolved.map(|finding| (Severity::Info, "resolved", finding))) {
        let (peers, detail) = (finding.peers.clone(), finding.detail.clone());
        let says = |change: &Change| change.peers == peers && TOGETHER.contains(&(change.kind, finding.kind));
        let repeats = changes.iter().any(says);
        changes.push(Change { severity, kind, peers, detail, repeats });
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(id: &str) -> Peer {
        Peer { pki_id: id.into(), reachable: Some(true), alive_in: 2, started: Some(5), ..Peer::default() }
    }

    fn kinds(before: &Report, after: &Report) -> Vec<&'static str> {
        changes(before, after).iter().map(|change| change.kind).collect()
    }

    fn report(peers: Vec<Peer>) -> Report {
        Report { peers, ..Report::default() }
    }

    #[test]
    fn a_finding_that_repeats_a_change_is_marked() {
        let finding = |kind| Finding { severity: Severity::Warning, kind, peers: vec!["a".into()], detail: "x".into() };
        let dead = Peer { alive_in: 0, dead_in: 1, ..peer("a") };
        let before = report(vec![peer("a")]);
        let after = Report { findings: vec![finding("dead_entry"), finding("expired")], ..report(vec![dead]) };
        let marked = |before, after| -> Vec<_> {
            changes(before, after).iter().map(|change| (change.kind, change.repeats)).collect()
        };
        assert_eq!(marked(&before, &after), [("dead", false), ("finding", true), ("finding", false)]);
        assert_eq!(marked(&after, &before), [("alive", false), ("resolved", true), ("resolved", false)]);
    }

    #[test]
    fn peers_that_come_and_go_are_changes() {
        let (one, two) = (report(vec![peer("a")]), report(vec![peer("a"), peer("b")]));
        assert!(kinds(&two, &two.clone()).is_empty());
        assert_eq!((kinds(&one, &two), kinds(&two, &one)), (vec!["appeared"], vec!["vanished"]));
    }

    #[test]
    fn a_peer_that_fails_and_returns_is_a_change_each_time() {
        let fine = report(vec![peer("a")]);
        let failed = report(vec![Peer { reachable: Some(false), alive_in: 0, dead_in: 2, ..peer("a") }]);
        assert_eq!(kinds(&fine, &failed), ["unreachable", "dead"]);
        let restarted = report(vec![Peer { started: Some(6), ..peer("a") }]);
        assert_eq!(kinds(&failed, &restarted), ["reachable", "alive", "restarted"]);
    }

    #[test]
    fn a_finding_is_a_change_when_it_appears_and_when_it_is_resolved() {
        let finding = |detail: &str| Finding {
            severity: Severity::Warning,
            kind: "expires_soon",
            peers: vec!["a".into()],
            detail: detail.into(),
        };
        let (without, with) = (report(vec![]), Report { findings: vec![finding("in 3 days")], ..Report::default() });
        assert_eq!((kinds(&without, &with), kinds(&with, &without)), (vec!["finding"], vec!["resolved"]));
        let later = Report { findings: vec![finding("in 2 days")], ..Report::default() };
        assert!(kinds(&with, &later).is_empty(), "the same finding with another text");
    }
}
