//! The findings: a pure function of the peers' answers.

use super::{is_loopback, Answers, Finding, Identity, Member, Peer, Report, Seconds, Severity, Visit, DAY};
use crate::rfc3339;
use crate::values::{brief, counted, since, Endpoint};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Difference of two clocks that is not reported.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(5);

/// Number of starts of one peer from which on it counts as restarted often.
const OFTEN: usize = 3;

/// Settings of the comparison.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    pub now: Duration,
    /// The MSP id of our organisation, whose members are compared.
    pub mspid: String,
    /// Our own PKI-ID. The entry that our question leaves is not a peer.
    pub our_pki_id: String,
    /// Certificates that expire within this time are reported.
    pub warn_expiry: Duration,
    /// Endpoints of our anchor peers.
    pub anchors: Vec<String>,
}

/// Start times of each peer in earlier reports, to recognise restarts.
pub type Starts = BTreeMap<String, BTreeSet<u64>>;

/// Compares the answers. Adds the start times in them to `starts`.
pub fn compare(answers: &Answers, settings: &Settings, starts: &mut Starts) -> Report {
    let mut comparison = Comparison::new(answers, settings);
    comparison.count_starts(starts);
    comparison.visits();
    comparison.views();
    comparison.endpoints();
    comparison.anchors();
    comparison.certificates();
    comparison.clocks(starts);
    comparison.finish()
}

/// The entry that a query like ours leaves.
fn is_query(member: &Member) -> bool {
    (member.started, member.sequence) == (1, 1)
}

struct Comparison<'a> {
    answers: &'a Answers,
    settings: &'a Settings,
    /// Lists of members by the peer that sent them.
    views: BTreeMap<&'a str, &'a super::View>,
    peers: BTreeMap<String, Peer>,
    findings: Vec<Finding>,
}

impl<'a> Comparison<'a> {
    fn new(answers: &'a Answers, settings: &'a Settings) -> Self {
        let views = answers.visits.iter().filter_map(|visit| Some((visit.peer.as_deref()?, visit.view.as_ref()?)));
        let mut comparison =
            Comparison { answers, settings, views: views.collect(), peers: BTreeMap::new(), findings: Vec::new() };
        comparison.collect();
        comparison
    }

    /// Collects what is known of each peer.
    fn collect(&mut self) {
        for (by, view) in &self.views {
            let mut sees = BTreeMap::new();
            for (member, alive) in view.alive.iter().map(|m| (m, true)).chain(view.dead.iter().map(|m| (m, false))) {
                if member.pki_id == self.settings.our_pki_id && is_query(member) {
                    continue;
                }
                // A peer in both lists of one view counts as alive.
                if sees.contains_key(&member.pki_id) {
                    continue;
                }
                sees.insert(member.pki_id.clone(), alive);
                let peer = self.peers.entry(member.pki_id.clone()).or_default();
                match alive {
                    true => peer.alive_in += 1,
                    false => peer.dead_in += 1,
                }
                let newest = (peer.started.unwrap_or_default(), peer.sequence);
                if (member.started, member.sequence) >= newest {
                    peer.started = Some(member.started);
                    peer.sequence = member.sequence;
                    peer.external = member.external.clone();
                    if !member.internal.is_empty() {
                        peer.internal = member.internal.clone();
                    }
                }
                peer.verified = match (peer.verified, member.verified) {
                    (Some(false), _) | (_, Some(false)) => Some(false),
                    (known, new) => known.or(new),
                };
            }
            self.peers.entry((*by).to_owned()).or_default().sees = Some(sees);
        }
        for visit in &self.answers.visits {
            let key = match (&visit.peer, &visit.expected) {
                (Some(peer), _) => peer.clone(),
                (None, Some(expected)) => expected.clone(),
                (None, None) => match self.published_at(&visit.endpoint) {
                    Some(id) => id,
                    None => visit.endpoint.clone(),
                },
            };
            let is_unknown = visit.peer.is_none() && key == visit.endpoint;
            let peer = self.peers.entry(key).or_default();
            // The successful one of several visits describes the peer.
            if peer.reachable != Some(true) || visit.view.is_some() {
                peer.endpoint = visit.endpoint.clone();
                peer.reachable = Some(visit.round_trip.is_some());
                peer.round_trip = visit.round_trip;
                peer.tls_expires = visit.tls_expires;
                peer.error = visit.error.clone();
            }
            if is_unknown {
                peer.pki_id.clear();
            }
        }
        // Members of other organisations are known by their identities only.
        for (id, identity) in &self.answers.identities {
            if identity.mspid != self.settings.mspid && *id != self.settings.our_pki_id {
                self.peers.entry(id.clone()).or_default();
            }
        }
        let unknown: BTreeSet<&String> =
            self.answers.visits.iter().filter(|v| v.peer.is_none()).map(|v| &v.endpoint).collect();
        for (key, peer) in &mut self.peers {
            if !unknown.contains(key) {
                peer.pki_id = key.clone();
            }
            if let Some(identity) = self.answers.identities.get(key) {
                peer.mspid = Some(identity.mspid.clone());
                peer.name = identity.name.clone();
                peer.expires = identity.expires;
            }
            if peer.endpoint.is_empty() {
                let preferred = if peer.internal.is_empty() { &peer.external } else { &peer.internal };
                peer.endpoint = preferred.clone();
            }
            if peer.started == Some(1) {
                peer.started = None;
            }
        }
    }

