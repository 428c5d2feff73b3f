//! What a node counts.

use super::driver::Shared;
use crate::discovery::State;
use crate::metrics::CommSnapshot;
use std::collections::BTreeMap;
use std::fmt::Write;

/// The counters and gauges of a node at one moment, under Fabric's names where Fabric has them.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct NodeSnapshot {
    /// Those of the communication layer.
    pub comm: CommSnapshot,
    /// By channel, the peers of it that are alive, without ourselves. Fabric's gauge.
    pub gossip_membership_total_peers_known: BTreeMap<String, usize>,
    /// Members that are alive, without ourselves.
    pub gossip_membership_alive: usize,
    /// Members that died and are remembered.
    pub gossip_membership_dead: usize,
    /// Seeds that have not answered yet.
    pub gossip_membership_seeds_missing: usize,
    /// Identities that others can pull from us.
    pub gossip_identities_offered: usize,
    /// Messages that came in and wait for their turn.
    pub gossip_messages_waiting: usize,
    /// Messages that wait to be verified.
    pub gossip_verifications_waiting: usize,
}

impl NodeSnapshot {
    pub(super) fn take(shared: &Shared) -> Self {
        let comm = shared.comm.metrics();
        let gossip_verifications_waiting = shared.workers.waiting();
        let core = shared.core.lock();
        let discovery = core.discovery();
        NodeSnapshot {
            comm,
            gossip_membership_total_peers_known: core
                .channels()
                .map(|name| {
                    let known = core.channel_peers(name).map_or(0, |peers| peers.len());
                    (String::from_utf8_lossy(name).into_owned(), known)
                })
                .collect(),
            gossip_membership_alive: core.alive_count(),
            gossip_membership_dead: discovery.records().filter(|(_, state)| *state == State::Dead).count(),
            gossip_membership_seeds_missing: discovery.seeds().iter().filter(|seed| !seed.connected).count(),
            gossip_identities_offered: core.offered_identities().count(),
            gossip_messages_waiting: shared.inbox.len(),
            gossip_verifications_waiting,
        }
    }

    /// Prometheus' text format, version 0.0.4: what [`CommSnapshot::to_prometheus`] has, and the node's own.
    pub fn to_prometheus(&self) -> String {
        let mut page = self.comm.to_prometheus();
        let name = "gossip_membership_total_peers_known";
        // Writing to a string does not fail.
        let _ = writeln!(page, "# HELP {name} Peers of the channel that are alive\n# TYPE {name} gauge");
        for (channel, known) in &self.gossip_membership_total_peers_known {
            let channel = channel.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let _ = writeln!(page, "{name}{{channel=\"{channel}\"}} {known}");
        }
        let gauges = [
            ("gossip_membership_alive", "Members that are alive", self.gossip_membership_alive),
            ("gossip_membership_dead", "Members that died and are remembered", self.gossip_membership_dead),
            (
                "gossip_membership_seeds_missing",
                "Bootstrap and anchor peers that have not answered yet",
                self.gossip_membership_seeds_missing,
            ),
            ("gossip_identities_offered", "Identities that others can pull", self.gossip_identities_offered),
            ("gossip_messages_waiting", "Messages that wait for their turn", self.gossip_messages_waiting),
            ("gossip_verifications_waiting", "Messages that wait to be verified", self.gossip_verifications_waiting),
        ];
        for (name, help, value) in gauges {
            let _ = writeln!(page, "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}");
        }
        page
    }
}