    /// Returns the member that publishes an endpoint.
    fn published_at(&self, endpoint: &str) -> Option<String> {
        let mut peers = self.peers.iter();
        peers
            .find(|(_, p)| p.alive_in > 0 && (p.internal == endpoint || p.external == endpoint))
            .map(|(id, _)| id.clone())
    }

    fn find<S: Into<String>>(
        &mut self,
        severity: Severity,
        kind: &'static str,
        peers: impl IntoIterator<Item = S>,
        detail: String,
    ) {
        let peers = peers.into_iter().map(Into::into).collect();
        self.findings.push(Finding { severity, kind, peers, detail });
    }

    fn label(&self, id: &str) -> String {
        self.peers.get(id).map_or_else(|| brief(id), Peer::label)
    }

    fn labels<'s>(&self, ids: impl IntoIterator<Item = &'s str>) -> String {
        let labels: Vec<String> = ids.into_iter().map(|id| self.label(id)).collect();
        match labels.len() {
            0..=4 => labels.join(", "),
            n => format!("{} and {} more", labels[..3].join(", "), n - 3),
        }
    }

    /// Peers that cannot be reached, or do not answer as they should.
    fn visits(&mut self) {
        let answers = self.answers;
        for visit in &answers.visits {
            let Visit { endpoint, expected, peer, view, error, round_trip, .. } = visit;
            if let (Some(expected), Some(peer)) = (expected, peer) {
                if expected != peer {
                    let (expected_name, name) = (self.label(expected), self.label(peer));
                    let detail = format!("{name} answers at {endpoint}, where {expected_name} is listed");
                    self.find(Severity::Error, "other_peer_answers", [expected, peer], detail);
                }
            }
            let error = error.as_deref().unwrap_or("no reason is known");
            let key = match (peer, expected) {
                (Some(id), _) | (None, Some(id)) => id.clone(),
                (None, None) => self.published_at(endpoint).unwrap_or_else(|| endpoint.clone()),
            };
            let (alive_in, dead_in) = self.peers.get(&key).map_or((0, 0), |peer| (peer.alive_in, peer.dead_in));
            match (round_trip, peer, view) {
                // Reported as a dead entry.
                (None, ..) if alive_in == 0 && dead_in > 0 && !visit.given => {}
                // The peer answered under another endpoint.
                (None, ..) if self.views.contains_key(key.as_str()) && !visit.given => {}
                (None, ..) => {
                    let listed = match alive_in {
                        0 => String::new(),
                        n => format!(", alive in {n} of {} views,", self.views.len()),
                    };
                    let name = self.label(&key);
                    let at = if name == *endpoint { String::new() } else { format!(" at {endpoint}") };
                    let detail = format!("{name}{at}{listed} cannot be reached: {error}");
                    self.find(Severity::Error, "unreachable", [key], detail);
                }
                (Some(_), None, _) => {
                    let detail =
                        format!("{} answers at {endpoint}, but no connection is made: {error}", self.label(&key));
                    self.find(Severity::Error, "refused", [key], detail);
                }
                (Some(_), Some(id), None) if visit.error.is_some() && !self.views.contains_key(id.as_str()) => {
                    let detail = format!("{} does not answer for its membership: {error}", self.label(id));
                    self.find(Severity::Error, "no_membership", [id.clone()], detail);
                }
                (Some(_), Some(id), None) if visit.error.is_none() && self.views.is_empty() => self.foreign(id),
                _ => {}
            }
        }
        if self.answers.left_out > 0 {
            let detail = format!(
                "not asked, because of the limit: {}; raise --max-peers",
                counted(self.answers.left_out as u64, "peer")
            );
            self.find(Severity::Warning, "left_out", [] as [String; 0], detail);
        }
        let ours = |visit: &&Visit| visit.peer.as_deref() == Some(self.settings.our_pki_id.as_str());
        if self.answers.visits.iter().any(|visit| ours(&visit)) {
            let id = self.settings.our_pki_id.clone();
            let detail = "a peer runs with our identity: our connections replaced its own".to_owned();
            self.find(Severity::Warning, "own_identity_runs", [id], detail);
        }
    }

    /// A peer of another organisation, if there is no view to compare.
    fn foreign(&mut self, id: &str) {
        let org = self.peers.get(id).and_then(|peer| peer.mspid.clone()).unwrap_or_else(|| "another one".to_owned());
        let (name, ours) = (self.label(id), &self.settings.mspid);
        let detail = format!(
            "{name} belongs to {org} and does not disclose its members to {ours}: name a peer of {ours} to compare views"
        );
        self.find(Severity::Error, "other_organisation", [id], detail);
    }

    /// Differences between the views.
    fn views(&mut self) {
        let ids: Vec<String> =
            self.peers.iter().filter(|(_, p)| !p.pki_id.is_empty()).map(|(id, _)| id.clone()).collect();
        for id in &ids {
            let peer = &self.peers[id];
            let (alive_in, dead_in, reachable) = (peer.alive_in, peer.dead_in, peer.reachable);
            let (verified, named, answered) =
                (peer.verified, peer.mspid.is_some(), self.views.contains_key(id.as_str()));
            let name = peer.label();
            let state = |by: &str| self.peers[by].sees.as_ref().and_then(|sees| sees.get(id)).copied();
            let others = || self.views.keys().copied().filter(|by| by != id);
            let lacking: Vec<String> = others().filter(|by| state(by) != Some(true)).map(str::to_owned).collect();
            let is_query = |m: &&Member| m.pki_id == *id && is_query(m);
            let query = self.views.values().any(|view| view.dead.iter().chain(&view.alive).any(|m| is_query(&m)));
            if alive_in == 0 && dead_in > 0 {
                let by: Vec<&str> = others().filter(|by| state(by) == Some(false)).collect();
                let by = self.labels(by);
                let failed = peer.error.as_ref().filter(|_| reachable == Some(false));
                let failed = failed.map(|error| format!("; it cannot be reached: {error}")).unwrap_or_default();
                let (severity, detail) = match (query, reachable) {
                    (true, _) => (Severity::Info, format!("{name} was left by a query and is listed as dead by {by}")),
                    (_, Some(true)) => {
                        (Severity::Error, format!("{name} is listed as dead by {by}, although it answers"))
                    }
                    _ => (Severity::Warning, format!("{name} is listed as dead by {by}{failed}")),
                };
                self.find(severity, "dead_entry", [id.clone()], detail);
            } else if alive_in > 0 && query {
                let detail = format!("{name} was left by a query and is not a running peer");
                self.find(Severity::Info, "query_entry", [id.clone()], detail);
            } else if alive_in > 0 && !lacking.is_empty() {
                self.disputed(id, &name, answered, &lacking);
            } else if answered && alive_in == 0 && others().next().is_some() {
                let detail = format!("{name} answers, but no other peer lists it");
                self.find(Severity::Error, "unlisted", [id.clone()], detail);
            }
            if verified == Some(false) {
                let detail = format!("the entry of {name} is not signed by its identity");
                self.find(Severity::Error, "bad_signature", [id.clone()], detail);
            } else if !named && alive_in > 0 && !query {
                let detail = format!("no peer that was asked knows the identity of {name}");
                self.find(Severity::Info, "unknown_identity", [id.clone()], detail);
            }
        }
    }

    /// A peer that some list as alive and others do not.
    fn disputed(&mut self, id: &str, name: &str, answered: bool, lacking: &[String]) {
        if !answered {
            let detail = format!(
                "{name} is alive in {} of {} views, and not in those of {}",
                self.peers[id].alive_in,
                self.views.len(),
                self.labels(lacking.iter().map(String::as_str))
            );
            let peers = std::iter::once(id.to_owned()).chain(lacking.iter().cloned());
            return self.find(Severity::Warning, "partial_view", peers, detail);
        }
        let sees = |by: &str, id: &str| self.peers[by].sees.as_ref().and_then(|sees| sees.get(id)).copied();
        let one_sided: Vec<_> = lacking.iter().map(|by| (by.clone(), sees(id, by), sees(by, id))).collect();
        for (by, forth, back) in one_sided {
            let other = self.label(&by);
            let latter = self.peers.get(&by).map_or_else(String::new, Peer::short_label);
            let how = if back == Some(false) { "lists it as dead" } else { "does not list it" };
            match forth {
                Some(true) => {
                    let detail = format!("{name} sees {other} alive, but {latter} {how}");
                    self.find(Severity::Warning, "one_sided_view", [id.to_owned(), by], detail);
                }
                // Neither sees the other: reported once.
                _ if *id < *by => {
                    let detail = format!("{name} and {other} do not see each other alive");
                    self.find(Severity::Warning, "split_view", [id.to_owned(), by], detail);
                }
                _ => {}
            }
        }
    }

    /// Endpoints that nobody can dial, or that several peers publish.
    fn endpoints(&mut self) {
        let visited = self.answers.visits.iter().filter(|v| v.round_trip.is_some()).map(|v| v.endpoint.as_str());
        let published = self.peers.values().flat_map(|p| [p.internal.as_str(), p.external.as_str()]);
        let remote = visited.chain(published).filter(|e| e.parse().is_ok_and(|e: Endpoint| !e.is_unspecified()));
        let spread = remote.into_iter().any(|endpoint| !is_loopback(endpoint));
        let mut holders: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        let mut bad = Vec::new();
        for (id, peer) in self.peers.iter().filter(|(_, p)| p.alive_in > 0 && p.started.is_some()) {
            if peer.internal.is_empty() && peer.external.is_empty() {
                bad.push((id.clone(), format!("{} publishes no endpoint", peer.label())));
            }
            let endpoints: BTreeSet<&String> =
                [&peer.internal, &peer.external].into_iter().filter(|e| !e.is_empty()).collect();
            for endpoint in endpoints {
                holders.entry(endpoint.clone()).or_default().insert(id.clone());
                if let Some(why) = undialable(endpoint, spread) {
                    bad.push((id.clone(), format!("{} publishes {endpoint}, {why}", peer.label())));
                }
            }
        }
        for (id, detail) in bad {
            self.find(Severity::Error, "undialable_endpoint", [id], detail);
        }
        for (endpoint, ids) in holders.into_iter().filter(|(_, ids)| ids.len() > 1) {
            let labels = self.labels(ids.iter().map(String::as_str));
            let detail = format!("{} peers publish {endpoint}: {labels}", ids.len());
            self.find(Severity::Error, "shared_endpoint", ids, detail);
        }
    }

    /// Peers that other organisations have to reach.
    fn anchors(&mut self) {
        for anchor in &self.settings.anchors {
            let at =
                |p: &&Peer| p.alive_in > 0 && (p.external == *anchor || p.internal == *anchor || p.endpoint == *anchor);
            let Some(peer) = self.peers.values().find(at) else {
                let detail = format!("no member is alive at the anchor's endpoint {anchor}");
                self.find(Severity::Error, "anchor_missing", [anchor.clone()], detail);
                continue;
            };
            let (id, name) = (peer.pki_id.clone(), peer.label());
            if peer.external.is_empty() {
                let detail = format!(
                    "the anchor {name} has no external endpoint: other organisations neither see it nor send it their \
                     membership; set CORE_PEER_GOSSIP_EXTERNALENDPOINT"
                );
                self.find(Severity::Error, "anchor_without_external_endpoint", [id], detail);
            }
        }
        let mut ours = self.peers.values().filter(|p| p.alive_in > 0 && p.started.is_some()).peekable();
        let foreign = self.answers.identities.values().any(|identity| identity.mspid != self.settings.mspid);
        if foreign && self.settings.anchors.is_empty() && ours.peek().is_some() && ours.all(|p| p.external.is_empty()) {
            let detail = "no peer has an external endpoint: other organisations cannot see our peers".to_owned();
            self.find(Severity::Warning, "no_external_endpoint", [] as [String; 0], detail);
        }
    }

    /// Certificates that have expired, or expire soon.
    fn certificates(&mut self) {
        let ids: Vec<String> = self.peers.keys().cloned().collect();
        for id in ids {
            let name = self.label(&id);
            let tls = self.peers[&id].tls_expires.and_then(|expires| self.ending(expires));
            if let Some(Identity { expires, invalid, .. }) = self.answers.identities.get(&id) {
                let ending = expires.and_then(|expires| self.ending(expires));
                let found = match (ending, invalid) {
                    (Some((Severity::Error, ends)), _) => {
                        Some((Severity::Error, "expired", format!("the certificate of {name} {ends}")))
                    }
                    (_, Some(why)) => {
                        let detail = format!("the identity of {name} is not valid for us: {why}");
                        Some((Severity::Error, "invalid_identity", detail))
                    }
                    (Some((severity, ends)), None) => {
                        Some((severity, "expires_soon", format!("the certificate of {name} {ends}")))
                    }
                    (None, None) => None,
                };
                if let Some((severity, kind, detail)) = found {
                    self.find(severity, kind, [id.clone()], detail);
                }
            }
            if let Some((severity, ends)) = tls {
                let kind = if severity == Severity::Error { "tls_expired" } else { "tls_expires_soon" };
                self.find(severity, kind, [id], format!("the TLS certificate of {name} {ends}"));
            }
        }
    }

    /// Returns when a certificate expired, or will do so soon.
    fn ending(&self, expires: Seconds) -> Option<(Severity, String)> {
        let soon = Seconds::try_from(self.settings.warn_expiry.as_secs()).unwrap_or(Seconds::MAX);
        let date = rfc3339::seconds(expires.clamp(0, 253_402_300_799));
        let left = expires.saturating_sub(self.settings.now.as_secs() as Seconds);
        if left < 0 {
            return Some((Severity::Error, format!("expired on {date}")));
        }
        let time = match left / DAY {
            0 => format!("in {}", since(Duration::from_secs(left as u64))),
            1 => "in 1 day".to_owned(),
            days => format!("in {days} days"),
        };
        (left < soon).then(|| (Severity::Warning, format!("expires {time}, on {date}")))
    }

    fn count_starts(&self, starts: &mut Starts) {
        for view in self.views.values() {
            for member in view.alive.iter().chain(&view.dead).filter(|member| member.started > 1) {
                let known = starts.entry(member.pki_id.clone()).or_default();
                // Bounded: the oldest start is forgotten.
                if known.len() >= 16 {
                    known.pop_first();
                }
                known.insert(member.started);
            }
        }
        starts.retain(|id, _| self.peers.contains_key(id));
    }

    /// Restarts, and clocks that are ahead.
    fn clocks(&mut self, starts: &Starts) {
        let ids: Vec<String> = self.peers.keys().cloned().collect();
        for id in ids {
            let Some(started) = self.peers[&id].started else { continue };
            let name = self.peers[&id].label();
            let ahead = Duration::from_nanos(started).saturating_sub(self.settings.now);
            if ahead > CLOCK_TOLERANCE {
                let detail = format!("{name} claims to start in {}: its clock is ahead of ours", since(ahead));
                self.find(Severity::Warning, "start_in_future", [id.clone()], detail);
            }
            let times = starts.get(&id).map_or(0, BTreeSet::len);
            if times >= OFTEN {
                let detail = format!("{name} was started {times} times");
                self.find(Severity::Warning, "restarted_often", [id], detail);
            } else if times == 2 {
                self.find(Severity::Info, "restarted", [id], format!("{name} was restarted"));
            }
        }
    }

    fn finish(mut self) -> Report {
        let mut peers: Vec<Peer> = self.peers.into_values().collect();
        let order =
            |peer: &Peer| (peer.mspid.clone(), natural(&peer.name), peer.pki_id.clone(), natural(&peer.endpoint));
        peers.sort_by_cached_key(order);
        let places: BTreeMap<&str, usize> = peers.iter().enumerate().map(|(n, peer)| (peer.key(), n)).collect();
        self.findings.sort_by_cached_key(|finding| {
            let place = |key: &String| (places.get(key.as_str()).copied(), key.clone());
            (
                finding.severity,
                finding.kind,
                finding.peers.iter().map(place).collect::<Vec<_>>(),
                finding.detail.clone(),
            )
        });
        self.findings.dedup();
        Report { peers, findings: self.findings, views: self.views.len(), now: self.settings.now.as_secs() as Seconds }
    }
}

/// Returns a key that sorts numbers in texts by their value: `peer2` before `peer10`.
fn natural(text: &str) -> Vec<(u64, char)> {
    let mut key: Vec<(u64, char)> = Vec::new();
    let mut in_number = false;
    for c in text.chars() {
        match (c.to_digit(10), key.last_mut()) {
            (Some(digit), Some((number, _))) if in_number => *number = number.saturating_mul(10) + u64::from(digit),
            (Some(digit), _) => key.push((u64::from(digit), '0')),
            (None, _) => key.push((u64::from('0'), c)),
        }
        in_number = c.is_ascii_digit();
    }
    key
}

/// Returns the reason why an endpoint cannot be dialled from another machine, if there is one. `spread`: the peers are
/// on several machines.
fn undialable(endpoint: &str, spread: bool) -> Option<&'static str> {
    match endpoint.parse::<Endpoint>() {
        Err(_) => Some("which is not host:port"),
        Ok(endpoint) if endpoint.is_unspecified() => Some("which stands for all interfaces and cannot be dialled"),
        Ok(endpoint) if endpoint.port == 0 => Some("whose port cannot be dialled"),
        Ok(_) if spread && is_loopback(endpoint) => Some("which is another machine for everybody else"),
        Ok(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::survey::View;

    const NOW: u64 = 1_000_000;

    /// A network under test. Peers `a`, `b`, … of Org1 publish `a:1`, `b:1`, …
    struct Network {
        answers: Answers,
        settings: Settings,
    }

    fn member(id: &str) -> Member {
        Member {
            pki_id: id.into(),
            internal: format!("{id}:1"),
            external: format!("{id}.out:1"),
            started: 500 * 1_000_000_000,
            sequence: 7,
            verified: Some(true),
        }
    }

    fn view(alive: &[&str], dead: &[&str]) -> View {
        let members = |ids: &[&str]| ids.iter().map(|id| member(id)).collect();
        View { alive: members(alive), dead: members(dead) }
    }

    impl Network {
        /// Peers that are all reachable, with their views.
        fn new(views: &[(&str, View)]) -> Self {
            let now = Duration::from_secs(NOW);
            let settings = Settings { now, mspid: "Org1".into(), our_pki_id: "me".into(), ..Settings::default() };
            let mut network = Network { answers: Answers::default(), settings };
            for (id, view) in views {
                network.identity(id, "Org1", NOW as Seconds + 100 * DAY);
                network.answers.visits.push(Visit {
                    endpoint: format!("{id}:1"),
                    round_trip: Some(Duration::from_millis(1)),
                    peer: Some(id.to_string()),
                    view: Some(view.clone()),
                    ..Visit::default()
                });
            }
            network
        }

        fn identity(&mut self, id: &str, mspid: &str, expires: Seconds) {
            let identity = Identity { mspid: mspid.into(), expires: Some(expires), ..Identity::default() };
            self.answers.identities.insert(id.into(), identity);
        }

        fn unreachable(&mut self, endpoint: &str, expected: Option<&str>) {
            self.answers.visits.push(Visit {
                endpoint: endpoint.into(),
                given: expected.is_none(),
                expected: expected.map(str::to_owned),
                error: Some("refused".into()),
                ..Visit::default()
            });
        }

        fn member(&mut self, viewer: usize, id: &str) -> &mut Member {
            let view = self.answers.visits[viewer].view.as_mut().unwrap();
            view.alive.iter_mut().chain(&mut view.dead).find(|m| m.pki_id == id).unwrap()
        }

        fn report(&self) -> Report {
            compare(&self.answers, &self.settings, &mut Starts::new())
        }

        /// The findings, as `kind peers`.
        #[track_caller]
        fn assert_finds(&self, expected: &[&str]) {
            let report = self.report();
            let short = |f: &Finding| format!("{} {} {}", f.severity.name(), f.kind, f.peers.join(" "));
            let mut found: Vec<String> = report.findings.iter().map(|f| short(f).trim_end().to_owned()).collect();
            found.sort();
            let mut expected = expected.to_vec();
            expected.sort();
            assert_eq!(found, expected, "{:#?}", report.findings);
        }
    }

    fn pair() -> Network {
        Network::new(&[("a", view(&["a", "b"], &[])), ("b", view(&["a", "b"], &[]))])
    }

    #[test]
    fn only_peers_of_another_organisation_give_an_error() {
        let mut network = pair();
        network.identity("x", "Org2", NOW as Seconds + 100 * DAY);
        let foreign = Visit {
            endpoint: "x:1".into(),
            given: true,
            round_trip: Some(Duration::from_millis(1)),
            peer: Some("x".into()),
            ..Visit::default()
        };
        network.answers.visits.push(foreign);
        network.assert_finds(&[]);
        network.answers.visits.drain(..2);
        network.assert_finds(&["error other_organisation x"]);
        assert!(network.report().findings[0].detail.ends_with("name a peer of Org1 to compare views"));
    }

    #[test]
    fn names_are_sorted_by_their_numbers_and_findings_in_the_same_order() {
        let ids = ["c", "a", "b"];
        let mut network = Network::new(&ids.map(|id| (id, view(&["a", "b", "c"], &[]))));
        for (id, name) in [("a", "peer10.org1"), ("b", "peer2.org1"), ("c", "peer1.org1")] {
            let identity = network.answers.identities.get_mut(id).unwrap();
            (identity.name, identity.expires) = (name.into(), Some(0));
        }
        let report = network.report();
        let keys: Vec<&str> = report.peers.iter().map(Peer::key).collect();
        assert_eq!(keys, ["c", "b", "a"]);
        let expired = report.findings.iter().filter(|finding| finding.kind == "expired");
        assert_eq!(expired.map(|finding| finding.peers[0].as_str()).collect::<Vec<_>>(), keys);
        assert!(natural("9z") < natural("10") && natural("a1b2") < natural("a1b10") && natural("a") < natural("a0"));
    }

    #[test]
    fn a_dead_entry_says_why_the_peer_cannot_be_reached() {
        let mut network = Network::new(&[("a", view(&["a"], &["b"]))]);
        let error = Some("dial: Connection refused".to_owned());
        let visit = Visit { endpoint: "b:1".into(), expected: Some("b".into()), error, ..Visit::default() };
        network.answers.visits.push(visit);
        let report = network.report();
        assert!(report.findings[0].detail.ends_with("it cannot be reached: dial: Connection refused"), "{report:?}");
    }

    #[test]
    fn peers_that_agree_give_no_finding() {
        let network = pair();
        network.assert_finds(&[]);
        let report = network.report();
        assert_eq!((report.views, report.reachable(), report.error()), (2, 2, None));
        let a = report.peer("a").unwrap();
        assert_eq!((a.alive_in, a.dead_in, a.sequence, a.days_left(report.now)), (2, 0, 7, Some(100)));
    }

    #[test]
    fn one_sided_and_split_views_are_found() {
        Network::new(&[("a", view(&["a", "b"], &[])), ("b", view(&["b"], &[]))])
            .assert_finds(&["warning one_sided_view a b"]);
        Network::new(&[("a", view(&["a", "b"], &[])), ("b", view(&["b"], &["a"]))])
            .assert_finds(&["warning one_sided_view a b"]);
        let apart = [("a", view(&["a"], &["b"])), ("b", view(&["b"], &["a"])), ("c", view(&["a", "b", "c"], &[]))];
        let apart = Network::new(&apart);
        apart.assert_finds(&["warning one_sided_view c a", "warning one_sided_view c b", "warning split_view a b"]);
    }

    #[test]
    fn a_peer_that_nobody_lists_is_found() {
        let network = Network::new(&[("a", view(&["a"], &[])), ("b", view(&[], &[]))]);
        network.assert_finds(&["error unlisted b", "warning split_view a b"]);
    }

    #[test]
    fn unreachable_peers_are_found_with_the_number_of_views() {
        let mut network = Network::new(&[("a", view(&["a", "b"], &[]))]);
        network.identity("b", "Org1", Seconds::MAX);
        network.unreachable("b:1", Some("b"));
        network.unreachable("given:1", None);
        network.assert_finds(&["error unreachable b", "error unreachable given:1"]);
        let report = network.report();
        assert!(report.findings[1].detail.contains("alive in 1 of 1 views"), "{:?}", report.findings);
        let unknown = report.peer("given:1").unwrap();
        assert_eq!((unknown.pki_id.as_str(), unknown.reachable), ("", Some(false)));
        assert_eq!(report.error().as_deref(), Some(&*format!("{} (and 1 more error)", report.findings[0].detail)));
    }

    #[test]
    fn a_given_endpoint_that_fails_is_that_of_the_peer_that_publishes_it() {
        let mut network = Network::new(&[("a", view(&["a", "b"], &[]))]);
        network.identity("b", "Org1", Seconds::MAX);
        network.unreachable("b:1", None);
        network.assert_finds(&["error unreachable b"]);
        assert_eq!(network.report().peers.len(), 2);
    }

    #[test]
    fn peers_that_answer_wrongly_are_found() {
        let mut network = pair();
        network.answers.visits[0].peer = None;
        network.answers.visits[0].view = None;
        network.answers.visits[0].expected = Some("a".into());
        network.assert_finds(&["error refused a"]);
        network.answers.visits[0].peer = Some("a".into());
        network.answers.visits[0].error = Some("timed out".into());
        network.assert_finds(&["error no_membership a"]);
        network.answers.visits[0].peer = Some("c".into());
        network.answers.visits[0].error = None;
        network.assert_finds(&["error other_peer_answers a c"]);
    }

    #[test]
    fn dead_entries_are_found_and_those_of_queries_are_harmless() {
        let mut network = Network::new(&[("a", view(&["a"], &["d"]))]);
        network.identity("d", "Org1", Seconds::MAX);
        network.unreachable("d:1", Some("d"));
        network.assert_finds(&["warning dead_entry d"]);
        network.answers.visits[1].round_trip = Some(Duration::ZERO);
        network.answers.visits[1].peer = Some("d".into());
        network.answers.visits[1].view = Some(View::default());
        network.assert_finds(&["error dead_entry d", "warning split_view a d"]);
        network.answers.visits.pop();
        let entry = network.member(0, "d");
        (entry.started, entry.sequence) = (1, 1);
        network.assert_finds(&["info dead_entry d"]);
        network.settings.our_pki_id = "d".into();
        network.assert_finds(&[]);
    }

    #[test]
    fn endpoints_that_nobody_can_dial_are_found() {
        for endpoint in ["0.0.0.0:7051", "[::]:7051", "nonsense", "host:0", "localhost:7051", "127.0.0.1:7051"] {
            let mut network = pair();
            network.member(0, "b").internal = endpoint.into();
            network.member(1, "b").internal = endpoint.into();
            network.assert_finds(&["error undialable_endpoint b"]);
        }
        // All on one machine.
        let mut network = pair();
        for viewer in 0..2 {
            for id in ["a", "b"] {
                let entry = network.member(viewer, id);
                entry.internal = if id == "a" { "localhost:1" } else { "127.0.0.1:2" }.into();
                entry.external.clear();
            }
        }
        network.answers.visits[0].endpoint = "localhost:1".into();
        network.answers.visits[1].endpoint = "127.0.0.1:2".into();
        network.assert_finds(&[]);
        network.member(0, "b").internal.clear();
        network.member(1, "b").internal.clear();
        network.assert_finds(&["error undialable_endpoint b"]);
    }

    #[test]
    fn two_peers_at_one_endpoint_are_found() {
        let mut network = pair();
        for viewer in 0..2 {
            network.member(viewer, "b").external = "a.out:1".into();
        }
        network.assert_finds(&["error shared_endpoint a b"]);
    }

    #[test]
    fn anchors_need_an_external_endpoint() {
        let mut network = pair();
        network.settings.anchors = vec!["a:1".into(), "z:1".into()];
        network.assert_finds(&["error anchor_missing z:1"]);
        for viewer in 0..2 {
            network.member(viewer, "a").external.clear();
        }
        network.assert_finds(&["error anchor_missing z:1", "error anchor_without_external_endpoint a"]);
        network.settings.anchors.clear();
        for viewer in 0..2 {
            network.member(viewer, "b").external.clear();
        }
        network.assert_finds(&[]);
        network.identity("f", "Org2", Seconds::MAX);
        network.assert_finds(&["warning no_external_endpoint"]);
    }

    #[test]
    fn certificates_that_end_are_found() {
        let mut network = pair();
        network.settings.warn_expiry = Duration::from_secs(30 * DAY as u64);
        network.identity("a", "Org1", NOW as Seconds + 29 * DAY);
        network.identity("b", "Org1", NOW as Seconds - 1);
        network.identity("f", "Org2", NOW as Seconds + DAY);
        network.assert_finds(&["error expired b", "warning expires_soon a", "warning expires_soon f"]);
        network.identity("b", "Org1", NOW as Seconds + 60 * DAY);
        network.answers.identities.get_mut("b").unwrap().invalid = Some("revoked".into());
        network.answers.identities.remove("f");
        network.assert_finds(&["error invalid_identity b", "warning expires_soon a"]);
    }

    #[test]
    fn tls_certificates_that_end_are_found() {
        let mut network = pair();
        network.settings.warn_expiry = Duration::from_secs(30 * DAY as u64);
        network.answers.visits[0].tls_expires = Some(NOW as Seconds + 29 * DAY);
        network.answers.visits[1].tls_expires = Some(NOW as Seconds + 31 * DAY);
        network.assert_finds(&["warning tls_expires_soon a"]);
        network.answers.visits[1].tls_expires = Some(NOW as Seconds - 1);
        network.assert_finds(&["error tls_expired b", "warning tls_expires_soon a"]);
        assert_eq!(network.report().peer("a").unwrap().tls_days_left(NOW as Seconds), Some(29));
    }

    #[test]
    fn restarts_and_clocks_ahead_are_found() {
        let mut network = pair();
        let mut starts = Starts::new();
        let mut kinds = |network: &Network| -> Vec<&'static str> {
            compare(&network.answers, &network.settings, &mut starts).findings.iter().map(|f| f.kind).collect()
        };
        assert!(kinds(&network).is_empty());
        for (started, expected) in [(600, vec!["restarted"]), (700, vec!["restarted_often"])] {
            network.member(0, "b").started = started * 1_000_000_000;
            assert_eq!(kinds(&network), expected);
        }
        assert_eq!(kinds(&network), ["restarted_often"]);
        for viewer in 0..2 {
            network.member(viewer, "a").started = (NOW + 60) * 1_000_000_000;
        }
        assert!(kinds(&network).contains(&"start_in_future"));
        let mut near = pair();
        near.member(0, "a").started = (NOW + 1) * 1_000_000_000;
        near.member(1, "a").started = (NOW + 1) * 1_000_000_000;
        near.assert_finds(&[]);
    }

    #[test]
    fn unverified_entries_and_omissions_are_found() {
        let mut network = pair();
        network.member(0, "b").verified = Some(false);
        network.assert_finds(&["error bad_signature b"]);
        let mut network = pair();
        network.answers.identities.remove("b");
        network.answers.left_out = 3;
        network.assert_finds(&["info unknown_identity b", "warning left_out"]);
        let mut network = pair();
        network.settings.our_pki_id = "b".into();
        network.assert_finds(&["warning own_identity_runs b"]);
    }

    #[test]
    fn a_peer_that_did_not_answer_is_compared_by_the_views_of_others() {
        let mut network = Network::new(&[("a", view(&["a", "b", "c"], &[])), ("b", view(&["a", "b"], &["c"]))]);
        network.identity("c", "Org1", Seconds::MAX);
        network.assert_finds(&["warning partial_view c b"]);
    }

    #[test]
    fn peers_of_other_organisations_are_known_by_their_identities() {
        let mut network = pair();
        network.identity("f", "Org2", NOW as Seconds + 100 * DAY);
        network.assert_finds(&[]);
        let report = network.report();
        let foreign = report.peer("f").unwrap();
        assert_eq!((foreign.mspid.as_deref(), foreign.reachable, foreign.alive_in), (Some("Org2"), None, 0));
    }
}
